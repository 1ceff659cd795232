//! Learning: the log of judgements, versions of the metric, refits, and what watches over them.
//!
//! `Learning` holds the state of one collection in memory. It stands on the two traits of
//! `backend` and knows neither the store nor the index, so that every engine that implements
//! these learns alike. One file an activity; writes go through `Ledger::commit`, in the order of
//! one lock, whose guard (`WriteGuard`) is passed to whatever must not run without it.

mod answers;
mod ask;
mod backend;
mod background;
mod clicks;
mod content;
mod cross_fit;
mod documents;
mod drift;
mod evaluate;
mod examples;
mod explain;
mod forget;
mod fusion;
mod guidelines;
mod history;
mod interleave;
mod log;
mod memory;
mod neighbours;
mod refit;
mod registry;
mod sample;
mod trial;
mod weights;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::model::error::{Error, Result};
use crate::model::{Query, VectorRules, Versioned};
use crate::plugin::MetricLearner;

pub use crate::model::{ActivatedBy, Activation, MAX_ACTIVATIONS};
pub use crate::model::{
    FusionRecord, JudgementRange, MemoryRecord, MemorySettings, RefitSettings, SourceWeights,
    TrialRecord, Verdict,
};
pub use crate::model::{Guidelines, ScaleGrade};
pub use ask::Question;
pub use backend::{
    Changes, Effort, Entry, FusedQuery, HybridVectors, ItemContent, Ledger, LedgerLock, NextIds,
    Revision, Shares, StoredItem, Vectors, WordsFound,
};
pub use content::StaleJudgement;
pub use drift::{Drift, DriftEntry};
pub use evaluate::{EvalQuery, Evaluation, EvaluationRow, Measure, QueryMeasures};
pub use explain::{ByWords, Explain, Explanation, Influence};
pub use forget::{Forget, Forgotten, Relearned};
pub use history::{History, StoredVersion};
pub use interleave::Team;
pub(crate) use memory::Memory;
pub use neighbours::{DiffNeighbours, NeighbourChange, NeighbourChanges};
pub use refit::{Refit, RefitMillis, RefitReport};
pub(crate) use registry::{base_of, damaged, decode_metric};
pub use trial::{Interleaved, StartTrial, Trial};
pub use weights::proxies::Weak;
pub(crate) use weights::proxies::WeakItem;
pub(crate) use weights::user_share::check as check_user_share;

/// The registered plugins, in the order they were given.
pub type Plugins = Arc<[Arc<dyn MetricLearner>]>;

/// The learning of one collection, on whatever [engine](crate::engine) its items are.
///
/// A [`Collection`](crate::Collection) has these methods too, and documents them.
pub struct Learning {
    /// Name of the collection, for messages.
    name: String,
    rules: VectorRules,
    ledger: Arc<dyn Ledger>,
    vectors: Arc<dyn Vectors>,
    plugins: Plugins,
    registry: registry::Registry,
    trials: trial::Trials,
    background: background::Background,
    sample: sample::SampleCache,
    stale: content::StaleCount,
    memories: memory::Memories,
    fusion: fusion::Weights,
    /// The [generation](Ledger::generation) of the ledger that the versions in memory are of.
    generation: AtomicU64,
    /// Orders writes: held from reading a counter until the change is stored and seen.
    writer: Mutex<()>,
    /// Held during a refit: one runs at a time.
    refitting: Mutex<()>,
}

/// Shows that the lock that orders writes to the ledger is held.
pub(crate) struct WriteGuard<'a> {
    // Dropped before the lock of this process, under which it was taken.
    _ledger: LedgerLock,
    _lock: MutexGuard<'a, ()>,
}

/// Shows that no refit but the holder's is running.
struct RefitGuard<'a> {
    _lock: MutexGuard<'a, ()>,
}

impl std::fmt::Debug for Learning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learning")
            .field("collection", &self.name)
            .finish_non_exhaustive()
    }
}

