//! A collection's transaction: what is to be changed, and how that changes the tally.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use sled::Batch;

use super::catalog::put_tally;
use super::precision::Precision;
use super::records::{ItemRecord, JudgementRecord, VersionRecord};
use super::shelf::{
    ACTIVE, CALIBRATION, CHUNK, FORMAT, GRAPH, IDS, ITEMS, JUDGEMENTS, META, METRICS, NAMES,
    NEXT_JUDGEMENT, NEXT_SLOT, NEXT_VERSION, QUERIES, REMOVED, Shelf, VECTORS, entry_hash,
    part_key, segment_of,
};
use super::tally::Delta;
use super::{codec, damaged, lock};
use crate::error::Result;

/// Changes that become durable together.
pub(crate) struct Writes<'a> {
    shelf: &'a Shelf,
    /// One a tree that is written to.
    batches: [Option<Batch>; NAMES.len()],
    delta: Delta,
    /// Whether a key that was put or removed with [`Self::put`] or [`Self::remove`] is there after
    /// the changes so far.
    touched: HashMap<(usize, Vec<u8>), bool>,
}

impl<'a> Writes<'a> {
    pub(super) fn new(shelf: &'a Shelf) -> Self {
        Self {
            shelf,
            batches: Default::default(),
            delta: Delta::default(),
            touched: HashMap::new(),
        }
    }

    pub(super) fn batch(&mut self, tree: usize) -> &mut Batch {
        self.batches[tree].get_or_insert_default()
    }

