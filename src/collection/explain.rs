//! Why an item stands where it stands: its distance split over the metric's directions and over
//! judgements.

use std::collections::BTreeMap;

use serde::Serialize;

use super::collect::{Selection, Whose};
use super::refit::Settings;
use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::index::Versioned;
use crate::plugin::{Direction, Task};
use crate::query::{MetricChoice, Query};

/// How far down the two rankings an item is looked for.
const DEPTH: usize = 1_000;

/// An explanation to be made; by [`Collection::explain`].
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Explain {
    collection: Collection,
    query: Query,
    item: String,
    metric: MetricChoice,
    user: Option<String>,
}

/// Why an item is at its rank for a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The version of the metric that is explained.
    pub metric: u32,
    /// The item's rank under it, from 1; `None` beyond 1,000.
    pub rank: Option<usize>,
    /// Its rank under the collection's built-in distance; `None` beyond 1,000.
    pub euclidean_rank: Option<usize>,
    /// Its distance under the metric.
    pub distance: f64,
    /// Its squared Euclidean distance.
    pub euclidean: f64,
    /// The distance split over the metric's directions, the largest part first; the contributions
    /// add up to it.
    pub directions: Vec<Direction>,
    /// The judgements that the metric was learned from, those that moved the distance most first.
    pub judgements: Vec<Influence>,
}

/// How a judgement changed a distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Influence {
    /// The judgement's sequence number.
    pub judgement: u64,
    /// About the distance as it is less what it would be without the judgement: below 0 it brought
    /// the item nearer.
    pub influence: f64,
}

impl Collection {
    /// Explains an item's distance from a query.
    ///
    /// The metric's directions are its eigenvectors. The influence of a judgement is the derivative
    /// of the learner's closed form, checked against refits without it; it is given for metrics
    /// that were learned from judgements.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Query, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(2).open_or_create()?;
    /// points.add([Item::vector("a", [0.0, 0.0]), Item::vector("b", [1.0, 0.0]), Item::vector("c", [3.0, 4.0])])?;
    /// let why = points.explain(Query::like("a"), "c").run()?;
    /// assert_eq!((why.rank, why.distance, why.euclidean), (Some(2), 25.0, 25.0));
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn explain(&self, query: impl Into<Query>, item: impl Into<String>) -> Explain {
        Explain {
            collection: self.clone(),
            query: query.into(),
            item: item.into(),
            metric: MetricChoice::Active,
            user: None,
        }
    }
}

impl Explain {
    /// Under which metric; by default the active one.
    pub fn metric(mut self, metric: MetricChoice) -> Self {
        self.metric = metric;
        self
    }

    /// For whom: a user who has a metric of their own is explained that one.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Makes the explanation.
    ///
    /// # Errors
    /// [`Error::UnknownId`] for the item or for a query by id; those of a search for the query and
    /// the metric; storage errors.
    pub fn run(self) -> Result<Explanation> {
        let inner = &self.collection.inner;
        let metric = inner.choose(self.metric, self.user.as_deref())?;
        let query = inner.query_vector(&self.query)?;
        let slots = inner.slots_of(&[&self.item])?;
        let found = slots
            .first()
            .and_then(|slot| Some((*slot, inner.index.vector(*slot)?)));
        let Some((slot, item)) = found else {
            // The item was removed between the two looks.
            return Err(Error::UnknownId {
                collection: inner.name.clone(),
                ids: vec![self.item],
            });
        };
        let own = match &self.query {
            Query::Item(id) => inner.slots_of(&[id])?.first().copied(),
            _ => None,
        };
        let rank = |metric: &Versioned| inner.rank(metric, &query, slot, own);
        Ok(Explanation {
            metric: metric.version,
            rank: rank(&metric)?,
            euclidean_rank: rank(inner.metrics.base())?,
            distance: metric.metric.distance(&query, &item),
            euclidean: query
                .iter()
                .zip(&item)
                .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
                .sum(),
            directions: metric.metric.directions(&query, &item)?,
            judgements: inner.influences(&metric, (&query, &item))?,
        })
    }
}

impl Inner {
    /// The rank of an item, from 1; `None` when it is too far down.
    fn rank(
        &self,
        metric: &Versioned,
        query: &[f32],
        item: u32,
        own: Option<u32>,
    ) -> Result<Option<usize>> {
        let found = self.find(metric, query, DEPTH + 1)?;
        let place = found
            .hits
            .iter()
            .filter(|n| Some(n.slot) != own)
            .position(|n| n.slot == item);
        Ok(place.map(|p| p + 1).filter(|rank| *rank <= DEPTH))
    }

    /// The influences of the judgements that a version was learned from, the strongest first.
    fn influences(&self, metric: &Versioned, between: (&[f32], &[f32])) -> Result<Vec<Influence>> {
        if metric.version == 0 {
            return Ok(Vec::new());
        }
        let record = self.version_record(metric.version)?;
        let Some(range) = record.judgements else {
            return Ok(Vec::new());
        };
        let Settings {
            half_life,
            user_share,
            ..
        } = Settings::of(&record.parameters);
        let user = record.user.clone();
        let selection = Selection::of(Whose::only(user.as_deref()))
            .within(range)
            .half_life(half_life)
            .user_share(user_share);
        let collected = self.collect(&selection)?;
        let others = self.collect_others(&selection)?;
        let learner = self.learner_of(&record.plugin)?;
        let sample = self.sample()?;
        let version = crate::metric::Version::read(metric.version, record, false);
        let task = Task {
            dim: self.dim,
            learner: Some(&version.learner),
            seed: 0,
            examples: &collected.examples,
            incumbent: None,
            sample: &sample,
            change: None,
            cancel: &|| false,
        };
        let Some(found) = learner.influences(
            &task,
            others.as_ref().map(|o| &o.examples),
            &version,
            between,
        )?
        else {
            return Ok(Vec::new());
        };
        let mut by_judgement: BTreeMap<u64, f64> = BTreeMap::new();
        let graded = collected.graded.iter().zip(found.graded);
        for (sequence, influence) in graded.chain(collected.pairs.iter().zip(found.pairs)) {
            *by_judgement.entry(*sequence).or_default() += influence;
        }
        let mut influences: Vec<Influence> = by_judgement
            .into_iter()
            .map(|(judgement, influence)| Influence {
                judgement,
                influence,
            })
            .collect();
        influences.sort_by(|a, b| {
            b.influence
                .abs()
                .total_cmp(&a.influence.abs())
                .then_with(|| a.judgement.cmp(&b.judgement))
        });
        Ok(influences)
    }
}
