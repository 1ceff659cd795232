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
//! | meta | name | counters and active metrics |
//!
//! Numbers in keys are big-endian, so that trees iterate in their order. A record longer than [`CHUNK`] is cut into parts:
//! all but the last are exactly that long, and the last is shorter (perhaps empty).

use std::collections::BTreeMap;
use std::sync::Arc;

use sled::{Batch, Tree};

use super::precision::Precision;
use super::records::{CollectionRecord, ItemRecord, JudgementRecord, VersionRecord};
use super::{Database, codec, storage};
use crate::error::{Error, Result};

/// The longest value given to sled. Larger ones would go to files of their own beside its log.
const CHUNK: usize = 32 << 10;
const FORMAT: u8 = 1;
const NAMES: [&str; 8] = ["items", "ids", "vectors", "judgements", "queries", "metrics", "graph", "meta"];
const ITEMS: usize = 0;
const IDS: usize = 1;
const VECTORS: usize = 2;
const JUDGEMENTS: usize = 3;
const QUERIES: usize = 4;
const METRICS: usize = 5;
const GRAPH: usize = 6;
const META: usize = 7;

const NEXT_SLOT: &str = "next_slot";
const NEXT_JUDGEMENT: &str = "next_judgement";
const NEXT_VERSION: &str = "next_version";
const ACTIVE: &str = "active";
const CALIBRATION: &str = "calibration/";

/// The active metrics: the collection's, and those of users who have their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Active {
    pub(crate) shared: u32,
    pub(crate) users: BTreeMap<String, u32>,
}

/// Reads and writes one collection's records.
pub(crate) struct Shelf {
    // Declared first: sled must be let go of before the database gives the lock back.
    trees: [Tree; NAMES.len()],
    database: Arc<Database>,
    dim: usize,
    precision: Precision,
}

impl Shelf {
    /// The names of a collection's trees.
    pub(super) fn tree_names(number: u32) -> impl Iterator<Item = String> {
        NAMES.iter().map(move |name| format!("{number}/{name}"))
    }

    /// Opens the trees of a collection.
    pub(crate) fn open(database: Arc<Database>, record: &CollectionRecord) -> Result<Self> {
        let mut trees = Vec::with_capacity(NAMES.len());
        for name in Self::tree_names(record.number) {
            trees.push(database.tree(&name)?);
        }
        let trees: [Tree; NAMES.len()] = trees.try_into().map_err(|_| damaged("the list of trees", "its length"))?;
        let precision = Precision::from_name(&record.precision)
            .ok_or_else(|| damaged("the collection's settings", &format!("no precision {:?}", record.precision)))?;
        Ok(Self { database, trees, dim: record.dim as usize, precision })
    }

    /// The store it stands in.
    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    fn get(&self, tree: usize, key: &[u8]) -> Result<Option<sled::IVec>> {
        self.trees[tree].get(key).map_err(storage("read a record"))
    }

    fn counter(&self, name: &str) -> Result<u64> {
        self.get(META, name.as_bytes())?.map_or(Ok(0), |bytes| read_number(&bytes, name))
    }

    /// The first slot, judgement or version number that was never used; versions start at 1.
    pub(crate) fn next_slot(&self) -> Result<u32> {
        let next = self.counter(NEXT_SLOT)?;
        u32::try_from(next).map_err(|_| damaged(NEXT_SLOT, &format!("{next} is no slot number")))
    }

    pub(crate) fn next_judgement(&self) -> Result<u64> {
        self.counter(NEXT_JUDGEMENT)
    }

    pub(crate) fn next_version(&self) -> Result<u32> {
        let next = self.counter(NEXT_VERSION)?;
        u32::try_from(next.max(1)).map_err(|_| damaged(NEXT_VERSION, &format!("{next} is no version number")))
    }

