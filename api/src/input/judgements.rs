//! Judgements as JSON lines, in four forms: a query by text, by the id of an item or by a vector
//! with an item and its grade, and two items with whether they are similar.

use std::io::BufRead;
use std::time::SystemTime;

use affinis::{Judgement, Query, Source};
use serde::Deserialize;

use super::check::{Expected, check_id, check_name, check_vector};
use super::error::{InputError, Place, cut};
use super::json::json_line;
use super::lines::Lines;
use super::numbers::narrow;

/// Values of fields that a line leaves out.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// Who judged.
    pub user: Option<String>,
    /// Where the judgements come from.
    pub source: Option<Source>,
}

/// A line as it is parsed, before its form is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgementLine {
    query: Option<String>,
    query_id: Option<String>,
    query_vector: Option<Vec<f64>>,
    item: Option<String>,
    relevant: Option<bool>,
    grade: Option<f64>,
    a: Option<String>,
    b: Option<String>,
    similar: Option<bool>,
    user: Option<String>,
    source: Option<String>,
    weight: Option<f64>,
    at: Option<String>,
    shown: Option<Vec<String>>,
}

/// Reads judgements with their line numbers, from 1; blank lines are skipped.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, and for an input without judgements.
pub fn judgements_jsonl(
    reader: impl BufRead,
    file: &str,
    expected: Expected,
    defaults: &Defaults,
) -> Result<Vec<(u64, Judgement)>, InputError> {
    let mut judgements = Vec::new();
    for line in Lines::new(reader, file) {
        let (number, text) = line?;
        if text.trim().is_empty() {
            continue;
        }
        let judgement = json_line(&text, |_| true)
            .and_then(|line: JudgementLine| line.judgement(expected, defaults))
            .map_err(|reason| InputError::new(file, Place::Line(number), reason))?;
        judgements.push((number, judgement));
    }
    if judgements.is_empty() {
        return Err(InputError::new(
            file,
            Place::File,
            "the input is empty: it holds no judgements",
        ));
    }
    Ok(judgements)
}

/// The judgement of a line, without defaults for fields that it leaves out.
///
/// # Errors
/// The reason why it is none.
pub fn judgement_of(line: JudgementLine, expected: Expected) -> Result<Judgement, String> {
    line.judgement(expected, &Defaults::default())
}

impl JudgementLine {
    fn judgement(self, expected: Expected, defaults: &Defaults) -> Result<Judgement, String> {
        let mut judgement = self.form(expected)?;
        if let Some(user) = self.user.as_ref().or(defaults.user.as_ref()) {
            check_name("\"user\"", user)?;
            judgement = judgement.user(user.clone());
        }
        if let Some(source) = self
            .source
            .as_deref()
            .map(str::parse::<Source>)
            .transpose()
            .map_err(|error| error.to_string())?
            .or(defaults.source)
        {
            judgement = judgement.source(source);
        }
        if let Some(weight) = self.weight {
            let narrow = weight as f32;
            if !(narrow.is_finite() && narrow > 0.0) {
                return Err(format!(
                    "\"weight\" is {weight:?}; it must be above 0 and finite as a 32-bit float"
                ));
            }
            judgement = judgement.weight(narrow);
        }
        if let Some(at) = &self.at {
            judgement = judgement.at(time(at)?);
        }
        if let Some(shown) = self.shown {
            for id in &shown {
                check_id(id).map_err(|e| format!("\"shown\": {e}"))?;
            }
            judgement = judgement.shown(shown);
        }
        Ok(judgement)
    }

    /// The judgement of a line without user, source, weight, time and shown ids.
    fn form(&self, expected: Expected) -> Result<Judgement, String> {
        let pair = self.a.is_some() || self.b.is_some() || self.similar.is_some();
        let graded = self.item.is_some()
            || self.query.is_some()
            || self.query_id.is_some()
            || self.query_vector.is_some()
            || self.relevant.is_some()
            || self.grade.is_some();
        match (pair, graded) {
            (true, true) => Err(
                "mixes the forms {\"a\", \"b\", \"similar\"} and {\"query\", \"item\", ..}".into(),
            ),
            (false, false) => Err(
                "not a judgement; a line has \"query\", \"item\" and \"relevant\", or \"a\", \"b\" and \"similar\""
                    .into(),
            ),
            (true, false) => self.pair(),
            (false, true) => self.graded(expected),
        }
    }

