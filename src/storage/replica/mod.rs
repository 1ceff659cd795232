//! Replicas: the database as processes see it that only read it, beside the one that has it open.
//!
//! sled lets nobody read its files while it has them open. So the process that writes publishes what
//! they hold, as long as somebody reads ([`publisher`]): a file of all entries ([`checkpoint`]), and a log
//! of the changes since, to which every commit is appended when it is durable ([`frame`]). A reader
//! maps the first and follows the second ([`follower`]). Where nobody has the store open, it makes
//! a replica of its own from a copy of sled's files.
//!
//! A [`Replica`] does not change: what was read of the log makes another one, which shares all that
//! is the same. A [tree](ReplicaTree) of one is what a collection reads; it goes on showing the
//! database between two commits, and may be [advanced](Replica::advance) to a later one.

mod checkpoint;
mod copied;
mod follower;
mod frame;
mod publisher;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sled::IVec;

use checkpoint::{Checkpoint, Cursor};
pub(crate) use follower::Follower;
use frame::{CATALOG, Change, RECORDS};
pub(super) use publisher::Publisher;

use super::copy;
use super::lock::{StoreLock, lock_within};
use super::tree::{Entry, Tree};
use crate::model::error::{Error, Result};

/// The directory in a store's directory that readers and the writer meet in.
///
/// ```text
/// writer           locked by the process that has the store open
/// readers          locked, shared, by each process that reads it
/// NAME.checkpoint  all entries; NAME is the number of commits before it, and a random number
/// NAME.log         the changes since
/// ```
pub(super) const DIR: &str = "published";
const WRITER: &str = "writer";
const READERS: &str = "readers";
const CHECKPOINT: &str = "checkpoint";
const LOG: &str = "log";

/// How long a reader may hold the lock of the writer's file, which it takes to look whether it is
/// free, and the pause between two tries to take it.
const READERS_LOOK: Duration = Duration::from_secs(1);
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Opens a file that is locked, and makes it where there is none.
fn open_to_lock(dir: &Path, name: &str) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(dir.join(name))
}

/// Makes and locks the file by which readers see that the store is open.
pub(super) fn lock_writer(root: &Path) -> io::Result<File> {
    let dir = root.join(DIR);
    remove_checkpoints(&dir, None);
    // So that readers find it also where no store is ever open while they are.
    open_to_lock(&dir, READERS)?;
    let writer = open_to_lock(&dir, WRITER)?;
    lock_within(&writer, READERS_LOOK, LOOK_PAUSE)?;
    Ok(writer)
}

/// Whether a process has the store open.
fn is_written(root: &Path) -> Result<bool> {
    is_locked(&root.join(DIR).join(WRITER))
}

/// Whether a process holds the exclusive lock of a file.
fn is_locked(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(copy::io(path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(copy::io(path)(error)),
    }
}

/// The refusal where another process has the store open and publishes nothing.
fn locked(root: &Path) -> Error {
    Error::Locked {
        path: root.to_owned(),
        pid: StoreLock::holder_of(root),
    }
}

/// Removes all checkpoints and logs but those of one name. What cannot be removed takes room and does
/// no other harm.
fn remove_checkpoints(dir: &Path, kept: Option<&str>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Some((name, _)) = name.split_once('.')
            && Some(name) != kept
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Changes since the checkpoint: the new value of each key, `None` for one that was removed.
type Changes = BTreeMap<IVec, Option<IVec>>;

/// A database at one time.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    checkpoint: Arc<Checkpoint>,
    catalog: Arc<Changes>,
    /// Changes by number of the collection.
    records: BTreeMap<u32, Arc<Changes>>,
    /// Number of commits.
    number: u64,
}

impl Replica {
    fn new(checkpoint: Checkpoint) -> Self {
        Self {
            number: checkpoint.number,
            checkpoint: Arc::new(checkpoint),
            catalog: Arc::default(),
            records: BTreeMap::new(),
        }
    }

    /// Number of commits.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn catalog(&self) -> Tree {
        self.tree(CATALOG, &self.catalog)
    }

    /// The records of a collection.
    pub(super) fn records(&self, collection: u32) -> Tree {
        let unchanged = Arc::default();
        let changes = self.records.get(&collection).unwrap_or(&unchanged);
        self.tree(RECORDS, changes)
    }

    fn tree(&self, number: u8, changes: &Arc<Changes>) -> Tree {
        Tree::Replica(Arc::new(ReplicaTree {
            checkpoint: Arc::clone(&self.checkpoint),
            number,
            changes: RwLock::new(Arc::clone(changes)),
            is_hiding: AtomicBool::new(false),
        }))
    }

    /// Lets a tree of the records of a collection show them as they are here; not possible for one of
    /// another checkpoint, or one that hides keys. Returns whether it does.
    pub(super) fn advance(&self, tree: &ReplicaTree, collection: u32) -> bool {
        if !Arc::ptr_eq(&self.checkpoint, &tree.checkpoint)
            || tree.is_hiding.load(Ordering::Acquire)
        {
            return false;
        }
        let mut changes = tree.changes.write().unwrap_or_else(PoisonError::into_inner);
        *changes = self.records.get(&collection).cloned().unwrap_or_default();
        true
    }

    /// Whether another replica is as of the same time.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.checkpoint, &other.checkpoint)
    }

    /// Whether the records of a collection are the same in another replica.
    pub(super) fn has_records_of(&self, other: &Self, collection: u32) -> bool {
        let are_same = match (
            self.records.get(&collection),
            other.records.get(&collection),
        ) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        are_same && Arc::ptr_eq(&self.checkpoint, &other.checkpoint)
    }

    fn apply(&mut self, change: Change<'_>) {
        let changes = match change.tree {
            CATALOG => &mut self.catalog,
            _ => match collection_of(change) {
                Some(number) => self.records.entry(number).or_default(),
                None => return,
            },
        };
        Arc::make_mut(changes).insert(change.key.into(), change.value.map(IVec::from));
    }
}

