//! Changing the index: one writer at a time builds the next [`View`] and publishes it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bias::{BiasCache, RowSource};
use super::calibrate::Calibrations;
use super::head::Head;
use super::image::{self, Expected};
use super::published::Published;
use super::rows::{Room, unpack_into};
use super::segment::Segment;
use super::view::{HeadView, Place, View};
use super::{Config, IndexError, Segments, Versioned};

/// What the handle and the background thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Numbers in a vector.
    pub(crate) dim: usize,
    /// How it behaves.
    pub(crate) config: Config,
    /// The state that the next search sees.
    pub(crate) view: Published<View>,
    /// Biases by metric and part.
    pub(crate) biases: BiasCache,
    /// Beam widths by metric.
    pub(crate) calibrations: Calibrations,
    /// What the background was asked to do beyond what the view shows.
    pub(crate) asked: Mutex<Asked>,
    /// Held while parts are linked, measured or written to images: one at a time.
    pub(crate) linking: Mutex<()>,
    generation: AtomicU64,
    /// The generation that images were last made of, or tried to.
    imaged: AtomicU64,
    next_part: AtomicU64,
    /// Items held when a metric was last calibrated.
    pub(crate) calibrated: AtomicUsize,
    /// Whether the index is being closed: what only saves time later is left undone.
    pub(crate) closing: AtomicBool,
}

/// Work that was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The metric that links are made under.
    pub(crate) active: Versioned,
    /// Metrics whose biases are to be filled, each once.
    pub(crate) fill: Vec<Versioned>,
    /// Metrics that are to be calibrated, each once.
    pub(crate) calibrate: Vec<Versioned>,
}

/// Puts a metric to the end of what is to be done, where it is taken from first.
pub(crate) fn ask(list: &mut Vec<Versioned>, metric: Versioned) {
    list.retain(|asked| asked.version != metric.version);
    list.push(metric);
}

