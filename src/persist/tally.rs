//! What a collection's trees should hold: how many entries each, and a hash of all their keys.
//!
//! Every record has a checksum of its own, so damage inside one is noticed. The tally notices one
//! that is not there, or that should not be there. It changes in the same transaction as the trees.

use serde::{Deserialize, Serialize};

/// The trees that are tallied: all whose loss would make answers wrong. The graph and the
/// calibrations can be made again.
pub(super) const TALLIED: usize = 6;

/// One tree's count. The hash does not depend on the order, so that it follows each write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) entries: u64,
    keys: u64,
}

/// All trees of a collection, in the order of their names.
pub(super) type Tally = [Count; TALLIED];

/// What a transaction changes of a [`Tally`].
pub(super) type Delta = [(i64, u64); TALLIED];

impl Count {
    pub(super) fn add(&mut self, hash: u64) {
        self.entries += 1;
        self.keys ^= hash;
    }

    pub(super) fn remove(&mut self, hash: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.keys ^= hash;
    }

    /// The count after a change; `None` when more was removed than there is.
    pub(super) fn changed(self, (entries, keys): (i64, u64)) -> Option<Self> {
        Some(Self {
            entries: self.entries.checked_add_signed(entries)?,
            keys: self.keys ^ keys,
        })
    }

    /// What differs from the count that should be, in words.
    pub(super) fn differs(self, should: Self) -> Option<String> {
        if self == should {
            None
        } else if self.entries == should.entries {
            Some(format!(
                "it holds other entries than the {} that were stored",
                should.entries
            ))
        } else {
            Some(format!(
                "it holds {} entries, and {} were stored",
                self.entries, should.entries
            ))
        }
    }
}

/// The hash of an entry: of its key, and of its value where that has no checksum of its own.
pub(super) fn hash(key: &[u8], value: &[u8]) -> u64 {
    let length = (key.len() as u64).to_le_bytes();
    let mut short = [0; 64];
    match short.get_mut(..key.len() + value.len() + length.len()) {
        Some(bytes) => {
            bytes[..key.len()].copy_from_slice(key);
            bytes[key.len()..key.len() + value.len()].copy_from_slice(value);
            bytes[key.len() + value.len()..].copy_from_slice(&length);
            xxhash_rust::xxh3::xxh3_64(bytes)
        }
        None => xxhash_rust::xxh3::xxh3_64(&[key, value, &length].concat()),
    }
}
