//! Which segments are merged, and when.
//!
//! Segments are merged while they are at most [`MAX_SIZE_RATIO`] times as large as the items added
//! to them, so their sizes grow geometrically and their number stays logarithmic. A graph is
//! refined as a whole when deleted items are cut out of it, and when the index is idle after a good
//! share of it was appended: refining it while items are still added would have to be repeated.

use std::sync::{Arc, MutexGuard};

use crate::index::graph::build::{Cancelled, Monitor};
use crate::index::open::count_dead;
use crate::index::segment::growing::GrowingView;
use crate::index::segment::merge::{Gathered, Refining, Sources, has_many_dead, is_refinement_due};
use crate::index::segment::sealed::{SealedSegment, SealedView};
use crate::index::shared::{Shared, lock, request};
use crate::index::snapshot::Snapshot;
use crate::priority;
use crate::slot::Slot;

/// A sealed segment is merged with new items if it is at most this many times as large.
const MAX_SIZE_RATIO: usize = 8;
/// When the index is idle, all segments are merged if the smaller ones hold more than one item in
/// this many of the largest one.
const SMALL_SHARE: usize = 32;

/// A segment with so many deleted items that they are to be cut out. A damaged segment cannot be
/// read, so it is not cut.
fn segment_to_cut(snapshot: &Snapshot) -> Option<&SealedView> {
    snapshot
        .sealed
        .iter()
        .find(|view| has_many_dead(view) && !view.segment.is_damaged())
}

impl Shared {
    /// Seals the frozen growing segments, or all of them, and merges them with sealed segments that
    /// are not much larger.
    pub(crate) fn seal(&self, all: bool, monitor: Monitor<'_>) -> Result<(), Cancelled> {
        let building = lock(&self.building);
        if all {
            self.freeze();
        }
        let snapshot = self.snapshot.load_full();
        let growing: Vec<GrowingView> = snapshot
            .growing
            .iter()
            .filter(|view| view.frozen)
            .cloned()
            .collect();
        if growing.is_empty() {
            return Ok(());
        }
        let live: usize = growing.iter().map(|view| view.len - view.dead).sum();
        let sealed = sealed_to_merge(&snapshot, live);
        let sources = Sources {
            sealed: &sealed,
            growing: &growing,
            dead: &snapshot.dead,
        };
        self.merge(&building, sources, Refining::Never, monitor)
    }

    /// Whether a segment has so many deleted items that they are to be cut out.
    pub(super) fn has_segment_to_cut(&self) -> bool {
        segment_to_cut(&self.snapshot.load()).is_some()
    }

    /// Cuts the deleted items out of the first segment that has many, and refines its graph.
    pub(super) fn cut(&self, monitor: Monitor<'_>) -> Result<(), Cancelled> {
        let building = lock(&self.building);
        // The segment is chosen under the lock: segments that were replaced while this thread
        // waited must not come back.
        let snapshot = self.snapshot.load_full();
        match segment_to_cut(&snapshot) {
            Some(view) => {
                let sources = Sources {
                    sealed: std::slice::from_ref(view),
                    growing: &[],
                    dead: &snapshot.dead,
                };
                self.merge(&building, sources, Refining::WhereDue, monitor)
            }
            None => Ok(()),
        }
    }

    /// Cuts the deleted items out of all sealed segments, and seals the growing ones without theirs.
    pub(crate) fn cut_all(&self, monitor: Monitor<'_>) -> Result<(), Cancelled> {
        let building = lock(&self.building);
        let snapshot = self.snapshot.load_full();
        for view in snapshot.sealed.iter().filter(|view| view.dead > 0) {
            let sources = Sources {
                sealed: std::slice::from_ref(view),
                growing: &[],
                dead: &snapshot.dead,
            };
            self.merge(&building, sources, Refining::AfterCut, monitor)?;
        }
        drop(building);
        self.seal(true, monitor)
    }

    /// Whether all sealed segments should be merged: the smaller ones are worth it, since each is
    /// searched on its own, or the graph of the largest should be refined.
    pub(super) fn should_merge_all(&self) -> bool {
        let snapshot = self.snapshot.load();
        let Some(largest) = snapshot.sealed.first().map(|view| &view.segment) else {
            return false;
        };
        if snapshot.check_files().is_err() {
            return false;
        }
        let smaller = snapshot.sealed.iter().skip(1);
        let others: usize = smaller.map(|view| view.segment.len()).sum();
        others > 0 && others * SMALL_SHARE >= largest.len()
            || is_refinement_due(largest.unrefined, largest.len())
    }

