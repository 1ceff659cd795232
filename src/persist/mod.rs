//! What is on disk. The only room that knows sled.
//!
//! A store is a directory: `lock` (the holder's pid), `sled/` (the database, with its
//! [witness](witness) and the [images](images) of collections). [`Database`] opens it, keeps the
//! catalogue of collections and commits; [`Shelf`] is one collection's trees with their records.
//! All that reaches the disk goes through [`disk`].

mod catalog;
mod codec;
mod copy;
mod disk;
mod durable;
mod image;
mod images;
mod lock;
mod precision;
mod records;
mod repair;
mod shelf;
mod swap;
mod tally;
mod witness;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use crate::error::{Error, Result};
use disk::Disk;
use durable::Durable;
use lock::StoreLock;

pub use disk::{DiskOp, Fault, Faults};
#[cfg(any(test, fuzzing))]
pub(crate) use image::image_bytes;
pub(crate) use image::{Image, Stamp};
pub(crate) use images::{Images, ImagesRecord};
pub use precision::Precision;
#[cfg(any(test, fuzzing))]
pub(crate) use records::read_any_record;
#[cfg(test)]
pub(crate) use records::some_records;
pub(crate) use records::{CollectionRecord, ItemRecord, QueryRecord, VersionRecord};
pub(crate) use repair::{Judges, Repairs};
pub(crate) use shelf::Shelf;

/// When a write counts as done.
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

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opening {
    /// Whether the directory is made where there is none.
    pub(crate) create: bool,
    pub(crate) durability: Durability,
    pub(crate) cache_bytes: u64,
    pub(crate) faults: Option<Faults>,
    /// Whether damage that can be set right is: for a repair. What was, is in [`Database::mended`].
    pub(crate) lenient: bool,
}

/// An open store directory.
pub(crate) struct Database {
    // Declared first: sled must be closed before the lock is given back.
    sled: sled::Db,
    catalog: sled::Tree,
    root: PathBuf,
    dir: PathBuf,
    durability: Durability,
    disk: Disk,
    /// Commits so far. Held while one is applied.
    commits: Mutex<u64>,
    /// Taken before `commits` where both are held.
    durable: Mutex<Durable>,
    mended: Repairs,
    _lock: Arc<StoreLock>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes snapshots that sled had not finished when it was killed. It would take one for its
/// newest, and refuse the database for being cut short; the one before is there until the new one
/// has its name.
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

/// Opens sled on a directory, whose lock is held.
fn open_sled(dir: &Path, disk: &Disk, opening: &Opening) -> Result<sled::Db> {
    remove_unfinished_snapshots(dir, disk)?;
    let flush_every = (opening.durability == Durability::Relaxed).then_some(500);
    let config = sled::Config::default()
        .path(dir)
        .cache_capacity(opening.cache_bytes)
        .flush_every_ms(flush_every)
        .mode(sled::Mode::HighThroughput);
    // sled asserts some of what it reads; a damaged file must be an error, never the end of the
    // program.
    let open = || catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| disk.senseless());
    let mut opened = open()?;
    // The last holder in this process may still be tidying up, although it let go of the store's
    // lock: files that sled listed are gone when it is asked again, and so is its own lock.
    for _ in 0..150 {
        if !opened.as_ref().is_err_and(is_passing) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        opened = open()?;
    }
    disk.run(DiskOp::Read, "open its files", || opened)
}

/// Whether an opening failed for a reason that goes away.
fn is_passing(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(e) => {
            e.kind() == std::io::ErrorKind::NotFound
                || e.to_string().contains("could not acquire lock")
        }
        _ => false,
    }
}

/// Opens sled without what it can do without: its settings and its snapshots, which follow from the
/// log. What it could not do without stays as it was.
fn salvage_sled(dir: &Path, disk: &Disk, opening: &Opening) -> Result<sled::Db> {
    let io = |source| Error::Io {
        path: dir.to_owned(),
        source,
    };
    let mut aside = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "conf" || name.starts_with("snap.") {
            let kept = dir.join(format!("aside.{name}"));
            std::fs::rename(entry.path(), &kept).map_err(io)?;
            aside.push((kept, entry.path()));
        }
    }
    let opened = open_sled(dir, disk, opening);
    for (kept, path) in aside {
        match opened {
            Ok(_) => std::fs::remove_file(kept).map_err(io)?,
            Err(_) => std::fs::rename(kept, path).map_err(io)?,
        }
    }
    opened
}

impl Database {
    /// Opens a store directory.
    pub(crate) fn open(root: &Path, opening: &Opening) -> Result<Arc<Self>> {
        let lock = Arc::new(claim(root, opening.create, opening.faults.clone())?);
        Self::open_at(root, &root.join(swap::CURRENT), lock, opening)
    }

