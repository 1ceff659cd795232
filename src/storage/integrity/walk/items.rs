//! The walk through items, their vectors and ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Chunks, State, Walk, put, remove};
use crate::storage::integrity::{Edit, Place, Remedy};
use crate::storage::records::ItemRecord;
use crate::storage::tables::{IDS, ITEMS, NEXT_SLOT, REMOVED, VECTORS, split_key};

/// A slot in which something is stored.
#[derive(Default)]
struct StoredSlot {
    /// The id in the item's record.
    id: Option<String>,
    record: State,
    vector: State,
}

/// The items by what the tables of records and vectors say of them.
#[derive(Default)]
struct Items {
    /// Slots of sound items, by id.
    live: BTreeMap<Arc<str>, u32>,
    /// Slots of items that cannot be used.
    broken: BTreeMap<u32, Broken>,
    /// All other slots: with the id of the sound item, or `None` where the slot cannot be read.
    other: BTreeMap<u32, Option<Arc<str>>>,
}

struct Broken {
    id: Option<String>,
    damage: String,
    /// The keys of the ids that stand for it.
    entries: Vec<Vec<u8>>,
}

impl Walk<'_> {
    /// Checks the items, their vectors and ids: an item that has a sound record and a sound vector
    /// is sound, and its id must stand for its slot.
    pub(super) fn items(&mut self) {
        let mut slots = BTreeMap::new();
        let are_read = self.records(&mut slots) & self.vectors(&mut slots);
        let end = self.file_vectors(&mut slots);
        let are_read = are_read && end.is_some();
        let last = slots.keys().next_back();
        let least = last.map_or(0, |slot| u64::from(*slot) + 1);
        let least = least.max(u64::from(end.unwrap_or_default()));
        if are_read {
            let mut items = Items::sort(slots);
            if let Some(named) = self.ids(&mut items) {
                self.missing_ids(&items, &named);
            }
            self.broken_items(items);
        }
        let read = self.tables.next_slot().map(u64::from);
        self.counter(NEXT_SLOT, read, least);
    }

    /// Reads the records of the items.
    fn records(&mut self, slots: &mut BTreeMap<u32, StoredSlot>) -> bool {
        let mut current: Option<(u32, Chunks)> = None;
        let is_read = self.table(ITEMS, |walk, key, value| {
            let Ok((slot, chunk)) = split_key(&key) else {
                return walk.find_stray(ITEMS, &key);
            };
            if let Some((before, chunks)) = current.take_if(|(before, _)| *before != slot) {
                slots.insert(before, walk.record(before, chunks));
            }
            let (_, chunks) = current.get_or_insert_with(|| (slot, Chunks::from(0)));
            chunks.add(chunk, &value);
        });
        if is_read && let Some((slot, chunks)) = current {
            slots.insert(slot, self.record(slot, chunks));
        }
        is_read
    }

    /// Checks the record of an item.
    fn record(&mut self, slot: u32, chunks: Chunks) -> StoredSlot {
        self.checked += 1;
        let mut stored = StoredSlot::default();
        let bytes = match chunks.finish() {
            None => return stored,
            Some(Err(damage)) => {
                stored.record = State::Damaged(damage);
                return stored;
            }
            Some(Ok(bytes)) => bytes,
        };
        let place = || Place::Item { slot, id: None };
        let (state, record) = self.state(place, ItemRecord::decode(&bytes, slot));
        stored.record = state;
        if let Some(record) = record {
            if let Some(damage) = (self.checks.item)(&record, slot) {
                stored.record = State::Damaged(damage);
            }
            stored.id = Some(record.id);
        }
        stored
    }

    /// Reads the vectors of the items in files. Gives the slot after the last that is in one, if they
    /// could be listed.
    fn file_vectors(&mut self, slots: &mut BTreeMap<u32, StoredSlot>) -> Option<u32> {
        let stored: RoaringBitmap = slots.keys().copied().collect();
        let files = match (self.checks.files)(&stored) {
            Ok(files) => files,
            Err(error) => {
                self.find_error(Place::File("the files of vectors".to_owned()), error);
                return None;
            }
        };
        for slot in &files.sound {
            self.checked += 1;
            if let Some(stored) = slots.get_mut(&slot) {
                stored.vector = State::Sound;
            }
        }
        for (slot, damage) in files.damaged {
            if let Some(stored) = slots.get_mut(&slot)
                && matches!(stored.vector, State::Missing)
            {
                stored.vector = State::Damaged(damage);
            }
        }
        for (name, damage) in files.problems {
            self.find(Place::File(name), damage, Remedy::RescueVectors);
        }
        Some(files.end)
    }

    /// Reads the vectors of the items in the table of vectors.
    fn vectors(&mut self, slots: &mut BTreeMap<u32, StoredSlot>) -> bool {
        let tables = self.tables;
        self.table(VECTORS, |walk, key, value| {
            let Ok(slot) = <[u8; 4]>::try_from(&*key).map(u32::from_be_bytes) else {
                return walk.find_stray(VECTORS, &key);
            };
            walk.checked += 1;
            let read = tables.read_item_vector(&value, slot);
            let (state, _) = walk.state(|| Place::Item { slot, id: None }, read);
            slots.entry(slot).or_default().vector = state;
        })
    }

    /// Compares the ids with the items: an id must stand for the slot of the item that has it.
    /// Gives the slots of the sound items whose ids were found, if all ids could be read.
    fn ids(&mut self, items: &mut Items) -> Option<BTreeSet<u32>> {
        let mut named = BTreeSet::new();
        let is_read = self.table(IDS, |walk, key, value| {
            // The entry, and the reference to its item.
            walk.checked += 2;
            let Ok(id) = std::str::from_utf8(&key).map(str::to_owned) else {
                return walk.find_stray(IDS, &key);
            };
            let slot = <[u8; 4]>::try_from(&*value).ok().map(u32::from_be_bytes);
            if let Some(right) = items.live.get(&*id).copied() {
                walk.id_of_item(&id, slot, right);
                named.insert(right);
            } else {
                walk.id_without_item(id, &key, slot, items);
            }
        });
        is_read.then_some(named)
    }

    /// Checks the entry of an id whose item is in the slot `right`.
    fn id_of_item(&mut self, id: &str, slot: Option<u32>, right: u32) {
        let damage = match slot {
            Some(slot) if slot == right => return,
            Some(slot) => format!("it stands for slot {slot}, and its item is in slot {right}"),
            None => "its slot number has a wrong length".to_owned(),
        };
        let edits = put(IDS, id.as_bytes(), &right.to_be_bytes());
        self.find(Place::Id(id.to_owned()), damage, Remedy::Rebuild(edits));
    }

    /// Notes an id that no sound item has.
    fn id_without_item(&mut self, id: String, key: &[u8], slot: Option<u32>, items: &mut Items) {
        let Some(slot) = slot else {
            let damage = "its slot number has a wrong length, and no item has this id";
            return self.find(Place::Id(id), damage, Remedy::Remove(remove(IDS, key)));
        };
        match items.other.get(&slot) {
            Some(None) => {}
            Some(Some(owner)) => {
                let damage = format!("its record belongs to the id {owner:?}");
                let place = Place::Item { slot, id: Some(id) };
                self.find(place, damage, Remedy::Remove(remove(IDS, key)));
            }
            None => {
                let broken = items.broken.entry(slot).or_insert_with(|| Broken {
                    id: None,
                    damage: "its record and its vector are missing".to_owned(),
                    entries: Vec::new(),
                });
                broken.id.get_or_insert(id);
                broken.entries.push(key.to_vec());
            }
        }
    }

    /// Notes the sound items whose ids have no entry.
    fn missing_ids(&mut self, items: &Items, named: &BTreeSet<u32>) {
        for (id, slot) in items.live.iter().filter(|(_, slot)| !named.contains(*slot)) {
            let edits = put(IDS, id.as_bytes(), &slot.to_be_bytes());
            let damage = format!("it is missing, and its item is in slot {slot}");
            self.find(Place::Id(id.to_string()), damage, Remedy::Rebuild(edits));
        }
    }

    /// Notes the items that cannot be used.
    fn broken_items(&mut self, items: Items) {
        for (slot, broken) in items.broken {
            let mut edits = vec![
                Edit::RemoveRecord {
                    table: ITEMS,
                    number: slot,
                },
                Edit::Remove {
                    table: VECTORS,
                    key: slot.to_be_bytes().to_vec(),
                },
                // A file may hold its vector.
                Edit::Put {
                    table: REMOVED,
                    key: slot.to_be_bytes().to_vec(),
                    value: Vec::new(),
                },
            ];
            let ids = broken.entries.into_iter();
            edits.extend(ids.map(|key| Edit::Remove { table: IDS, key }));
            let place = Place::Item {
                slot,
                id: broken.id,
            };
            self.find(place, broken.damage, Remedy::Remove(edits));
        }
    }
}

