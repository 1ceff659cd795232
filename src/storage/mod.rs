//! Storage of a store on disk. This is the only module that uses sled.
//!
//! A store is a directory: `lock` (the holder's pid), [`reserve`] (space for a full disk),
//! `published/` (what [readers in other processes](replica) read) and `sled/` (the database, with its
//! [commit counter](commit_counter) and the [segment files](manifest) of its collections).
//! [`Database`] opens it, keeps the catalogue of collections and commits transactions; [`Tables`]
//! reads and writes the records of one collection. Every operation on the disk passes through
//! [`disk`].

mod activations;
mod batch;
mod catalog;
mod codec;
mod commit_counter;
mod copy;
mod digest;
mod disk;
mod ends;
#[cfg_attr(not(any(test, feature = "testing")), allow(dead_code, unreachable_pub))]
mod faults;
mod group_sync;
mod guidelines;
mod integrity;
mod keywords;
mod lock;
mod manifest;
mod news;
mod precision;
mod records;
mod replica;
mod reserve;
mod row_files;
mod segment_file;
mod size;
mod staging;
mod swap;
mod sync;
mod table;
mod tables;
mod transaction;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use crate::model::error::{Error, Result};
use crate::panics::catch;
use batch::Batch;
use disk::Disk;
use group_sync::GroupSync;
use lock::StoreLock;
pub(crate) use replica::Follower;
use replica::{Publisher, Replica};
use sync::LogSync;
use table::Table;
use tree::Tree;

#[cfg(not(any(test, feature = "testing")))]
use faults::DiskOp;
#[cfg(not(any(test, feature = "testing")))]
pub(crate) use faults::Faults;
#[cfg(any(test, feature = "testing"))]
pub use faults::{DiskOp, Fault, Faults};
pub(crate) use integrity::{Checks, FileVectors, Finding, Integrity, Place, Remedy, Repairs};
pub(crate) use keywords::KeywordFiles;
pub(crate) use manifest::{FileKind, Manifest, SegmentFiles};
pub(crate) use news::News;
pub use precision::Precision;
#[cfg(any(test, fuzzing))]
pub(crate) use records::read_any_record;
#[cfg(test)]
pub(crate) use records::some_records;
pub(crate) use records::{CollectionRecord, EncoderRecord, ItemRecord};
#[cfg(any(test, fuzzing))]
pub(crate) use segment_file::segment_file_bytes;
pub(crate) use segment_file::{SegmentFile, Stamp};
pub(crate) use staging::ItemWrite;
pub(crate) use tables::Tables;
pub(crate) use transaction::Transaction;

/// The moment at which a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Every acknowledged write is on disk: it survives a kill and a power cut.
    #[default]
    Strict,
    /// Writes are atomic, but a crash can lose those since the last
    /// [`Store::flush`](crate::Store::flush). For bulk loads; end with one.
    Relaxed,
}

/// The options for opening a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opening {
    /// Whether a missing directory is created.
    pub(crate) create: bool,
    pub(crate) durability: Durability,
    pub(crate) cache_bytes: u64,
    /// How long another holder of the directory is waited for.
    pub(crate) wait: Duration,
    pub(crate) faults: Option<Faults>,
    /// Whether damage of the database as a whole is repaired where that can be done.
    /// [`Database::repaired`] says what was.
    pub(crate) lenient: bool,
}

/// An open store directory.
pub(crate) struct Database {
    catalog: Tree,
    source: Source,
    root: PathBuf,
    dir: PathBuf,
    durability: Durability,
    disk: Arc<Disk>,
    /// Commits so far; see [`CommitGuard`].
    commits: Arc<Mutex<u64>>,
    repaired: Repairs,
    // Declared last: sled must be closed before the lock is released.
    _lock: Option<Arc<StoreLock>>,
}

/// Where the records of a database are.
enum Source {
    Sled(Box<Sled>),
    /// A store that is only read, as it was at one time.
    Replica(Replica),
}

