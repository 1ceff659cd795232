//! Segment files: files that an open collection maps into memory and reads in place.
//!
//! A segment file is written once, under another name until it is complete, and never changed. It
//! is never trusted: a stamp in the database names its header, every block has a checksum, and each
//! section is verified before it is used. The header is there twice, so that damage to a block of
//! the file costs what lies in that block.
//!
//! A file is a header, sections, and the header again, all little-endian:
//!
//! ```text
//! bytes 0-7    the letters AFFSEGMT
//! bytes 8-11   format (4), u32
//! bytes 12-15  number of sections, u32
//! bytes 16-23  length of the file, u64
//! bytes 24-27  length of the header, u32
//! bytes 28-31  CRC-32 of bytes 0-27 and of the rest of the header, u32
//! then         for every section: offset and length, u64 each
//! then         for every section, in order: the CRC-32 of each of its blocks of 4 KiB, u32 each
//!              the sections, each at a multiple of 4 KiB, padded with zeros
//!              the header again, at a multiple of 4 KiB, padded with zeros
//! last 16      length of the header, u32; its CRC-32 as above, u32; the letters AFFSGEND
//! ```

mod write;

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::damaged;
use super::disk::{Disk, DiskOp};
use crate::model::error::{Error, Result};

#[cfg(any(test, fuzzing))]
pub(crate) use write::segment_file_bytes;
pub(super) use write::{Writer, write};

const MAGIC: [u8; 8] = *b"AFFSEGMT";
const FORMAT: u32 = 4;
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
/// The last bytes of a file, and the letters at their end.
const TAIL: usize = 16;
const TAIL_MAGIC: [u8; 8] = *b"AFFSGEND";
/// Ranges longer than this are read ahead when they are verified, in bytes.
const READ_AHEAD_FROM: usize = 4 << 20;

/// The identity of a segment file, as the database keeps it: a file with another length or header
/// checksum is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    length: u64,
    header: u32,
}

impl Stamp {
    /// The checksum of the header, which no other file of the collection is likely to have.
    pub(super) fn header(self) -> u32 {
        self.header
    }
}

/// An open segment file. Its header is verified; its sections are verified on request.
pub(crate) struct SegmentFile {
    path: PathBuf,
    bytes: Bytes,
    sections: Vec<Section>,
    /// Whether the header is sound in both places.
    has_both_headers: bool,
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

    /// Tells the system how a range will be read. It may ignore the hint.
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

/// The way in which a range of bytes will be read.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// In small pieces at scattered places: nothing needs to be read ahead.
    Scattered,
    /// All of it, soon.
    Whole,
}

struct Section {
    range: Range<usize>,
    /// Offset of the checksums of its blocks.
    sums: usize,
    /// One bit a block, set once the block is verified.
    verified: Vec<AtomicU64>,
}

impl std::fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SegmentFile {
    /// Maps a file and checks its header. Without a stamp, any segment file is taken.
    pub(super) fn open(path: &Path, stamp: Option<Stamp>, disk: &Disk) -> Result<Self> {
        let map = disk.file(DiskOp::Read, path, || {
            let file = File::open(path)?;
            // SAFETY: the file is in the store's directory, whose lock this process holds, and it
            // is never changed once it has its final name: it is written under another name, and
            // removed as a whole. A program that ignores the lock and changes it can change what is
            // read (each block is verified once) or end this process with a bus error, as the
            // documentation says. Bytes have no invalid values.
            #[expect(unsafe_code, reason = "mapping a file is unsafe: see above")]
            unsafe {
                memmap2::Mmap::map(&file)
            }
        })?;
        Self::over(path, Bytes::Mapped(map), stamp)
    }

