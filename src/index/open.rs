//! Opening an index again: from segment files, which are used in place, and the vectors of the other
//! live items, which go to growing segments.

use std::sync::Arc;

use crate::index::config::Config;
use crate::index::error::IndexError;
use crate::index::layout::section::SegmentFile;
use crate::index::segment::file::{self, Expected};
use crate::index::segment::sealed::SealedView;
use crate::index::segment::tombstones::Tombstones;
use crate::index::shared::Shared;
use crate::index::snapshot::Snapshot;
use crate::index::versioned::BASE_VERSION;
use crate::slot::Slot;

impl Shared {
    /// See [`Index::open`](super::Index::open).
    pub(crate) fn open<V: AsRef<[f32]>>(
        dim: usize,
        config: Config,
        files: &[(u64, Arc<dyn SegmentFile>)],
        next_slot: u32,
        removed: &[u32],
        items: impl IntoIterator<Item = (u32, V)>,
    ) -> Result<Self, IndexError> {
        Self::check_dimension(dim)?;
        let shared = Self::new(dim, config);
        let mut snapshot = Snapshot::default();
        let mut placed = shared.open_files(files, next_slot, &mut snapshot)?;
        let mut removed_slots = Tombstones::default();
        for slot in removed {
            removed_slots.insert(Slot(*slot));
        }
        let mut fresh = Vec::new();
        for (slot, vector) in items {
            let slot = Slot(slot);
            shared.check_vector(vector.as_ref())?;
            if slot >= Slot(next_slot) {
                return Err(IndexError::SlotOrder {
                    slot,
                    next: Slot(next_slot),
                });
            }
            if placed.insert(slot) {
                fresh.push((slot, vector));
            }
        }
        for view in &mut snapshot.sealed {
            view.dead = count_dead(&view.segment.slots, &removed_slots);
            snapshot.live += view.segment.len() - view.dead;
        }
        snapshot.dead = Tombstones::of_all_but(Slot(next_slot), &placed, &removed_slots);
        for (slot, vector) in &fresh {
            snapshot.next_slot = *slot;
            shared.put(&mut snapshot, *slot, vector.as_ref());
        }
        snapshot.next_slot = Slot(next_slot);
        snapshot.sort_sealed();
        shared.snapshot.update(|opened| *opened = snapshot);
        shared.mark_filed();
        Ok(shared)
    }

    /// Adds the segments of files to a snapshot, and returns their slots.
    fn open_files(
        &self,
        files: &[(u64, Arc<dyn SegmentFile>)],
        next_slot: u32,
        snapshot: &mut Snapshot,
    ) -> Result<Tombstones, IndexError> {
        let expected = Expected {
            dim: self.dim,
            next_slot,
            format: self.config.format.as_ref(),
        };
        let mut placed = Tombstones::default();
        for (id, file) in files {
            self.reserve_segment_id(*id);
            let (segment, biases) = file::open(*id, file, expected)?;
            for slot in &*segment.slots {
                if !placed.insert(*slot) {
                    return Err(IndexError::Graph {
                        segment: *id,
                        reason: format!("slot {slot} is in two segments"),
                    });
                }
            }
            let cached = self.biases.of(BASE_VERSION, *id, segment.len());
            cached.set_all(&biases);
            snapshot.sealed.push(SealedView {
                segment: Arc::new(segment),
                dead: 0,
            });
        }
        Ok(placed)
    }
}

/// The number of `slots` that are dead.
pub(crate) fn count_dead(slots: &[Slot], dead: &Tombstones) -> usize {
    slots.iter().filter(|slot| dead.contains(**slot)).count()
}
