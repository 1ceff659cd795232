//! Size of one collection on disk. The log of sled holds the records of all collections, mixed with
//! what was overwritten, so only an estimate can be given: the records' number times their size in a
//! sample.

use std::fs;

use super::disk::DiskOp;
use super::tables::{ITEMS, META, NAMES, REMOVED, Tables, VECTORS};
use super::{digest::DIGESTED, keywords, lock, manifest};
use crate::model::error::Result;

/// Number of records of a table that are measured.
const SAMPLE: u64 = 256;

impl Tables {
    /// Size of the collection on disk in bytes: that of its files, and an estimate of that
    /// of its live records.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        let mut bytes = self.file_bytes();
        for table in 0..NAMES.len() {
            bytes += match table {
                ITEMS => self.spread_bytes(table)?,
                table if table < DIGESTED => self.first_bytes(table)?,
                VECTORS | META | REMOVED => self.all_bytes(table)?,
                _ => 0,
            };
        }
        Ok(bytes)
    }

    fn file_bytes(&self) -> u64 {
        let prefixes = [manifest::prefix(self.number), keywords::prefix(self.number)];
        let Ok(entries) = fs::read_dir(self.database().segments_dir()) else {
            return 0;
        };
        entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                prefixes.iter().any(|prefix| name.starts_with(prefix))
            })
            .filter_map(|entry| entry.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    }

    /// Number of entries of a table that has a digest.
    fn entries(&self, table: usize) -> u64 {
        lock(&self.digests)[table].entries
    }

    /// An estimate for a table that is ordered by slot, from records at even distances.
    fn spread_bytes(&self, table: usize) -> Result<u64> {
        let next_slot = u64::from(self.next_slot()?);
        let (mut bytes, mut measured) = (0, 0);
        for sample in 0..SAMPLE.min(next_slot) {
            let slot = (next_slot * sample / SAMPLE.min(next_slot)) as u32;
            let found = self
                .database()
                .disk
                .run(DiskOp::Read, "measure records", || {
                    self.table[table]
                        .range(slot.to_be_bytes()..)
                        .next()
                        .transpose()
                })?;
            if let Some((key, value)) = found {
                bytes += (key.len() + value.len()) as u64;
                measured += 1;
            }
        }
        Ok(scaled(bytes, measured, self.entries(table)))
    }

    /// An estimate from the first records of a table, which are as long as others.
    fn first_bytes(&self, table: usize) -> Result<u64> {
        let (mut bytes, mut measured) = (0, 0);
        for entry in self.raw(table).take(SAMPLE as usize) {
            let (key, value) = entry?;
            bytes += (key.len() + value.len()) as u64;
            measured += 1;
        }
        Ok(scaled(bytes, measured, self.entries(table)))
    }

    /// The size of all records of a small table.
    fn all_bytes(&self, table: usize) -> Result<u64> {
        self.raw(table)
            .map(|entry| entry.map(|(key, value)| (key.len() + value.len()) as u64))
            .sum()
    }
}

fn scaled(bytes: u64, measured: u64, entries: u64) -> u64 {
    (u128::from(bytes) * u128::from(entries) / u128::from(measured.max(1))) as u64
}
