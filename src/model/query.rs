//! Queries, the hits that answer them, and how a search was executed.

use std::fmt;
use std::ops::Deref;

use ndarray::ArrayView1;
use serde::Serialize;
use serde_json::Value;

use super::{Highlight, VersionId};
use crate::model::error::{Error, Result};

/// The most hits one search may ask for.
pub const MAX_K: usize = 10_000;

/// The recall that a search aims at unless it names one.
pub const DEFAULT_RECALL: f64 = 0.95;

/// A query: a text, a vector, or an item that is already stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Query {
    /// A text, which the collection's encoder encodes; it holds something that the encoder knows.
    Text(String),
    /// A vector of the collection's dimension.
    Vector(Vec<f32>),
    /// The id of a stored item, whose vector is the query. The item itself is not among the hits.
    Item(String),
}

impl Query {
    /// A query for the items nearest to a stored one, by its id.
    pub fn like(id: impl Into<String>) -> Self {
        Self::Item(id.into())
    }

    /// Checks all that every collection requires of a query: a text must hold more than white
    /// space.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] with what is wrong.
    pub fn check(&self) -> Result<()> {
        if self.is_blank() {
            let reason = "the text is empty, so there is nothing to encode";
            return Err(Error::InvalidQuery(reason.to_owned()));
        }
        Ok(())
    }

    /// Whether it is a text of white space only.
    pub(crate) fn is_blank(&self) -> bool {
        self.text().is_some_and(|text| text.trim().is_empty())
    }

    /// The id of a query by a stored item.
    pub(crate) fn item(&self) -> Option<&String> {
        match self {
            Self::Item(id) => Some(id),
            Self::Text(_) | Self::Vector(_) => None,
        }
    }

    /// The text of a query by text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Vector(_) | Self::Item(_) => None,
        }
    }
}

impl From<&str> for Query {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Query {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Query {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Vec<f32>> for Query {
    fn from(vector: Vec<f32>) -> Self {
        Self::Vector(vector)
    }
}

impl From<&[f32]> for Query {
    fn from(vector: &[f32]) -> Self {
        Self::Vector(vector.to_vec())
    }
}

impl From<ArrayView1<'_, f32>> for Query {
    fn from(vector: ArrayView1<'_, f32>) -> Self {
        Self::Vector(vector.to_vec())
    }
}

/// The metric under which a search is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MetricChoice {
    /// The active metric: the user's own where a user is named who has one, otherwise that of
    /// everybody.
    #[default]
    Active,
    /// Version 0, the built-in [`Distance`](crate::Distance) with which the collection was created:
    /// squared Euclidean, cosine or dot product. No learned metric takes part.
    BuiltIn,
    /// The version of this number.
    Version(VersionId),
}

/// What a search ranks items by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RankBy {
    /// The distances of their vectors from the query.
    #[default]
    Meaning,
    /// The words that their texts share with the query.
    Words,
    /// Both.
    Hybrid,
}

/// One item that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hit {
    /// Id of the item.
    pub id: String,
    /// Squared distance `d_A(q, x)` of query and item; smaller is nearer. In a dot collection
    /// without a learned metric it is minus the dot product. Not a number, `null` in JSON, where the
    /// item was found by the words of a text that has no vector.
    pub distance: f32,
    /// Score for people; larger is better. It is the cosine or dot product in such collections
    /// without a learned metric, otherwise `1 / (1 + distance)`. Where judgements move the query it
    /// is that of the moved query. In a search by words it is the keyword score, and in a hybrid
    /// search a sum: closeness, 1 for the third item and 0 for the hundredth, and a weight times the
    /// keyword score over that of a text of mean length that holds every word once.
    pub score: f32,
    /// By how much judgements of this question and of questions like it bring the item nearer,
    /// beside an item equal to the query: hits are in the order of `distance - memory`. `None` where
    /// nothing is remembered that is near the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f32>,
    /// Score of the item's text for the words of the query by BM25; larger is better. `None` in a
    /// search by meaning only, and for an item that the words do not find.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyword_score: Option<f32>,
    /// Value of the field that the search [groups by](crate::Search::group_by). `None` without groups,
    /// and for an item that stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Value>,
    /// The places in its text that say why it was found, in their order; `None` unless
    /// [`Search::highlights`](crate::Search::highlights) asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highlights: Option<Vec<Highlight>>,
    /// Rank among the hits, from 1; the hits that an [offset](crate::Search::offset) or a
    /// [cursor](crate::Search::cursor) left behind are counted.
    pub rank: usize,
    /// Text of the item, when [`Search::include_text`](crate::Search::include_text) asked for it.
    pub text: Option<String>,
    /// Metadata of the item, when [`Search::include_meta`](crate::Search::include_meta) asked for
    /// it.
    pub meta: Option<Value>,
}

