//! Metadata in memory, for filters: read from the store when the first filter is asked, kept up to date from then on.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use roaring::RoaringBitmap;
use serde_json::Value;

use crate::error::Result;
use crate::filter::Filter;

/// `None` until a filter is asked.
#[derive(Default)]
pub(super) struct Metadata(RwLock<Option<BTreeMap<u32, Value>>>);

impl Metadata {
    /// The slots that pass a filter. `load` gives every live slot's metadata.
    pub(super) fn matching(
        &self,
        filter: &Filter,
        load: impl FnOnce() -> Result<BTreeMap<u32, Value>>,
    ) -> Result<RoaringBitmap> {
        let passing = |values: &BTreeMap<u32, Value>| {
            values.iter().filter(|(_, meta)| filter.matches(meta)).map(|(slot, _)| *slot).collect()
        };
        if let Some(values) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(passing(values));
        }
        let mut values = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if values.is_none() {
            *values = Some(load()?);
        }
        Ok(values.as_ref().map(passing).unwrap_or_default())
    }

    /// Follows a write. It comes after the write is in the store, so that a load between sees it too.
    pub(super) fn update<'a>(&self, added: impl Iterator<Item = (u32, &'a Value)>, removed: &[u32]) {
        if let Some(values) = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner) {
            for (slot, meta) in added {
                values.insert(slot, meta.clone());
            }
            for slot in removed {
                values.remove(slot);
            }
        }
    }
}
