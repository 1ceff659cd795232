//! Writing of items: checks, encoding, commit, publication.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::Value;

use super::encode::{EncodedText, Role};
use super::graph::from_index;
use super::{Items, WriteGuard};
use crate::filter::Filter;
use crate::model::error::{Error, Result, cut};
use crate::model::{AddMode, Item, ItemError};
use crate::storage::ItemRecord;

/// Counts of added items.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Added {
    /// Number of items whose id was new.
    pub added: usize,
    /// Number of items that replaced one with the same id.
    pub replaced: usize,
    /// Number of items of which a part was changed.
    pub updated: usize,
    /// Ids of items whose text was longer than the encoder takes and was cut at its limit.
    pub truncated: Vec<String>,
}

/// The refusal of an item at a position of the input, from 0.
fn invalid_item(index: usize, id: &str, source: ItemError) -> Error {
    Error::InvalidItem {
        index,
        id: cut(id),
        source,
    }
}

/// An item that has passed every check.
struct Checked {
    record: ItemRecord,
    meta: Value,
    /// The vector in the form that is stored.
    vector: Vec<f32>,
    /// The vector in the form that the index takes.
    prepared: Vec<f32>,
}

impl Items {
    /// Checks items, and encodes the texts of those without a vector. An item that cannot be stored
    /// is the rule that it breaks.
    pub(crate) fn prepare_each(
        &self,
        mode: AddMode,
        items: Vec<Item>,
    ) -> Result<Vec<Result<Item, ItemError>>> {
        let checked = |item: Item| item.check_limits(mode).map(|()| item);
        let mut items: Vec<Result<Item, ItemError>> = items.into_iter().map(checked).collect();
        // An update may give no text; and where there is no encoder, the stored vector stays.
        let is_encoded = |item: &Item| match mode {
            _ if item.vector.is_some() => false,
            AddMode::Update => item.text.is_some() && self.encoder.info.is_some(),
            AddMode::Insert | AddMode::Upsert => true,
        };
        let waiting: Vec<usize> = (0..items.len())
            .filter(|i| items[*i].as_ref().is_ok_and(is_encoded))
            .collect();
        if waiting.is_empty() {
            return Ok(items);
        }
        let texts: Vec<&str> = waiting
            .iter()
            .filter_map(|i| items[*i].as_ref().ok()?.text.as_deref())
            .collect();
        let encoded = self.encode_each(&texts, Role::Item)?;
        for (i, encoded) in waiting.into_iter().zip(encoded) {
            match (&mut items[i], encoded) {
                (
                    Ok(item),
                    Ok(EncodedText {
                        vector: Some(vector),
                        truncated,
                    }),
                ) => {
                    item.vector = Some(vector);
                    item.truncated = truncated;
                }
                (refused, Err(reason)) => *refused = Err(ItemError::Unencodable(reason)),
                (refused, _) => *refused = Err(ItemError::UnknownText),
            }
        }
        Ok(items)
    }

    /// Checks items, and encodes the texts of those without a vector: all of them, or the error of
    /// the first that cannot be stored.
    pub(crate) fn prepare(&self, mode: AddMode, items: Vec<Item>) -> Result<Vec<Item>> {
        // What no encoder is needed for comes first.
        for (index, item) in items.iter().enumerate() {
            item.check_limits(mode)
                .map_err(|source| invalid_item(index, &item.id, source))?;
        }
        let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
        let prepared = self
            .prepare_each(mode, items)?
            .into_iter()
            .zip(ids)
            .enumerate();
        prepared
            .map(|(index, (item, id))| item.map_err(|source| invalid_item(index, &id, source)))
            .collect()
    }

    /// Checks one item by all rules that concern a single item, without encoding its text.
    pub(crate) fn check(&self, mode: AddMode, item: &Item) -> Result<(), ItemError> {
        item.check_for(mode)?;
        match &item.vector {
            Some(vector) => self.stored_form(vector, item.text.is_some()).map(drop),
            None => Ok(()),
        }
    }

    /// An item's vector in the collection's precision. `of_text` says whether the item has a text,
    /// for the message of a refusal.
    fn stored_form(&self, vector: &[f32], of_text: bool) -> Result<Vec<f32>, ItemError> {
        let what = if of_text {
            "its text's vector"
        } else {
            "its vector"
        };
        let precision = self.precision;
        let check = |vector: &[f32], what: &dyn Fn() -> String| {
            let checked = self.rules.check(vector, what);
            checked.map_err(|error| ItemError::Vector(Box::new(error)))
        };
        check(vector, &|| what.to_owned())?;
        let rounded = precision
            .round(vector)
            .ok_or_else(|| ItemError::Precision {
                what,
                precision: precision.to_string(),
            })?;
        check(&rounded, &|| {
            format!("{what}, kept in precision {precision},")
        })?;
        Ok(rounded)
    }