/// A database of sled.
struct Sled {
    // Declared first: its thread reads the trees.
    publisher: Option<Publisher>,
    catalog: sled::Tree,
    /// The records of all collections; see [`Table`].
    records: sled::Tree,
    syncing: Arc<Syncing>,
}

/// What makes commits durable.
struct Syncing {
    db: sled::Db,
    disk: Arc<Disk>,
    commits: Arc<Mutex<u64>>,
    /// Locked before the count of commits where both are needed.
    log_sync: Mutex<LogSync>,
    group_sync: GroupSync,
}

impl Syncing {
    /// Waits until so many commits are on disk. `then` is told how many are, before anybody who waits
    /// for them goes on.
    fn sync(&self, number: u64, then: &dyn Fn(u64)) -> Result<()> {
        self.disk.check_poison()?;
        self.group_sync.wait(number, || {
            let mut log_sync = lock(&self.log_sync);
            // One sync serves all transactions that were applied while this one waited for its turn.
            let reached = *lock(&self.commits);
            self.disk.run(DiskOp::Flush, "make a write durable", || {
                self.db.flush()?;
                log_sync.sync().map_err(sled::Error::Io)
            })?;
            // The write is durable whether or not this succeeds: a counter that is too low notices
            // less, and never refuses a sound database.
            if let Err(error) = log_sync.counter.note(reached, &self.disk) {
                tracing::warn!(%error, "the durable commit counter could not be written");
            }
            then(reached);
            Ok(reached)
        })
    }
}

/// How often opening sled is tried again after a transient failure, and the pause between two
/// tries.
const OPEN_RETRIES: usize = 150;
const OPEN_RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The right to apply a transaction: while one guard lives, nothing else is committed.
struct CommitGuard<'a>(MutexGuard<'a, u64>);

impl CommitGuard<'_> {
    /// Commits so far.
    fn count(&self) -> u64 {
        *self.0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes snapshots that sled had not finished when the process was killed. sled would take such a
/// file for its newest snapshot and refuse the database because the file is cut short. The previous
/// snapshot is still there: sled removes it only once the new one has its final name.
fn remove_unfinished_snapshots(dir: &Path, disk: &Disk) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            disk.file(DiskOp::Remove, &path, || std::fs::remove_file(&path))?;
        }
    }
    Ok(())
}

/// Opens sled in a directory that no other process uses.
fn open_sled(dir: &Path, disk: &Disk, opening: &Opening) -> Result<sled::Db> {
    remove_unfinished_snapshots(dir, disk)?;
    let flush_every = (opening.durability == Durability::Relaxed).then_some(500);
    let config = sled::Config::default()
        .path(dir)
        .cache_capacity(opening.cache_bytes)
        .flush_every_ms(flush_every)
        .mode(sled::Mode::HighThroughput);
    // sled asserts some of what it reads. A damaged file must be an error and never end the
    // program.
    let open = || catch(|| config.open()).map_err(|_| disk.unreadable());
    let mut opened = open()?;
    // The last holder in this process may still be closing sled although it released the store's
    // lock: files that sled listed may vanish, and sled's own lock may still be taken.
    for _ in 0..OPEN_RETRIES {
        if !opened.as_ref().is_err_and(is_transient) {
            break;
        }
        std::thread::sleep(OPEN_RETRY_PAUSE);
        opened = open()?;
    }
    disk.run(DiskOp::Read, "open its files", || opened)
}

/// Whether opening sled failed for a reason that goes away by itself.
fn is_transient(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(e) => {
            e.kind() == std::io::ErrorKind::NotFound
                || e.to_string().contains("could not acquire lock")
        }
        _ => false,
    }
}

/// Whether sled failed because the disk is full.
fn is_full(error: &Error) -> bool {
    let Error::Storage { source, .. } = error else {
        return false;
    };
    matches!(
        source.downcast_ref(),
        Some(sled::Error::Io(e)) if e.kind() == std::io::ErrorKind::StorageFull
    )
}

