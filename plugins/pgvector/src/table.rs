//! [`Table`]: the handle to an attached table.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use affinis::encode::Encoder;
use affinis::engine::{Learning, Plugins};
use affinis::learning::RefitReport;
use affinis::{
    Distance, Error, Filter, Hits, Item, Judgement, JudgementId, MetricChoice, Query, Result,
    VersionId,
};

use crate::attached::Attached;
use crate::ledger::TableLedger;
use crate::search::{Request, check_k, no_metadata};
use crate::server::Connection;
use crate::vectors::TableVectors;
use crate::where_clause::Condition;

/// A table with a learned metric. A handle is cheap to clone and can be used from any thread.
///
/// [`learning`](Self::learning) judges, refits, promotes, tries, explains and forgets, by the same
/// code as in an embedded store. Its methods block: on an asynchronous runtime they are called
/// through [`judge_async`](Self::judge_async), [`refit_async`](Self::refit_async) or
/// [`with_learning`](Self::with_learning), which never block its threads.
#[derive(Clone)]
pub struct Table {
    inner: Arc<Inner>,
}

struct Inner {
    attached: Arc<Attached>,
    learning: Arc<Learning>,
    /// The generation of the versions that the last search saw.
    seen: AtomicU64,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("collection", &self.name())
            .field("table", &self.inner.attached.relation.table())
            .finish_non_exhaustive()
    }
}

/// Numbers of a table and of what is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableStats {
    /// Number of rows with a vector; estimated by the server above 50,000.
    pub items: u64,
    /// Number of judgements.
    pub judgements: usize,
    /// Number of judgements that teach nothing, because their rows hold something else now, or are
    /// gone.
    pub stale_judgements: usize,
    /// The version that answers everybody.
    pub active: VersionId,
    /// Candidates that a search for ten hits ranks under it; `None` where its biases are not ready,
    /// or under version 0.
    pub candidates: Option<usize>,
    /// The same where the tenth of them is farther away than of most items and judged queries, as
    /// for questions of a word or two.
    pub far_candidates: Option<usize>,
    /// How far the server that was asked may be behind the one that takes writes; `None` where it is
    /// that one.
    pub staleness: Option<Duration>,
}

impl Table {
    pub(crate) fn open(attached: Arc<Attached>, plugins: Plugins) -> Result<Self> {
        let ledger = TableLedger::new(attached.postgres.clone(), attached.collection);
        let vectors = TableVectors::new(Arc::clone(&attached));
        let learning = Learning::open(
            &attached.name,
            attached.rules,
            Arc::new(ledger),
            Arc::new(vectors),
            plugins,
        )?;
        Ok(Self {
            inner: Arc::new(Inner {
                attached,
                learning,
                seen: AtomicU64::new(0),
            }),
        })
    }

    pub(crate) fn attached(&self) -> &Arc<Attached> {
        &self.inner.attached
    }

    /// The encoder of the texts of queries, if there is one.
    pub fn encoder(&self) -> Option<&Arc<dyn Encoder>> {
        self.inner.attached.encoder.as_ref()
    }

    /// Name of the collection.
    pub fn name(&self) -> &str {
        &self.inner.attached.name
    }

    /// Dimension `d` of the vectors.
    pub fn dim(&self) -> usize {
        self.inner.attached.rules.dim
    }

    /// The built-in distance, version 0.
    pub fn distance(&self) -> Distance {
        self.inner.attached.rules.distance
    }

    /// Number of rows with a vector; estimated by the server above 50,000.
    ///
    /// # Errors
    /// Those of the server.
    pub fn len(&self) -> Result<u64> {
        let attached = Arc::clone(&self.inner.attached);
        self.inner.attached.postgres.wait(async move {
            let connection = attached.postgres.connection().await?;
            attached.count(&connection).await
        })
    }

