//! What is on disk. The only room that knows sled.
//!
//! A store is a directory: `lock` (the holder's pid), `sled/` (the database). [`Database`] opens it, keeps the catalogue
//! of collections and commits; [`Shelf`] is one collection's trees with their records.

mod codec;
mod lock;
mod precision;
mod records;
mod shelf;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sled::transaction::Transactional;

use crate::error::{Error, Result};

pub use precision::Precision;
pub(crate) use records::{CollectionRecord, GateRecord, ItemRecord, JudgementRecord, QueryRecord, VersionRecord};
pub(crate) use shelf::{Active, Shelf, Writes};

/// The store's own format; raised when the layout of trees changes.
const FORMAT: u32 = 1;

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Every acknowledged write is on disk: it survives a kill and a power cut.
    #[default]
    Strict,
    /// Writes are atomic, but the last half second of them can be lost in a crash. For bulk loads; end with
    /// [`Store::flush`](crate::Store::flush).
    Relaxed,
}

/// An open store directory.
pub(crate) struct Database {
    // Declared first: sled must be closed before the lock is given back.
    sled: sled::Db,
    catalog: sled::Tree,
    root: PathBuf,
    durability: Durability,
    poison: OnceLock<String>,
    _lock: lock::StoreLock,
}

/// sled's word as ours.
fn storage(action: &'static str) -> impl Fn(sled::Error) -> Error {
    move |e| match e {
        sled::Error::Corruption { at, .. } => Error::Damaged {
            part: "the sled database".into(),
            reason: format!("sled found corruption while asked to {action} (at {at:?})"),
        },
        e => Error::Storage { action, reason: e.to_string() },
    }
}

