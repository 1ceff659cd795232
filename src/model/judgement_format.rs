//! The JSON form of judgements, the same as in the command line's judgement files.
//!
//! A judgement names its subject in one of four ways:
//!
//! | subject | fields |
//! |---|---|
//! | an answer to a text | `query`, `item`, and `relevant` or `grade` |
//! | an answer to a stored item | `query_id`, `item`, and `relevant` or `grade` |
//! | an answer to a vector | `query_vector`, `item`, and `relevant` or `grade` |
//! | two items | `a`, `b`, `similar` |
//!
//! Optional are `user`, `source`, `weight`, `at` (RFC 3339) and `shown`. A stored judgement has its
//! number as `sequence` and the hashes of what its items held as `content`, which a judgement to be
//! stored may have and which are then ignored.

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{JudgedContent, Judgement, JudgementId, Query, Source, StoredJudgement, Subject, time};

/// All fields of all forms, before it is checked that they make one form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    sequence: Option<JudgementId>,
    query: Option<String>,
    query_id: Option<String>,
    query_vector: Option<Vec<f32>>,
    item: Option<String>,
    relevant: Option<bool>,
    grade: Option<f32>,
    a: Option<String>,
    b: Option<String>,
    similar: Option<bool>,
    user: Option<String>,
    source: Option<Source>,
    weight: Option<f32>,
    at: Option<String>,
    shown: Option<Vec<String>>,
    content: Option<JudgedContent>,
}

/// A judgement whose fields make none of the forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum FormError {
    #[error("a judgement has `query`, `item` and `relevant`, or `a`, `b` and `similar`")]
    NoSubject,
    #[error("a judgement mixes the forms `query`, `item`, .. and `a`, `b`, `similar`")]
    TwoSubjects,
    #[error("a judgement of two items needs `a`, `b` and `similar`")]
    IncompletePair,
    #[error("a judgement of an answer needs `item`")]
    NoItem,
    #[error("a judgement of an answer needs `query`, `query_id` or `query_vector`, and one only")]
    Queries,
    #[error("a judgement of an answer needs `relevant` or `grade`, and not both")]
    Grades,
    #[error("`at` is {0:?}, which is not a time in RFC 3339, such as 2026-03-01T09:30:00Z")]
    Time(String),
}

impl Fields {
    fn judgement(self) -> Result<Judgement, FormError> {
        let at = match &self.at {
            Some(text) => time::parse_rfc3339(text)
                .and_then(time::from_millis)
                .map(Some)
                .ok_or_else(|| FormError::Time(text.clone()))?,
            None => None,
        };
        let is_pair = self.a.is_some() || self.b.is_some() || self.similar.is_some();
        let is_answer = self.query.is_some()
            || self.query_id.is_some()
            || self.query_vector.is_some()
            || self.item.is_some()
            || self.relevant.is_some()
            || self.grade.is_some();
        let subject = match (is_pair, is_answer) {
            (true, true) => return Err(FormError::TwoSubjects),
            (false, false) => return Err(FormError::NoSubject),
            (true, false) => match (self.a, self.b, self.similar) {
                (Some(a), Some(b), Some(similar)) => Subject::Pair { a, b, similar },
                _ => return Err(FormError::IncompletePair),
            },
            (false, true) => Subject::Graded {
                item: self.item.ok_or(FormError::NoItem)?,
                query: match (self.query, self.query_id, self.query_vector) {
                    (Some(text), None, None) => Query::Text(text),
                    (None, Some(id), None) => Query::Item(id),
                    (None, None, Some(vector)) => Query::Vector(vector),
                    _ => return Err(FormError::Queries),
                },
                grade: match (self.relevant, self.grade) {
                    (Some(true), None) => 1.0,
                    (Some(false), None) => -1.0,
                    (None, Some(grade)) => grade,
                    _ => return Err(FormError::Grades),
                },
            },
        };
        Ok(Judgement {
            subject,
            user: self.user,
            source: self.source.unwrap_or_default(),
            weight: self.weight.unwrap_or(1.0),
            at,
            shown: self.shown.unwrap_or_default(),
        })
    }
}

impl<'de> Deserialize<'de> for Judgement {
    /// Reads the form of the command line's judgement files. Limits, such as those of grades, are
    /// checked when the judgement is stored.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        fields.judgement().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for StoredJudgement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        let id = fields
            .sequence
            .ok_or_else(|| D::Error::missing_field("sequence"))?;
        let content = fields.content.clone();
        let content = content.ok_or_else(|| D::Error::missing_field("content"))?;
        let judgement = fields.judgement().map_err(D::Error::custom)?;
        Ok(Self {
            id,
            judgement,
            content,
        })
    }
}

