//! The walk through a collection's tables that finds damage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sled::IVec;

use super::super::digest::{DIGESTED, TableDigests};
use super::super::precision::Precision;
use super::super::records::{ItemRecord, JudgementRecord, VersionRecord};
use super::super::tables::{
    ACTIVE, CHUNK, FORMAT, GRAPH, IDS, ITEMS, JUDGEMENTS, META, METRICS, NEXT_JUDGEMENT, NEXT_SLOT,
    NEXT_VERSION, QUERIES, REMOVED, Tables, VECTORS, chunk_key, entry_hash, segment_of, split_key,
};
use super::super::{codec, lock};
use super::{Checks, Edit, Finding, Integrity, Place, Remedy};
use crate::model::VersionId;
use crate::model::error::{Error, Result};

impl Tables {
    /// Reads every record once, and checks its checksum, that records agree with each other, and
    /// that the tables hold what was stored. Nobody may write meanwhile.
    pub(crate) fn check(&self, checks: &Checks<'_>) -> Integrity {
        let mut walk = Walk {
            tables: self,
            checks,
            checked: 0,
            findings: Vec::new(),
            found: TableDigests::default(),
            poisoned: false,
        };
        let next_slot = walk.items();
        walk.judgements();
        walk.versions();
        walk.graph(next_slot);
        walk.segment_files(next_slot);
        Integrity {
            checked: walk.checked,
            findings: walk.findings,
            found: walk.found,
        }
    }
}

struct Walk<'a> {
    tables: &'a Tables,
    checks: &'a Checks<'a>,
    checked: u64,
    findings: Vec<Finding>,
    /// Of the tables that were walked through so far.
    found: TableDigests,
    /// Whether it was found that the handle is poisoned, so that nothing more can be read.
    poisoned: bool,
}

/// What is known of a record.
#[derive(Debug, Default)]
enum State {
    #[default]
    Missing,
    Sound,
    Damaged(String),
    /// It cannot be read, but it is not damaged: there is a finding already.
    Unreadable,
}

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

/// A record that is put together from its chunks, in the order of their keys.
struct Chunks {
    bytes: Vec<u8>,
    first: u16,
    next: u32,
    /// Whether the last chunk was seen.
    is_complete: bool,
}

/// A metric version, put together from its chunks.
struct StoredVersion {
    number: u32,
    header: State,
    record: Option<VersionRecord>,
    metric: Chunks,
}

impl Chunks {
    fn from(first: u16) -> Self {
        Self {
            bytes: Vec::new(),
            first,
            next: u32::from(first),
            is_complete: false,
        }
    }

    /// Adds a chunk. Chunks after a gap or after the last one are ignored.
    fn add(&mut self, chunk: u16, value: &[u8]) {
        if !self.is_complete && u32::from(chunk) == self.next {
            self.bytes.extend_from_slice(value);
            self.next += 1;
            self.is_complete = value.len() != CHUNK;
        }
    }

    /// The record's bytes, or the reason why there are none; `None` where it has no first chunk.
    fn finish(self) -> Option<Result<Vec<u8>, String>> {
        if self.next == u32::from(self.first) {
            None
        } else if self.is_complete {
            Some(Ok(self.bytes))
        } else {
            Some(Err("a part of it is missing".to_owned()))
        }
    }
}

fn remove(table: usize, key: &[u8]) -> Vec<Edit> {
    vec![Edit::Remove {
        table,
        key: key.to_vec(),
    }]
}

fn put(table: usize, key: &[u8], value: &[u8]) -> Vec<Edit> {
    vec![Edit::Put {
        table,
        key: key.to_vec(),
        value: value.to_vec(),
    }]
}

impl<'a> Walk<'a> {
    fn find(&mut self, place: Place, damage: impl Into<String>, remedy: Remedy) {
        self.findings.push(Finding {
            place,
            damage: damage.into(),
            remedy,
        });
    }

    /// Notes an error that is not the damage of one record.
    fn find_error(&mut self, place: Place, error: Error) {
        if matches!(error, Error::Poisoned(_)) && std::mem::replace(&mut self.poisoned, true) {
            return;
        }
        let damage = match &error {
            Error::Damaged { reason, .. } => reason.clone(),
            error => error.to_string(),
        };
        self.find(place, damage, Remedy::None(error));
    }

