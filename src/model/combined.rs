//! Several queries in one: examples of what is wanted and of what is not.

use super::Query;
use crate::model::error::{Error, Result};

/// The most parts of one combined query.
pub const MAX_PARTS: usize = 1_000;

/// Several queries in one: "more like these and less like those".
///
/// With the weighted mean `p` of the vectors of the positive parts and that of the negative ones,
/// `n`, the items nearest to `p + (p - n)` are searched for; to `p` where there are no negative
/// parts. Vectors are of unit length before the mean is taken, and the result is of unit length, in
/// a cosine collection. The metric applies afterwards, to the one vector. Items that are parts are
/// left out of the hits.
///
/// The sum is Rocchio's (*Relevance Feedback in Information Retrieval*, 1971) with the weights 2 and
/// 1, and what Qdrant calls the strategy of the average vector.
///
/// # Examples
/// ```
/// # use affinis::{CombinedQuery, Item, Store};
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let store = Store::open(dir.path())?;
/// let points = store.collection("points").dim(1).open_or_create()?;
/// points.add((0..10).map(|i| Item::vector(i.to_string(), [i as f32])))?;
/// // 5 + (5 - 3) = 7.
/// let query = CombinedQuery::new().like("4").like("6").unlike("3");
/// let hits = points.search(query).k(1).run()?;
/// assert_eq!(hits[0].id, "7");
/// # Ok::<(), affinis::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CombinedQuery {
    positive: Vec<Part>,
    negative: Vec<Part>,
}

/// One of the queries of a combination, with its weight among those of its side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) query: Query,
    pub(crate) weight: f32,
}

impl CombinedQuery {
    /// A combination of nothing, which cannot be searched for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stored item as a positive example, with the weight 1.
    pub fn like(self, id: impl Into<String>) -> Self {
        self.positive(Query::like(id), 1.0)
    }

    /// Adds a stored item as a negative example, with the weight 1.
    pub fn unlike(self, id: impl Into<String>) -> Self {
        self.negative(Query::like(id), 1.0)
    }

    /// Adds a text, a vector or a stored item that hits are to be near to, with its weight above 0
    /// among the positive parts.
    pub fn positive(mut self, query: impl Into<Query>, weight: f32) -> Self {
        self.positive.push(Part {
            query: query.into(),
            weight,
        });
        self
    }

    /// Adds a text, a vector or a stored item that hits are to be far from, with its weight above 0
    /// among the negative parts.
    pub fn negative(mut self, query: impl Into<Query>, weight: f32) -> Self {
        self.negative.push(Part {
            query: query.into(),
            weight,
        });
        self
    }

    /// The positive parts with their weights.
    pub fn positives(&self) -> impl Iterator<Item = (&Query, f32)> {
        self.positive.iter().map(|part| (&part.query, part.weight))
    }

    /// The negative parts with their weights.
    pub fn negatives(&self) -> impl Iterator<Item = (&Query, f32)> {
        self.negative.iter().map(|part| (&part.query, part.weight))
    }

    /// Checks all that every collection requires of a combination.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] without a positive part, with more than 1,000 parts, for a weight
    /// that is not finite or not above 0, and for an empty text.
    pub fn check(&self) -> Result<()> {
        let parts = self.positive.len() + self.negative.len();
        let wrong = |reason: String| Err(Error::InvalidQuery(reason));
        if self.positive.is_empty() {
            return wrong(
                "there is no positive example: give at least one text, vector or item that hits are to be near to"
                    .to_owned(),
            );
        }
        if parts > MAX_PARTS {
            return wrong(format!(
                "the query has {parts} parts; it has at most {MAX_PARTS}"
            ));
        }
        for Part { query, weight } in self.parts() {
            if !(weight.is_finite() && *weight > 0.0) {
                return wrong(format!(
                    "the weight {weight} of a part is not a finite number above 0; what hits are to be far from is a negative part"
                ));
            }
            query.check()?;
        }
        Ok(())
    }

