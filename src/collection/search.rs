//! Asking.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::read::parse_meta;
use super::{Collection, Inner, prepare};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index::{Found, SearchParams, Snapshot, Versioned};
use crate::query::{Execution, Hit, Hits, MAX_K, MetricChoice, Query};

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
    with_text: bool,
    with_meta: bool,
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
            with_text: false,
            with_meta: false,
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
    pub fn with_text(mut self) -> Self {
        self.with_text = true;
        self
    }

    /// Reads the hits' metadata.
    pub fn with_meta(mut self) -> Self {
        self.with_meta = true;
        self
    }

    /// Stops early once `cancel` says so, which it is asked every few dozen steps; what was found
    /// by then is returned, and [`Execution::complete`] is false.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Cancel(Arc::new(cancel)));
        self
    }

    /// What is the same for all queries: checks the parameters, chooses the metric, asks the
    /// filter.
    fn prepare(&self) -> Result<(Versioned, Option<(RoaringBitmap, Snapshot)>)> {
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
        let inner = &self.collection.inner;
        let metric = inner.choose(self.metric, self.user.as_deref())?;
        let allowed = self
            .filter
            .as_ref()
            .map(|filter| inner.matching(filter))
            .transpose()?;
        Ok((metric, allowed))
    }

    fn answer(
        &self,
        query: &Query,
        vector: &[f32],
        metric: &Versioned,
        filtered: Option<&(RoaringBitmap, Snapshot)>,
    ) -> Result<Hits> {
        let inner = &self.collection.inner;
        let started = Instant::now();
        let own = match query {
            Query::Item(id) => Some(id.as_str()),
            _ => None,
        };
        let k = self.k + usize::from(own.is_some());
        let cancel = self
            .cancel
            .as_ref()
            .map(|cancel| &*cancel.0 as &(dyn Fn() -> bool + Sync));
        let (allowed, at) = (filtered.map(|f| &f.0), filtered.map(|f| &f.1));
        let params = SearchParams {
            k,
            ef: self.ef,
            recall: self.recall,
            allowed,
            at,
            cancel,
        };
        let found = inner
            .index
            .search(metric, vector, &params)
            .map_err(|e| inner.index_error(e))?;
        let micros = started.elapsed().as_micros() as u64;
        let execution = Execution {
            visited: found.evaluations,
            ef: found.ef,
            micros,
            plan: found.plan,
            expected: found.expected,
            matching: allowed.map(|allowed| allowed.len() as usize),
            complete: found.complete,
        };
        let mut hits = inner.name_hits(metric, &found, own, self.k);
        if self.with_text || self.with_meta {
            for (hit, slot) in &mut hits {
                let Some(record) = inner.steady(|| inner.record_of(&hit.id, *slot))? else {
                    continue;
                };
                if self.with_meta {
                    hit.meta = Some(parse_meta(&record.meta, *slot)?);
                }
                if self.with_text {
                    hit.text = record.text;
                }
            }
        }
        Ok(Hits {
            hits: hits.into_iter().map(|(hit, _)| hit).collect(),
            metric: metric.version,
            execution,
        })
    }
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
        let (metric, allowed) = self.prepare()?;
        let vector = self.collection.inner.query_vector(&self.query)?;
        self.answer(&self.query, &vector, &metric, allowed.as_ref())
    }
}

impl Search<Vec<Query>> {
    /// Runs it; the answers come in the queries' order.
    ///
    /// # Errors
    /// As for one query; an error of any query is the error of all.
    pub fn run(self) -> Result<Vec<Hits>> {
        let (metric, allowed) = self.prepare()?;
        let inner = &self.collection.inner;
        let texts: Vec<&str> = self.query.iter().filter_map(Query::text).collect();
        let mut encoded = if texts.is_empty() {
            Vec::new()
        } else {
            inner.encode_queries(&texts)?
        }
        .into_iter();
        let mut vectors = Vec::with_capacity(self.query.len());
        for query in &self.query {
            vectors.push(match query.text().and_then(|_| encoded.next()) {
                Some(vector) => vector,
                None => inner.query_vector(query)?,
            });
        }
        let asked = self.query.par_iter().zip(&vectors);
        asked
            .map(|(query, vector)| self.answer(query, vector, &metric, allowed.as_ref()))
            .collect()
    }
}

impl Inner {
    /// A query's numbers as the index takes them.
    pub(super) fn query_vector(&self, query: &Query) -> Result<Vec<f32>> {
        let vector = match query {
            Query::Text(text) => {
                return Ok(self.encode_queries(&[text])?.pop().unwrap_or_default());
            }
            Query::Vector(vector) => vector.clone(),
            Query::Item(id) => {
                let slot = self.slots_of(&[id])?;
                if let Some(vector) = slot.first().and_then(|slot| self.index.vector(*slot)) {
                    return Ok(vector);
                }
                self.index.check_images().map_err(|e| self.index_error(e))?;
                // The item was replaced or removed between the two looks.
                return Err(Error::UnknownId {
                    collection: self.name.clone(),
                    ids: vec![id.clone()],
                });
            }
        };
        self.check_vector(&vector, &|| "the query's vector".to_owned())?;
        Ok(prepare(self.distance, vector))
    }

    fn encode_queries(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let encoded = self.encode(texts)?;
        let vectors = encoded.vectors.rows().into_iter().map(|row| row.to_vec());
        vectors
            .map(|vector| {
                self.check_vector(&vector, &|| "the query's vector".to_owned())?;
                Ok(prepare(self.distance, vector))
            })
            .collect()
    }

    pub(super) fn find(&self, metric: &Versioned, query: &[f32], k: usize) -> Result<Found> {
        let params = SearchParams {
            k,
            ..SearchParams::default()
        };
        self.index
            .search(metric, query, &params)
            .map_err(|e| self.index_error(e))
    }

    /// Slots become ids; ties are put in the order of ids and the rest is cut off.
    fn name_hits(
        &self,
        metric: &Versioned,
        found: &Found,
        own: Option<&str>,
        k: usize,
    ) -> Vec<(Hit, u32)> {
        let mut named: Vec<(f32, &str, u32)> = Vec::with_capacity(found.hits.len());
        let names = found
            .hits
            .iter()
            .filter_map(|n| self.ids.get(n.slot).map(|id| (n.distance, id, n.slot)));
        named.extend(names.filter(|(_, id, _)| Some(*id) != own));
        named.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let hit = |(rank, (distance, id, slot)): (usize, (f32, &str, u32))| {
            let score = self.distance.score(distance, metric.version > 0);
            (
                Hit {
                    id: id.to_owned(),
                    distance,
                    score,
                    rank: rank + 1,
                    text: None,
                    meta: None,
                },
                slot,
            )
        };
        named.into_iter().take(k).enumerate().map(hit).collect()
    }
}
