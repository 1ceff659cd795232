//! The snapshot that a search takes: which parts there are, how much of each is visible, and which
//! slots are dead.

use std::sync::Arc;

use super::IndexError;
use super::head::Head;
use super::segment::Segment;
use super::tombstones::Tombstones;

/// One state of the index. Never changed: writers publish another.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Linked parts.
    pub(crate) segments: Vec<SegmentView>,
    /// Heads, oldest first; the last may be open.
    pub(crate) heads: Vec<HeadView>,
    /// Slots that are not live.
    pub(crate) dead: Tombstones,
    /// The first slot that was never given.
    pub(crate) next_slot: u32,
    /// Live items.
    pub(crate) live: usize,
}

/// A segment in a view.
#[derive(Debug, Clone)]
pub(crate) struct SegmentView {
    /// The segment.
    pub(crate) segment: Arc<Segment>,
    /// Its items that are dead.
    pub(crate) dead: usize,
}

/// A head in a view.
#[derive(Debug, Clone)]
pub(crate) struct HeadView {
    /// The head.
    pub(crate) head: Arc<Head>,
    /// The items of it that this view sees.
    pub(crate) len: usize,
    /// Those of them that are dead.
    pub(crate) dead: usize,
    /// Whether it takes no more items and waits to be linked.
    pub(crate) frozen: bool,
}

/// Where a slot's item is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// (position in `segments`, item)
    Segment(usize, u32),
    /// (position in `heads`, item)
    Head(usize, u32),
}

impl View {
    /// Where the item of `slot` is, dead or alive.
    pub(crate) fn locate(&self, slot: u32) -> Option<Place> {
        for (at, part) in self.segments.iter().enumerate() {
            if let Some(local) = part.segment.locate(slot) {
                return Some(Place::Segment(at, local));
            }
        }
        for (at, part) in self.heads.iter().enumerate().rev() {
            if let Some(local) = part.head.locate(slot, part.len) {
                return Some(Place::Head(at, local));
            }
        }
        None
    }

    /// Marks `slot` dead, if it was alive.
    pub(crate) fn kill(&mut self, slot: u32) {
        if slot >= self.next_slot || !self.dead.insert(slot) {
            return;
        }
        match self.locate(slot) {
            Some(Place::Segment(at, _)) => self.segments[at].dead += 1,
            Some(Place::Head(at, _)) => self.heads[at].dead += 1,
            None => return,
        }
        self.live -= 1;
    }

    /// Refuses what was made of a view after a damaged row was read.
    pub(crate) fn check_images(&self) -> Result<(), IndexError> {
        match self.segments.iter().find(|part| part.segment.is_damaged()) {
            Some(part) => Err(IndexError::DamagedImage {
                segment: part.segment.id,
            }),
            None => Ok(()),
        }
    }

    /// Items held, dead ones included.
    pub(crate) fn held(&self) -> usize {
        self.segments.iter().map(|s| s.segment.len()).sum::<usize>()
            + self.heads.iter().map(|h| h.len).sum::<usize>()
    }

    /// The slots of the live items, increasing. Most slots may be dead, so they are not gone
    /// through one by one.
    pub(crate) fn live_slots(&self) -> Vec<u32> {
        let segments = self
            .segments
            .iter()
            .flat_map(|part| part.segment.slots.iter().copied());
        let heads = self
            .heads
            .iter()
            .flat_map(|part| (0..part.len as u32).map(|local| part.head.slot(local)));
        let mut live: Vec<u32> = segments
            .chain(heads)
            .filter(|slot| !self.dead.contains(*slot))
            .collect();
        live.sort_unstable();
        live
    }

    /// The parts' names in the bias cache.
    pub(crate) fn parts(&self) -> Vec<u64> {
        self.segments
            .iter()
            .map(|s| s.segment.id)
            .chain(self.heads.iter().map(|h| h.head.id))
            .collect()
    }
}
