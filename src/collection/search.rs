//! [`Search`], the builder of searches.

use std::sync::Arc;

use rayon::prelude::*;

use super::Collection;
use crate::filter::Filter;
use crate::items::{Matching, SearchRequest};
use crate::learning::Memory;
use crate::model::error::{Error, Result};
use crate::model::{Hits, MAX_K, MetricChoice, Query, QueryForm, Versioned};

/// The settings of a search; made by [`Collection::search`] for one query, or
/// [`Collection::search_many`] for a list of them.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Search<Q = Query> {
    collection: Collection,
    query: Q,
    k: usize,
    ef: Option<usize>,
    recall: Option<f64>,
    filter: Option<Filter>,
    metric: MetricChoice,
    user: Option<String>,
    memory: bool,
    hide_rejected: bool,
    include_text: bool,
    include_meta: bool,
    cancel: Option<Cancel>,
}

/// Tells a search whether to stop.
#[derive(Clone)]
struct Cancel(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cancel")
    }
}

impl Collection {
    /// Begins a search for the items nearest to a text, a vector, or a stored item.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Query, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(2).open_or_create()?;
    /// points.add([Item::vector("a", [0.0, 0.0]), Item::vector("b", [1.0, 0.0]), Item::vector("c", [5.0, 5.0])])?;
    /// let hits = points.search(vec![0.1, 0.0]).k(2).run()?;
    /// assert_eq!((hits[0].id.as_str(), hits[1].id.as_str()), ("a", "b"));
    /// let hits = points.search(Query::like("a")).k(1).run()?;
    /// assert_eq!(hits[0].id, "b");
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn search(&self, query: impl Into<Query>) -> Search {
        self.searching(query.into())
    }

    /// Begins a search of many queries: their texts are encoded together, and they are answered on
    /// all processors.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(1).open_or_create()?;
    /// points.add((0..100).map(|i| Item::vector(i.to_string(), [i as f32])))?;
    /// let answers = points.search_many([vec![3.2], vec![71.9]]).k(1).run()?;
    /// assert_eq!((answers[0][0].id.as_str(), answers[1][0].id.as_str()), ("3", "72"));
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn search_many(
        &self,
        queries: impl IntoIterator<Item = impl Into<Query>>,
    ) -> Search<Vec<Query>> {
        self.searching(queries.into_iter().map(Into::into).collect())
    }

    fn searching<Q>(&self, query: Q) -> Search<Q> {
        Search {
            collection: self.clone(),
            query,
            k: 10,
            ef: None,
            recall: None,
            filter: None,
            metric: MetricChoice::Active,
            user: None,
            memory: true,
            hide_rejected: false,
            include_text: false,
            include_meta: false,
            cancel: None,
        }
    }
}

