//! Row files: the vectors of one large write, in a file that is written once.
//!
//! The write's transaction names the file under a key of the table `meta`. It is a segment file with
//! two sections, one of which is empty: the payloads of the vectors of consecutive slots, one after
//! another, in the collection's precision; or in f32, where not all are numbers of that precision.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sled::IVec;

use super::manifest::{prefix, with_stamp};
use super::precision::Precision;
use super::segment_file::{SegmentFile, Stamp, Writer};
use super::tables::{FORMAT, META, Tables};
use super::transaction::Transaction;
use super::{Database, codec, damaged, lock};
use crate::model::error::Result;

/// Writes of vectors that take at least so many bytes get a row file: sled would keep their place in
/// its log when they have gone into a segment file.
const FROM_BYTES: usize = 512 << 10;
/// The section of payloads in the collection's precision, and that of payloads in f32.
const ROWS: usize = 0;
const F32_ROWS: usize = 1;

/// The record that names a row file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowFile {
    /// The slot of the first vector.
    pub(crate) first: u32,
    /// Number of vectors.
    count: u32,
    stamp: Stamp,
}

impl RowFile {
    /// What begins the keys of their records in the table `meta`.
    pub(super) const KEYS: &str = "rows/";

    fn key(&self) -> String {
        format!("{}{:010}", Self::KEYS, self.first)
    }

    /// The slot after the last vector.
    pub(super) fn end(&self) -> u32 {
        self.first.saturating_add(self.count)
    }

    pub(super) fn holds(&self, slot: u32) -> bool {
        (self.first..self.end()).contains(&slot)
    }

    pub(super) fn name(&self, number: u32) -> String {
        name(number, self.first, Some(self.stamp))
    }
}

fn name(number: u32, first: u32, stamp: Option<Stamp>) -> String {
    with_stamp(format!("{}rows-{first}", prefix(number)), stamp)
}

/// A row file that was written and that no record names yet: it is not swept while this lives, and
/// is removed if that is still so at the end.
pub(super) struct PendingRowFile<'a> {
    tables: &'a Tables,
    name: String,
    /// The file, once it is complete.
    file: Option<RowFile>,
}

impl<'a> PendingRowFile<'a> {
    fn begin(tables: &'a Tables, first: u32) -> Self {
        let name = name(tables.number, first, None);
        lock(&tables.pending).insert(name.clone());
        Self {
            tables,
            name,
            file: None,
        }
    }

    /// Names the file in a transaction.
    pub(super) fn put(&self, transaction: &mut Transaction<'_>) -> Result<()> {
        if let Some(file) = &self.file {
            transaction
                .batch(META)
                .insert(file.key(), codec::encode(FORMAT, file)?);
        }
        Ok(())
    }
}

impl Drop for PendingRowFile<'_> {
    fn drop(&mut self) {
        let tables = self.tables;
        lock(&tables.pending).remove(&self.name);
        if let Some(file) = &self.file
            && let Ok(named) = tables.database().row_files(tables.number)
            && !named.contains(file)
        {
            // What cannot be removed now is swept when the collection is next opened.
            let _ = std::fs::remove_file(tables.file_path(&file.name(tables.number)));
        }
    }
}

impl Database {
    /// The row files that the records of a collection name, by slot.
    pub(super) fn row_files(&self, number: u32) -> Result<Vec<RowFile>> {
        let tables: [_; META + 1] = self.tables(number);
        let entries = tables[META].scan_prefix(RowFile::KEYS.as_bytes());
        let read = |(key, value): (IVec, IVec)| {
            let part = || format!("the record {}", String::from_utf8_lossy(&key));
            let file: RowFile = codec::decode(FORMAT, &value, &part)?;
            if file.key().as_bytes() == &*key {
                Ok(file)
            } else {
                Err(damaged(part(), "it is that of another file"))
            }
        };
        self.disk
            .walk("list the row files", entries)
            .map(|entry| read(entry?))
            .collect()
    }
}

