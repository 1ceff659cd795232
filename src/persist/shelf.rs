//! One collection's trees.
//!
//! | tree | key | record |
//! |---|---|---|
//! | items | slot, part | id, text, metadata |
//! | ids | external id | slot |
//! | vectors | slot | numbers |
//! | judgements | sequence number | judgement |
//! | queries | hash of a text or vector | the query's numbers |
//! | metrics | version, part | part 0: header; from 1: the encoded metric |
//! | graph | segment, chunk | adjacency of a linked segment |
//! | meta | name | counters, active metrics, which images there are |
//! | removed | slot | nothing: its item was removed, and an image may still have it |
//!
//! Numbers in keys are big-endian, so that trees iterate in their order. An item or a metric longer
//! than [`CHUNK`] is cut into parts: all but the last are exactly that long, and the last is
//! shorter (perhaps empty).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sled::{IVec, Tree};

use super::disk::DiskOp;
use super::precision::Precision;
use super::records::{CollectionRecord, ItemRecord, JudgementRecord, VersionRecord};
use super::tally::{Count, TALLIED, Tally, hash};
use super::writes::Writes;
use super::{Database, codec, damaged, lock};
use crate::error::Result;
use crate::model::{Active, VersionId};

/// The longest value given to sled. Larger ones would go to files of their own beside its log.
pub(super) const CHUNK: usize = 32 << 10;
pub(super) const FORMAT: u8 = 1;
pub(super) const NAMES: [&str; 9] = [
    "items",
    "ids",
    "vectors",
    "judgements",
    "queries",
    "metrics",
    "graph",
    "meta",
    "removed",
];
pub(super) const ITEMS: usize = 0;
pub(super) const IDS: usize = 1;
pub(super) const VECTORS: usize = 2;
pub(super) const JUDGEMENTS: usize = 3;
pub(super) const QUERIES: usize = 4;
pub(super) const METRICS: usize = 5;
pub(super) const GRAPH: usize = 6;
pub(super) const META: usize = 7;
pub(super) const REMOVED: usize = 8;

pub(super) const NEXT_SLOT: &str = "next_slot";
pub(super) const NEXT_JUDGEMENT: &str = "next_judgement";
pub(super) const NEXT_VERSION: &str = "next_version";
pub(super) const ACTIVE: &str = "active";
pub(super) const CALIBRATION: &str = "calibration/";

/// Reads and writes one collection's records.
pub(crate) struct Shelf {
    // Declared first: sled must be let go of before the database gives the lock back.
    pub(super) trees: [Tree; NAMES.len()],
    database: Arc<Database>,
    pub(super) number: u32,
    dim: usize,
    pub(crate) precision: Precision,
    /// What the trees hold. Held while a transaction changes it, so that both are seen to change
    /// together.
    pub(super) tally: Mutex<Tally>,
    /// Counts the changes of the tally.
    pub(super) changes: AtomicU64,
}

impl Shelf {
    /// The names of a collection's trees.
    pub(super) fn tree_names(number: u32) -> impl Iterator<Item = String> {
        NAMES.iter().map(move |name| format!("{number}/{name}"))
    }

    fn open_trees(database: &Database, number: u32) -> Result<[Tree; NAMES.len()]> {
        let trees: Vec<Tree> = Self::tree_names(number)
            .map(|name| database.tree(&name))
            .collect::<Result<_>>()?;
        trees
            .try_into()
            .map_err(|_| damaged("the list of trees", "its length"))
    }

    /// Opens the trees of a collection.
    pub(crate) fn open(database: Arc<Database>, record: &CollectionRecord) -> Result<Self> {
        let trees = Self::open_trees(&database, record.number)?;
        let precision = Precision::from_name(&record.precision).ok_or_else(|| {
            damaged(
                "the collection's settings",
                format!("no precision {:?}", record.precision),
            )
        })?;
        let tally = Mutex::new(database.tally(record.number)?);
        let (number, dim) = (record.number, record.dim as usize);
        Ok(Self {
            trees,
            database,
            number,
            dim,
            precision,
            tally,
            changes: AtomicU64::new(0),
        })
    }

    /// Counts what the trees of a collection hold.
    pub(super) fn count_trees(database: &Database, number: u32) -> Result<Tally> {
        let trees = Self::open_trees(database, number)?;
        let mut tally = Tally::default();
        for (tree, count) in tally.iter_mut().enumerate() {
            for entry in database.disk.walk("count its records", trees[tree].iter()) {
                let (key, value) = entry?;
                count.add(entry_hash(tree, &key, &value));
            }
        }
        Ok(tally)
    }

