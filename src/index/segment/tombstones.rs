//! Sets of slots, such as the deleted ones: bitmaps in chunks that snapshots share until one of
//! them changes.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use crate::slot::Slot;

/// Words of a chunk.
const WORDS: usize = 64;
/// Slots of a chunk.
const CHUNK: u32 = (WORDS * 64) as u32;

/// A chunk with every slot in the set, shared by all sets.
static FULL: LazyLock<Arc<[u64; WORDS]>> = LazyLock::new(|| Arc::new([u64::MAX; WORDS]));

/// A set of slots. A clone copies one pointer for every 4,096 slots; a change copies the chunks
/// that it touches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstones {
    chunks: Vec<Option<Arc<[u64; WORDS]>>>,
}

impl Tombstones {
    /// Whether `slot` is in the set.
    #[inline]
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        let Slot(slot) = slot;
        match self.chunks.get((slot / CHUNK) as usize) {
            Some(Some(words)) => words[(slot % CHUNK / 64) as usize] >> (slot % 64) & 1 == 1,
            _ => false,
        }
    }

    /// Adds `slot`; false if it was in the set before.
    pub(crate) fn insert(&mut self, slot: Slot) -> bool {
        let Slot(slot) = slot;
        let words = Arc::make_mut(
            self.chunk_of(slot)
                .get_or_insert_with(|| Arc::new([0; WORDS])),
        );
        let word = &mut words[(slot % CHUNK / 64) as usize];
        let bit = 1 << (slot % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// The chunk of a slot, which is created if need be.
    fn chunk_of(&mut self, slot: u32) -> &mut Option<Arc<[u64; WORDS]>> {
        let chunk = (slot / CHUNK) as usize;
        if self.chunks.len() <= chunk {
            self.chunks.resize(chunk + 1, None);
        }
        &mut self.chunks[chunk]
    }

    /// Adds a range of slots, in time and memory that grow with the number of chunks.
    pub(crate) fn insert_all(&mut self, slots: Range<Slot>) {
        let (mut slot, end) = (slots.start.0, slots.end.0);
        while slot < end {
            if slot.is_multiple_of(CHUNK) && end - slot >= CHUNK {
                *self.chunk_of(slot) = Some(Arc::clone(&FULL));
                slot += CHUNK;
            } else {
                self.insert(Slot(slot));
                slot += 1;
            }
        }
    }

    /// The slots below `end` that are not in `placed` or are in `removed`.
    pub(crate) fn of_all_but(end: Slot, placed: &Self, removed: &Self) -> Self {
        let mut dead = Self::default();
        dead.insert_all(Slot(0)..end);
        for (at, (words, placed)) in dead.chunks.iter_mut().zip(&placed.chunks).enumerate() {
            let (Some(dead), Some(placed)) = (words.as_mut(), placed) else {
                continue;
            };
            let removed = removed.chunks.get(at).and_then(Option::as_ref);
            for (i, (dead, placed)) in Arc::make_mut(dead)
                .iter_mut()
                .zip(placed.iter())
                .enumerate()
            {
                *dead &= !placed | removed.map_or(0, |removed| removed[i]);
            }
            if dead.iter().all(|word| *word == 0) {
                *words = None;
            }
        }
        while dead.chunks.pop_if(|last| last.is_none()).is_some() {}
        dead
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        let own = self
            .chunks
            .iter()
            .flatten()
            .filter(|words| !Arc::ptr_eq(words, &FULL))
            .count();
        self.chunks.len() * size_of::<usize>() + own * size_of::<[u64; WORDS]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_its_own_state() {
        let mut a = Tombstones::default();
        assert!(a.insert(Slot(5)));
        assert!(!a.insert(Slot(5)));
        let b = a.clone();
        for slot in [0, 4095, 4096, 1_000_000, u32::MAX] {
            assert!(a.insert(Slot(slot)));
            assert!(a.contains(Slot(slot)));
            assert!(!b.contains(Slot(slot)));
        }
        assert!(b.contains(Slot(5)));
        assert!(!a.contains(Slot(6)));
    }

    #[test]
    fn adding_a_range_equals_adding_its_slots_one_by_one() {
        for (start, end) in [
            (0, 0),
            (0, 1),
            (5, 4096),
            (4096, 8192),
            (100, 20_000),
            (8192, 8193),
        ] {
            let (mut ranged, mut single) = (Tombstones::default(), Tombstones::default());
            ranged.insert(Slot(7));
            single.insert(Slot(7));
            ranged.insert_all(Slot(start)..Slot(end));
            (start..end).for_each(|slot| _ = single.insert(Slot(slot)));
            assert!(
                (0..25_000).all(|slot| ranged.contains(Slot(slot)) == single.contains(Slot(slot))),
                "{start}..{end}"
            );
        }
    }

    #[test]
    fn slots_that_are_not_placed_or_were_removed_are_dead() {
        let (mut placed, mut removed) = (Tombstones::default(), Tombstones::default());
        (0..10_000)
            .filter(|slot| slot % 3 == 0)
            .for_each(|slot| _ = placed.insert(Slot(slot)));
        (0..12_000)
            .filter(|slot| slot % 5 == 0)
            .for_each(|slot| _ = removed.insert(Slot(slot)));
        let dead = Tombstones::of_all_but(Slot(11_000), &placed, &removed);
        for slot in 0..13_000 {
            let expected =
                slot < 11_000 && (!placed.contains(Slot(slot)) || removed.contains(Slot(slot)));
            assert_eq!(dead.contains(Slot(slot)), expected, "{slot}");
        }
    }

    #[test]
    fn the_largest_range_takes_little_memory() {
        let mut all = Tombstones::default();
        all.insert_all(Slot(0)..Slot(u32::MAX));
        assert!(all.contains(Slot(u32::MAX - 1)) && !all.contains(Slot(u32::MAX)));
        assert!(all.bytes() < 32 << 20);
    }
}
