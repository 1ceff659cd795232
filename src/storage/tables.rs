//! The typed tables of one collection. Each is a range of keys in sled's tree of records; see
//! [`Table`].
//!
//! | table | key | record |
//! |---|---|---|
//! | items | slot, chunk | id, text, metadata |
//! | ids | external id | slot |
//! | judgements | sequence number | judgement |
//! | queries | hash of a text or vector | the query's numbers |
//! | metrics | version, chunk | chunk 0: header; from 1: the encoded metric |
//! | vectors | slot | numbers of an item that is in no [file](super::manifest) |
//! | meta | name | counters, active metrics, calibrations, the manifest of segment files, row files |
//! | removed | slot | nothing: the item was removed, and a file may still hold its vector |
//!
//! Numbers in keys are big-endian, so that a table iterates in their order. The record of an item
//! or metric is cut into chunks: all but the last are [`CHUNK`] bytes long, and the last is
//! shorter, perhaps empty.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sled::IVec;

use super::digest::{DIGESTED, TableDigest, TableDigests, hash};
use super::disk::DiskOp;
use super::precision::Precision;
use super::records::{CollectionRecord, ItemRecord, JudgementRecord, VersionRecord};
use super::table::Table;
use super::transaction::Transaction;
use super::{Database, codec, damaged, lock, staging};
use crate::model::error::Result;
use crate::model::{Active, VersionId};

/// Greatest length of a value in bytes. sled would put larger values into files of their own beside
/// its log.
pub(super) const CHUNK: usize = 32 << 10;
pub(super) const FORMAT: u8 = 1;
pub(super) const NAMES: [&str; 8] = [
    "items",
    "ids",
    "judgements",
    "queries",
    "metrics",
    "vectors",
    "meta",
    "removed",
];
pub(super) const ITEMS: usize = 0;
pub(super) const IDS: usize = 1;
pub(super) const JUDGEMENTS: usize = 2;
pub(super) const QUERIES: usize = 3;
pub(super) const METRICS: usize = 4;
pub(super) const VECTORS: usize = 5;
pub(super) const META: usize = 6;
pub(super) const REMOVED: usize = 7;

pub(super) const NEXT_SLOT: &str = "next_slot";
pub(super) const NEXT_JUDGEMENT: &str = "next_judgement";
pub(super) const NEXT_VERSION: &str = "next_version";
pub(super) const ACTIVE: &str = "active";
pub(super) const CALIBRATION: &str = "calibration/";
/// Format of calibrations.
pub(super) const CALIBRATION_FORMAT: u8 = 4;

/// The tables of one collection, which read its records and begin its transactions.
pub(crate) struct Tables {
    // Declared first: sled must be closed before the database releases the lock.
    pub(super) table: [Table; NAMES.len()],
    database: Arc<Database>,
    pub(super) number: u32,
    pub(super) dim: usize,
    pub(crate) precision: Precision,
    /// The digests of the tables. Locked while a transaction is committed, so that nobody sees the
    /// tables change without them.
    pub(super) digests: Mutex<TableDigests>,
    /// Number of changes of the digests.
    pub(super) changes: AtomicU64,
    /// Items in slots below this one are visible; see [`staging`](super::staging).
    pub(super) visible: AtomicU32,
    /// Raised whenever judgements or versions changed under a store that is only read.
    pub(super) generation: AtomicU64,
    /// The beginnings of the names of files that are being written and that no record names yet.
    pub(super) pending: Mutex<BTreeSet<String>>,
}

impl Tables {
    /// Opens the tables of a collection.
    pub(crate) fn open(database: Arc<Database>, record: &CollectionRecord) -> Result<Self> {
        let precision = record.precision.parse::<Precision>().map_err(|_| {
            damaged(
                "the collection's settings",
                format!("no precision {:?}", record.precision),
            )
        })?;
        let digests = Mutex::new(database.digests(record.number)?);
        let (number, dim) = (record.number, record.dim as usize);
        Ok(Self {
            table: database.tables(record.number),
            database,
            number,
            dim,
            precision,
            digests,
            changes: AtomicU64::new(0),
            visible: AtomicU32::new(staging::ALL),
            generation: AtomicU64::new(0),
            pending: Mutex::default(),
        })
    }

    /// Whether the store is only read.
    pub(crate) fn is_read_only(&self) -> bool {
        self.database.is_read_only()
    }

    /// The database that the tables are in.
    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    pub(super) fn get(&self, table: usize, key: &[u8]) -> Result<Option<IVec>> {
        self.database
            .disk
            .run(DiskOp::Read, "read a record", || self.table[table].get(key))
    }