    /// Opens a database of a store whose lock is held: the current one, or one that is to take its
    /// place.
    fn open_at(
        root: &Path,
        dir: &Path,
        lock: Arc<StoreLock>,
        opening: &Opening,
    ) -> Result<Arc<Self>> {
        let disk = Disk::new(dir, opening.faults.clone());
        let mut mended = Repairs::default();
        let sled = match open_sled(dir, &disk, opening) {
            Err(error @ (Error::Damaged { .. } | Error::Storage { .. })) if opening.lenient => {
                // The disk is poisoned after a panic: a fresh one for a fresh try.
                let sled = salvage_sled(dir, &Disk::new(dir, opening.faults.clone()), opening)
                    .map_err(|_| error)?;
                mended.rebuilt.push(format!(
                    "the settings and snapshots of {}, from its log",
                    disk.name()
                ));
                sled
            }
            opened => opened?,
        };
        let disk = Disk::new(dir, opening.faults.clone());
        let catalog = disk.run(DiskOp::Read, "open its catalogue", || {
            sled.open_tree(catalog::TREE)
        })?;
        let durable = Mutex::new(Durable::open(root, dir, &disk)?);
        let mut database = Self {
            sled,
            catalog,
            root: root.to_owned(),
            dir: dir.to_owned(),
            durability: opening.durability,
            disk,
            commits: Mutex::new(0),
            durable,
            mended,
            _lock: lock,
        };
        database.prepare(opening.lenient)?;
        Ok(Arc::new(database))
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What a lenient opening had to set right.
    pub(crate) fn mended(&self) -> &Repairs {
        &self.mended
    }

    fn tree(&self, name: &str) -> Result<sled::Tree> {
        self.disk
            .run(DiskOp::Read, "open a collection's trees", || {
                self.sled.open_tree(name)
            })
    }

    /// Applies batches to several trees and the catalogue in one transaction and, when durability
    /// is strict, waits until they are on disk.
    fn commit(
        &self,
        batches: &[(&sled::Tree, sled::Batch)],
        mut catalog: sled::Batch,
    ) -> Result<()> {
        let number = {
            let mut commits = lock(&self.commits);
            let number = *commits + 1;
            catalog.insert(catalog::COMMITS, &number.to_le_bytes());
            let trees: Vec<&sled::Tree> = batches
                .iter()
                .map(|(tree, _)| *tree)
                .chain([&self.catalog])
                .collect();
            let apply = || {
                trees.as_slice().transaction(|views| {
                    for (view, batch) in views
                        .iter()
                        .zip(batches.iter().map(|(_, batch)| batch).chain([&catalog]))
                    {
                        view.apply_batch(batch)?;
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
            *commits = number;
            number
        };
        if self.durability == Durability::Strict {
            self.sync(number)
        } else {
            Ok(())
        }
    }

    /// Waits until every write so far is on disk.
    pub(crate) fn flush(&self) -> Result<()> {
        let number = *lock(&self.commits);
        self.sync(number)
    }

    /// Waits until so many commits are on disk.
    fn sync(&self, number: u64) -> Result<()> {
        let mut durable = lock(&self.durable);
        self.disk.check_poison()?;
        if durable.commits >= number {
            return Ok(());
        }
        // One sync serves all that were applied while this one waited for its turn.
        let reached = *lock(&self.commits);
        self.disk.run(DiskOp::Flush, "make a write durable", || {
            self.sled.flush()?;
            durable.sync().map_err(sled::Error::Io)
        })?;
        durable.commits = reached;
        // The write is durable whatever comes of this: a witness that counts too little notices
        // less, and says nothing false.
        if let Err(error) = durable.witness.note(reached, &self.disk) {
            tracing::warn!(%error, "the database's witness could not be written");
        }
        Ok(())
    }

    /// Where images of collections are.
    fn images_dir(&self) -> PathBuf {
        self.dir.join(images::DIR)
    }

    /// Bytes that the database takes on disk, with the images of its collections.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        let sled = self.disk.run(DiskOp::Read, "measure its files", || {
            self.sled.size_on_disk()
        })?;
        Ok(sled + copy::directory_bytes(&self.images_dir()))
    }
}

/// Takes the lock of a store's directory, which is made where that is allowed, and ends what a
/// crash left half-done.
fn claim(root: &Path, create: bool, faults: Option<Faults>) -> Result<StoreLock> {
    const OURS: [&str; 4] = ["lock", swap::CURRENT, swap::NEXT, swap::LAST];
    let io = |source| Error::Io {
        path: root.to_owned(),
        source,
    };
    let not = |reason: &str| Error::NotAStore {
        path: root.to_owned(),
        reason: reason.to_owned(),
    };
    let there = swap::is_store(root);
    match std::fs::metadata(root) {
        Ok(meta) if !meta.is_dir() => return Err(not("it is a file, not a directory")),
        Ok(_) => {
            let ours = |name: std::ffi::OsString| OURS.iter().any(|ours| name == *ours);
            let occupied = !there
                && std::fs::read_dir(root)
                    .map_err(io)?
                    .any(|e| e.is_ok_and(|e| !ours(e.file_name())));
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
    let lock = StoreLock::take(root)?;
    swap::finish(root, &Disk::new(root, faults))?;
    let dir = root.join(swap::CURRENT);
    // A kill while the store was made can leave a directory without a database, which is then made.
    // One that lost it is not made anew: what is beside it would contradict the new one.
    if !dir.join("db").exists() && (!create || dir.join(witness::NAME).exists()) {
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
