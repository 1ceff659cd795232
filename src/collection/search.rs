//! Searches: what is asked, and with which settings.

use std::sync::Arc;

use rayon::prelude::*;

use super::Collection;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::items::{Matching, SearchRequest};
use crate::model::{Hits, MAX_K, MetricChoice, Query, Versioned};

/// A search to be run; made by [`Collection::search`] for one query, or [`Collection::search_many`]
/// for a list of them.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Search<Q = Query> {
    collection: Collection,
    query: Q,
    k: usize,
    ef: Option<usize>,
    recall: Option<f64>,
    filter: Option<Filter>,
    metric: MetricChoice,
    user: Option<String>,
    include_text: bool,
    include_meta: bool,
    cancel: Option<Cancel>,
}

/// Asked now and then whether to stop.
#[derive(Clone)]
struct Cancel(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cancel")
    }
}

impl Collection {
    /// Asks what is most like a text, a vector, or a stored item.
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

    /// Asks many queries at once: their texts are encoded together, and they are searched on all
    /// processors.
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
            include_text: false,
            include_meta: false,
            cancel: None,
        }
    }
}

impl<Q> Search<Q> {
    /// How many hits at most: 1 to 10,000, by default 10.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// The beam's width, at least 1, instead of one calibrated for a recall.
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = Some(ef);
        self
    }

    /// The recall to aim at, above 0 and at most 1 (every item is looked at); by default .95.
    pub fn recall(mut self, recall: f64) -> Self {
        self.recall = Some(recall);
        self
    }

    /// Only items whose metadata passes.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Under which metric; by default the active one.
    pub fn metric(mut self, metric: MetricChoice) -> Self {
        self.metric = metric;
        self
    }

    /// For whom: a user who has a metric of their own is answered under it.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Reads the hits' texts.
    pub fn include_text(mut self) -> Self {
        self.include_text = true;
        self
    }

    /// Reads the hits' metadata.
    pub fn include_meta(mut self) -> Self {
        self.include_meta = true;
        self
    }

    /// Stops early once `cancel` says so, which it is asked every few dozen steps; what was found
    /// by then is returned, and [`Execution::complete`](crate::Execution::complete) is false.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Cancel(Arc::new(cancel)));
        self
    }

    /// Checks the parameters, chooses the metric and evaluates the filter, once for all queries.
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
        let items = self.collection.items_handle();
        let matching = self.filter.as_ref().map(|filter| items.matching(filter));
        Ok(Prepared {
            metric,
            matching: matching.transpose()?,
        })
    }

    /// Answers one query, whose vector has the form that is searched.
    fn answer(&self, query: &Query, vector: &[f32], prepared: &Prepared) -> Result<Hits> {
        let own = match query {
            Query::Item(id) => Some(id.as_str()),
            Query::Text(_) | Query::Vector(_) => None,
        };
        let cancel = self.cancel.as_ref();
        let request = SearchRequest {
            k: self.k,
            ef: self.ef,
            recall: self.recall,
            matching: prepared.matching.as_ref(),
            own,
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
    matching: Option<Matching>,
}

impl Search {
    /// Runs it. A collection without items gives no hits.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for `k`, `ef` or `recall` out of range; [`Error::UnknownId`] for a
    /// query by id; [`Error::Dimension`], [`Error::NotFinite`], [`Error::ZeroVector`] for a vector;
    /// [`Error::UnknownVersion`], [`Error::WithdrawnVersion`] or [`Error::NoPlugin`] for the
    /// metric; encoder and storage errors.
    pub fn run(self) -> Result<Hits> {
        let prepared = self.prepare()?;
        let vector = self.collection.items_handle().query_vector(&self.query)?;
        self.answer(&self.query, &vector, &prepared)
    }
}

impl Search<Vec<Query>> {
    /// Runs it; the answers come in the queries' order.
    ///
    /// # Errors
    /// As for one query; an error of any query is the error of all.
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