impl<Q> Search<Q> {
    /// Sets the largest number of hits, 1 to 10,000; 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Sets the width of the beam, at least 1, instead of the one that is calibrated for a recall.
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = Some(ef);
        self
    }

    /// Sets the target recall, above 0 and at most 1, at which every item is scanned; .95 by
    /// default.
    pub fn recall(mut self, recall: f64) -> Self {
        self.recall = Some(recall);
        self
    }

    /// Restricts the hits to items whose metadata passes a filter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Sets the metric; the active one by default.
    pub fn metric(mut self, metric: MetricChoice) -> Self {
        self.metric = metric;
        self
    }

    /// Sets the user, whose own metric is the active one where they have one.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets whether judgements of this very question, and of questions like it, show in the answer;
    /// they do by default, under the active metric. No other metric remembers.
    pub fn memory(mut self, memory: bool) -> Self {
        self.memory = memory;
        self
    }

    /// Leaves out items that the user called irrelevant for this very query, and that still hold
    /// what was judged; without a [user](Self::user), those of judgements that name nobody.
    pub fn hide_rejected(mut self) -> Self {
        self.hide_rejected = true;
        self
    }

    /// Includes the texts of the hits.
    pub fn include_text(mut self) -> Self {
        self.include_text = true;
        self
    }

    /// Includes the metadata of the hits.
    pub fn include_meta(mut self) -> Self {
        self.include_meta = true;
        self
    }

    /// Stops early once `cancel` returns true; it is called every few dozen steps. The hits found
    /// by then are returned, and [`Execution::complete`](crate::Execution::complete) is false.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Cancel(Arc::new(cancel)));
        self
    }

    /// Checks the settings, loads the metric and evaluates the filter, once for all queries.
    fn prepare(&self) -> Result<Prepared> {
        if !(1..=MAX_K).contains(&self.k) {
            return Err(Error::InvalidQuery(format!(
                "k is {}, not between 1 and {MAX_K}",
                self.k
            )));
        }
        if self.ef == Some(0) {
            return Err(Error::InvalidQuery("ef is 0; it is at least 1".into()));
        }
        if let Some(recall) = self.recall
            && !(recall > 0.0 && recall <= 1.0)
        {
            return Err(Error::InvalidQuery(format!(
                "the recall {recall} is not above 0 and at most 1"
            )));
        }
        let metric = self
            .collection
            .learning()
            .choose(self.metric, self.user.as_deref())?;
        let memory = match self.metric {
            MetricChoice::Active if self.memory => {
                self.collection.learning().memory(self.user.as_deref())
            }
            _ => None,
        };
        let items = self.collection.items_handle();
        let matching = self.filter.as_ref().map(|filter| items.matching(filter));
        Ok(Prepared {
            metric,
            memory,
            matching: matching.transpose()?,
        })
    }

    /// The hits of one query, whose vector has the form that the index takes.
    fn answer(&self, query: &Query, vector: &[f32], prepared: &Prepared) -> Result<Hits> {
        let own = match query {
            Query::Item(id) => Some(id.as_str()),
            Query::Text(_) | Query::Vector(_) => None,
        };
        let moved = prepared
            .memory
            .as_ref()
            .and_then(|memory| memory.moved(vector));
        let hidden = if self.hide_rejected {
            let learning = self.collection.learning();
            learning.rejected(query, self.user.as_deref())?
        } else {
            Vec::new()
        };
        let cancel = self.cancel.as_ref();
        let request = SearchRequest {
            k: self.k,
            form: query.text().map_or(QueryForm::Any, QueryForm::of_text),
            ef: self.ef,
            recall: self.recall,
            matching: prepared.matching.as_ref(),
            own,
            moved: moved.as_deref(),
            hidden: &hidden,
            include_text: self.include_text,
            include_meta: self.include_meta,
            cancel: cancel.map(|cancel| &*cancel.0 as &(dyn Fn() -> bool + Sync)),
        };
        self.collection
            .items_handle()
            .search(&prepared.metric, vector, request)
    }
}

/// What all queries of one search share.
struct Prepared {
    metric: Versioned,
    memory: Option<Memory>,
    matching: Option<Matching>,
}

impl Search {
    /// Runs the search. An empty collection has no hits.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for `k`, `ef` or `recall` out of range; [`Error::UnknownText`] for a
    /// text of which the encoder knows nothing; [`Error::UnknownId`] for a query by id;
    /// [`Error::AmbiguousField`] for the filter; [`Error::Dimension`], [`Error::NotFinite`],
    /// [`Error::ZeroVector`] for a vector; [`Error::UnknownVersion`], [`Error::WithdrawnVersion`]
    /// or [`Error::NoPlugin`] for the metric; encoder and storage errors.
    pub fn run(self) -> Result<Hits> {
        let prepared = self.prepare()?;
        let vector = self.collection.items_handle().query_vector(&self.query)?;
        self.answer(&self.query, &vector, &prepared)
    }
}

impl Search<Vec<Query>> {
    /// Runs the searches. The answers are in the order of the queries.
    ///
    /// # Errors
    /// Those of a search of one query. An error of any query is the error of all.
    pub fn run(self) -> Result<Vec<Hits>> {
        let prepared = self.prepare()?;
        let items = self.collection.items_handle();
        let texts: Vec<&str> = self.query.iter().filter_map(Query::text).collect();
        let encoded = if texts.is_empty() {
            Vec::new()
        } else {
            items.encode_queries(&texts)?
        };
        let mut encoded = encoded.into_iter();
        let mut vectors = Vec::with_capacity(self.query.len());
        for query in &self.query {
            vectors.push(match query.text().and_then(|_| encoded.next()) {
                Some(vector) => vector,
                None => items.query_vector(query)?,
            });
        }
        self.query
            .par_iter()
            .zip(&vectors)
            .map(|(query, vector)| self.answer(query, vector, &prepared))
            .collect()
    }
}
