//! What another process wrote to a collection of a store that is only read, for those who have it
//! open.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use sled::IVec;

use super::ends::ENDS;
use super::tables::{
    ACTIVE, IDS, ITEMS, JUDGEMENTS, META, METRICS, NEXT_JUDGEMENT, NEXT_SLOT, NEXT_VERSION,
    QUERIES, REMOVED, Tables, VECTORS,
};
use super::{Database, Source, activations, guidelines, lock};
use crate::model::error::Result;

/// The beginnings of the keys of the table `meta` that learning reads.
const LEARNING_KEYS: [&str; 5] = [
    ACTIVE,
    NEXT_JUDGEMENT,
    NEXT_VERSION,
    activations::KEY,
    guidelines::KEY,
];

/// What changed in the tables of a collection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Slots of items that were stored or removed.
    pub(crate) slots: BTreeSet<u32>,
    /// Whether judgements, versions, or what is active changed.
    pub(crate) is_of_learning: bool,
}

impl News {
    /// What changed, by the keys of the records; `None` where something did that is read only when a
    /// collection is opened, such as the list of its files.
    pub(crate) fn of(keys: &BTreeSet<IVec>) -> Option<Self> {
        let mut news = Self::default();
        for key in keys {
            let (table, key) = key.get(4..)?.split_first()?;
            match usize::from(*table) {
                ITEMS | REMOVED => {
                    news.slots.insert(u32::from_be_bytes(*key.first_chunk()?));
                }
                IDS | VECTORS => {}
                JUDGEMENTS | QUERIES | METRICS => news.is_of_learning = true,
                META => {
                    let is_of_items =
                        key == NEXT_SLOT.as_bytes() || key.starts_with(ENDS.as_bytes());
                    let is_of_learning = LEARNING_KEYS
                        .iter()
                        .any(|prefix| key.starts_with(prefix.as_bytes()));
                    if !is_of_items && !is_of_learning {
                        return None;
                    }
                    news.is_of_learning |= is_of_learning;
                }
                _ => return None,
            }
        }
        Some(news)
    }
}

impl Tables {
    /// Shows what another database that is only read has; not possible where its checkpoint is
    /// another one. Returns whether it does.
    ///
    /// # Errors
    /// When the digests cannot be read. Nothing is changed then.
    pub(crate) fn advance(&self, now: &Database, news: &News) -> Result<bool> {
        let Source::Replica(replica) = &now.source else {
            return Ok(false);
        };
        // Nobody sees the tables change without their digests.
        let mut digests = lock(&self.digests);
        let changed = now.digests(self.number)?;
        // All tables share one tree.
        let tree = self.table[ITEMS].replica();
        let is_advanced = tree.is_some_and(|tree| replica.advance(tree, self.number));
        if is_advanced {
            *digests = changed;
            self.changes.fetch_add(1, Ordering::Relaxed);
            if news.is_of_learning {
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
        }
        Ok(is_advanced)
    }

    /// A number that is another one whenever judgements or versions changed under a store that is
    /// only read.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The vector of an item that is in no file; `None` where there is none.
    pub(crate) fn fresh_vector(&self, slot: u32) -> Result<Option<Vec<f32>>> {
        let bytes = self.get(VECTORS, &slot.to_be_bytes())?;
        bytes
            .map(|bytes| self.read_item_vector(&bytes, slot))
            .transpose()
    }
}
