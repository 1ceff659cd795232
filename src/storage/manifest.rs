//! The manifest of a collection: the record that names its segment files.
//!
//! There is one file for each sealed segment, and one for the ids of all their items. The manifest
//! is removed in the transaction that changes the segments, and written once all of them have
//! files. The files, without the slots in the table `removed` and with the items in slots from
//! `unsealed_from` on, are the whole collection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::digest::TableDigest;
use super::disk::DiskOp;
use super::segment_file::{self, SegmentFile, Stamp};
use super::staging::Parts;
use super::tables::{FORMAT, IDS, META, REMOVED, Tables, entry_hash, read_be};
use super::transaction::Transaction;
use super::{codec, lock};
use crate::model::error::Result;

/// The directory of the segment files, beside the files of sled.
pub(super) const DIR: &str = "segments";
/// The key of the manifest in the table `meta`.
pub(super) const KEY: &str = "manifest";

/// The stamps of the segment files of one state of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The stamp of the file of ids.
    pub(crate) ids: Stamp,
    /// The stamps of the files of segments, by segment.
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

/// The name of a file of ids, which depends on its stamp: while a new file is written, the manifest
/// still names the previous one.
fn ids_name(stamp: Stamp) -> String {
    format!("ids-{:08x}", stamp.header())
}

impl Tables {
    fn segment_file_path(&self, name: &str) -> PathBuf {
        self.database()
            .segments_dir()
            .join(format!("{}-{name}", self.number))
    }

    /// Opens the segment files that the manifest names; `None` where there is no manifest.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) or [`Error::Io`](crate::Error::Io) when a file is
    /// damaged or missing; the records can be read instead.
    pub(crate) fn segment_files(&self) -> Result<Option<SegmentFiles>> {
        let Some(bytes) = self.get(META, KEY.as_bytes())? else {
            return Ok(None);
        };
        let manifest: Manifest = codec::decode(FORMAT, &bytes, &|| "the manifest".to_owned())?;
        let ids = self.open_segment_file(&ids_name(manifest.ids), manifest.ids)?;
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

    fn removed(&self) -> impl Iterator<Item = Result<u32>> {
        self.raw(REMOVED)
            .map(|entry| read_be(&entry?.0, "the table of removed slots"))
    }

    fn open_segment_file(&self, name: &str, stamp: Stamp) -> Result<SegmentFile> {
        SegmentFile::open(&self.segment_file_path(name), stamp, &self.database().disk)
    }

    /// Writes a file into the directory of segment files, which is made where it is missing.
    pub(super) fn write_file(
        &self,
        path: impl Fn(Stamp) -> PathBuf,
        parts: &[&[u8]],
    ) -> Result<Stamp> {
        let dir = self.database().segments_dir();
        self.database()
            .disk
            .file(DiskOp::Write, &dir, || std::fs::create_dir_all(&dir))?;
        segment_file::write(path, parts, &self.database().disk)
    }

    /// Opens the file of a segment.
    pub(crate) fn segment_file(&self, segment: u64, stamp: Stamp) -> Result<SegmentFile> {
        self.open_segment_file(&segment.to_string(), stamp)
    }

    /// Writes the file of a segment, which is used once a manifest names it.
    pub(crate) fn write_segment_file(&self, segment: u64, parts: &[&[u8]]) -> Result<Stamp> {
        self.write_file(|_| self.segment_file_path(&segment.to_string()), parts)
    }

    /// Writes the file of ids, which is used once a manifest names it.
    pub(crate) fn write_ids_file(&self, parts: &[&[u8]]) -> Result<Stamp> {
        self.write_file(|stamp| self.segment_file_path(&ids_name(stamp)), parts)
    }

    /// Removes the segment files that the manifest does not name.
    pub(crate) fn sweep_segment_files(&self, manifest: Option<&Manifest>) -> Result<()> {
        let names = manifest.into_iter().flat_map(|manifest| {
            let segments = manifest.segments.keys().map(u64::to_string);
            segments.chain([ids_name(manifest.ids)])
        });
        let keep: Vec<PathBuf> = names.map(|name| self.segment_file_path(&name)).collect();
        let database = self.database();
        segment_file::sweep(
            &database.segments_dir(),
            &format!("{}-", self.number),
            &keep,
            &database.disk,
        )
    }

    /// Removes the manifest and all segment files: the next opening reads the records.
    pub(crate) fn drop_segment_files(&self) -> Result<()> {
        let mut transaction = self.transaction();
        transaction.remove_manifest();
        transaction.commit()?;
        self.sweep_segment_files(None)
    }

    /// Puts the manifest of the stored graph. `holds` tells whether a sealed segment holds a slot:
    /// of the removed slots, only those are kept, and those that may still get into a segment.
    pub(crate) fn put_manifest(
        &self,
        manifest: &Manifest,
        holds: impl Fn(u32) -> bool,
    ) -> Result<()> {
        let mut transaction = self.transaction();
        transaction
            .batch(META)
            .insert(KEY, codec::encode(FORMAT, manifest)?);
        transaction.commit()?;
        self.forget_removed(|slot| slot < manifest.unsealed_from && !holds(slot))
    }

    /// Takes slots off the list of removed ones.
    pub(crate) fn forget_removed(&self, is_forgotten: impl Fn(u32) -> bool) -> Result<()> {
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

impl Transaction<'_> {
    /// Removes the manifest, because the segments change in this transaction.
    pub(crate) fn remove_manifest(&mut self) {
        self.batch(META).remove(KEY);
    }
}
