//! The files of a collection that hold vectors, and the records that name them.
//!
//! A *segment file* holds a sealed segment: the vectors, codes and graph of its items. There is one
//! for each sealed segment, and one for the ids of all their items; the manifest names them. A
//! [row file](super::row_files) holds the vectors of one large write until a segment file does.
//!
//! Each vector is in one of these files or in the table of vectors. One transaction puts the
//! manifest of new segment files and takes out the records of the row files that they replace; the
//! vectors that the segment files hold then leave the table, and files that nothing names are
//! removed. So the segment files, without the slots in the table `removed`, and the vectors
//! elsewhere in slots from `unsealed_from` on are the whole collection at all times.

use std::collections::BTreeMap;
use std::path::PathBuf;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::digest::TableDigest;
use super::disk::DiskOp;
use super::row_files::RowFile;
use super::segment_file::{self, SegmentFile, Stamp};
use super::staging::Parts;
use super::tables::{
    ACTIONS, FORMAT, IDS, ITEMS, META, REMOVED, Tables, VECTORS, entry_hash, read_be, split_key,
};
use super::transaction::Transaction;
use super::{Database, codec, lock};
use crate::model::error::Result;

/// The directory of the files, beside those of sled.
pub(super) const DIR: &str = "segments";
/// The key of the manifest in the table `meta`.
pub(super) const KEY: &str = "manifest";

/// The stamps of the segment files of one state of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The stamp of the file of ids.
    pub(crate) ids: Stamp,
    /// The stamps of the files of segments, by segment; at least one.
    pub(crate) segments: BTreeMap<u64, Stamp>,
    /// Items in slots from here on may be in no sealed segment.
    pub(crate) unsealed_from: u32,
}

/// The open segment files of a collection.
pub(crate) struct SegmentFiles {
    pub(crate) manifest: Manifest,
    pub(crate) ids: SegmentFile,
    pub(crate) segments: Vec<(u64, SegmentFile)>,
    /// Slots whose items were removed, increasing: at least those whose items the files still hold.
    pub(crate) removed: Vec<u32>,
}

/// A file that holds vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// The file of a segment.
    Segment(u64),
    /// A row file whose first vector is that of a slot.
    Rows(u32),
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Segment(id) => write!(f, "the file of segment {id}"),
            Self::Rows(first) => write!(f, "the file of rows from slot {first} on"),
        }
    }
}

/// The files that hold vectors, each open or with the reason why it cannot be read.
pub(crate) struct VectorFiles {
    pub(crate) files: Vec<(FileKind, Result<SegmentFile>)>,
    /// The file of ids, where there is a manifest.
    pub(crate) ids: Option<Result<SegmentFile>>,
    /// What is wrong with the records that name the files. The files are then those of the
    /// directory.
    pub(crate) damage: Option<String>,
}

/// What begins the name of each file of a collection.
pub(super) fn prefix(number: u32) -> String {
    format!("{number}-")
}

/// The name of the file of a segment; before it is written, the stamp is not known.
fn segment_name(number: u32, segment: u64, stamp: Option<Stamp>) -> String {
    with_stamp(format!("{}{segment}", prefix(number)), stamp)
}

fn ids_name(number: u32, stamp: Option<Stamp>) -> String {
    with_stamp(format!("{}ids", prefix(number)), stamp)
}

/// A name that ends with the checksum of the file's header: while a new file is written, a record
/// may still name the one before.
pub(super) fn with_stamp(name: String, stamp: Option<Stamp>) -> String {
    match stamp {
        Some(stamp) => format!("{name}-{:08x}", stamp.header()),
        None => name,
    }
}

/// The kind of a file that holds vectors, by its name.
fn kind_of(name: &str, number: u32) -> Option<FileKind> {
    let (kind, _) = name.strip_prefix(&prefix(number))?.rsplit_once('-')?;
    match kind.strip_prefix("rows-") {
        Some(first) => first.parse().ok().map(FileKind::Rows),
        None => kind.parse().ok().map(FileKind::Segment),
    }
}

