//! External ids by slot, in memory: read by every search, written by one writer, without a lock.

use std::sync::OnceLock;

/// Slots a page.
const PAGE: usize = 4096;

type Page = Box<[OnceLock<Box<str>>]>;

/// A table that grows by pages; pages whose slots were all gone when the store was opened are never made.
#[derive(Default)]
pub(super) struct Ids {
    pages: boxcar::Vec<OnceLock<Page>>,
}

impl Ids {
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
        let page = self.pages.get(slot as usize / PAGE)?.get()?;
        page[slot as usize % PAGE].get().map(|id| &**id)
    }

    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let ids = |page: &Page| page.iter().filter_map(|id| id.get().map(|id| id.len())).sum::<usize>();
        let page = |page: &Page| size_of_val(&**page) + ids(page);
        self.pages.iter().map(|(_, p)| p.get().map_or(0, page)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