/// Opens sled without its settings and snapshots, which it makes again from its log. If that fails
/// too, they are put back.
fn salvage_sled(dir: &Path, disk: &Disk, opening: &Opening) -> Result<sled::Db> {
    let io = |source| Error::Io {
        path: dir.to_owned(),
        source,
    };
    let mut aside = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "conf" || name.starts_with("snap.") {
            let moved = dir.join(format!("aside.{name}"));
            std::fs::rename(entry.path(), &moved).map_err(io)?;
            aside.push((moved, entry.path()));
        }
    }
    let opened = open_sled(dir, disk, opening);
    for (moved, path) in aside {
        match opened {
            Ok(_) => std::fs::remove_file(moved).map_err(io)?,
            Err(_) => std::fs::rename(moved, path).map_err(io)?,
        }
    }
    opened
}

impl Database {
    /// Opens a store directory.
    pub(crate) fn open(root: &Path, opening: &Opening) -> Result<Arc<Self>> {
        let mut database = Self::open_alone(root, opening)?;
        // Nobody else has it yet.
        if let Some(database) = Arc::get_mut(&mut database)
            && let Source::Sled(sled) = &mut database.source
        {
            sled.publisher = Some(Publisher::start(
                root,
                &sled.syncing,
                &sled.catalog,
                &sled.records,
            ));
        }
        Ok(database)
    }

    /// Opens a store directory of which no reader in another process knows.
    fn open_alone(root: &Path, opening: &Opening) -> Result<Arc<Self>> {
        let lock = Arc::new(claim(root, opening.create, opening)?);
        Self::open_at(root, &root.join(swap::CURRENT), lock, opening)
    }

    /// A store that is only read, as it was when `follower` last looked.
    pub(crate) fn read_only(follower: &Follower) -> Arc<Self> {
        let opening = follower.opening();
        let (root, dir) = (follower.root(), follower.database_dir());
        let replica = follower.replica().clone();
        Arc::new(Self {
            catalog: replica.catalog(),
            root: root.to_owned(),
            durability: opening.durability,
            disk: Arc::new(Disk::new(&dir, opening.faults.clone())),
            dir,
            commits: Arc::new(Mutex::new(replica.number())),
            source: Source::Replica(replica),
            repaired: Repairs::default(),
            _lock: None,
        })
    }

