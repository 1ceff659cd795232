//! The trait [`Vectors`] of learning, on the items of a collection.

use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::Items;
use super::encode::{EncodedText, Role};
use super::graph::from_index;
use super::search::for_index;
use crate::index::SearchParams;
use crate::learning::{Effort, HybridVectors, ItemContent, Revision, StoredItem, Vectors};
use crate::model::error::{Error, Result};
use crate::model::{ContentHash, Versioned};

impl Items {
    /// The ids of slots; slots whose item is gone are left out.
    fn names(&self, slots: impl Iterator<Item = u32>) -> Vec<String> {
        slots
            .filter_map(|slot| self.ids.get(slot).map(str::to_owned))
            .collect()
    }
}

impl Items {
    /// The hash of the content of an item; `None` when it was removed meanwhile.
    fn hash_of(&self, id: &str, slot: u32) -> Result<Option<ContentHash>> {
        let Some(record) = self.record_of(id, slot)? else {
            return Ok(None);
        };
        if let Some(text) = &record.text {
            return Ok(Some(ContentHash::of(Some(text), &[])));
        }
        let vector = self.live_vector(id, slot)?;
        Ok(vector.map(|vector| ContentHash::of(None, &vector)))
    }

    /// The vector of an item that was live before; `None` when it was removed or replaced meanwhile.
    pub(super) fn live_vector(&self, id: &str, slot: u32) -> Result<Option<Vec<f32>>> {
        match self.index.vector(slot) {
            None if self.tables.slot(id)? == Some(slot) => {
                // It is damaged, or it is not published yet, which a read beside no writer tells.
                self.index.check_files().map_err(from_index)?;
                Err(Error::Damaged {
                    part: format!("item {id:?} (slot {slot})"),
                    reason: "its vector is missing".into(),
                })
            }
            vector => Ok(vector),
        }
    }
}

impl Vectors for Items {
    fn vectors(&self, ids: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        let vector = |id: &&str| {
            let slot = self.tables.slot(id)?;
            Ok(slot.and_then(|slot| self.index.vector(slot)))
        };
        let found: Vec<Option<Vec<f32>>> = ids.iter().map(vector).collect::<Result<_>>()?;
        if found.iter().any(Option::is_none) {
            // An item whose vector cannot be read is not one that is gone.
            self.index.check_files().map_err(from_index)?;
        }
        Ok(found)
    }

    fn hashes(&self, ids: &[&str]) -> Result<Vec<Option<ContentHash>>> {
        let hash = |id: &&str| {
            let slot = self.tables.slot(id)?;
            slot.map_or(Ok(None), |slot| self.hash_of(id, slot))
        };
        self.steady(|| ids.iter().map(hash).collect())
    }

    fn contents(&self, ids: &[&str]) -> Result<Vec<Option<ItemContent>>> {
        let content = |id: &&str| {
            let Some(slot) = self.tables.slot(id)? else {
                return Ok(None);
            };
            // A slot is never given to another item, so what is read of it belongs together.
            let read = self.live_vector(id, slot)?.zip(self.hash_of(id, slot)?);
            Ok(read.map(|(vector, hash)| ItemContent { vector, hash }))
        };
        let found: Vec<Option<ItemContent>> =
            self.steady(|| ids.iter().map(content).collect::<Result<_>>())?;
        if found.iter().any(Option::is_none) {
            // An item whose vector cannot be read is not one that is gone.
            self.index.check_files().map_err(from_index)?;
        }
        Ok(found)
    }

    fn documents(&self, ids: &[&str]) -> Result<Vec<(String, Vec<StoredItem>)>> {
        let mut documents = Vec::new();
        let mut is_whole = true;
        for id in ids {
            if self.tables.slot(id)?.is_some() {
                continue;
            }
            let slots = self.steady(|| self.chunk_slots(id))?;
            let mut chunks = Vec::with_capacity(slots.len());
            for (slot, id) in slots {
                match self.index.vector(slot) {
                    Some(vector) => chunks.push(StoredItem { id, vector }),
                    None => is_whole = false,
                }
            }
            if !chunks.is_empty() {
                documents.push(((*id).to_owned(), chunks));
            }
        }
        if !is_whole {
            // A chunk whose vector cannot be read is not one that is gone.
            self.index.check_files().map_err(from_index)?;
        }
        Ok(documents)
    }

    fn sample(&self, n: usize, seed: u64) -> Result<Vec<StoredItem>> {
        let mut slots = self.index.live_slots();
        let mut random = fastrand::Rng::with_seed(seed);
        let wanted = n.min(slots.len());
        for i in 0..wanted {
            let other = random.usize(i..slots.len());
            slots.swap(i, other);
        }
        let sampled = slots[..wanted].iter().filter_map(|slot| {
            Some(StoredItem {
                id: self.ids.get(*slot)?.to_owned(),
                vector: self.index.vector(*slot)?,
            })
        });
        Ok(sampled.collect())
    }

    fn nearest(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
        effort: Effort,
    ) -> Result<Vec<Vec<String>>> {
        let metric = for_index(metric);
        match effort {
            Effort::Served => {
                let params = SearchParams {
                    k,
                    ..SearchParams::default()
                };
                queries
                    .par_iter()
                    .map(|query| {
                        let found = self
                            .index
                            .search(&metric, query, &params)
                            .map_err(from_index)?;
                        // As searches order them: ties by id.
                        let named = found.hits.iter();
                        let named =
                            named.filter_map(|hit| Some((hit.distance, self.ids.get(hit.slot)?)));
                        let mut named: Vec<(f32, &str)> = named.collect();
                        named.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
                        Ok(named.into_iter().map(|(_, id)| id.to_owned()).collect())
                    })
                    .collect()
            }
            Effort::Exact => {
                let found = self
                    .index
                    .nearest_exactly(&metric, queries, k)
                    .map_err(from_index)?;
                let named = found.into_iter().map(|slots| self.names(slots.into_iter()));
                Ok(named.collect())
            }
        }
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        let encoded = Items::encode(self, texts, Role::Query)?;
        Ok(encoded.into_iter().map(|text| text.vector).collect())
    }

    fn encode_each(
        &self,
        texts: &[&str],
    ) -> Result<Vec<std::result::Result<Option<Vec<f32>>, String>>> {
        let encoded = Items::encode_each(self, texts, Role::Query)?;
        let vector = |text: std::result::Result<EncodedText, String>| text.map(|text| text.vector);
        Ok(encoded.into_iter().map(vector).collect())
    }

    fn revision(&self) -> Result<Revision> {
        Ok(Revision {
            items: self.len(),
            writes: self.writes.load(Ordering::Acquire),
        })
    }

    fn remembers(&self) -> bool {
        true
    }

    fn serve(&self, metric: &Versioned) {
        self.index.activate(&for_index(metric));
    }

    fn hybrid(&self) -> Option<&dyn HybridVectors> {
        self.keywords().map(|_| self as &dyn HybridVectors)
    }
}
