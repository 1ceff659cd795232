//! Which neighbours change from one version to another.

use std::collections::HashSet;

use rayon::prelude::*;
use serde::Serialize;

use super::Collection;
use crate::error::{Error, Result};
use crate::query::{MAX_K, MetricChoice, Query};

/// How the nearest of sampled items change between two versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NeighbourChanges {
    /// The share of the first version's neighbours that the second keeps, mean over the sampled items; 1 for an empty
    /// collection.
    pub kept: f64,
    /// The sampled items, those whose neighbours change most first.
    pub queries: Vec<NeighbourChange>,
}

/// How one item's nearest change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NeighbourChange {
    /// The item.
    pub query: String,
    /// Neighbours under the first version only, nearest first.
    pub gone: Vec<String>,
    /// Neighbours under the second version only, nearest first.
    pub come: Vec<String>,
}

impl Collection {
    /// Compares the `k` nearest of a sample of items under two versions. Equal collections give equal samples.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for `k` out of range; those of a search for the versions.
    pub fn diff_neighbours(&self, a: u32, b: u32, sample: usize, k: usize) -> Result<NeighbourChanges> {
        if !(1..=MAX_K).contains(&k) {
            return Err(Error::InvalidQuery(format!("k is {k}, not between 1 and {MAX_K}")));
        }
        let inner = &self.inner;
        for version in [a, b] {
            inner.load(version)?;
        }
        let mut slots = inner.index.live_slots();
        fastrand::Rng::with_seed(0x5eed).shuffle(&mut slots);
        slots.truncate(sample);
        let ids: Vec<String> = slots.into_iter().filter_map(|slot| inner.ids.get(slot).map(str::to_owned)).collect();
        let nearest = |id: &str, version: u32| -> Result<Vec<String>> {
            // Exactly, for what a walk misses under one metric is no difference of the two.
            let hits = self.search(Query::like(id)).metric(MetricChoice::Version(version)).k(k).recall(1.0).run()?;
            Ok(hits.into_iter().map(|hit| hit.id).collect())
        };
        let changes: Vec<(f64, NeighbourChange)> = ids
            .into_par_iter()
            .map(|query| {
                let (first, second) = (nearest(&query, a)?, nearest(&query, b)?);
                let without = |of: &[String], other: &[String]| {
                    let other: HashSet<&String> = other.iter().collect();
                    of.iter().filter(|id| !other.contains(id)).cloned().collect::<Vec<_>>()
                };
                let gone = without(&first, &second);
                let kept = 1.0 - gone.len() as f64 / first.len().max(1) as f64;
                Ok((kept, NeighbourChange { query, come: without(&second, &first), gone }))
            })
            .collect::<Result<_>>()?;
        let kept = changes.iter().map(|c| c.0).sum::<f64>() / changes.len().max(1) as f64;
        let kept = if changes.is_empty() { 1.0 } else { kept };
        let mut queries: Vec<NeighbourChange> = changes.into_iter().map(|c| c.1).collect();
        queries.sort_by(|a, b| b.gone.len().cmp(&a.gone.len()).then_with(|| a.query.cmp(&b.query)));
        Ok(NeighbourChanges { kept, queries })
    }
}