    /// The active metrics.
    pub(crate) fn active(&self) -> Result<Active> {
        let mut active = Active::default();
        for entry in self.trees[META].scan_prefix(ACTIVE) {
            let (key, value) = entry.map_err(storage("read the active metrics"))?;
            let key = String::from_utf8_lossy(&key).into_owned();
            let version = read_number(&value, &key)?;
            let version = u32::try_from(version).map_err(|_| damaged(&key, &format!("{version} is no version")))?;
            match key.strip_prefix("active/") {
                Some(user) => {
                    active.users.insert(user.to_owned(), version);
                }
                None => active.shared = version,
            }
        }
        Ok(active)
    }

    /// The slot of an external id.
    pub(crate) fn slot(&self, id: &str) -> Result<Option<u32>> {
        self.get(IDS, id.as_bytes())?.map(|bytes| read_slot(&bytes, id)).transpose()
    }

    /// Every live id with its slot, ordered by id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Result<(String, u32)>> {
        self.trees[IDS].iter().map(|entry| {
            let (key, value) = entry.map_err(storage("read the ids"))?;
            let id =
                std::str::from_utf8(&key).map_err(|_| damaged("the tree of ids", "an id is not UTF-8"))?.to_owned();
            let slot = read_slot(&value, &id)?;
            Ok((id, slot))
        })
    }

    /// The record of a live slot.
    pub(crate) fn item(&self, slot: u32) -> Result<Option<ItemRecord>> {
        let bytes = self.parts(ITEMS, slot, 0)?;
        bytes.map(|bytes| ItemRecord::decode(&bytes, slot)).transpose()
    }

    /// The numbers of a slot.
    pub(crate) fn vector(&self, slot: u32) -> Result<Option<Vec<f32>>> {
        let bytes = self.get(VECTORS, &slot.to_be_bytes())?;
        bytes
            .map(|bytes| self.read_vector(&bytes, self.precision, &|| format!("the vector of slot {slot}")))
            .transpose()
    }

    /// All vectors in slot order.
    pub(crate) fn vectors(&self) -> impl Iterator<Item = Result<(u32, Vec<f32>)>> {
        self.trees[VECTORS].iter().map(|entry| {
            let (key, value) = entry.map_err(storage("read the vectors"))?;
            let slot = read_be(&key, "the tree of vectors")?;
            let vector = self.read_vector(&value, self.precision, &|| format!("the vector of slot {slot}"))?;
            Ok((slot, vector))
        })
    }

    fn read_vector(&self, bytes: &[u8], precision: Precision, part: &dyn Fn() -> String) -> Result<Vec<f32>> {
        let (_, payload) = codec::unseal(FORMAT, bytes, part)?;
        precision.decode(payload, self.dim).ok_or_else(|| damaged(&part(), "its numbers do not fit"))
    }

    /// A query's numbers by its hash.
    pub(crate) fn query(&self, hash: [u8; 16]) -> Result<Option<Vec<f32>>> {
        let bytes = self.get(QUERIES, &hash)?;
        bytes.map(|bytes| self.read_vector(&bytes, Precision::F32, &|| "a judged query".to_owned())).transpose()
    }

    /// The numbers of a query that a judgement speaks of.
    pub(crate) fn judged_query(&self, hash: [u8; 16]) -> Result<Vec<f32>> {
        self.query(hash)?.ok_or_else(|| damaged("a judged query", "its vector is missing"))
    }

    /// The hashes of all stored queries.
    pub(crate) fn query_hashes(&self) -> impl Iterator<Item = Result<[u8; 16]>> {
        self.trees[QUERIES].iter().keys().map(|key| {
            let key = key.map_err(storage("read the judged queries"))?;
            <[u8; 16]>::try_from(&*key).map_err(|_| damaged("the tree of judged queries", "a key has a wrong length"))
        })
    }

    /// All judgements in the order they were given.
    pub(crate) fn judgements(&self) -> impl Iterator<Item = Result<(u64, JudgementRecord)>> {
        self.trees[JUDGEMENTS].iter().map(|entry| {
            let (key, value) = entry.map_err(storage("read the judgements"))?;
            let key: [u8; 8] =
                (&*key).try_into().map_err(|_| damaged("the tree of judgements", "a key has a wrong length"))?;
            let sequence = u64::from_be_bytes(key);
            Ok((sequence, JudgementRecord::decode(&value, sequence)?))
        })
    }

    /// Number of judgements. Reads all keys.
    pub(crate) fn judgement_count(&self) -> usize {
        self.trees[JUDGEMENTS].len()
    }

    /// A version's header.
    pub(crate) fn version(&self, version: u32) -> Result<Option<VersionRecord>> {
        let bytes = self.get(METRICS, &part_key(version, 0))?;
        bytes.map(|bytes| VersionRecord::decode(&bytes, version)).transpose()
    }

    /// All versions' numbers and headers.
    pub(crate) fn versions(&self) -> Result<Vec<(u32, VersionRecord)>> {
        let mut all = Vec::new();
        for entry in &self.trees[METRICS] {
            let (key, value) = entry.map_err(storage("read the metric versions"))?;
            let (version, part) = split_key(&key)?;
            if part == 0 {
                all.push((version, VersionRecord::decode(&value, version)?));
            }
        }
        Ok(all)
    }

    /// A version's encoded metric.
    pub(crate) fn metric(&self, version: u32) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.parts(METRICS, version, 1)? else { return Ok(None) };
        let part = || format!("the matrix of metric version {version}");
        codec::unseal(FORMAT, &bytes, &part).map(|(_, payload)| Some(payload.to_vec()))
    }

    /// The stored graph: each segment's number and chunks, in order. Chunks carry checksums of their own.
    pub(crate) fn graph(&self) -> Result<BTreeMap<u64, Vec<Vec<u8>>>> {
        let mut segments: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for entry in &self.trees[GRAPH] {
            let (key, value) = entry.map_err(storage("read the graph"))?;
            segments.entry(segment_of(&key)?).or_default().push(value.to_vec());
        }
        Ok(segments)
    }

    /// The measured recall of beam widths, by metric version. It can be measured again, so damage is no error.
    pub(crate) fn calibrations(&self) -> Result<BTreeMap<u32, Vec<(usize, f64)>>> {
        let mut all = BTreeMap::new();
        for entry in self.trees[META].scan_prefix(CALIBRATION) {
            let (key, value) = entry.map_err(storage("read the calibrations"))?;
            let key = String::from_utf8_lossy(&key[CALIBRATION.len()..]).into_owned();
            let curve = codec::decode::<Vec<(usize, f64)>>(FORMAT, &value, &|| format!("calibration {key}"));
            if let (Ok(version), Ok(curve)) = (key.parse(), curve) {
                all.insert(version, curve);
            }
        }
        Ok(all)
    }

    /// Puts the parts of one record together, from part number `first` on.
    fn parts(&self, tree: usize, number: u32, first: u16) -> Result<Option<Vec<u8>>> {
        let Some(head) = self.get(tree, &part_key(number, first))? else { return Ok(None) };
        let mut bytes = head.to_vec();
        let mut last = head.len();
        let mut part = first;
        while last == CHUNK {
            part = part.checked_add(1).ok_or_else(|| damaged("a record", "it has too many parts"))?;
            let Some(next) = self.get(tree, &part_key(number, part))? else {
                return Err(damaged(
                    &format!("record {number} of the tree {}", NAMES[tree]),
                    "a part of it is missing",
                ));
            };
            last = next.len();
            bytes.extend_from_slice(&next);
        }
        Ok(Some(bytes))
    }

    /// Starts a transaction.
    pub(crate) fn write(&self) -> Writes<'_> {
        Writes { shelf: self, batches: Default::default() }
    }
}

