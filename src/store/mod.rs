//! The store: a directory of collections, opened by one process at a time, and [read](reading) by
//! any number beside it.

mod builder;
mod maintenance;
mod reading;
mod reencode;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::collection::{Collection, Inner};
use crate::encode::Encoder;
use crate::items::{CollectionInfo, Problem, check, merged, problems};
use crate::learning::Plugins;
use crate::model::error::{Error, Result};
use crate::plugin::MetricLearner;
use crate::storage::{CollectionRecord, Database, Durability, Faults, Follower, Opening, Tables};
use reading::Reading;

pub use builder::CollectionBuilder;
pub use maintenance::{Compacted, RepairReport};
pub use reencode::{Reencode, Reencoded};

/// Size of sled's page cache by default, in bytes. The index holds vectors and ids, so the cache
/// serves texts and metadata.
const DEFAULT_CACHE_BYTES: u64 = 64 << 20;

/// A store of collections in one directory.
///
/// A handle is cheap to clone and can be used from any thread. The directory is released when the
/// last handle to the store or to one of its collections is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    /// Open collections by name. Declared before the database, so that they are closed first.
    collections: Mutex<HashMap<String, Arc<Inner>>>,
    plugins: Plugins,
    /// Directories in which encoders are looked for.
    models: Vec<PathBuf>,
    root: PathBuf,
    /// The database; of a store that is only read, as it was at the last look.
    database: ArcSwap<Database>,
    /// Where the store is only read.
    reading: Option<Reading>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// Options for opening a store, from [`Store::builder`].
#[must_use = "a builder opens nothing until `open` is called"]
#[derive(Debug, Default)]
pub struct StoreBuilder {
    plugins: Vec<Arc<dyn MetricLearner>>,
    models: Vec<PathBuf>,
    durability: Durability,
    cache_bytes: Option<u64>,
    wait: Duration,
    faults: Option<Faults>,
    must_exist: bool,
    read_only: bool,
    refresh_every: Option<Duration>,
}

/// The result of [`Store::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Records, references between records and digests of tables that were checked.
    pub checked: u64,
    /// All damage that was found; empty for a sound store.
    pub problems: Vec<Problem>,
}

impl StoreBuilder {
    /// Registers a plugin that learns metrics.
    pub fn plugin(mut self, plugin: impl MetricLearner + 'static) -> Self {
        self.plugins.push(Arc::new(plugin));
        self
    }

    /// Names a directory in which the encoder of a collection is looked for, by its fingerprint, if
    /// it is not where it was; see [`encode::find`](crate::encode::find).
    pub fn models(mut self, directory: impl Into<PathBuf>) -> Self {
        self.models.push(directory.into());
        self
    }

    /// Sets when a write counts as done; [`Durability::Strict`] by default.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the size of sled's page cache in bytes, 64 MiB by default.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Waits so long for another process, or another handle of this one, that has the store open,
    /// and only then fails with [`Error::Locked`]; by default that is at once.
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = time;
        self
    }

    /// Sets whether a missing directory is created; it is by default.
    pub fn create(mut self, create: bool) -> Self {
        self.must_exist = !create;
        self
    }

    /// Sets whether the store is only read, as [`Store::open_read_only`] opens it.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets how old, at most, what a store that is only read shows may be when a collection is
    /// opened: after this time, opening one [refreshes](Store::refresh) the store. 100 ms by
    /// default; [`Duration::MAX`] for never.
    pub fn refresh_every(mut self, time: Duration) -> Self {
        self.refresh_every = Some(time);
        self
    }

    /// Makes operations on the disk fail as planned, to test how a program copes.
    #[cfg(any(test, feature = "testing"))]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Refuses to change a store that is only to be read.
    fn check_writable(&self, path: &Path) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly(path.to_owned()));
        }
        Ok(())
    }

    /// The options for opening the database.
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            create: !self.must_exist,
            durability: self.durability,
            cache_bytes: self.cache_bytes.unwrap_or(DEFAULT_CACHE_BYTES),
            wait: self.wait,
            faults: self.faults.clone(),
            lenient: false,
        }
    }

    /// The store over an open database.
    pub(crate) fn over(self, database: Arc<Database>) -> Store {
        self.reading(database, None)
    }

    fn reading(self, database: Arc<Database>, reading: Option<Reading>) -> Store {
        let shared = Shared {
            collections: Mutex::default(),
            plugins: self.plugins.into(),
            models: self.models,
            root: database.root().to_owned(),
            database: ArcSwap::new(database),
            reading,
        };
        Store {
            shared: Arc::new(shared),
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process, or another handle of this one, has it open;
    /// [`Error::NotAStore`] when the directory holds something else; [`Error::OlderFormat`];
    /// [`Error::NewerFormat`]; [`Error::Damaged`]; [`Error::Io`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let opening = self.opening();
        if self.read_only {
            let follower = Follower::open(path.as_ref(), &opening)?;
            let database = Database::read_only(&follower);
            let reading = Reading::new(follower, self.refresh_every);
            return Ok(self.reading(database, Some(reading)));
        }
        let database = Database::open(path.as_ref(), &opening)?;
        Ok(self.over(database))
    }
}

