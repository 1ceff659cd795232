//! Which items pass a filter: postings of the fields that filters have named, built from the store when a field is first
//! named and kept up to date from then on.

use std::sync::{PoisonError, RwLock};

use roaring::RoaringBitmap;
use serde_json::Value;

use super::Inner;
use super::read::parse_meta;
use crate::error::Result;
use crate::filter::Filter;
use crate::filter::postings::Postings;

/// `None` until a filter is asked.
#[derive(Default)]
pub(super) struct Metadata(RwLock<Option<Postings>>);

impl Metadata {
    /// Follows a write. It comes after the write is in the store, so that postings built meanwhile have it too: entering
    /// an item twice changes nothing.
    pub(super) fn update<'a>(&self, added: impl Iterator<Item = (u32, &'a Value)>, removed: &[u32]) {
        if let Some(postings) = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner) {
            for (slot, meta) in added {
                postings.add(slot, meta);
            }
            for slot in removed {
                postings.remove(*slot);
            }
        }
    }
}

impl Inner {
    /// The slots whose metadata passes a filter.
    pub(super) fn matching(&self, filter: &Filter) -> Result<RoaringBitmap> {
        let read = |slot: u32| match self.record_of(self.ids.get(slot).unwrap_or_default(), slot)? {
            Some(record) => parse_meta(&record.meta, slot),
            // It was removed a moment ago.
            None => Ok(Value::Null),
        };
        if let Some(postings) = &*self.metadata.0.read().unwrap_or_else(PoisonError::into_inner)
            && postings.missing(filter).is_empty()
        {
            return postings.matching(filter, &read);
        }
        let mut held = self.metadata.0.write().unwrap_or_else(PoisonError::into_inner);
        let slots = self.shelf.ids().map(|entry| entry.map(|(_, slot)| slot)).collect::<Result<RoaringBitmap>>()?;
        let postings = held.get_or_insert_with(|| Postings::new(slots.clone()));
        let missing = postings.missing(filter);
        postings.begin(&missing);
        // Another thread may have built them while this one waited.
        let wanted = if missing.is_empty() { RoaringBitmap::new() } else { slots };
        for slot in wanted {
            match read(slot) {
                Ok(meta) => postings.fill(slot, &meta, &missing),
                Err(error) => {
                    postings.abandon(&missing);
                    return Err(error);
                }
            }
        }
        postings.matching(filter, &read)
    }
}
