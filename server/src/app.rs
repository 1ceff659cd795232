//! The state that all requests share: the store, its open collections, and what is kept in memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use affinis::{Collection, Error, Store};
use tokio::sync::{Semaphore, watch};

use crate::access::Access;
use crate::blocking::blocking;
use crate::figures::Figures;
use crate::idempotency::Answers;
use crate::jobs::Jobs;
use crate::problem::Problem;
use crate::routes::OpenQuestions;
use crate::settings::{Limits, Settings};

/// The state of a service; a handle is cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<State>);

pub(crate) struct State {
    pub(crate) store: Store,
    collections: RwLock<HashMap<String, Collection>>,
    pub(crate) access: Access,
    pub(crate) backups: Option<PathBuf>,
    pub(crate) limits: Limits,
    /// As many permits as requests may be answered at a time.
    pub(crate) permits: Semaphore,
    pub(crate) answers: Answers,
    pub(crate) jobs: Jobs,
    pub(crate) questions: OpenQuestions,
    pub(crate) figures: Figures,
    /// Becomes true when the service ends.
    pub(crate) ending: watch::Receiver<bool>,
}

impl std::ops::Deref for App {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl App {
    pub(crate) fn new(store: Store, settings: Settings, ending: watch::Receiver<bool>) -> Self {
        Self(Arc::new(State {
            store,
            collections: RwLock::default(),
            access: Access::new(settings.tokens, settings.hosts),
            backups: settings.backups,
            permits: Semaphore::new(settings.limits.requests),
            limits: settings.limits,
            answers: Answers::default(),
            jobs: Jobs::default(),
            questions: OpenQuestions::default(),
            figures: Figures::default(),
            ending,
        }))
    }

    /// Does something with a collection, on a thread that may wait.
    pub(crate) async fn on<T: Send + 'static>(
        &self,
        name: String,
        call: impl FnOnce(&Collection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = self.clone();
        blocking(move || call(&app.collection(&name)?)).await
    }
}

impl State {
    /// A handle to a collection, which is opened the first time. Blocks.
    pub(crate) fn collection(&self, name: &str) -> affinis::Result<Collection> {
        let open = self
            .collections
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(collection) = open.get(name) {
            return Ok(collection.clone());
        }
        drop(open);
        let collection = self.store.collection(name).open()?;
        self.keep(&collection);
        Ok(collection)
    }

    /// Keeps the handle to a collection.
    pub(crate) fn keep(&self, collection: &Collection) {
        let mut open = self
            .collections
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        open.insert(collection.name().to_owned(), collection.clone());
    }

    /// Handles to the collections that are open.
    pub(crate) fn open_collections(&self) -> Vec<Collection> {
        let open = self
            .collections
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }

    /// Removes a collection. Requests and jobs that use it are waited for, for a short time. Blocks.
    pub(crate) fn drop_collection(&self, name: &str) -> affinis::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const PAUSE: Duration = Duration::from_millis(20);
        let until = Instant::now() + PATIENCE;
        // Nobody gets a new handle while the lock is held.
        let mut open = self
            .collections
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        open.remove(name);
        loop {
            match self.store.drop_collection(name) {
                Err(Error::InUse { .. }) if Instant::now() < until => std::thread::sleep(PAUSE),
                done => return done,
            }
        }
    }
}