/// The refusal of [`Store::close`], with the store, which stays open.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct CloseError {
    /// The store.
    pub store: Store,
    /// The reason: [`Error::StillOpen`], or [`Error::Storage`] when the last writes cannot be made
    /// durable.
    #[source]
    pub error: Error,
}

impl From<CloseError> for Error {
    fn from(refusal: CloseError) -> Self {
        refusal.error
    }
}

/// Closes a collection that nobody else uses; gives it back where somebody does.
fn close(inner: Arc<Inner>) -> std::result::Result<(), Arc<Inner>> {
    if inner.is_in_use() {
        return Err(inner);
    }
    Arc::try_unwrap(inner).map(drop)
}

/// Closes those of some collections that are open, unless somebody else uses one.
fn close_in(open: &mut HashMap<String, Arc<Inner>>, names: &[&str]) -> Result<()> {
    for name in names {
        if let Some(inner) = open.remove(*name)
            && let Err(inner) = close(inner)
        {
            open.insert((*name).to_owned(), inner);
            return Err(Error::InUse {
                name: (*name).to_owned(),
            });
        }
    }
    Ok(())
}

impl Store {
    /// Opens or creates a store without plugins, which searches but does not learn.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// Opens a store that is only read, without plugins: beside the process that has it open, where
    /// there is one, without its lock, and without writing to the directory.
    ///
    /// Any number of processes may read. What they see is between two commits, none of which is
    /// half-done, and at most as old as [`StoreBuilder::refresh_every`] says when a collection is
    /// opened. A handle to a collection goes on showing what was there when it was opened, or at a
    /// later refresh; one that is opened anew shows the newest. Opening one that is open costs a
    /// look at what was written since. Everything that would write is refused with
    /// [`Error::ReadOnly`].
    ///
    /// Where no process has the store open, opening it copies sled's files to the directory for
    /// temporary files, and takes longer.
    ///
    /// # Errors
    /// [`Error::NotAStore`]; [`Error::Locked`] where the process that has the store open publishes
    /// nothing, because it is being compacted or restored; otherwise those of
    /// [`StoreBuilder::open`].
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Error, Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path();
    /// let store = Store::open(path)?;
    /// let points = store.collection("points").dim(1).create()?;
    /// points.add([Item::vector("a", [1.0])])?;
    ///
    /// // In another process:
    /// let reader = Store::open_read_only(path)?;
    /// assert_eq!(reader.collection("points").open()?.len(), 1);
    ///
    /// points.add([Item::vector("b", [2.0])])?;
    /// assert!(reader.refresh()?);
    /// let read = reader.collection("points").open()?;
    /// assert_eq!(read.len(), 2);
    /// assert!(matches!(read.delete(&["a"]), Err(Error::ReadOnly(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().read_only(true).open(path)
    }

    /// The options for opening a store.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    /// Begins to create or open the collection of that name.
    pub fn collection(&self, name: &str) -> CollectionBuilder {
        CollectionBuilder::new(self.clone(), name)
    }

    /// All collections, ordered by name.
    ///
    /// # Errors
    /// When the catalogue is damaged or cannot be read.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        let mut open = self.lock_collections();
        self.refresh_if_due(&mut open)?;
        let mut all = Vec::new();
        for (name, record) in self.database().collections()? {
            if let Some(inner) = open.get(&name) {
                all.push(Collection::new(Arc::clone(inner)).info());
                continue;
            }
            let tables = Tables::open(self.database(), &record)?;
            let mut info = CollectionInfo::read(&name, &record, tables.id_count())?;
            info.keywords = match tables.keywords() {
                // Searches by words say what is wrong, and so does `verify`.
                Err(Error::Damaged { .. }) => None,
                language => language?,
            };
            all.push(info);
        }
        Ok(all)
    }

    /// Removes a collection and everything in it.
    ///
    /// # Errors
    /// [`Error::CollectionMissing`]; [`Error::InUse`] while there are handles to it.
    pub fn drop_collection(&self, name: &str) -> Result<()> {
        let mut open = self.lock_collections();
        let Some(record) = self.database().collection(name)? else {
            return Err(self.missing(name)?);
        };
        self.database().check_writable()?;
        close_in(&mut open, &[name])?;
        self.database().drop_collection(name, record.number)
    }

    /// Closes the store now and releases its directory. Without it, a store is closed when its last
    /// handle is dropped, and a forgotten handle to a collection keeps it open without a word.
    ///
    /// Handles are clones of the store, collections, and what holds one of them: builders, iterators
    /// over items, prepared searches and refits, and a refit in the background until it ends.
    ///
    /// # Errors
    /// [`CloseError`], which gives the store back: with [`Error::StillOpen`], which names the
    /// collections that are in use and counts the other handles to the store; or with
    /// [`Error::Storage`] when the last writes cannot be made durable.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Error, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(2).create()?;
    /// let refused = store.close().expect_err("a handle is left");
    /// assert!(matches!(&refused.error, Error::StillOpen { collections, .. } if collections == &["points"]));
    /// drop(points);
    /// refused.store.close()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn close(self) -> Result<(), CloseError> {
        let checked = self.check_handles().and_then(|()| self.flush());
        if let Err(error) = checked {
            return Err(CloseError { store: self, error });
        }
        // A handle may have been cloned since it was checked.
        Arc::try_unwrap(self.shared)
            .map(drop)
            .map_err(|shared| CloseError {
                error: Error::StillOpen {
                    collections: Vec::new(),
                    stores: Arc::strong_count(&shared).saturating_sub(1).max(1),
                },
                store: Self { shared },
            })
    }

    /// Checks that this is the only handle to the store, and that none of its collections is in use.
    fn check_handles(&self) -> Result<()> {
        let open = self.lock_collections();
        let mut collections: Vec<String> = open
            .iter()
            .filter(|(_, inner)| Arc::strong_count(inner) > 1 || inner.is_in_use())
            .map(|(name, _)| name.clone())
            .collect();
        let stores = Arc::strong_count(&self.shared) - 1;
        if collections.is_empty() && stores == 0 {
            return Ok(());
        }
        collections.sort_unstable();
        Err(Error::StillOpen {
            collections,
            stores,
        })
    }

    /// The directory of the store.
    pub fn path(&self) -> &Path {
        &self.shared.root
    }

    /// The directories in which encoders are looked for, as [`StoreBuilder::models`] named them.
    pub fn models(&self) -> &[PathBuf] {
        &self.shared.models
    }

    /// Names of the registered plugins.
    pub fn plugins(&self) -> Vec<&'static str> {
        self.shared.plugins.iter().map(|p| p.name()).collect()
    }

    /// Waits until all writes so far are durable. Needed only with [`Durability::Relaxed`].
    ///
    /// # Errors
    /// [`Error::Storage`] when that fails; the handle then refuses reads and writes of the
    /// database.
    pub fn flush(&self) -> Result<()> {
        self.database().flush()
    }

    /// Reads and checks everything that is stored: checksums, references between records, numbers
    /// of records, files, and that metrics are symmetric and positive
    /// definite. Writes wait meanwhile, searches go on.
    ///
    /// # Errors
    /// When the catalogue cannot be read. All other damage is a problem in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        loop {
            self.refresh()?;
            let report = self.verify_once()?;
            // The files of a store that is only read may be replaced meanwhile.
            if report.problems.is_empty() || !self.refresh()? {
                return Ok(report);
            }
        }
    }

    fn verify_once(&self) -> Result<VerifyReport> {
        let mut report = VerifyReport {
            checked: 0,
            problems: Vec::new(),
        };
        for (name, record) in self.database().collections()? {
            report.checked += 1;
            match self.verify_collection(&name, &record) {
                Ok((checked, problems)) => {
                    report.checked += checked;
                    report.problems.extend(problems);
                }
                Err(error) => {
                    let of_database = match &error {
                        Error::Damaged { part, .. } => *part == self.database().name(),
                        Error::Storage { .. } | Error::Poisoned(_) => true,
                        _ => false,
                    };
                    let message = match error {
                        Error::Damaged { part, reason } => format!("damaged: {part}: {reason}"),
                        error => error.to_string(),
                    };
                    report.problems.push(Problem {
                        repairable: !of_database,
                        of_database,
                        ..Problem::new(name, message)
                    });
                }
            }
        }
        report.problems = merged(report.problems, &self.database().name());
        Ok(report)
    }

    fn verify_collection(
        &self,
        name: &str,
        record: &CollectionRecord,
    ) -> Result<(u64, Vec<Problem>)> {
        let mut open = self.lock_collections();
        if let Some(inner) = open.get(name).map(Arc::clone) {
            drop(open);
            return Ok(inner.verify(record));
        }
        // Its records first: a collection with a damaged one may not open.
        CollectionInfo::read(name, record, 0)?;
        let tables = Tables::open(self.database(), record)?;
        let integrity = check(name, record, &tables, &self.shared.plugins);
        if !integrity.findings.is_empty() {
            return Ok((integrity.checked, problems(name, &integrity.findings)));
        }
        let collection = self.open_collection(&mut open, name, record, None)?;
        drop(open);
        let problem = collection.inner().verify_index();
        Ok((integrity.checked, problem.into_iter().collect()))
    }

    pub(crate) fn database(&self) -> Arc<Database> {
        self.shared.database.load_full()
    }

    /// The error for a missing collection, which names those that exist.
    pub(crate) fn missing(&self, name: &str) -> Result<Error> {
        let known = self
            .database()
            .collections()?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        Ok(Error::CollectionMissing {
            name: name.to_owned(),
            known,
        })
    }

    pub(crate) fn registered(&self) -> &Plugins {
        &self.shared.plugins
    }

    /// Locks the open collections. Held while one is created, opened or removed, so that none is
    /// opened twice.
    pub(crate) fn lock_collections(&self) -> MutexGuard<'_, HashMap<String, Arc<Inner>>> {
        self.shared
            .collections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle to a collection of the catalogue, which is opened where it is not open yet.
    pub(crate) fn open_collection(
        &self,
        open: &mut HashMap<String, Arc<Inner>>,
        name: &str,
        record: &CollectionRecord,
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<Collection> {
        if let Some(inner) = open.get(name) {
            inner.offer_encoder(encoder);
            return Ok(Collection::new(Arc::clone(inner)));
        }
        let plugins = &self.shared.plugins;
        let models = &self.shared.models;
        let inner = self.settled(open, name, record, |database, record| {
            let (plugins, encoder) = (Arc::clone(plugins), encoder.clone());
            Inner::open(database, plugins, name, record, encoder, models)
        })?;
        open.insert(name.to_owned(), Arc::clone(&inner));
        Ok(Collection::new(inner))
    }
}