impl Database {
    /// The names of the files that the records of a collection name.
    pub(super) fn file_names(&self, number: u32) -> Result<Vec<String>> {
        let mut names = Vec::new();
        if let Some(manifest) = self.manifest(number)? {
            names.push(ids_name(number, Some(manifest.ids)));
            let segments = manifest.segments.iter();
            names.extend(segments.map(|(id, stamp)| segment_name(number, *id, Some(*stamp))));
        }
        let rows = self.row_files(number)?;
        names.extend(rows.iter().map(|file| file.name(number)));
        Ok(names)
    }

    fn manifest(&self, number: u32) -> Result<Option<Manifest>> {
        let tables: [_; META + 1] = self.tables(number);
        let read = || tables[META].get(KEY.as_bytes());
        let bytes = self.disk.run(DiskOp::Read, "read the manifest", read)?;
        bytes
            .map(|bytes| codec::decode(FORMAT, &bytes, &|| "the manifest".to_owned()))
            .transpose()
    }
}

impl Tables {
    /// The path of a file of the collection.
    pub(super) fn file_path(&self, name: &str) -> PathBuf {
        self.database().segments_dir().join(name)
    }

    /// Opens the segment files that the manifest names; `None` where there is no manifest.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) or [`Error::Io`](crate::Error::Io) when a file is
    /// damaged or missing.
    pub(crate) fn segment_files(&self) -> Result<Option<SegmentFiles>> {
        let Some(manifest) = self.database().manifest(self.number)? else {
            return Ok(None);
        };
        let ids = self.open_file(&ids_name(self.number, Some(manifest.ids)), manifest.ids)?;
        let segment = |(id, stamp): (&u64, &Stamp)| Ok((*id, self.segment_file(*id, *stamp)?));
        let segments = manifest
            .segments
            .iter()
            .map(segment)
            .collect::<Result<_>>()?;
        let removed = self.removed().collect::<Result<_>>()?;
        Ok(Some(SegmentFiles {
            manifest,
            ids,
            segments,
            removed,
        }))
    }

