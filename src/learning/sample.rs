//! The geometry of a collection as learners take it: a sample of items, and their differences to
//! their neighbours.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Effort, Learning, StoredItem};
use crate::model::error::Result;
use crate::model::rows;
use crate::plugin::Sample;

/// Largest number of items in a sample.
const MAX_ITEMS: usize = 4_000;
/// Largest number of items whose neighbours are looked up.
const MAX_ANCHORS: usize = 1_000;
/// Neighbours of each anchor.
const NEIGHBOURS: usize = 10;
/// Seed of the sample: equal collections learn equal metrics.
pub(super) const SEED: u64 = 0x5eed;

/// The sample of the items as they were after a number of writes.
#[derive(Default)]
pub(super) struct SampleCache(Mutex<Option<(u64, Arc<Sample>)>>);

impl Learning {
    /// A uniform sample of at most `n` items, in random order. Where it holds all items it is the
    /// same on every engine.
    pub(super) fn sample_items(&self, n: usize, seed: u64) -> Result<Vec<StoredItem>> {
        let mut items = self.vectors.sample(n, seed)?;
        if items.len() < n {
            items.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            fastrand::Rng::with_seed(seed).shuffle(&mut items);
        }
        Ok(items)
    }

    /// The sample of the items as they are now. It depends on nothing but the items and their
    /// order.
    pub(super) fn sample(&self) -> Result<Arc<Sample>> {
        let writes = self.vectors.revision()?.writes;
        let mut cache = self.sample.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, sample)) = &*cache
            && *at == writes
        {
            return Ok(Arc::clone(sample));
        }
        let sample = Arc::new(self.draw_sample()?);
        *cache = Some((writes, Arc::clone(&sample)));
        Ok(sample)
    }

    fn draw_sample(&self) -> Result<Sample> {
        let items = self.sample_items(MAX_ITEMS, SEED)?;
        let anchors = &items[..MAX_ANCHORS.min(items.len())];
        let built_in = self.registry.built_in();
        let neighbours = self.nearest_of_items(built_in, anchors, NEIGHBOURS, Effort::Served)?;
        let ids: Vec<&str> = neighbours.iter().flatten().map(String::as_str).collect();
        let mut vectors = self.vectors.vectors(&ids)?.into_iter();
        let mut differences = Vec::with_capacity(ids.len() * self.rules.dim);
        for (anchor, ids) in anchors.iter().zip(&neighbours) {
            for neighbour in vectors.by_ref().take(ids.len()).flatten() {
                differences.extend(neighbour.iter().zip(&anchor.vector).map(|(n, x)| n - x));
            }
        }
        Ok(Sample {
            items: rows(
                items.into_iter().flat_map(|item| item.vector).collect(),
                self.rules.dim,
            )?,
            neighbour_differences: rows(differences, self.rules.dim)?,
        })
    }
}
