//! The records of keyword search: its language, and the files of its index.
//!
//! Both are under keys of the table `meta`. A file of the index is a [segment file](segment_file),
//! named by its stamp. The files are derived from the items: a copy of the database leaves them out,
//! and where one is missing or damaged, the index is built again.

use serde::{Deserialize, Serialize};
use sled::IVec;

use super::segment_file::{SegmentFile, Stamp};
use super::tables::{CHUNK, ITEMS, META, Tables, chunk_key, split_key};
use super::transaction::Transaction;
use super::{ItemRecord, codec};
use crate::model::Language;
use crate::model::error::Result;

/// The key of the language.
pub(super) const KEY: &str = "keywords";
/// The key of the list of files.
pub(super) const FILES_KEY: &str = "keyword_files";
const FORMAT: u8 = 1;

/// The files of a keyword index, which hold the texts of all live items in slots below `end`, and
/// perhaps some of items that were removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct KeywordFiles {
    /// The version of the analysis that made the terms.
    pub(crate) analysis: u32,
    /// The stamps of the files, in the order of their slots.
    pub(crate) files: Vec<Stamp>,
    /// The first slot whose text is in no file.
    pub(crate) end: u32,
}

/// The beginning of the names of a collection's files.
pub(super) fn prefix(number: u32) -> String {
    format!("words-{number}-")
}

impl Tables {
    /// The language of keyword search; `None` where it is off.
    pub(crate) fn keywords(&self) -> Result<Option<Language>> {
        let bytes = self.get(META, KEY.as_bytes())?;
        let part = || "the language of keywords".to_owned();
        bytes
            .map(|bytes| codec::decode(FORMAT, &bytes, &part))
            .transpose()
    }

    /// The list of files of the keyword index; `None` where there is none.
    pub(crate) fn keyword_files(&self) -> Result<Option<KeywordFiles>> {
        let bytes = self.get(META, FILES_KEY.as_bytes())?;
        let part = || "the list of files of the keyword index".to_owned();
        bytes
            .map(|bytes| codec::decode(FORMAT, &bytes, &part))
            .transpose()
    }

    /// Sets the language of keyword search, or turns it off. The index begins anew.
    pub(crate) fn set_keywords(&self, language: Option<Language>) -> Result<()> {
        let mut transaction = self.transaction();
        match language {
            Some(language) => {
                let encoded = codec::encode(FORMAT, &language)?;
                transaction.batch(META).insert(KEY.as_bytes(), encoded);
            }
            None => transaction.batch(META).remove(KEY.as_bytes()),
        }
        transaction.remove_keyword_files();
        transaction.commit()?;
        self.sweep_keyword_files(&KeywordFiles::default())
    }

    fn keyword_file_name(&self, stamp: Option<Stamp>) -> String {
        let stamp = stamp.map(|stamp| format!("{:08x}", stamp.header()));
        format!("{}{}", prefix(self.number), stamp.unwrap_or_default())
    }

    /// Opens a file of the keyword index, and verifies all of it.
    pub(crate) fn keyword_file(&self, stamp: Stamp) -> Result<SegmentFile> {
        let file = self.open_file(&self.keyword_file_name(Some(stamp)), stamp)?;
        file.verify_all()?;
        Ok(file)
    }

    /// Writes a file of the keyword index, which is used once the list of files names it.
    pub(crate) fn write_keyword_file(&self, sections: &[&[u8]]) -> Result<Stamp> {
        self.write_file(|stamp| self.keyword_file_name(stamp), sections)
    }

    /// Sets the list of files, and removes the files that it does not name.
    pub(crate) fn put_keyword_files(&self, files: &KeywordFiles) -> Result<()> {
        let mut transaction = self.transaction();
        let encoded = codec::encode(FORMAT, files)?;
        transaction
            .batch(META)
            .insert(FILES_KEY.as_bytes(), encoded);
        transaction.commit()?;
        self.sweep_keyword_files(files)
    }

    fn sweep_keyword_files(&self, files: &KeywordFiles) -> Result<()> {
        let keep = files
            .files
            .iter()
            .map(|stamp| self.keyword_file_name(Some(*stamp)));
        let keep: Vec<String> = keep.collect();
        let database = self.database();
        database.sweep_dir(&prefix(self.number), &|name| {
            keep.iter().any(|kept| kept == name)
        })
    }

    /// Whether a slot holds an item.
    pub(crate) fn holds(&self, slot: u32) -> Result<bool> {
        Ok(self.get(ITEMS, &chunk_key(slot, 0))?.is_some())
    }

    /// The live items in slots from `from` on and below `to`, in the order of slots.
    pub(crate) fn items_between(
        &self,
        from: u32,
        to: u32,
    ) -> impl Iterator<Item = Result<(u32, ItemRecord)>> {
        let range = self.table[ITEMS].range(chunk_key(from, 0)..chunk_key(to, 0));
        let chunks = self.database().disk.walk("read the items", range);
        let read = |(key, chunk): (IVec, IVec)| match split_key(&key)? {
            // The first chunk is the record, unless it is full.
            (slot, 0) if chunk.len() < CHUNK => Ok(Some((slot, ItemRecord::decode(&chunk, slot)?))),
            (slot, 0) => Ok(self.item(slot)?.map(|record| (slot, record))),
            _ => Ok(None),
        };
        chunks.filter_map(move |entry| entry.and_then(read).transpose())
    }
}

impl Transaction<'_> {
    /// Removes the list of files of the keyword index.
    pub(super) fn remove_keyword_files(&mut self) {
        self.batch(META).remove(FILES_KEY.as_bytes());
    }
}
