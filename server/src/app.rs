//! The state that all requests share: the collections, and what is kept in memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use affinis::Error;
use affinis_api::target::Target;
use tokio::sync::{Semaphore, watch};

use crate::access::{Access, Origins};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::idempotency::Answers;
use crate::jobs::Jobs;
use crate::problem::{Kind, Problem};
use crate::routes::AskedQuestions;
use crate::settings::{Limits, Settings};

/// The number of exports and imports that go on at a time.
const TRANSFERS: usize = 8;

/// The state of a service; a handle is cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<State>);

pub(crate) struct State {
    pub(crate) engine: Engine,
    collections: RwLock<HashMap<String, Held>>,
    pub(crate) access: Access,
    pub(crate) backups: Option<PathBuf>,
    pub(crate) limits: Limits,
    /// As many permits as requests may be answered at a time.
    pub(crate) permits: Semaphore,
    /// As many permits as collections may be written or read as files at a time.
    pub(crate) transfers: Arc<Semaphore>,
    pub(crate) answers: Answers,
    pub(crate) jobs: Jobs,
    pub(crate) questions: AskedQuestions,
    pub(crate) figures: Figures,
    /// Becomes true when the service ends.
    pub(crate) ending: watch::Receiver<bool>,
}

/// What is known of a collection.
enum Held {
    /// A handle to it.
    Open(Target),
    /// Nobody gets a handle, for this reason.
    Closed(&'static str),
}

impl std::ops::Deref for App {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl App {
    pub(crate) fn new(
        engine: Engine,
        settings: Settings,
        origins: Origins,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self(Arc::new(State {
            engine,
            collections: RwLock::default(),
            access: Access::new(
                settings.tokens,
                settings.hosts,
                origins,
                settings.limits.rate,
                settings.tls.is_some(),
            ),
            backups: settings.backups,
            permits: Semaphore::new(settings.limits.requests),
            transfers: Arc::new(Semaphore::new(TRANSFERS)),
            limits: settings.limits,
            answers: Answers::default(),
            jobs: Jobs::default(),
            questions: AskedQuestions::default(),
            figures: Figures::default(),
            ending,
        }))
    }

    /// Does something with a collection, on a thread that may wait.
    pub(crate) async fn on<T: Send + 'static>(
        &self,
        name: String,
        call: impl FnOnce(&Target) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = self.clone();
        blocking(move || call(&app.collection(&name)?)).await
    }
}

impl State {
    /// A handle to a collection, which is opened the first time. Blocks.
    pub(crate) fn collection(&self, name: &str) -> Result<Target, Problem> {
        match self.held().get(name) {
            Some(Held::Open(target)) => return Ok(target.clone()),
            Some(Held::Closed(reason)) => return Err(closed(name, reason)),
            None => {}
        }
        let target = self.engine.open(name)?;
        self.keep(target.clone());
        Ok(target)
    }

    /// Keeps a handle to a collection, unless nobody is to get one.
    pub(crate) fn keep(&self, target: Target) {
        let mut held = self.hold();
        held.entry(target.name().to_owned())
            .or_insert(Held::Open(target));
    }

    /// Handles to the collections that are open.
    pub(crate) fn open_collections(&self) -> Vec<Target> {
        let held = self.held();
        let open = held.values().filter_map(|held| match held {
            Held::Open(target) => Some(target.clone()),
            Held::Closed(_) => None,
        });
        open.collect()
    }

    /// Does something for which nobody else may have a handle to some collections. Requests and
    /// jobs that have one are waited for, for a short time; new requests are refused with the
    /// reason meanwhile. Blocks.
    pub(crate) fn alone<T>(
        &self,
        names: &[&str],
        reason: &'static str,
        mut work: impl FnMut() -> affinis::Result<T>,
    ) -> Result<T, Problem> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const PAUSE: Duration = Duration::from_millis(20);
        let _closed = Closed::new(self, names, reason)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match work() {
                Err(Error::InUse { .. }) if Instant::now() < until => std::thread::sleep(PAUSE),
                done => return Ok(done?),
            }
        }
    }

    /// Removes a collection. Blocks.
    pub(crate) fn drop_collection(&self, name: &str) -> Result<(), Problem> {
        self.alone(&[name], "is being dropped", || self.engine.remove(name))
    }

    fn held(&self) -> RwLockReadGuard<'_, HashMap<String, Held>> {
        self.collections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self) -> RwLockWriteGuard<'_, HashMap<String, Held>> {
        self.collections
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed(name: &str, reason: &str) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("the collection {name:?} {reason}; ask again later"),
    )
}

/// Collections to which nobody gets a handle until this is dropped.
struct Closed<'a> {
    state: &'a State,
    names: Vec<String>,
}

impl<'a> Closed<'a> {
    /// Closes collections, unless one of them is closed already.
    fn new(state: &'a State, names: &[&str], reason: &'static str) -> Result<Self, Problem> {
        let mut held = state.hold();
        for name in names {
            if let Some(Held::Closed(reason)) = held.get(*name) {
                return Err(closed(name, reason));
            }
        }
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        for name in &names {
            held.insert(name.clone(), Held::Closed(reason));
        }
        drop(held);
        Ok(Self { state, names })
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let mut held = self.state.hold();
        for name in &self.names {
            held.remove(name);
        }
    }
}
