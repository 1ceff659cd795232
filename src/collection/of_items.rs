//! What a handle does with items.

use super::Collection;
use crate::error::Result;
use crate::items::{Added, Stats};
use crate::model::{Item, ItemError};

impl Collection {
    /// Adds items, replacing those whose ids exist. All or none are stored, durably, before it
    /// returns; the next search sees them all.
    ///
    /// # Errors
    /// [`Error::InvalidItem`](crate::Error::InvalidItem) with its position, or
    /// [`Error::DuplicateId`](crate::Error::DuplicateId), for the input;
    /// [`Error::NoEncoder`](crate::Error::NoEncoder) or [`Error::Encode`](crate::Error::Encode) for
    /// texts; storage errors. Nothing is stored then.
    pub fn add(&self, items: impl IntoIterator<Item = Item>) -> Result<Added> {
        self.inner.items.add(self.prepare(items)?)
    }

    /// Does the slow part of [`Self::add`] ahead: checks items and encodes the texts of those
    /// without a vector. The items that it gives can be added without encoding, so that a program
    /// can show progress over a large input.
    ///
    /// # Errors
    /// Those of [`Self::add`] that concern single items.
    pub fn prepare(&self, items: impl IntoIterator<Item = Item>) -> Result<Vec<Item>> {
        self.inner.items.prepare(items.into_iter().collect())
    }

    /// Checks one item by all that [`Self::add`] requires of it alone. A text that is not encoded
    /// yet is not encoded for it.
    ///
    /// # Errors
    /// [`ItemError`], the rule that the item breaks.
    pub fn check(&self, item: &Item) -> Result<(), ItemError> {
        self.inner.items.check(item)
    }

    /// Removes items, all or none. Gives their number.
    ///
    /// # Errors
    /// [`Error::UnknownId`](crate::Error::UnknownId) when any id is not there; nothing is removed
    /// then.
    pub fn delete(&self, ids: &[impl AsRef<str>]) -> Result<usize> {
        self.inner.items.delete(ids)
    }

    /// The item of an id, with its vector; `None` when there is none.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Item>> {
        self.inner.items.get(id)
    }

    /// The items of ids that must all be there, in the order asked.
    ///
    /// # Errors
    /// [`Error::UnknownId`](crate::Error::UnknownId) naming those that are not there.
    pub fn get_many(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Item>> {
        self.inner.items.get_many(ids)
    }

    /// Whether an id is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contains(&self, id: &str) -> Result<bool> {
        self.inner.items.contains(id)
    }

    /// Every item that was there when it was called, oldest first, with its vector. Items that are
    /// removed meanwhile are left out, of those that are replaced the new ones are given.
    ///
    /// # Errors
    /// Each item can be damaged on its own; the call itself fails when the ids cannot be read.
    pub fn items(&self) -> Result<impl Iterator<Item = Result<Item>> + use<>> {
        let live = self.inner.items.live_ids()?;
        let collection = self.clone();
        Ok(live
            .into_iter()
            .filter_map(move |(slot, id)| collection.inner.items.read_moved(slot, &id).transpose()))
    }

    /// Builds all items into one graph and refines it under the active metric, without those that
    /// were removed. Searches and writes go on meanwhile. The background does what is needed
    /// without being asked; this does all of it now.
    ///
    /// # Errors
    /// When the graph cannot be stored.
    pub fn optimize(&self) -> Result<()> {
        self.optimize_with(|_| (), || false)
    }

    /// Does the same as [`Self::optimize`], tells `progress` the share that is done, 0 to 1, and
    /// asks `cancel` now and then whether to stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled); the graph is then what it was. Otherwise when
    /// the graph cannot be stored.
    pub fn optimize_with(
        &self,
        progress: impl Fn(f32) + Sync,
        cancel: impl Fn() -> bool + Sync,
    ) -> Result<()> {
        self.inner.items.optimize(&progress, &cancel)
    }

    /// Figures of the collection.
    ///
    /// # Errors
    /// When the store cannot be measured.
    pub fn stats(&self) -> Result<Stats> {
        self.inner.items.stats(self.active_metric(None))
    }
}
