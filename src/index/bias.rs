//! Cache of biases `x' A x`, four bytes an item and metric. A bias is computed when it is first
//! needed, or by the background thread.
//!
//! An unknown bias is NaN. Two threads may compute the same bias; both write the same bits, because
//! a metric gives the same bias whatever the batch. The biases of the least recently used metrics
//! are evicted when the cache is full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::ArrayView2;

use crate::index::kernels::prefetch;
use crate::index::layout::rows::{RowBuffer, RowSource, unpack_into};
use crate::plugin::Metric;

/// The biases of one segment's items under one metric.
#[derive(Debug)]
pub(crate) struct Biases(Box<[AtomicU32]>);

impl Biases {
    /// No bias is known of `len` items.
    pub(crate) fn unknown(len: usize) -> Self {
        Self(
            (0..len)
                .map(|_| AtomicU32::new(f32::NAN.to_bits()))
                .collect(),
        )
    }

    /// The bias of item `local`; NaN if it is unknown.
    #[inline]
    pub(crate) fn get(&self, local: u32) -> f32 {
        f32::from_bits(self.0[local as usize].load(Ordering::Relaxed))
    }

    /// Asks the processor to load a bias that is read soon.
    #[inline]
    pub(crate) fn prefetch(&self, local: u32) {
        prefetch(&self.0[local as usize..=local as usize]);
    }

    /// The bias of item `local`, computed if it is unknown.
    pub(crate) fn get_or_compute(
        &self,
        local: u32,
        rows: &impl RowSource,
        metric: &dyn Metric,
    ) -> f32 {
        let known = self.get(local);
        if known.is_nan() {
            self.compute(&[local], rows, metric);
            return self.get(local);
        }
        known
    }

    /// Computes those biases of `locals` that are unknown, many rows to a call of the metric.
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

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<f32>()
    }

    /// Sets all biases, which were stored.
    pub(crate) fn set_all(&self, biases: &[f32]) {
        for (known, bias) in self.0.iter().zip(biases) {
            known.store(bias.to_bits(), Ordering::Relaxed);
        }
    }

    /// Computes the biases of `missing` in batches.
    fn compute(&self, missing: &[u32], rows: &impl RowSource, metric: &dyn Metric) {
        const BATCH: usize = 256;
        let dim = rows.dim();
        let mut numbers = vec![0.0f32; dim * missing.len().min(BATCH)];
        let mut out = vec![0.0f32; missing.len().min(BATCH)];
        let mut buffer = RowBuffer::new();
        for batch in missing.chunks(BATCH) {
            for (&local, numbers) in batch.iter().zip(numbers.chunks_exact_mut(dim)) {
                unpack_into(rows.row(local, &mut buffer), numbers);
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

/// The biases of all segments under the recently used metrics.
#[derive(Debug)]
pub(crate) struct BiasCache {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of calls of [`BiasCache::of`] so far.
    clock: u64,
    bytes: usize,
    versions: HashMap<u32, Entry>,
}

impl State {
    /// Evicts the least recently used metrics but `keep` until `limit` bytes are held.
    fn evict(&mut self, limit: usize, keep: u32) {
        while self.bytes > limit {
            let oldest = self
                .versions
                .iter()
                .filter(|(version, _)| **version != keep)
                .min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(version, _)| *version) else {
                break;
            };
            if let Some(entry) = self.versions.remove(&oldest) {
                self.bytes -= entry.bytes();
            }
        }
    }
}

/// The biases of one metric, by segment.
#[derive(Debug, Default)]
struct Entry {
    /// The clock of the last use.
    used: u64,
    segments: HashMap<u64, Arc<Biases>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.segments.values().map(|biases| biases.bytes()).sum()
    }
}

impl BiasCache {
    /// A cache that evicts metrics when it holds more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    /// The biases of segment `segment`, which has room for `len` items, under metric `version`.
    pub(crate) fn of(&self, version: u32, segment: u64, len: usize) -> Arc<Biases> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.clock += 1;
        let entry = state.versions.entry(version).or_default();
        entry.used = state.clock;
        if let Some(found) = entry.segments.get(&segment) {
            return Arc::clone(found);
        }
        let made = Arc::new(Biases::unknown(len));
        entry.segments.insert(segment, Arc::clone(&made));
        state.bytes += made.bytes();
        state.evict(self.limit, version);
        made
    }

    /// Metric versions with biases in the cache.
    #[cfg(test)]
    pub(crate) fn versions(&self) -> Vec<u32> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.versions.keys().copied().collect()
    }

    /// Drops the biases of segments that are not among `segments`.
    pub(crate) fn retain(&self, segments: &[u64]) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.bytes = 0;
        for entry in state.versions.values_mut() {
            entry
                .segments
                .retain(|segment, _| segments.contains(segment));
            state.bytes += entry.bytes();
        }
        state.versions.retain(|_, entry| !entry.segments.is_empty());
    }

    /// Bytes held in memory.
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
    fn the_least_recently_used_metric_is_evicted() {
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