    /// Whether the store is only read.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.source, Source::Replica(_))
    }

    /// Refuses what would write to a store that is only read.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.sled().map(drop)
    }

    /// Whether this database, which is only read, is as `follower` has last seen it.
    pub(crate) fn is_seen_by(&self, follower: &Follower) -> bool {
        match &self.source {
            Source::Replica(replica) => replica.is_same_as(follower.replica()),
            Source::Sled(_) => false,
        }
    }

    /// Whether the records of a collection are the same in another database that is only read.
    pub(crate) fn has_records_of(&self, other: &Self, collection: u32) -> bool {
        match (&self.source, &other.source) {
            (Source::Replica(this), Source::Replica(other)) => {
                this.has_records_of(other, collection)
            }
            _ => false,
        }
    }

    fn sled(&self) -> Result<&Sled> {
        match &self.source {
            Source::Sled(sled) => Ok(sled),
            Source::Replica(_) => Err(Error::ReadOnly(self.root.clone())),
        }
    }

    /// Opens a database in the directory of a store: the current one, or one that is to replace it.
    fn open_at(
        root: &Path,
        dir: &Path,
        lock: Arc<StoreLock>,
        opening: &Opening,
    ) -> Result<Arc<Self>> {
        let disk = Disk::new(dir, opening.faults.clone());
        let mut repaired = Repairs::default();
        let opened = match open_sled(dir, &disk, opening) {
            Err(error) if is_full(&error) && reserve::release(root) => {
                open_sled(dir, &disk, opening)
            }
            opened => opened,
        };
        let sled = match opened {
            Err(error @ (Error::Damaged { .. } | Error::Storage { .. })) if opening.lenient => {
                // The disk is poisoned after a panic, so the second try gets a new one.
                let sled = salvage_sled(dir, &Disk::new(dir, opening.faults.clone()), opening)
                    .map_err(|_| error)?;
                repaired.rebuilt.push(format!(
                    "the settings and snapshots of {}, from its log",
                    disk.name()
                ));
                sled
            }
            opened => opened?,
        };
        let disk = Arc::new(Disk::new(dir, opening.faults.clone()));
        let catalog = disk.run(DiskOp::Read, "open its catalogue", || {
            sled.open_tree(catalog::TREE)
        })?;
        let catalog_tree = Tree::Sled(catalog.clone());
        catalog::check_format(&catalog_tree, &disk)?;
        let records = disk.run(DiskOp::Read, "open its records", || {
            sled.open_tree(table::TREE)
        })?;
        let log_sync = Mutex::new(LogSync::open(root, dir, &disk)?);
        let files = dir.join(manifest::DIR);
        if !files.is_dir() {
            disk.file(DiskOp::Write, &files, || std::fs::create_dir_all(&files))?;
            // What is written there must not be lost with the directory.
            swap::sync_dir(dir, &disk)?;
        }
        let commits = Arc::new(Mutex::new(0));
        let source = Source::Sled(Box::new(Sled {
            publisher: None,
            catalog,
            records,
            syncing: Arc::new(Syncing {
                db: sled,
                disk: Arc::clone(&disk),
                commits: Arc::clone(&commits),
                log_sync,
                group_sync: GroupSync::default(),
            }),
        }));
        let mut database = Self {
            catalog: catalog_tree,
            source,
            root: root.to_owned(),
            dir: dir.to_owned(),
            durability: opening.durability,
            disk,
            commits,
            repaired,
            _lock: Some(lock),
        };
        database.prepare(opening.lenient)?;
        reserve::keep(root, dir);
        let database = Arc::new(database);
        database.settle_staged()?;
        Ok(database)
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The database in messages.
    pub(crate) fn name(&self) -> String {
        self.disk.name()
    }

    /// What a lenient opening had to repair.
    pub(crate) fn repaired(&self) -> &Repairs {
        &self.repaired
    }

    /// The tables of a collection.
    fn tables<const N: usize>(&self, number: u32) -> [Table; N] {
        let records = match &self.source {
            Source::Sled(sled) => Tree::Sled(sled.records.clone()),
            Source::Replica(replica) => replica.records(number),
        };
        std::array::from_fn(|table| Table::new(records.clone(), number, table))
    }

    /// Applies changes of the records and the catalogue in one transaction and, when durability is
    /// strict, waits until they are on disk.
    fn commit(&self, records: &Batch, catalog: Batch) -> Result<()> {
        let number = self.apply(records, catalog)?;
        self.make_durable(number)
    }

    /// Waits until a commit is on disk, when durability is strict.
    fn make_durable(&self, number: u64) -> Result<()> {
        match self.durability {
            Durability::Strict => self.sync(number),
            Durability::Relaxed => Ok(()),
        }
    }

    /// Applies changes of the records and the catalogue in one transaction, which is on disk once a
    /// later one is [made durable](Self::make_durable). Gives its number.
    fn apply(&self, records: &Batch, mut catalog: Batch) -> Result<u64> {
        let sled = self.sled()?;
        let mut guard = self.hold_commits();
        let number = guard.count() + 1;
        catalog.insert(catalog::COMMITS, &number.to_le_bytes());
        let apply = || {
            (&sled.records, &sled.catalog).transaction(|(to_records, to_catalog)| {
                for (tree, batch) in [(to_records, records), (to_catalog, &catalog)] {
                    for (key, value) in batch.changes() {
                        match value {
                            Some(value) => tree.insert(key.clone(), value.clone())?,
                            None => tree.remove(key.clone())?,
                        };
                    }
                }
                Ok::<(), ConflictableTransactionError<()>>(())
            })
        };
        self.disk.run(DiskOp::Commit, "commit a write", || {
            apply().map_err(|e| match e {
                TransactionError::Storage(e) => e,
                TransactionError::Abort(()) => {
                    sled::Error::Unsupported("the transaction was aborted".into())
                }
            })
        })?;
        *guard.0 = number;
        if let Some(publisher) = &sled.publisher {
            publisher.note(number, records, &catalog, self.durability);
        }
        Ok(number)
    }

    /// Waits for the commit under way, and keeps the next ones waiting.
    fn hold_commits(&self) -> CommitGuard<'_> {
        CommitGuard(lock(&self.commits))
    }

    /// Waits until every write so far is on disk.
    pub(crate) fn flush(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        let number = self.hold_commits().count();
        self.sync(number)
    }

    /// Waits until so many commits are on disk.
    fn sync(&self, number: u64) -> Result<()> {
        let sled = self.sled()?;
        sled.syncing.sync(number, &|reached| {
            if let Some(publisher) = &sled.publisher {
                publisher.release(reached);
            }
        })
    }

    /// The directory of the segment files.
    fn segments_dir(&self) -> PathBuf {
        self.dir.join(manifest::DIR)
    }

    /// Removes those of the vector or keyword files of a collection that are not kept.
    fn sweep_dir(&self, prefix: &str, is_kept: &dyn Fn(&str) -> bool) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        segment_file::sweep(&self.segments_dir(), prefix, is_kept, &self.disk)
    }

    /// Size of the database on disk, with its segment files, in bytes.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        let Source::Sled(sled) = &self.source else {
            return Ok(copy::directory_bytes(&self.dir));
        };
        let sled = self.disk.run(DiskOp::Read, "measure its files", || {
            sled.syncing.db.size_on_disk()
        })?;
        Ok(sled + copy::directory_bytes(&self.segments_dir()))
    }
}

