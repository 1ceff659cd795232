//! Reading items.

use serde_json::Value;

use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::item::Item;
use crate::persist::{ItemRecord, Shelf};

impl Collection {
    /// The item of an id, with its vector; `None` when there is none.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Item>> {
        let inner = &self.inner;
        inner.steady(|| {
            inner
                .shelf
                .slot(id)?
                .map(|slot| inner.read(slot, id))
                .transpose()
        })
    }

    /// The items of ids that must all be there, in the order asked.
    ///
    /// # Errors
    /// [`Error::UnknownId`] naming those that are not there.
    pub fn get_many(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Item>> {
        let inner = &self.inner;
        inner.steady(|| {
            let slots = inner.slots_of(ids)?;
            ids.iter()
                .zip(slots)
                .map(|(id, slot)| inner.read(slot, id.as_ref()))
                .collect()
        })
    }

    /// Whether an id is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contains(&self, id: &str) -> Result<bool> {
        Ok(self.inner.shelf.slot(id)?.is_some())
    }

    /// Every item that was there when it was called, oldest first, with its vector. Items that are
    /// removed meanwhile are left out, of those that are replaced the new ones are given.
    ///
    /// # Errors
    /// Each item can be damaged on its own; the call itself fails when the ids cannot be read.
    pub fn items(&self) -> Result<impl Iterator<Item = Result<Item>> + use<>> {
        let mut live: Vec<(u32, String)> = self
            .inner
            .shelf
            .ids()
            .map(|e| e.map(|(id, slot)| (slot, id)))
            .collect::<Result<_>>()?;
        live.sort_unstable();
        let collection = self.clone();
        Ok(live
            .into_iter()
            .filter_map(move |(slot, id)| match collection.inner.read(slot, &id) {
                Ok(item) => Some(Ok(item)),
                Err(_) => collection.get(&id).transpose(),
            }))
    }
}

impl Inner {
    /// Reads several records that belong together. A write meanwhile can make sound ones look
    /// damaged, so what does is read once more while nobody writes. Never called by who holds the
    /// writer's lock.
    pub(super) fn steady<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        match read() {
            Err(Error::Damaged { .. }) => {
                let _writing = self.lock_writer();
                read()
            }
            done => done,
        }
    }

    /// The record of an item that was live a moment ago; `None` when it was removed or replaced
    /// since.
    pub(super) fn record_of(&self, id: &str, slot: u32) -> Result<Option<ItemRecord>> {
        match self.shelf.item(slot)? {
            None if self.shelf.slot(id)? == Some(slot) => Err(Error::Damaged {
                part: format!("item {id:?} (slot {slot})"),
                reason: "its record is missing".into(),
            }),
            record => Ok(record),
        }
    }

    /// The item in a slot that an id stands for.
    pub(super) fn read(&self, slot: u32, id: &str) -> Result<Item> {
        read_item(&self.shelf, slot, id)
    }
}

/// The item in a slot that an id stands for.
pub(super) fn read_item(shelf: &Shelf, slot: u32, id: &str) -> Result<Item> {
    let damaged = |reason: String| Error::Damaged {
        part: format!("item {id:?} (slot {slot})"),
        reason,
    };
    let record = shelf
        .item(slot)?
        .ok_or_else(|| damaged("its record is missing".into()))?;
    if record.id != id {
        return Err(damaged(format!(
            "its record belongs to the id {:?}",
            record.id
        )));
    }
    let vector = shelf
        .vector(slot)?
        .ok_or_else(|| damaged("its vector is missing".into()))?;
    let meta = parse_meta(&record.meta, slot)?;
    Ok(Item {
        id: record.id,
        text: record.text,
        vector: Some(vector),
        meta,
        truncated: record.truncated,
    })
}

/// Metadata as it is stored: compact JSON, or nothing for null.
pub(super) fn parse_meta(text: &str, slot: u32) -> Result<Value> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|e| Error::Damaged {
        part: format!("the metadata of slot {slot}"),
        reason: format!("it is not JSON: {e}"),
    })
}
