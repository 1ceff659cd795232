//! What is asked, and what comes back.

use std::ops::Deref;

use ndarray::ArrayView1;
use serde::Serialize;
use serde_json::Value;

use super::VersionId;

/// The most hits one search may ask for.
pub const MAX_K: usize = 10_000;

/// The recall that a search aims at unless it names one.
pub const DEFAULT_RECALL: f64 = crate::index::TARGET;

/// A query: a text, a vector, or an item that is already stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Query {
    /// Encoded by the collection's encoder.
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
    /// How the answer was found.
    pub plan: Plan,
}

/// How an answer was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Distance evaluations.
    pub visited: usize,
    /// The width of the beam, where one was used.
    pub ef: usize,
    /// Microseconds inside the index.
    pub micros: u64,
    /// Which way the index went: `empty`, `scan`, `filter scan`, `graph` or `filter graph`.
    pub plan: String,
    /// Distance evaluations that the way was expected to take.
    #[serde(skip)]
    pub expected: usize,
    /// Items that pass the filter, where there is one.
    #[serde(skip)]
    pub matching: Option<usize>,
    /// Whether the search ran to its end.
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