/// Takes the lock of a store's directory, which is created where `create` allows it, and finishes a
/// swap of databases that a crash interrupted.
fn claim(root: &Path, create: bool, opening: &Opening) -> Result<StoreLock> {
    const OWN_NAMES: [&str; 7] = [
        "lock",
        replica::DIR,
        reserve::NAME,
        copy::MARK,
        swap::CURRENT,
        swap::NEXT,
        swap::LAST,
    ];
    let io = |source| Error::Io {
        path: root.to_owned(),
        source,
    };
    let not = |reason: &str| Error::NotAStore {
        path: root.to_owned(),
        reason: reason.to_owned(),
    };
    disk::refuse_dangling(root)?;
    let there = swap::is_store(root);
    match std::fs::metadata(root) {
        Ok(meta) if !meta.is_dir() => return Err(not("it is a file, not a directory")),
        Ok(_) => {
            let is_own = |name: std::ffi::OsString| OWN_NAMES.iter().any(|own| name == *own);
            let occupied = !there
                && std::fs::read_dir(root)
                    .map_err(io)?
                    .any(|e| e.is_ok_and(|e| !is_own(e.file_name())));
            if occupied {
                return Err(not(
                    "the directory holds other files; choose an empty one or a new name",
                ));
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(e)),
    }
    if !create && !there {
        return Err(not("there is none yet; create a collection to make it"));
    }
    std::fs::create_dir_all(root).map_err(io)?;
    let lock = StoreLock::take(root, opening.wait)?;
    swap::finish(root, &Disk::new(root, opening.faults.clone()))?;
    let dir = root.join(swap::CURRENT);
    // A kill while the store was created can leave a directory without a database, which is then
    // created. A store that lost its database gets no new one, which would contradict the files
    // beside it.
    if !dir.join("db").exists() && (!create || dir.join(commit_counter::NAME).exists()) {
        return Err(not(
            "its database is missing (sled/db); restore a backup, or move what is left away to begin anew",
        ));
    }
    Ok(lock)
}

fn damaged(part: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Damaged {
        part: part.into(),
        reason: reason.into(),
    }
}
