//! External ids by slot, which every search reads and one writer sets, without a lock. The ids of
//! the segment file of ids are read from it; newer ones are in memory.

use std::sync::OnceLock;

use crate::model::error::{Error, Result};
use crate::storage::SegmentFile;

/// Number of slots in a page.
const PAGE_SLOTS: usize = 4096;

type Page = Box<[OnceLock<Box<str>>]>;

/// The ids of all slots. The ids in memory are in pages; a page is allocated when the first of its
/// slots is named.
#[derive(Default)]
pub(super) struct Ids {
    pages: boxcar::Vec<OnceLock<Page>>,
    /// The ids in the segment file of ids, where the collection was opened from segment files.
    stored: Option<StoredIds>,
}

/// The segment file of ids. It has three sections, all little-endian: the slots, increasing
/// (`u32`); the offset of each slot's id in the bytes, and the end of the last one (`u32`); the
/// bytes.
#[derive(Debug)]
pub(super) struct StoredIds(SegmentFile);

/// Section of the slots.
const SLOTS: usize = 0;
/// Section of the offsets of ids.
const STARTS: usize = 1;
/// Section of the bytes of ids.
const BYTES: usize = 2;

impl StoredIds {
    /// The sections of a file of these ids; `None` when their bytes are too many for `u32` offsets.
    pub(super) fn sections<'a>(ids: impl Iterator<Item = (u32, &'a str)>) -> Option<[Vec<u8>; 3]> {
        let (mut slots, mut starts, mut bytes) = (Vec::new(), vec![0], Vec::new());
        for (slot, id) in ids {
            slots.push(slot);
            bytes.extend_from_slice(id.as_bytes());
            starts.push(u32::try_from(bytes.len()).ok()?);
        }
        Some([
            bytemuck::cast_slice(&slots).to_vec(),
            bytemuck::cast_slice(&starts).to_vec(),
            bytes,
        ])
    }

    /// Checks a file of ids.
    pub(super) fn open(file: SegmentFile) -> Result<Self> {
        let damaged = |reason: &str| Error::Damaged {
            part: file.name(),
            reason: reason.to_owned(),
        };
        if !(0..=BYTES).all(|section| file.verify(section, 0..file.section(section).len())) {
            return Err(damaged("a checksum does not fit"));
        }
        let words = |section| {
            bytemuck::try_cast_slice::<u8, u32>(file.section(section)).unwrap_or_default()
        };
        let (slots, starts, bytes) = (words(SLOTS), words(STARTS), file.section(BYTES));
        let fit = starts.len() == slots.len() + 1
            && starts
                .last()
                .is_some_and(|end| *end as usize == bytes.len())
            && starts.is_sorted()
            && slots.is_sorted_by(|a, b| a < b);
        if fit {
            Ok(Self(file))
        } else {
            Err(damaged("its sections do not fit together"))
        }
    }

    fn words(&self, section: usize) -> &[u32] {
        bytemuck::try_cast_slice(self.0.section(section)).unwrap_or_default()
    }

    /// The id at a position among the slots.
    fn at(&self, position: usize) -> Option<&str> {
        let (from, to) = (
            *self.words(STARTS).get(position)?,
            *self.words(STARTS).get(position + 1)?,
        );
        std::str::from_utf8(self.0.section(BYTES).get(from as usize..to as usize)?).ok()
    }

    fn get(&self, slot: u32) -> Option<&str> {
        let slots = self.words(SLOTS);
        // Where no slot is missing, the position of a slot is its difference from the first.
        let guess = slot.checked_sub(*slots.first()?)? as usize;
        let position = if slots.get(guess) == Some(&slot) {
            guess
        } else {
            slots.binary_search(&slot).ok()?
        };
        self.at(position)
    }

    /// Whether the file has the id of a slot.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.words(SLOTS).binary_search(&slot).is_ok()
    }

    /// All slots with their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.words(SLOTS)
            .iter()
            .enumerate()
            .filter_map(|(position, slot)| Some((*slot, self.at(position)?)))
    }
}

impl Ids {
    /// The ids of a segment file of ids.
    pub(super) fn stored(stored: StoredIds) -> Self {
        Self {
            pages: boxcar::Vec::new(),
            stored: Some(stored),
        }
    }

