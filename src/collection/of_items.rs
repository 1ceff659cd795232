//! The methods of [`Collection`] for items.

use super::Collection;
use crate::items::{Added, Stats};
#[cfg(doc)]
use crate::model::error::Error;
use crate::model::error::Result;
use crate::model::{Item, ItemError};

impl Collection {
    /// Adds items; an item whose id exists replaces the one that has it. Stores all or none,
    /// durably, before it returns. The next search sees them all.
    ///
    /// # Errors
    /// [`Error::InvalidItem`] with its position, or
    /// [`Error::DuplicateId`], for the input;
    /// [`Error::NoEncoder`] or [`Error::Encode`] for
    /// texts; storage errors. Nothing is stored then.
    pub fn add(&self, items: impl IntoIterator<Item = Item>) -> Result<Added> {
        self.inner.items.add(self.prepare(items)?)
    }

    /// Checks items and encodes the texts of those without a vector: the slow part of
    /// [`Self::add`], for programs that show progress over a large input. Returns items that are
    /// added without encoding.
    ///
    /// # Errors
    /// Those of [`Self::add`] that concern single items.
    pub fn prepare(&self, items: impl IntoIterator<Item = Item>) -> Result<Vec<Item>> {
        self.inner.items.prepare(items.into_iter().collect())
    }

    /// Checks one item by all rules of [`Self::add`] that concern a single item, without encoding
    /// its text.
    ///
    /// # Errors
    /// [`ItemError`], the rule that the item breaks.
    pub fn check(&self, item: &Item) -> Result<(), ItemError> {
        self.inner.items.check(item)
    }

    /// Removes items, all or none. Returns their number.
    ///
    /// # Errors
    /// [`Error::UnknownId`] when any id does not exist; nothing is removed
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

    /// The items of ids, all of which must exist, in the order of `ids`.
    ///
    /// # Errors
    /// [`Error::UnknownId`] naming those that do not exist.
    pub fn get_many(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Item>> {
        self.inner.items.get_many(ids)
    }

    /// Whether there is an item of this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contains(&self, id: &str) -> Result<bool> {
        self.inner.items.contains(id)
    }

    /// Every item at the time of the call, oldest first, with its vector. Items that are removed
    /// during the iteration are left out; of those that are replaced, the new ones are returned.
    ///
    /// # Errors
    /// The call fails when the ids cannot be read. Each item can fail for itself when its records
    /// are damaged.
    pub fn items(&self) -> Result<impl Iterator<Item = Result<Item>> + use<>> {
        let live = self.inner.items.live_ids()?;
        let collection = self.clone();
        Ok(live
            .into_iter()
            .filter_map(move |(slot, id)| collection.inner.items.read_moved(slot, &id).transpose()))
    }

    /// Builds one graph of all live items and refines it under the active metric. Searches and
    /// writes go on meanwhile. The background work of the collection does what searches need; this
    /// does all of it now.
    ///
    /// # Errors
    /// When the graph cannot be stored.
    pub fn optimize(&self) -> Result<()> {
        self.optimize_with(|_| (), || false)
    }

    /// Does the same as [`Self::optimize`]. Calls `progress` with the share that is done, 0 to 1,
    /// and stops once `cancel` returns true.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; the graph is then unchanged. Otherwise when
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
        let stale = self.inner.learning.stale_judgements()?.len();
        self.inner.items.stats(self.active_metric(None), stale)
    }
}
