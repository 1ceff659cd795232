//! Writes of items that are too large for one transaction: they are committed in parts, and one more
//! commit makes all of them visible at once.
//!
//! sled keeps every page that a transaction replaces in memory until it is committed, so that one
//! with a hundred thousand entries takes gigabytes.
//!
//! The slots of staged items are at and above the collection's next slot, and the commit that makes
//! them visible sets that. Where a staged item replaces another, the entry of its id has both slots
//! until then, and the replaced item is removed after it. While any of this is under way, a mark in
//! the catalogue names the collection; where it is found on opening, the write is undone if it did
//! not become visible, and finished if it did.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sled::{Batch, IVec};

use super::Database;
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

/// Items that are written together, and what they replace.
pub(crate) struct ItemWrite<'a, I> {
    /// The slot of the first item: the next slot of the collection.
    pub(crate) first: u32,
    /// Records and vectors, in the order of their slots.
    pub(crate) items: I,
    /// The items that are removed, by slot, with their ids.
    pub(crate) removed: &'a BTreeMap<u32, String>,
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

    fn is_small(&self) -> bool {
        let bytes = self
            .items
            .clone()
            .map(|(record, vector)| bytes_of(record, vector));
        self.items.len() + self.removed.len() <= WHOLE.0 && bytes.sum::<usize>() <= WHOLE.1
    }
}

impl Tables {
    /// Commits a write of items: all of it, or nothing. Gives the number of the commit, which is not
    /// durable yet.
    pub(crate) fn commit_items<'a, I>(&self, write: &ItemWrite<'a, I>) -> Result<u64>
    where
        I: ExactSizeIterator<Item = (&'a ItemRecord, &'a [f32])> + Clone,
    {
        let next = write.first + write.items.len() as u32;
        if write.is_small() {
            let mut whole = self.transaction();
            for (slot, id) in write.removed {
                whole.remove_item(id, *slot)?;
            }
            for (slot, record, vector) in write.numbered() {
                whole.put_item(slot, record, vector)?;
                whole.put_id(&record.id, slot);
            }
            whole.set_next_slot(next);
            return applied(whole);
        }
        self.visible.store(write.first, Ordering::Release);
        let staged = self.stage(write).and_then(|replaced| {
            let mut last = self.transaction();
            for (slot, id) in write.removed {
                if !replaced.contains_key(slot) {
                    last.remove_item(id, *slot)?;
                }
            }
            last.set_next_slot(next);
            last.apply()?;
            Ok(replaced)
        });
        self.visible.store(ALL, Ordering::Release);
        match staged {
            Ok(replaced) => self.finish(&replaced),
            Err(error) => {
                if self.settle_staged(write.first).is_err() {
                    let disk = &self.database().disk;
                    disk.poison("a write that failed could not be undone");
                }
                Err(error)
            }
        }
    }

    /// Writes the items in parts. Gives those that they replace, by slot.
    fn stage<'a, I>(&self, write: &ItemWrite<'a, I>) -> Result<BTreeMap<u32, &'a str>>
    where
        I: ExactSizeIterator<Item = (&'a ItemRecord, &'a [f32])> + Clone,
    {
        let removed: HashMap<&str, u32> = write
            .removed
            .iter()
            .map(|(slot, id)| (id.as_str(), *slot))
            .collect();
        let mut replaced = BTreeMap::new();
        let mut part = self.transaction();
        part.catalog.insert(mark(self.number).as_bytes(), &[]);
        let (mut items, mut bytes) = (0, 0);
        for (slot, record, vector) in write.numbered() {
            part.put_item(slot, record, vector)?;
            match removed.get(record.id.as_str()) {
                None => part.put_id(&record.id, slot),
                Some(&old) => {
                    replaced.insert(old, record.id.as_str());
                    let (before, after) = (StoredSlot::One(old), StoredSlot::Both(old, slot));
                    part.replace_id(&record.id, before, after);
                }
            }
            items += 1;
            bytes += bytes_of(record, vector);
            if items >= PART.0 || bytes > PART.1 {
                std::mem::replace(&mut part, self.transaction()).apply()?;
                (items, bytes) = (0, 0);
            }
        }
        part.apply()?;
        Ok(replaced)
    }

    /// Removes the items that a visible write replaced, and then the mark. Gives the number of the
    /// last commit.
    fn finish(&self, replaced: &BTreeMap<u32, &str>) -> Result<u64> {
        let mut replaced = replaced.iter();
        while replaced.len() > 0 {
            let mut part = self.transaction();
            for (old, id) in replaced.by_ref().take(PART.0) {
                if let Some(both @ StoredSlot::Both(_, new)) = self.stored_slot(id)? {
                    part.replace_id(id, both, StoredSlot::One(new));
                    part.remove_record(*old)?;
                }
            }
            part.apply()?;
        }
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
                StoredSlot::Both(old, new) if new < next => drop(finished.insert(old, id)),
                stored if stored.last() >= next => undone.push((id, stored)),
                _ => {}
            }
        }
        for ids in undone.chunks(PART.0) {
            let mut part = self.transaction();
            for (id, stored) in ids {
                match *stored {
                    StoredSlot::One(_) => part.remove_id(id, *stored),
                    StoredSlot::Both(old, _) => part.replace_id(id, *stored, StoredSlot::One(old)),
                }
            }
            part.apply()?;
        }
        self.remove_from(ITEMS, &chunk_key(next, 0))?;
        self.remove_from(VECTORS, &next.to_be_bytes())?;
        let mut part = self.transaction();
        for (end, slot) in self.ends()? {
            if slot >= next {
                part.remove_end(end, slot);
            }
        }
        part.apply()?;
        let finished = finished.iter().map(|(old, id)| (*old, id.as_str()));
        self.finish(&finished.collect())?;
        Ok(())
    }

    /// Removes the entries of a table from a key on.
    fn remove_from(&self, table: usize, first: &[u8]) -> Result<()> {
        let disk = &self.database().disk;
        loop {
            let entries = disk.walk("list staged items", self.table[table].range(first..));
            let keys: Vec<IVec> = entries
                .take(PART.0)
                .map(|entry| entry.map(|(key, _)| key))
                .collect::<Result<_>>()?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut part = self.transaction();
            for key in keys {
                part.remove(table, &key)?;
            }
            part.apply()?;
        }
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
