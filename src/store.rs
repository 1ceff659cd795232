//! The store: one directory, opened by one process at a time.

mod builder;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::collection::{Collection, Inner};
use crate::encode::Encoder;
use crate::error::{Error, Result};
use crate::items::{CollectionInfo, Problem, inspect};
use crate::learning::Plugins;
use crate::persist::{CollectionRecord, Database, Durability, Faults, Opening, Shelf};
use crate::plugin::MetricLearner;

pub use builder::CollectionBuilder;

/// sled's page cache when nothing is said. Vectors and ids are in the index, so it serves texts and
/// metadata.
const CACHE_BYTES: u64 = 64 << 20;

/// A store of collections in one directory.
///
/// Handles are cheap to clone and may be used from any thread. The directory is released when the
/// last handle, of the store and of its collections, is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    /// Opened collections by name. Declared before the database, so that they are closed first.
    collections: Mutex<HashMap<String, Arc<Inner>>>,
    plugins: Plugins,
    database: Arc<Database>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// How a store is to be opened; made by [`Store::builder`].
#[must_use = "end with `open`"]
#[derive(Debug, Default)]
pub struct StoreBuilder {
    plugins: Vec<Arc<dyn MetricLearner>>,
    durability: Durability,
    cache_bytes: Option<u64>,
    faults: Option<Faults>,
    must_exist: bool,
}

/// What a check of a store found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Records that were read.
    pub checked: u64,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
}

impl StoreBuilder {
    /// Registers a learner of metrics.
    pub fn plugin(mut self, plugin: impl MetricLearner + 'static) -> Self {
        self.plugins.push(Arc::new(plugin));
        self
    }

    /// When a write counts as done; strict by default.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Bytes of memory for sled's page cache, 64 MiB by default.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Whether the directory is made where there is none; it is by default.
    pub fn create(mut self, create: bool) -> Self {
        self.must_exist = !create;
        self
    }

    /// Lets operations on the disk fail as planned, to test what a program does then.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// How the database is opened.
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            create: !self.must_exist,
            durability: self.durability,
            cache_bytes: self.cache_bytes.unwrap_or(CACHE_BYTES),
            faults: self.faults.clone(),
            lenient: false,
        }
    }

    /// The store over an open database.
    pub(crate) fn over(self, database: Arc<Database>) -> Store {
        let shared = Shared {
            collections: Mutex::default(),
            plugins: self.plugins.into(),
            database,
        };
        Store {
            shared: Arc::new(shared),
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process, or another handle in this one, has it;
    /// [`Error::NotAStore`] when the directory holds something else; [`Error::NewerFormat`];
    /// [`Error::Damaged`]; [`Error::Io`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let database = Database::open(path.as_ref(), &self.opening())?;
        Ok(self.over(database))
    }
}

/// Closes a collection that nobody else uses; gives it back where somebody does.
fn close(inner: Arc<Inner>) -> std::result::Result<(), Arc<Inner>> {
    if inner.is_in_use() {
        return Err(inner);
    }
    Arc::try_unwrap(inner).map(drop)
}

impl Store {
    /// Opens or makes a store without plugins: it searches, but does not learn.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// Says how a store is to be opened.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    /// Names a collection that is to be made or opened.
    pub fn collection(&self, name: &str) -> CollectionBuilder {
        CollectionBuilder::new(self.clone(), name)
    }

    /// All collections, ordered by name.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        let open = self.lock_collections();
        let mut all = Vec::new();
        for (name, record) in self.database().collections()? {
            let items = match open.get(&name) {
                Some(inner) => Collection::new(Arc::clone(inner)).len() as u64,
                None => Shelf::open(Arc::clone(self.database()), &record)?.id_count(),
            };
            all.push(CollectionInfo::read(&name, &record, items)?);
        }
        Ok(all)
    }

    /// Removes a collection with all that it holds.
    ///
    /// # Errors
    /// [`Error::CollectionMissing`], or [`Error::Invalid`] while handles of it are in use.
    pub fn drop_collection(&self, name: &str) -> Result<()> {
        let mut open = self.lock_collections();
        let Some(record) = self.database().collection(name)? else {
            return Err(self.missing(name)?);
        };
        if let Some(inner) = open.remove(name)
            && let Err(inner) = close(inner)
        {
            open.insert(name.to_owned(), inner);
            return Err(Error::Invalid(format!(
                "collection {name:?} is in use; drop its handles first"
            )));
        }
        self.database().drop_collection(name, record.number)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.database().root()
    }

    /// Names of the registered plugins.
    pub fn plugins(&self) -> Vec<&'static str> {
        self.shared.plugins.iter().map(|p| p.name()).collect()
    }

    /// Waits until every write so far is on disk; needed only with [`Durability::Relaxed`].
    ///
    /// # Errors
    /// [`Error::Storage`] when it cannot be done; the handle then takes no more writes.
    pub fn flush(&self) -> Result<()> {
        self.database().flush()
    }

    /// Reads everything that is stored and checks it: every checksum, every reference from one
    /// record to another, counts, stored graphs, and that metrics are symmetric positive definite.
    /// Writers wait, searches go on.
    ///
    /// # Errors
    /// When the catalogue itself cannot be read; all else becomes a problem of the report.
    pub fn verify(&self) -> Result<VerifyReport> {
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
                    let message = error.to_string();
                    report.problems.push(Problem {
                        part: name,
                        message,
                    });
                }
            }
        }
        Ok(report)
    }

    fn verify_collection(
        &self,
        name: &str,
        record: &CollectionRecord,
    ) -> Result<(u64, Vec<Problem>)> {
        let mut open = self.lock_collections();
        if !open.contains_key(name) {
            // Its records first: one that is damaged may not open.
            CollectionInfo::read(name, record, 0)?;
            let shelf = Shelf::open(Arc::clone(self.database()), record)?;
            let found = inspect(name, record, &shelf, &self.shared.plugins);
            if !found.problems.is_empty() {
                return Ok((found.checked, found.problems));
            }
        }
        let collection = self.open_collection(&mut open, name, record, None)?;
        drop(open);
        Ok(collection.inner().verify(record))
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.shared.database
    }

    /// The error for a collection that is not there, which names those that are.
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

    /// Held while collections are made, opened or removed, so that one is never opened twice.
    pub(crate) fn lock_collections(&self) -> MutexGuard<'_, HashMap<String, Arc<Inner>>> {
        self.shared
            .collections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The one shared inside of a collection that is in the catalogue.
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
        let plugins = Arc::clone(&self.shared.plugins);
        let inner = Inner::open(Arc::clone(self.database()), plugins, name, record, encoder)?;
        open.insert(name.to_owned(), Arc::clone(&inner));
        Ok(Collection::new(inner))
    }
}
