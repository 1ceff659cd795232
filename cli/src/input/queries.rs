//! Queries with their relevant items, as JSON lines or as TREC qrels: the input of `evaluate`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;

use affinis::{Query, learning::EvalQuery};
use serde::Deserialize;

use super::check::{Expected, check_id};
use super::error::{InputError, Place, cut};
use super::items::json_line;
use super::judgements::query;
use super::lines::Lines;

/// Queries with their relevant items.
#[derive(Debug, Clone)]
pub struct EvaluationInput {
    /// The queries, in the order of their first line.
    pub queries: Vec<EvalQuery>,
    /// Line of each query, from 1; of a topic, its first line.
    pub lines: Vec<u64>,
    /// Topics of a qrels file that have no relevant item, on which nothing can be measured.
    pub without_relevant: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryLine {
    query: Option<String>,
    query_id: Option<String>,
    query_vector: Option<Vec<f64>>,
    relevant: Vec<String>,
}

/// Reads queries with their relevant items in either format. The input is JSON lines if its first
/// line that is not blank begins with `{`, else qrels.
///
/// Qrels are `topic iteration item grade` lines; a grade above 0 is relevant. `texts` are the texts
/// of the topics; without them a topic is the id of a stored item.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, and for an input without queries.
pub fn evaluation(
    reader: impl BufRead,
    file: &str,
    expected: Expected,
    texts: Option<&BTreeMap<String, String>>,
) -> Result<EvaluationInput, InputError> {
    let mut input = EvaluationInput {
        queries: Vec::new(),
        lines: Vec::new(),
        without_relevant: Vec::new(),
    };
    let mut topics = Topics::default();
    let mut json = None;
    for line in Lines::new(reader, file) {
        let (number, text) = line?;
        if text.trim().is_empty() {
            continue;
        }
        let wrong = |reason| InputError::new(file, Place::Line(number), reason);
        if *json.get_or_insert(text.trim_start().starts_with('{')) {
            if texts.is_some() {
                return Err(wrong(
                    "holds JSON lines, and a file of queries belongs to TREC qrels".to_owned(),
                ));
            }
            input
                .queries
                .push(json_query(&text, expected).map_err(wrong)?);
            input.lines.push(number);
        } else {
            topics.take(number, &text).map_err(wrong)?;
        }
    }
    if !topics.order.is_empty() {
        topics.queries(&mut input, file, expected, texts)?;
    }
    if input.queries.is_empty() {
        let reason = match input.without_relevant.len() {
            0 => "the input is empty: it holds no queries".to_owned(),
            n => format!("none of its {n} topics has a relevant item, so nothing can be measured"),
        };
        return Err(InputError::new(file, Place::File, reason));
    }
    Ok(input)
}

fn json_query(text: &str, expected: Expected) -> Result<EvalQuery, String> {
    let line: QueryLine = json_line(text, |_| true)?;
    let query = query(
        line.query.as_ref(),
        line.query_id.as_ref(),
        line.query_vector.as_deref(),
        expected,
    )?;
    if line.relevant.is_empty() {
        return Err("\"relevant\" is empty, so nothing can be measured on this query".into());
    }
    let mut seen = HashSet::new();
    for id in &line.relevant {
        check_id(id).map_err(|e| format!("\"relevant\": {e}"))?;
        if !seen.insert(id) {
            return Err(format!("\"relevant\" has the id {:?} twice", cut(id)));
        }
    }
    let mut relevant = line.relevant;
    if let Some(own) = &line.query_id {
        leave_out(own, &mut relevant);
        if relevant.is_empty() {
            return Err(format!(
                "\"relevant\" holds only the query's own item {:?}, which is left out of its results",
                cut(own)
            ));
        }
    }
    Ok(EvalQuery { query, relevant })
}

/// Removes the query's own item, which searches leave out of its results.
fn leave_out(own: &str, relevant: &mut Vec<String>) {
    relevant.retain(|id| id != own);
}

/// The topics of a qrels file.
#[derive(Default)]
struct Topics {
    order: Vec<String>,
    /// Topic -> its first line and its relevant items.
    relevant: HashMap<String, (u64, Vec<String>)>,
    /// (topic, item) -> its line.
    judged: HashMap<(String, String), u64>,
}

impl Topics {
    fn take(&mut self, number: u64, line: &str) -> Result<(), String> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [topic, _, item, grade] = fields[..] else {
            return Err(format!(
                "{} fields; a line of TREC qrels has 4: topic, iteration, item, grade",
                fields.len()
            ));
        };
        check_id(topic)?;
        check_id(item)?;
        let grade: i64 = grade
            .parse()
            .map_err(|_| format!("the grade {:?} is not a whole number", cut(grade)))?;
        if let Some(first) = self
            .judged
            .insert((topic.to_owned(), item.to_owned()), number)
        {
            return Err(format!(
                "topic {topic:?} and item {item:?} occur already in line {first}"
            ));
        }
        let (_, relevant) = self.relevant.entry(topic.to_owned()).or_insert_with(|| {
            self.order.push(topic.to_owned());
            (number, Vec::new())
        });
        if grade > 0 {
            relevant.push(item.to_owned());
        }
        Ok(())
    }

