//! The state shared by the handle of an index and its maintenance thread. One writer at a time
//! derives the next [`Snapshot`] from the last and publishes it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::index::asked::Asked;
use crate::index::bias::BiasCache;
use crate::index::calibrations::Calibrations;
use crate::index::config::Config;
use crate::index::error::IndexError;
use crate::index::layout::rows::{RowBuffer, RowSource, unpack_into};
use crate::index::published::Published;
use crate::index::segment::file::{self, Expected};
use crate::index::segment::growing::{GrowingSegment, GrowingView};
use crate::index::segment::sealed::SealedSegment;
use crate::index::segments::Segments;
use crate::index::snapshot::{Location, Snapshot};
use crate::index::versioned::{BASE_VERSION, Versioned};
use crate::model::MAX_DIM;
use crate::slot::Slot;

/// The state of an index.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Numbers in a vector.
    pub(crate) dim: usize,
    /// The configuration.
    pub(crate) config: Config,
    /// The snapshot that the next search uses.
    pub(crate) snapshot: Published<Snapshot>,
    /// Biases by metric and segment.
    pub(crate) biases: BiasCache,
    /// Measured beam widths by metric.
    pub(crate) calibrations: Calibrations,
    /// Queries that were asked lately.
    pub(crate) asked: Asked,
    /// Work that was requested.
    pub(crate) requested: Mutex<Requested>,
    /// Held while segments are built, measured or written to files.
    pub(crate) building: Mutex<()>,
    /// Counts the changes of the set of segments.
    generation: AtomicU64,
    /// The generation of which segment files were last requested.
    filed: AtomicU64,
    next_segment: AtomicU64,
    /// Number of items when a metric was last calibrated.
    pub(crate) calibrated_at: AtomicUsize,
    /// Whether the index is being closed, so that work that only saves time later is skipped.
    pub(crate) closing: AtomicBool,
}

/// Work that was requested and is not derived from the snapshot.
#[derive(Debug)]
pub(crate) struct Requested {
    /// The metric under which graphs are built.
    pub(crate) active: Versioned,
    /// Metrics whose biases are to be computed, each once; the last comes first.
    pub(crate) fill: Vec<Versioned>,
    /// Metrics that are to be calibrated, each once; the last comes first.
    pub(crate) calibrate: Vec<Versioned>,
}

/// Moves or adds a metric to the end of a list, from which it is taken first.
pub(crate) fn request(list: &mut Vec<Versioned>, metric: Versioned) {
    list.retain(|requested| requested.version != metric.version);
    list.push(metric);
}