/// Changes that become durable together.
pub(crate) struct Writes<'a> {
    shelf: &'a Shelf,
    /// One a tree that is written to.
    batches: [Option<Batch>; NAMES.len()],
}

impl Writes<'_> {
    fn batch(&mut self, tree: usize) -> &mut Batch {
        self.batches[tree].get_or_insert_default()
    }

    /// Stores an item in a fresh slot.
    pub(crate) fn put_item(&mut self, slot: u32, item: &ItemRecord, vector: &[f32]) -> Result<()> {
        let bytes = item.encode()?;
        put_parts(self.batch(ITEMS), slot, 0, &bytes);
        self.batch(IDS).insert(item.id.as_bytes(), &slot.to_be_bytes());
        let payload = self.shelf.precision.encode(vector);
        self.batch(VECTORS).insert(&slot.to_be_bytes(), codec::seal(FORMAT, &payload));
        Ok(())
    }

    /// Removes an item's record and vector. The id is removed apart ([`Self::remove_id`]), because an upsert gives it a
    /// new slot.
    pub(crate) fn remove_item(&mut self, slot: u32) -> Result<()> {
        self.batch(VECTORS).remove(&slot.to_be_bytes());
        self.remove_parts(ITEMS, slot, 0)
    }

    pub(crate) fn remove_id(&mut self, id: &str) {
        self.batch(IDS).remove(id.as_bytes());
    }

    pub(crate) fn put_judgement(&mut self, sequence: u64, judgement: &JudgementRecord) -> Result<()> {
        self.batch(JUDGEMENTS).insert(&sequence.to_be_bytes(), judgement.encode()?);
        Ok(())
    }

    pub(crate) fn remove_judgement(&mut self, sequence: u64) {
        self.batch(JUDGEMENTS).remove(&sequence.to_be_bytes());
    }

    pub(crate) fn put_query(&mut self, hash: [u8; 16], vector: &[f32]) {
        self.batch(QUERIES).insert(&hash, codec::seal(FORMAT, &Precision::F32.encode(vector)));
    }

    pub(crate) fn remove_query(&mut self, hash: [u8; 16]) {
        self.batch(QUERIES).remove(&hash);
    }

    /// Stores a new version with its encoded metric.
    pub(crate) fn put_version(&mut self, version: u32, record: &VersionRecord, metric: &[u8]) -> Result<()> {
        self.put_version_header(version, record)?;
        put_parts(self.batch(METRICS), version, 1, &codec::seal(FORMAT, metric));
        Ok(())
    }

    pub(crate) fn put_version_header(&mut self, version: u32, record: &VersionRecord) -> Result<()> {
        self.batch(METRICS).insert(&part_key(version, 0), record.encode()?);
        Ok(())
    }

    /// Removes a version's matrix and leaves its header.
    pub(crate) fn remove_metric(&mut self, version: u32) -> Result<()> {
        self.remove_parts(METRICS, version, 1)
    }

    pub(crate) fn set_active(&mut self, user: Option<&str>, version: u32) {
        let key = user.map_or_else(|| ACTIVE.to_owned(), |user| format!("{ACTIVE}/{user}"));
        self.batch(META).insert(key.as_bytes(), &u64::from(version).to_le_bytes());
    }

    /// A user without a metric of their own is answered under the collection's.
    pub(crate) fn clear_active(&mut self, user: &str) {
        self.batch(META).remove(format!("{ACTIVE}/{user}").as_bytes());
    }

    pub(crate) fn set_next_slot(&mut self, next: u32) {
        self.batch(META).insert(NEXT_SLOT, &u64::from(next).to_le_bytes());
    }

    pub(crate) fn set_next_judgement(&mut self, next: u64) {
        self.batch(META).insert(NEXT_JUDGEMENT, &next.to_le_bytes());
    }

    pub(crate) fn set_next_version(&mut self, next: u32) {
        self.batch(META).insert(NEXT_VERSION, &u64::from(next).to_le_bytes());
    }

    /// Stores a segment's chunks.
    pub(crate) fn put_segment(&mut self, segment: u64, chunks: &[Vec<u8>]) {
        for (number, chunk) in chunks.iter().enumerate() {
            let key = [segment.to_be_bytes().as_slice(), &(number as u32).to_be_bytes()].concat();
            self.batch(GRAPH).insert(key, chunk.as_slice());
        }
    }

    /// Stores the measured recall of beam widths under a metric.
    pub(crate) fn put_calibration(&mut self, version: u32, curve: &[(usize, f64)]) -> Result<()> {
        let key = format!("{CALIBRATION}{version}");
        self.batch(META).insert(key.as_bytes(), codec::encode(FORMAT, &curve)?);
        Ok(())
    }

    /// Removes what was measured under a metric.
    pub(crate) fn remove_calibration(&mut self, version: u32) {
        self.batch(META).remove(format!("{CALIBRATION}{version}").as_bytes());
    }

    /// Removes the stored segments that are not in `keep`.
    pub(crate) fn retain_segments(&mut self, keep: &[u64]) -> Result<()> {
        for key in self.shelf.trees[GRAPH].iter().keys() {
            let key = key.map_err(storage("read the graph"))?;
            if !keep.contains(&segment_of(&key)?) {
                self.batch(GRAPH).remove(key);
            }
        }
        Ok(())
    }

    fn remove_parts(&mut self, tree: usize, number: u32, first: u16) -> Result<()> {
        for key in self.shelf.trees[tree].range(part_key(number, first)..=part_key(number, u16::MAX)).keys() {
            self.batch(tree).remove(key.map_err(storage("read a record"))?);
        }
        Ok(())
    }

    /// Makes the changes durable, all or none.
    pub(crate) fn commit(self) -> Result<()> {
        let used: Vec<(&Tree, Batch)> =
            self.shelf.trees.iter().zip(self.batches).filter_map(|(tree, batch)| Some((tree, batch?))).collect();
        if used.is_empty() { Ok(()) } else { self.shelf.database.commit(&used) }
    }
}

