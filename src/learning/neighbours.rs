//! Changes of neighbours from one version to another.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Effort, Learning, StoredItem, sample};
use crate::model::error::{Error, Result};
use crate::model::{MAX_K, VersionId, Versioned};

/// Changes of the nearest neighbours of sampled items between two versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NeighbourChanges {
    /// The share of the first version's neighbours that the second keeps, mean over the sampled
    /// items; 1 for an empty collection.
    pub kept: f64,
    /// The sampled items, those whose neighbours change most first.
    pub queries: Vec<NeighbourChange>,
}

/// Change of one item's nearest neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NeighbourChange {
    /// The id of the item.
    pub query: String,
    /// Neighbours under the first version only, nearest first.
    pub gone: Vec<String>,
    /// Neighbours under the second version only, nearest first.
    pub come: Vec<String>,
}

/// A comparison of neighbours that is to be made; by
/// [`Collection::diff_neighbours`](crate::Collection::diff_neighbours).
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct DiffNeighbours {
    learning: Arc<Learning>,
    versions: [VersionId; 2],
    sample: usize,
    k: usize,
}

impl DiffNeighbours {
    /// Sets the number of items that are sampled as queries; 200 by default.
    pub fn sample(mut self, items: usize) -> Self {
        self.sample = items;
        self
    }

    /// Sets the number of neighbours that are compared, 1 to 10,000; 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Compares the neighbours, each found exactly. Equal collections give equal samples.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for `k` out of range; those of a search for the versions.
    pub fn run(self) -> Result<NeighbourChanges> {
        let Self {
            learning,
            versions,
            sample,
            k,
        } = self;
        learning.compare_neighbours(versions, sample, k)
    }
}

impl Learning {
    /// A comparison of neighbours under two versions.
    pub fn diff_neighbours(self: &Arc<Self>, a: VersionId, b: VersionId) -> DiffNeighbours {
        DiffNeighbours {
            learning: Arc::clone(self),
            versions: [a, b],
            sample: 200,
            k: 10,
        }
    }

    fn compare_neighbours(
        &self,
        [a, b]: [VersionId; 2],
        sample: usize,
        k: usize,
    ) -> Result<NeighbourChanges> {
        if !(1..=MAX_K).contains(&k) {
            return Err(Error::InvalidQuery(format!(
                "k is {k}, not between 1 and {MAX_K}"
            )));
        }
        let (a, b) = (self.load(a)?, self.load(b)?);
        let items = self.sample_items(sample, sample::SEED)?;
        let before = self.nearest_of_items(&a, &items, k, Effort::Exact)?;
        let after = self.nearest_of_items(&b, &items, k, Effort::Exact)?;
        let mut kept = Vec::with_capacity(items.len());
        let mut queries = Vec::with_capacity(items.len());
        for (item, (before, after)) in items.into_iter().zip(before.iter().zip(&after)) {
            let (gone, come) = (without(before, after), without(after, before));
            kept.push(1.0 - gone.len() as f64 / before.len().max(1) as f64);
            queries.push(NeighbourChange {
                query: item.id,
                gone,
                come,
            });
        }
        queries.sort_by(|a, b| {
            let by_change = b.gone.len().cmp(&a.gone.len());
            by_change.then_with(|| a.query.cmp(&b.query))
        });
        let kept = match kept.len() {
            0 => 1.0,
            n => kept.iter().sum::<f64>() / n as f64,
        };
        Ok(NeighbourChanges { kept, queries })
    }

    /// The ids of the `k` nearest of each stored item, itself left out.
    pub(super) fn nearest_of_items(
        &self,
        metric: &Versioned,
        items: &[StoredItem],
        k: usize,
        effort: Effort,
    ) -> Result<Vec<Vec<String>>> {
        let queries: Vec<&[f32]> = items.iter().map(|item| item.vector.as_slice()).collect();
        let mut found = self.vectors.nearest(metric, &queries, k + 1, effort)?;
        for (item, ids) in items.iter().zip(&mut found) {
            ids.retain(|id| *id != item.id);
            ids.truncate(k);
        }
        Ok(found)
    }
}

/// The ids of a list that another list lacks.
fn without(ids: &[String], others: &[String]) -> Vec<String> {
    let only = ids.iter().filter(|id| !others.contains(id));
    only.cloned().collect()
}