    /// Sets the id of a slot; only the first call for a slot has an effect.
    pub(super) fn set(&self, slot: u32, id: &str) {
        let (page, offset) = (slot as usize / PAGE_SLOTS, slot as usize % PAGE_SLOTS);
        while self.pages.count() <= page {
            self.pages.push(OnceLock::new());
        }
        if let Some(page) = self.pages.get(page) {
            let page = page.get_or_init(|| (0..PAGE_SLOTS).map(|_| OnceLock::new()).collect());
            let _ = page[offset].set(id.into());
        }
    }

    /// The id of a slot; `None` where none was set.
    pub(super) fn get(&self, slot: u32) -> Option<&str> {
        let page = self
            .pages
            .get(slot as usize / PAGE_SLOTS)
            .and_then(OnceLock::get);
        let in_memory = page
            .and_then(|page| page[slot as usize % PAGE_SLOTS].get())
            .map(|id| &**id);
        in_memory.or_else(|| self.stored.as_ref()?.get(slot))
    }

    /// Size of the sections of the segment file of ids, in bytes.
    pub(super) fn mapped_bytes(&self) -> usize {
        let stored = |stored: &StoredIds| {
            (0..=BYTES)
                .map(|section| stored.0.section(section).len())
                .sum()
        };
        self.stored.as_ref().map_or(0, stored)
    }

    /// Memory of the ids in bytes, approximately.
    pub(super) fn memory_bytes(&self) -> usize {
        let ids = |page: &Page| {
            page.iter()
                .filter_map(|id| id.get().map(|id| id.len()))
                .sum::<usize>()
        };
        let page = |page: &Page| size_of_val(&**page) + ids(page);
        self.pages
            .iter()
            .map(|(_, p)| p.get().map_or(0, page))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::segment_file_bytes;

    fn stored(sections: &[Vec<u8>; 3]) -> Result<StoredIds> {
        let sections: Vec<&[u8]> = sections.iter().map(Vec::as_slice).collect();
        StoredIds::open(SegmentFile::in_memory(&segment_file_bytes(&sections))?)
    }

    #[test]
    fn stored_ids_are_found_and_fresh_ones_beside_them() {
        let all: Vec<(u32, String)> = [3, 4, 5, 90, 91, 5000]
            .map(|slot| (slot, format!("é{slot}")))
            .into();
        let sections =
            StoredIds::sections(all.iter().map(|(slot, id)| (*slot, id.as_str()))).expect("few");
        let ids = Ids::stored(stored(&sections).expect("sound"));
        ids.set(6, "fresh");
        for (slot, id) in &all {
            assert_eq!(ids.get(*slot), Some(id.as_str()));
        }
        assert_eq!(ids.get(6), Some("fresh"));
        for slot in [0, 2, 7, 89, 92, u32::MAX] {
            assert_eq!(ids.get(slot), None);
        }
        assert!(
            stored(&StoredIds::sections(std::iter::empty()).expect("none"))
                .expect("sound")
                .get(0)
                .is_none()
        );
    }

    #[test]
    fn hostile_ids_are_refused_or_read_as_none() {
        let words = |words: &[u32]| {
            words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let bad = [
            [words(&[1, 2]), words(&[0, 1]), b"ab".to_vec()],
            [words(&[1, 2]), words(&[0, 1, 3]), b"ab".to_vec()],
            [words(&[1, 2]), words(&[0, 3, 2]), b"ab".to_vec()],
            [words(&[2, 2]), words(&[0, 1, 2]), b"ab".to_vec()],
            [vec![1, 0], words(&[0, 1, 2]), b"ab".to_vec()],
            [vec![], vec![], vec![]],
        ];
        for sections in &bad {
            assert!(stored(sections).is_err(), "{sections:?}");
        }
        let no_text = stored(&[words(&[1]), words(&[0, 1]), vec![0xff]]).expect("fits");
        assert_eq!((no_text.get(1), no_text.iter().count()), (None, 0));
    }

    #[test]
    fn slots_are_found_across_pages_and_gaps() {
        let ids = Ids::default();
        for slot in [0, 1, 4095, 4096, 50_000] {
            ids.set(slot, &format!("item {slot}"));
        }
        for slot in [0, 1, 4095, 4096, 50_000] {
            assert_eq!(ids.get(slot), Some(&*format!("item {slot}")));
        }
        for slot in [2, 20_000, 50_001, u32::MAX] {
            assert_eq!(ids.get(slot), None);
        }
    }
}