impl Database {
    /// Opens a store directory, making it where `create` allows.
    pub(crate) fn open(root: &Path, create: bool, durability: Durability, cache_bytes: u64) -> Result<Arc<Self>> {
        let io = |source| Error::Io { path: root.to_owned(), source };
        let not = |reason: &str| Error::NotAStore { path: root.to_owned(), reason: reason.to_owned() };
        match std::fs::metadata(root) {
            Ok(meta) if !meta.is_dir() => return Err(not("it is a file, not a directory")),
            Ok(_) => {
                let occupied = !root.join("sled").exists()
                    && std::fs::read_dir(root).map_err(io)?.any(|e| e.is_ok_and(|e| e.file_name() != "lock"));
                if occupied {
                    return Err(not("the directory holds other files; choose an empty one or a new name"));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(io(e)),
        }
        if !create && !root.join("sled").exists() {
            return Err(not("there is none yet; create a collection to make it"));
        }
        std::fs::create_dir_all(root).map_err(io)?;
        let lock = lock::StoreLock::take(root)?;
        let flush_every = (durability == Durability::Relaxed).then_some(500);
        let config = sled::Config::default()
            .path(root.join("sled"))
            .cache_capacity(cache_bytes)
            .flush_every_ms(flush_every)
            .mode(sled::Mode::HighThroughput);
        // sled asserts some of what it reads; a damaged file must be an error, never the end of the program.
        let open = || {
            catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| Error::Damaged {
                part: "the sled database".into(),
                reason: "sled could not make sense of its files".into(),
            })
        };
        let mut opened = open()?;
        // The last holder's sled may still be tidying up files that it listed; they are gone when it is asked again.
        for _ in 0..5 {
            if !matches!(&opened, Err(sled::Error::Io(e)) if e.kind() == std::io::ErrorKind::NotFound) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            opened = open()?;
        }
        let sled = opened.map_err(storage("open its files"))?;
        let catalog = sled.open_tree("catalog").map_err(storage("open its catalogue"))?;
        let database = Self { sled, catalog, root: root.to_owned(), durability, poison: OnceLock::new(), _lock: lock };
        database.check_format()?;
        Ok(Arc::new(database))
    }

    fn check_format(&self) -> Result<()> {
        const KEY: &[u8] = b"\0format";
        match self.catalog.get(KEY).map_err(storage("read its format"))? {
            None if self.catalog.is_empty() => {
                self.catalog.insert(KEY, &FORMAT.to_le_bytes()).map_err(storage("write its format"))?;
                self.flush()
            }
            Some(bytes) => match <[u8; 4]>::try_from(&*bytes).map(u32::from_le_bytes) {
                Ok(1..=FORMAT) => Ok(()),
                Ok(found) => Err(Error::NewerFormat { part: "the store".into(), found, known: FORMAT }),
                Err(_) => Err(damaged_format()),
            },
            None => Err(damaged_format()),
        }
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All collections by name.
    pub(crate) fn collections(&self) -> Result<Vec<(String, CollectionRecord)>> {
        let mut all = Vec::new();
        for entry in self.catalog.scan_prefix(b"c/") {
            let (key, value) = entry.map_err(storage("read its catalogue"))?;
            let name = String::from_utf8_lossy(&key[2..]).into_owned();
            let record = CollectionRecord::decode(&value, &name)?;
            all.push((name, record));
        }
        Ok(all)
    }

    /// One collection's settings.
    pub(crate) fn collection(&self, name: &str) -> Result<Option<CollectionRecord>> {
        let found = self.catalog.get(catalog_key(name)).map_err(storage("read its catalogue"))?;
        found.map(|bytes| CollectionRecord::decode(&bytes, name)).transpose()
    }

    /// Enters a new collection, giving it a number that was never used.
    pub(crate) fn create_collection(&self, name: &str, mut record: CollectionRecord) -> Result<CollectionRecord> {
        const NEXT: &[u8] = b"\0next";
        let used = self.catalog.get(NEXT).map_err(storage("read its catalogue"))?;
        record.number = used.and_then(|b| <[u8; 4]>::try_from(&*b).ok()).map_or(0, u32::from_le_bytes);
        let mut batch = sled::Batch::default();
        batch.insert(NEXT, &(record.number + 1).to_le_bytes());
        batch.insert(catalog_key(name), record.encode()?);
        self.commit(&[(&self.catalog, batch)])?;
        Ok(record)
    }

    /// Removes a collection: first from the catalogue, then its trees, so that a crash between leaves only garbage.
    pub(crate) fn drop_collection(&self, name: &str, number: u32) -> Result<()> {
        let mut batch = sled::Batch::default();
        batch.remove(catalog_key(name));
        self.commit(&[(&self.catalog, batch)])?;
        for tree in Shelf::tree_names(number) {
            self.sled.drop_tree(tree).map_err(storage("remove a collection's trees"))?;
        }
        self.flush()
    }

    fn tree(&self, name: &str) -> Result<sled::Tree> {
        self.sled.open_tree(name).map_err(storage("open a collection's trees"))
    }

    /// Applies batches to several trees in one transaction and, when durability is strict, waits until they are on disk.
    ///
    /// A failure poisons the handle: what is in memory may then be ahead of the disk, so no later write may build on it.
    fn commit(&self, batches: &[(&sled::Tree, sled::Batch)]) -> Result<()> {
        self.check_poison()?;
        let trees: Vec<&sled::Tree> = batches.iter().map(|(tree, _)| *tree).collect();
        let done = trees.as_slice().transaction(|views| {
            for (view, (_, batch)) in views.iter().zip(batches) {
                view.apply_batch(batch)?;
            }
            Ok::<(), sled::transaction::ConflictableTransactionError<()>>(())
        });
        if let Err(e) = done {
            let reason = match e {
                sled::transaction::TransactionError::Storage(e) => e.to_string(),
                sled::transaction::TransactionError::Abort(()) => "the transaction was aborted".to_owned(),
            };
            self.poison(&reason);
            return Err(Error::Storage { action: "commit a write", reason });
        }
        if self.durability == Durability::Strict { self.flush() } else { Ok(()) }
    }

    /// Waits until every write so far is on disk.
    pub(crate) fn flush(&self) -> Result<()> {
        self.check_poison()?;
        self.sled.flush().map(|_| ()).map_err(|e| {
            self.poison(&e.to_string());
            Error::Storage { action: "make a write durable", reason: e.to_string() }
        })
    }

    fn poison(&self, reason: &str) {
        let _ = self.poison.set(reason.to_owned());
        tracing::error!(reason, "a write could not be made durable; the store takes no more writes");
    }

    fn check_poison(&self) -> Result<()> {
        self.poison.get().map_or(Ok(()), |reason| Err(Error::Poisoned(reason.clone())))
    }

    /// Bytes that the database takes on disk.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        self.sled.size_on_disk().map_err(storage("measure its files"))
    }
}

fn damaged_format() -> Error {
    Error::Damaged { part: "the store's format number".into(), reason: "it is missing or unreadable".into() }
}

fn catalog_key(name: &str) -> Vec<u8> {
    [b"c/", name.as_bytes()].concat()
}