impl Learning {
    /// Opens the learning of a collection of this name on its engine, and announces the active
    /// metric.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn open(
        name: &str,
        rules: VectorRules,
        ledger: Arc<dyn Ledger>,
        vectors: Arc<dyn Vectors>,
        plugins: Plugins,
    ) -> Result<Arc<Self>> {
        // Read first: what is read after it is at least as new.
        let generation = AtomicU64::new(ledger.generation()?);
        let learning = Arc::new(Self {
            name: name.to_owned(),
            rules,
            registry: registry::Registry::open(&*ledger, rules)?,
            trials: trial::Trials::open(&*ledger)?,
            ledger,
            vectors,
            plugins,
            background: background::Background::default(),
            sample: sample::SampleCache::default(),
            stale: content::StaleCount::default(),
            memories: memory::Memories::default(),
            fusion: fusion::Weights::default(),
            generation,
            writer: Mutex::new(()),
            refitting: Mutex::new(()),
        });
        learning.announce_active();
        Ok(learning)
    }

    /// Reads what another process wrote to a store that is only read: judgements and versions, or
    /// items only.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn follow(&self, is_of_learning: bool) -> Result<()> {
        if is_of_learning {
            drop(self.hold()?);
            self.memories.outdate();
        }
        self.some_items_changed();
        Ok(())
    }

    /// Takes the lock that orders writes, of all clients of the ledger, and reads what others wrote.
    ///
    /// # Errors
    /// Where nothing can be written.
    fn lock(&self) -> Result<WriteGuard<'_>> {
        self.ledger.check_writable()?;
        self.hold()
    }

    /// Does the same for what only reads and must see no write in between.
    fn hold(&self) -> Result<WriteGuard<'_>> {
        let lock = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = WriteGuard {
            _ledger: self.ledger.lock()?,
            _lock: lock,
        };
        self.reload_if_changed(self.ledger.generation()?, &guard)?;
        Ok(guard)
    }

    /// Takes the lock that orders writes of this process. A writer that panicked left nothing
    /// half-done, because the ledger stores all changes of an operation or none.
    pub(crate) fn lock_process(&self) -> WriteGuard<'_> {
        WriteGuard {
            _ledger: LedgerLock::none(),
            _lock: self.writer.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Reads again which versions are active where another client of the ledger changed that; a
    /// [generation](Ledger::generation) that an engine has at hand saves asking for it. What a
    /// thread of this process is writing meanwhile is seen at the next call.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn refresh(&self, generation: Option<u64>) -> Result<()> {
        let generation = generation.map_or_else(|| self.ledger.generation(), Ok)?;
        if self.generation.load(Ordering::Acquire) == generation {
            return Ok(());
        }
        let lock = match self.writer.try_lock() {
            Ok(lock) => lock,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let guard = WriteGuard {
            _ledger: LedgerLock::none(),
            _lock: lock,
        };
        // Another thread may have been here meanwhile, so that the given number is an old one.
        self.reload_if_changed(self.ledger.generation()?, &guard)
    }

    fn reload_if_changed(&self, generation: u64, _guard: &WriteGuard<'_>) -> Result<()> {
        if self.generation.load(Ordering::Acquire) == generation {
            return Ok(());
        }
        let before = self.active(None);
        self.registry.reload(&*self.ledger)?;
        self.trials.reload(&*self.ledger)?;
        self.fusion.outdate();
        self.generation.store(generation, Ordering::Release);
        if self.active(None) != before {
            self.announce_active();
        }
        Ok(())
    }

    /// Stores changes durably, all or none; what answers remember is made anew.
    fn commit(&self, changes: Changes) -> Result<()> {
        let are_versions_changed =
            !changes.versions.is_empty() || !changes.removed_versions.is_empty();
        self.ledger.commit(changes)?;
        self.memories.outdate();
        if are_versions_changed {
            self.fusion.outdate();
        }
        Ok(())
    }

    /// Waits for a running refit and keeps others from beginning.
    fn lock_refits(&self) -> RefitGuard<'_> {
        RefitGuard {
            _lock: self
                .refitting
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The registered plugins.
    pub(crate) fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    /// Waits until no refit is running in the background.
    pub fn settle(&self) {
        self.background.settle();
    }

    /// The background refits and the settings that refits take from the open collection.
    pub(crate) fn background(&self) -> &background::Background {
        &self.background
    }

    /// The vectors of items that must all be there, as they are searched.
    fn vectors_of(&self, ids: &[&str]) -> Result<Vec<Vec<f32>>> {
        let found = self.vectors.vectors(ids)?;
        let unknown: Vec<String> = ids
            .iter()
            .zip(&found)
            .filter(|(_, vector)| vector.is_none())
            .map(|(id, _)| (*id).to_owned())
            .collect();
        if unknown.is_empty() {
            Ok(found.into_iter().flatten().collect())
        } else {
            Err(Error::UnknownId {
                collection: self.name.clone(),
                ids: unknown,
            })
        }
    }

    /// The vectors of queries, as they are searched. Texts are encoded together.
    fn query_vectors<'a>(
        &self,
        queries: impl Iterator<Item = &'a Query> + Clone,
    ) -> Result<Vec<Vec<f32>>> {
        let known = self.known_query_vectors(queries.clone())?;
        let named = known.into_iter().zip(queries);
        named
            .map(|(vector, query)| {
                vector.ok_or_else(|| Error::unknown_text(query.text().unwrap_or_default()))
            })
            .collect()
    }

    /// The vectors of queries, as they are searched; `None` for a text of which the encoder knows
    /// nothing.
    fn known_query_vectors<'a>(
        &self,
        queries: impl Iterator<Item = &'a Query> + Clone,
    ) -> Result<Vec<Option<Vec<f32>>>> {
        for query in queries.clone() {
            query.check()?;
        }
        let texts: Vec<&str> = queries.clone().filter_map(Query::text).collect();
        let encoded = if texts.is_empty() {
            Vec::new()
        } else {
            self.vectors.encode(&texts)?
        };
        let mut encoded = encoded.into_iter();
        queries
            .map(|query| match query {
                Query::Text(_) => {
                    let vector = encoded.next().flatten();
                    vector
                        .map(|vector| self.rules.prepare_query(vector))
                        .transpose()
                }
                Query::Vector(vector) => self.rules.prepare_query(vector.clone()).map(Some),
                Query::Item(id) => Ok(self.vectors_of(&[id])?.pop()),
            })
            .collect()
    }

    /// The vector of one query, as it is searched.
    fn query_vector(&self, query: &Query) -> Result<Vec<f32>> {
        let found = self.query_vectors(std::iter::once(query))?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// The ids of the `k` nearest items of a query, as searches find them, nearest first. The item
    /// that is itself the query is left out.
    fn ranking(
        &self,
        metric: &Versioned,
        query: &Query,
        vector: &[f32],
        k: usize,
    ) -> Result<Vec<String>> {
        let own = match query {
            Query::Item(id) => Some(id.as_str()),
            Query::Text(_) | Query::Vector(_) => None,
        };
        let depth = k + usize::from(own.is_some());
        let found = self
            .vectors
            .nearest(metric, &[vector], depth, Effort::Served)?;
        let mut ranked = found.into_iter().next().unwrap_or_default();
        ranked.retain(|id| Some(id.as_str()) != own);
        ranked.truncate(k);
        Ok(ranked)
    }
}
