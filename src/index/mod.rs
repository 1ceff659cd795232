//! The index: answers searches from a snapshot of segments, under whatever metric a query names.
//!
//! New items go to a [growing segment](segment::growing), which is scanned, or walked through an
//! `hnsw_rs` graph once it is large. [Maintenance] builds [sealed segments](segment::sealed) of
//! full growing segments in the background. A search takes one [snapshot], searches every segment
//! and merges the results; it never waits for writers or maintenance, and nothing outside this
//! module knows which segment an item came from. The metric reaches the index only as a rewritten
//! query and the items' biases (see [`Metric`](crate::plugin::Metric)); graphs are built in the
//! space that the metric transforms items to.
//!
//! The index takes and returns vectors and bytes; it knows nothing of files, ids or texts.
//!
//! The layers, lowest first, each of which imports only those before it: [layout]; [kernels] (and
//! [nearest]); [quantizer]; [graph]; [bias], [query] and [segment]; [snapshot] and [segments];
//! [calibrations], [asked] and [shared]; [search], [plan], [calibrate] and [open]; [maintenance].
//!
//! [Maintenance]: maintenance

mod asked;
mod bias;
mod calibrate;
mod calibrations;
mod config;
mod error;
mod graph;
mod kernels;
mod layout;
mod maintenance;
mod nearest;
mod open;
mod plan;
mod published;
mod quantizer;
mod query;
mod questions;
mod scan;
mod search;
mod segment;
mod segments;
mod shared;
mod snapshot;
mod stats;
mod versioned;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

pub(crate) use calibrations::Curve;
pub(crate) use config::Config;
pub(crate) use error::IndexError;
pub(crate) use layout::rows::RowFormat;
pub(crate) use layout::section::{Section, SegmentFile};
pub(crate) use search::{Found, Neighbour, SearchParams};
pub(crate) use segment::file::{Expected, check as check_segment_file, stored_rows};
pub(crate) use segments::Segments;
pub(crate) use stats::IndexStats;
pub(crate) use versioned::Versioned;

use crate::model::DEFAULT_RECALL;
use crate::slot::Slot;
use graph::build::Monitor;
use maintenance::Maintenance;
use quantizer::are_codes_walked;
use query::RewrittenQuery;
use search::{Searcher, SnapshotBiases};
use shared::{Shared, lock};

/// A snapshot that several searches share.
pub(crate) type Snapshot = Arc<snapshot::Snapshot>;

/// Queries that are scanned for together, so that each block of rows is read once for all of them.
const QUERIES_AT_ONCE: usize = 32;

/// An index over vectors of one dimension, named by slots.
///
/// The caller assigns slots in increasing order and never reuses one. All methods take `&self`;
/// searches run concurrently with each other and with everything else.
#[derive(Debug)]
pub(crate) struct Index {
    shared: Arc<Shared>,
    maintenance: Maintenance,
}

impl Index {
    /// An empty index.
    ///
    /// # Errors
    /// [`IndexError::DimensionLimit`].
    #[cfg(test)]
    pub(crate) fn new(dim: usize, config: Config) -> Result<Self, IndexError> {
        Shared::check_dimension(dim)?;
        Ok(Self::start(Shared::new(dim, config)))
    }

    /// Opens an index from segment files, which hold every item but `items`.
    ///
    /// `removed` includes the slots of the files' items that are not live. `items` are the live
    /// items in no segment, slots increasing and below `next_slot`; those that are in a segment are
    /// skipped.
    ///
    /// # Errors
    /// [`IndexError`] if a file is damaged, if two files share a slot, or if [`Self::apply`] would
    /// refuse an item.
    pub(crate) fn open<V: AsRef<[f32]>>(
        dim: usize,
        config: Config,
        files: &[(u64, Arc<dyn SegmentFile>)],
        next_slot: u32,
        removed: &[u32],
        items: impl IntoIterator<Item = (u32, V)>,
    ) -> Result<Self, IndexError> {
        let shared = Shared::open(dim, config, files, next_slot, removed, items)?;
        Ok(Self::start(shared).woken())
    }

    fn start(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let maintenance = Maintenance::start(&shared);
        Self {
            shared,
            maintenance,
        }
    }

    fn woken(self) -> Self {
        self.maintenance.wake(&self.shared);
        self
    }

    /// Adds and removes items. The next search sees both changes or neither.
    ///
    /// `add` holds slots and vectors; the slots increase and are above all slots assigned before.
    /// Removing a slot without a live item does nothing. An upsert adds a new slot and removes the
    /// old one.
    ///
    /// # Errors
    /// [`IndexError::Dimension`], [`IndexError::NotFinite`], [`IndexError::SlotOrder`]; then
    /// nothing is changed.
    pub(crate) fn apply(&self, add: &[(u32, &[f32])], remove: &[u32]) -> Result<(), IndexError> {
        self.shared.apply(add, remove)?;
        self.maintenance.wake(&self.shared);
        Ok(())
    }