impl Items {
    /// Tells sound items from those that cannot be used. Of two items with one id the younger took
    /// the other's place.
    fn sort(slots: BTreeMap<u32, StoredSlot>) -> Self {
        let mut items = Self::default();
        for (slot, stored) in slots {
            let damage = match (stored.record, stored.vector) {
                (State::Unreadable, _) | (_, State::Unreadable) => {
                    items.other.insert(slot, None);
                    continue;
                }
                (State::Missing, _) => "its record is missing".to_owned(),
                (State::Damaged(damage), _) => format!("its record: {damage}"),
                (State::Sound, State::Missing) => "its vector is missing".to_owned(),
                (State::Sound, State::Damaged(damage)) => format!("its vector: {damage}"),
                (State::Sound, State::Sound) => {
                    let id: Arc<str> = stored.id.unwrap_or_default().into();
                    items.other.insert(slot, Some(Arc::clone(&id)));
                    if let Some(older) = items.live.insert(Arc::clone(&id), slot) {
                        items.other.remove(&older);
                        let damage = "a younger item has its id".to_owned();
                        items.add_broken(older, Some(id.to_string()), damage);
                    }
                    continue;
                }
            };
            items.add_broken(slot, stored.id, damage);
        }
        items
    }

    fn add_broken(&mut self, slot: u32, id: Option<String>, damage: String) {
        let broken = Broken {
            id,
            damage,
            entries: Vec::new(),
        };
        self.broken.insert(slot, broken);
    }
}
