//! Documents: their texts are split into chunks, which are stored, replaced and removed together.
//!
//! A chunk is an item as any other. It belongs to a document by its id and by its metadata: one
//! whose metadata name no document, or another, is left alone.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::encode::{EncodedText, Role};
use super::read::parse_meta;
use super::{Items, WriteGuard};
use crate::encode::{ChunkSize, split};
use crate::model::error::{Error, Result};
use crate::model::{
    BYTES_PER_TOKEN, Chunk, Chunking, Item, ItemError, MAX_CHUNKS, MAX_CHUNKS_BYTES, chunk_id,
    chunk_meta, chunk_prefix, is_chunk_id, is_chunk_of,
};

/// Number of chunks that are encoded at once.
const BATCH: usize = 4096;

/// A document, by the place of its item among others, with the places of its chunks in its text.
struct Split {
    item: usize,
    ranges: Vec<Range<usize>>,
}

impl Items {
    /// Splits the texts of documents that are not split yet, and encodes the chunks. A document that
    /// cannot be stored is the rule that it breaks.
    pub(super) fn prepare_documents(
        &self,
        items: &mut [std::result::Result<Item, ItemError>],
    ) -> Result<()> {
        let mut documents = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if let Ok(item) = item
                && let (Some(document), Some(text)) = (&item.document, &item.text)
                && document.chunks.is_empty()
            {
                documents.push((at, text.as_str(), document.chunking));
            }
        }
        if documents.is_empty() {
            return Ok(());
        }
        let ranges: Vec<_> = documents
            .par_iter()
            .map(|(_, text, chunking)| self.split(text, *chunking))
            .collect::<Result<_>>()?;
        let places: Vec<usize> = documents.into_iter().map(|(at, ..)| at).collect();
        let mut split = Vec::with_capacity(places.len());
        for (item, ranges) in places.into_iter().zip(ranges) {
            match ranges {
                Ok(ranges) => split.push(Split { item, ranges }),
                Err(error) => items[item] = Err(error),
            }
        }
        self.encode_chunks(items, &split)
    }

    /// The places of the chunks of a text, in bytes.
    fn split(
        &self,
        text: &str,
        chunking: Chunking,
    ) -> Result<std::result::Result<Vec<Range<usize>>, ItemError>> {
        let encoder = self.encoder.get()?;
        let (tokens, overlap) = match chunking.resolve(encoder.max_tokens()) {
            Ok(size) => size,
            Err(error) => return Ok(Err(error)),
        };
        let size = ChunkSize {
            tokens,
            overlap,
            bytes_per_token: BYTES_PER_TOKEN,
            chunks: MAX_CHUNKS,
        };
        match split(text, encoder, size) {
            Ok(ranges) if ranges.len() > MAX_CHUNKS => Ok(Err(ItemError::TooManyChunks)),
            Ok(ranges) => Ok(Ok(ranges)),
            Err(error) => match error.of_one() {
                Some(reason) => Ok(Err(ItemError::Unencodable(reason))),
                None => Err(error.into()),
            },
        }
    }

    /// Encodes the chunks of documents, and gives them to these.
    fn encode_chunks(
        &self,
        items: &mut [std::result::Result<Item, ItemError>],
        split: &[Split],
    ) -> Result<()> {
        let mut encoded = Vec::new();
        let all: Vec<(usize, Range<usize>)> = split
            .iter()
            .flat_map(|split| split.ranges.iter().map(|range| (split.item, range.clone())))
            .collect();
        for batch in all.chunks(BATCH) {
            let texts: Vec<&str> = batch
                .iter()
                .filter_map(|(item, range)| {
                    let item = items[*item].as_ref().ok()?;
                    item.text.as_deref()?.get(range.clone())
                })
                .collect();
            encoded.extend(self.encode_each(&texts, Role::Item)?);
        }
        let mut encoded = encoded.into_iter();
        for Split { item, ranges } in split {
            let of_item = encoded.by_ref().take(ranges.len()).collect();
            match chunks_of(ranges, of_item) {
                Err(error) => items[*item] = Err(error),
                Ok(chunks) => {
                    if let Ok(Item {
                        document: Some(document),
                        ..
                    }) = &mut items[*item]
                    {
                        document.chunks = chunks;
                    }
                }
            }
        }
        Ok(())
    }

    /// The chunks of a document that are stored, by their slots, in order.
    pub(super) fn chunk_slots(&self, document: &str) -> Result<Vec<(u32, String)>> {
        self.stored_chunks(document).collect()
    }

    fn stored_chunks(&self, document: &str) -> impl Iterator<Item = Result<(u32, String)>> {
        let prefix = chunk_prefix(document);
        let ids = self.tables.ids_after(Some(&prefix));
        let beginning = prefix.clone();
        let ids = ids.take_while(move |entry| {
            entry
                .as_ref()
                .map_or(true, |(id, _)| id.starts_with(&beginning))
        });
        ids.filter_map(move |entry| {
            let is_chunk = |id: &str, slot| {
                if !is_chunk_id(id, &prefix) {
                    return Ok(false);
                }
                let Some(record) = self.record_of(id, slot)? else {
                    return Ok(false);
                };
                Ok(is_chunk_of(&parse_meta(&record.meta, slot)?, document))
            };
            match entry {
                Ok((id, slot)) => match is_chunk(&id, slot) {
                    Ok(is_chunk) => is_chunk.then_some(Ok((slot, id))),
                    Err(error) => Some(Err(error)),
                },
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// Whether there is a document of an id.
    pub(crate) fn contains_document(&self, id: &str) -> Result<bool> {
        self.steady(|| Ok(self.stored_chunks(id).next().transpose()?.is_some()))
    }

    /// The chunks of a document, in order; none where there is no document of this id.
    pub(crate) fn document(&self, id: &str) -> Result<Vec<Item>> {
        self.steady(|| {
            let chunks = self.chunk_slots(id)?.into_iter();
            chunks.map(|(slot, id)| self.read(slot, &id)).collect()
        })
    }

    /// The live items, by their slots, that ids name: the item of each id, and the chunks of its
    /// document.
    ///
    /// # Errors
    /// [`Error::UnknownId`] naming the ids of neither.
    pub(super) fn named(
        &self,
        ids: &[impl AsRef<str>],
        _guard: &WriteGuard<'_>,
    ) -> Result<BTreeMap<u32, String>> {
        let mut named = BTreeMap::new();
        let mut unknown = Vec::new();
        for id in ids.iter().map(AsRef::as_ref) {
            let slot = self.tables.slot(id)?;
            let chunks = self.chunk_slots(id)?;
            if slot.is_none() && chunks.is_empty() {
                unknown.push(id.to_owned());
            }
            named.extend(slot.map(|slot| (slot, id.to_owned())));
            named.extend(chunks);
        }
        if unknown.is_empty() {
            Ok(named)
        } else {
            Err(Error::UnknownId {
                collection: self.name.clone(),
                ids: unknown,
            })
        }
    }
}

/// The chunks of a document, of their places and what the encoder made of them.
///
/// A chunk of which the encoder could make nothing has the vector of the nearest one before it, or
/// else after it, of which it could: its text is stored and found by its words.
fn chunks_of(
    ranges: &[Range<usize>],
    encoded: Vec<std::result::Result<EncodedText, String>>,
) -> std::result::Result<Vec<Chunk>, ItemError> {
    let mut texts = Vec::with_capacity(ranges.len());
    for (encoded, number) in encoded.into_iter().zip(1..) {
        let encoded = encoded
            .map_err(|reason| ItemError::Unencodable(format!("its chunk {number}: {reason}")))?;
        texts.push(encoded);
    }
    let first = texts.iter().find_map(|text| text.vector.clone());
    let mut nearest = first.ok_or(ItemError::UnknownText)?;
    let chunks = ranges.iter().zip(texts).map(|(range, text)| {
        if let Some(vector) = text.vector {
            nearest = vector;
        }
        Chunk {
            range: range.clone(),
            vector: nearest.clone(),
            truncated: text.truncated,
        }
    });
    Ok(chunks.collect())
}

/// The ids of what is stored of a given item whose text was cut.
pub(super) fn truncated(given: &Item) -> Vec<String> {
    let own = given.truncated.then(|| given.id.clone());
    let chunks = given.document.iter().flat_map(|document| &document.chunks);
    let cut = chunks.zip(1..).filter(|(chunk, _)| chunk.truncated);
    let cut = cut.map(|(_, number)| chunk_id(&given.id, number));
    own.into_iter().chain(cut).collect()
}

/// The items that are stored of one that is given: its chunks, where it is a document, or itself.
///
/// # Errors
/// [`ItemError::DocumentTooLarge`].
pub(super) fn stored_items(given: Item) -> std::result::Result<Vec<Item>, ItemError> {
    let Some(document) = given.document else {
        return Ok(vec![given]);
    };
    let text = given.text.unwrap_or_default();
    let texts: usize = document.chunks.iter().map(|chunk| chunk.range.len()).sum();
    let meta = chunk_meta(&given.meta, &given.id, MAX_CHUNKS).to_string();
    let bytes = texts + meta.len() * document.chunks.len();
    if bytes > MAX_CHUNKS_BYTES {
        return Err(ItemError::DocumentTooLarge { bytes });
    }
    let chunks = document.chunks.into_iter().zip(1..);
    let items = chunks.map(|(chunk, number)| Item {
        id: chunk_id(&given.id, number),
        text: text.get(chunk.range).map(str::to_owned),
        vector: Some(chunk.vector),
        meta: chunk_meta(&given.meta, &given.id, number),
        truncated: chunk.truncated,
        expires: given.expires,
        document: None,
    });
    Ok(items.collect())
}
