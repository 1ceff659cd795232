//! External ids by slot: read by every search, written by one writer, without a lock. Those of an
//! image lie there; others are in memory.

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::storage::SegmentFile;

/// Slots a page.
const PAGE: usize = 4096;

type Page = Box<[OnceLock<Box<str>>]>;

/// A table that grows by pages; pages whose slots were all gone when the store was opened are never
/// made.
#[derive(Default)]
pub(super) struct Ids {
    pages: boxcar::Vec<OnceLock<Page>>,
    /// Those that were there when the collection was opened, where an image has them.
    stored: Option<StoredIds>,
}

/// Ids as they lie in an image, all little-endian: the slots, increasing (u32); where each slot's
/// id begins among the bytes, and where the last one ends (u32); the bytes.
#[derive(Debug)]
pub(super) struct StoredIds(SegmentFile);

const SLOTS: usize = 0;
const STARTS: usize = 1;
const BYTES: usize = 2;

impl StoredIds {
    /// The parts of an image of ids; `None` when they are too many for one.
    pub(super) fn parts<'a>(ids: impl Iterator<Item = (u32, &'a str)>) -> Option<[Vec<u8>; 3]> {
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

    /// Checks an image of ids.
    pub(super) fn open(image: SegmentFile) -> Result<Self> {
        let damaged = |reason: &str| Error::Damaged {
            part: image.name(),
            reason: reason.to_owned(),
        };
        if !(0..=BYTES).all(|part| image.verify(part, 0..image.section(part).len())) {
            return Err(damaged("a checksum does not fit"));
        }
        let words =
            |part| bytemuck::try_cast_slice::<u8, u32>(image.section(part)).unwrap_or_default();
        let (slots, starts, bytes) = (words(SLOTS), words(STARTS), image.section(BYTES));
        let fit = starts.len() == slots.len() + 1
            && starts
                .last()
                .is_some_and(|end| *end as usize == bytes.len())
            && starts.is_sorted()
            && slots.is_sorted_by(|a, b| a < b);
        if fit {
            Ok(Self(image))
        } else {
            Err(damaged("its parts do not fit together"))
        }
    }

    fn words(&self, part: usize) -> &[u32] {
        bytemuck::try_cast_slice(self.0.section(part)).unwrap_or_default()
    }

    fn at(&self, place: usize) -> Option<&str> {
        let (from, to) = (
            *self.words(STARTS).get(place)?,
            *self.words(STARTS).get(place + 1)?,
        );
        std::str::from_utf8(self.0.section(BYTES).get(from as usize..to as usize)?).ok()
    }

    fn get(&self, slot: u32) -> Option<&str> {
        let slots = self.words(SLOTS);
        // Where no slot is missing it is at its distance from the first.
        let guess = slot.checked_sub(*slots.first()?)? as usize;
        let place = if slots.get(guess) == Some(&slot) {
            guess
        } else {
            slots.binary_search(&slot).ok()?
        };
        self.at(place)
    }

    /// Whether a slot is among them.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.words(SLOTS).binary_search(&slot).is_ok()
    }

    /// All slots with their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.words(SLOTS)
            .iter()
            .enumerate()
            .filter_map(|(place, slot)| Some((*slot, self.at(place)?)))
    }
}

impl Ids {
    /// With the ids of an image.
    pub(super) fn stored(stored: StoredIds) -> Self {
        Self {
            pages: boxcar::Vec::new(),
            stored: Some(stored),
        }
    }

    /// Names a slot; a slot is named once.
    pub(super) fn set(&self, slot: u32, id: &str) {
        let (page, place) = (slot as usize / PAGE, slot as usize % PAGE);
        while self.pages.count() <= page {
            self.pages.push(OnceLock::new());
        }
        if let Some(page) = self.pages.get(page) {
            let page = page.get_or_init(|| (0..PAGE).map(|_| OnceLock::new()).collect());
            let _ = page[place].set(id.into());
        }
    }

    /// The id of a slot that was named.
    pub(super) fn get(&self, slot: u32) -> Option<&str> {
        let page = self.pages.get(slot as usize / PAGE).and_then(OnceLock::get);
        let held = page
            .and_then(|page| page[slot as usize % PAGE].get())
            .map(|id| &**id);
        held.or_else(|| self.stored.as_ref()?.get(slot))
    }

    /// Bytes of the image.
    pub(super) fn mapped_bytes(&self) -> usize {
        let stored =
            |stored: &StoredIds| (0..=BYTES).map(|part| stored.0.section(part).len()).sum();
        self.stored.as_ref().map_or(0, stored)
    }

    /// Bytes of memory, about.
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

    fn stored(parts: &[Vec<u8>; 3]) -> Result<StoredIds> {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        StoredIds::open(SegmentFile::in_memory(&segment_file_bytes(&parts))?)
    }

    #[test]
    fn stored_ids_are_found_and_fresh_ones_beside_them() {
        let all: Vec<(u32, String)> = [3, 4, 5, 90, 91, 5000]
            .map(|slot| (slot, format!("é{slot}")))
            .into();
        let parts =
            StoredIds::parts(all.iter().map(|(slot, id)| (*slot, id.as_str()))).expect("few");
        let ids = Ids::stored(stored(&parts).expect("sound"));
        ids.set(6, "fresh");
        for (slot, id) in &all {
            assert_eq!(ids.get(*slot), Some(id.as_str()));
        }
        assert_eq!(ids.get(6), Some("fresh"));
        for slot in [0, 2, 7, 89, 92, u32::MAX] {
            assert_eq!(ids.get(slot), None);
        }
        assert!(
            stored(&StoredIds::parts(std::iter::empty()).expect("none"))
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
        for parts in &bad {
            assert!(stored(parts).is_err(), "{parts:?}");
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
