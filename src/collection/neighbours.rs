//! Which neighbours change from one version to another.

use serde::Serialize;

use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::index::Versioned;
use crate::query::MAX_K;

/// A slot, and the vector of the item in it.
pub(super) type Stored = (u32, Vec<f32>);
/// The slots of the nearest under one metric and under another.
pub(super) type Lists = (Vec<u32>, Vec<u32>);

/// How the nearest of sampled items change between two versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NeighbourChanges {
    /// The share of the first version's neighbours that the second keeps, mean over the sampled
    /// items; 1 for an empty collection.
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
    /// Compares the `k` nearest of a sample of items under two versions. Equal collections give
    /// equal samples.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for `k` out of range; those of a search for the versions.
    pub fn diff_neighbours(
        &self,
        a: u32,
        b: u32,
        sample: usize,
        k: usize,
    ) -> Result<NeighbourChanges> {
        if !(1..=MAX_K).contains(&k) {
            return Err(Error::InvalidQuery(format!(
                "k is {k}, not between 1 and {MAX_K}"
            )));
        }
        let inner = &self.inner;
        let metrics = [inner.load(a)?, inner.load(b)?];
        let mut slots = inner.index.live_slots();
        fastrand::Rng::with_seed(0x5eed).shuffle(&mut slots);
        slots.truncate(sample);
        let queries = inner.stored(slots);
        let [first, second] = metrics.map(|metric| inner.nearest_exactly(&metric, &queries, k));
        let name = |slots: &[u32], others: &[u32]| -> Vec<String> {
            let only = slots.iter().filter(|slot| !others.contains(slot));
            only.filter_map(|slot| inner.ids.get(*slot).map(str::to_owned))
                .collect()
        };
        let change = |((slot, _), (first, second)): (&Stored, Lists)| {
            let (gone, come) = (name(&first, &second), name(&second, &first));
            let kept = 1.0 - gone.len() as f64 / first.len().max(1) as f64;
            Some((
                kept,
                NeighbourChange {
                    query: inner.ids.get(*slot)?.to_owned(),
                    come,
                    gone,
                },
            ))
        };
        let changes: Vec<(f64, NeighbourChange)> = queries
            .iter()
            .zip(first?.into_iter().zip(second?))
            .filter_map(change)
            .collect();
        let kept = changes.iter().map(|c| c.0).sum::<f64>() / changes.len().max(1) as f64;
        let kept = if changes.is_empty() { 1.0 } else { kept };
        let mut queries: Vec<NeighbourChange> = changes.into_iter().map(|c| c.1).collect();
        queries.sort_by(|a, b| {
            b.gone
                .len()
                .cmp(&a.gone.len())
                .then_with(|| a.query.cmp(&b.query))
        });
        Ok(NeighbourChanges { kept, queries })
    }
}

impl Inner {
    /// Slots that hold an item, with its vector.
    pub(super) fn stored(&self, slots: impl IntoIterator<Item = u32>) -> Vec<Stored> {
        slots
            .into_iter()
            .filter_map(|slot| Some((slot, self.index.vector(slot)?)))
            .collect()
    }

    /// The slots of the `k` nearest of each of many stored items, itself left out: exactly, for
    /// what a walk misses under one metric is no difference of two.
    pub(super) fn nearest_exactly(
        &self,
        metric: &Versioned,
        items: &[Stored],
        k: usize,
    ) -> Result<Vec<Vec<u32>>> {
        let queries: Vec<&[f32]> = items.iter().map(|(_, vector)| vector.as_slice()).collect();
        let found = self
            .index
            .nearest_exactly(metric, &queries, k + 1)
            .map_err(|e| self.index_error(e))?;
        let without_own = |((own, _), mut slots): (&Stored, Vec<u32>)| {
            slots.retain(|slot| slot != own);
            slots.truncate(k);
            slots
        };
        Ok(items.iter().zip(found).map(without_own).collect())
    }
}
