//! Table digests: the number of entries that each table of a collection should hold, and a hash of
//! their keys.
//!
//! The checksum of a record shows damage inside it. The digest shows that a record is missing, or
//! that one is there which was not stored. It changes in the same transaction as the table.

use serde::{Deserialize, Serialize};

/// Number of tables that have a digest: those whose loss nothing else would show. That a vector is
/// missing shows beside the ids, which each have one, in the table of vectors or in a file.
pub(super) const DIGESTED: usize = 5;

/// The digest of one table: its number of entries, and the exclusive or of their hashes, which does
/// not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableDigest {
    pub(super) entries: u64,
    keys: u64,
}

/// The digests of a collection's tables, in the order of the tables.
pub(super) type TableDigests = [TableDigest; DIGESTED];

/// The change of the digests by a transaction: for each table, the entries added less those
/// removed, and the exclusive or of the hashes of both.
pub(super) type Delta = [(i64, u64); DIGESTED];

impl TableDigest {
    pub(super) fn add(&mut self, hash: u64) {
        self.entries += 1;
        self.keys ^= hash;
    }

    pub(super) fn remove(&mut self, hash: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.keys ^= hash;
    }

    /// The digest after a change; `None` where more entries were removed than there were.
    pub(super) fn changed(self, (entries, keys): (i64, u64)) -> Option<Self> {
        Some(Self {
            entries: self.entries.checked_add_signed(entries)?,
            keys: self.keys ^ keys,
        })
    }

    /// The difference from the digest that was stored, in words; `None` where there is none.
    pub(super) fn differs(self, stored: Self) -> Option<String> {
        if self == stored {
            None
        } else if self.entries == stored.entries {
            Some(format!(
                "it holds other entries than the {} that were stored",
                stored.entries
            ))
        } else {
            Some(format!(
                "it holds {} entries, and {} were stored",
                self.entries, stored.entries
            ))
        }
    }
}

/// The hash of an entry: of its key, and of `value`, which is empty where the value has a checksum
/// of its own.
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