/// Locks, whether or not a thread panicked while it held the lock: every state behind our locks is
/// valid at all times.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// An empty index.
    pub(crate) fn new(dim: usize, mut config: Config) -> Self {
        let active = Versioned {
            version: 0,
            metric: Arc::clone(&config.base),
        };
        Self {
            dim,
            view: Published::new(View::default()),
            biases: BiasCache::new(config.bias_bytes),
            calibrations: Calibrations::new(std::mem::take(&mut config.calibrations)),
            asked: Mutex::new(Asked {
                active,
                fill: Vec::new(),
                calibrate: Vec::new(),
            }),
            linking: Mutex::new(()),
            generation: AtomicU64::new(0),
            imaged: AtomicU64::new(u64::MAX),
            next_part: AtomicU64::new(1),
            calibrated: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            config,
        }
    }

    /// A name for a new part.
    pub(crate) fn new_part(&self) -> u64 {
        self.next_part.fetch_add(1, Ordering::Relaxed)
    }

    /// Sees to it that names up to `id` are not given again.
    pub(crate) fn reserve_part(&self, id: u64) {
        self.next_part
            .fetch_max(id.saturating_add(1), Ordering::Relaxed);
    }

    /// See [`Index::generation`](super::Index::generation).
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Refuses vectors of another dimension and numbers that are not finite.
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

    /// Refuses metrics of another dimension.
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
        self.view.try_update(|view| {
            let mut next = view.next_slot;
            for &(slot, vector) in add {
                self.check_vector(vector)?;
                if slot < next || slot == u32::MAX {
                    return Err(IndexError::SlotOrder { slot, next });
                }
                next = slot + 1;
            }
            for &(slot, vector) in add {
                self.put(view, slot, vector);
            }
            for &slot in remove {
                view.kill(slot);
            }
            Ok(())
        })
    }

    /// Puts an item into the open head of a view that is not published yet.
    pub(crate) fn put(&self, view: &mut View, slot: u32, vector: &[f32]) {
        let open = view.heads.last().is_some_and(|head| !head.frozen);
        if !open {
            let head = Arc::new(Head::new(
                self.new_part(),
                self.dim,
                self.config.head_capacity.max(1),
            ));
            view.heads.push(HeadView {
                head,
                len: 0,
                dead: 0,
                frozen: false,
            });
        }
        view.dead.insert_all(view.next_slot..slot);
        view.next_slot = slot + 1;
        if let Some(open) = view.heads.last_mut() {
            let written = open.head.put(open.len, slot, vector);
            debug_assert!(
                written,
                "the open head has room, and only the writer writes"
            );
            open.len += 1;
            open.frozen = open.len == open.head.capacity();
            view.live += 1;
        }
    }

    /// Publishes a change of the parts, then lets go of what only the old parts needed.
    pub(crate) fn replace_parts(&self, change: impl FnOnce(&mut View)) {
        self.view.update(|view| {
            change(view);
            self.biases.retain(&view.parts());
        });
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.tell();
    }

    /// Tells of a change that a store may want to keep.
    pub(crate) fn tell(&self) {
        if let Some(on_change) = &self.config.on_change {
            on_change(&self.segments(&self.view.load()));
        }
    }

    /// Notes that the segments as they are have images.
    pub(crate) fn is_imaged(&self) {
        self.imaged
            .store(self.generation.load(Ordering::Acquire), Ordering::Release);
    }

    /// Whether the segments changed since images were last asked for.
    pub(crate) fn wants_images(&self) -> bool {
        self.config.on_calm.is_some()
            && self.imaged.load(Ordering::Acquire) != self.generation.load(Ordering::Acquire)
            && !self.view.load().segments.is_empty()
    }

    /// Asks for images of the segments, and uses those instead of the memory they take. False if it
    /// was asked before.
    pub(crate) fn make_images(&self) -> bool {
        let Some(on_calm) = self.config.on_calm.as_ref().filter(|_| self.wants_images()) else {
            return false;
        };
        let _linking = lock(&self.linking);
        let view = self.view.load_full();
        self.is_imaged();
        let images = on_calm(&self.segments(&view));
        let expected = Expected {
            dim: self.dim,
            next_slot: view.next_slot,
            format: self.config.format.as_ref(),
        };
        let mapped: Vec<Arc<Segment>> = images
            .iter()
            .filter_map(|(id, image)| image::open(*id, image, expected).ok())
            .map(|(segment, _)| Arc::new(segment))
            .collect();
        self.view.update(|view| {
            for part in &mut view.segments {
                // The number of dead items is the view's; the image has the same items in the same
                // places.
                if let Some(mapped) = mapped.iter().find(|mapped| mapped.id == part.segment.id) {
                    part.segment = Arc::clone(mapped);
                }
            }
        });
        true
    }

    /// What a store may keep of a view.
    pub(crate) fn segments<'a>(&'a self, view: &'a View) -> Segments<'a> {
        Segments { view, shared: self }
    }

    /// Publishes a view in which the open head takes no more items.
    pub(crate) fn freeze(&self) {
        self.view
            .update(|view| view.heads.iter_mut().for_each(|head| head.frozen = true));
    }

    /// See [`Index::activate`](super::Index::activate).
    pub(crate) fn activate(&self, metric: &Versioned) {
        let mut asked = lock(&self.asked);
        asked.active = metric.clone();
        ask(&mut asked.fill, metric.clone());
        if !self.calibrations.knows(metric.version) {
            ask(&mut asked.calibrate, metric.clone());
        }
    }

    /// The metric that links are made under.
    pub(crate) fn active(&self) -> Versioned {
        lock(&self.asked).active.clone()
    }

    /// See [`Index::vector`](super::Index::vector).
    pub(crate) fn vector(&self, slot: u32) -> Option<Vec<f32>> {
        let view = self.view.load();
        if slot >= view.next_slot || view.dead.contains(slot) {
            return None;
        }
        let mut out = vec![0.0; self.dim];
        match view.locate(slot)? {
            Place::Segment(at, local) => {
                let segment = &view.segments[at].segment;
                unpack_into(segment.row(local, &mut Room::new()), &mut out);
                if segment.is_damaged() {
                    return None;
                }
            }
            Place::Head(at, local) => {
                unpack_into(view.heads[at].head.row(local, &mut Room::new()), &mut out)
            }
        }
        Some(out)
    }
}
