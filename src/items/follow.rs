//! Items of a store that is only read: what another process wrote is published in the index that is
//! open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::Items;
use super::graph::from_index;
use super::read::parse_meta;
use crate::model::error::{Error, Result};
use crate::storage::{CollectionRecord, Database, News, Tables};

impl Items {
    /// Shows what another process wrote. Returns whether that could be done: otherwise the
    /// collection is to be opened anew, and this goes on showing what it showed.
    ///
    /// # Errors
    /// When what was written cannot be read; the collection is to be opened anew then too.
    pub(crate) fn follow(
        &self,
        now: &Arc<Database>,
        record: &CollectionRecord,
        news: &News,
    ) -> Result<bool> {
        let guard = self.lock();
        // All that may fail comes before anything is shown.
        let tables = Tables::open(Arc::clone(now), record)?;
        let known = self.index.next_slot();
        let (mut slots, mut gone, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let (mut meta, mut vectors): (Vec<Value>, Vec<Vec<f32>>) = Default::default();
        for &slot in &news.slots {
            let Some(record) = tables.item(slot)? else {
                gone.push(slot);
                continue;
            };
            if slot < known {
                continue;
            }
            let vector = tables.fresh_vector(slot)?;
            let vector = vector.ok_or_else(|| Error::Damaged {
                part: format!("the vector of item {:?} (slot {slot})", record.id),
                reason: "it is missing".to_owned(),
            })?;
            slots.push((slot, record.id));
            meta.push(parse_meta(&record.meta, slot)?);
            vectors.push(self.rules.prepare(vector));
            ends.extend(record.expires.map(|end| (end, slot)));
        }
        let added = || slots.iter().map(|(slot, _)| *slot);
        let fresh: Vec<(u32, &[f32])> = added().zip(vectors.iter().map(Vec::as_slice)).collect();
        let write = self.metadata.begin(&guard);
        if !self.tables.advance(now, news)? {
            return Ok(false);
        }
        for (slot, id) in &slots {
            self.ids.set(*slot, id);
        }
        self.metadata
            .update(&write, added().zip(&meta), &gone, || {
                self.index.apply(&fresh, &gone)
            })
            .map_err(from_index)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        self.ends.add(ends.into_iter());
        Ok(true)
    }
}