impl Tables {
    /// Writes the vectors of consecutive slots to a row file, if they take many bytes.
    pub(super) fn write_row_file<'a>(
        &self,
        first: u32,
        vectors: impl ExactSizeIterator<Item = &'a [f32]> + Clone,
    ) -> Result<Option<PendingRowFile<'_>>> {
        let count = vectors.len();
        if count * self.precision.bytes(self.dim) < FROM_BYTES {
            return Ok(None);
        }
        let are_of_precision = self.precision == Precision::F32
            || vectors
                .clone()
                .all(|vector| self.precision.encode_again(vector).is_some());
        let (precision, section) = if are_of_precision {
            (self.precision, ROWS)
        } else {
            (Precision::F32, F32_ROWS)
        };
        let mut lengths = vec![0; F32_ROWS + 1];
        lengths[section] = count * precision.bytes(self.dim);
        let mut pending = PendingRowFile::begin(self, first);
        let path = |stamp| self.file_path(&name(self.number, first, stamp));
        let mut writer = Writer::begin(&path(None), lengths, &self.database().disk)?;
        for vector in vectors {
            let payload = precision.encode_again(vector);
            writer.write(&payload.unwrap_or_else(|| precision.encode(vector)))?;
        }
        let stamp = writer.finish(|stamp| path(Some(stamp)))?;
        pending.file = Some(RowFile {
            first,
            count: count as u32,
            stamp,
        });
        Ok(Some(pending))
    }

    /// Opens a row file.
    pub(super) fn row_file(&self, file: &RowFile) -> Result<SegmentFile> {
        self.open_file(&file.name(self.number), file.stamp)
    }

    /// The vectors of a row file whose first is that of a slot: each with its slot, or `None` for
    /// one that is damaged.
    pub(crate) fn rows_of<'a>(
        &'a self,
        first: u32,
        file: &'a SegmentFile,
    ) -> impl Iterator<Item = (u32, Option<Vec<f32>>)> + use<'a> {
        let (precision, section) = match file.section(ROWS).len() {
            0 => (Precision::F32, F32_ROWS),
            _ => (self.precision, ROWS),
        };
        let stride = precision.bytes(self.dim);
        let rows = file.section(section);
        (0..rows.len() / stride.max(1)).filter_map(move |row| {
            let slot = first.checked_add(u32::try_from(row).ok()?)?;
            let range = row * stride..(row + 1) * stride;
            let vector = file
                .verify(section, range.clone())
                .then(|| precision.decode(&rows[range], self.dim));
            Some((slot, vector.flatten()))
        })
    }

    /// The vectors outside of segment files in slots from `first` on, in the order of slots. Some
    /// may be of removed items.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) when one cannot be read.
    pub(crate) fn fresh_vectors(&self, first: u32) -> Result<Vec<(u32, Vec<f32>)>> {
        let mut vectors: Vec<(u32, Vec<f32>)> =
            self.vectors_from(first).collect::<Result<Vec<_>>>()?;
        let in_table: BTreeSet<u32> = vectors.iter().map(|(slot, _)| *slot).collect();
        let removed: BTreeSet<u32> = self.removed().collect::<Result<_>>()?;
        for named in self.database().row_files(self.number)? {
            if named.end() <= first {
                continue;
            }
            let file = self.row_file(&named)?;
            for (slot, vector) in self.rows_of(named.first, &file) {
                if slot < first || in_table.contains(&slot) || removed.contains(&slot) {
                    continue;
                }
                let vector = vector.ok_or_else(|| {
                    damaged(
                        format!("the vector of slot {slot}"),
                        format!("a checksum of {} does not fit", file.name()),
                    )
                })?;
                vectors.push((slot, vector));
            }
        }
        vectors.sort_unstable_by_key(|(slot, _)| *slot);
        Ok(vectors)
    }
}

impl Transaction<'_> {
    /// Removes the record that names a row file.
    pub(super) fn remove_row_file(&mut self, file: &RowFile) {
        self.batch(META).remove(file.key());
    }
}
