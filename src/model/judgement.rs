//! Judgements: what people say of answers.

use std::time::SystemTime;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::{JudgementId, Query, check_id, time};

/// The most ids that may be given as shown beside a judged item.
const MAX_SHOWN: usize = 10_000;

/// One piece of feedback.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What was judged.
    pub subject: Subject,
    /// Who judged; 1 to 512 bytes.
    pub user: Option<String>,
    /// How the judgement came about.
    pub source: Source,
    /// Above 0.
    pub weight: f32,
    /// When; the time of storing where it is not given.
    pub at: Option<SystemTime>,
    /// Ids that were shown beside it, in order.
    pub shown: Vec<String>,
}

/// What a judgement speaks of.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Subject {
    /// An item as an answer to a query.
    Graded {
        /// The query.
        query: Query,
        /// The item's id.
        item: String,
        /// From -1 (irrelevant) to 1 (relevant).
        grade: f32,
    },
    /// Two items that belong together or do not.
    Pair {
        /// One item's id.
        a: String,
        /// The other's.
        b: String,
        /// Whether they belong together.
        similar: bool,
    },
}

/// How a judgement came about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// Somebody said so.
    #[default]
    Explicit,
    /// Somebody chose an answer from those shown.
    Click,
    /// Derived from something else, such as a shared label.
    Proxy,
}

impl Source {
    /// Its name in the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Click => "click",
            Self::Proxy => "proxy",
        }
    }
}

impl Judgement {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            user: None,
            source: Source::Explicit,
            weight: 1.0,
            at: None,
            shown: Vec::new(),
        }
    }

    /// The item is a good answer to the query.
    pub fn relevant(query: impl Into<Query>, item: impl Into<String>) -> Self {
        Self::graded(query, item, 1.0)
    }

    /// The item is no answer to the query.
    pub fn irrelevant(query: impl Into<Query>, item: impl Into<String>) -> Self {
        Self::graded(query, item, -1.0)
    }

    /// A grade from -1 (irrelevant) to 1 (relevant).
    pub fn graded(query: impl Into<Query>, item: impl Into<String>, grade: f32) -> Self {
        Self::new(Subject::Graded {
            query: query.into(),
            item: item.into(),
            grade,
        })
    }

    /// Two items belong together.
    pub fn similar(a: impl Into<String>, b: impl Into<String>) -> Self {
        Self::new(Subject::Pair {
            a: a.into(),
            b: b.into(),
            similar: true,
        })
    }

    /// Two items do not belong together.
    pub fn dissimilar(a: impl Into<String>, b: impl Into<String>) -> Self {
        Self::new(Subject::Pair {
            a: a.into(),
            b: b.into(),
            similar: false,
        })
    }

    /// Says who judged.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Says how it came about.
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Weighs it against others; 1 by default.
    pub fn weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// Says when.
    pub fn at(mut self, at: SystemTime) -> Self {
        self.at = Some(at);
        self
    }

    /// Says which ids were shown beside it, in order.
    pub fn shown(mut self, shown: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.shown = shown.into_iter().map(Into::into).collect();
        self
    }

    /// The ids it speaks of, those shown beside it included.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match &self.subject {
            Subject::Graded {
                query: Query::Item(query),
                item,
                ..
            } => (Some(query), item),
            Subject::Graded { item, .. } => (None, item),
            Subject::Pair { a, b, .. } => (Some(a), b),
        };
        first
            .into_iter()
            .chain([second])
            .chain(&self.shown)
            .map(String::as_str)
    }

    /// The item that it grades as an answer; `None` for a pair.
    pub(crate) fn graded_item(&self) -> Option<&str> {
        match &self.subject {
            Subject::Graded { item, .. } => Some(item),
            Subject::Pair { .. } => None,
        }
    }

    /// Checks all that can be checked without the collection.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.subject {
            Subject::Graded { query, item, grade } => {
                if !(-1.0..=1.0).contains(grade) {
                    return Err(format!("the grade {grade} is outside [-1, 1]"));
                }
                query.check_text()?;
                if matches!(query, Query::Item(id) if id == item) {
                    return Err(format!("the query and the item are the same item {item:?}"));
                }
            }
            Subject::Pair { a, b, .. } if a == b => return Err(format!("both items are {a:?}")),
            Subject::Pair { .. } => {}
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(format!(
                "the weight {} is not a number above 0",
                self.weight
            ));
        }
        if let Some(user) = &self.user {
            check_id(user).map_err(|e| e.replace("the id", "the user"))?;
        }
        if self.shown.len() > MAX_SHOWN {
            return Err(format!(
                "{} ids are given as shown, more than {MAX_SHOWN}",
                self.shown.len()
            ));
        }
        Ok(())
    }
}

/// A judgement with its place in the collection's log.
///
/// It serialises as a line of the command line's judgement format, with `sequence` beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJudgement {
    /// Number of the judgement.
    #[doc(alias = "sequence")]
    pub id: JudgementId,
    /// The judgement; its time is set.
    pub judgement: Judgement,
}

impl Serialize for StoredJudgement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let judgement = &self.judgement;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sequence", &self.id)?;
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
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_judgement_is_refused() {
        assert_eq!(Judgement::relevant("q", "a").check(), Ok(()));
        for (judgement, word) in [
            (Judgement::graded("q", "a", 1.01), "grade"),
            (Judgement::graded("q", "a", f32::NAN), "grade"),
            (Judgement::relevant(Query::like("a"), "a"), "same"),
            (Judgement::relevant("", "a"), "the text is empty"),
            (Judgement::relevant(" \n", "a"), "the text is empty"),
            (Judgement::similar("a", "a"), "both"),
            (Judgement::relevant("q", "a").weight(0.0), "weight"),
            (
                Judgement::relevant("q", "a").weight(f32::INFINITY),
                "weight",
            ),
            (Judgement::relevant("q", "a").user(""), "user"),
        ] {
            let reason = judgement.check().expect_err("a refusal");
            assert!(reason.contains(word), "{reason}");
        }
    }
}