    /// The nearest items to `query` under `metric`.
    ///
    /// # Errors
    /// [`IndexError::Dimension`], [`IndexError::MetricDimension`], [`IndexError::NotFinite`],
    /// [`IndexError::DamagedFile`].
    pub(crate) fn search(
        &self,
        metric: &Versioned,
        query: &[f32],
        params: &SearchParams<'_>,
    ) -> Result<Found, IndexError> {
        let found = self.shared.search(metric, query, params)?;
        let is_default = params.ef.is_none() && params.recall.is_none() && params.allowed.is_none();
        if is_default && self.shared.asked.keep(metric.version, params.form, query) {
            self.maintenance.wake(&self.shared);
        }
        Ok(found)
    }

    /// Every item whose exact distance to `query` under `metric` is at most `distance`, nearest
    /// first, ties by slot. Of `params` it takes the slots, the snapshot, and whether to stop:
    /// `None` if it was stopped.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub(crate) fn within(
        &self,
        metric: &Versioned,
        query: &[f32],
        distance: f32,
        params: &SearchParams<'_>,
    ) -> Result<Option<Vec<Neighbour>>, IndexError> {
        self.shared.within(metric, query, distance, params)
    }

    /// The slots of the exact `k` nearest items of each query.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub(crate) fn nearest_exactly(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
    ) -> Result<Vec<Vec<u32>>, IndexError> {
        self.shared.nearest_exactly(metric, queries, k)
    }

    /// The snapshot that the next search uses.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.shared.snapshot.load_full()
    }

    /// Makes `metric` the one under which graphs are built, and computes its biases and calibrates
    /// it in the background. Searches do not wait for that.
    pub(crate) fn activate(&self, metric: &Versioned) {
        self.shared.activate(metric);
        self.maintenance.wake(&self.shared);
    }

    /// Waits until no maintenance is left. Without a background thread, does it here.
    pub(crate) fn settle(&self) {
        self.maintenance.settle(&self.shared);
    }

    /// Seals the growing segments that are too large to be scanned and calibrates the active
    /// metric, so that the index gives the same answers when it is opened again.
    pub(crate) fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        // Biases are not stored, so there is no use in computing more of them.
        lock(&self.shared.requested).fill.clear();
        self.settle();
    }

    /// Seals all growing segments now.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`]; then nothing is changed.
    #[cfg(test)]
    pub(crate) fn seal_now(
        &self,
        progress: &(dyn Fn(f32) + Sync),
        cancel: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), IndexError> {
        Ok(self.shared.seal(true, Monitor { progress, cancel })?)
    }

    /// Merges everything into one sealed segment without the deleted items, and refines its graph
    /// under the active metric.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`], [`IndexError::DamagedFile`]; then nothing is changed.
    pub(crate) fn optimize(
        &self,
        progress: &(dyn Fn(f32) + Sync),
        cancel: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), IndexError> {
        let done = self.shared.rebuild(Monitor { progress, cancel });
        self.check_files()?;
        Ok(done?)
    }

    /// Cuts the deleted items out of all segments, and seals the growing segments.
    ///
    /// # Errors
    /// [`IndexError::DamagedFile`].
    pub(crate) fn cut_deleted(&self) -> Result<(), IndexError> {
        let monitor = Monitor {
            progress: &|_| (),
            cancel: &|| false,
        };
        let done = self.shared.cut_all(monitor);
        self.check_files()?;
        Ok(done?)
    }

    /// Fails if a damaged row of a segment file was read.
    ///
    /// # Errors
    /// [`IndexError::DamagedFile`].
    pub(crate) fn check_files(&self) -> Result<(), IndexError> {
        self.shared.snapshot.load().check_files()
    }

    /// Counts the changes of the set of segments.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// Passes the present segments to `visit`.
    pub(crate) fn with_segments<T>(&self, visit: impl FnOnce(&Segments<'_>) -> T) -> T {
        visit(&self.shared.segments(&self.shared.snapshot.load()))
    }

    /// The slots of the live items, increasing.
    pub(crate) fn live_slots(&self) -> Vec<u32> {
        let live = self.shared.snapshot.load().live_slots();
        live.into_iter().map(u32::from).collect()
    }

    /// Number of live items.
    pub(crate) fn len(&self) -> usize {
        self.shared.snapshot.load().live
    }

    /// The lowest slot that was never published: items in lower ones are committed.
    pub(crate) fn next_slot(&self) -> u32 {
        self.shared.snapshot.load().next_slot.0
    }

    /// The vector of a live item.
    pub(crate) fn vector(&self, slot: u32) -> Option<Vec<f32>> {
        self.shared.vector(Slot(slot))
    }

    /// The mean number of distances that searches for the default recall compute under a metric, if
    /// it is calibrated.
    #[cfg(test)]
    pub(crate) fn evaluations_for(&self, version: u32) -> Option<f64> {
        self.shared
            .calibrations
            .evaluations(version, DEFAULT_RECALL)
    }

    /// Sizes of the index.
    pub(crate) fn stats(&self) -> IndexStats {
        self.shared.stats()
    }
}

