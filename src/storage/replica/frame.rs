//! Frames: changes of a database, with a checksum.
//!
//! ```text
//! bytes 0-3    length of the changes in bytes, u32 little-endian
//! bytes 4-7    CRC-32 of bytes 8 to the end, little-endian
//! bytes 8-15   number of commits so far, u64 little-endian
//!              the changes, one after another:
//! byte  0      number of the tree: 0 catalogue, 1 records; and 128 where the key is removed
//! bytes 1-4    length of the key, u32 little-endian
//! bytes 5-8    length of the value, u32 little-endian
//!              the key, the value
//! ```

use std::ops::Range;

const HEADER: usize = 16;
const CHANGE_HEADER: usize = 9;
const REMOVED: u8 = 128;
/// Most bytes of changes in a frame that is believed.
pub(super) const MOST: usize = 1 << 30;

/// The trees of a database, by their numbers in frames.
pub(super) const CATALOG: u8 = 0;
pub(super) const RECORDS: u8 = 1;

/// A change of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub(super) tree: u8,
    pub(super) key: &'a [u8],
    /// The new value; `None` where the key is removed.
    pub(super) value: Option<&'a [u8]>,
}

/// A frame that is being put together.
pub(super) struct FrameWriter(Vec<u8>);

impl FrameWriter {
    pub(super) fn new() -> Self {
        Self(vec![0; HEADER])
    }

    pub(super) fn put(&mut self, change: Change<'_>) {
        let (tree, value) = match change.value {
            Some(value) => (change.tree, value),
            None => (change.tree | REMOVED, &[][..]),
        };
        self.0.push(tree);
        self.0.extend((change.key.len() as u32).to_le_bytes());
        self.0.extend((value.len() as u32).to_le_bytes());
        self.0.extend(change.key);
        self.0.extend(value);
    }

    /// Bytes of the changes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len() - HEADER
    }

    /// The bytes of the frame after so many commits.
    pub(super) fn finish(mut self, number: u64) -> Vec<u8> {
        let length = self.len() as u32;
        self.0[8..HEADER].copy_from_slice(&number.to_le_bytes());
        let sum = crc32fast::hash(&self.0[8..]);
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0[4..8].copy_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// A frame that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Number of commits so far.
    pub(super) number: u64,
    /// Where its changes lie in the bytes that were read.
    pub(super) changes: Range<usize>,
}

/// What lies at a place where a frame begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A sound frame.
    Frame(Frame),
    /// The beginning of one.
    Part,
    /// Bytes whose checksum does not fit.
    Damaged,
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Reads the frame that begins at `at`.
pub(super) fn read(bytes: &[u8], at: usize) -> Found {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(header) = rest.first_chunk::<HEADER>() else {
        return Found::Part;
    };
    let length = number_at(header, 0).map_or(usize::MAX, |length| length as usize);
    if length > MOST {
        return Found::Damaged;
    }
    let Some(framed) = rest.get(8..HEADER + length) else {
        return Found::Part;
    };
    let changes = at + HEADER..at + HEADER + length;
    if Some(crc32fast::hash(framed)) != number_at(header, 4) || !are_whole(&bytes[changes.clone()])
    {
        return Found::Damaged;
    }
    let mut number = [0; 8];
    number.copy_from_slice(&header[8..]);
    Found::Frame(Frame {
        number: u64::from_le_bytes(number),
        changes,
    })
}

/// Whether bytes are whole changes of the two trees.
fn are_whole(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        match change_at(bytes, at) {
            Some((change, end)) if change.tree <= RECORDS => at = end,
            _ => return false,
        }
    }
    true
}

/// The change that begins at `at`, and where the next one begins; `None` at the end.
pub(super) fn change_at(bytes: &[u8], at: usize) -> Option<(Change<'_>, usize)> {
    let tree = *bytes.get(at)?;
    let key_length = number_at(bytes, at + 1)? as usize;
    let value_length = number_at(bytes, at + 5)? as usize;
    let key_from = at + CHANGE_HEADER;
    let key = bytes.get(key_from..key_from.checked_add(key_length)?)?;
    let value_from = key_from + key_length;
    let end = value_from.checked_add(value_length)?;
    let value = bytes.get(value_from..end)?;
    let change = Change {
        tree: tree & !REMOVED,
        key,
        value: (tree & REMOVED == 0).then_some(value),
    };
    Some((change, end))
}

/// The changes of a frame.
pub(super) fn changes(bytes: &[u8]) -> impl Iterator<Item = Change<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (change, end) = change_at(bytes, at)?;
        at = end;
        Some(change)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_changes() -> Vec<Change<'static>> {
        let change = |tree, key, value| Change { tree, key, value };
        vec![
            change(CATALOG, &b"c/a"[..], Some(&b"settings"[..])),
            change(RECORDS, b"", Some(b"")),
            change(RECORDS, b"gone", None),
        ]
    }

    fn some_frame() -> Vec<u8> {
        let mut writer = FrameWriter::new();
        for change in some_changes() {
            writer.put(change);
        }
        writer.finish(7)
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = [some_frame(), FrameWriter::new().finish(8)].concat();
        let Found::Frame(first) = read(&bytes, 0) else {
            panic!("no frame")
        };
        assert_eq!(first.number, 7);
        let found: Vec<_> = changes(&bytes[first.changes.clone()]).collect();
        assert_eq!(found, some_changes());
        let Found::Frame(second) = read(&bytes, first.changes.end) else {
            panic!("no frame")
        };
        assert_eq!((second.number, second.changes.len()), (8, 0));
        assert_eq!(read(&bytes, second.changes.end), Found::Part);
    }

    #[test]
    fn a_frame_that_is_cut_or_changed_is_not_taken_for_one() {
        let bytes = some_frame();
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end], 0), Found::Part, "cut at {end}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let found = read(&changed, 0);
                assert!(!matches!(found, Found::Frame(_)), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_damage() {
        for (key, value) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX), (3, 1)] {
            let mut writer = FrameWriter::new();
            writer.0.push(RECORDS);
            writer.0.extend(key.to_le_bytes());
            writer.0.extend(value.to_le_bytes());
            writer.0.extend(b"abc");
            assert_eq!(read(&writer.finish(1), 0), Found::Damaged);
        }
        let mut bytes = some_frame();
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&bytes, 0), Found::Damaged);
    }
}
