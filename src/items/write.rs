//! Writing of items: checks, encoding, commit, publication.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;

use super::combine::{Accepted, GivenItems, Request};
use super::documents::{stored_items, truncated};
use super::encode::{EncodedText, Role};
use super::publish::Committed;
use super::{Items, WriteGuard};
use crate::filter::Filter;
use crate::model::error::{Error, Result, cut};
use crate::model::{AddMode, Item, ItemError, time};
use crate::storage::{ItemRecord, ItemWrite, Precision};

/// Counts of added items.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Added {
    /// Number of items and documents whose id was new.
    pub added: usize,
    /// Number of items and documents that replaced one with the same id.
    pub replaced: usize,
    /// Number of items and documents of which a part was changed.
    pub updated: usize,
    /// Number of chunks that were stored of documents.
    pub chunks: usize,
    /// Ids of items and chunks whose text was longer than the encoder takes and was cut at its limit.
    pub truncated: Vec<String>,
}

/// The ids of the items that a write stored or removed.
pub(crate) type Changed = BTreeSet<String>;

/// The refusal of an item at a position of the input, from 0.
pub(super) fn invalid_item(index: usize, id: &str, source: ItemError) -> Error {
    Error::InvalidItem {
        index,
        id: cut(id),
        source,
    }
}

/// An item of the input, as the items that are stored of it.
pub(super) struct Given {
    /// The id that was given.
    pub(super) id: String,
    /// The item itself, or the chunks of a document.
    pub(super) items: Vec<Item>,
    /// Whether their vectors are those that are stored, which must stay as they are to the bit.
    pub(super) keeps_vectors: bool,
}