    pub(super) fn shelf(&self) -> &'a Shelf {
        self.shelf
    }

    /// Counts an entry in (1) or out (-1).
    fn count(&mut self, tree: usize, by: i64, key: &[u8], value: &[u8]) {
        let (entries, keys) = &mut self.delta[tree];
        *entries += by;
        *keys ^= entry_hash(tree, key, value);
    }

    /// Puts an entry under a key that was never used.
    fn put_new(&mut self, tree: usize, key: &[u8], value: impl Into<sled::IVec>) {
        self.count(tree, 1, key, &[]);
        self.batch(tree).insert(key, value);
    }

    /// Whether a key is there after the changes so far.
    fn is_there(&self, tree: usize, key: &[u8]) -> Result<bool> {
        match self.touched.get(&(tree, key.to_vec())) {
            Some(there) => Ok(*there),
            None => Ok(self.shelf.get(tree, key)?.is_some()),
        }
    }

    /// Puts an entry under a key that may be used.
    fn put(&mut self, tree: usize, key: &[u8], value: impl Into<sled::IVec>) -> Result<()> {
        if !self.is_there(tree, key)? {
            self.count(tree, 1, key, &[]);
        }
        self.touched.insert((tree, key.to_vec()), true);
        self.batch(tree).insert(key, value);
        Ok(())
    }

    /// Removes an entry, if it is there.
    fn remove(&mut self, tree: usize, key: &[u8]) -> Result<()> {
        if self.is_there(tree, key)? {
            self.count(tree, -1, key, &[]);
        }
        self.touched.insert((tree, key.to_vec()), false);
        self.batch(tree).remove(key);
        Ok(())
    }

    /// Stores an item in a fresh slot. An id that is taken must be removed before.
    pub(crate) fn put_item(&mut self, slot: u32, item: &ItemRecord, vector: &[f32]) -> Result<()> {
        let bytes = item.encode()?;
        self.put_parts(ITEMS, slot, 0, &bytes);
        self.put_id(&item.id, slot);
        let payload = self.shelf.precision.encode(vector);
        self.put_new(VECTORS, &slot.to_be_bytes(), codec::seal(FORMAT, &payload));
        Ok(())
    }

    /// Lets an id that is free stand for a slot.
    pub(crate) fn put_id(&mut self, id: &str, slot: u32) {
        self.count(IDS, 1, id.as_bytes(), &slot.to_be_bytes());
        self.batch(IDS).insert(id.as_bytes(), &slot.to_be_bytes());
    }

    /// Removes an item's record and vector, and the id that stands for its slot.
    pub(crate) fn remove_item(&mut self, id: &str, slot: u32) -> Result<()> {
        self.remove(VECTORS, &slot.to_be_bytes())?;
        self.count(IDS, -1, id.as_bytes(), &slot.to_be_bytes());
        self.batch(IDS).remove(id.as_bytes());
        self.batch(REMOVED).insert(&slot.to_be_bytes(), &[]);
        self.remove_parts(ITEMS, slot, 0)
    }

    pub(crate) fn put_judgement(
        &mut self,
        sequence: u64,
        judgement: &JudgementRecord,
    ) -> Result<()> {
        self.put_new(JUDGEMENTS, &sequence.to_be_bytes(), judgement.encode()?);
        Ok(())
    }

    pub(crate) fn remove_judgement(&mut self, sequence: u64) -> Result<()> {
        self.remove(JUDGEMENTS, &sequence.to_be_bytes())
    }

    pub(crate) fn put_query(&mut self, hash: [u8; 16], vector: &[f32]) -> Result<()> {
        self.put(
            QUERIES,
            &hash,
            codec::seal(FORMAT, &Precision::F32.encode(vector)),
        )
    }

    pub(crate) fn remove_query(&mut self, hash: [u8; 16]) -> Result<()> {
        self.remove(QUERIES, &hash)
    }

    /// Stores the encoded metric of a new version.
    pub(crate) fn put_metric(&mut self, version: u32, metric: &[u8]) {
        self.put_parts(METRICS, version, 1, &codec::seal(FORMAT, metric));
    }

    pub(crate) fn put_version_header(
        &mut self,
        version: u32,
        record: &VersionRecord,
    ) -> Result<()> {
        self.put(METRICS, &part_key(version, 0), record.encode()?)
    }

    /// Removes a version's matrix and leaves its header.
    pub(crate) fn remove_metric(&mut self, version: u32) -> Result<()> {
        self.remove_parts(METRICS, version, 1)
    }

    pub(crate) fn set_active(&mut self, user: Option<&str>, version: u32) {
        let key = user.map_or_else(|| ACTIVE.to_owned(), |user| format!("{ACTIVE}/{user}"));
        self.batch(META)
            .insert(key.as_bytes(), &u64::from(version).to_le_bytes());
    }

    /// A user without a metric of their own is answered under the collection's.
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

    /// Stores a segment's chunks.
    pub(crate) fn put_segment(&mut self, segment: u64, chunks: &[Vec<u8>]) {
        for (number, chunk) in chunks.iter().enumerate() {
            let key = [
                segment.to_be_bytes().as_slice(),
                &(number as u32).to_be_bytes(),
            ]
            .concat();
            self.batch(GRAPH).insert(key, chunk.as_slice());
        }
    }

    /// Stores the measured recall of beam widths under a metric.
    pub(crate) fn put_calibration(&mut self, version: u32, curve: &[(usize, f64)]) -> Result<()> {
        let key = format!("{CALIBRATION}{version}");
        self.batch(META)
            .insert(key.as_bytes(), codec::encode(FORMAT, &curve)?);
        Ok(())
    }

    /// Removes what was measured under a metric.
    pub(crate) fn remove_calibration(&mut self, version: u32) {
        self.batch(META)
            .remove(format!("{CALIBRATION}{version}").as_bytes());
    }

    /// Removes the stored segments that are not in `keep`.
    pub(crate) fn retain_segments(&mut self, keep: &[u64]) -> Result<()> {
        let shelf = self.shelf;
        for entry in shelf.raw(GRAPH) {
            let (key, _) = entry?;
            if !segment_of(&key).is_ok_and(|segment| keep.contains(&segment)) {
                self.batch(GRAPH).remove(key);
            }
        }
        Ok(())
    }

    /// Forgets what was removed: nothing of it can be in an image.
    pub(crate) fn forget_removed(&mut self) -> Result<()> {
        let shelf = self.shelf;
        for entry in shelf.raw(REMOVED) {
            self.batch(REMOVED).remove(entry?.0);
        }
        Ok(())
    }

    fn put_parts(&mut self, tree: usize, number: u32, first: u16, bytes: &[u8]) {
        let mut rest = bytes;
        let mut part = first;
        loop {
            let (now, later) = rest.split_at(rest.len().min(CHUNK));
            self.put_new(tree, &part_key(number, part), now);
            if now.len() < CHUNK {
                return;
            }
            rest = later;
            part += 1;
        }
    }

    fn remove_parts(&mut self, tree: usize, number: u32, first: u16) -> Result<()> {
        let shelf = self.shelf;
        for key in shelf.part_keys(tree, number, first) {
            self.remove(tree, &key?)?;
        }
        Ok(())
    }

    /// Makes the changes durable, all or none.
    pub(crate) fn commit(self) -> Result<()> {
        let Self {
            shelf,
            batches,
            delta,
            ..
        } = self;
        let used: Vec<_> = shelf
            .trees
            .iter()
            .zip(batches)
            .filter_map(|(tree, batch)| Some((tree, batch?)))
            .collect();
        if used.is_empty() {
            return Ok(());
        }
        if delta == Delta::default() {
            return shelf.database().commit(&used, Batch::default());
        }
        let mut tally = lock(&shelf.tally);
        let mut changed = *tally;
        for (tree, (count, delta)) in changed.iter_mut().zip(delta).enumerate() {
            *count = count.changed(delta).ok_or_else(|| {
                damaged(
                    format!("the tree {}/{}", shelf.number, NAMES[tree]),
                    "it holds fewer entries than are removed",
                )
            })?;
        }
        let mut catalog = Batch::default();
        put_tally(&mut catalog, shelf.number, &changed)?;
        shelf.changes.fetch_add(1, Ordering::Relaxed);
        shelf.database().commit(&used, catalog)?;
        *tally = changed;
        Ok(())
    }
}