fn put_parts(batch: &mut Batch, number: u32, first: u16, bytes: &[u8]) {
    let mut rest = bytes;
    let mut part = first;
    loop {
        let (now, later) = rest.split_at(rest.len().min(CHUNK));
        batch.insert(&part_key(number, part), now);
        if now.len() < CHUNK {
            return;
        }
        rest = later;
        part += 1;
    }
}

fn part_key(number: u32, part: u16) -> [u8; 6] {
    let mut key = [0; 6];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(&part.to_be_bytes());
    key
}

fn split_key(key: &[u8]) -> Result<(u32, u16)> {
    match key {
        &[a, b, c, d, e, f] => Ok((u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]))),
        _ => Err(damaged("a record's key", "it has a wrong length")),
    }
}

/// A graph key is the segment's number and the chunk's.
fn segment_of(key: &[u8]) -> Result<u64> {
    match key.split_first_chunk::<8>() {
        Some((segment, chunk)) if chunk.len() == 4 => Ok(u64::from_be_bytes(*segment)),
        _ => Err(damaged("the tree graph", "a key has a wrong length")),
    }
}

fn damaged(part: &str, reason: &str) -> Error {
    Error::Damaged { part: part.to_owned(), reason: reason.to_owned() }
}

fn read_number(bytes: &[u8], name: &str) -> Result<u64> {
    let bytes = bytes.try_into().map_err(|_| damaged(&format!("the number {name:?}"), "it has a wrong length"))?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_be(bytes: &[u8], part: &str) -> Result<u32> {
    Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| damaged(part, "a slot number has a wrong length"))?))
}

fn read_slot(bytes: &[u8], id: &str) -> Result<u32> {
    read_be(bytes, &format!("the entry of id {id:?}"))
}
