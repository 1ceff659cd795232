//! Writes of items that are too large for one transaction: they are committed in parts, and one more
//! commit makes all of them visible at once.
//!
//! sled keeps every page that a transaction replaces in memory until it is committed, so that one
//! with a hundred thousand entries takes gigabytes.
//!
//! The slots of staged items are at and above the collection's next slot, and the commit that makes
//! them visible sets that. Where a staged item replaces another, the entry of its id has both slots
//! until then, and the replaced item is removed after it; so is one that is only removed. While any of this is under way, a mark in
//! the catalogue names the collection; where it is found on opening, the write is undone if it did
//! not become visible, and finished if it did.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Database;
use super::batch::Batch;
use super::catalog::STAGED;
use super::records::ItemRecord;
use super::tables::{IDS, ITEMS, StoredSlot, Tables, VECTORS, chunk_key, read_id};
use super::transaction::Transaction;
use crate::model::error::Result;

/// Writes with more items, or with more bytes of them, are staged.
const WHOLE: (usize, usize) = (1024, 4 << 20);
/// Items of one part, and bytes of them.
const PART: (usize, usize) = (512, 1 << 20);
/// Everything is visible.
pub(super) const ALL: u32 = u32::MAX;

/// The key of the mark of a collection.
pub(super) fn mark(number: u32) -> String {
    format!("{STAGED}{number}")
}

/// About how many bytes an item takes.
fn bytes_of(record: &ItemRecord, vector: &[f32]) -> usize {
    let text = record.text.as_ref().map_or(0, String::len);
    record.id.len() + text + record.meta.len() + size_of_val(vector)
}

/// Items that are written together, and those that they replace or that are removed.
pub(crate) struct ItemWrite<'a, I> {
    /// The slot of the first item: the next slot of the collection.
    pub(crate) first: u32,
    /// Records and vectors, in the order of their slots.
    pub(crate) items: I,
    /// The items that are replaced or removed, by slot, with their ids.
    pub(crate) removed: BTreeMap<u32, &'a str>,
    /// Ends that have come and are removed, in milliseconds since 1970, with their slots.
    pub(crate) ended: &'a [(i64, u32)],
}

impl<'a, I> ItemWrite<'a, I>
where
    I: ExactSizeIterator<Item = (&'a ItemRecord, &'a [f32])> + Clone,
{
    fn numbered(&self) -> impl Iterator<Item = (u32, &'a ItemRecord, &'a [f32])> + use<'a, I> {
        (self.first..)
            .zip(self.items.clone())
            .map(|(slot, (record, vector))| (slot, record, vector))
    }

    fn vectors(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + Clone + use<'a, I> {
        self.items.clone().map(|(_, vector)| vector)
    }

    fn is_small(&self) -> bool {
        let bytes = self
            .items
            .clone()
            .map(|(record, vector)| bytes_of(record, vector));
        let entries = self.items.len() + self.removed.len() + self.ended.len();
        entries <= WHOLE.0 && bytes.sum::<usize>() <= WHOLE.1
    }
}

/// Changes that are committed part by part.
pub(super) struct Parts<'a> {
    tables: &'a Tables,
    part: Transaction<'a>,
    items: usize,
    bytes: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn of(tables: &'a Tables) -> Self {
        Self {
            tables,
            part: tables.transaction(),
            items: 0,
            bytes: 0,
        }
    }

    /// Makes a change of about so many bytes.
    pub(super) fn change(
        &mut self,
        bytes: usize,
        change: impl FnOnce(&mut Transaction<'a>) -> Result<()>,
    ) -> Result<()> {
        change(&mut self.part)?;
        self.items += 1;
        self.bytes += bytes;
        if self.items >= PART.0 || self.bytes > PART.1 {
            std::mem::replace(&mut self.part, self.tables.transaction()).apply()?;
            (self.items, self.bytes) = (0, 0);
        }
        Ok(())
    }

    /// Commits what is left.
    pub(super) fn end(self) -> Result<()> {
        self.part.apply().map(drop)
    }
}

