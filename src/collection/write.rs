//! Adding and deleting items.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::Value;

use super::graph::from_index;
use super::{Collection, Inner, builder, prepare};
use crate::encode::{self, Encoded, Encoder};
use crate::error::{Error, Result, cut};
use crate::index::dot;
use crate::item::{Item, MAX_META_BYTES};
use crate::metric::Distance;
use crate::persist::ItemRecord;

/// What an `add` did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Added {
    /// Items whose id was new.
    pub added: usize,
    /// Items that took the place of one with their id.
    pub replaced: usize,
    /// Ids of items whose text was longer than the encoder takes and was cut at its limit.
    pub truncated: Vec<String>,
}

/// An item that has passed every check.
struct Checked {
    record: ItemRecord,
    meta: Value,
    /// As it is stored.
    vector: Vec<f32>,
    /// As it is searched.
    prepared: Vec<f32>,
}

impl Collection {
    /// Adds items, replacing those whose ids exist. All or none are stored, durably, before it
    /// returns; the next search sees them all.
    ///
    /// # Errors
    /// [`Error::InvalidItem`] with its position, or [`Error::DuplicateId`], for the input;
    /// [`Error::NoEncoder`] or [`Error::Encode`] for texts; storage errors. Nothing is stored then.
    pub fn add(&self, items: impl IntoIterator<Item = Item>) -> Result<Added> {
        self.inner.add(self.prepare(items)?)
    }

    /// Does the slow part of [`Collection::add`] ahead: checks items and encodes the texts of those
    /// without a vector. What it gives can be added without encoding, so that a program can show
    /// progress over a large input.
    ///
    /// # Errors
    /// Those of [`Collection::add`] that concern single items.
    pub fn prepare(&self, items: impl IntoIterator<Item = Item>) -> Result<Vec<Item>> {
        let mut items: Vec<Item> = items.into_iter().collect();
        for (index, item) in items.iter().enumerate() {
            item.check().map_err(|reason| Error::InvalidItem {
                index,
                id: cut(&item.id),
                reason,
            })?;
        }
        let waiting: Vec<usize> = (0..items.len())
            .filter(|i| items[*i].vector.is_none())
            .collect();
        if waiting.is_empty() {
            return Ok(items);
        }
        let texts: Vec<&str> = waiting
            .iter()
            .filter_map(|i| items[*i].text.as_deref())
            .collect();
        let encoded = self.inner.encode(&texts)?;
        let rows = encoded
            .vectors
            .rows()
            .into_iter()
            .map(|r| r.to_vec())
            .collect::<Vec<_>>();
        for ((i, row), truncated) in waiting.into_iter().zip(rows).zip(encoded.truncated) {
            items[i].vector = Some(row);
            items[i].truncated = truncated;
        }
        Ok(items)
    }

    /// Checks one item by all that [`Collection::add`] asks of it alone, but for what a text that
    /// is not encoded yet will give.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with the item.
    pub fn check(&self, item: &Item) -> Result<()> {
        let checked = item
            .check()
            .and_then(|()| compact(&item.meta))
            .and_then(|_| match &item.vector {
                Some(vector) => self.inner.kept(vector, item.text.is_some()).map(drop),
                None => Ok(()),
            });
        checked.map_err(Error::Invalid)
    }

    /// Removes items. All or none.
    ///
    /// # Errors
    /// [`Error::UnknownId`] when any id is not there; nothing is removed then.
    pub fn delete(&self, ids: &[impl AsRef<str>]) -> Result<usize> {
        self.inner.delete(ids)
    }
}

impl Inner {
    /// Takes an encoder that a program gave (and that was checked) if there is none yet.
    pub(crate) fn offer_encoder(&self, encoder: Option<Arc<dyn Encoder>>) {
        if let Some(encoder) = encoder {
            let _ = self.encoder.set(encoder);
        }
    }

    /// The encoder: the one the program gave, else the collection's own loaded from its source on
    /// the first text.
    pub(super) fn encoder(&self) -> Result<&dyn Encoder> {
        if let Some(encoder) = self.encoder.get() {
            return Ok(&**encoder);
        }
        let refuse = |reason: String| Error::NoEncoder {
            name: self.name.clone(),
            reason,
        };
        let Some(info) = &self.encoder_info else {
            return Err(refuse(
                "it holds given vectors; give a vector instead, or make a collection with an encoder".into(),
            ));
        };
        let Some(source) = &info.source else {
            return Err(refuse(format!(
                "its encoder {} must be given when it is opened",
                info.name
            )));
        };
        let encoder = encode::load(source)?;
        builder::check_encoder(&self.name, Some(info), &*encoder)?;
        Ok(&**self.encoder.get_or_init(|| encoder))
    }

    /// Encodes texts, and sees that each got a vector.
    pub(super) fn encode(&self, texts: &[&str]) -> Result<Encoded> {
        let encoder = self.encoder()?;
        let encoded = encoder.encode(texts)?;
        let (rows, said) = (encoded.vectors.nrows(), encoded.truncated.len());
        if rows != texts.len() || said != texts.len() {
            return Err(Error::Invalid(format!(
                "the encoder {} gave {rows} vectors and {said} notes of truncation for {} texts",
                encoder.name(),
                texts.len()
            )));
        }
        Ok(encoded)
    }