    /// Whether it has no row with a vector.
    ///
    /// # Errors
    /// Those of the server.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The rows of ids, with vector, text and metadata, in no particular order. Those that are not
    /// there are left out.
    ///
    /// # Errors
    /// Those of the server.
    pub fn items(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Item>> {
        let ids = ids.iter().map(|id| id.as_ref().to_owned()).collect();
        let attached = Arc::clone(&self.inner.attached);
        let wait = &self.inner.attached.postgres;
        wait.wait(async move { attached.items(ids).await })
    }

    /// Judgements, refits, versions, trials: what an embedded collection does, on this table. What
    /// other clients changed is seen at the next search, or at the next write.
    pub fn learning(&self) -> &Arc<Learning> {
        &self.inner.learning
    }

    /// Runs work on the learning on a thread that may wait.
    ///
    /// # Errors
    /// Those of the work.
    pub fn with_learning<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Learning>) -> Result<T> + Send + 'static,
    {
        let learning = Arc::clone(&self.inner.learning);
        self.inner
            .attached
            .postgres
            .unblock(move || work(&learning))
    }

    /// Stores judgements, all or none. Gives their numbers.
    ///
    /// # Errors
    /// Those of [`Learning::judge`].
    pub fn judge_async(
        &self,
        judgements: Vec<Judgement>,
    ) -> impl Future<Output = Result<Vec<JudgementId>>> + Send + use<> {
        self.with_learning(move |learning| learning.judge(&judgements))
    }

    /// Refits everybody's metric with the default settings.
    ///
    /// # Errors
    /// Those of [`Refit::run`](affinis::learning::Refit::run).
    pub fn refit_async(&self) -> impl Future<Output = Result<RefitReport>> + Send + use<> {
        self.with_learning(|learning| learning.refit().run())
    }

    /// Begins a search for the rows nearest to a text, a vector, or a row by its id.
    pub fn search(&self, query: impl Into<Query>) -> TableSearch {
        TableSearch {
            table: self.clone(),
            query: query.into(),
            k: 10,
            filter: None,
            metric: MetricChoice::Active,
            user: None,
            candidates: None,
            include_text: false,
            include_meta: false,
        }
    }

    /// Numbers of the table.
    ///
    /// # Errors
    /// Those of the server.
    pub fn stats(&self) -> Result<TableStats> {
        self.inner.learning.refresh(None)?;
        let judgements = self.inner.learning.judgements()?.len();
        let stale_judgements = self.inner.learning.stale_judgements()?.len();
        let active = self.inner.learning.active(None);
        let attached = Arc::clone(&self.inner.attached);
        self.inner.attached.postgres.wait(async move {
            let connection = attached.postgres.connection().await?;
            let ready = attached.ready(&connection, active).await?;
            Ok(TableStats {
                items: attached.count(&connection).await?,
                judgements,
                stale_judgements,
                active,
                candidates: ready.map(|candidates| candidates.near),
                far_candidates: ready.map(|candidates| candidates.far),
                staleness: attached.staleness(&connection).await?,
            })
        })
    }

    /// Removes the biases of rows that went, and those of versions that neither answer everybody,
    /// nor are the parent of the one that does, nor are in the running trial. Gives the number of
    /// biases removed. By itself a promotion keeps the biases of the active version, of the new one,
    /// and of three others.
    ///
    /// # Errors
    /// Those of the server.
    pub fn sweep(&self) -> Result<u64> {
        let learning = &self.inner.learning;
        learning.refresh(None)?;
        let active = learning.active(None);
        let mut keep = vec![active];
        if !active.is_built_in() {
            keep.extend(learning.metric(active)?.parent);
        }
        if let Some(trial) = learning.trial()? {
            keep.push(trial.challenger);
        }
        let attached = Arc::clone(&self.inner.attached);
        let wait = &self.inner.attached.postgres;
        wait.wait(async move { attached.sweep(keep).await })
    }
}

/// The settings of a search; made by [`Table::search`].
#[must_use = "end with `run` or `run_async`"]
#[derive(Debug, Clone)]
pub struct TableSearch {
    table: Table,
    query: Query,
    k: usize,
    filter: Option<Filter>,
    metric: MetricChoice,
    user: Option<String>,
    candidates: Option<usize>,
    include_text: bool,
    include_meta: bool,
}

impl TableSearch {
    /// Sets the number of hits, 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Finds only rows whose metadata passes a filter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Chooses the metric; the active one by default.
    pub fn metric(mut self, metric: MetricChoice) -> Self {
        self.metric = metric;
        self
    }

