//! Which slots are dead, or other sets of slots: a bitmap in chunks that snapshots share until one of them changes.

use std::sync::Arc;

const WORDS: usize = 64;
const CHUNK: u32 = (WORDS * 64) as u32;

/// A set of slots. Cloning copies one pointer for every 4,096 slots; a change copies the chunks it touches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstones {
    chunks: Vec<Option<Arc<[u64; WORDS]>>>,
}

impl Tombstones {
    /// Whether `slot` is dead.
    #[inline]
    pub(crate) fn contains(&self, slot: u32) -> bool {
        match self.chunks.get((slot / CHUNK) as usize) {
            Some(Some(words)) => words[(slot % CHUNK / 64) as usize] >> (slot % 64) & 1 == 1,
            _ => false,
        }
    }

    /// Marks `slot` dead; false if it was already.
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        let chunk = (slot / CHUNK) as usize;
        if self.chunks.len() <= chunk {
            self.chunks.resize(chunk + 1, None);
        }
        let words = Arc::make_mut(self.chunks[chunk].get_or_insert_with(|| Arc::new([0; WORDS])));
        let word = &mut words[(slot % CHUNK / 64) as usize];
        let bit = 1 << (slot % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<usize>() + self.chunks.iter().flatten().count() * size_of::<[u64; WORDS]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_its_own_state() {
        let mut a = Tombstones::default();
        assert!(a.insert(5));
        assert!(!a.insert(5));
        let b = a.clone();
        for slot in [0, 4095, 4096, 1_000_000, u32::MAX] {
            assert!(a.insert(slot));
            assert!(a.contains(slot));
            assert!(!b.contains(slot));
        }
        assert!(b.contains(5));
        assert!(!a.contains(6));
    }
}
