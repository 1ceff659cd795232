//! The collection's geometry, as learners want it: a sample of items, and how they differ from
//! their neighbours.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::Array2;
use rayon::prelude::*;

use super::Inner;
use crate::error::{Error, Result};
use crate::plugin::Sample;

/// Items in a sample at most.
const ITEMS: usize = 4_000;
/// Items whose neighbours are looked up.
const ANCHORS: usize = 1_000;
/// Neighbours of each.
const NEIGHBOURS: usize = 10;

/// The sample of the items as they were after so many writes.
#[derive(Default)]
pub(super) struct SampleCache(Mutex<Option<(u64, Arc<Sample>)>>);

impl Inner {
    /// The sample of the items as they are now. It depends on nothing but the items and their
    /// order, so that equal collections learn equal metrics.
    pub(super) fn sample(&self) -> Result<Arc<Sample>> {
        let version = self.writes.load(Ordering::Acquire);
        let mut cache = self.sample.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, sample)) = &*cache
            && *at == version
        {
            return Ok(Arc::clone(sample));
        }
        let sample = Arc::new(self.draw_sample()?);
        *cache = Some((version, Arc::clone(&sample)));
        Ok(sample)
    }

    fn draw_sample(&self) -> Result<Sample> {
        let mut slots = self.index.live_slots();
        let mut random = fastrand::Rng::with_seed(0x5eed);
        let wanted = ITEMS.min(slots.len());
        for i in 0..wanted {
            let other = random.usize(i..slots.len());
            slots.swap(i, other);
        }
        slots.truncate(wanted);
        let vectors: Vec<(u32, Vec<f32>)> = slots
            .into_iter()
            .filter_map(|slot| self.index.vector(slot).map(|v| (slot, v)))
            .collect();
        let base = self.metrics.base();
        let differences: Vec<Vec<f32>> = vectors[..ANCHORS.min(vectors.len())]
            .par_iter()
            .map(|(slot, item)| {
                let found = self.find(base, item, NEIGHBOURS + 1)?;
                let mut rows = Vec::with_capacity(NEIGHBOURS * self.dim);
                let others = found
                    .hits
                    .iter()
                    .filter(|n| n.slot != *slot)
                    .take(NEIGHBOURS);
                for neighbour in others.filter_map(|n| self.index.vector(n.slot)) {
                    rows.extend(neighbour.iter().zip(item).map(|(n, x)| n - x));
                }
                Ok(rows)
            })
            .collect::<Result<_>>()?;
        Ok(Sample {
            items: rows(vectors.into_iter().flat_map(|(_, v)| v).collect(), self.dim)?,
            neighbour_differences: rows(differences.into_iter().flatten().collect(), self.dim)?,
        })
    }
}

/// Numbers as rows of `dim`.
pub(super) fn rows(numbers: Vec<f32>, dim: usize) -> Result<Array2<f32>> {
    Array2::from_shape_vec((numbers.len() / dim, dim), numbers)
        .map_err(|e| Error::Invalid(e.to_string()))
}