    /// The positive parts, then the negative ones.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.positive.iter().chain(&self.negative)
    }

    /// The vector to search for (`dim` numbers), given those of the [parts](Self::parts).
    pub(crate) fn combine(&self, vectors: &[Vec<f32>], dim: usize) -> Vec<f32> {
        let (positive, negative) = vectors.split_at(self.positive.len().min(vectors.len()));
        let wanted = mean(&self.positive, positive, dim);
        if self.negative.is_empty() {
            return wanted.into_iter().map(|x| x as f32).collect();
        }
        let unwanted = mean(&self.negative, negative, dim);
        let both = wanted.into_iter().zip(unwanted);
        both.map(|(wanted, unwanted)| (wanted + (wanted - unwanted)) as f32)
            .collect()
    }
}

/// The weighted mean of vectors.
fn mean(parts: &[Part], vectors: &[Vec<f32>], dim: usize) -> Vec<f64> {
    let total: f64 = parts.iter().map(|part| f64::from(part.weight)).sum();
    let mut mean = vec![0.0; dim];
    for (part, vector) in parts.iter().zip(vectors) {
        let share = f64::from(part.weight) / total;
        for (sum, x) in mean.iter_mut().zip(vector) {
            *sum += share * f64::from(*x);
        }
    }
    mean
}

/// What a search is for: one query, or several in one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SearchQuery {
    /// A text, a vector or a stored item.
    Single(Query),
    /// Several of them in one.
    Combined(CombinedQuery),
}

impl SearchQuery {
    /// The text of a single query by text.
    pub(crate) fn text(&self) -> Option<&str> {
        self.single().and_then(Query::text)
    }

    /// The query, if it is a single one.
    pub fn single(&self) -> Option<&Query> {
        match self {
            Self::Single(query) => Some(query),
            Self::Combined(_) => None,
        }
    }

    /// The ids of the stored items in it, which are not among the hits.
    pub(crate) fn own(&self) -> Vec<&str> {
        match self {
            Self::Single(query) => query.item().map(String::as_str).into_iter().collect(),
            Self::Combined(combined) => {
                let items = combined.parts().filter_map(|part| part.query.item());
                items.map(String::as_str).collect()
            }
        }
    }
}

impl<Q: Into<Query>> From<Q> for SearchQuery {
    fn from(query: Q) -> Self {
        Self::Single(query.into())
    }
}

impl From<CombinedQuery> for SearchQuery {
    fn from(combined: CombinedQuery) -> Self {
        Self::Combined(combined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(x: f32) -> Query {
        vec![x].into()
    }

    #[test]
    fn weights_count_within_their_side() {
        let query = CombinedQuery::new()
            .positive(vector(0.0), 3.0)
            .positive(vector(4.0), 1.0)
            .negative(vector(10.0), 2.0)
            .negative(vector(20.0), 2.0);
        let vectors: Vec<Vec<f32>> = [0.0, 4.0, 10.0, 20.0].map(|x| vec![x]).into();
        assert_eq!(query.combine(&vectors, 1), [2.0 * 1.0 - 15.0]);
        let query = CombinedQuery::new()
            .positive(vector(0.0), 3.0)
            .positive(vector(4.0), 1.0);
        assert_eq!(query.combine(&vectors[..2], 1), [1.0]);
    }

    #[test]
    fn what_cannot_be_combined_is_refused() {
        for query in [
            CombinedQuery::new(),
            CombinedQuery::new().unlike("a"),
            CombinedQuery::new().positive(vector(1.0), 0.0),
            CombinedQuery::new().positive(vector(1.0), -1.0),
            CombinedQuery::new().positive(vector(1.0), f32::NAN),
            CombinedQuery::new().positive(vector(1.0), f32::INFINITY),
            CombinedQuery::new().positive(" ", 1.0),
            (0..=MAX_PARTS).fold(CombinedQuery::new(), |all, i| all.like(i.to_string())),
        ] {
            assert!(query.check().is_err(), "{query:?}");
        }
        CombinedQuery::new()
            .like("a")
            .unlike("b")
            .check()
            .expect("fine");
    }
}
