//! Image files: what an open collection reads in place, mapped into memory.
//!
//! An image repeats what the database holds, laid out so that it can be used as it lies. It is
//! never trusted: its header is named by a stamp in the database, every block has a checksum, and a
//! part is verified before it is used. One that is missing or damaged costs the time to read the
//! database instead.
//!
//! A file is a header and sections, all little-endian:
//!
//! ```text
//! bytes 0-7    the letters AFFIMAGE
//! bytes 8-11   format (2), u32
//! bytes 12-15  number of sections, u32
//! bytes 16-23  length of the file, u64
//! bytes 24-27  length of the header, u32
//! bytes 28-31  CRC-32 of bytes 0-27 and of the rest of the header, u32
//! then         for every section: offset and length, u64 each
//! then         for every section, in order: the CRC-32 of each of its blocks of 4 KiB, u32 each
//!              the sections, each at a multiple of 4 KiB, padded with zeros
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::damaged;
use super::disk::{Disk, DiskOp};
use super::swap::{parent_of, sync_dir};
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"AFFIMAGE";
const FORMAT: u32 = 2;
const BLOCK: usize = 4096;

// Offsets of the header's fields.
const FORMAT_AT: usize = 8;
const COUNT_AT: usize = 12;
const FILE_LENGTH_AT: usize = 16;
const HEADER_LENGTH_AT: usize = 24;
const CHECKSUM_AT: usize = 28;
/// The table of sections begins here.
const TABLE_AT: usize = 32;
/// Bytes of an entry of the table: offset and length of a section.
const ENTRY: usize = 16;
/// Offset of the length in an entry.
const ENTRY_LENGTH_AT: usize = 8;
/// Bytes of the checksum of a block.
const BLOCK_SUM: usize = size_of::<u32>();
/// More than this is read ahead when it is verified.
const BULK: usize = 4 << 20;
/// Ends the name of a file that is being written.
const PARTIAL: &str = ".partial";

/// What the database remembers of an image: a file with another header is not that image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    length: u64,
    header: u32,
}

impl Stamp {
    /// The checksum in the header, which no other image of the collection is likely to have.
    pub(super) fn header(self) -> u32 {
        self.header
    }
}

/// An image that was opened. Its header is verified; its parts are when asked for.
pub(crate) struct Image {
    path: PathBuf,
    bytes: Bytes,
    parts: Vec<Part>,
    damaged: AtomicBool,
}

enum Bytes {
    Mapped(memmap2::Mmap),
    #[cfg(any(test, fuzzing))]
    Held(Box<dyn AsRef<[u8]> + Send + Sync>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            #[cfg(any(test, fuzzing))]
            Self::Held(bytes) => (**bytes).as_ref(),
        }
    }

    /// Tells the system how a range will be read. A hint: it need not be heard.
    fn advise(&self, how: Reading, range: &Range<usize>) {
        #[cfg(unix)]
        match self {
            Self::Mapped(map) => {
                let advice = match how {
                    Reading::Scattered => memmap2::Advice::Random,
                    Reading::Whole => memmap2::Advice::WillNeed,
                };
                let _ = map.advise_range(advice, range.start, range.len());
            }
            #[cfg(any(test, fuzzing))]
            Self::Held(_) => {}
        }
        #[cfg(not(unix))]
        let _ = (how, range);
    }
}

/// How a range of bytes will be read.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// A little here and there: what lies beside it need not be read with it.
    Scattered,
    /// All of it, soon.
    Whole,
}

