//! Judgements: feedback on answers and on pairs of items.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::names::named;
use super::{ContentHash, JudgedContent, JudgementError, JudgementId, Query, check_id};

/// The largest number of ids shown beside a judged item.
pub(super) const MAX_SHOWN: usize = 10_000;

/// One piece of feedback. Its JSON form is that of the command line's judgement files.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The answer or pair of items that was judged.
    pub subject: Subject,
    /// Name of the user who judged, 1 to 512 bytes.
    pub user: Option<String>,
    /// Source of the judgement.
    pub source: Source,
    /// Weight beside other judgements, above 0; 1 by default.
    pub weight: f32,
    /// Time of the judgement; `None` stands for the time at which it is stored.
    pub at: Option<SystemTime>,
    /// Ids that were shown beside the judged item, in order.
    pub shown: Vec<String>,
}

/// The subject of a judgement.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Subject {
    /// An item as an answer to a query.
    Graded {
        /// The query.
        query: Query,
        /// Id of the item.
        item: String,
        /// Grade of the item as an answer, from -1 (irrelevant) to 1 (relevant).
        grade: f32,
    },
    /// Two items that belong together or do not.
    Pair {
        /// Id of one item.
        a: String,
        /// Id of the other item.
        b: String,
        /// Whether they belong together.
        similar: bool,
    },
}

/// The source of a judgement.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// A person judged.
    #[default]
    Explicit,
    /// A person chose an answer from those shown.
    Click,
    /// A program derived the judgement, for example from a shared label.
    Proxy,
}

// The command line and JSON have the same names.
named!(Source, "source", { Explicit => "explicit", Click => "click", Proxy => "proxy" });

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

    /// Judges the item a good answer to the query: grade 1.
    pub fn relevant(query: impl Into<Query>, item: impl Into<String>) -> Self {
        Self::graded(query, item, 1.0)
    }

    /// Judges the item no answer to the query: grade -1.
    pub fn irrelevant(query: impl Into<Query>, item: impl Into<String>) -> Self {
        Self::graded(query, item, -1.0)
    }

    /// Grades the item as an answer to the query, from -1 (irrelevant) to 1 (relevant).
    pub fn graded(query: impl Into<Query>, item: impl Into<String>, grade: f32) -> Self {
        Self::new(Subject::Graded {
            query: query.into(),
            item: item.into(),
            grade,
        })
    }

    /// Judges that two items belong together.
    pub fn similar(a: impl Into<String>, b: impl Into<String>) -> Self {
        Self::new(Subject::Pair {
            a: a.into(),
            b: b.into(),
            similar: true,
        })
    }

    /// Judges that two items do not belong together.
    pub fn dissimilar(a: impl Into<String>, b: impl Into<String>) -> Self {
        Self::new(Subject::Pair {
            a: a.into(),
            b: b.into(),
            similar: false,
        })
    }

    /// Sets the user who judged.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the source; explicit by default.
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Sets the weight beside other judgements; 1 by default.
    pub fn weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the time; the time of storing by default.
    pub fn at(mut self, at: SystemTime) -> Self {
        self.at = Some(at);
        self
    }

    /// Sets the ids that were shown beside the judged item, in order.
    pub fn shown(mut self, shown: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.shown = shown.into_iter().map(Into::into).collect();
        self
    }

    /// The ids that it names, those shown beside the judged item included.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
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

    /// The contents of the items that it names, where `of` gives that of an id. Where it gives none,
    /// the content is unknown, and no item will have it.
    pub fn content(&self, of: impl Fn(&str) -> Option<ContentHash>) -> JudgedContent {
        let of = |id: &String| of(id).unwrap_or(ContentHash::UNKNOWN);
        let (query, item) = match &self.subject {
            Subject::Graded { query, item, .. } => (query.item(), item),
            Subject::Pair { a, b, .. } => (Some(a), b),
        };
        JudgedContent {
            query: query.map(of),
            item: of(item),
            shown: self.shown.iter().map(of).collect(),
        }
    }

    /// The text that it judges answers to, where the query is a text.
    pub(crate) fn query_text(&self) -> Option<&str> {
        match &self.subject {
            Subject::Graded { query, .. } => query.text(),
            Subject::Pair { .. } => None,
        }
    }

    /// The item that it grades as an answer; `None` for a pair.
    pub(crate) fn graded_item(&self) -> Option<&str> {
        match &self.subject {
            Subject::Graded { item, .. } => Some(item),
            Subject::Pair { .. } => None,
        }
    }

    /// Checks all rules that do not depend on the collection.
    pub(crate) fn check(&self) -> Result<(), JudgementError> {
        match &self.subject {
            Subject::Graded { query, item, grade } => {
                if !(-1.0..=1.0).contains(grade) {
                    return Err(JudgementError::Grade(*grade));
                }
                if query.is_blank() {
                    return Err(JudgementError::BlankText);
                }
                if matches!(query, Query::Item(id) if id == item) {
                    return Err(JudgementError::OwnAnswer(item.clone()));
                }
            }
            Subject::Pair { a, b, .. } if a == b => {
                return Err(JudgementError::OwnPair(a.clone()));
            }
            Subject::Pair { .. } => {}
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(JudgementError::Weight(self.weight));
        }
        if let Some(user) = &self.user {
            check_id(user).map_err(JudgementError::User)?;
        }
        if self.shown.len() > MAX_SHOWN {
            let count = self.shown.len();
            return Err(JudgementError::TooManyShown { count });
        }
        Ok(())
    }
}

/// A judgement with its number in the collection's log.
///
/// Its JSON form is that of a [`Judgement`] with the number as `sequence` and the `content`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJudgement {
    /// Number of the judgement.
    #[doc(alias = "sequence")]
    pub id: JudgementId,
    /// The judgement; its time is set.
    pub judgement: Judgement,
    /// What the items that it names held when it was given. While one that it judges holds
    /// something else, it teaches nothing.
    pub content: JudgedContent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_judgement_is_refused() {
        assert!(Judgement::relevant("q", "a").check().is_ok());
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
            let reason = judgement.check().expect_err("a refusal").to_string();
            assert!(reason.contains(word), "{reason}");
        }
    }
}