    fn queries(
        mut self,
        input: &mut EvaluationInput,
        file: &str,
        expected: Expected,
        texts: Option<&BTreeMap<String, String>>,
    ) -> Result<(), InputError> {
        for topic in self.order {
            let (line, mut relevant) = self.relevant.remove(&topic).unwrap_or_default();
            let wrong = |reason| InputError::new(file, Place::Line(line), reason);
            let topic_query = match texts.map(|texts| texts.get(&topic)) {
                None => {
                    leave_out(&topic, &mut relevant);
                    Query::like(topic.clone())
                }
                Some(Some(text)) => query(Some(text), None, None, expected).map_err(wrong)?,
                Some(None) => {
                    return Err(wrong(format!(
                        "the file of queries has no topic {:?}",
                        cut(&topic)
                    )));
                }
            };
            if relevant.is_empty() {
                input.without_relevant.push(topic);
            } else {
                input.queries.push(EvalQuery {
                    query: topic_query,
                    relevant,
                });
                input.lines.push(line);
            }
        }
        Ok(())
    }
}

/// Reads the texts of the topics of a qrels file, `topic<TAB>text` a line.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, and for an input without queries.
pub fn queries_tsv(
    reader: impl BufRead,
    file: &str,
) -> Result<BTreeMap<String, String>, InputError> {
    let mut queries = BTreeMap::new();
    let mut lines: HashMap<String, u64> = HashMap::new();
    for line in Lines::new(reader, file) {
        let (number, text) = line?;
        if text.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| InputError::new(file, Place::Line(number), reason);
        let (topic, text) = text
            .split_once('\t')
            .ok_or_else(|| wrong("no tab; a line is topic<TAB>text".into()))?;
        let topic = topic.trim();
        check_id(topic).map_err(wrong)?;
        if text.trim().is_empty() {
            return Err(wrong("the text after the tab is empty".into()));
        }
        if let Some(first) = lines.insert(topic.to_owned(), number) {
            return Err(wrong(format!(
                "the topic {:?} occurs already in line {first}",
                cut(topic)
            )));
        }
        queries.insert(topic.to_owned(), text.to_owned());
    }
    if queries.is_empty() {
        return Err(InputError::new(
            file,
            Place::File,
            "the input is empty: it holds no queries",
        ));
    }
    Ok(queries)
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
        let texts = texts.map(|t| queries_tsv(t.as_bytes(), "q.tsv").unwrap());
        evaluation(text.as_bytes(), "e", TWO, texts.as_ref()).map_err(|e| e.to_string())
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
                ("eight".into(), vec!["x"])
            ]
        );
        assert_eq!(input.without_relevant, ["9"]);
        let by_id = parse("7 0 x 1\n7 0 7 1\n", None).unwrap();
        assert_eq!(asked(&by_id), [(Query::like("7"), vec!["x"])]);
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
            "belongs to TREC qrels",
        );
        refused("7 0 x 1\n7 0 x\n", None, "e, line 2: 3 fields");
        refused("7 0 x one", None, "not a whole number");
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
        for (text, with) in [
            ("7 seven", "q, line 1: no tab"),
            ("7\t", "is empty"),
            (
                "7\ta\n7\tb",
                "line 2: the topic \"7\" occurs already in line 1",
            ),
            ("", "holds no queries"),
        ] {
            let error = queries_tsv(text.as_bytes(), "q").unwrap_err().to_string();
            assert!(error.contains(with), "{error}");
        }
    }
}
