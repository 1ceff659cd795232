//! A count of durable commits that is kept beside the database, so that a database that lost its
//! end is noticed.
//!
//! sled takes a log that ends early for one that was never written further: what came after is gone
//! without a word. The witness is written after each flush, without a flush of its own, and so
//! never counts more than is durable; the database counts its commits itself. A database that
//! counts less than its witness has lost acknowledged writes.
//!
//! ```text
//! two slots of 64 bytes, written in turn:
//! bytes 0-7    the letters AFWITNES
//! bytes 8-15   the count, u64 little-endian
//! bytes 16-19  CRC-32 of bytes 0-15, little-endian
//!              zeros
//! ```

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskOp};
use crate::error::Result;

const MAGIC: [u8; 8] = *b"AFWITNES";
const SLOT: usize = 64;
const MAGIC_BYTES: Range<usize> = 0..8;
const COUNT_BYTES: Range<usize> = 8..16;
const CHECKED_BYTES: Range<usize> = 0..16;
const CHECKSUM_BYTES: Range<usize> = 16..20;
/// The witness's name in the database's directory.
pub(super) const NAME: &str = "witness";

#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    /// The count that it holds; `None` when it holds none.
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

/// The count of a slot that is whole.
fn read(bytes: &[u8]) -> Option<u64> {
    let count = u64::from_le_bytes(bytes.get(COUNT_BYTES)?.try_into().ok()?);
    (bytes == slot(count)).then_some(count)
}

impl Witness {
    /// Opens the witness of a database, or makes it.
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
        let count = bytes.chunks(SLOT).filter_map(read).max();
        Ok(Self { path, file, count })
    }

    pub(super) fn count(&self) -> Option<u64> {
        self.count
    }

    /// Notes that so many commits are durable.
    pub(super) fn note(&mut self, count: u64, disk: &Disk) -> Result<()> {
        if self.count.is_some_and(|noted| noted >= count) {
            return Ok(());
        }
        self.set(count, disk)
    }

    /// Notes a count that may be lower than the last.
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
        let mut witness = Witness::open(dir.path(), &disk).expect("made");
        assert_eq!(witness.count(), None);
        for count in [1, 2, 3] {
            witness.note(count, &disk).expect("noted");
        }
        witness.note(1, &disk).expect("nothing to note");
        let open = || Witness::open(dir.path(), &disk).expect("opened").count();
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
