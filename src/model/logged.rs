//! Judgements in the form of the log, which stores the vector of a query once, under a hash of the
//! query.

use serde::{Deserialize, Serialize};

use super::{ContentHash, JudgedContent, Judgement, Query, Source, Subject, time};
use crate::model::error::Result;

/// Key of a query's vector in the log: a hash of its text or of its numbers.
pub type QueryHash = [u8; 16];

/// A judged query in the form of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoggedQuery {
    /// A text. Its vector is stored under the hash of the text.
    Text(String),
    /// A vector, by the hash under which its numbers are stored.
    Vector(QueryHash),
    /// A stored item.
    Item(LoggedItem),
}

/// An item that a judgement names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct LoggedItem {
    pub(crate) id: String,
    /// What it held when it was judged: only while it holds this is it what the judgement speaks
    /// of.
    pub(crate) content: ContentHash,
}

/// A judgement in the form of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedJudgement {
    pub(crate) query: LoggedQuery,
    pub(crate) item: LoggedItem,
    /// From -1 to 1.
    pub(crate) grade: f32,
    /// Whether it judges a pair of items: `query` is then one item, and `item` the other.
    pub(crate) pair: bool,
    pub(crate) weight: f32,
    pub(crate) source: Source,
    pub(crate) user: Option<String>,
    /// Milliseconds since 1970 in UTC.
    pub(crate) at: i64,
    pub(crate) shown: Vec<LoggedItem>,
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
    /// different for others. A stored item is the same query whatever it holds.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => hash_text(text).to_vec(),
            Self::Vector(hash) => hash.to_vec(),
            Self::Item(item) => item_key(&item.id),
        }
    }

    /// The stored item that is the query.
    pub(crate) fn item(&self) -> Option<&LoggedItem> {
        match self {
            Self::Item(item) => Some(item),
            Self::Text(_) | Self::Vector(_) => None,
        }
    }
}

/// The key that a query has in the log, as [`LoggedQuery::key`] gives it.
pub(crate) fn query_key(query: &Query) -> Vec<u8> {
    match query {
        Query::Text(text) => hash_text(text).to_vec(),
        Query::Vector(vector) => hash_vector(vector).to_vec(),
        Query::Item(id) => item_key(id),
    }
}

/// The key of a stored item as a query.
pub(crate) fn item_key(id: &str) -> Vec<u8> {
    [b"item ", id.as_bytes()].concat()
}

impl LoggedJudgement {
    /// The log's form of a judgement, with the contents of the items that it names; one without a
    /// time gets the present one.
    pub(crate) fn of(judgement: &Judgement, content: &JudgedContent) -> Self {
        let logged = |id: &String, content: ContentHash| LoggedItem {
            id: id.clone(),
            content,
        };
        let query_item = |id| logged(id, content.query.unwrap_or(ContentHash::UNKNOWN));
        let (query, item, grade, pair) = match &judgement.subject {
            Subject::Graded { query, item, grade } => {
                let query = match query {
                    Query::Text(text) => LoggedQuery::Text(text.clone()),
                    Query::Vector(vector) => LoggedQuery::Vector(hash_vector(vector)),
                    Query::Item(id) => LoggedQuery::Item(query_item(id)),
                };
                (query, item, *grade, false)
            }
            Subject::Pair { a, b, similar } => {
                let grade = if *similar { 1.0 } else { -1.0 };
                (LoggedQuery::Item(query_item(a)), b, grade, true)
            }
        };
        let shown_contents = content.shown.iter().copied();
        let shown_contents = shown_contents.chain(std::iter::repeat(ContentHash::UNKNOWN));
        Self {
            query,
            item: logged(item, content.item),
            grade,
            pair,
            weight: judgement.weight,
            source: judgement.source,
            user: judgement.user.clone(),
            at: judgement.at.map_or_else(time::now_millis, time::millis),
            shown: judgement
                .shown
                .iter()
                .zip(shown_contents)
                .map(|(id, content)| logged(id, content))
                .collect(),
        }
    }

    /// The judgement itself; `vector` reads the numbers of a judged vector by its hash.
    pub(crate) fn into_judgement(
        self,
        vector: impl Fn(QueryHash) -> Result<Vec<f32>>,
    ) -> Result<(Judgement, JudgedContent)> {
        let content = JudgedContent {
            query: self.query.item().map(|item| item.content),
            item: self.item.content,
            shown: self.shown.iter().map(|item| item.content).collect(),
        };
        let subject = match (self.query, self.pair) {
            (LoggedQuery::Item(a), true) => Subject::Pair {
                a: a.id,
                b: self.item.id,
                similar: self.grade > 0.0,
            },
            (query, _) => Subject::Graded {
                query: match query {
                    LoggedQuery::Text(text) => Query::Text(text),
                    LoggedQuery::Vector(hash) => Query::Vector(vector(hash)?),
                    LoggedQuery::Item(item) => Query::Item(item.id),
                },
                item: self.item.id,
                grade: self.grade,
            },
        };
        let judgement = Judgement {
            subject,
            user: self.user,
            source: self.source,
            weight: self.weight,
            at: time::from_millis(self.at),
            shown: self.shown.into_iter().map(|item| item.id).collect(),
        };
        Ok((judgement, content))
    }

    /// The items that it judges: the answer or both of the pair, and the query where that is one.
    /// Those that were merely shown are not among them.
    pub(crate) fn judged_items(&self) -> impl Iterator<Item = &LoggedItem> {
        self.query.item().into_iter().chain([&self.item])
    }

    /// Whether it is a click on one of several answers.
    pub(crate) fn is_click(&self) -> bool {
        self.source == Source::Click && !self.pair && self.grade > 0.0
    }
}