impl Tables {
    /// Commits a write of items: all of it, or nothing. Gives the number of the commit, which is not
    /// durable yet.
    pub(crate) fn commit_items<'a, I>(&self, write: &ItemWrite<'a, I>) -> Result<u64>
    where
        I: ExactSizeIterator<Item = (&'a ItemRecord, &'a [f32])> + Clone,
    {
        if write.is_small() {
            let mut whole = self.transaction();
            for (end, slot) in write.ended {
                whole.remove_end(*end, *slot);
            }
            for (slot, id) in &write.removed {
                whole.remove_item(id, *slot)?;
            }
            let rows = self.write_row_file(write.first, write.vectors())?;
            for (slot, record, vector) in write.numbered() {
                whole.put_item(slot, record)?;
                if rows.is_none() {
                    whole.put_vector(slot, vector);
                }
                whole.put_id(&record.id, slot);
            }
            if let Some(rows) = &rows {
                rows.put(&mut whole)?;
            }
            if write.items.len() > 0 {
                whole.set_next_slot(write.first + write.items.len() as u32);
            }
            return applied(whole);
        }
        let rows = self.write_row_file(write.first, write.vectors())?;
        self.visible.store(write.first, Ordering::Release);
        let staged = self.stage(write, rows.is_none()).and_then(|()| {
            let mut last = self.transaction();
            if let Some(rows) = &rows {
                rows.put(&mut last)?;
            }
            // The slot from which on removed items are not visible is used up too.
            last.set_next_slot(write.first + write.items.len().max(1) as u32);
            last.apply()
        });
        self.visible.store(ALL, Ordering::Release);
        match staged {
            // What is visible cannot be undone, and what is left of it must not be built upon.
            Ok(_) => self
                .finish(&write.removed, write.ended)
                .inspect_err(|error| {
                    let disk = &self.database().disk;
                    disk.poison(&format!("a write could not be finished: {error}"));
                }),
            Err(error) => {
                if self.settle_staged(write.first).is_err() {
                    let disk = &self.database().disk;
                    disk.poison("a write that failed could not be undone");
                }
                Err(error)
            }
        }
    }

    /// Writes the items in parts, none of which is visible; their vectors too, unless they are in a
    /// row file.
    fn stage<'a, I>(&self, write: &ItemWrite<'a, I>, with_vectors: bool) -> Result<()>
    where
        I: ExactSizeIterator<Item = (&'a ItemRecord, &'a [f32])> + Clone,
    {
        let removed = write.removed.iter().map(|(slot, id)| (*id, *slot));
        let mut removed: HashMap<&str, u32> = removed.collect();
        let mut parts = Parts::of(self);
        parts.part.catalog.insert(mark(self.number).as_bytes(), &[]);
        for (slot, record, vector) in write.numbered() {
            let replaced = removed.remove(record.id.as_str());
            parts.change(bytes_of(record, vector), |part| {
                part.put_item(slot, record)?;
                if with_vectors {
                    part.put_vector(slot, vector);
                }
                match replaced.map(|old| (StoredSlot::One(old), StoredSlot::Both(old, slot))) {
                    None => part.put_id(&record.id, slot),
                    Some((before, after)) => part.replace_id(&record.id, before, after),
                }
                Ok(())
            })?;
        }
        for (id, old) in removed {
            let (before, after) = (StoredSlot::One(old), StoredSlot::Leaving(old, write.first));
            parts.change(id.len(), |part| {
                part.replace_id(id, before, after);
                Ok(())
            })?;
        }
        parts.end()
    }

    /// Removes the items that a visible write replaced or removed, and then the mark. Gives the
    /// number of the last commit.
    fn finish(&self, removed: &BTreeMap<u32, &str>, ended: &[(i64, u32)]) -> Result<u64> {
        let mut parts = Parts::of(self);
        for (old, id) in removed {
            let Some(stored) = self.stored_slot(id)? else {
                continue;
            };
            parts.change(id.len(), |part| {
                match stored {
                    StoredSlot::Both(_, new) => part.replace_id(id, stored, StoredSlot::One(new)),
                    StoredSlot::Leaving(..) => part.remove_id(id, stored),
                    StoredSlot::One(_) => return Ok(()),
                }
                part.remove_record(*old)
            })?;
        }
        for (end, slot) in ended {
            parts.change(0, |part| {
                part.remove_end(*end, *slot);
                Ok(())
            })?;
        }
        parts.end()?;
        let mut last = Batch::default();
        last.remove(mark(self.number).as_bytes());
        self.database().apply(&Batch::default(), last)
    }

    /// Undoes a staged write that did not become visible, and finishes one that did: `next` is the
    /// first slot that is not visible.
    fn settle_staged(&self, next: u32) -> Result<()> {
        let disk = &self.database().disk;
        let mut finished = BTreeMap::new();
        let mut undone = Vec::new();
        for entry in disk.walk("list the ids", self.table[IDS].iter()) {
            let (id, stored) = read_id(entry?)?;
            match stored {
                stored if stored.last() >= next => undone.push((id, stored)),
                StoredSlot::Both(old, _) | StoredSlot::Leaving(old, _) => {
                    finished.insert(old, id);
                }
                StoredSlot::One(_) => {}
            }
        }
        let mut parts = Parts::of(self);
        for (id, stored) in undone {
            parts.change(id.len(), |part| {
                match stored {
                    StoredSlot::One(_) => part.remove_id(&id, stored),
                    StoredSlot::Both(old, _) | StoredSlot::Leaving(old, _) => {
                        part.replace_id(&id, stored, StoredSlot::One(old));
                    }
                }
                Ok(())
            })?;
        }
        let records = self.table[ITEMS].range(chunk_key(next, 0)..);
        for entry in disk.walk("list staged items", records) {
            let (key, value) = entry?;
            parts.change(value.len(), |part| part.remove(ITEMS, &key))?;
        }
        let vectors = self.table[VECTORS].range(next.to_be_bytes()..);
        for entry in disk.walk("list staged vectors", vectors) {
            let (key, value) = entry?;
            parts.change(value.len(), |part| {
                part.batch(VECTORS).remove(key);
                Ok(())
            })?;
        }
        for (end, slot) in self.ends()? {
            if slot >= next {
                parts.change(0, |part| {
                    part.remove_end(end, slot);
                    Ok(())
                })?;
            }
        }
        parts.end()?;
        let finished = finished.iter().map(|(old, id)| (*old, id.as_str()));
        self.finish(&finished.collect(), &[])?;
        Ok(())
    }
}

