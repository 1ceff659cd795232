//! The durable commit counter: a file beside the database, by which a database that lost the end of
//! its log is noticed.
//!
//! sled takes a log that was cut short for one that ends there. So the number of commits is kept
//! twice: in the database, in the same transaction as each commit, and in this file, which is
//! written after each flush and without a flush of its own, so that it never counts more than is
//! durable. A database with fewer commits than its counter has lost acknowledged writes.
//!
//! ```text
//! two slots of 64 bytes, written in turn:
//! bytes 0-7    the letters AFCOMMIT
//! bytes 8-15   the count, u64 little-endian
//! bytes 16-19  CRC-32 of bytes 0-15, little-endian
//!              zeros
//! ```

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskOp};
use crate::model::error::Result;

const MAGIC: [u8; 8] = *b"AFCOMMIT";
const SLOT: usize = 64;
const MAGIC_BYTES: Range<usize> = 0..8;
const COUNT_BYTES: Range<usize> = 8..16;
const CHECKED_BYTES: Range<usize> = 0..16;
const CHECKSUM_BYTES: Range<usize> = 16..20;
/// The name of the file in the database's directory.
pub(super) const NAME: &str = "commits";

#[derive(Debug)]
pub(super) struct CommitCounter {
    path: PathBuf,
    file: File,
    /// The count in the file; `None` where it has no valid slot.
    count: Option<u64>,
}

fn slot(count: u64) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[MAGIC_BYTES].copy_from_slice(&MAGIC);
    bytes[COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
    let sum = crc32fast::hash(&bytes[CHECKED_BYTES]);
    bytes[CHECKSUM_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The count of a valid slot.
fn read(bytes: &[u8]) -> Option<u64> {
    let count = u64::from_le_bytes(bytes.get(COUNT_BYTES)?.try_into().ok()?);
    (bytes == slot(count)).then_some(count)
}

/// The count in the bytes of a counter's file; `None` where they have no valid slot.
pub(super) fn count_in(bytes: &[u8]) -> Option<u64> {
    bytes.chunks(SLOT).filter_map(read).max()
}

impl CommitCounter {
    /// Opens the counter of a database, or creates it.
    pub(super) fn open(dir: &Path, disk: &Disk) -> Result<Self> {
        let path = dir.join(NAME);
        let (file, bytes) = disk.file(DiskOp::Read, &path, || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let mut bytes = Vec::with_capacity(2 * SLOT);
            (&mut file).take(2 * SLOT as u64).read_to_end(&mut bytes)?;
            Ok((file, bytes))
        })?;
        let count = count_in(&bytes);
        Ok(Self { path, file, count })
    }

    pub(super) fn count(&self) -> Option<u64> {
        self.count
    }

    /// Raises the count to `count` durable commits. A lower count is ignored.
    pub(super) fn note(&mut self, count: u64, disk: &Disk) -> Result<()> {
        if self.count.is_some_and(|noted| noted >= count) {
            return Ok(());
        }
        self.set(count, disk)
    }

    /// Sets the count, which may be lower than before.
    pub(super) fn set(&mut self, count: u64, disk: &Disk) -> Result<()> {
        if self.count.is_some_and(|noted| noted > count) {
            disk.file(DiskOp::Write, &self.path, || self.file.set_len(0))?;
        }
        let file = &mut self.file;
        disk.write(&self.path, &slot(count), |bytes| {
            file.seek(SeekFrom::Start(count % 2 * SLOT as u64))?;
            file.write_all(bytes)
        })?;
        self.count = Some(count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_count_is_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Disk::new(dir.path(), None);
        let mut counter = CommitCounter::open(dir.path(), &disk).expect("made");
        assert_eq!(counter.count(), None);
        for count in [1, 2, 3] {
            counter.note(count, &disk).expect("noted");
        }
        counter.note(1, &disk).expect("nothing to note");
        let open = || {
            CommitCounter::open(dir.path(), &disk)
                .expect("opened")
                .count()
        };
        assert_eq!(open(), Some(3));
        // Slot 1 holds 3, slot 0 holds 2: a torn slot leaves the other.
        let path = dir.path().join(NAME);
        let whole = std::fs::read(&path).expect("read");
        for byte in SLOT..SLOT + CHECKSUM_BYTES.end {
            let mut torn = whole.clone();
            torn[byte] ^= 4;
            std::fs::write(&path, torn).expect("written");
            assert_eq!(open(), Some(2), "byte {byte}");
        }
        std::fs::write(&path, &whole[..SLOT + 9]).expect("written");
        assert_eq!(open(), Some(2));
        std::fs::write(&path, b"").expect("written");
        assert_eq!(open(), None);
    }
}
