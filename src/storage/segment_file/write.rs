//! Writing segment files, section by section.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::{
    BLOCK, BLOCK_SUM, ENTRY, FORMAT, MAGIC, Stamp, TABLE_AT, TAIL, TAIL_MAGIC, copy_length,
    header_sum,
};
use crate::model::error::Result;
use crate::storage::disk::{Disk, DiskOp};
use crate::storage::swap::{parent_of, sync_dir};

/// The end of the name of a file that is being written.
const PARTIAL: &str = ".partial";
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// A segment file that is being written. It is removed unless it is [finished](Self::finish).
pub(in crate::storage) struct Writer<'a> {
    /// The name that it has now.
    partial: PathBuf,
    file: File,
    disk: &'a Disk,
    buffer: Vec<u8>,
    layout: Layout,
    /// Whether the file has its final name.
    is_finished: bool,
}

/// The layout of a file, and the checksums of what was written so far.
struct Layout {
    lengths: Vec<usize>,
    sums: Vec<u32>,
    /// Number of sections that are complete.
    complete: usize,
    /// Bytes of the section after them.
    written: usize,
    /// The checksum of the last block, as far as it was written.
    block: crc32fast::Hasher,
}

impl Layout {
    fn of(lengths: Vec<usize>) -> Self {
        let mut layout = Self {
            lengths,
            sums: Vec::new(),
            complete: 0,
            written: 0,
            block: crc32fast::Hasher::new(),
        };
        layout.complete_sections();
        layout
    }

    fn header_length(&self) -> usize {
        let blocks = self.lengths.iter().map(|length| length.div_ceil(BLOCK));
        TABLE_AT + self.lengths.len() * ENTRY + blocks.sum::<usize>() * BLOCK_SUM
    }

    /// Counts the sections at whose end the file is.
    fn complete_sections(&mut self) {
        while self.lengths.get(self.complete) == Some(&self.written) {
            self.complete += 1;
            self.written = 0;
        }
    }

    /// Adds bytes of the current section to what `to` holds, and the padding at its end.
    fn add(&mut self, mut bytes: &[u8], to: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let Some(length) = self.lengths.get(self.complete).copied() else {
                debug_assert!(false, "no section is left for these bytes");
                return;
            };
            let in_block = BLOCK - self.written % BLOCK;
            let (now, later) = bytes.split_at(bytes.len().min(in_block).min(length - self.written));
            self.block.update(now);
            to.extend_from_slice(now);
            self.written += now.len();
            if self.written.is_multiple_of(BLOCK) || self.written == length {
                self.sums.push(std::mem::take(&mut self.block).finalize());
            }
            if self.written == length {
                to.resize(to.len() + length.next_multiple_of(BLOCK) - length, 0);
                self.complete_sections();
            }
            bytes = later;
        }
    }

    /// The header, and the stamp of the file.
    fn header(&self) -> (Vec<u8>, Stamp) {
        let header = self.header_length();
        let mut end = header.next_multiple_of(BLOCK);
        let mut table = Vec::with_capacity(header - TABLE_AT);
        for length in &self.lengths {
            table.extend((end as u64).to_le_bytes());
            table.extend((*length as u64).to_le_bytes());
            end += length.next_multiple_of(BLOCK);
        }
        for sum in &self.sums {
            table.extend(sum.to_le_bytes());
        }
        let length = (end + copy_length(header)) as u64;
        let mut bytes = Vec::with_capacity(copy_length(header));
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend((self.lengths.len() as u32).to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend((header as u32).to_le_bytes());
        let sum = header_sum(&bytes, &table);
        bytes.extend(sum.to_le_bytes());
        bytes.extend(table);
        (
            bytes,
            Stamp {
                length,
                header: sum,
            },
        )
    }
}

/// A header as it is written behind the sections.
fn second_copy(header: &[u8], stamp: Stamp) -> Vec<u8> {
    let length = copy_length(header.len());
    let mut bytes = header.to_vec();
    bytes.resize(length - TAIL, 0);
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(stamp.header.to_le_bytes());
    bytes.extend(TAIL_MAGIC);
    bytes
}

impl<'a> Writer<'a> {
    /// Begins a file with sections of these lengths, under a name that is that of `path` with an
    /// ending.
    pub(in crate::storage) fn begin(
        path: &Path,
        lengths: Vec<usize>,
        disk: &'a Disk,
    ) -> Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = disk.file(DiskOp::Write, &partial, || File::create(&partial))?;
        let layout = Layout::of(lengths);
        // The place of the header, which is written last.
        let buffer = vec![0; layout.header_length().next_multiple_of(BLOCK)];
        Ok(Self {
            partial,
            file,
            disk,
            buffer,
            layout,
            is_finished: false,
        })
    }

    /// Writes the next bytes of the sections, in their order.
    pub(in crate::storage) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(BUFFER) {
            self.layout.add(piece, &mut self.buffer);
            if self.buffer.len() >= BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Self {
            partial,
            file,
            buffer,
            ..
        } = self;
        self.disk
            .write(partial, buffer, |bytes| file.write_all(bytes))?;
        buffer.clear();
        Ok(())
    }

    /// Ends the file, durably. It gets the name that `path` makes of its stamp.
    pub(in crate::storage) fn finish(mut self, path: impl Fn(Stamp) -> PathBuf) -> Result<Stamp> {
        debug_assert_eq!(self.layout.complete, self.layout.lengths.len());
        let (header, stamp) = self.layout.header();
        self.buffer.extend(second_copy(&header, stamp));
        self.flush()?;
        let Self {
            partial,
            file,
            disk,
            ..
        } = &mut self;
        disk.write(partial, &header, |bytes| {
            file.rewind()?;
            file.write_all(bytes)
        })?;
        disk.file(DiskOp::Sync, partial, || file.sync_all())?;
        let path = path(stamp);
        disk.file(DiskOp::Rename, &path, || fs::rename(&*partial, &path))?;
        // A file whose name is not durable is removed too.
        partial.clone_from(&path);
        sync_dir(parent_of(&path), disk)?;
        self.is_finished = true;
        Ok(stamp)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Writes a file of sections, durably: first under a name that is that of `begun` with an ending,
/// and once it is complete under the one that `path` makes of its stamp.
pub(in crate::storage) fn write(
    begun: &Path,
    path: impl Fn(Stamp) -> PathBuf,
    sections: &[&[u8]],
    disk: &Disk,
) -> Result<Stamp> {
    let lengths = sections.iter().map(|section| section.len()).collect();
    let mut writer = Writer::begin(begun, lengths, disk)?;
    for section in sections {
        writer.write(section)?;
    }
    writer.finish(path)
}

/// The bytes of a file of these sections.
#[cfg(any(test, fuzzing))]
pub(crate) fn segment_file_bytes(sections: &[&[u8]]) -> Vec<u8> {
    let mut layout = Layout::of(sections.iter().map(|section| section.len()).collect());
    let mut bytes = vec![0; layout.header_length().next_multiple_of(BLOCK)];
    for section in sections {
        layout.add(section, &mut bytes);
    }
    let (header, stamp) = layout.header();
    bytes[..header.len()].copy_from_slice(&header);
    bytes.extend(second_copy(&header, stamp));
    bytes
}