/// Applies a transaction that has changes.
fn applied(transaction: Transaction<'_>) -> Result<u64> {
    Ok(transaction.apply()?.unwrap_or(0))
}

impl Database {
    /// Undoes or finishes the writes that were under way when the store was last open.
    pub(super) fn settle_staged(self: &Arc<Self>) -> Result<()> {
        let staged = self.staged()?;
        if staged.is_empty() {
            return Ok(());
        }
        for (_, record) in self.collections()? {
            if staged.contains(&record.number) {
                let tables = Tables::open(Arc::clone(self), &record)?;
                tables.settle_staged(tables.next_slot()?)?;
            }
        }
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use std::time::{Duration, SystemTime};

    use super::WHOLE;
    use crate::storage::{DiskOp, Fault, Faults};
    use crate::{Collection, Item, Store};

    const ITEMS: usize = WHOLE.0 + 500;

    /// Items of which all but the first hundred replace those of a round before.
    fn items(round: usize) -> Vec<Item> {
        (round * 100..ITEMS + round * 100)
            .map(|i| {
                Item::vector(format!("i{i}"), [i as f32, round as f32])
                    .with_text(format!("round {round}"))
                    .expiring_at(SystemTime::now() + Duration::from_secs(1_000_000))
            })
            .collect()
    }

    /// The round of which a collection holds all items, which must be one of two.
    fn round(points: &Collection, rounds: [usize; 2]) -> usize {
        let all: Vec<Item> = points.list(None).collect::<Result<_, _>>().expect("read");
        let of = |round: usize| {
            all.iter()
                .filter(|item| item.text == Some(format!("round {round}")))
                .count()
        };
        let replaced = rounds[1] * 100;
        assert_eq!(points.len(), all.len());
        if of(rounds[1]) == 0 {
            assert_eq!(of(rounds[0]), ITEMS);
            rounds[0]
        } else {
            assert_eq!((of(rounds[1]), all.len()), (ITEMS, ITEMS + replaced));
            rounds[1]
        }
    }

    fn filled(path: &Path) {
        let store = Store::open(path).expect("opened");
        let points = store.collection("c").dim(2).create().expect("made");
        points.add(items(0)).expect("added");
        assert_eq!(round(&points, [0, 1]), 0);
    }

    #[test]
    fn a_write_in_parts_that_fails_at_any_commit_is_whole_or_not_there() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        let mut rounds_found = [0, 0];
        for fault in [Fault::Refused, Fault::Unacknowledged] {
            for commit in 0.. {
                let _ = std::fs::remove_dir_all(&path);
                filled(&path);
                let faults = Faults::new();
                let failed = {
                    let store = Store::builder()
                        .faults(faults.clone())
                        .open(&path)
                        .expect("opened");
                    let points = store.collection("c").open().expect("opened");
                    faults.fail(commit, fault, Some(DiskOp::Commit), false);
                    points.add(items(1)).is_err()
                };
                let store = Store::open(&path).expect("opened again");
                let points = store.collection("c").open().expect("opened again");
                let found = round(&points, [0, 1]);
                rounds_found[found] += 1;
                assert!(
                    failed || found == 1,
                    "acknowledged and lost at commit {commit}"
                );
                assert_eq!(
                    store.verify().expect("verified").problems,
                    [],
                    "commit {commit}"
                );
                points.add(items(2)).expect("written to");
                assert_eq!(
                    store.verify().expect("verified").problems,
                    [],
                    "commit {commit}"
                );
                if !failed {
                    assert!(commit > 5, "it is written in parts");
                    break;
                }
            }
        }
        assert!(
            rounds_found.iter().all(|found| *found > 1),
            "{rounds_found:?}"
        );
    }