    /// Checks a vector that is to be stored or searched.
    pub(super) fn check_vector(&self, vector: &[f32], what: &dyn Fn() -> String) -> Result<()> {
        if vector.len() != self.dim {
            return Err(Error::Dimension {
                what: what(),
                expected: self.dim,
                found: vector.len(),
            });
        }
        // Squares must stay finite in f32: distances are sums of them. In f64 they do, if the
        // numbers are finite.
        let square = dot(vector, vector);
        if !square.is_finite()
            && let Some(position) = vector.iter().position(|x| !x.is_finite())
        {
            return Err(Error::NotFinite {
                what: what(),
                position,
                value: vector[position],
            });
        }
        if square > f64::from(f32::MAX) / 1e4 {
            return Err(Error::Invalid(format!(
                "{} is too long ({:.3e}): its distances would overflow",
                what(),
                square.sqrt()
            )));
        }
        if self.distance == Distance::Cosine && square == 0.0 {
            return Err(Error::ZeroVector { what: what() });
        }
        Ok(())
    }

    /// An item's vector as the collection's precision keeps it, where it can be stored.
    fn kept(&self, vector: &[f32], of_text: bool) -> std::result::Result<Vec<f32>, String> {
        let what = if of_text {
            "its text's vector"
        } else {
            "its vector"
        };
        let check = |vector: &[f32], what: &str| {
            self.check_vector(vector, &|| what.to_owned())
                .map_err(|error| error.to_string())
        };
        check(vector, what)?;
        let name = self.precision.name();
        let kept = self.precision.round(vector);
        let kept =
            kept.ok_or_else(|| format!("{what} has numbers too large for precision {name}"))?;
        check(&kept, &format!("{what}, kept in precision {name},"))?;
        Ok(kept)
    }

    fn check_items(&self, items: Vec<Item>) -> Result<Vec<Checked>> {
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(items.len());
        let mut checked = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let invalid = |reason: String| Error::InvalidItem {
                index,
                id: cut(&item.id),
                reason,
            };
            if let Some(first) = seen.insert(item.id.clone(), index) {
                return Err(Error::DuplicateId {
                    id: item.id,
                    first,
                    second: index,
                });
            }
            let meta = compact(&item.meta).map_err(invalid)?;
            let vector = item
                .vector
                .as_deref()
                .ok_or_else(|| invalid("it has no vector".into()))?;
            let vector = self.kept(vector, item.text.is_some()).map_err(invalid)?;
            checked.push(Checked {
                prepared: prepare(self.distance, vector.clone()),
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

    fn add(&self, items: Vec<Item>) -> Result<Added> {
        let items = self.check_items(items)?;
        if items.is_empty() {
            return Ok(Added::default());
        }
        let _writing = self.lock_writer();
        let first = self.shelf.next_slot()?;
        let count = u32::try_from(items.len())
            .ok()
            .filter(|n| first.checked_add(*n).is_some());
        let Some(count) = count else {
            return Err(Error::Invalid(format!(
                "collection {:?} is out of slots; export and import it",
                self.name
            )));
        };
        let mut added = Added::default();
        let mut replaced = Vec::new();
        let mut writes = self.shelf.write();
        for (slot, item) in (first..).zip(&items) {
            match self.shelf.slot(&item.record.id)? {
                Some(old) => {
                    writes.remove_item(&item.record.id, old)?;
                    replaced.push(old);
                }
                None => added.added += 1,
            }
            if item.record.truncated {
                added.truncated.push(item.record.id.clone());
            }
            writes.put_item(slot, &item.record, &item.vector)?;
        }
        added.replaced = replaced.len();
        writes.set_next_slot(first + count);
        writes.commit()?;
        // Names first: a search that sees a slot must find its id.
        for (slot, item) in (first..).zip(&items) {
            self.ids.set(slot, &item.record.id);
        }
        let fresh: Vec<(u32, &[f32])> = (first..)
            .zip(items.iter().map(|i| i.prepared.as_slice()))
            .collect();
        let meta = (first..).zip(items.iter().map(|i| &i.meta));
        self.metadata
            .update(meta, &replaced, || self.index.apply(&fresh, &replaced))
            .map_err(from_index)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        Ok(added)
    }

    fn delete(&self, ids: &[impl AsRef<str>]) -> Result<usize> {
        let _writing = self.lock_writer();
        // An id that stands twice is removed once.
        let gone: BTreeMap<u32, &str> = self
            .slots_of(ids)?
            .into_iter()
            .zip(ids.iter().map(AsRef::as_ref))
            .collect();
        let mut writes = self.shelf.write();
        for (slot, id) in &gone {
            writes.remove_item(id, *slot)?;
        }
        writes.commit()?;
        let distinct: Vec<u32> = gone.into_keys().collect();
        let publish = || self.index.apply(&[], &distinct);
        self.metadata
            .update(std::iter::empty(), &distinct, publish)
            .map_err(from_index)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        Ok(distinct.len())
    }

    /// The slots of ids that must all be there.
    pub(super) fn slots_of(&self, ids: &[impl AsRef<str>]) -> Result<Vec<u32>> {
        let mut slots = Vec::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for id in ids {
            match self.shelf.slot(id.as_ref())? {
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

/// Metadata as it is stored: compact JSON, nothing for null.
fn compact(meta: &serde_json::Value) -> std::result::Result<String, String> {
    let meta = if meta.is_null() {
        String::new()
    } else {
        meta.to_string()
    };
    match meta.len() {
        0..=MAX_META_BYTES => Ok(meta),
        bytes => Err(format!(
            "its metadata takes {bytes} bytes, more than {MAX_META_BYTES}"
        )),
    }
}