struct Part {
    range: Range<usize>,
    /// Where the checksums of its blocks are.
    sums: usize,
    /// A bit for every block that was verified.
    verified: Vec<AtomicU64>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Image {
    /// Maps a file and checks its header.
    pub(super) fn open(path: &Path, stamp: Stamp, disk: &Disk) -> Result<Self> {
        let map = disk.file(DiskOp::Read, path, || {
            let file = File::open(path)?;
            // SAFETY: the file stands in the store's own directory, whose lock this process holds,
            // and is never changed once it has its name: it is written under another, and removed
            // whole. Whoever changes it nevertheless, past the lock, can change what is read (each
            // block is verified once) or end the program with a bus error; the documentation says
            // so. Bytes have no invalid values.
            #[expect(unsafe_code, reason = "mapping a file is unsafe: see above")]
            unsafe {
                memmap2::Mmap::map(&file)
            }
        })?;
        Self::over(path, Bytes::Mapped(map), Some(stamp))
    }

    /// Reads the header of an image.
    fn over(path: &Path, bytes: Bytes, stamp: Option<Stamp>) -> Result<Self> {
        let parts = read_header(bytes.get(), stamp)
            .map_err(|reason| damaged(path.display().to_string(), reason))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            parts,
            damaged: AtomicBool::new(false),
        })
    }

    /// Says that a part is read a little here and there, so that the system keeps only what is read
    /// in memory. Asked for all of it, [`Self::verify`] has it read at once nevertheless.
    pub(crate) fn is_read_here_and_there(&self, part: usize) {
        if let Some(part) = self.parts.get(part) {
            self.bytes.advise(Reading::Scattered, &part.range);
        }
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// A part as it lies there; empty if there is none.
    pub(crate) fn part(&self, part: usize) -> &[u8] {
        self.parts
            .get(part)
            .map_or(&[], |part| &self.bytes()[part.range.clone()])
    }

    /// Whether a range of a part is there and agrees with its checksums. Each block is read once.
    pub(crate) fn verify(&self, part: usize, range: Range<usize>) -> bool {
        let Some(found) = self
            .parts
            .get(part)
            .filter(|found| range.end <= found.range.len())
        else {
            return range.is_empty();
        };
        if range.len() > BULK {
            self.bytes.advise(
                Reading::Whole,
                &(found.range.start + range.start..found.range.start + range.end),
            );
        }
        let sound = (range.start / BLOCK..range.end.div_ceil(BLOCK)).all(|block| {
            let (word, bit) = (&found.verified[block / 64], 1 << (block % 64));
            if word.load(Ordering::Relaxed) & bit != 0 {
                return true;
            }
            let bytes = self.bytes();
            let from = found.range.start + block * BLOCK;
            let sum = crc32fast::hash(&bytes[from..found.range.end.min(from + BLOCK)]);
            let at = found.sums + block * BLOCK_SUM;
            let sound = bytes[at..at + BLOCK_SUM] == sum.to_le_bytes();
            if sound {
                word.fetch_or(bit, Ordering::Relaxed);
            }
            sound
        });
        if !sound && !self.damaged.swap(true, Ordering::AcqRel) {
            tracing::error!(file = %self.path.display(), part, "an image's checksum does not fit");
        }
        sound
    }

    /// Whether a checksum did not fit so far.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

/// Checks all that a header says. Nothing is allocated beyond the size of the file.
fn read_header(bytes: &[u8], stamp: Option<Stamp>) -> std::result::Result<Vec<Part>, String> {
    let word = |at: usize| {
        bytes
            .get(at..at + 4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    let long = |at: usize| Some(u64::from(word(at)?) | u64::from(word(at + 4)?) << 32);
    let short = || "it ends too early".to_owned();
    if bytes.get(..FORMAT_AT) != Some(&MAGIC) {
        return Err("it is not an image".to_owned());
    }
    let format = word(FORMAT_AT).ok_or_else(short)?;
    if format != FORMAT {
        return Err(format!(
            "its format is {format}, and this version reads {FORMAT}"
        ));
    }
    let (count, length) = (
        word(COUNT_AT).ok_or_else(short)? as usize,
        long(FILE_LENGTH_AT).ok_or_else(short)?,
    );
    let (header, sum) = (
        word(HEADER_LENGTH_AT).ok_or_else(short)? as usize,
        word(CHECKSUM_AT).ok_or_else(short)?,
    );
    if length != bytes.len() as u64 {
        return Err(format!(
            "it has {} bytes, and {length} were written",
            bytes.len()
        ));
    }
    let rest = bytes.get(TABLE_AT..header).ok_or_else(short)?;
    if header_sum(&bytes[..CHECKSUM_AT], rest) != sum {
        return Err("the checksum of its header does not fit".to_owned());
    }
    if stamp.is_some_and(|stamp| {
        stamp
            != Stamp {
                length,
                header: sum,
            }
    }) {
        return Err("it is another image than the database names".to_owned());
    }
    let mut sums = count
        .checked_mul(ENTRY)
        .and_then(|table| table.checked_add(TABLE_AT))
        .ok_or_else(short)?;
    let mut parts = Vec::new();
    for part in 0..count {
        let at = TABLE_AT + part * ENTRY;
        let (offset, len) = (long(at).ok_or_else(short)?, long(at + ENTRY_LENGTH_AT).ok_or_else(short)?);
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= length && offset % BLOCK as u64 == 0);
        let end = end.ok_or_else(|| format!("part {part} lies outside of it"))? as usize;
        let blocks = (len as usize).div_ceil(BLOCK);
        let verified = (0..blocks.div_ceil(64))
            .map(|_| AtomicU64::new(0))
            .collect();
        parts.push(Part {
            range: offset as usize..end,
            sums,
            verified,
        });
        sums += blocks * BLOCK_SUM;
        if sums > header {
            return Err(short());
        }
    }
    Ok(parts)
}

fn header_sum(fixed: &[u8], rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(fixed);
    sum.update(rest);
    sum.finalize()
}

/// The header of an image of these parts, padded to where the first part begins, and the parts'
/// offsets.
fn header_of(parts: &[&[u8]]) -> (Vec<u8>, Stamp) {
    let blocks: usize = parts.iter().map(|part| part.len().div_ceil(BLOCK)).sum();
    let header = TABLE_AT + parts.len() * ENTRY + blocks * BLOCK_SUM;
    let mut end = header.next_multiple_of(BLOCK);
    let mut table = Vec::with_capacity(header - TABLE_AT);
    for part in parts {
        table.extend((end as u64).to_le_bytes());
        table.extend((part.len() as u64).to_le_bytes());
        end += part.len().next_multiple_of(BLOCK);
    }
    for block in parts.iter().flat_map(|part| part.chunks(BLOCK)) {
        table.extend(crc32fast::hash(block).to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(header.next_multiple_of(BLOCK));
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((parts.len() as u32).to_le_bytes());
    bytes.extend((end as u64).to_le_bytes());
    bytes.extend((header as u32).to_le_bytes());
    let sum = header_sum(&bytes, &table);
    bytes.extend(sum.to_le_bytes());
    bytes.extend(table);
    bytes.resize(header.next_multiple_of(BLOCK), 0);
    (
        bytes,
        Stamp {
            length: end as u64,
            header: sum,
        },
    )
}

/// Writes parts to a file, durably: it has its name only once it is whole.
pub(super) fn write(
    path: impl Fn(Stamp) -> PathBuf,
    parts: &[&[u8]],
    disk: &Disk,
) -> Result<Stamp> {
    let (header, stamp) = header_of(parts);
    let path = &path(stamp);
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let partial = PathBuf::from(partial);
    let written = disk
        .file(DiskOp::Write, &partial, || File::create(&partial))
        .and_then(|mut file| {
            disk.write(&partial, &header, |bytes| file.write_all(bytes))?;
            for part in parts {
                disk.write(&partial, part, |bytes| file.write_all(bytes))?;
                let padding = part.len().next_multiple_of(BLOCK) - part.len();
                disk.write(&partial, &[0; BLOCK][..padding], |bytes| {
                    file.write_all(bytes)
                })?;
            }
            disk.file(DiskOp::Sync, &partial, || file.sync_all())?;
            drop(file);
            disk.file(DiskOp::Rename, path, || fs::rename(&partial, path))?;
            sync_dir(parent_of(path), disk)
        });
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written.map(|()| stamp)
}

/// An image of these parts in memory.
#[cfg(any(test, fuzzing))]
pub(crate) fn image_bytes(parts: &[&[u8]]) -> Vec<u8> {
    let (mut bytes, _) = header_of(parts);
    for part in parts {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes
}

/// Bytes that begin where a mapped file would.
#[cfg(any(test, fuzzing))]
struct Aligned(Vec<Line>, usize);

#[cfg(any(test, fuzzing))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[cfg(any(test, fuzzing))]
impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..self.1]
    }
}

#[cfg(any(test, fuzzing))]
impl Image {
    /// Reads an image from memory.
    pub(crate) fn in_memory(bytes: &[u8]) -> Result<Self> {
        let mut lines = vec![Line([0; 64]); bytes.len().div_ceil(64)];
        bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Self::over(
            Path::new("image"),
            Bytes::Held(Box::new(Aligned(lines, bytes.len()))),
            None,
        )
    }
}

/// Removes the files of a directory whose names begin so, except those that are to be kept.
pub(super) fn sweep(dir: &Path, prefix: &str, keep: &[PathBuf], disk: &Disk) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::Io {
                path: dir.to_owned(),
                source,
            });
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(prefix) && !keep.contains(&path) {
            disk.file(DiskOp::Remove, &path, || fs::remove_file(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Vec<u8>> {
        vec![
            vec![],
            vec![7; 10],
            (0..10_000).map(|i| (i % 251) as u8).collect(),
            vec![1; BLOCK],
        ]
    }

    fn written(dir: &Path) -> (PathBuf, Stamp, Disk) {
        let disk = Disk::new(dir, None);
        let path = dir.join("3-1");
        let parts = parts();
        let stamp = write(
            |_| path.clone(),
            &parts.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &disk,
        )
        .expect("written");
        (path, stamp, disk)
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, stamp, disk) = written(dir.path());
        let image = Image::open(&path, stamp, &disk).expect("opens");
        image.is_read_here_and_there(1);
        for (i, part) in parts().iter().enumerate() {
            assert!(image.verify(i, 0..part.len()));
            assert_eq!(image.part(i), part);
            assert!(
                !image.verify(i, 0..part.len() + 1),
                "what is not there is not verified"
            );
        }
        assert!(image.part(9).is_empty() && image.verify(9, 0..0) && !image.is_damaged());
        let bytes = parts();
        assert_eq!(
            image_bytes(&bytes.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            fs::read(&path).expect("read")
        );
    }

    #[test]
    fn every_flipped_byte_and_every_length_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, stamp, disk) = written(dir.path());
        let whole = fs::read(&path).expect("read");
        let used: usize = parts().iter().map(Vec::len).sum();
        let mut noticed = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let sound =
                Image::over(&path, Bytes::Held(Box::new(bytes)), Some(stamp)).is_ok_and(|image| {
                    parts()
                        .iter()
                        .enumerate()
                        .all(|(i, part)| image.verify(i, 0..part.len()))
                });
            noticed += usize::from(!sound);
        }
        // Padding has no meaning.
        let header = TABLE_AT + 4 * ENTRY + 5 * BLOCK_SUM;
        assert_eq!(noticed, used + header);
        for length in (0..whole.len()).step_by(37) {
            fs::write(&path, &whole[..length]).expect("written");
            assert!(
                matches!(Image::open(&path, stamp, &disk), Err(Error::Damaged { .. })),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn an_image_with_another_stamp_is_refused_and_others_are_swept() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, stamp, disk) = written(dir.path());
        let other = Stamp {
            header: stamp.header ^ 1,
            ..stamp
        };
        assert!(Image::open(&path, other, &disk).is_err());
        for name in ["3-2", "3-2.partial", "30-1"] {
            fs::write(dir.path().join(name), "x").expect("written");
        }
        sweep(dir.path(), "3-", std::slice::from_ref(&path), &disk).expect("swept");
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .expect("read")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["3-1", "30-1"]);
        sweep(&dir.path().join("nowhere"), "3-", &[], &disk).expect("nothing to sweep");
    }
}