/// Locks a mutex even if a thread panicked while it held it: the states behind the index's locks
/// are valid at all times.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// An empty index.
    pub(crate) fn new(dim: usize, mut config: Config) -> Self {
        let active = Versioned {
            version: BASE_VERSION,
            metric: Arc::clone(&config.base),
        };
        Self {
            dim,
            snapshot: Published::new(Snapshot::default()),
            biases: BiasCache::new(config.bias_bytes),
            calibrations: Calibrations::new(std::mem::take(&mut config.calibrations)),
            asked: Asked::default(),
            requested: Mutex::new(Requested {
                active,
                fill: Vec::new(),
                calibrate: Vec::new(),
            }),
            building: Mutex::new(()),
            generation: AtomicU64::new(0),
            filed: AtomicU64::new(u64::MAX),
            next_segment: AtomicU64::new(1),
            calibrated_at: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            config,
        }
    }

    /// An id for a new segment.
    pub(crate) fn new_segment_id(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    /// Reserves the ids up to `id`.
    pub(crate) fn reserve_segment_id(&self, id: u64) {
        self.next_segment
            .fetch_max(id.saturating_add(1), Ordering::Relaxed);
    }

    /// See [`Index::generation`](super::Index::generation).
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Fails unless `dim` is from 1 to [`MAX_DIM`].
    ///
    /// # Errors
    /// [`IndexError::DimensionLimit`].
    pub(crate) fn check_dimension(dim: usize) -> Result<(), IndexError> {
        if (1..=MAX_DIM).contains(&dim) {
            Ok(())
        } else {
            Err(IndexError::DimensionLimit { dim })
        }
    }

    /// Fails for vectors of another dimension or with numbers that are not finite.
    ///
    /// # Errors
    /// [`IndexError::Dimension`], [`IndexError::NotFinite`].
    pub(crate) fn check_vector(&self, vector: &[f32]) -> Result<(), IndexError> {
        if vector.len() != self.dim {
            return Err(IndexError::Dimension {
                expected: self.dim,
                found: vector.len(),
            });
        }
        match vector.iter().position(|x| !x.is_finite()) {
            Some(position) => Err(IndexError::NotFinite { position }),
            None => Ok(()),
        }
    }

    /// Fails for metrics of another dimension.
    ///
    /// # Errors
    /// [`IndexError::MetricDimension`].
    pub(crate) fn check_metric(&self, metric: &Versioned) -> Result<(), IndexError> {
        let found = metric.metric.dim();
        if found == self.dim {
            return Ok(());
        }
        Err(IndexError::MetricDimension {
            version: metric.version,
            expected: self.dim,
            found,
        })
    }

    /// See [`Index::apply`](super::Index::apply).
    pub(crate) fn apply(&self, add: &[(u32, &[f32])], remove: &[u32]) -> Result<(), IndexError> {
        self.snapshot.try_update(|snapshot| {
            let mut next = snapshot.next_slot;
            for &(slot, vector) in add {
                let slot = Slot(slot);
                self.check_vector(vector)?;
                if slot < next || slot == Slot::NONE {
                    return Err(IndexError::SlotOrder { slot, next });
                }
                next = slot.next();
            }
            for &(slot, vector) in add {
                self.put(snapshot, Slot(slot), vector);
            }
            for &slot in remove {
                snapshot.delete(Slot(slot));
            }
            Ok(())
        })
    }

    /// Adds an item to the open growing segment of a snapshot that is not published yet.
    pub(crate) fn put(&self, snapshot: &mut Snapshot, slot: Slot, vector: &[f32]) {
        let has_open = snapshot.growing.last().is_some_and(|view| !view.frozen);
        if !has_open {
            let segment = Arc::new(GrowingSegment::new(
                self.new_segment_id(),
                self.dim,
                self.config.growing_capacity.max(1),
            ));
            snapshot.growing.push(GrowingView {
                segment,
                len: 0,
                dead: 0,
                frozen: false,
            });
        }
        snapshot.dead.insert_all(snapshot.next_slot..slot);
        snapshot.next_slot = slot.next();
        if let Some(open) = snapshot.growing.last_mut() {
            let written = open.segment.put(open.len, slot, vector);
            debug_assert!(
                written,
                "the open segment has room, and only one writer writes"
            );
            open.len += 1;
            open.frozen = open.len == open.segment.capacity();
            snapshot.live += 1;
        }
    }

    /// Publishes a change of the set of segments, then drops the biases of segments that are gone.
    pub(crate) fn replace_segments(&self, change: impl FnOnce(&mut Snapshot)) {
        self.snapshot.update(|snapshot| {
            change(snapshot);
            self.biases.retain(&snapshot.segment_ids());
        });
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.notify_change();
    }

    /// Calls [`Config::on_change`].
    pub(crate) fn notify_change(&self) {
        if let Some(on_change) = &self.config.on_change {
            on_change(&self.segments(&self.snapshot.load()));
        }
    }

    /// Records that the present segments have files.
    pub(crate) fn mark_filed(&self) {
        self.filed
            .store(self.generation.load(Ordering::Acquire), Ordering::Release);
    }

    /// Whether the segments changed since files were last requested.
    pub(crate) fn needs_files(&self) -> bool {
        self.config.on_idle.is_some()
            && self.filed.load(Ordering::Acquire) != self.generation.load(Ordering::Acquire)
            && (self.generation.load(Ordering::Acquire) > 0
                || !self.snapshot.load().sealed.is_empty())
    }

    /// Requests files of the segments and replaces the segments in memory by them. False if that
    /// was done before.
    pub(crate) fn write_files(&self) -> bool {
        let Some(on_idle) = self.config.on_idle.as_ref().filter(|_| self.needs_files()) else {
            return false;
        };
        let _building = lock(&self.building);
        let snapshot = self.snapshot.load_full();
        self.mark_filed();
        let files = on_idle(&self.segments(&snapshot));
        let expected = Expected {
            dim: self.dim,
            next_slot: snapshot.next_slot.0,
            format: self.config.format.as_ref(),
        };
        let mapped: Vec<Arc<SealedSegment>> = files
            .iter()
            .filter_map(|(id, file)| file::open(*id, file, expected).ok())
            .map(|(segment, _)| Arc::new(segment))
            .collect();
        self.snapshot.update(|snapshot| {
            for view in &mut snapshot.sealed {
                // The file has the same items under the same numbers, so the count of deleted
                // items still holds.
                if let Some(mapped) = mapped.iter().find(|mapped| mapped.id == view.segment.id) {
                    view.segment = Arc::clone(mapped);
                }
            }
        });
        true
    }

    /// What a store may save of a snapshot.
    pub(crate) fn segments<'a>(&'a self, snapshot: &'a Snapshot) -> Segments<'a> {
        Segments {
            snapshot,
            biases: &self.biases,
            measured: &self.calibrations,
            base: &*self.config.base,
            format: self.config.format.as_deref(),
        }
    }

    /// Freezes the open growing segment.
    pub(crate) fn freeze(&self) {
        self.snapshot.update(|snapshot| {
            snapshot
                .growing
                .iter_mut()
                .for_each(|view| view.frozen = true);
        });
    }

    /// See [`Index::activate`](super::Index::activate).
    pub(crate) fn activate(&self, metric: &Versioned) {
        let mut requested = lock(&self.requested);
        requested.active = metric.clone();
        request(&mut requested.fill, metric.clone());
        if !self.calibrations.contains(metric.version) {
            request(&mut requested.calibrate, metric.clone());
        }
    }

    /// The metric under which graphs are built.
    pub(crate) fn active(&self) -> Versioned {
        lock(&self.requested).active.clone()
    }

    /// See [`Index::vector`](super::Index::vector).
    pub(crate) fn vector(&self, slot: Slot) -> Option<Vec<f32>> {
        let snapshot = self.snapshot.load();
        if slot >= snapshot.next_slot || snapshot.dead.contains(slot) {
            return None;
        }
        let (mut out, mut buffer) = (vec![0.0; self.dim], RowBuffer::new());
        match snapshot.locate(slot)? {
            Location::Sealed(at, local) => {
                let segment = &snapshot.sealed[at].segment;
                unpack_into(segment.row(local, &mut buffer), &mut out);
                if segment.is_damaged() {
                    return None;
                }
            }
            Location::Growing(at, local) => {
                let segment = &snapshot.growing[at].segment;
                unpack_into(segment.row(local, &mut buffer), &mut out);
            }
        }
        Some(out)
    }
}