    /// The store it stands in.
    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    pub(super) fn get(&self, tree: usize, key: &[u8]) -> Result<Option<IVec>> {
        self.database
            .disk
            .run(DiskOp::Read, "read a record", || self.trees[tree].get(key))
    }

    /// All entries of a tree as they are.
    pub(super) fn raw(&self, tree: usize) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        self.database
            .disk
            .walk(ACTIONS[tree], self.trees[tree].iter())
    }

    pub(super) fn prefixed(&self, prefix: &str) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        self.database
            .disk
            .walk(ACTIONS[META], self.trees[META].scan_prefix(prefix))
    }

    /// All entries of a tree; an error at the end when they are not those that were stored. Writes
    /// meanwhile make that unknowable, and it is then not said.
    fn walk(&self, tree: usize) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        let state = move || {
            let tally = lock(&self.tally);
            (tally[tree], self.changes.load(Ordering::Relaxed))
        };
        let (should, changes) = state();
        let mut found = Count::default();
        let mut entries = self.raw(tree);
        let mut ended = false;
        std::iter::from_fn(move || match entries.next() {
            Some(Ok((key, value))) => {
                found.add(entry_hash(tree, &key, &value));
                Some(Ok((key, value)))
            }
            None if !ended => {
                ended = true;
                let reason = found.differs(should).filter(|_| state().1 == changes)?;
                Some(Err(damaged(
                    format!("the tree {}/{}", self.number, NAMES[tree]),
                    reason,
                )))
            }
            other => {
                ended = true;
                other
            }
        })
    }

    fn counter(&self, name: &str) -> Result<u64> {
        self.get(META, name.as_bytes())?
            .map_or(Ok(0), |bytes| read_number(&bytes, name))
    }

    /// The first slot, judgement or version number that was never used; versions start at 1.
    pub(crate) fn next_slot(&self) -> Result<u32> {
        let next = self.counter(NEXT_SLOT)?;
        u32::try_from(next).map_err(|_| damaged(NEXT_SLOT, format!("{next} is no slot number")))
    }

    pub(crate) fn next_judgement(&self) -> Result<u64> {
        self.counter(NEXT_JUDGEMENT)
    }

    pub(crate) fn next_version(&self) -> Result<u32> {
        let next = self.counter(NEXT_VERSION)?;
        u32::try_from(next.max(1))
            .map_err(|_| damaged(NEXT_VERSION, format!("{next} is no version number")))
    }

    /// The active metrics.
    pub(crate) fn active(&self) -> Result<Active> {
        let mut active = Active::default();
        for entry in self.prefixed(ACTIVE) {
            let (key, value) = entry?;
            let key = String::from_utf8_lossy(&key).into_owned();
            let version = read_number(&value, &key)?;
            let version = u32::try_from(version)
                .map_err(|_| damaged(&*key, format!("{version} is no version")))?;
            match key.strip_prefix("active/") {
                Some(user) => {
                    active.users.insert(user.to_owned(), VersionId(version));
                }
                None => active.shared = VersionId(version),
            }
        }
        Ok(active)
    }

    /// The slot of an external id.
    pub(crate) fn slot(&self, id: &str) -> Result<Option<u32>> {
        self.get(IDS, id.as_bytes())?
            .map(|bytes| read_slot(&bytes, id))
            .transpose()
    }

    /// Every live id with its slot, ordered by id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Result<(String, u32)>> {
        self.walk(IDS).map(|entry| {
            let (key, value) = entry?;
            let id = std::str::from_utf8(&key)
                .map_err(|_| damaged("the tree of ids", "an id is not UTF-8"))?
                .to_owned();
            let slot = read_slot(&value, &id)?;
            Ok((id, slot))
        })
    }

    /// Number of live ids.
    pub(crate) fn id_count(&self) -> u64 {
        lock(&self.tally)[IDS].entries
    }

    /// The record of a live slot.
    pub(crate) fn item(&self, slot: u32) -> Result<Option<ItemRecord>> {
        let bytes = self.parts(ITEMS, slot, 0)?;
        bytes
            .map(|bytes| ItemRecord::decode(&bytes, slot))
            .transpose()
    }

    /// The slots that have an item's record, or a part of one, each once.
    pub(crate) fn item_slots(&self) -> impl Iterator<Item = Result<u32>> {
        let mut last = None;
        self.walk(ITEMS).filter_map(
            move |entry| match entry.and_then(|(key, _)| split_key(&key)) {
                Ok((slot, _)) if last == Some(slot) => None,
                Ok((slot, _)) => {
                    last = Some(slot);
                    Some(Ok(slot))
                }
                Err(error) => Some(Err(error)),
            },
        )
    }

    /// The numbers of a slot.
    pub(crate) fn vector(&self, slot: u32) -> Result<Option<Vec<f32>>> {
        let bytes = self.get(VECTORS, &slot.to_be_bytes())?;
        bytes
            .map(|bytes| {
                self.read_vector(&bytes, self.precision, &|| {
                    format!("the vector of slot {slot}")
                })
            })
            .transpose()
    }

    /// All vectors in slot order.
    pub(crate) fn vectors(&self) -> impl Iterator<Item = Result<(u32, Vec<f32>)>> {
        self.walk(VECTORS)
            .map(|entry| self.read_slot_vector(entry?))
    }

    /// The vectors of the slots from `first` on, in slot order.
    pub(crate) fn vectors_from(&self, first: u32) -> impl Iterator<Item = Result<(u32, Vec<f32>)>> {
        let range = self.trees[VECTORS].range(first.to_be_bytes()..);
        self.database
            .disk
            .walk(ACTIONS[VECTORS], range)
            .map(|entry| self.read_slot_vector(entry?))
    }

    fn read_slot_vector(&self, (key, value): (IVec, IVec)) -> Result<(u32, Vec<f32>)> {
        let slot = read_be(&key, "the tree of vectors")?;
        let vector = self.read_vector(&value, self.precision, &|| {
            format!("the vector of slot {slot}")
        })?;
        Ok((slot, vector))
    }

    fn read_vector(
        &self,
        bytes: &[u8],
        precision: Precision,
        part: &dyn Fn() -> String,
    ) -> Result<Vec<f32>> {
        let (_, payload) = codec::unseal(FORMAT, bytes, part)?;
        precision
            .decode(payload, self.dim)
            .ok_or_else(|| damaged(part(), "its numbers do not fit"))
    }

    /// A query's numbers by its hash.
    pub(crate) fn query(&self, hash: [u8; 16]) -> Result<Option<Vec<f32>>> {
        let bytes = self.get(QUERIES, &hash)?;
        bytes
            .map(|bytes| self.read_vector(&bytes, Precision::F32, &|| "a judged query".to_owned()))
            .transpose()
    }

    /// The hashes of all stored queries.
    pub(crate) fn query_hashes(&self) -> impl Iterator<Item = Result<[u8; 16]>> {
        self.walk(QUERIES).map(|entry| {
            let (key, _) = entry?;
            <[u8; 16]>::try_from(&*key)
                .map_err(|_| damaged("the tree of judged queries", "a key has a wrong length"))
        })
    }

    /// All judgements in the order they were given.
    pub(crate) fn judgements(&self) -> impl Iterator<Item = Result<(u64, JudgementRecord)>> {
        self.walk(JUDGEMENTS).map(|entry| {
            let (key, value) = entry?;
            let sequence = read_sequence(&key)?;
            Ok((sequence, JudgementRecord::decode(&value, sequence)?))
        })
    }

    /// Number of judgements.
    pub(crate) fn judgement_count(&self) -> usize {
        lock(&self.tally)[JUDGEMENTS].entries as usize
    }

    /// A version's header.
    pub(crate) fn version(&self, version: u32) -> Result<Option<VersionRecord>> {
        let bytes = self.get(METRICS, &part_key(version, 0))?;
        bytes
            .map(|bytes| VersionRecord::decode(&bytes, version))
            .transpose()
    }

    /// All versions' numbers and headers.
    pub(crate) fn versions(&self) -> Result<Vec<(u32, VersionRecord)>> {
        let mut all = Vec::new();
        for entry in self.walk(METRICS) {
            let (key, value) = entry?;
            let (version, part) = split_key(&key)?;
            if part == 0 {
                all.push((version, VersionRecord::decode(&value, version)?));
            }
        }
        Ok(all)
    }

    /// A version's encoded metric.
    pub(crate) fn metric(&self, version: u32) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.parts(METRICS, version, 1)? else {
            return Ok(None);
        };
        let part = || format!("the matrix of metric version {version}");
        codec::unseal(FORMAT, &bytes, &part).map(|(_, payload)| Some(payload.to_vec()))
    }

    /// The stored graph: each segment's number and chunks, in order. Chunks carry checksums of
    /// their own.
    pub(crate) fn graph(&self) -> Result<BTreeMap<u64, Vec<Vec<u8>>>> {
        let mut segments: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for entry in self.raw(GRAPH) {
            let (key, value) = entry?;
            segments
                .entry(segment_of(&key)?)
                .or_default()
                .push(value.to_vec());
        }
        Ok(segments)
    }

    /// The measured recall of beam widths, by metric version. It can be measured again, so damage
    /// is no error.
    pub(crate) fn calibrations(&self) -> Result<BTreeMap<u32, Vec<(usize, f64)>>> {
        let mut all = BTreeMap::new();
        for entry in self.prefixed(CALIBRATION) {
            let (key, value) = entry?;
            let key = String::from_utf8_lossy(&key[CALIBRATION.len()..]).into_owned();
            let curve = codec::decode::<Vec<(usize, f64)>>(FORMAT, &value, &|| {
                format!("calibration {key}")
            });
            if let (Ok(version), Ok(curve)) = (key.parse(), curve) {
                all.insert(version, curve);
            }
        }
        Ok(all)
    }

    /// Puts the parts of one record together, from part number `first` on.
    fn parts(&self, tree: usize, number: u32, first: u16) -> Result<Option<Vec<u8>>> {
        let Some(head) = self.get(tree, &part_key(number, first))? else {
            return Ok(None);
        };
        let mut bytes = head.to_vec();
        let mut last = head.len();
        let mut part = first;
        while last == CHUNK {
            part = part
                .checked_add(1)
                .ok_or_else(|| damaged("a record", "it has too many parts"))?;
            let Some(next) = self.get(tree, &part_key(number, part))? else {
                return Err(damaged(
                    format!("record {number} of the tree {}", NAMES[tree]),
                    "a part of it is missing",
                ));
            };
            last = next.len();
            bytes.extend_from_slice(&next);
        }
        Ok(Some(bytes))
    }

    /// The keys of the parts of one record, from part number `first` on.
    pub(super) fn part_keys(
        &self,
        tree: usize,
        number: u32,
        first: u16,
    ) -> impl Iterator<Item = Result<IVec>> {
        let range = self.trees[tree].range(part_key(number, first)..=part_key(number, u16::MAX));
        self.database
            .disk
            .walk("read a record", range)
            .map(|entry| Ok(entry?.0))
    }

    /// Starts a transaction.
    pub(crate) fn write(&self) -> Writes<'_> {
        Writes::new(self)
    }
}

