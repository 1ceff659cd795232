//! Biases `x' A x`, four bytes an item and metric: computed when first touched, or in the
//! background.
//!
//! A bias that is not known yet is NaN. Two threads may compute the same one; both write the same
//! bits, because a metric gives the same bias whatever the batch. Metrics used least recently are
//! forgotten when the cache is full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::ArrayView2;

use super::kernels::prefetch;
use super::rows::{Block, Room, unpack_into};
use crate::plugin::Metric;

/// Where rows of items are read from, by local id.
pub(crate) trait RowSource {
    /// The padded row of item `local`, made in `room` where it is kept otherwise.
    fn row<'a>(&'a self, local: u32, room: &'a mut Room) -> &'a [Block];
    /// Asks the processor to load a row that is read soon.
    fn prefetch(&self, local: u32);
    /// Numbers in a row.
    fn dim(&self) -> usize;
}

/// The biases of one part of the index under one metric.
#[derive(Debug)]
pub(crate) struct Biases(Box<[AtomicU32]>);

impl Biases {
    fn unknown(len: usize) -> Self {
        Self(
            (0..len)
                .map(|_| AtomicU32::new(f32::NAN.to_bits()))
                .collect(),
        )
    }

    /// The bias of `local`, NaN if it is not known.
    #[inline]
    pub(crate) fn get(&self, local: u32) -> f32 {
        f32::from_bits(self.0[local as usize].load(Ordering::Relaxed))
    }

    /// Asks the processor to load a bias that is read soon.
    #[inline]
    pub(crate) fn prefetch(&self, local: u32) {
        prefetch(&self.0[local as usize..=local as usize]);
    }

    /// The bias of one item, computed if need be.
    pub(crate) fn touch(&self, local: u32, rows: &impl RowSource, metric: &dyn Metric) -> f32 {
        let known = self.get(local);
        if known.is_nan() {
            self.compute(&[local], rows, metric);
            return self.get(local);
        }
        known
    }

    /// Makes the biases of `locals` known, many rows to a call of the metric.
    pub(crate) fn ensure(&self, locals: &[u32], rows: &impl RowSource, metric: &dyn Metric) {
        if locals.iter().any(|&local| self.get(local).is_nan()) {
            let missing: Vec<u32> = locals
                .iter()
                .copied()
                .filter(|&local| self.get(local).is_nan())
                .collect();
            self.compute(&missing, rows, metric);
        }
    }

    /// Sets all, where they are known from elsewhere.
    pub(crate) fn set_all(&self, biases: &[f32]) {
        for (known, bias) in self.0.iter().zip(biases) {
            known.store(bias.to_bits(), Ordering::Relaxed);
        }
    }

    fn compute(&self, missing: &[u32], rows: &impl RowSource, metric: &dyn Metric) {
        const BATCH: usize = 256;
        let dim = rows.dim();
        let mut numbers = vec![0.0f32; dim * missing.len().min(BATCH)];
        let mut out = vec![0.0f32; missing.len().min(BATCH)];
        let mut room = Room::new();
        for batch in missing.chunks(BATCH) {
            for (&local, numbers) in batch.iter().zip(numbers.chunks_exact_mut(dim)) {
                unpack_into(rows.row(local, &mut room), numbers);
            }
            let items = &numbers[..dim * batch.len()];
            if let Ok(items) = ArrayView2::from_shape((batch.len(), dim), items) {
                metric.biases(items, &mut out[..batch.len()]);
            }
            for (&local, bias) in batch.iter().zip(&out) {
                self.0[local as usize].store(bias.to_bits(), Ordering::Relaxed);
            }
        }
    }
}

/// The biases of all parts under the metrics used of late.
#[derive(Debug)]
pub(crate) struct BiasCache {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clock: u64,
    bytes: usize,
    versions: HashMap<u32, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    used: u64,
    parts: HashMap<u64, Arc<Biases>>,
}

impl BiasCache {
    /// A cache that forgets metrics when it holds more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    /// The biases of part `part` with room for `len` items, under metric `version`.
    pub(crate) fn of(&self, version: u32, part: u64, len: usize) -> Arc<Biases> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.clock += 1;
        let entry = state.versions.entry(version).or_default();
        entry.used = state.clock;
        if let Some(found) = entry.parts.get(&part) {
            return Arc::clone(found);
        }
        let made = Arc::new(Biases::unknown(len));
        entry.parts.insert(part, Arc::clone(&made));
        state.bytes += len * size_of::<f32>();
        while state.bytes > self.limit {
            let oldest = state
                .versions
                .iter()
                .filter(|(v, _)| **v != version)
                .min_by_key(|(_, e)| e.used);
            let Some(oldest) = oldest.map(|(v, _)| *v) else {
                break;
            };
            if let Some(entry) = state.versions.remove(&oldest) {
                state.bytes -= entry
                    .parts
                    .values()
                    .map(|b| b.0.len() * size_of::<f32>())
                    .sum::<usize>();
            }
        }
        made
    }

    /// Metric versions that have biases here.
    #[cfg(test)]
    pub(crate) fn versions(&self) -> Vec<u32> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.versions.keys().copied().collect()
    }

    /// Forgets the parts that are not in `parts` any more.
    pub(crate) fn retain(&self, parts: &[u64]) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.bytes = 0;
        for entry in state.versions.values_mut() {
            entry.parts.retain(|part, _| parts.contains(part));
            state.bytes += entry
                .parts
                .values()
                .map(|b| b.0.len() * size_of::<f32>())
                .sum::<usize>();
        }
        state.versions.retain(|_, entry| !entry.parts.is_empty());
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_metric_is_forgotten() {
        let cache = BiasCache::new(1000);
        let first = cache.of(1, 7, 100);
        cache.of(2, 7, 100);
        assert!(Arc::ptr_eq(&first, &cache.of(1, 7, 100)));
        cache.of(3, 7, 100);
        let mut versions = cache.versions();
        versions.sort_unstable();
        assert_eq!(versions, [1, 3]);
        assert_eq!(cache.bytes(), 800);
        cache.retain(&[]);
        assert_eq!(cache.bytes(), 0);
    }
}