impl Serialize for Judgement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write(self, &mut map)?;
        map.end()
    }
}

impl Serialize for StoredJudgement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sequence", &self.id)?;
        write(&self.judgement, &mut map)?;
        map.serialize_entry("content", &self.content)?;
        map.end()
    }
}

/// Writes the fields of a judgement.
fn write<M: SerializeMap>(judgement: &Judgement, map: &mut M) -> Result<(), M::Error> {
    match &judgement.subject {
        Subject::Graded { query, item, grade } => {
            match query {
                Query::Text(text) => map.serialize_entry("query", text)?,
                Query::Vector(vector) => map.serialize_entry("query_vector", vector)?,
                Query::Item(id) => map.serialize_entry("query_id", id)?,
            }
            map.serialize_entry("item", item)?;
            map.serialize_entry("grade", grade)?;
        }
        Subject::Pair { a, b, similar } => {
            map.serialize_entry("a", a)?;
            map.serialize_entry("b", b)?;
            map.serialize_entry("similar", similar)?;
        }
    }
    if let Some(user) = &judgement.user {
        map.serialize_entry("user", user)?;
    }
    map.serialize_entry("source", &judgement.source)?;
    map.serialize_entry("weight", &judgement.weight)?;
    if let Some(at) = judgement.at {
        map.serialize_entry("at", &time::rfc3339(time::millis(at)))?;
    }
    if !judgement.shown.is_empty() {
        map.serialize_entry("shown", &judgement.shown)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContentHash;

    fn read(json: &str) -> Result<Judgement, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_stored_judgement_is_read_back_as_it_was_written() {
        let at = time::from_millis(1_795_000_000_123).expect("a time");
        for judgement in [
            Judgement::relevant("apple trees", "a").user("ann").at(at),
            Judgement::graded(Query::like("q"), "a", -0.3).weight(0.25),
            Judgement::irrelevant(vec![0.1_f32, -2.5e-8, 3.0], "a").source(Source::Click),
            Judgement::similar("a", "b").shown(["b", "c"]),
            Judgement::dissimilar("a", "b").source(Source::Proxy),
        ] {
            let of = |text| ContentHash::of(Some(text), &[]);
            let stored = StoredJudgement {
                id: JudgementId(7),
                content: JudgedContent {
                    query: Some(of("query")),
                    item: of("item"),
                    shown: judgement.shown.iter().map(|id| of(id)).collect(),
                },
                judgement,
            };
            let json = serde_json::to_string(&stored).expect("JSON");
            assert_eq!(
                serde_json::from_str::<StoredJudgement>(&json).expect(&json),
                stored
            );
            assert_eq!(read(&json), Ok(stored.judgement.clone()), "{json}");
            let json = serde_json::to_string(&stored.judgement).expect("JSON");
            assert_eq!(read(&json), Ok(stored.judgement), "{json}");
        }
    }

    #[test]
    fn relevant_is_a_grade_and_what_is_left_out_has_defaults() {
        assert_eq!(
            read(r#"{"query": "t", "item": "a", "relevant": false}"#),
            Ok(Judgement::irrelevant("t", "a"))
        );
    }

    #[test]
    fn fields_that_make_no_form_are_refused() {
        for (json, word) in [
            ("{}", "a judgement has"),
            (
                r#"{"a": "x", "b": "y", "similar": true, "item": "x"}"#,
                "mixes",
            ),
            (r#"{"a": "x", "b": "y"}"#, "two items needs"),
            (r#"{"query": "t", "relevant": true}"#, "needs `item`"),
            (r#"{"item": "a", "relevant": true}"#, "needs `query`"),
            (
                r#"{"query": "t", "query_id": "q", "item": "a", "relevant": true}"#,
                "one only",
            ),
            (r#"{"query": "t", "item": "a"}"#, "`relevant` or `grade`"),
            (
                r#"{"query": "t", "item": "a", "relevant": true, "grade": 1}"#,
                "not both",
            ),
            (
                r#"{"query": "t", "item": "a", "relevent": true}"#,
                "relevent",
            ),
            (
                r#"{"a": "x", "b": "y", "similar": true, "source": "guess"}"#,
                "guess",
            ),
            (
                r#"{"a": "x", "b": "y", "similar": true, "at": "yesterday"}"#,
                "RFC 3339",
            ),
        ] {
            let refusal = read(json).expect_err(json);
            assert!(refusal.contains(word), "{json}: {refusal}");
        }
        let unnumbered = r#"{"a": "x", "b": "y", "similar": true}"#;
        assert!(serde_json::from_str::<StoredJudgement>(unnumbered).is_err());
    }
}
