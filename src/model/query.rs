//! Queries, the hits that answer them, and how a search was executed.

use std::fmt;
use std::ops::Deref;

use ndarray::ArrayView1;
use serde::Serialize;
use serde_json::Value;

use super::{VersionId, check_text};
use crate::error::{Error, Result};

/// The most hits one search may ask for.
pub const MAX_K: usize = 10_000;

/// The recall that a search aims at unless it names one.
pub const DEFAULT_RECALL: f64 = 0.95;

/// A query: a text, a vector, or an item that is already stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Query {
    /// Encoded by the collection's encoder; more than white space.
    Text(String),
    /// Taken as it is; the collection's dimension.
    Vector(Vec<f32>),
    /// The vector of the item with this id, which is left out of its own answer.
    Item(String),
}

impl Query {
    /// Asks for what is like a stored item.
    pub fn like(id: impl Into<String>) -> Self {
        Self::Item(id.into())
    }

    /// Checks all that every collection requires of a query: a text must hold more than white
    /// space.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] with what is wrong.
    pub fn check(&self) -> Result<()> {
        self.check_text().map_err(Error::InvalidQuery)
    }

    /// Refuses an empty text. The reason says so.
    pub(crate) fn check_text(&self) -> Result<(), String> {
        self.text().map_or(Ok(()), check_text)
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

/// Under which metric a search is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MetricChoice {
    /// The user's active metric where a user is named and has one, else the collection's.
    #[default]
    Active,
    /// Version 0: the collection's built-in distance.
    BuiltIn,
    /// A version by its number.
    Version(VersionId),
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hit {
    /// The item's id.
    pub id: String,
    /// `d_A(q, x)`, squared, smaller is nearer. In a dot collection without a learned metric: minus
    /// the dot product.
    pub distance: f32,
    /// For people, larger is better: the cosine or dot product in such collections, else `1 / (1 +
    /// distance)`.
    pub score: f32,
    /// From 1.
    pub rank: usize,
    /// The item's text, when [`Search::with_text`](crate::Search::with_text) asked for it.
    pub text: Option<String>,
    /// The item's metadata, when [`Search::with_meta`](crate::Search::with_meta) asked for it.
    pub meta: Option<Value>,
}

/// The hits of one search, nearest first; reads as a slice of [`Hit`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hits {
    /// Ordered by the distance that is reported, ties by id.
    pub hits: Vec<Hit>,
    /// The version of the metric that ranked them.
    pub metric: VersionId,
    /// How the search was executed.
    pub execution: Execution,
}

/// How the index searches its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Plan {
    /// There was nothing to search: no items, or no hits wanted.
    Empty,
    /// All items are scanned.
    Scan,
    /// The items that pass the filter are scanned.
    FilterScan,
    /// A graph is walked.
    Graph,
    /// A graph is walked, and only items that pass the filter are found.
    FilterGraph,
}

impl Plan {
    /// The name of the plan, as in the command line's output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Scan => "scan",
            Self::FilterScan => "filter scan",
            Self::Graph => "graph",
            Self::FilterGraph => "filter graph",
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
    /// Width of the beam.
    pub ef: usize,
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