    /// An entry whose key no record has.
    fn find_stray(&mut self, table: usize, key: &[u8]) {
        let place = Place::Table(self.tables.number, table);
        let damage = "the key of an entry is malformed";
        self.find(place, damage, Remedy::Discard(remove(table, key)));
    }

    /// The state of a record that was read, and its value where it is sound.
    fn state<T>(&mut self, place: impl FnOnce() -> Place, read: Result<T>) -> (State, Option<T>) {
        match read {
            Ok(value) => (State::Sound, Some(value)),
            Err(Error::Damaged { reason, .. }) => (State::Damaged(reason), None),
            Err(error) => {
                self.find_error(place(), error);
                (State::Unreadable, None)
            }
        }
    }

    /// Visits all entries of a table and compares it with its digest. Gives whether all of it could
    /// be read: an error ends the walk through the table, and is one finding.
    fn table(&mut self, table: usize, mut visit: impl FnMut(&mut Self, IVec, IVec)) -> bool {
        let tables: &'a Tables = self.tables;
        let place = Place::Table(tables.number, table);
        for entry in tables.raw(table) {
            match entry {
                Ok((key, value)) => {
                    if table < DIGESTED {
                        self.found[table].add(entry_hash(table, &key, &value));
                    }
                    visit(self, key, value);
                }
                Err(error) => {
                    self.find_error(place, error);
                    return false;
                }
            }
        }
        if table < DIGESTED {
            self.checked += 1;
            let stored = lock(&tables.digests)[table];
            if let Some(damage) = self.found[table].differs(stored) {
                self.find(place, damage, Remedy::Recount);
            }
        }
        true
    }

    /// Checks that a counter is above all numbers that were given out. Gives the first number that
    /// was not.
    fn counter(&mut self, name: &'static str, read: Result<u64>, least: u64) -> u64 {
        let damage = match read {
            Ok(found) if found >= least => return found,
            Ok(found) => format!("it is {found}, and numbers below {least} are in use"),
            Err(Error::Damaged { reason, .. }) => reason,
            Err(error) => {
                self.find_error(Place::Counter(name), error);
                return least;
            }
        };
        let edits = put(META, name.as_bytes(), &least.to_le_bytes());
        self.find(Place::Counter(name), damage, Remedy::Rebuild(edits));
        least
    }

