//! Checkpoints: files of all entries of a database in the order of their keys, in frames.
//!
//! ```text
//! bytes 0-7   the letters AFCHECK1
//!             frames; each puts entries, those of the catalogue before the records
//!             a frame without entries, which ends the file
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::ops::{Bound, Range};

use sled::IVec;

use super::frame::{self, CATALOG, Change, Found, FrameWriter, RECORDS};
use crate::model::error::Result;
use crate::storage::damaged;

const MAGIC: &[u8; 8] = b"AFCHECK1";
/// Bytes of entries from which a frame ends. A frame is read from its beginning to find an entry.
const FRAME: usize = 8 << 10;

/// Where the bytes of a checkpoint lie.
#[derive(Debug)]
enum Bytes {
    Mapped(memmap2::Mmap),
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "files of no length cannot be mapped")
    )]
    Owned(Vec<u8>),
}

/// A database as it was at one time.
#[derive(Debug)]
pub(super) struct Checkpoint {
    bytes: Bytes,
    /// The entries of each frame.
    frames: Vec<Range<usize>>,
    /// Number of commits before the file was begun.
    pub(super) number: u64,
}

/// The place of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    frame: usize,
    /// Offset in the file.
    at: usize,
}

/// Writes the file of all entries of a database after so many commits. Returns its length; `None`
/// where `stop` told to stop.
pub(super) fn write(
    out: impl Write,
    catalog: &sled::Tree,
    records: &sled::Tree,
    number: u64,
    stop: &dyn Fn() -> bool,
) -> sled::Result<Option<u64>> {
    let mut out = io::BufWriter::with_capacity(1 << 20, out);
    out.write_all(MAGIC)?;
    let mut length = MAGIC.len();
    let mut frame = FrameWriter::new();
    for (tree, entries) in [(CATALOG, catalog.iter()), (RECORDS, records.iter())] {
        for entry in entries {
            let (key, value) = entry?;
            frame.put(Change {
                tree,
                key: &key,
                value: Some(&value),
            });
            if frame.len() >= FRAME {
                if stop() {
                    return Ok(None);
                }
                let bytes = std::mem::replace(&mut frame, FrameWriter::new()).finish(number);
                length += bytes.len();
                out.write_all(&bytes)?;
            }
        }
    }
    if frame.len() > 0 {
        let bytes = frame.finish(number);
        length += bytes.len();
        out.write_all(&bytes)?;
    }
    let end = FrameWriter::new().finish(number);
    length += end.len();
    out.write_all(&end)?;
    out.flush()?;
    Ok(Some(length as u64))
}

/// A key of a tree as a whole: that of the catalogue comes before all of the records.
type Key<'a> = (u8, &'a [u8]);

impl Checkpoint {
    /// Reads a file that is complete and that nobody changes or cuts any more.
    pub(super) fn open(file: &File) -> Result<Self> {
        // SAFETY: a complete checkpoint is never changed, and removed as a whole. A program that
        // changes it can change what is read or end this process with a bus error, as for segment
        // files. Bytes have no invalid values.
        #[expect(unsafe_code, reason = "mapping a file is unsafe: see above")]
        let mapped = unsafe { memmap2::Mmap::map(file) };
        let mapped = mapped.map_err(|error| broken(&format!("it cannot be mapped: {error}")))?;
        Self::read(Bytes::Mapped(mapped))
    }

