//! Snapshots: which segments there are, how much of each is visible, and which slots are deleted.

use crate::index::error::IndexError;
use crate::index::segment::growing::GrowingView;
use crate::index::segment::sealed::SealedView;
use crate::index::segment::tombstones::Tombstones;
use crate::slot::Slot;

/// One state of the index. A snapshot never changes; writers publish the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Sealed segments, the largest first.
    pub(crate) sealed: Vec<SealedView>,
    /// Growing segments, oldest first; all but the last are frozen.
    pub(crate) growing: Vec<GrowingView>,
    /// Slots that hold no live item.
    pub(crate) dead: Tombstones,
    /// The lowest slot that was never assigned.
    pub(crate) next_slot: Slot,
    /// Number of live items.
    pub(crate) live: usize,
}

/// The segment of an item and its number there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Location {
    /// Position in [`Snapshot::sealed`], and the item's number.
    Sealed(usize, u32),
    /// Position in [`Snapshot::growing`], and the item's number.
    Growing(usize, u32),
}

impl Snapshot {
    /// The location of the item in `slot`, deleted or live.
    pub(crate) fn locate(&self, slot: Slot) -> Option<Location> {
        for (at, view) in self.sealed.iter().enumerate() {
            if let Some(local) = view.segment.locate(slot) {
                return Some(Location::Sealed(at, local));
            }
        }
        for (at, view) in self.growing.iter().enumerate().rev() {
            if let Some(local) = view.segment.locate(slot, view.len) {
                return Some(Location::Growing(at, local));
            }
        }
        None
    }

    /// Whether `slot` holds a live item.
    pub(crate) fn is_live(&self, slot: Slot) -> bool {
        slot < self.next_slot && !self.dead.contains(slot)
    }

    /// Deletes the item in `slot`, if it is live.
    pub(crate) fn delete(&mut self, slot: Slot) {
        if slot >= self.next_slot || !self.dead.insert(slot) {
            return;
        }
        match self.locate(slot) {
            Some(Location::Sealed(at, _)) => self.sealed[at].dead += 1,
            Some(Location::Growing(at, _)) => self.growing[at].dead += 1,
            None => return,
        }
        self.live -= 1;
    }

    /// Sorts the sealed segments, the largest first.
    pub(crate) fn sort_sealed(&mut self) {
        self.sealed
            .sort_by_key(|view| std::cmp::Reverse(view.segment.len()));
    }

    /// Fails if a damaged row of a segment file was read, so that results must not be used.
    ///
    /// # Errors
    /// [`IndexError::DamagedFile`].
    pub(crate) fn check_files(&self) -> Result<(), IndexError> {
        match self.sealed.iter().find(|view| view.segment.is_damaged()) {
            Some(view) => Err(IndexError::DamagedFile {
                segment: view.segment.id,
            }),
            None => Ok(()),
        }
    }

    /// Number of items, deleted ones included.
    pub(crate) fn held(&self) -> usize {
        let sealed = self.sealed.iter().map(|view| view.segment.len());
        let growing = self.growing.iter().map(|view| view.len);
        sealed.chain(growing).sum()
    }

    /// The slots of the live items, increasing. The time grows with the number of items, not of
    /// slots, most of which may be dead.
    pub(crate) fn live_slots(&self) -> Vec<Slot> {
        let sealed = self
            .sealed
            .iter()
            .flat_map(|view| view.segment.slots.iter().copied());
        let growing = self
            .growing
            .iter()
            .flat_map(|view| (0..view.len as u32).map(|local| view.segment.slot(local)));
        let mut live: Vec<Slot> = sealed
            .chain(growing)
            .filter(|slot| !self.dead.contains(*slot))
            .collect();
        live.sort_unstable();
        live
    }

    /// The ids of all segments.
    pub(crate) fn segment_ids(&self) -> Vec<u64> {
        let sealed = self.sealed.iter().map(|view| view.segment.id);
        let growing = self.growing.iter().map(|view| view.segment.id);
        sealed.chain(growing).collect()
    }
}
