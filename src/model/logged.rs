//! Judgements in the form of the log, which stores the vector of a query once, under a hash of the
//! query.

use serde::{Deserialize, Serialize};

use super::{Judgement, Query, Source, Subject, time};
use crate::model::error::Result;

/// Key of a query's vector in the log: a hash of its text or of its numbers.
pub(crate) type QueryHash = [u8; 16];

/// A judged query in the form of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoggedQuery {
    /// A text. Its vector is stored under the hash of the text.
    Text(String),
    /// A vector, by the hash under which its numbers are stored.
    Vector(QueryHash),
    /// A stored item, by its id.
    Item(String),
}

/// A judgement in the form of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedJudgement {
    pub(crate) query: LoggedQuery,
    pub(crate) item: String,
    /// From -1 to 1.
    pub(crate) grade: f32,
    /// Whether it judges a pair of items: `query` is then one item, and `item` the other.
    pub(crate) pair: bool,
    pub(crate) weight: f32,
    pub(crate) source: Source,
    pub(crate) user: Option<String>,
    /// Milliseconds since 1970 in UTC.
    pub(crate) at: i64,
    pub(crate) shown: Vec<String>,
}

/// The hash of a text.
pub(crate) fn hash_text(text: &str) -> QueryHash {
    // Seeds keep a text and a vector with equal bytes apart.
    xxhash_rust::xxh3::xxh3_128_with_seed(text.as_bytes(), 1).to_be_bytes()
}

/// The hash of a vector.
pub(crate) fn hash_vector(vector: &[f32]) -> QueryHash {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, 2).to_be_bytes()
}

impl LoggedQuery {
    /// The log's form of a query.
    pub(crate) fn of(query: &Query) -> Self {
        match query {
            Query::Text(text) => Self::Text(text.clone()),
            Query::Vector(vector) => Self::Vector(hash_vector(vector)),
            Query::Item(id) => Self::Item(id.clone()),
        }
    }

    /// The key of the query's vector in the log; `None` for a stored item, whose vector is stored
    /// with the item.
    pub(crate) fn hash(&self) -> Option<QueryHash> {
        match self {
            Self::Text(text) => Some(hash_text(text)),
            Self::Vector(hash) => Some(*hash),
            Self::Item(_) => None,
        }
    }

    /// A key of the query: equal for equal queries and, except for collisions of the hash,
    /// different for others.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => hash_text(text).to_vec(),
            Self::Vector(hash) => hash.to_vec(),
            Self::Item(id) => [b"item ", id.as_bytes()].concat(),
        }
    }
}

impl LoggedJudgement {
    /// The log's form of a judgement; one without a time gets the present one.
    pub(crate) fn of(judgement: &Judgement) -> Self {
        let (query, item, grade, pair) = match &judgement.subject {
            Subject::Graded { query, item, grade } => (LoggedQuery::of(query), item, *grade, false),
            Subject::Pair { a, b, similar } => {
                let grade = if *similar { 1.0 } else { -1.0 };
                (LoggedQuery::Item(a.clone()), b, grade, true)
            }
        };
        Self {
            query,
            item: item.clone(),
            grade,
            pair,
            weight: judgement.weight,
            source: judgement.source,
            user: judgement.user.clone(),
            at: judgement.at.map_or_else(time::now_millis, time::millis),
            shown: judgement.shown.clone(),
        }
    }

    /// The judgement itself; `vector` reads the numbers of a judged vector by its hash.
    pub(crate) fn into_judgement(
        self,
        vector: impl Fn(QueryHash) -> Result<Vec<f32>>,
    ) -> Result<Judgement> {
        let subject = match (self.query, self.pair) {
            (LoggedQuery::Item(a), true) => Subject::Pair {
                a,
                b: self.item,
                similar: self.grade > 0.0,
            },
            (query, _) => Subject::Graded {
                query: match query {
                    LoggedQuery::Text(text) => Query::Text(text),
                    LoggedQuery::Vector(hash) => Query::Vector(vector(hash)?),
                    LoggedQuery::Item(id) => Query::Item(id),
                },
                item: self.item,
                grade: self.grade,
            },
        };
        Ok(Judgement {
            subject,
            user: self.user,
            source: self.source,
            weight: self.weight,
            at: time::from_millis(self.at),
            shown: self.shown,
        })
    }

    /// Whether it is a click on one of several answers.
    pub(crate) fn is_click(&self) -> bool {
        self.source == Source::Click && !self.pair && self.grade > 0.0
    }
}