    /// Answers under the metric of a user, where they have one of their own.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets how many candidates of the server's index are ranked under a learned metric. By default
    /// it is measured, when a version is prepared, for a recall of .95.
    pub fn candidates(mut self, candidates: usize) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// Gives the texts of the hits too.
    pub fn include_text(mut self) -> Self {
        self.include_text = true;
        self
    }

    /// Gives the metadata of the hits too.
    pub fn include_meta(mut self) -> Self {
        self.include_meta = true;
        self
    }

    /// Runs the search, and waits for it on this thread.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`], [`Error::UnknownText`], [`Error::UnknownId`], those for vectors,
    /// filters and metrics, as of a search in an embedded store; those of the server.
    pub fn run(self) -> Result<Hits> {
        let wait = self.table.inner.attached.postgres.clone();
        wait.wait(self.answer())
    }

    /// Runs the search. The future can be polled on any runtime.
    ///
    /// # Errors
    /// Those of [`Self::run`].
    pub fn run_async(self) -> impl Future<Output = Result<Hits>> + Send + 'static {
        let postgres = self.table.inner.attached.postgres.clone();
        let answer = self.answer();
        postgres.spawn(answer)
    }

    async fn answer(self) -> Result<Hits> {
        check_k(self.k)?;
        self.query.check()?;
        let attached = &self.table.inner.attached;
        let filter = match &self.filter {
            Some(filter) => {
                let meta = attached.relation.meta().ok_or_else(no_metadata)?;
                Some((filter.clone(), Condition::of(filter, &meta)?))
            }
            None => None,
        };
        let vector = self.vector().await?;
        let postgres = &attached.postgres;
        let own = match &self.query {
            Query::Item(id) => Some(id.as_str()),
            _ => None,
        };
        let request = Request {
            vector: &vector,
            k: self.k,
            own,
            filter: filter.as_ref(),
            candidates: self.candidates,
            include_text: self.include_text,
            include_meta: self.include_meta,
        };
        let request = &request;
        loop {
            // A metric that this client has not read yet is read from the server.
            let (choice, user) = (self.metric, self.user.clone());
            let metric = self
                .table
                .with_learning(move |learning| learning.choose(choice, user.as_deref()));
            let metric = &metric.await?;
            let ask = |connection: Connection| async move {
                attached.search(&connection, metric, request).await
            };
            let answer = postgres.read(ask).await?;
            if !answer.computed.is_empty() {
                let (attached, version) = (Arc::clone(attached), metric.version);
                let keep = async move {
                    if let Err(error) = attached.keep_biases(version, answer.computed).await {
                        tracing::debug!(%error, "biases are computed again");
                    }
                };
                postgres.start(keep);
            }
            if self
                .table
                .inner
                .seen
                .swap(answer.generation, Ordering::AcqRel)
                == answer.generation
            {
                return Ok(answer.hits);
            }
            // Versions changed since the last search, here or elsewhere.
            attached.ready.clear();
            let generation = answer.generation;
            let refresh = self
                .table
                .with_learning(move |learning| learning.refresh(Some(generation)));
            refresh.await?;
            let (choice, user) = (self.metric, self.user.clone());
            let now = self
                .table
                .with_learning(move |learning| learning.choose(choice, user.as_deref()));
            if now.await?.version == metric.version {
                return Ok(answer.hits);
            }
        }
    }

    /// The vector of the query, as it is searched.
    async fn vector(&self) -> Result<Vec<f32>> {
        let attached = &self.table.inner.attached;
        match &self.query {
            Query::Text(text) => {
                let (encoding, text) = (Arc::clone(attached), text.clone());
                let encoded = attached.postgres.unblock(move || {
                    let vector = encoding.encode(&[&text])?.pop().flatten();
                    vector.ok_or(Error::UnknownText { text })
                });
                attached.rules.prepare_query(encoded.await?)
            }
            Query::Vector(vector) => attached.rules.prepare_query(vector.clone()),
            Query::Item(id) => attached.vector_of(id).await,
            _ => Err(Error::InvalidQuery(
                "this kind of query is not known here".to_owned(),
            )),
        }
    }
}
