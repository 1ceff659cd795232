//! Queries with their relevant items, as JSON lines or as rated answers: the input of `evaluate`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;

use affinis::{Query, learning::EvalQuery};
use serde::Deserialize;

use super::check::{Expected, check_id};
use super::judgements::query;
use super::ratings::{Rated, RatingFormat, ratings_of};
use affinis_api::input::Lines;
use affinis_api::input::json_line;
use affinis_api::input::{InputError, Place, cut};

/// Queries with their relevant items.
#[derive(Debug, Clone)]
pub struct EvaluationInput {
    /// The queries, in the order of their first line.
    pub queries: Vec<EvalQuery>,
    /// Line of each query, from 1; of a topic, its first line.
    pub lines: Vec<u64>,
    /// Topics of rated answers that have no relevant item, whose measures are 0.
    pub without_relevant: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryLine {
    query: Option<String>,
    query_id: Option<String>,
    query_vector: Option<Vec<f64>>,
    relevant: Relevant,
}

/// Relevant items, or items with their grades.
#[derive(Deserialize)]
#[serde(untagged)]
enum Relevant {
    Ids(Vec<String>),
    Grades(BTreeMap<String, f64>),
}

/// Reads queries with their relevant items. The input is JSON lines if its first line that is not
/// blank begins with `{`, else rated answers (see [`RatingFormat`]).
///
/// A grade of at least `threshold`, or above 0 without one, is relevant; a grade above 0 is a gain
/// in nDCG. `texts` are the texts of the topics; without them a topic is the id of a stored item.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, and for an input without queries.
pub fn evaluation(
    reader: impl BufRead,
    file: &str,
    expected: Expected,
    texts: Option<&BTreeMap<String, String>>,
    threshold: Option<f64>,
) -> Result<EvaluationInput, InputError> {
    let mut input = EvaluationInput {
        queries: Vec::new(),
        lines: Vec::new(),
        without_relevant: Vec::new(),
    };
    let is_blank = |line: &Result<(u64, String), InputError>| {
        line.as_ref().is_ok_and(|(_, text)| text.trim().is_empty())
    };
    let mut lines = Lines::new(reader, file).filter(|line| !is_blank(line));
    let Some(first) = lines.next().transpose()? else {
        let reason = "the input is empty: it holds no queries";
        return Err(InputError::new(file, Place::File, reason));
    };
    let is_json = first.1.trim_start().starts_with('{');
    let lines = std::iter::once(Ok(first)).chain(lines);
    if !is_json {
        let (format, rated) = ratings_of(lines, file, None, None)?;
        topics(
            &mut input,
            (format, rated),
            file,
            expected,
            texts,
            threshold,
        )?;
        if input.queries.len() == input.without_relevant.len() {
            let n = input.queries.len();
            let reason =
                format!("none of its {n} topics has a relevant item, so nothing can be measured");
            return Err(InputError::new(file, Place::File, reason));
        }
        return Ok(input);
    }
    for line in lines {
        let (number, text) = line?;
        let wrong = |reason| InputError::new(file, Place::Line(number), reason);
        if texts.is_some() {
            return Err(wrong(
                "holds JSON lines, and a file of queries belongs to qrels".to_owned(),
            ));
        }
        let query = json_query(&text, expected, threshold).map_err(wrong)?;
        input.queries.push(query);
        input.lines.push(number);
    }
    Ok(input)
}

fn json_query(text: &str, expected: Expected, threshold: Option<f64>) -> Result<EvalQuery, String> {
    let line: QueryLine = json_line(text, |_| true)?;
    let query = query(
        line.query.as_ref(),
        line.query_id.as_ref(),
        line.query_vector.as_deref(),
        expected,
    )?;
    let grades: Vec<(String, f64)> = match line.relevant {
        Relevant::Ids(ids) => ids.into_iter().map(|id| (id, 1.0)).collect(),
        Relevant::Grades(grades) => grades.into_iter().collect(),
    };
    let mut seen = HashSet::new();
    for (id, grade) in &grades {
        check_id(id).map_err(|e| format!("\"relevant\": {e}"))?;
        if !grade.is_finite() {
            return Err(format!(
                "\"relevant\" has a grade of {:?} that is not finite",
                cut(id)
            ));
        }
        if !seen.insert(id) {
            return Err(format!("\"relevant\" has the id {:?} twice", cut(id)));
        }
    }
    let query = graded(query, grades.iter().cloned(), threshold);
    if let (true, Some(own)) = (query.relevant.is_empty(), &line.query_id)
        && grades.iter().any(|(id, _)| id == own)
    {
        return Err(format!(
            "\"relevant\" holds only the query's own item {:?}, which is left out of its results",
            cut(own)
        ));
    }
    if query.relevant.is_empty() {
        return Err("\"relevant\" is empty, so nothing can be measured on this query".into());
    }
    Ok(query)
}

/// A query with graded answers. Its own item is left out, which searches leave out of its results.
fn graded(
    query: Query,
    grades: impl IntoIterator<Item = (String, f64)>,
    threshold: Option<f64>,
) -> EvalQuery {
    let own = match &query {
        Query::Item(id) => Some(id.clone()),
        _ => None,
    };
    let grades = grades
        .into_iter()
        .filter(|(id, _)| Some(id) != own.as_ref());
    EvalQuery::graded(query, grades, threshold)
}

/// Gathers rated answers by topic.
fn topics(
    input: &mut EvaluationInput,
    (format, rated): (RatingFormat, Vec<Rated>),
    file: &str,
    expected: Expected,
    texts: Option<&BTreeMap<String, String>>,
    threshold: Option<f64>,
) -> Result<(), InputError> {
    let mut order: Vec<(u64, String)> = Vec::new();
    let mut grades: HashMap<String, Vec<(String, f64)>> = HashMap::new();
    for Rated {
        line,
        query,
        item,
        grade,
    } in rated
    {
        let of_topic = grades.entry(query.clone()).or_default();
        if of_topic.is_empty() {
            order.push((line, query));
        }
        of_topic.push((item, grade));
    }
    for (line, topic) in order {
        let wrong = |reason| InputError::new(file, Place::Line(line), reason);
        let text = match texts {
            None if format == RatingFormat::Quepid => Some(&topic),
            None => None,
            Some(texts) => Some(texts.get(&topic).ok_or_else(|| {
                wrong(format!(
                    "the file of queries has no topic {:?}",
                    cut(&topic)
                ))
            })?),
        };
        let asks = match text {
            Some(text) => query(Some(text), None, None, expected).map_err(wrong)?,
            None => Query::like(topic.clone()),
        };
        let of_topic = grades.remove(&topic).unwrap_or_default();
        let query = graded(asks, of_topic, threshold);
        if query.relevant.is_empty() {
            input.without_relevant.push(topic);
        }
        input.queries.push(query);
        input.lines.push(line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use affinis::Distance;

    const TWO: Expected = Expected {
        dim: 2,
        texts: true,
        distance: Distance::L2,
        skip_bad: false,
    };

    fn parse(text: &str, texts: Option<&str>) -> Result<EvaluationInput, String> {
        let texts = texts.map(|t| crate::input::topics(t.as_bytes(), "q.tsv").unwrap().texts);
        evaluation(text.as_bytes(), "e", TWO, texts.as_ref(), None).map_err(|e| e.to_string())
    }

    fn asked(input: &EvaluationInput) -> Vec<(Query, Vec<&str>)> {
        input
            .queries
            .iter()
            .map(|q| {
                (
                    q.query.clone(),
                    q.relevant.iter().map(String::as_str).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn json_lines_are_read() {
        let text = r#"{"query": "text", "relevant": ["x", "y"]}
{"query_id": "q", "relevant": ["q", "x"]}
{"query_vector": [1, 2], "relevant": ["x"]}"#;
        let input = parse(text, None).unwrap();
        let wanted: [(Query, Vec<&str>); 3] = [
            ("text".into(), vec!["x", "y"]),
            (Query::like("q"), vec!["x"]),
            (vec![1.0, 2.0].into(), vec!["x"]),
        ];
        assert_eq!(asked(&input), wanted);
        assert_eq!(input.lines, [1, 2, 3]);
    }

    #[test]
    fn qrels_are_gathered_by_topic() {
        let text = "7 0 x 1\n7 0 y 0\n8\tQ0\tx\t2\n9 0 x -1\n7 0 z 3\n";
        let input = parse(text, Some("7\tseven\n8\teight\n9\tnine\n10\tunused\n")).unwrap();
        assert_eq!(
            asked(&input),
            [
                ("seven".into(), vec!["x", "z"]),
                ("eight".into(), vec!["x"]),
                ("nine".into(), vec![]),
            ]
        );
        let gains = |query: usize| input.queries[query].gains.clone();
        assert_eq!(gains(0), [("x".into(), 1.0), ("z".into(), 3.0)].into());
        assert_eq!(
            (gains(1), gains(2)),
            ([("x".into(), 2.0)].into(), [].into())
        );
        assert_eq!(input.without_relevant, ["9"]);
        let by_id = parse("7 0 x 1\n7 0 7 1\n", None).unwrap();
        assert_eq!(asked(&by_id), [(Query::like("7"), vec!["x"])]);
        let beir = parse("query-id\tcorpus-id\tscore\n7\tx\t0.5\n", Some("7\tseven")).unwrap();
        assert_eq!(asked(&beir), [("seven".into(), vec!["x"])]);
        let quepid = parse("query,docid,rating\ndogs,x,2\ndogs,y,0\n", None).unwrap();
        assert_eq!(asked(&quepid), [("dogs".into(), vec!["x"])]);
        let json = r#"{"query": "t", "relevant": {"x": 3, "y": 1, "z": 0}}"#;
        let above = evaluation(json.as_bytes(), "e", TWO, None, Some(2.0)).unwrap();
        assert_eq!(asked(&above), [("t".into(), vec!["x"])]);
        assert_eq!(above.queries[0].gains.len(), 2, "nDCG has all gains");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_line() {
        let refused = |text: &str, texts: Option<&str>, with: &str| {
            let error = parse(text, texts).unwrap_err();
            assert!(error.contains(with), "{error:?} does not say {with:?}");
        };
        refused(
            "{\"query\": \"t\", \"relevant\": []}",
            None,
            "e, line 1: \"relevant\" is empty",
        );
        refused("{\"query\": \"t\"}", None, "missing field `relevant`");
        refused(
            "{\"query\": \"t\", \"relevant\": [\"x\", \"x\"]}",
            None,
            "\"x\" twice",
        );
        refused(
            "{\"query_id\": \"x\", \"relevant\": [\"x\"]}",
            None,
            "only the query's own item",
        );
        refused(
            "{\"query\": \"t\", \"relevant\": [\"x\"], \"k\": 3}",
            None,
            "unknown field `k`",
        );
        refused(
            "{\"query\": \"t\", \"relevant\": [\"x\"]}",
            Some("7\tseven"),
            "belongs to qrels",
        );
        refused("7 0 x 1\n7 0 x\n", None, "e, line 2: 3 fields");
        refused("7 0 x one", None, "not a number");
        refused(
            "7 0 x 1\n\n7 0 x 1",
            None,
            "e, line 3: topic \"7\" and item \"x\" occur already in line 1",
        );
        refused(
            "7 0 x 1",
            Some("8\teight"),
            "e, line 1: the file of queries has no topic \"7\"",
        );
        refused("7 0 x 0", None, "none of its 1 topics has a relevant item");
        refused("", None, "the input is empty");
    }
}