impl Shared {
    /// See [`Index::nearest_exactly`].
    fn nearest_exactly(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
    ) -> Result<Vec<Vec<u32>>, IndexError> {
        queries
            .iter()
            .try_for_each(|query| self.check_vector(query))?;
        self.check_metric(metric)?;
        let snapshot = self.snapshot.load_full();
        let biases = SnapshotBiases::of(&snapshot, &self.biases, metric.version);
        let nearest_of_some = |queries: &[&[f32]]| -> Vec<Vec<u32>> {
            let queries: Vec<RewrittenQuery<'_>> = queries
                .iter()
                .map(|query| RewrittenQuery::new(metric, query))
                .collect();
            let found = search::nearest_exactly(&snapshot, &biases, &queries, k, &|| false);
            let slots = found.into_iter().flatten().map(|hits| {
                let slots = hits.iter().map(|hit| hit.slot);
                slots.collect()
            });
            slots.collect()
        };
        let found: Vec<Vec<Vec<u32>>> = queries
            .par_chunks(QUERIES_AT_ONCE)
            .map(nearest_of_some)
            .collect();
        snapshot.check_files()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// See [`Index::within`].
    fn within(
        &self,
        metric: &Versioned,
        query: &[f32],
        distance: f32,
        params: &SearchParams<'_>,
    ) -> Result<Option<Vec<Neighbour>>, IndexError> {
        self.check_vector(query)?;
        self.check_metric(metric)?;
        let snapshot = params
            .at
            .map_or_else(|| self.snapshot.load_full(), Arc::clone);
        let searcher = Searcher {
            snapshot: &snapshot,
            query: &RewrittenQuery::new(metric, query),
            biases: &SnapshotBiases::of(&snapshot, &self.biases, metric.version),
            k: 1,
            listed: 1,
            ef: 1,
            schedule: None,
            coded: false,
            allowed: params.allowed,
            cancel: params.cancel,
        };
        let mut found = searcher.within(distance);
        snapshot.check_files()?;
        if let Some(found) = &mut found {
            found.sort_unstable_by(|a, b| {
                a.distance.total_cmp(&b.distance).then(a.slot.cmp(&b.slot))
            });
        }
        Ok(found)
    }

    /// See [`Index::search`].
    fn search(
        &self,
        metric: &Versioned,
        query: &[f32],
        params: &SearchParams<'_>,
    ) -> Result<Found, IndexError> {
        self.check_vector(query)?;
        self.check_metric(metric)?;
        let snapshot = params
            .at
            .map_or_else(|| self.snapshot.load_full(), Arc::clone);
        let recall = params.recall.unwrap_or(DEFAULT_RECALL);
        let schedule = match params.ef {
            // Only a scan finds everything.
            None if recall < 1.0 => Some(
                self.calibrations
                    .schedule(metric.version, params.form, recall)
                    .unwrap_or_else(|| calibrate::uncalibrated(&snapshot, metric, recall)),
            ),
            _ => None,
        };
        let ef = match (params.ef, &schedule) {
            (Some(ef), _) => ef,
            (None, Some(schedule)) => search::width_of(schedule.evaluations),
            (None, None) => snapshot.held(),
        };
        let on_vectors = match &schedule {
            Some(schedule) => schedule.on_vectors,
            None => self.calibrations.are_vectors_walked(metric.version),
        };
        let searcher = Searcher {
            snapshot: &snapshot,
            query: &RewrittenQuery::new(metric, query),
            biases: &SnapshotBiases::of(&snapshot, &self.biases, metric.version),
            k: params.k,
            listed: params.k + params.further,
            // A beam wider than the number of items finds no more.
            ef: ef.max(params.k).min(snapshot.held()).max(1),
            schedule: schedule.as_ref(),
            coded: are_codes_walked(self.dim) && !on_vectors,
            allowed: params.allowed,
            cancel: params.cancel,
        };
        let found = searcher.run();
        snapshot.check_files()?;
        Ok(found)
    }
}