/// What is asked when a tree is read, for messages.
const ACTIONS: [&str; NAMES.len()] = [
    "read the items",
    "read the ids",
    "read the vectors",
    "read the judgements",
    "read the judged queries",
    "read the metric versions",
    "read the graph",
    "read the counters",
    "read the removed slots",
];

/// The hash of an entry in a tally: an id's slot has no checksum of its own.
pub(super) fn entry_hash(tree: usize, key: &[u8], value: &[u8]) -> u64 {
    debug_assert!(tree < TALLIED, "only what is tallied is hashed");
    hash(key, if tree == IDS { value } else { &[] })
}

pub(super) fn part_key(number: u32, part: u16) -> [u8; 6] {
    let mut key = [0; 6];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(&part.to_be_bytes());
    key
}

pub(super) fn split_key(key: &[u8]) -> Result<(u32, u16)> {
    match key {
        &[a, b, c, d, e, f] => Ok((u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]))),
        _ => Err(damaged("a record's key", "it has a wrong length")),
    }
}

/// A graph key is the segment's number and the chunk's.
pub(super) fn segment_of(key: &[u8]) -> Result<u64> {
    match key.split_first_chunk::<8>() {
        Some((segment, chunk)) if chunk.len() == 4 => Ok(u64::from_be_bytes(*segment)),
        _ => Err(damaged("the tree graph", "a key has a wrong length")),
    }
}

fn read_number(bytes: &[u8], name: &str) -> Result<u64> {
    let bytes = bytes
        .try_into()
        .map_err(|_| damaged(format!("the number {name:?}"), "it has a wrong length"))?;
    Ok(u64::from_le_bytes(bytes))
}

pub(super) fn read_be(bytes: &[u8], part: &str) -> Result<u32> {
    Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| {
        damaged(part, "a slot number has a wrong length")
    })?))
}

fn read_slot(bytes: &[u8], id: &str) -> Result<u32> {
    read_be(bytes, &format!("the entry of id {id:?}"))
}

fn read_sequence(key: &[u8]) -> Result<u64> {
    let key = key
        .try_into()
        .map_err(|_| damaged("the tree of judgements", "a key has a wrong length"))?;
    Ok(u64::from_be_bytes(key))
}