/// The number of the collection whose record changes.
fn collection_of(change: Change<'_>) -> Option<u32> {
    (change.tree == RECORDS)
        .then(|| change.key.first_chunk::<4>())
        .flatten()
        .map(|number| u32::from_be_bytes(*number))
}

/// One tree of a replica; of the records, those of one collection.
#[derive(Debug)]
pub(super) struct ReplicaTree {
    checkpoint: Arc<Checkpoint>,
    number: u8,
    changes: RwLock<Arc<Changes>>,
    is_hiding: AtomicBool,
}

impl ReplicaTree {
    fn changes(&self) -> Arc<Changes> {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&changes)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<IVec> {
        match self.changes().get(key) {
            Some(changed) => changed.clone(),
            None => self.checkpoint.get(self.number, key),
        }
    }

    /// Takes keys out, for those only who hold this tree.
    pub(super) fn hide(&self, keys: impl Iterator<Item = Vec<u8>>) {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let changes = Arc::make_mut(&mut changes);
        changes.extend(keys.map(|key| (key.into(), None)));
        self.is_hiding.store(true, Ordering::Release);
    }

    pub(super) fn range(
        this: &Arc<Self>,
        (start, end): (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> ReplicaEntries {
        let cursor = this
            .checkpoint
            .seek(this.number, start.as_ref().map(Vec::as_slice));
        ReplicaEntries {
            changes: this.changes(),
            after: start,
            end,
            cursor,
            tree: Arc::clone(this),
        }
    }
}

/// Entries of a tree of a replica, in the order of their keys.
pub(super) struct ReplicaEntries {
    tree: Arc<ReplicaTree>,
    changes: Arc<Changes>,
    /// Where the changes that were not looked at begin.
    after: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    cursor: Cursor,
}

fn is_within(key: &[u8], end: &Bound<Vec<u8>>) -> bool {
    match end {
        Bound::Included(end) => key <= &end[..],
        Bound::Excluded(end) => key < &end[..],
        Bound::Unbounded => true,
    }
}

impl ReplicaEntries {
    fn next_change(&self) -> Option<(&IVec, &Option<IVec>)> {
        let from = self.after.as_ref().map(Vec::as_slice);
        let next = self.changes.range::<[u8], _>((from, Bound::Unbounded));
        let (key, value) = { next }.next()?;
        is_within(key, &self.end).then_some((key, value))
    }
}

impl Iterator for ReplicaEntries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let resting = self
                .tree
                .checkpoint
                .entry(self.cursor)
                .filter(|(change, _)| {
                    change.tree == self.tree.number && is_within(change.key, &self.end)
                });
            let changed = self.next_change();
            let (key, value, cursor) = match (resting, changed) {
                (Some((rests, next)), changed)
                    if changed.is_none_or(|(key, _)| rests.key < &key[..]) =>
                {
                    self.cursor = next;
                    return Some((rests.key.into(), rests.value?.into()));
                }
                (rests, Some((key, value))) => {
                    let same = rests.filter(|(rests, _)| rests.key == &key[..]);
                    (key.clone(), value.clone(), same.map(|(_, next)| next))
                }
                (_, None) => return None,
            };
            self.after = Bound::Excluded(key.to_vec());
            self.cursor = cursor.unwrap_or(self.cursor);
            if let Some(value) = value {
                return Some((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    /// All entries of a tree in a range, of a replica and of a model.
    fn compare(tree: &Tree, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let bounds = |key: &[u8]| {
            let key = key.to_vec();
            [
                Bound::Included(key.clone()),
                Bound::Excluded(key),
                Bound::Unbounded,
            ]
        };
        let keys: [&[u8]; 5] = [b"", b"a", b"ab", b"c", b"\xff"];
        for (from, to) in keys.iter().flat_map(|a| keys.iter().map(move |b| (a, b))) {
            for range in bounds(from)
                .into_iter()
                .flat_map(|a| bounds(to).map(|b| (a.clone(), b)))
            {
                let expected: Pairs = model
                    .iter()
                    .filter(|(key, _)| {
                        let after = match &range.0 {
                            Bound::Included(from) => *key >= from,
                            Bound::Excluded(from) => *key > from,
                            Bound::Unbounded => true,
                        };
                        after && is_within(key, &range.1)
                    })
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                let found: Pairs = tree
                    .range(range.clone())
                    .map(|entry| entry.expect("read"))
                    .map(|(key, value)| (key.to_vec(), value.to_vec()))
                    .collect();
                assert_eq!(found, expected, "{range:?}");
            }
        }
        for key in keys {
            let found = tree.get(key).expect("read").map(|value| value.to_vec());
            assert_eq!(found.as_ref(), model.get(key));
        }
    }

    #[test]
    fn changes_lie_over_the_checkpoint_and_earlier_replicas_stay() {
        let mut rng = fastrand::Rng::with_seed(9);
        for _ in 0..30 {
            let key = |rng: &mut fastrand::Rng| -> Vec<u8> {
                let bytes =
                    std::iter::repeat_with(|| *b"abc\xff".get(rng.usize(..4)).unwrap_or(&0));
                bytes.take(3).collect::<Vec<u8>>()[..].to_vec()
            };
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> =
                (0..12).map(|i| (key(&mut rng), vec![i])).collect();
            let entries: Vec<(u8, &[u8], &[u8])> = model
                .iter()
                .map(|(key, value)| (CATALOG, &key[..], &value[..]))
                .chain([(RECORDS, &b"other"[..], &b""[..])])
                .collect();
            let mut replica = Replica::new(checkpoint::tests::checkpoint_of(&entries));
            compare(&replica.catalog(), &model);
            let (earlier, before) = (replica.clone(), model.clone());
            for i in 0..20 {
                let key = key(&mut rng);
                let value = rng.bool().then(|| vec![i, i]);
                replica.apply(Change {
                    tree: CATALOG,
                    key: &key,
                    value: value.as_deref(),
                });
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
            compare(&replica.catalog(), &model);
            compare(&earlier.catalog(), &before);
        }
    }

    #[test]
    fn changes_of_one_collection_leave_the_others_as_they_are() {
        let mut replica = Replica::new(checkpoint::tests::checkpoint_of(&[
            (RECORDS, &[0, 0, 0, 1, 9], b"one"),
            (RECORDS, &[0, 0, 0, 2, 9], b"two"),
        ]));
        let earlier = replica.clone();
        replica.apply(Change {
            tree: RECORDS,
            key: &[0, 0, 0, 2, 9],
            value: None,
        });
        assert!(replica.has_records_of(&earlier, 1) && !replica.has_records_of(&earlier, 2));
        let value =
            |replica: &Replica, n| replica.records(n).get([0, 0, 0, n as u8, 9]).expect("read");
        assert_eq!(value(&replica, 1).as_deref(), Some(&b"one"[..]));
        assert_eq!(value(&replica, 2), None);
        assert_eq!(value(&earlier, 2).as_deref(), Some(&b"two"[..]));
        if let Tree::Replica(tree) = earlier.records(1) {
            tree.hide([vec![0, 0, 0, 1, 9]].into_iter());
            assert_eq!(tree.get(&[0, 0, 0, 1, 9]), None);
        }
        assert_eq!(value(&earlier, 1).as_deref(), Some(&b"one"[..]));
    }
}
