//! Changes of a tree that are committed together.

use std::collections::BTreeMap;

use sled::IVec;

/// Changes of one tree: of those of one key the last counts.
#[derive(Debug, Default)]
pub(super) struct Batch(BTreeMap<IVec, Option<IVec>>);

impl Batch {
    pub(super) fn insert(&mut self, key: impl Into<IVec>, value: impl Into<IVec>) {
        self.0.insert(key.into(), Some(value.into()));
    }

    pub(super) fn remove(&mut self, key: impl Into<IVec>) {
        self.0.insert(key.into(), None);
    }

    /// The keys, in order, with their new values; `None` for one that is removed.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&IVec, Option<&IVec>)> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }
}