    /// A segment file in these bytes, whose header is verified.
    fn over(path: &Path, bytes: Bytes, stamp: Option<Stamp>) -> Result<Self> {
        let file = bytes.get();
        let first = read_header(file, 0, stamp);
        let last = last_header(file).map(|at| read_header(file, at, stamp));
        let has_both_headers = first.is_ok() && matches!(last, Some(Ok(_)));
        let sections = match (first, last) {
            (Err(_), Some(Ok(sections))) => Ok(sections),
            (first, _) => first,
        };
        let sections = sections.map_err(|reason| damaged(path.display().to_string(), reason))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            sections,
            has_both_headers,
            damaged: AtomicBool::new(false),
        })
    }

    /// Tells the system that a section is read at scattered places, so that it keeps in memory only
    /// what is read. [`Self::verify`] still reads long ranges ahead.
    pub(crate) fn advise_scattered(&self, section: usize) {
        if let Some(section) = self.sections.get(section) {
            self.bytes.advise(Reading::Scattered, &section.range);
        }
    }

    /// The name of the file in messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// The bytes of a section; empty where there is no such section.
    pub(crate) fn section(&self, section: usize) -> &[u8] {
        self.sections
            .get(section)
            .map_or(&[], |section| &self.bytes()[section.range.clone()])
    }

    /// Whether a range of a section exists and agrees with the checksums of its blocks. Each block
    /// is verified once.
    pub(crate) fn verify(&self, section: usize, range: Range<usize>) -> bool {
        let Some(found) = self
            .sections
            .get(section)
            .filter(|found| range.end <= found.range.len())
        else {
            return range.is_empty();
        };
        if range.len() > READ_AHEAD_FROM {
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
            tracing::error!(file = %self.path.display(), section, "a checksum of a segment file does not fit");
        }
        sound
    }

    /// Verifies every section.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a checksum does not fit.
    pub(super) fn verify_all(&self) -> Result<()> {
        let sound = (0..self.sections.len())
            .all(|section| self.verify(section, 0..self.section(section).len()));
        if sound {
            Ok(())
        } else {
            Err(damaged(self.name(), "a checksum does not fit"))
        }
    }

    /// Whether another file holds the same, as the headers say, which have the checksums of all
    /// blocks.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        let sums = |file: &Self| {
            let mut sums = Vec::new();
            for section in &file.sections {
                let blocks = section.range.len().div_ceil(BLOCK);
                let at = section.sums;
                sums.push((
                    section.range.clone(),
                    file.bytes()[at..at + blocks * BLOCK_SUM].to_vec(),
                ));
            }
            sums
        };
        self.bytes().len() == other.bytes().len() && sums(self) == sums(other)
    }

    /// Whether the header is sound at both ends of the file.
    pub(crate) fn has_both_headers(&self) -> bool {
        self.has_both_headers
    }

    /// Whether any checksum that was verified so far did not fit.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

/// Where the second copy of the header begins, as the end of the file says.
fn last_header(file: &[u8]) -> Option<usize> {
    let (_, tail) = file.split_last_chunk::<TAIL>()?;
    let header = tail
        .strip_suffix(&TAIL_MAGIC)
        .and_then(|words| words.first_chunk::<4>())?;
    let length = u32::from_le_bytes(*header) as usize;
    file.len().checked_sub(copy_length(length))
}

/// Bytes of the second copy of a header of this length, with the end of the file.
fn copy_length(header: usize) -> usize {
    (header + TAIL).next_multiple_of(BLOCK)
}

