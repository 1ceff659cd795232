//! Evaluation of filters on postings, which are built from the store when a filter first names a
//! field, and follow every write from then on.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use roaring::RoaringBitmap;
use serde_json::Value;

use super::Items;
use super::read::parse_meta;
use crate::filter::Filter;
use crate::filter::postings::Postings;
use crate::index::Snapshot;
use crate::model::error::Result;

/// The slots whose metadata passes a filter, and the snapshot of the index that they are slots of.
#[derive(Clone)]
pub(crate) struct Matching {
    pub(crate) slots: RoaringBitmap,
    pub(crate) snapshot: Snapshot,
}

/// The postings of a collection; `None` until the first filter.
#[derive(Default)]
pub(super) struct Metadata(RwLock<Option<Postings>>);

impl Metadata {
    /// Enters a write into the postings, and publishes it in the index while no filter is
    /// evaluated. It is called after the write was committed, so that postings which are built
    /// meanwhile have it too; entering an item twice changes nothing.
    pub(super) fn update<'a, T>(
        &self,
        added: impl Iterator<Item = (u32, &'a Value)>,
        removed: &[u32],
        publish: impl FnOnce() -> T,
    ) -> T {
        let mut postings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(postings) = &mut *postings {
            for (slot, meta) in added {
                postings.add(slot, meta);
            }
            for slot in removed {
                postings.remove(*slot);
            }
        }
        publish()
    }
}

impl Items {
    /// The slots whose metadata passes a filter, and the snapshot of the index that they are slots
    /// of.
    pub(crate) fn matching(&self, filter: &Filter) -> Result<Matching> {
        let read = |slot: u32| self.metadata_of(slot);
        if let Some(postings) = &*self
            .metadata
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            && postings.missing(filter).is_empty()
        {
            return Ok(Matching {
                slots: postings.matching(filter, &read)?,
                snapshot: self.index.snapshot(),
            });
        }
        let mut postings = self
            .metadata
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let slots = self
            .tables
            .ids()
            .map(|entry| entry.map(|(_, slot)| slot))
            .collect::<Result<RoaringBitmap>>()?;
        let postings = postings.get_or_insert_with(|| Postings::new(slots.clone()));
        let missing = postings.missing(filter);
        postings.begin(&missing);
        // Another thread may have built them while this one waited.
        let wanted = if missing.is_empty() {
            RoaringBitmap::new()
        } else {
            slots
        };
        for slot in wanted {
            match read(slot) {
                Ok(meta) => postings.fill(slot, &meta, &missing),
                Err(error) => {
                    postings.abandon(&missing);
                    return Err(error);
                }
            }
        }
        Ok(Matching {
            slots: postings.matching(filter, &read)?,
            snapshot: self.index.snapshot(),
        })
    }

    /// The metadata of an item; null where it was removed meanwhile. A write that is being
    /// committed may have removed some of the item's records. This does not wait for the write as
    /// [`Self::steady`] does, because the write itself waits for the filter.
    fn metadata_of(&self, slot: u32) -> Result<Value> {
        const MAX_TRIES: usize = 100;
        let id = self.ids.get(slot).unwrap_or_default();
        let read = || match self.record_of(id, slot)? {
            Some(record) => parse_meta(&record.meta, slot),
            None => Ok(Value::Null),
        };
        for _ in 0..MAX_TRIES {
            match read() {
                Ok(meta) => return Ok(meta),
                Err(_) if self.tables.slot(id)? != Some(slot) => return Ok(Value::Null),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        read()
    }
}
