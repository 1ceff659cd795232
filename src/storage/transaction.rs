//! Transactions on the tables of one collection, which keep the table digests up to date.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::batch::Batch;
use super::catalog::put_digests;
use super::digest::Delta;
use super::precision::Precision;
use super::records::{ItemRecord, JudgementRecord, VersionRecord};
use super::table::Changes;
use super::tables::{
    ACTIVE, CALIBRATION, CALIBRATION_FORMAT, CHUNK, FORMAT, IDS, ITEMS, JUDGEMENTS, META, METRICS,
    NAMES, NEXT_JUDGEMENT, NEXT_SLOT, NEXT_VERSION, QUERIES, REMOVED, StoredSlot, Tables, VECTORS,
    chunk_key, entry_hash,
};
use super::{codec, damaged, lock};
use crate::model::error::Result;

/// Changes of one collection that are committed together.
pub(crate) struct Transaction<'a> {
    tables: &'a Tables,
    batch: Batch,
    /// Changes of the catalogue that go with them.
    pub(super) catalog: Batch,
    /// Whether there is any change.
    is_used: bool,
    delta: Delta,
    /// The keys that [`Self::put`] and [`Self::remove`] changed, each with whether it is there now.
    touched: HashMap<(usize, Vec<u8>), bool>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(tables: &'a Tables) -> Self {
        Self {
            tables,
            batch: Batch::default(),
            catalog: Batch::default(),
            is_used: false,
            delta: Delta::default(),
            touched: HashMap::new(),
        }
    }

    /// The changes of a table.
    pub(super) fn batch(&mut self, table: usize) -> Changes<'_> {
        self.is_used = true;
        self.tables.table[table].changes(&mut self.batch)
    }

    /// Changes the digest of a table by an added entry (`by` is 1) or a removed one (-1).
    fn count(&mut self, table: usize, by: i64, key: &[u8], value: &[u8]) {
        let (entries, keys) = &mut self.delta[table];
        *entries += by;
        *keys ^= entry_hash(table, key, value);
    }

    /// Puts an entry under a key that is not in use.
    fn put_new(&mut self, table: usize, key: &[u8], value: impl Into<sled::IVec>) {
        self.count(table, 1, key, &[]);
        self.batch(table).insert(key, value);
    }

    /// Whether a key is there after the changes so far.
    fn is_there(&self, table: usize, key: &[u8]) -> Result<bool> {
        match self.touched.get(&(table, key.to_vec())) {
            Some(there) => Ok(*there),
            None => Ok(self.tables.get(table, key)?.is_some()),
        }
    }

    /// Puts an entry under a key that may be in use.
    fn put(&mut self, table: usize, key: &[u8], value: impl Into<sled::IVec>) -> Result<()> {
        if !self.is_there(table, key)? {
            self.count(table, 1, key, &[]);
        }
        self.touched.insert((table, key.to_vec()), true);
        self.batch(table).insert(key, value);
        Ok(())
    }

    /// Removes an entry, if it is there.
    pub(super) fn remove(&mut self, table: usize, key: &[u8]) -> Result<()> {
        if self.is_there(table, key)? {
            self.count(table, -1, key, &[]);
        }
        self.touched.insert((table, key.to_vec()), false);
        self.batch(table).remove(key);
        Ok(())
    }

    /// Stores the record and the end of an item in a slot that was never used.
    pub(super) fn put_item(&mut self, slot: u32, item: &ItemRecord) -> Result<()> {
        let bytes = item.encode()?;
        self.put_chunks(ITEMS, slot, 0, &bytes);
        if let Some(end) = item.expires {
            self.put_end(end, slot);
        }
        Ok(())
    }

    /// Stores the vector in a slot: in f32, where its numbers are not those of the precision.
    pub(super) fn put_vector(&mut self, slot: u32, vector: &[f32]) {
        let payload = self.tables.precision.encode_again(vector);
        let payload = payload.unwrap_or_else(|| Precision::F32.encode(vector));
        self.batch(VECTORS)
            .insert(slot.to_be_bytes(), codec::seal(FORMAT, &payload));
    }

    /// Stores the slot of an id that is not in use.
    pub(super) fn put_id(&mut self, id: &str, slot: u32) {
        self.count_id(1, id, StoredSlot::One(slot));
        self.batch(IDS).insert(id, &slot.to_be_bytes());
    }

    /// Changes what is stored of an id.
    pub(super) fn replace_id(&mut self, id: &str, before: StoredSlot, after: StoredSlot) {
        self.count_id(-1, id, before);
        self.count_id(1, id, after);
        self.batch(IDS).insert(id, after.to_bytes());
    }

    /// Removes an id, of which this is stored.
    pub(super) fn remove_id(&mut self, id: &str, stored: StoredSlot) {
        self.count_id(-1, id, stored);
        self.batch(IDS).remove(id);
    }

    fn count_id(&mut self, by: i64, id: &str, stored: StoredSlot) {
        self.count(IDS, by, id.as_bytes(), &stored.to_bytes());
    }

    /// Removes the record, vector and id of an item.
    pub(crate) fn remove_item(&mut self, id: &str, slot: u32) -> Result<()> {
        self.remove_id(id, StoredSlot::One(slot));
        self.remove_record(slot)
    }

    /// Removes the record and vector of an item.
    pub(super) fn remove_record(&mut self, slot: u32) -> Result<()> {
        self.batch(VECTORS).remove(slot.to_be_bytes());
        self.batch(REMOVED).insert(slot.to_be_bytes(), &[]);
        self.remove_chunks(ITEMS, slot, 0)
    }

    /// Stores a judgement under a number that was never used.
    pub(crate) fn put_judgement(
        &mut self,
        sequence: u64,
        judgement: &JudgementRecord,
    ) -> Result<()> {
        self.put_new(JUDGEMENTS, &sequence.to_be_bytes(), judgement.encode()?);
        Ok(())
    }

    /// Removes a judgement.
    pub(crate) fn remove_judgement(&mut self, sequence: u64) -> Result<()> {
        self.remove(JUDGEMENTS, &sequence.to_be_bytes())
    }

    /// Stores the vector of a judged query under its hash.
    pub(crate) fn put_query(&mut self, hash: [u8; 16], vector: &[f32]) -> Result<()> {
        self.put(
            QUERIES,
            &hash,
            codec::seal(FORMAT, &Precision::F32.encode(vector)),
        )
    }

    /// Removes the vector of a judged query.
    pub(crate) fn remove_query(&mut self, hash: [u8; 16]) -> Result<()> {
        self.remove(QUERIES, &hash)
    }

    /// Stores the encoded metric of a new version.
    pub(crate) fn put_metric(&mut self, version: u32, metric: &[u8]) {
        self.put_chunks(METRICS, version, 1, &codec::seal(FORMAT, metric));
    }

    pub(crate) fn put_version_header(
        &mut self,
        version: u32,
        record: &VersionRecord,
    ) -> Result<()> {
        self.put(METRICS, &chunk_key(version, 0), record.encode()?)
    }

    /// Removes the encoded metric of a version and keeps its header.
    pub(crate) fn remove_metric(&mut self, version: u32) -> Result<()> {
        self.remove_chunks(METRICS, version, 1)
    }

    /// Removes the header and the encoded metric of a version.
    pub(crate) fn remove_version(&mut self, version: u32) -> Result<()> {
        self.remove_chunks(METRICS, version, 0)
    }

    /// Sets the active metric version of a user, or of the collection.
    pub(crate) fn set_active(&mut self, user: Option<&str>, version: u32) {
        let key = user.map_or_else(|| ACTIVE.to_owned(), |user| format!("{ACTIVE}/{user}"));
        self.batch(META)
            .insert(key.as_bytes(), &u64::from(version).to_le_bytes());
    }

    /// Removes the active metric of a user, for whom that of the collection is then used.
    pub(crate) fn clear_active(&mut self, user: &str) {
        self.batch(META)
            .remove(format!("{ACTIVE}/{user}").as_bytes());
    }

    pub(crate) fn set_next_slot(&mut self, next: u32) {
        self.batch(META)
            .insert(NEXT_SLOT, &u64::from(next).to_le_bytes());
    }

    pub(crate) fn set_next_judgement(&mut self, next: u64) {
        self.batch(META).insert(NEXT_JUDGEMENT, &next.to_le_bytes());
    }

    pub(crate) fn set_next_version(&mut self, next: u32) {
        self.batch(META)
            .insert(NEXT_VERSION, &u64::from(next).to_le_bytes());
    }

    /// Stores the calibration of a metric version, as the index encodes it.
    pub(crate) fn put_calibration(&mut self, version: u32, encoded: &[u8]) {
        let key = format!("{CALIBRATION}{version}");
        self.batch(META)
            .insert(key.as_bytes(), codec::seal(CALIBRATION_FORMAT, encoded));
    }

    /// Removes the calibration of a metric version.
    pub(crate) fn remove_calibration(&mut self, version: u32) {
        self.batch(META)
            .remove(format!("{CALIBRATION}{version}").as_bytes());
    }

    fn put_chunks(&mut self, table: usize, number: u32, first: u16, bytes: &[u8]) {
        let mut rest = bytes;
        let mut chunk = first;
        loop {
            let (now, later) = rest.split_at(rest.len().min(CHUNK));
            self.put_new(table, &chunk_key(number, chunk), now);
            if now.len() < CHUNK {
                return;
            }
            rest = later;
            chunk += 1;
        }
    }

    fn remove_chunks(&mut self, table: usize, number: u32, first: u16) -> Result<()> {
        let tables = self.tables;
        for key in tables.chunk_keys(table, number, first) {
            self.remove(table, &key?)?;
        }
        Ok(())
    }

    /// Commits the changes, all or none, and waits until they are on disk.
    pub(crate) fn commit(self) -> Result<()> {
        let database = self.tables.database();
        match self.apply()? {
            Some(number) => database.make_durable(number),
            None => Ok(()),
        }
    }

    /// Commits the changes, all or none; they are on disk once a later commit is. Gives the number
    /// of the commit, if there was anything to commit.
    pub(super) fn apply(self) -> Result<Option<u64>> {
        let Self {
            tables,
            batch,
            mut catalog,
            is_used,
            delta,
            ..
        } = self;
        if !is_used {
            return Ok(None);
        }
        if delta == Delta::default() {
            return tables.database().apply(&batch, catalog).map(Some);
        }
        let mut digests = lock(&tables.digests);
        let mut changed = *digests;
        for (table, (count, delta)) in changed.iter_mut().zip(delta).enumerate() {
            *count = count.changed(delta).ok_or_else(|| {
                damaged(
                    format!("the table {}/{}", tables.number, NAMES[table]),
                    "it holds fewer entries than are removed",
                )
            })?;
        }
        put_digests(&mut catalog, tables.number, &changed)?;
        tables.changes.fetch_add(1, Ordering::Relaxed);
        let number = tables.database().apply(&batch, catalog)?;
        *digests = changed;
        Ok(Some(number))
    }
}