    #[test]
    fn a_removal_in_parts_that_fails_at_any_commit_is_whole_or_not_there() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        let mut found = [0, 0];
        for commit in 0.. {
            let _ = std::fs::remove_dir_all(&path);
            filled(&path);
            let faults = Faults::new();
            let all: Vec<String> = items(0).into_iter().map(|item| item.id).collect();
            let failed = {
                let store = Store::builder()
                    .faults(faults.clone())
                    .open(&path)
                    .expect("opened");
                let points = store.collection("c").open().expect("opened");
                faults.fail(commit, Fault::Unacknowledged, Some(DiskOp::Commit), false);
                points.delete(&all[1..]).is_err()
            };
            let store = Store::open(&path).expect("opened again");
            let points = store.collection("c").open().expect("opened again");
            let left = points.len();
            assert!(
                left == 1 || (failed && left == ITEMS),
                "{left} at commit {commit}"
            );
            assert_eq!(points.list(None).count(), left);
            assert_eq!(points.contains(&all[1]).expect("read"), left > 1);
            found[usize::from(left == 1)] += 1;
            assert_eq!(
                store.verify().expect("verified").problems,
                [],
                "commit {commit}"
            );
            points.add(items(1)).expect("written to");
            assert_eq!(
                store.verify().expect("verified").problems,
                [],
                "commit {commit}"
            );
            if !failed {
                break;
            }
        }
        assert!(found.iter().all(|found| *found > 1), "{found:?}");
    }

    #[test]
    fn nobody_sees_a_write_in_parts_before_it_is_whole() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        filled(&path);
        let store = Store::open(&path).expect("opened");
        let points = store.collection("c").open().expect("opened");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for next in 1..4 {
                    points.add(items(next)).expect("added");
                }
                done.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut seen = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                // The last item of a round is written in its last part.
                let last = |round: usize| format!("i{}", ITEMS + round * 100 - 1);
                let whole = (0..4)
                    .rev()
                    .find(|round| points.contains(&last(*round)).expect("read"));
                let whole = whole.expect("the first round is there");
                assert!(whole >= seen);
                seen = whole;
                for id in [0, 700].map(|more| format!("i{}", whole * 100 + more)) {
                    let item = points.get(&id).expect("read").expect("there");
                    let text = item.text.expect("a text");
                    let round: usize = text["round ".len()..].parse().expect("a number");
                    assert!(round >= whole, "{id} is of {text} after round {whole}");
                }
            }
        });
    }
}
