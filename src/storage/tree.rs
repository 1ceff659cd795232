//! A tree of entries: one of sled, or one of a [replica](super::replica), which is only read.

use std::ops::Bound;
use std::sync::Arc;

use sled::IVec;

use super::replica::{ReplicaEntries, ReplicaTree};

pub(super) type Entry = (IVec, IVec);

#[derive(Debug, Clone)]
pub(super) enum Tree {
    Sled(sled::Tree),
    Replica(Arc<ReplicaTree>),
}

/// Entries in the order of their keys.
pub(super) enum Entries {
    Sled(Box<sled::Iter>),
    Replica(Box<ReplicaEntries>),
}

impl Tree {
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> sled::Result<Option<IVec>> {
        match self {
            Self::Sled(tree) => tree.get(key),
            Self::Replica(tree) => Ok(tree.get(key.as_ref())),
        }
    }

    pub(super) fn iter(&self) -> Entries {
        self.range((Bound::Unbounded, Bound::Unbounded))
    }

    pub(super) fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Entries {
        match self {
            Self::Sled(tree) => Entries::Sled(Box::new(tree.range::<Vec<u8>, _>(range))),
            Self::Replica(tree) => Entries::Replica(Box::new(ReplicaTree::range(tree, range))),
        }
    }

    /// The entries whose keys begin so.
    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> Entries {
        // The first key after all that begin so: without the bytes at the end that are the highest,
        // and with the next one raised.
        let mut end = prefix.to_vec();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        self.range((Bound::Included(prefix.to_vec()), end))
    }
}

impl Iterator for Entries {
    type Item = sled::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Sled(entries) => entries.next(),
            Self::Replica(entries) => entries.next().map(Ok),
        }
    }
}
