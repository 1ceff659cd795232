//! The groups of a field: which value of it each item has, and which items have each value.

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringBitmap;
use serde_json::Value;

use super::Field;
use super::postings::{Class, Key};

/// The groups of one field. An item is of a group if the field leads to one value in it, which is a
/// text, a number or a boolean; any other item stands alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups {
    of: HashMap<u32, u32>,
    numbers: BTreeMap<Key, u32>,
    by_number: HashMap<u32, Group>,
    next: u32,
    ambiguous: RoaringBitmap,
}

/// The items with one value.
#[derive(Debug, Clone)]
struct Group {
    value: Value,
    members: RoaringBitmap,
}

impl Groups {
    /// Enters an item.
    pub(super) fn enter(&mut self, slot: u32, meta: &Value, field: &Field) {
        let reached = field.reach(meta);
        if reached.ambiguous {
            self.ambiguous.insert(slot);
        }
        let [value] = reached.values[..] else {
            return;
        };
        let Class::Key(key) = Class::of(value) else {
            return;
        };
        if key == Key::Null {
            return;
        }
        let number = *self.numbers.entry(key).or_insert_with(|| {
            let number = self.next;
            self.next += 1;
            number
        });
        self.of.insert(slot, number);
        let group = self.by_number.entry(number).or_insert_with(|| Group {
            value: value.clone(),
            members: RoaringBitmap::new(),
        });
        group.members.insert(slot);
    }

    /// Removes an item.
    pub(super) fn leave(&mut self, slot: u32) {
        self.ambiguous.remove(slot);
        let Some(number) = self.of.remove(&slot) else {
            return;
        };
        if let Some(group) = self.by_number.get_mut(&number) {
            group.members.remove(slot);
            if group.members.is_empty()
                && let Some(group) = self.by_number.remove(&number)
                && let Class::Key(key) = Class::of(&group.value)
            {
                self.numbers.remove(&key);
            }
        }
    }

    /// The number of the group of an item; `None` for one that stands alone.
    pub(crate) fn of(&self, slot: u32) -> Option<u32> {
        self.of.get(&slot).copied()
    }

    /// The value that the members of a group have.
    pub(crate) fn value(&self, number: u32) -> Option<&Value> {
        self.by_number.get(&number).map(|group| &group.value)
    }

    /// The items of a group.
    pub(crate) fn members(&self, number: u32) -> Option<&RoaringBitmap> {
        self.by_number.get(&number).map(|group| &group.members)
    }

    /// One of some slots in which the field has two meanings.
    pub(crate) fn ambiguous_among(&self, slots: &RoaringBitmap) -> Option<u32> {
        (&self.ambiguous & slots).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_follow_what_comes_and_goes() {
        let field = Field::Name("doc".into());
        let mut groups = Groups::default();
        for (slot, meta) in [
            (0, json!({"doc": "a"})),
            (1, json!({"doc": 1})),
            (2, json!({"doc": 1.0})),
            (3, json!({"doc": ["a"]})),
            (4, json!({"doc": null})),
            (5, json!({})),
            (6, json!({"doc": "a"})),
        ] {
            groups.enter(slot, &meta, &field);
        }
        assert_eq!(groups.of(1), groups.of(2), "1 and 1.0 are one value");
        assert_eq!([3, 4, 5].map(|slot| groups.of(slot)), [None; 3]);
        let a = groups.of(0).expect("a group");
        assert_eq!(
            (groups.of(6), groups.value(a)),
            (Some(a), Some(&json!("a")))
        );
        groups.leave(0);
        assert_eq!(groups.members(a).map(RoaringBitmap::len), Some(1));
        groups.leave(6);
        assert!(groups.members(a).is_none() && groups.of(6).is_none());
        groups.enter(7, &json!({"doc": "a"}), &field);
        let again = groups.of(7).expect("a group");
        assert_eq!(groups.value(again), Some(&json!("a")));
    }
}