    fn pair(&self) -> Result<Judgement, String> {
        let (Some(a), Some(b), Some(similar)) = (&self.a, &self.b, self.similar) else {
            return Err("a judgement of two items needs \"a\", \"b\" and \"similar\"".into());
        };
        check_id(a).map_err(|e| format!("\"a\": {e}"))?;
        check_id(b).map_err(|e| format!("\"b\": {e}"))?;
        if a == b {
            return Err(format!(
                "\"a\" and \"b\" are both {:?}; an item is not judged against itself",
                cut(a)
            ));
        }
        Ok(if similar {
            Judgement::similar(a.clone(), b.clone())
        } else {
            Judgement::dissimilar(a.clone(), b.clone())
        })
    }

    fn graded(&self, expected: Expected) -> Result<Judgement, String> {
        let item = self
            .item
            .as_ref()
            .ok_or("a judgement of an answer needs \"item\"")?;
        check_id(item).map_err(|e| format!("\"item\": {e}"))?;
        let query = query(
            self.query.as_ref(),
            self.query_id.as_ref(),
            self.query_vector.as_deref(),
            expected,
        )?;
        if self.query_id.as_ref() == Some(item) {
            return Err(format!(
                "\"query_id\" and \"item\" are both {:?}; an item is not judged against itself",
                cut(item)
            ));
        }
        Ok(Judgement::graded(query, item.clone(), self.grade()?))
    }

    /// The grade of an answer, from -1 (irrelevant) to 1 (relevant).
    fn grade(&self) -> Result<f32, String> {
        match (self.relevant, self.grade) {
            (Some(relevant), None) => Ok(if relevant { 1.0 } else { -1.0 }),
            (None, Some(grade)) if (-1.0..=1.0).contains(&grade) => Ok(grade as f32),
            (None, Some(grade)) => Err(format!("\"grade\" is {grade:?}; it lies between -1 and 1")),
            (Some(_), Some(_)) => {
                Err("has both \"relevant\" and \"grade\"; one of them is needed".into())
            }
            (None, None) => Err("needs \"relevant\" (true or false) or \"grade\" (-1 to 1)".into()),
        }
    }
}

/// The query of a line, which names it by text, by the id of an item, or by a vector.
///
/// # Errors
/// The reason why the collection cannot be asked it.
pub fn query(
    text: Option<&String>,
    id: Option<&String>,
    vector: Option<&[f64]>,
    expected: Expected,
) -> Result<Query, String> {
    match (text, id, vector) {
        (Some(_), None, None) if !expected.texts => Err(
            "the collection has no encoder for \"query\"; give \"query_id\" or \"query_vector\""
                .into(),
        ),
        (Some(text), None, None) => {
            let query = Query::from(text);
            query.check().map_err(|e| format!("\"query\": {e}"))?;
            Ok(query)
        }
        (None, Some(id), None) => {
            check_id(id).map_err(|e| format!("\"query_id\": {e}"))?;
            Ok(Query::like(id.clone()))
        }
        (None, None, Some(vector)) => {
            let vector = narrow(vector, "\"query_vector\"")?;
            check_vector(&vector, expected).map_err(|e| format!("\"query_vector\": {e}"))?;
            Ok(vector.into())
        }
        (None, None, None) => {
            Err("needs a query: \"query\", \"query_id\" or \"query_vector\"".into())
        }
        _ => Err("has more than one of \"query\", \"query_id\" and \"query_vector\"".into()),
    }
}

pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    let wrong = || {
        format!(
            "\"at\" is {:?}, which is not a time of RFC 3339, such as \"2026-03-01T09:30:00Z\"",
            cut(text)
        )
    };
    text.parse::<jiff::Timestamp>()
        .and_then(SystemTime::try_from)
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinis::Distance;
    use std::time::Duration;

    const TWO: Expected = Expected {
        dim: 2,
        texts: true,
        distance: Distance::L2,
        skip_bad: false,
    };

    fn parse(text: &str) -> Result<Vec<(u64, Judgement)>, String> {
        judgements_jsonl(text.as_bytes(), "j.jsonl", TWO, &Defaults::default())
            .map_err(|e| e.to_string())
    }

    fn refused(text: &str, with: &str) {
        let error = parse(text).unwrap_err();
        assert!(
            error.starts_with("j.jsonl, line 1: ") && error.contains(with),
            "{error:?} does not say {with:?}"
        );
    }

    #[test]
    fn the_four_forms_are_read() {
        let text = r#"{"query": "text", "item": "x", "relevant": true}
{"query_id": "q", "item": "x", "relevant": false}

{"query_vector": [1, 2], "item": "x", "grade": 0.5}
{"a": "x", "b": "y", "similar": false}"#;
        let wanted = [
            (1, Judgement::relevant("text", "x")),
            (2, Judgement::irrelevant(Query::like("q"), "x")),
            (4, Judgement::graded(vec![1.0, 2.0], "x", 0.5)),
            (5, Judgement::dissimilar("x", "y")),
        ];
        assert_eq!(parse(text).unwrap(), wanted);
    }

    #[test]
    fn what_a_line_says_goes_before_the_defaults() {
        let defaults = Defaults {
            user: Some("ann".into()),
            source: Some(Source::Click),
        };
        let text = "{\"a\":\"x\",\"b\":\"y\",\"similar\":true}
{\"a\":\"x\",\"b\":\"y\",\"similar\":true,\"user\":\"bob\",\"source\":\"proxy\",\"weight\":2,\"at\":\"1970-01-01T01:00:10+01:00\",\"shown\":[\"z\",\"y\"]}";
        let parsed = judgements_jsonl(text.as_bytes(), "f", TWO, &defaults).unwrap();
        let one = Judgement::similar("x", "y");
        assert_eq!(parsed[0].1, one.clone().user("ann").source(Source::Click));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let shown = vec!["z".to_owned(), "y".to_owned()];
        assert_eq!(
            parsed[1].1,
            one.user("bob")
                .source(Source::Proxy)
                .weight(2.0)
                .at(at)
                .shown(shown)
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_file_and_line() {
        refused(
            r#"{"query": "t", "item": "x", "relevent": true}"#,
            "unknown field `relevent`",
        );
        refused(r#"{"query": "t", "item": "x"}"#, "needs \"relevant\"");
        refused(
            r#"{"query": "t", "item": "x", "relevant": true, "grade": 1}"#,
            "both \"relevant\" and \"grade\"",
        );
        refused(
            r#"{"query": "t", "item": "x", "relevant": 1}"#,
            "expected a boolean",
        );
        refused(r#"{"query": "t", "relevant": true}"#, "needs \"item\"");
        refused(r#"{"item": "x", "relevant": true}"#, "needs a query");
        refused(
            r#"{"query": "t", "query_id": "q", "item": "x", "relevant": true}"#,
            "more than one",
        );
        refused(
            r#"{"query": " ", "item": "x", "relevant": true}"#,
            "\"query\": the query cannot be answered: the text is empty",
        );
        refused(
            r#"{"query_id": "x", "item": "x", "relevant": true}"#,
            "not judged against itself",
        );
        refused(
            r#"{"a": "x", "b": "x", "similar": true}"#,
            "not judged against itself",
        );
        refused(
            r#"{"a": "x", "b": "y"}"#,
            "needs \"a\", \"b\" and \"similar\"",
        );
        refused(
            r#"{"a": "x", "b": "y", "similar": true, "item": "x"}"#,
            "mixes the forms",
        );
        refused(
            r#"{"query": "t", "item": "x", "grade": 1.01}"#,
            "lies between -1 and 1",
        );
        refused(
            r#"{"query": "t", "item": "x", "grade": -2}"#,
            "lies between -1 and 1",
        );
        refused(
            r#"{"query_vector": [1], "item": "x", "grade": 1}"#,
            "the collection holds vectors of dimension 2",
        );
        refused(
            r#"{"query_vector": [1, 1e40], "item": "x", "grade": 1}"#,
            "too large",
        );
        refused(
            r#"{"a": "x", "b": "y", "similar": true, "weight": 0}"#,
            "above 0",
        );
        refused(
            r#"{"a": "x", "b": "y", "similar": true, "weight": 1e60}"#,
            "above 0 and finite",
        );
        refused(
            r#"{"a": "x", "b": "y", "similar": true, "source": "guess"}"#,
            "explicit, click and proxy",
        );
        refused(
            r#"{"a": "x", "b": "y", "similar": true, "at": "yesterday"}"#,
            "RFC 3339",
        );
        refused(
            r#"{"a": "x", "b": "y", "similar": true, "at": "2026-01-01"}"#,
            "RFC 3339",
        );
        refused(
            r#"{"a": "x", "b": "y", "similar": true, "user": ""}"#,
            "\"user\" is empty",
        );
        refused("{}", "not a judgement");
        assert!(
            parse("")
                .unwrap_err()
                .contains("j.jsonl: the input is empty")
        );
    }
}