    /// Merges all sealed segments, and refines the graph where that is due.
    pub(super) fn merge_all(&self, monitor: Monitor<'_>) -> Result<(), Cancelled> {
        let building = lock(&self.building);
        let snapshot = self.snapshot.load_full();
        let sources = Sources {
            sealed: &snapshot.sealed,
            growing: &[],
            dead: &snapshot.dead,
        };
        self.merge(&building, sources, Refining::WhereDue, monitor)
    }

    /// Merges all segments without their deleted items, and refines the graph under the active
    /// metric.
    pub(crate) fn rebuild(&self, monitor: Monitor<'_>) -> Result<(), Cancelled> {
        let building = lock(&self.building);
        self.freeze();
        let snapshot = self.snapshot.load_full();
        let sources = Sources {
            sealed: &snapshot.sealed,
            growing: &snapshot.growing,
            dead: &snapshot.dead,
        };
        self.merge(&building, sources, Refining::Always, monitor)
    }

    /// Replaces segments by one sealed segment of their items. Segments are replaced only under
    /// [`Self::building`], so all sources are still part of the index at the end.
    fn merge(
        &self,
        _building: &MutexGuard<'_, ()>,
        sources: Sources<'_>,
        refining: Refining,
        monitor: Monitor<'_>,
    ) -> Result<(), Cancelled> {
        let active = self.active();
        let gathered = Gathered::new(self.dim, sources, refining);
        let merged = if gathered.is_empty() {
            None
        } else {
            let id = self.new_segment_id();
            let questions = |slots: &[Slot]| self.questions_to_link(slots);
            let build = || gathered.build(id, &active, refining, &questions, monitor);
            Some(Arc::new(self.on_build_threads(build)?))
        };
        if sources.sealed.iter().any(|view| view.segment.is_damaged()) {
            // The new segment has rows from the damaged file.
            return Err(Cancelled);
        }
        // Measurements on the old segments say little of the new one, and must not be stored with
        // it.
        self.calibrations.clear();
        self.replace_segments(|snapshot| replace(snapshot, sources, merged));
        request(&mut lock(&self.requested).calibrate, active);
        Ok(())
    }

    /// Runs a build on threads of its own, or on the caller's if the system provides none.
    fn on_build_threads<T: Send>(&self, build: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.config.threads.max(1))
            .thread_name(|i| format!("affinis-build-{i}"))
            .start_handler(|_| priority::lower())
            .build();
        match pool {
            Ok(pool) => pool.install(build),
            Err(_) => build(),
        }
    }
}

/// The sealed segments that are merged with `added` new items, smallest first: each is at most
/// [`MAX_SIZE_RATIO`] times as large as the items before it.
fn sealed_to_merge(snapshot: &Snapshot, added: usize) -> Vec<SealedView> {
    let mut by_size: Vec<&SealedView> = snapshot
        .sealed
        .iter()
        .filter(|view| !view.segment.is_damaged())
        .collect();
    by_size.sort_by_key(|view| view.segment.len());
    let (mut total, mut chosen) = (added, Vec::new());
    for view in by_size {
        if view.segment.len() > MAX_SIZE_RATIO * total {
            break;
        }
        total += view.segment.len() - view.dead;
        chosen.push(view.clone());
    }
    chosen
}

/// Replaces merged segments by `merged`, which is `None` if no item was live.
fn replace(snapshot: &mut Snapshot, sources: Sources<'_>, merged: Option<Arc<SealedSegment>>) {
    let is_source = |id: u64| {
        sources.sealed.iter().any(|view| view.segment.id == id)
            || sources.growing.iter().any(|view| view.segment.id == id)
    };
    snapshot.sealed.retain(|view| !is_source(view.segment.id));
    snapshot.growing.retain(|view| !is_source(view.segment.id));
    if let Some(segment) = merged {
        let dead = count_dead(&segment.slots, &snapshot.dead);
        snapshot.sealed.push(SealedView { segment, dead });
        snapshot.sort_sealed();
    }
}
