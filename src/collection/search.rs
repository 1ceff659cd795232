//! Asking.

use std::collections::BTreeMap;
use std::time::Instant;

use roaring::RoaringBitmap;
use serde_json::Value;

use super::graph::from_index;
use super::read::parse_meta;
use super::{Collection, Inner, prepare};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index::{Found, SearchParams, Versioned};
use crate::query::{Hit, Hits, MAX_K, MetricChoice, Plan, Query};

/// A search to be run; made by [`Collection::search`].
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Search {
    collection: Collection,
    query: Query,
    k: usize,
    ef: Option<usize>,
    recall: Option<f64>,
    filter: Option<Filter>,
    metric: MetricChoice,
    user: Option<String>,
    with_text: bool,
    with_meta: bool,
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
        Search {
            collection: self.clone(),
            query: query.into(),
            k: 10,
            ef: None,
            recall: None,
            filter: None,
            metric: MetricChoice::Active,
            user: None,
            with_text: false,
            with_meta: false,
        }
    }
}

impl Search {
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

    /// Runs it. A collection without items gives no hits.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for `k`, `ef` or `recall` out of range; [`Error::UnknownId`] for a query by id;
    /// [`Error::Dimension`], [`Error::NotFinite`], [`Error::ZeroVector`] for a vector; [`Error::UnknownVersion`],
    /// [`Error::WithdrawnVersion`] or [`Error::NoPlugin`] for the metric; encoder and storage errors.
    pub fn run(self) -> Result<Hits> {
        let inner = &self.collection.inner;
        if !(1..=MAX_K).contains(&self.k) {
            return Err(Error::InvalidQuery(format!("k is {}, not between 1 and {MAX_K}", self.k)));
        }
        if self.ef == Some(0) {
            return Err(Error::InvalidQuery("ef is 0; it is at least 1".into()));
        }
        if let Some(recall) = self.recall
            && !(recall > 0.0 && recall <= 1.0)
        {
            return Err(Error::InvalidQuery(format!("the recall {recall} is not above 0 and at most 1")));
        }
        let metric = inner.choose(self.metric, self.user.as_deref())?;
        let query = inner.query_vector(&self.query)?;
        let allowed = self.filter.as_ref().map(|filter| inner.matching(filter)).transpose()?;
        let started = Instant::now();
        let own = match &self.query {
            Query::Item(id) => Some(id.as_str()),
            _ => None,
        };
        let k = self.k + usize::from(own.is_some());
        let found = inner.find(&metric, &query, k, (self.ef, self.recall), allowed.as_ref())?;
        let micros = started.elapsed().as_micros() as u64;
        let plan = Plan {
            visited: found.evaluations,
            ef: found.ef,
            micros,
            plan: found.plan.to_owned(),
            complete: found.complete,
        };
        let mut hits = inner.name_hits(&metric, &found, own, self.k);
        if self.with_text || self.with_meta {
            for (hit, slot) in &mut hits {
                let Some(record) = inner.record_of(&hit.id, *slot)? else { continue };
                if self.with_meta {
                    hit.meta = Some(parse_meta(&record.meta, *slot)?);
                }
                if self.with_text {
                    hit.text = record.text;
                }
            }
        }
        Ok(Hits { hits: hits.into_iter().map(|(hit, _)| hit).collect(), metric: metric.version, plan })
    }
}

impl Inner {
    /// A query's numbers as the index takes them.
    pub(super) fn query_vector(&self, query: &Query) -> Result<Vec<f32>> {
        let vector = match query {
            Query::Text(text) => {
                let encoded = self.encoder()?.encode(&[text])?;
                encoded.vectors.into_raw_vec_and_offset().0
            }
            Query::Vector(vector) => vector.clone(),
            Query::Item(id) => {
                let slot = self.slots_of(&[id])?;
                match slot.first().and_then(|slot| self.index.vector(*slot)) {
                    Some(vector) => return Ok(vector),
                    // The item was replaced or removed between the two looks.
                    None => return Err(Error::UnknownId { collection: self.name.clone(), ids: vec![id.clone()] }),
                }
            }
        };
        self.check_vector(&vector, &|| "the query's vector".to_owned())?;
        Ok(prepare(self.distance, vector))
    }

    pub(super) fn find(
        &self,
        metric: &Versioned,
        query: &[f32],
        k: usize,
        (ef, recall): (Option<usize>, Option<f64>),
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Found> {
        let params = SearchParams { k, ef, recall, allowed, cancel: None };
        self.index.search(metric, query, &params).map_err(from_index)
    }

    /// Slots become ids; ties are put in the order of ids and the rest is cut off.
    fn name_hits(&self, metric: &Versioned, found: &Found, own: Option<&str>, k: usize) -> Vec<(Hit, u32)> {
        let mut named: Vec<(f32, &str, u32)> = found
            .hits
            .iter()
            .filter_map(|n| self.ids.get(n.slot).map(|id| (n.distance, id, n.slot)))
            .filter(|(_, id, _)| Some(*id) != own)
            .collect();
        named.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let hit = |(rank, (distance, id, slot)): (usize, (f32, &str, u32))| {
            let score = self.distance.score(distance, metric.version > 0);
            (Hit { id: id.to_owned(), distance, score, rank: rank + 1, text: None, meta: None }, slot)
        };
        named.into_iter().take(k).enumerate().map(hit).collect()
    }

    /// The slots whose metadata passes a filter.
    fn matching(&self, filter: &Filter) -> Result<RoaringBitmap> {
        self.metadata.matching(filter, || self.load_metadata())
    }

    fn load_metadata(&self) -> Result<BTreeMap<u32, Value>> {
        let mut all = BTreeMap::new();
        for entry in self.shelf.ids() {
            let (id, slot) = entry?;
            if let Some(record) = self.record_of(&id, slot)? {
                all.insert(slot, parse_meta(&record.meta, slot)?);
            }
        }
        Ok(all)
    }
}