    /// All entries of a table, unchecked.
    pub(super) fn raw(&self, table: usize) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        self.database
            .disk
            .walk(ACTIONS[table], self.table[table].iter())
    }

    pub(super) fn prefixed(&self, prefix: &str) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        self.database.disk.walk(
            ACTIONS[META],
            self.table[META].scan_prefix(prefix.as_bytes()),
        )
    }

    /// All entries of a table, and an error at the end when they do not agree with the digest.
    /// After writes during the iteration they cannot be compared, and no error is given.
    fn walk(&self, table: usize) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        let state = move || {
            let digests = lock(&self.digests);
            (digests[table], self.changes.load(Ordering::Relaxed))
        };
        let (should, changes) = state();
        let mut found = TableDigest::default();
        let mut entries = self.raw(table);
        let mut ended = false;
        std::iter::from_fn(move || match entries.next() {
            Some(Ok((key, value))) => {
                found.add(entry_hash(table, &key, &value));
                Some(Ok((key, value)))
            }
            None if !ended => {
                ended = true;
                let reason = found.differs(should).filter(|_| state().1 == changes)?;
                Some(Err(damaged(
                    format!("the table {}/{}", self.number, NAMES[table]),
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

    /// The first slot that was never given out.
    pub(crate) fn next_slot(&self) -> Result<u32> {
        let next = self.counter(NEXT_SLOT)?;
        u32::try_from(next).map_err(|_| damaged(NEXT_SLOT, format!("{next} is no slot number")))
    }

    /// The first number of a judgement that was never given out.
    pub(crate) fn next_judgement(&self) -> Result<u64> {
        self.counter(NEXT_JUDGEMENT)
    }

    /// The first number of a metric version that was never given out, at least 1.
    pub(crate) fn next_version(&self) -> Result<u32> {
        let next = self.counter(NEXT_VERSION)?;
        u32::try_from(next.max(1))
            .map_err(|_| damaged(NEXT_VERSION, format!("{next} is no version number")))
    }

    /// The active metric versions.
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

    /// The slot of an external id; `None` where no live item has it.
    pub(crate) fn slot(&self, id: &str) -> Result<Option<u32>> {
        let stored = self.stored_slot(id)?;
        Ok(stored.and_then(|stored| self.visible_of(stored)))
    }

    /// What is stored of an external id.
    pub(super) fn stored_slot(&self, id: &str) -> Result<Option<StoredSlot>> {
        self.get(IDS, id.as_bytes())?
            .map(|bytes| StoredSlot::read(&bytes, id))
            .transpose()
    }

    fn visible_of(&self, stored: StoredSlot) -> Option<u32> {
        stored.below(self.visible.load(Ordering::Acquire))
    }

    /// An entry of the table of ids, if it is visible.
    fn visible(&self, entry: Result<(IVec, IVec)>) -> Option<Result<(String, u32)>> {
        match entry.and_then(read_id) {
            Ok((id, stored)) => Some(Ok((id, self.visible_of(stored)?))),
            Err(error) => Some(Err(error)),
        }
    }

    /// All live ids with their slots, ordered by id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Result<(String, u32)>> {
        self.walk(IDS).filter_map(|entry| self.visible(entry))
    }

    /// The live ids after one that need not be there, or all, with their slots, ordered by id. They
    /// are not compared with the digest, because they need not be all.
    pub(crate) fn ids_after<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<(String, u32)>> + use<'a> {
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        let range = self.table[IDS].range::<&[u8]>((start, Bound::Unbounded));
        self.database
            .disk
            .walk(ACTIONS[IDS], range)
            .filter_map(|entry| self.visible(entry))
    }

    /// Number of live items.
    pub(crate) fn id_count(&self) -> u64 {
        lock(&self.digests)[IDS].entries
    }

    /// The record of the item in a slot.
    pub(crate) fn item(&self, slot: u32) -> Result<Option<ItemRecord>> {
        let bytes = self.record(ITEMS, slot, 0)?;
        bytes
            .map(|bytes| ItemRecord::decode(&bytes, slot))
            .transpose()
    }

    /// The vectors of the table of vectors in slots from `first` on, in the order of slots.
    pub(super) fn vectors_from(&self, first: u32) -> impl Iterator<Item = Result<(u32, Vec<f32>)>> {
        let range = self.table[VECTORS].range(first.to_be_bytes()..);
        self.database
            .disk
            .walk(ACTIONS[VECTORS], range)
            .map(|entry| self.read_slot_vector(entry?))
    }

    fn read_slot_vector(&self, (key, value): (IVec, IVec)) -> Result<(u32, Vec<f32>)> {
        let slot = read_be(&key, "the table of vectors")?;
        Ok((slot, self.read_item_vector(&value, slot)?))
    }

    /// The vector of an item, which is in the collection's precision or, as its length tells, in f32.
    pub(super) fn read_item_vector(&self, bytes: &[u8], slot: u32) -> Result<Vec<f32>> {
        let part = || format!("the vector of slot {slot}");
        let is_f32 = codec::unseal(FORMAT, bytes, &part)?.len() == Precision::F32.bytes(self.dim);
        let precision = if is_f32 {
            Precision::F32
        } else {
            self.precision
        };
        self.read_vector(bytes, precision, &part)
    }

    pub(super) fn read_vector(
        &self,
        bytes: &[u8],
        precision: Precision,
        part: &dyn Fn() -> String,
    ) -> Result<Vec<f32>> {
        let payload = codec::unseal(FORMAT, bytes, part)?;
        precision
            .decode(payload, self.dim)
            .ok_or_else(|| damaged(part(), "its numbers do not fit"))
    }

    /// The vector of a judged query, by its hash.
    pub(crate) fn query(&self, hash: [u8; 16]) -> Result<Option<Vec<f32>>> {
        let bytes = self.get(QUERIES, &hash)?;
        bytes
            .map(|bytes| self.read_vector(&bytes, Precision::F32, &|| "a judged query".to_owned()))
            .transpose()
    }

    /// All judgements with their numbers, in the order in which they were given.
    pub(crate) fn judgements(&self) -> impl Iterator<Item = Result<(u64, JudgementRecord)>> {
        self.walk(JUDGEMENTS).map(|entry| {
            let (key, value) = entry?;
            let sequence = read_sequence(&key)?;
            Ok((sequence, JudgementRecord::decode(&value, sequence)?))
        })
    }

    /// Number of judgements.
    pub(crate) fn judgement_count(&self) -> usize {
        lock(&self.digests)[JUDGEMENTS].entries as usize
    }

    /// The header of a metric version.
    pub(crate) fn version(&self, version: u32) -> Result<Option<VersionRecord>> {
        let bytes = self.get(METRICS, &chunk_key(version, 0))?;
        bytes
            .map(|bytes| VersionRecord::decode(&bytes, version))
            .transpose()
    }

    /// Numbers and headers of all metric versions, in their order.
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

    /// The encoded metric of a version.
    pub(crate) fn metric(&self, version: u32) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.record(METRICS, version, 1)? else {
            return Ok(None);
        };
        let part = || format!("the matrix of metric version {version}");
        codec::unseal(FORMAT, &bytes, &part).map(|payload| Some(payload.to_vec()))
    }

    /// The calibrations by metric version, as the index encodes them. Damaged records are left out,
    /// because recall can be measured again.
    pub(crate) fn calibrations(&self) -> Result<BTreeMap<u32, Vec<u8>>> {
        let mut all = BTreeMap::new();
        for entry in self.prefixed(CALIBRATION) {
            let (key, value) = entry?;
            let key = String::from_utf8_lossy(&key[CALIBRATION.len()..]).into_owned();
            let part = || format!("calibration {key}");
            let payload = codec::unseal(CALIBRATION_FORMAT, &value, &part);
            if let (Ok(version), Ok(payload)) = (key.parse(), payload) {
                all.insert(version, payload.to_vec());
            }
        }
        Ok(all)
    }

    /// The bytes of one record, put together from its chunks from number `first` on.
    fn record(&self, table: usize, number: u32, first: u16) -> Result<Option<Vec<u8>>> {
        let Some(chunk) = self.get(table, &chunk_key(number, first))? else {
            return Ok(None);
        };
        let mut bytes = chunk.to_vec();
        let mut last = chunk.len();
        let mut at = first;
        while last == CHUNK {
            at = at
                .checked_add(1)
                .ok_or_else(|| damaged("a record", "it has too many chunks"))?;
            let Some(next) = self.get(table, &chunk_key(number, at))? else {
                return Err(damaged(
                    format!("record {number} of the table {}", NAMES[table]),
                    "a part of it is missing",
                ));
            };
            last = next.len();
            bytes.extend_from_slice(&next);
        }
        Ok(Some(bytes))
    }

    /// The keys of the chunks of one record, from number `first` on.
    pub(super) fn chunk_keys(
        &self,
        table: usize,
        number: u32,
        first: u16,
    ) -> impl Iterator<Item = Result<IVec>> {
        let range = self.table[table].range(chunk_key(number, first)..=chunk_key(number, u16::MAX));
        self.database
            .disk
            .walk("read a record", range)
            .map(|entry| Ok(entry?.0))
    }

    /// Takes items, given as slots with their ids, out of the tables of a store that is only read,
    /// for those only who hold these tables.
    pub(crate) fn hide_items(&self, items: &BTreeMap<u32, &str>) -> Result<()> {
        let mut chunks = Vec::new();
        for slot in items.keys() {
            chunks.extend(self.chunk_keys(ITEMS, *slot, 0));
        }
        let chunks = chunks.into_iter().collect::<Result<Vec<IVec>>>()?;
        let slots: Vec<[u8; 4]> = items.keys().map(|slot| slot.to_be_bytes()).collect();
        let mut digests = lock(&self.digests);
        self.table[ITEMS].hide(chunks.iter().map(AsRef::as_ref));
        self.table[IDS].hide(items.values().map(|id| id.as_bytes()));
        self.table[VECTORS].hide(slots.iter().map(<[u8; 4]>::as_slice));
        for (slot, id) in items {
            digests[IDS].remove(entry_hash(IDS, id.as_bytes(), &slot.to_be_bytes()));
        }
        for key in chunks {
            digests[ITEMS].remove(entry_hash(ITEMS, &key, &[]));
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until a commit is on disk, when durability is strict.
    pub(crate) fn make_durable(&self, commit: u64) -> Result<()> {
        self.database.make_durable(commit)
    }

    /// Begins a transaction.
    pub(crate) fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self)
    }
}

/// The operation of reading each table, for messages.
pub(super) const ACTIONS: [&str; NAMES.len()] = [
    "read the items",
    "read the ids",
    "read the judgements",
    "read the judged queries",
    "read the metric versions",
    "read the vectors",
    "read the counters",
    "read the removed slots",
];

/// The hash of an entry in the digest of its table. It covers the value of an id, which has no
/// checksum of its own.
pub(super) fn entry_hash(table: usize, key: &[u8], value: &[u8]) -> u64 {
    debug_assert!(table < DIGESTED, "only tables with a digest are hashed");
    hash(key, if table == IDS { value } else { &[] })
}

pub(super) fn chunk_key(number: u32, part: u16) -> [u8; 6] {
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

/// What is stored of an external id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredSlot {
    /// The slot of its item.
    One(u32),
    /// The slots of its item and of one that is to replace it; see [`staging`](super::staging).
    Both(u32, u32),
    /// The slot of its item, which is not visible once this other slot is.
    Leaving(u32, u32),
}

impl StoredSlot {
    fn read(bytes: &[u8], id: &str) -> Result<Self> {
        let part = || format!("the entry of id {id:?}");
        let two = |old, new| Ok((read_be(old, &part())?, read_be(new, &part())?));
        match (bytes.len(), bytes.split_at_checked(size_of::<u32>())) {
            (8, Some((old, new))) => two(old, new).map(|(old, new)| Self::Both(old, new)),
            (9, Some((old, [at @ .., 0]))) => two(old, at).map(|(old, at)| Self::Leaving(old, at)),
            _ => read_be(bytes, &part()).map(Self::One),
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::One(slot) => slot.to_be_bytes().into(),
            Self::Both(old, new) => [old.to_be_bytes(), new.to_be_bytes()].concat(),
            Self::Leaving(old, at) => [&old.to_be_bytes()[..], &at.to_be_bytes(), &[0]].concat(),
        }
    }

    /// The last of the slots.
    pub(super) fn last(self) -> u32 {
        match self {
            Self::One(slot) | Self::Both(_, slot) | Self::Leaving(_, slot) => slot,
        }
    }

    /// The slot of the item if slots below a bound are visible.
    fn below(self, bound: u32) -> Option<u32> {
        match self {
            Self::One(slot) | Self::Both(_, slot) if slot < bound => Some(slot),
            Self::Leaving(_, at) if at < bound => None,
            Self::Both(old, _) | Self::Leaving(old, _) => Some(old),
            Self::One(_) => None,
        }
    }
}

/// An entry of the table of ids.
pub(super) fn read_id((key, value): (IVec, IVec)) -> Result<(String, StoredSlot)> {
    let id = std::str::from_utf8(&key)
        .map_err(|_| damaged("the table of ids", "an id is not UTF-8"))?
        .to_owned();
    let stored = StoredSlot::read(&value, &id)?;
    Ok((id, stored))
}

fn read_sequence(key: &[u8]) -> Result<u64> {
    let key = key
        .try_into()
        .map_err(|_| damaged("the table of judgements", "a key has a wrong length"))?;
    Ok(u64::from_be_bytes(key))
}
