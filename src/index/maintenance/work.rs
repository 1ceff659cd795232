//! The pieces of maintenance work and their order.

use std::sync::atomic::Ordering;

use crate::index::bias::Biases;
use crate::index::graph::build::Monitor;
use crate::index::layout::rows::RowSource;
use crate::index::shared::{Shared, lock};
use crate::index::versioned::Versioned;
use crate::model::DEFAULT_RECALL;

/// Most items that are inserted into the graph of a growing segment at once.
const INSERTED_AT_ONCE: usize = 256;
/// A growing segment with at least this many items outside its graph is sealed instead of inserting
/// them.
const SEAL_INSTEAD_FROM: usize = 4096;
/// The graph is rebuilt when searches under the active metric compute this many times as many
/// distances as under the metric that it was built under.
const REBUILD_FACTOR: f64 = 1.7;
/// A calibration is urgent when the number of items has grown by this factor since the last one.
const GROWTH_FACTOR: usize = 2;
/// Biases that are computed between two calls of `cancel`.
const BIASES_AT_ONCE: u32 = 1024;

impl Shared {
    /// Whether [`Self::do_urgent`] would find work, or a calibration is urgent.
    pub(super) fn has_urgent_work(&self) -> bool {
        if !lock(&self.requested).fill.is_empty() || self.is_calibration_urgent() {
            return true;
        }
        let snapshot = self.snapshot.load();
        snapshot.growing.iter().any(|view| {
            view.frozen || view.len >= self.config.graph_from && view.segment.covered() < view.len
        })
    }

    /// Whether [`Self::do_deferred`] would find work.
    pub(super) fn has_deferred_work(&self) -> bool {
        self.has_growing_to_seal()
            || self.has_segment_to_cut()
            || self.should_merge_all()
            || self.should_rebuild()
            || !lock(&self.requested).calibrate.is_empty()
            || self.asked.is_due()
            || self.needs_files()
    }

    /// Does one piece of urgent work; false if there is none.
    pub(super) fn do_urgent(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        let fill = lock(&self.requested).fill.pop();
        if let Some(metric) = fill {
            self.fill_biases(&metric, cancel);
            return true;
        }
        let snapshot = self.snapshot.load_full();
        if snapshot.growing.iter().any(|view| view.frozen) {
            return self.seal(false, silent(cancel)).is_ok();
        }
        if let Some(open) = snapshot.growing.last()
            && open.len >= self.config.graph_from
            && open.segment.covered() < open.len
        {
            let uncovered = open.len - open.segment.covered();
            if uncovered >= SEAL_INSTEAD_FROM && self.has_growing_to_seal() {
                return self.seal_large(cancel);
            }
            open.segment.extend_graph(open.len, INSERTED_AT_ONCE);
            return true;
        }
        false
    }

    /// Does one piece of deferred work; false if there is none.
    pub(super) fn do_deferred(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        if self.has_growing_to_seal() {
            return self.seal_large(cancel);
        }
        // Closing waits for large growing segments, but for nothing that only saves time later.
        let cancelled = || cancel() || self.closing.load(Ordering::Acquire);
        if !cancelled() && self.improve_segments(&cancelled) {
            return true;
        }
        if self.calibrate_next(cancel) || self.check_promise(&cancelled) {
            return true;
        }
        !cancel() && self.write_files()
    }

    /// Cuts, merges or rebuilds segments; false if there is no need.
    fn improve_segments(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        let monitor = silent(cancel);
        if self.has_segment_to_cut() {
            self.cut(monitor).is_ok()
        } else if self.should_merge_all() {
            self.merge_all(monitor).is_ok()
        } else {
            self.should_rebuild() && self.rebuild(monitor).is_ok()
        }
    }

    /// Whether a growing segment is frozen, or too large to be scanned in the long run.
    fn has_growing_to_seal(&self) -> bool {
        self.snapshot
            .load()
            .growing
            .iter()
            .any(|view| view.frozen || view.len >= self.config.seal_from)
    }

    /// Seals all growing segments if one is to be sealed; false if none is.
    fn seal_large(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        self.has_growing_to_seal() && self.seal(true, silent(cancel)).is_ok()
    }

    /// Whether the active metric needs [`REBUILD_FACTOR`] times as many distances as the metric that
    /// the largest graph was built under.
    fn should_rebuild(&self) -> bool {
        let snapshot = self.snapshot.load();
        let segments = snapshot.sealed.iter().map(|view| &view.segment);
        let Some(largest) = segments.max_by_key(|segment| segment.len()) else {
            return false;
        };
        if snapshot.check_files().is_err() {
            return false;
        }
        let (built, active) = (largest.built_under, self.active().version);
        let evaluations = |version| self.calibrations.evaluations(version, DEFAULT_RECALL);
        built != active
            && evaluations(active)
                .zip(evaluations(built))
                .is_some_and(|(active, built)| active >= REBUILD_FACTOR * built)
    }

    /// Whether a calibration should not wait until the index is idle. (While items are added, every
    /// merge requests one.)
    pub(super) fn is_calibration_urgent(&self) -> bool {
        !lock(&self.requested).calibrate.is_empty()
            && self.snapshot.load().held()
                >= GROWTH_FACTOR * self.calibrated_at.load(Ordering::Acquire).max(1)
    }

    /// Calibrates the metric that was requested last; false if none was.
    pub(super) fn calibrate_next(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        let Some(metric) = lock(&self.requested).calibrate.pop() else {
            return false;
        };
        self.calibrated_at
            .store(self.snapshot.load().held(), Ordering::Release);
        self.calibrate(&metric, cancel);
        self.notify_change();
        true
    }

    /// Computes all unknown biases under a metric.
    fn fill_biases(&self, metric: &Versioned, cancel: &(dyn Fn() -> bool + Sync)) {
        let snapshot = self.snapshot.load_full();
        for view in &snapshot.sealed {
            if cancel() {
                return;
            }
            let segment = &*view.segment;
            let biases = self.biases.of(metric.version, segment.id, segment.len());
            fill(&biases, segment.len(), segment, metric, cancel);
        }
        for view in &snapshot.growing {
            if cancel() {
                return;
            }
            let segment = &*view.segment;
            let biases = self
                .biases
                .of(metric.version, segment.id, segment.capacity());
            fill(&biases, view.len, segment, metric, cancel);
        }
    }
}

/// A monitor that reports no progress.
fn silent(cancel: &(dyn Fn() -> bool + Sync)) -> Monitor<'_> {
    Monitor {
        progress: &|_| (),
        cancel,
    }
}

/// Computes the unknown biases of the first `len` items of a segment, unless cancelled.
fn fill(
    biases: &Biases,
    len: usize,
    rows: &impl RowSource,
    metric: &Versioned,
    cancel: &(dyn Fn() -> bool + Sync),
) {
    let len = len as u32;
    for from in (0..len).step_by(BIASES_AT_ONCE as usize) {
        if cancel() {
            return;
        }
        let items: Vec<u32> = (from..len.min(from + BIASES_AT_ONCE)).collect();
        biases.ensure(&items, rows, &*metric.metric);
    }
}