    /// Opens every file that holds vectors of the collection.
    ///
    /// # Errors
    /// When the database or the directory cannot be read.
    pub(crate) fn vector_files(&self) -> Result<VectorFiles> {
        let named = self
            .database()
            .manifest(self.number)
            .and_then(|manifest| Ok((manifest, self.database().row_files(self.number)?)));
        let (manifest, rows) = match named {
            Ok(named) => named,
            Err(crate::Error::Damaged { part, reason }) => {
                return Ok(VectorFiles {
                    files: self.files_in_directory(&[])?,
                    ids: None,
                    damage: Some(format!("{part}: {reason}")),
                });
            }
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        let mut ids = None;
        if let Some(manifest) = manifest {
            ids = Some(self.open_file(&ids_name(self.number, Some(manifest.ids)), manifest.ids));
            for (id, stamp) in manifest.segments {
                files.push((FileKind::Segment(id), self.segment_file(id, stamp)));
            }
        }
        for file in rows {
            files.push((FileKind::Rows(file.first), self.row_file(&file)));
        }
        if files.iter().any(|(_, file)| file.is_err()) {
            // Where the log lost its end, files that it named may be there.
            let named = self.database().file_names(self.number)?;
            files.extend(self.files_in_directory(&named)?);
        }
        Ok(VectorFiles {
            files,
            ids,
            damage: None,
        })
    }

    /// Opens every file of the directory that holds vectors of the collection, without those of some
    /// names. A slot is never given to another item, so that an older file holds nothing wrong.
    fn files_in_directory(
        &self,
        without: &[String],
    ) -> Result<Vec<(FileKind, Result<SegmentFile>)>> {
        let database = self.database();
        let names = segment_file::names(&database.segments_dir(), &prefix(self.number))?;
        let files = names
            .iter()
            .filter(|name| !without.contains(name))
            .filter_map(|name| {
                let kind = kind_of(name, self.number)?;
                let file = SegmentFile::open(&self.file_path(name), None, &database.disk);
                Some((kind, file))
            });
        Ok(files.collect())
    }

    /// The slots of removed items that a file may hold, increasing.
    pub(super) fn removed(&self) -> impl Iterator<Item = Result<u32>> {
        self.raw(REMOVED)
            .map(|entry| read_be(&entry?.0, "the table of removed slots"))
    }

    /// Whether files may hold removed items.
    pub(crate) fn has_removed(&self) -> Result<bool> {
        self.removed().next().transpose().map(|slot| slot.is_some())
    }

    pub(super) fn open_file(&self, name: &str, stamp: Stamp) -> Result<SegmentFile> {
        SegmentFile::open(&self.file_path(name), Some(stamp), &self.database().disk)
    }

    /// Writes a file whose name depends on its stamp.
    pub(super) fn write_file(
        &self,
        name: impl Fn(Option<Stamp>) -> String,
        sections: &[&[u8]],
    ) -> Result<Stamp> {
        let path = |stamp| self.file_path(&name(stamp));
        let disk = &self.database().disk;
        segment_file::write(&path(None), |stamp| path(Some(stamp)), sections, disk)
    }

    /// Opens the file of a segment.
    fn segment_file(&self, segment: u64, stamp: Stamp) -> Result<SegmentFile> {
        self.open_file(&segment_name(self.number, segment, Some(stamp)), stamp)
    }

    /// Writes the file of a segment, which is used once a manifest names it, and reads it back.
    pub(crate) fn write_segment_file(
        &self,
        segment: u64,
        sections: &[&[u8]],
    ) -> Result<(Stamp, SegmentFile)> {
        let name = |stamp| segment_name(self.number, segment, stamp);
        let stamp = self.write_file(name, sections)?;
        let file = self.segment_file(segment, stamp)?;
        file.verify_all()?;
        Ok((stamp, file))
    }

    /// Writes the file of ids, which is used once a manifest names it.
    pub(crate) fn write_ids_file(&self, sections: &[&[u8]]) -> Result<Stamp> {
        self.write_file(|stamp| ids_name(self.number, stamp), sections)
    }

    /// Removes the files that no record names and that are not being written.
    pub(crate) fn sweep_files(&self) -> Result<()> {
        let database = self.database();
        let pending = lock(&self.pending);
        let keep = database.file_names(self.number)?;
        database.sweep_dir(&prefix(self.number), &|name| {
            keep.iter().any(|kept| kept == name)
                || pending.iter().any(|pending| name.starts_with(pending))
        })
    }

    /// Puts the manifest of the stored graph, or removes it where there is no sealed segment, with
    /// the changes that `change` makes; takes the vectors that the segment files hold out of all
    /// other places, and removes files that nothing names any more. `holds` tells whether a sealed
    /// segment holds a slot: of the removed slots, only those are kept that a file holds, and those
    /// that may still get into a segment.
    pub(crate) fn put_manifest(
        &self,
        manifest: Option<&Manifest>,
        unsealed_from: u32,
        holds: impl Fn(u32) -> bool,
        change: impl FnOnce(&mut Transaction<'_>),
    ) -> Result<()> {
        let mut transaction = self.transaction();
        match manifest {
            Some(manifest) => transaction
                .batch(META)
                .insert(KEY, codec::encode(FORMAT, manifest)?),
            None => transaction.batch(META).remove(KEY),
        }
        for file in self.database().row_files(self.number)? {
            if file.end() <= unsealed_from {
                transaction.remove_row_file(&file);
            }
        }
        change(&mut transaction);
        transaction.commit()?;
        // Files may go only once it is on disk that nothing names them, whatever is promised to
        // those who write.
        self.database().flush()?;
        self.forget_vectors(unsealed_from)?;
        self.forget_removed_below(unsealed_from, holds)?;
        self.sweep_files()
    }

    /// Takes the removed slots below `end` that no file holds off the list; `holds` tells whether a
    /// sealed segment holds one.
    pub(crate) fn forget_removed_below(&self, end: u32, holds: impl Fn(u32) -> bool) -> Result<()> {
        let rows = self.database().row_files(self.number)?;
        let is_held = |slot| holds(slot) || rows.iter().any(|file| file.holds(slot));
        self.forget_removed(|slot| slot < end && !is_held(slot))
    }

    /// Puts the vectors of live items that files hold, which `vectors` passes on, into the table of
    /// vectors, and removes all files.
    pub(crate) fn move_to_table(
        &self,
        vectors: impl FnOnce(&mut dyn FnMut(u32, &[f32]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let mut parts = Parts::of(self);
        vectors(&mut |slot, vector| {
            parts.change(size_of_val(vector), |part| {
                part.put_vector(slot, vector);
                Ok(())
            })
        })?;
        parts.end()?;
        let mut transaction = self.transaction();
        transaction.batch(META).remove(KEY);
        for entry in self.prefixed(RowFile::KEYS) {
            transaction.batch(META).remove(entry?.0);
        }
        transaction.remove_keyword_files();
        transaction.commit()?;
        self.database().flush()?;
        self.sweep_files()
    }

    /// Takes the vectors in slots below `end` out of the table of vectors.
    fn forget_vectors(&self, end: u32) -> Result<()> {
        let mut parts = Parts::of(self);
        let range = self.table[VECTORS].range(..end.to_be_bytes());
        let entries = self.database().disk.walk(ACTIONS[VECTORS], range);
        for entry in entries {
            let (key, value) = entry?;
            parts.change(value.len(), |part| {
                part.batch(VECTORS).remove(key);
                Ok(())
            })?;
        }
        parts.end()
    }

    /// The slots whose vectors are in the table of vectors and can be read.
    pub(crate) fn table_slots(&self) -> RoaringBitmap {
        let read = self.vectors_from(0).filter_map(Result::ok);
        read.map(|(slot, _)| slot).collect()
    }

    /// The slots of the records of items, sound or not, whatever their ids say.
    pub(crate) fn item_slots(&self) -> Result<RoaringBitmap> {
        self.raw(ITEMS)
            .filter_map(|entry| {
                entry
                    .map(|(key, _)| Some(split_key(&key).ok()?.0))
                    .transpose()
            })
            .collect()
    }

    /// Whether a row file holds only vectors in slots below `end`.
    pub(crate) fn has_row_file_below(&self, end: u32) -> Result<bool> {
        let rows = self.database().row_files(self.number)?;
        Ok(rows.iter().any(|file| file.end() <= end))
    }

    /// Clears the list of removed slots if there is no file that could hold one.
    pub(crate) fn forget_removed_without_files(&self) -> Result<()> {
        if self.database().file_names(self.number)?.is_empty() {
            self.forget_removed(|_| true)
        } else {
            Ok(())
        }
    }

    /// Takes slots off the list of removed ones.
    fn forget_removed(&self, is_forgotten: impl Fn(u32) -> bool) -> Result<()> {
        let mut parts = Parts::of(self);
        for slot in self.removed() {
            let slot = slot?;
            if is_forgotten(slot) {
                parts.change(0, |part| {
                    part.batch(REMOVED).remove(slot.to_be_bytes());
                    Ok(())
                })?;
            }
        }
        parts.end()
    }

    /// Whether these are exactly the stored ids with their slots.
    pub(crate) fn are_all_ids<'a>(&self, ids: impl Iterator<Item = (&'a str, u32)>) -> bool {
        let mut found = TableDigest::default();
        for (id, slot) in ids {
            found.add(entry_hash(IDS, id.as_bytes(), &slot.to_be_bytes()));
        }
        found == lock(&self.digests)[IDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_file_is_read_from_its_name() {
        assert_eq!(kind_of("3-17-00c0ffee", 3), Some(FileKind::Segment(17)));
        assert_eq!(kind_of("3-rows-17-00c0ffee", 3), Some(FileKind::Rows(17)));
        for other in [
            "3-ids-00c0ffee",
            "31-17-00c0ffee",
            "3-17",
            "3-17.partial",
            "words-3-1",
        ] {
            assert_eq!(kind_of(other, 3), None, "{other}");
        }
    }
}