    fn read(bytes: Bytes) -> Result<Self> {
        let mut checkpoint = Self {
            bytes,
            frames: Vec::new(),
            number: 0,
        };
        let all = checkpoint.bytes();
        if all.first_chunk() != Some(MAGIC) {
            return Err(broken("it is no checkpoint, or one of another version"));
        }
        let (mut frames, mut at) = (Vec::new(), MAGIC.len());
        let number = loop {
            match frame::read(all, at) {
                Found::Frame(frame) if frame.changes.is_empty() => break frame.number,
                Found::Frame(frame) => {
                    at = frame.changes.end;
                    frames.push(frame.changes);
                }
                Found::Part => return Err(broken("it is cut short")),
                Found::Damaged => return Err(broken("a checksum does not fit")),
            }
        };
        let mut last: Option<Key<'_>> = None;
        for frame in &frames {
            for change in frame::changes(&all[frame.clone()]) {
                let key = (change.tree, change.key);
                if last.is_some_and(|last| last >= key) || change.value.is_none() {
                    return Err(broken("its keys are not in order"));
                }
                last = Some(key);
            }
        }
        (checkpoint.frames, checkpoint.number) = (frames, number);
        Ok(checkpoint)
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(mapped) => mapped,
            Bytes::Owned(bytes) => bytes,
        }
    }

    /// The entry at a place, and the place after it.
    pub(super) fn entry(&self, cursor: Cursor) -> Option<(Change<'_>, Cursor)> {
        let Cursor { mut frame, mut at } = cursor;
        loop {
            let range = self.frames.get(frame)?;
            if let Some((change, end)) = frame::change_at(&self.bytes()[..range.end], at) {
                return Some((change, Cursor { frame, at: end }));
            }
            frame += 1;
            at = self.frames.get(frame)?.start;
        }
    }

    /// The place of the first entry of a tree at or after a bound.
    pub(super) fn seek(&self, tree: u8, bound: Bound<&[u8]>) -> Cursor {
        let key = match bound {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let is_before = |change: &Change<'_>| {
            let this = (change.tree, change.key);
            match bound {
                Bound::Excluded(_) => this <= (tree, key),
                _ => this < (tree, key),
            }
        };
        let first_of = |frame: &Range<usize>| {
            frame::change_at(&self.bytes()[..frame.end], frame.start).map(|(change, _)| change)
        };
        let after = self
            .frames
            .partition_point(|frame| first_of(frame).is_some_and(|first| is_before(&first)));
        let frame = after.saturating_sub(1);
        let mut cursor = Cursor {
            frame,
            at: self.frames.get(frame).map_or(0, |range| range.start),
        };
        while let Some((change, next)) = self.entry(cursor)
            && is_before(&change)
        {
            cursor = next;
        }
        cursor
    }

    /// The value of a key.
    pub(super) fn get(&self, tree: u8, key: &[u8]) -> Option<IVec> {
        let (change, _) = self.entry(self.seek(tree, Bound::Included(key)))?;
        (change.tree == tree && change.key == key)
            .then(|| change.value.map(IVec::from))
            .flatten()
    }
}

fn broken(reason: &str) -> crate::Error {
    damaged("a checkpoint of the database", reason)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The checkpoint of some entries.
    pub(in crate::storage::replica) fn checkpoint_of(entries: &[(u8, &[u8], &[u8])]) -> Checkpoint {
        Checkpoint::read(Bytes::Owned(bytes_of(entries))).expect("read")
    }

    fn bytes_of(entries: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
        let db = sled::Config::new().temporary(true).open().expect("opened");
        let trees = ["catalog", "records"].map(|name| db.open_tree(name).expect("opened"));
        for (tree, key, value) in entries {
            trees[usize::from(*tree)].insert(key, *value).expect("put");
        }
        let mut bytes = Vec::new();
        let length = write(&mut bytes, &trees[0], &trees[1], 5, &|| false).expect("written");
        assert_eq!(length, Some(bytes.len() as u64));
        bytes
    }

    #[test]
    fn every_entry_is_found_and_nothing_else() {
        // Large values, so that there are many frames.
        let value = vec![3; 700];
        let keys: Vec<[u8; 4]> = (0..200_u32).map(|i| (i * 2).to_be_bytes()).collect();
        let mut entries: Vec<(u8, &[u8], &[u8])> = vec![(CATALOG, b"\xff", b"last")];
        entries.extend(keys.iter().map(|key| (RECORDS, &key[..], &value[..])));
        let checkpoint = checkpoint_of(&entries);
        assert!(checkpoint.frames.len() > 10 && checkpoint.number == 5);
        for (tree, key, value) in entries {
            assert_eq!(checkpoint.get(tree, key).as_deref(), Some(value));
        }
        for i in 0..401_u32 {
            let key = i.to_be_bytes();
            let there = i % 2 == 0 && i < 400;
            assert_eq!(checkpoint.get(RECORDS, &key).is_some(), there, "{i}");
            assert_eq!(checkpoint.get(CATALOG, &key), None);
            let next = |bound| {
                let (change, _) = checkpoint.entry(checkpoint.seek(RECORDS, bound))?;
                Some(change.key.to_vec())
            };
            let at = |i: u32| (i < 400).then(|| i.to_be_bytes().to_vec());
            assert_eq!(next(Bound::Included(&key)), at(i.next_multiple_of(2)));
            assert_eq!(next(Bound::Excluded(&key)), at((i + 1).next_multiple_of(2)));
        }
        assert!(checkpoint_of(&[]).get(RECORDS, b"").is_none());
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let bytes = bytes_of(&[(CATALOG, b"a", b"1"), (RECORDS, b"b", b"2")]);
        for end in 0..bytes.len() {
            assert!(Checkpoint::read(Bytes::Owned(bytes[..end].to_vec())).is_err());
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 16;
            assert!(
                Checkpoint::read(Bytes::Owned(changed)).is_err(),
                "byte {at}"
            );
        }
        let swapped = {
            let mut frame = FrameWriter::new();
            for key in [b"b", b"a"] {
                frame.put(Change {
                    tree: RECORDS,
                    key,
                    value: Some(b""),
                });
            }
            let end = FrameWriter::new().finish(1);
            [&MAGIC[..], &frame.finish(1), &end].concat()
        };
        assert!(Checkpoint::read(Bytes::Owned(swapped)).is_err());
    }
}