    /// Checks the items, their vectors and ids: an item that has a sound record and a sound vector
    /// is sound, and its id must stand for its slot. Gives the next slot.
    fn items(&mut self) -> u32 {
        let mut slots = BTreeMap::new();
        let are_read = self.records(&mut slots) & self.vectors(&mut slots);
        let least = slots
            .keys()
            .next_back()
            .map_or(0, |slot| u64::from(*slot) + 1);
        if are_read {
            let mut items = Items::sort(slots);
            if let Some(named) = self.ids(&mut items) {
                self.missing_ids(&items, &named);
            }
            self.broken_items(items);
        }
        let read = self.tables.next_slot().map(u64::from);
        let next = self.counter(NEXT_SLOT, read, least);
        u32::try_from(next).unwrap_or(u32::MAX)
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

    /// Reads the vectors of the items.
    fn vectors(&mut self, slots: &mut BTreeMap<u32, StoredSlot>) -> bool {
        let tables = self.tables;
        self.table(VECTORS, |walk, key, value| {
            let Ok(slot) = <[u8; 4]>::try_from(&*key).map(u32::from_be_bytes) else {
                return walk.find_stray(VECTORS, &key);
            };
            walk.checked += 1;
            let name = || format!("the vector of slot {slot}");
            let read = tables.read_vector(&value, tables.precision, &name);
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

    /// Checks the judgements, and that each query's vector is there and is asked by one.
    fn judgements(&mut self) {
        let tables = self.tables;
        let mut queries = BTreeMap::new();
        let queries_are_read = self.table(QUERIES, |walk, key, value| {
            let Ok(hash) = <[u8; 16]>::try_from(&*key) else {
                return walk.find_stray(QUERIES, &key);
            };
            walk.checked += 1;
            let name = || "a judged query".to_owned();
            let read = tables.read_vector(&value, Precision::F32, &name);
            let (state, _) = walk.state(|| Place::Query, read);
            queries.insert(hash, state);
        });
        let mut asked = BTreeSet::new();
        let mut next = 0;
        let are_read = self.table(JUDGEMENTS, |walk, key, value| {
            let Ok(sequence) = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes) else {
                return walk.find_stray(JUDGEMENTS, &key);
            };
            next = sequence.saturating_add(1);
            let damage = match walk.judgement(sequence, &value) {
                Ok(None) => None,
                Ok(Some(hash)) => match queries.get(&hash) {
                    _ if !queries_are_read => None,
                    Some(State::Damaged(damage)) => Some(format!("its query's vector: {damage}")),
                    None | Some(State::Missing) => Some("its query's vector is missing".to_owned()),
                    Some(State::Sound | State::Unreadable) => {
                        asked.insert(hash);
                        None
                    }
                },
                Err(damage) => Some(damage),
            };
            if let Some(damage) = damage {
                let edits = remove(JUDGEMENTS, &key);
                walk.find(Place::Judgement(sequence), damage, Remedy::Remove(edits));
            }
        });
        if are_read {
            for hash in queries.keys().filter(|hash| !asked.contains(*hash)) {
                let damage = "no judgement asks it";
                let edits = remove(QUERIES, hash);
                self.find(Place::Query, damage, Remedy::Discard(edits));
            }
        }
        self.counter(NEXT_JUDGEMENT, tables.next_judgement(), next);
    }

    /// Reads a judgement. Gives the key of its query's vector, if it has one, or the damage.
    fn judgement(&mut self, sequence: u64, value: &[u8]) -> Result<Option<[u8; 16]>, String> {
        self.checked += 1;
        let read = JudgementRecord::decode(value, sequence);
        let (state, record) = self.state(|| Place::Judgement(sequence), read);
        if let State::Damaged(damage) = state {
            return Err(damage);
        }
        let hash = record.and_then(|record| (self.checks.query_hash)(&record.query));
        self.checked += u64::from(hash.is_some());
        Ok(hash)
    }

    /// Checks the metric versions, their parents, and that the active ones can be used.
    fn versions(&mut self) {
        let mut current: Option<StoredVersion> = None;
        // The sound versions, and those that cannot be read, which have no record here.
        let mut known: BTreeMap<u32, Option<VersionRecord>> = BTreeMap::new();
        let mut next = 1;
        let are_read = self.table(METRICS, |walk, key, value| {
            let Ok((number, chunk)) = split_key(&key) else {
                return walk.find_stray(METRICS, &key);
            };
            next = u64::from(number) + 1;
            if let Some(before) = current.take_if(|before| before.number != number) {
                walk.version(before, &mut known);
            }
            let version = current.get_or_insert_with(|| StoredVersion {
                number,
                header: State::Missing,
                record: None,
                metric: Chunks::from(1),
            });
            if chunk == 0 {
                let read = VersionRecord::decode(&value, number);
                (version.header, version.record) = walk.state(|| Place::Version(number), read);
            } else {
                version.metric.add(chunk, &value);
            }
        });
        if are_read {
            if let Some(last) = current {
                self.version(last, &mut known);
            }
            self.parents(&known);
            self.active(&known);
        }
        let read = self.tables.next_version().map(u64::from);
        self.counter(NEXT_VERSION, read, next);
    }

    /// Checks one metric version; enters it in `known` unless it is damaged.
    fn version(
        &mut self,
        version: StoredVersion,
        known: &mut BTreeMap<u32, Option<VersionRecord>>,
    ) {
        self.checked += 1;
        let number = version.number;
        let damage = match (version.header, &version.record) {
            (State::Unreadable, _) => None,
            (State::Damaged(damage), _) => Some(format!("its header: {damage}")),
            (State::Missing, _) | (State::Sound, None) => Some("its header is missing".to_owned()),
            (State::Sound, Some(record)) => self.metric(number, record, version.metric),
        };
        match damage {
            None => drop(known.insert(number, version.record)),
            Some(damage) => {
                let edits = vec![Edit::RemoveRecord {
                    table: METRICS,
                    number,
                }];
                self.find(Place::Version(number), damage, Remedy::Remove(edits));
            }
        }
    }

    /// The reason why a version's metric cannot be used, if it cannot.
    fn metric(&mut self, number: u32, record: &VersionRecord, chunks: Chunks) -> Option<String> {
        let bytes = match chunks.finish() {
            None => None,
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(damage)) => return Some(format!("its metric: {damage}")),
        };
        let name = || format!("the metric of version {number}");
        let read = bytes
            .as_deref()
            .map(|bytes| codec::unseal(FORMAT, bytes, &name))
            .transpose();
        match self.state(|| Place::Version(number), read) {
            (State::Damaged(damage), _) => Some(format!("its metric: {damage}")),
            (_, Some(metric)) => (self.checks.version)(number, record, metric),
            (_, None) => None,
        }
    }

    /// Checks that the parent of each sound version is there.
    fn parents(&mut self, known: &BTreeMap<u32, Option<VersionRecord>>) {
        for (number, record) in known {
            let Some(record) = record else {
                continue;
            };
            let parent = record.lineage.parent.0;
            if parent < *number && (parent == 0 || known.contains_key(&parent)) {
                continue;
            }
            let mut reset = record.clone();
            reset.lineage.parent = VersionId::BUILT_IN;
            let place = Place::Version(*number);
            match reset.encode() {
                Ok(header) => {
                    let edits = put(METRICS, &chunk_key(*number, 0), &header);
                    let damage = format!("its parent {parent} is missing");
                    self.find(
                        place,
                        damage,
                        Remedy::Reset(edits, "version 0 stands for it"),
                    );
                }
                Err(error) => self.find_error(place, error),
            }
        }
    }

    /// Checks that the active metrics are of versions that can be used.
    fn active(&mut self, known: &BTreeMap<u32, Option<VersionRecord>>) {
        let tables = self.tables;
        for entry in tables.prefixed(ACTIVE) {
            let (key, value) = match entry {
                Ok(entry) => entry,
                Err(error) => return self.find_error(Place::Table(tables.number, META), error),
            };
            let version = <[u8; 8]>::try_from(&*value).ok().map(u64::from_le_bytes);
            let number = version.and_then(|version| u32::try_from(version).ok());
            let is_usable = number.is_some_and(|number| match known.get(&number) {
                Some(Some(record)) => !record.withdrawn,
                Some(None) => true,
                None => number == 0,
            });
            if is_usable {
                continue;
            }
            let damage = version.map_or_else(
                || "its number has a wrong length".to_owned(),
                |version| format!("version {version} is missing or withdrawn"),
            );
            let place = Place::Active(String::from_utf8_lossy(&key).into_owned());
            let default = "the built-in distance answers now";
            self.find(place, damage, Remedy::Reset(remove(META, &key), default));
        }
    }

    /// Checks the stored graphs, and that the list of removed slots can be read.
    fn graph(&mut self, next_slot: u32) {
        let mut current: Option<(u64, Vec<IVec>, Vec<Vec<u8>>)> = None;
        let is_read = self.table(GRAPH, |walk, key, value| {
            let Ok(id) = segment_of(&key) else {
                return walk.find_stray(GRAPH, &key);
            };
            if let Some((before, keys, chunks)) = current.take_if(|(before, ..)| *before != id) {
                walk.segment(before, &keys, chunks, next_slot);
            }
            let (_, keys, chunks) = current.get_or_insert_with(|| (id, Vec::new(), Vec::new()));
            keys.push(key);
            chunks.push(value.to_vec());
        });
        if is_read && let Some((id, keys, chunks)) = current {
            self.segment(id, &keys, chunks, next_slot);
        }
        self.table(REMOVED, |walk, key, _| {
            if key.len() != size_of::<u32>() {
                walk.find_stray(REMOVED, &key);
            }
        });
    }

    /// Checks the stored graph of a segment.
    fn segment(&mut self, id: u64, keys: &[IVec], chunks: Vec<Vec<u8>>, next_slot: u32) {
        self.checked += 1;
        if let Some(damage) = (self.checks.segment)(id, chunks, next_slot) {
            let edits = keys.iter().flat_map(|key| remove(GRAPH, key)).collect();
            self.find(Place::Graph(id), damage, Remedy::Rebuild(edits));
        }
    }

    fn segment_files(&mut self, next_slot: u32) {
        for (name, damage) in (self.checks.segment_files)(next_slot) {
            self.find(Place::SegmentFile(name), damage, Remedy::DropSegmentFiles);
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