/// An item that has passed every check.
pub(super) struct Checked {
    pub(super) record: ItemRecord,
    meta: Value,
    /// The vector in the form that is stored.
    vector: Vec<f32>,
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
            _ if item.vector.is_some() || item.document.is_some() => false,
            AddMode::Update => item.text.is_some() && self.encoder.info.is_some(),
            AddMode::Insert | AddMode::Upsert => true,
        };
        let waiting: Vec<usize> = (0..items.len())
            .filter(|i| items[*i].as_ref().is_ok_and(is_encoded))
            .collect();
        if waiting.is_empty() {
            self.prepare_documents(&mut items)?;
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
        self.prepare_documents(&mut items)?;
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
            Some(vector) => {
                let stored = self.stored_form(vector.clone(), item.text.is_some());
                stored.map(drop)
            }
            None => Ok(()),
        }
    }

    /// An item's vector in the collection's precision. `of_text` says whether the item has a text,
    /// for the message of a refusal.
    fn stored_form(&self, vector: Vec<f32>, of_text: bool) -> Result<Vec<f32>, ItemError> {
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
        check(&vector, &|| what.to_owned())?;
        if precision == Precision::F32 {
            return Ok(vector);
        }
        let rounded = precision
            .round(&vector)
            .ok_or_else(|| ItemError::Precision {
                what,
                precision: precision.to_string(),
            })?;
        check(&rounded, &|| {
            format!("{what}, kept in precision {precision},")
        })?;
        Ok(rounded)
    }

    /// Checks what is stored of the items of an input, and that no id stands in it twice.
    fn check_items(&self, given: Vec<Given>) -> Result<Vec<Checked>> {
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(given.len());
        let mut see = |id: &str, second| match seen.insert(id.to_owned(), second) {
            Some(first) if first != second => Err(Error::DuplicateId {
                id: id.to_owned(),
                first,
                second,
            }),
            _ => Ok(()),
        };
        let mut checked = Vec::with_capacity(given.len());
        for (index, given) in given.into_iter().enumerate() {
            let Given {
                id,
                items,
                keeps_vectors,
            } = given;
            see(&id, index)?;
            for item in items {
                see(&item.id, index)?;
                let item = self.check_item(item, keeps_vectors);
                checked.push(item.map_err(|source| invalid_item(index, &id, source))?);
            }
        }
        Ok(checked)
    }

    fn check_item(&self, item: Item, keeps_vector: bool) -> Result<Checked, ItemError> {
        let meta = item.compact_meta()?;
        let vector = item.vector.ok_or(ItemError::Empty)?;
        let vector = if keeps_vector {
            vector
        } else {
            self.stored_form(vector, item.text.is_some())?
        };
        Ok(Checked {
            vector,
            record: ItemRecord {
                id: item.id,
                text: item.text,
                meta,
                truncated: item.truncated,
                expires: item.expires.map(time::millis),
            },
            meta: item.meta,
        })
    }

    /// What is stored of items that are added whole.
    fn given(items: Vec<Item>) -> Result<Vec<Given>> {
        let given = items.into_iter().enumerate().map(|(index, item)| {
            let id = item.id.clone();
            match stored_items(item) {
                Ok(items) => Ok(Given {
                    id,
                    items,
                    keeps_vectors: false,
                }),
                Err(source) => Err(invalid_item(index, &id, source)),
            }
        });
        given.collect()
    }

    /// Adds prepared items, all or none. Gives the ids of all that was stored and removed too.
    pub(crate) fn add(&self, mode: AddMode, items: Vec<Item>) -> Result<(Added, Changed)> {
        if items.is_empty() {
            return Ok((Added::default(), Changed::new()));
        }
        let documents = items.iter().filter_map(|item| item.document.as_ref());
        let added = Added {
            chunks: documents.map(|document| document.chunks.len()).sum(),
            truncated: items.iter().flat_map(truncated).collect(),
            ..Added::default()
        };
        let request = Request {
            mode,
            ids: items.iter().map(|item| item.id.clone()).collect(),
            given: match mode {
                AddMode::Update => GivenItems::Parts(items),
                _ => GivenItems::Whole(self.check_items(Self::given(items)?)?),
            },
            added,
        };
        self.combiner
            .add(request, |requests| self.add_all(requests))
    }

    /// Checks a request against what is stored. `before` is the number of items that are stored
    /// together with it, before its own.
    pub(super) fn accept(
        &self,
        request: Request,
        before: usize,
        guard: &WriteGuard<'_>,
    ) -> Result<Accepted> {
        let Request {
            mode,
            ids,
            given,
            mut added,
        } = request;
        let items = match given {
            GivenItems::Whole(items) => items,
            GivenItems::Parts(items) => self.check_items(self.complete(items, guard)?)?,
        };
        let count = u32::try_from(before + items.len()).ok();
        let next = self.tables.next_slot()?;
        if count.and_then(|count| next.checked_add(count)).is_none() {
            return Err(Error::OutOfNumbers {
                part: format!("collection {:?}", self.name),
                what: "items",
            });
        }
        let replaced = self.replaced(&ids, &items, &mut added)?;
        if mode == AddMode::Insert && !replaced.is_empty() {
            return Err(Error::IdExists {
                collection: self.name.clone(),
                ids: replaced.into_values().collect(),
            });
        }
        if mode == AddMode::Update {
            added.updated = std::mem::take(&mut added.replaced);
        }
        Ok(Accepted {
            added,
            items,
            replaced,
        })
    }

    /// Stores items in new slots, durably, and publishes them.
    pub(super) fn store(
        &self,
        items: Vec<Checked>,
        replaced: &BTreeMap<u32, String>,
        guard: &WriteGuard<'_>,
    ) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let first = self.tables.next_slot()?;
        let write = self.metadata.begin(guard);
        let commit = self.tables.commit_items(&ItemWrite {
            first,
            items: items.iter().map(|item| (&item.record, &item.vector[..])),
            removed: replaced.iter().map(|(slot, id)| (*slot, &id[..])).collect(),
            ended: &[],
        })?;
        self.tables.make_durable(commit)?;
        let items: Vec<Committed> = (first..)
            .zip(items)
            .map(|(slot, item)| Committed {
                slot,
                id: item.record.id,
                meta: item.meta,
                vector: self.rules.prepare(item.vector),
                expires: item.record.expires,
            })
            .collect();
        let gone: Vec<u32> = replaced.keys().copied().collect();
        self.publish(&write, &items, &gone)
    }

    /// The live items, by their slots, in whose place items are stored: those of the ids that are
    /// given and of what is stored of them, and the chunks of documents of these ids. Counts the ids
    /// that are new and those that are not.
    fn replaced(
        &self,
        ids: &[String],
        items: &[Checked],
        added: &mut Added,
    ) -> Result<BTreeMap<u32, String>> {
        let mut replaced = BTreeMap::new();
        for id in ids {
            let slot = self.tables.slot(id)?.map(|slot| (slot, id.clone()));
            let chunks = self.chunk_slots(id)?;
            if slot.is_none() && chunks.is_empty() {
                added.added += 1;
            } else {
                added.replaced += 1;
            }
            replaced.extend(slot.into_iter().chain(chunks));
        }
        for item in items {
            let id = &item.record.id;
            replaced.extend(self.tables.slot(id)?.map(|slot| (slot, id.clone())));
        }
        Ok(replaced)
    }

    /// Removes items and documents, all or none. Gives the ids of the items that were removed.
    pub(crate) fn delete(&self, ids: &[impl AsRef<str>]) -> Result<Changed> {
        let guard = self.lock();
        let gone = self.named(ids, &guard)?;
        let named = gone.iter().map(|(slot, id)| (*slot, id.as_str()));
        self.remove(named.collect(), &[], &guard)?;
        Ok(gone.into_values().collect())
    }

    /// Removes the items whose metadata passes a filter, all or none. Returns their number.
    pub(crate) fn delete_matching(&self, filter: &Filter) -> Result<usize> {
        let guard = self.lock();
        let matching = self.matching_still(filter, &guard)?;
        let named = |slot| Some((slot, self.ids.get(slot)?));
        self.remove(
            matching.slots.iter().filter_map(named).collect(),
            &[],
            &guard,
        )
    }

    /// Removes live items, given as slots with their ids, and ends that have come.
    pub(super) fn remove(
        &self,
        gone: BTreeMap<u32, &str>,
        ends: &[(i64, u32)],
        guard: &WriteGuard<'_>,
    ) -> Result<usize> {
        if gone.is_empty() && ends.is_empty() {
            return Ok(0);
        }
        let write = self.metadata.begin(guard);
        let distinct: Vec<u32> = gone.keys().copied().collect();
        let commit = self.tables.commit_items(&ItemWrite {
            first: self.tables.next_slot()?,
            items: std::iter::empty(),
            removed: gone,
            ended: ends,
        })?;
        self.tables.make_durable(commit)?;
        self.publish(&write, &[], &distinct)?;
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