/// The sections that the header at an offset lists, once everything in the header is checked.
/// Allocates no more than the size of the file.
fn read_header(
    file: &[u8],
    at: usize,
    stamp: Option<Stamp>,
) -> std::result::Result<Vec<Section>, String> {
    let bytes = file.get(at..).unwrap_or_default();
    let word = |at: usize| {
        bytes
            .get(at..at + 4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    let long = |at: usize| Some(u64::from(word(at)?) | u64::from(word(at + 4)?) << 32);
    let short = || "it ends too early".to_owned();
    if bytes.get(..FORMAT_AT) != Some(&MAGIC) {
        return Err("it is not a segment file".to_owned());
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
    if length != file.len() as u64 {
        return Err(format!(
            "it has {} bytes, and {length} were written",
            file.len()
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
        return Err("it is another file than the database names".to_owned());
    }
    let mut sums = count
        .checked_mul(ENTRY)
        .and_then(|table| table.checked_add(TABLE_AT))
        .ok_or_else(short)?;
    let mut sections = Vec::new();
    for section in 0..count {
        let entry = TABLE_AT + section * ENTRY;
        let (offset, len) = (
            long(entry).ok_or_else(short)?,
            long(entry + ENTRY_LENGTH_AT).ok_or_else(short)?,
        );
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= length && offset % BLOCK as u64 == 0);
        let end = end.ok_or_else(|| format!("section {section} lies outside of it"))? as usize;
        let blocks = (len as usize).div_ceil(BLOCK);
        let verified = (0..blocks.div_ceil(64))
            .map(|_| AtomicU64::new(0))
            .collect();
        sections.push(Section {
            range: offset as usize..end,
            sums: at + sums,
            verified,
        });
        sums += blocks * BLOCK_SUM;
        if sums > header {
            return Err(short());
        }
    }
    Ok(sections)
}

fn header_sum(fixed: &[u8], rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(fixed);
    sum.update(rest);
    sum.finalize()
}

/// Bytes in memory, aligned as a mapped file is.
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
impl SegmentFile {
    /// A segment file in memory.
    pub(crate) fn in_memory(bytes: &[u8]) -> Result<Self> {
        let mut lines = vec![Line([0; 64]); bytes.len().div_ceil(64)];
        bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Self::over(
            Path::new("segment file"),
            Bytes::Held(Box::new(Aligned(lines, bytes.len()))),
            None,
        )
    }
}

/// Removes the files of a directory whose names begin with a prefix, except those that `keeps`
/// keeps by their names.
pub(super) fn sweep(
    dir: &Path,
    prefix: &str,
    keeps: &dyn Fn(&str) -> bool,
    disk: &Disk,
) -> Result<()> {
    for name in names(dir, prefix)? {
        let path = dir.join(&name);
        if !keeps(&name) {
            disk.file(DiskOp::Remove, &path, || fs::remove_file(&path))?;
        }
    }
    Ok(())
}

/// The names of the files of a directory that begin with a prefix; none where there is no such
/// directory.
pub(super) fn names(dir: &Path, prefix: &str) -> Result<Vec<String>> {
    let io = |source| Error::Io {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(io)?.file_name().into_string()
            && name.starts_with(prefix)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Vec<Vec<u8>> {
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
        let sections = sections();
        let stamp = write(
            &path,
            |_| path.clone(),
            &sections.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &disk,
        )
        .expect("written");
        (path, stamp, disk)
    }

    fn is_sound(file: &SegmentFile) -> bool {
        let sections = sections();
        let mut sections = sections.iter().enumerate();
        sections.all(|(i, section)| file.verify(i, 0..section.len()) && file.section(i) == section)
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, stamp, disk) = written(dir.path());
        for stamp in [Some(stamp), None] {
            let file = SegmentFile::open(&path, stamp, &disk).expect("opens");
            file.advise_scattered(1);
            assert!(is_sound(&file) && file.has_both_headers());
            for (i, section) in sections().iter().enumerate() {
                assert!(
                    !file.verify(i, 0..section.len() + 1),
                    "what is not there is not verified"
                );
            }
            assert!(file.section(9).is_empty() && file.verify(9, 0..0) && !file.is_damaged());
        }
        let bytes = sections();
        assert_eq!(
            segment_file_bytes(&bytes.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            fs::read(&path).expect("read")
        );
    }

    #[test]
    fn every_flipped_byte_of_a_section_and_every_length_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, stamp, disk) = written(dir.path());
        let whole = fs::read(&path).expect("read");
        let used: usize = sections().iter().map(Vec::len).sum();
        let header = TABLE_AT + 4 * ENTRY + 5 * BLOCK_SUM;
        let (mut noticed, mut one_header) = (0, 0);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let file = SegmentFile::over(&path, Bytes::Held(Box::new(bytes)), Some(stamp))
                .expect("one header is sound");
            noticed += usize::from(!is_sound(&file));
            one_header += usize::from(!file.has_both_headers());
        }
        // Padding has no meaning, nor has the checksum at the end of the file.
        assert_eq!(noticed, used);
        // Some changes of the length at the end lead to the same place.
        assert!((2 * header + TAIL_MAGIC.len()..=2 * header + TAIL).contains(&one_header));
        let mut headless = whole.clone();
        let last = last_header(&whole).expect("a second header");
        headless[0] ^= 1;
        headless[last + 40] ^= 1;
        assert!(SegmentFile::over(&path, Bytes::Held(Box::new(headless)), None).is_err());
        for length in (0..whole.len()).step_by(37) {
            fs::write(&path, &whole[..length]).expect("written");
            assert!(
                matches!(
                    SegmentFile::open(&path, None, &disk),
                    Err(Error::Damaged { .. })
                ),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_file_with_another_stamp_is_refused_and_others_are_swept() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, stamp, disk) = written(dir.path());
        let other = Stamp {
            header: stamp.header ^ 1,
            ..stamp
        };
        assert!(SegmentFile::open(&path, Some(other), &disk).is_err());
        for name in ["3-2", "3-2.partial", "30-1"] {
            fs::write(dir.path().join(name), "x").expect("written");
        }
        sweep(dir.path(), "3-", &|name| name == "3-1", &disk).expect("swept");
        assert_eq!(names(dir.path(), "").expect("listed"), ["3-1", "30-1"]);
        let nowhere = dir.path().join("nowhere");
        sweep(&nowhere, "3-", &|_| false, &disk).expect("nothing to sweep");
    }
}
