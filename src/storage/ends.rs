//! The ends of items that have one, in the order in which they come.
//!
//! An end stands in the record of its item, and beside it under a key of its own, so that those which
//! have come are found without reading the items. A key may stay behind when its item is removed or
//! replaced; it goes when its time comes.

use super::damaged;
use super::tables::{META, Tables};
use super::transaction::Transaction;
use crate::model::error::Result;

/// The beginning of the keys: then the end in milliseconds since 1970, and the slot, in hexadecimal.
pub(super) const ENDS: &str = "end/";

fn key(end: i64, slot: u32) -> String {
    // Shifted, so that times before 1970 come first.
    let shifted = (end as u64) ^ (1 << 63);
    format!("{ENDS}{shifted:016x}/{slot:08x}")
}

fn parse(key: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(ENDS)?;
    let (end, slot) = text.split_once('/')?;
    let shifted = u64::from_str_radix(end, 16).ok()?;
    let slot = u32::from_str_radix(slot, 16).ok()?;
    Some(((shifted ^ (1 << 63)) as i64, slot))
}

impl Tables {
    /// The ends that are stored, in milliseconds since 1970, with the slots of their items.
    pub(crate) fn ends(&self) -> Result<Vec<(i64, u32)>> {
        let mut ends = Vec::new();
        for entry in self.prefixed(ENDS) {
            let (key, _) = entry?;
            let end = parse(&key).ok_or_else(|| damaged("the list of ends of items", "a key"))?;
            ends.push(end);
        }
        Ok(ends)
    }
}

impl Transaction<'_> {
    /// Stores that the item in a slot ends at a time, in milliseconds since 1970.
    pub(super) fn put_end(&mut self, end: i64, slot: u32) {
        self.batch(META).insert(key(end, slot).as_bytes(), &[]);
    }

    /// Removes an end that has come.
    pub(crate) fn remove_end(&mut self, end: i64, slot: u32) {
        self.batch(META).remove(key(end, slot).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_ends() {
        let ends = [
            (i64::MIN, 3),
            (-1, 9),
            (0, 0),
            (1, 2),
            (1, 10),
            (i64::MAX, u32::MAX),
        ];
        let keys: Vec<String> = ends.iter().map(|(end, slot)| key(*end, *slot)).collect();
        assert!(keys.is_sorted());
        for (key, end) in keys.iter().zip(ends) {
            assert_eq!(parse(key.as_bytes()), Some(end));
        }
        for wrong in ["end/", "end/12", "end/x/1", "other/1/1"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
