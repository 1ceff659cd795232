//! Items of a store that is only read: what another process wrote is published in the index that is
//! open.

use std::sync::Arc;

use super::Items;
use super::publish::Committed;
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
        let (mut items, mut gone) = (Vec::new(), Vec::new());
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
            items.push(Committed {
                slot,
                meta: parse_meta(&record.meta, slot)?,
                id: record.id,
                vector: self.rules.prepare(vector),
                expires: record.expires,
            });
        }
        let write = self.metadata.begin(&guard);
        let advances = self.tables.advance(now, news)?;
        if advances {
            self.publish(&write, &items, &gone)?;
        }
        Ok(advances)
    }
}
