//! Reading of items: by id, in order, and the parts that learning needs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde_json::Value;

use super::Items;
use crate::filter::Filter;
use crate::learning::WeakItem;
use crate::model::error::{Error, Result};
use crate::model::{Item, time};
use crate::storage::ItemRecord;

impl Items {
    /// The item of an id, with its vector; `None` when there is none.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Item>> {
        self.steady(|| {
            let slot = self.tables.slot(id)?;
            slot.map(|slot| self.read(slot, id)).transpose()
        })
    }

    /// The items of ids, all of which must exist, in the order of `ids`.
    pub(crate) fn get_many(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Item>> {
        self.steady(|| {
            let slots = self.slots_of(ids)?;
            ids.iter()
                .zip(slots)
                .map(|(id, slot)| self.read(slot, id.as_ref()))
                .collect()
        })
    }

    /// Whether there is an item of this id.
    pub(crate) fn contains(&self, id: &str) -> Result<bool> {
        Ok(self.tables.slot(id)?.is_some())
    }

    /// All ids with their slots, in the order in which the items were added.
    pub(crate) fn live_ids(&self) -> Result<Vec<(u32, String)>> {
        let ids = self
            .tables
            .ids()
            .map(|entry| entry.map(|(id, slot)| (slot, id)));
        let mut live: Vec<(u32, String)> = ids.collect::<Result<_>>()?;
        live.sort_unstable();
        Ok(live)
    }

    /// Number of items whose metadata passes a filter.
    pub(crate) fn count(&self, filter: &Filter) -> Result<usize> {
        Ok(self.matching(filter)?.slots.len() as usize)
    }

    /// The slots and ids of the items whose metadata passes a filter and whose ids follow `after`,
    /// in the order of ids. They are put in order as they are asked for, so that a first page of
    /// many costs one pass over the ids in memory.
    pub(crate) fn ids_matching(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<impl Iterator<Item = (u32, String)> + use<>> {
        let slots = self.matching(filter)?.slots;
        let named = slots.iter().filter_map(|slot| {
            let id = self.ids.get(slot)?;
            let follows = after.is_none_or(|after| id > after);
            follows.then(|| Reverse((id.to_owned(), slot)))
        });
        let mut named: BinaryHeap<Reverse<(String, u32)>> = named.collect();
        Ok(std::iter::from_fn(move || {
            named.pop().map(|Reverse((id, slot))| (slot, id))
        }))
    }

    /// The slots and ids of at most `count` live items, in the order of ids: those that follow
    /// `after`, which need not exist, or the first.
    pub(crate) fn ids_after(
        &self,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<(u32, String)>> {
        self.tables
            .ids_after(after)
            .take(count)
            .map(|entry| entry.map(|(id, slot)| (slot, id)))
            .collect()
    }

    /// The item of an id that was in a slot before; `None` when it was removed meanwhile.
    pub(crate) fn read_moved(&self, slot: u32, id: &str) -> Result<Option<Item>> {
        match self.read(slot, id) {
            Ok(item) => Ok(Some(item)),
            Err(_) => self.get(id),
        }
    }

    /// Text and metadata of an id; `None` when there is none.
    pub(crate) fn read_weak(&self, id: &str) -> Result<Option<WeakItem>> {
        self.steady(|| {
            let Some(slot) = self.tables.slot(id)? else {
                return Ok(None);
            };
            let record = self.record_of(id, slot)?;
            record
                .map(|record| {
                    let meta = parse_meta(&record.meta, slot)?;
                    let text = record.text;
                    Ok(WeakItem { text, meta })
                })
                .transpose()
        })
    }

    /// Reads records that belong together. A concurrent write can make sound records look damaged,
    /// so a read that finds damage is repeated under the writer's lock. It would deadlock with the
    /// lock held.
    pub(super) fn steady<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        match read() {
            Err(Error::Damaged { .. }) => {
                let _guard = self.lock();
                read()
            }
            done => done,
        }
    }

    /// The record of an item that was live before; `None` when it was removed or replaced
    /// meanwhile.
    pub(super) fn record_of(&self, id: &str, slot: u32) -> Result<Option<ItemRecord>> {
        match self.tables.item(slot)? {
            None if self.tables.slot(id)? == Some(slot) => Err(Error::Damaged {
                part: format!("item {id:?} (slot {slot})"),
                reason: "its record is missing".into(),
            }),
            record => Ok(record),
        }
    }

    /// The item in the slot of an id.
    pub(super) fn read(&self, slot: u32, id: &str) -> Result<Item> {
        let damaged = |reason: String| Error::Damaged {
            part: format!("item {id:?} (slot {slot})"),
            reason,
        };
        let record = self
            .tables
            .item(slot)?
            .ok_or_else(|| damaged("its record is missing".into()))?;
        if record.id != id {
            return Err(damaged(format!(
                "its record belongs to the id {:?}",
                record.id
            )));
        }
        let vector = self
            .live_vector(id, slot)?
            .ok_or_else(|| damaged("it is gone".into()))?;
        let meta = parse_meta(&record.meta, slot)?;
        Ok(Item {
            id: record.id,
            text: record.text,
            vector: Some(vector),
            meta,
            truncated: record.truncated,
            expires: record.expires.and_then(time::from_millis),
            document: None,
        })
    }
}

/// The value of stored metadata: compact JSON, or an empty text for null.
pub(super) fn parse_meta(text: &str, slot: u32) -> Result<Value> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|e| Error::Damaged {
        part: format!("the metadata of slot {slot}"),
        reason: format!("it is not JSON: {e}"),
    })
}