    fn check_items(&self, items: Vec<Item>) -> Result<Vec<Checked>> {
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(items.len());
        let mut checked = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let invalid = |source| invalid_item(index, &item.id, source);
            if let Some(first) = seen.insert(item.id.clone(), index) {
                return Err(Error::DuplicateId {
                    id: item.id,
                    first,
                    second: index,
                });
            }
            let meta = item.compact_meta().map_err(invalid)?;
            let vector = item
                .vector
                .as_deref()
                .ok_or_else(|| invalid(ItemError::Empty))?;
            let vector = self
                .stored_form(vector, item.text.is_some())
                .map_err(invalid)?;
            checked.push(Checked {
                prepared: self.rules.prepare(vector.clone()),
                vector,
                record: ItemRecord {
                    id: item.id,
                    text: item.text,
                    meta,
                    truncated: item.truncated,
                },
                meta: item.meta,
            });
        }
        Ok(checked)
    }

    /// Adds prepared items, all or none.
    pub(crate) fn add(&self, mode: AddMode, items: Vec<Item>) -> Result<Added> {
        if items.is_empty() {
            return Ok(Added::default());
        }
        let mut added = Added {
            truncated: items
                .iter()
                .filter(|i| i.truncated)
                .map(|i| i.id.clone())
                .collect(),
            ..Added::default()
        };
        let (guard, items) = if mode == AddMode::Update {
            let guard = self.lock();
            let whole = self.complete(items, &guard)?;
            (guard, self.check_items(whole)?)
        } else {
            let items = self.check_items(items)?;
            (self.lock(), items)
        };
        let first = self.tables.next_slot()?;
        let count = u32::try_from(items.len())
            .ok()
            .filter(|n| first.checked_add(*n).is_some());
        let Some(count) = count else {
            return Err(Error::OutOfNumbers {
                part: format!("collection {:?}", self.name),
                what: "items",
            });
        };
        let mut replaced = Vec::new();
        let mut existing = Vec::new();
        let mut transaction = self.tables.transaction();
        for (slot, item) in (first..).zip(&items) {
            let id = &item.record.id;
            match self.tables.slot(id)? {
                Some(_) if mode == AddMode::Insert => existing.push(id.clone()),
                Some(old) => {
                    transaction.remove_item(id, old)?;
                    replaced.push(old);
                }
                None => added.added += 1,
            }
            transaction.put_item(slot, &item.record, &item.vector)?;
        }
        if !existing.is_empty() {
            return Err(Error::IdExists {
                collection: self.name.clone(),
                ids: existing,
            });
        }
        match mode {
            AddMode::Update => added.updated = replaced.len(),
            AddMode::Insert | AddMode::Upsert => added.replaced = replaced.len(),
        }
        transaction.set_next_slot(first + count);
        let write = self.metadata.begin(&guard);
        transaction.commit()?;
        // Names first: a search that sees a slot must find its id.
        for (slot, item) in (first..).zip(&items) {
            self.ids.set(slot, &item.record.id);
        }
        let fresh: Vec<(u32, &[f32])> = (first..)
            .zip(items.iter().map(|i| i.prepared.as_slice()))
            .collect();
        let meta = (first..).zip(items.iter().map(|i| &i.meta));
        self.metadata
            .update(&write, meta, &replaced, || {
                self.index.apply(&fresh, &replaced)
            })
            .map_err(from_index)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        Ok(added)
    }

    /// Removes items, all or none. Returns their number.
    pub(crate) fn delete(&self, ids: &[impl AsRef<str>]) -> Result<usize> {
        let guard = self.lock();
        // An id that occurs twice is removed once.
        let gone: BTreeMap<u32, &str> = self
            .slots_of(ids)?
            .into_iter()
            .zip(ids.iter().map(AsRef::as_ref))
            .collect();
        self.remove(gone, &guard)
    }

    /// Removes the items whose metadata passes a filter, all or none. Returns their number.
    pub(crate) fn delete_matching(&self, filter: &Filter) -> Result<usize> {
        let guard = self.lock();
        let matching = self.matching_still(filter, &guard)?;
        let named = |slot| Some((slot, self.ids.get(slot)?));
        self.remove(matching.slots.iter().filter_map(named).collect(), &guard)
    }

    /// Removes live items, given as slots with their ids.
    fn remove(&self, gone: BTreeMap<u32, &str>, guard: &WriteGuard<'_>) -> Result<usize> {
        if gone.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.tables.transaction();
        for (slot, id) in &gone {
            transaction.remove_item(id, *slot)?;
        }
        let write = self.metadata.begin(guard);
        transaction.commit()?;
        let distinct: Vec<u32> = gone.into_keys().collect();
        let publish = || self.index.apply(&[], &distinct);
        self.metadata
            .update(&write, std::iter::empty(), &distinct, publish)
            .map_err(from_index)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        Ok(distinct.len())
    }

    /// The slots of ids that must all be there.
    pub(super) fn slots_of(&self, ids: &[impl AsRef<str>]) -> Result<Vec<u32>> {
        let mut slots = Vec::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for id in ids {
            match self.tables.slot(id.as_ref())? {
                Some(slot) => slots.push(slot),
                None => unknown.push(id.as_ref().to_owned()),
            }
        }
        if unknown.is_empty() {
            Ok(slots)
        } else {
            Err(Error::UnknownId {
                collection: self.name.clone(),
                ids: unknown,
            })
        }
    }
}