/// The hits of one search, nearest first; reads as a slice of [`Hit`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hits {
    /// Hits in the order of their distances less their memories, ties by id; group by group where
    /// they are grouped, and in the order of diversity where that is asked for.
    pub hits: Vec<Hit>,
    /// The groups of the hits, where the search groups them, the one with the best hit first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupCount>>,
    /// Where the next page begins, for [`Search::cursor`](crate::Search::cursor): there, if pages
    /// are asked for and there are more hits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Version of the metric that ranked them.
    pub metric: VersionId,
    /// How the search was executed.
    pub execution: Execution,
}

/// A group of hits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupCount {
    /// The value that its items have; `None` for an item that stands alone.
    pub value: Option<Value>,
    /// Number of the collection's items that have the value and pass the filter, whether they are
    /// among the hits or not; 1 for an item that stands alone.
    pub count: u64,
}

/// How the index searches its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Plan {
    /// Nothing is searched: there are no items, or no hits are wanted.
    Empty,
    /// All items are scanned.
    Scan,
    /// The items that pass the filter are scanned.
    FilterScan,
    /// A graph is walked.
    Graph,
    /// A graph is walked, and then all items are scanned, because none is near the query.
    GraphThenScan,
    /// A graph is walked, and only items that pass the filter are found.
    FilterGraph,
    /// The texts are searched by their words only.
    Words,
    /// Another [engine](crate::engine) than the embedded store finds candidates by its own means,
    /// which are then ranked.
    Engine,
}

impl Plan {
    /// The name of the plan, as in the command line's output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Scan => "scan",
            Self::FilterScan => "filter scan",
            Self::Graph => "graph",
            Self::GraphThenScan => "graph, then scan",
            Self::FilterGraph => "filter graph",
            Self::Words => "words",
            Self::Engine => "engine",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Plan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How a search was executed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Execution {
    /// Number of distances computed.
    pub visited: usize,
    /// Width of the beam: the one given, or the one that the search came to by itself.
    pub ef: usize,
    /// Mean share of the nearest items that searches find whose nearest items are as far away as
    /// those of this one, 0 to 1, as it was measured by the [calibration](Self::calibration).
    /// `None` before the first calibration, and where the width was given.
    #[serde(skip)]
    pub expected_recall: Option<f32>,
    /// The checksum of the stored calibration that decided how far the search went, if one did.
    #[serde(skip)]
    pub calibration: Option<u32>,
    /// Microseconds in the index.
    pub micros: u64,
    /// How the segments were searched.
    pub plan: Plan,
    /// Number of distances that the plan was expected to compute.
    #[serde(skip)]
    pub expected: usize,
    /// Number of items that pass the filter, if there is one.
    #[serde(skip)]
    pub matching: Option<usize>,
    /// False if the search was cancelled before it was done.
    pub complete: bool,
}

impl Execution {
    /// A search of another [engine](crate::engine): it ranked `visited` candidates of an index that
    /// was searched with a width of `ef`.
    pub fn by_engine(visited: usize, ef: usize, micros: u64) -> Self {
        Self {
            visited,
            ef,
            expected_recall: None,
            calibration: None,
            micros,
            plan: Plan::Engine,
            expected: visited,
            matching: None,
            complete: true,
        }
    }
}

impl Hit {
    /// A hit without text and metadata, at a rank from 1.
    pub fn new(id: impl Into<String>, distance: f32, score: f32, rank: usize) -> Self {
        Self {
            id: id.into(),
            distance,
            score,
            memory: None,
            keyword_score: None,
            group: None,
            highlights: None,
            rank,
            text: None,
            meta: None,
        }
    }
}

impl Hits {
    /// The hits of a search under a metric version, nearest first.
    pub fn new(hits: Vec<Hit>, metric: VersionId, execution: Execution) -> Self {
        Self {
            hits,
            groups: None,
            cursor: None,
            metric,
            execution,
        }
    }
}

impl Deref for Hits {
    type Target = [Hit];

    fn deref(&self) -> &[Hit] {
        &self.hits
    }
}

impl IntoIterator for Hits {
    type Item = Hit;
    type IntoIter = std::vec::IntoIter<Hit>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.into_iter()
    }
}

impl<'a> IntoIterator for &'a Hits {
    type Item = &'a Hit;
    type IntoIter = std::slice::Iter<'a, Hit>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.iter()
    }
}
