//! Publication: what was committed is shown to searches.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::Items;
use super::graph::from_index;
use super::metadata::Unpublished;
use crate::model::error::Result;

/// An item that was committed.
pub(super) struct Committed {
    pub(super) slot: u32,
    pub(super) id: String,
    pub(super) meta: Value,
    /// The vector as it is searched.
    pub(super) vector: Vec<f32>,
    /// Its end in milliseconds since 1970, if it has one.
    pub(super) expires: Option<i64>,
}

impl Items {
    /// Shows items that were committed, in the order of their slots, and no more those in the slots
    /// `gone`: the next search sees all of that or nothing.
    pub(super) fn publish(
        &self,
        write: &Unpublished<'_>,
        items: &[Committed],
        gone: &[u32],
    ) -> Result<()> {
        // Names first: a search that sees a slot must find its id.
        for item in items {
            self.ids.set(item.slot, &item.id);
        }
        let fresh: Vec<(u32, &[f32])> = items
            .iter()
            .map(|item| (item.slot, &item.vector[..]))
            .collect();
        let meta = items.iter().map(|item| (item.slot, &item.meta));
        self.metadata
            .update(write, meta, gone, || self.index.apply(&fresh, gone))
            .map_err(from_index)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        let ends = items.iter().map(|item| Some((item.expires?, item.slot)));
        let ends: Vec<(i64, u32)> = ends.flatten().collect();
        if !ends.is_empty() {
            self.ends.add(ends.into_iter());
        }
        Ok(())
    }
}
