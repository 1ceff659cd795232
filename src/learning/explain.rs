//! Explanation of an item's rank: its distance split over the metric's directions and over
//! judgements.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::examples::{Selection, Whose};
use super::{FusedQuery, Learning, Shares, WordsFound};
use crate::model::error::{Error, Result};
use crate::model::{JudgementId, MetricChoice, Query, VersionId, Versioned};
use crate::plugin::{Direction, Task, caught};
use crate::sum::squared_distance;

/// How far down the two rankings an item is looked for.
const DEPTH: usize = 1_000;

/// An explanation to be made; by
/// [`Collection::explain`](crate::Collection::explain).
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Explain {
    learning: Arc<Learning>,
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
    pub metric: VersionId,
    /// The item's rank in the answer, from 1; `None` beyond 1,000.
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
    /// The judgements of this question and of questions like it that move the query, those that
    /// move the item most first. Their influences are changes of its distance beside that of an item
    /// equal to the query. Empty under a metric that is named.
    pub memory: Vec<Influence>,
    /// Its place by words; `None` where the collection has no keywords or the query no words.
    pub words: Option<ByWords>,
    /// Number of judgements in the range that the metric was learned from whose influence is not
    /// known, because their items hold other contents now than those that were judged, or are gone.
    pub stale: usize,
}

/// An item's place by words, and by words and meaning together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ByWords {
    /// Rank by words only, from 1; `None` beyond 1,000.
    pub rank: Option<usize>,
    /// Rank in a hybrid search, from 1; `None` beyond 1,000.
    pub hybrid_rank: Option<usize>,
    /// Its shares in the score of that search.
    pub shares: Shares,
    /// The weight of the words' share.
    pub weight: f64,
    /// The words and phrases of the query that its text holds, those that count most first.
    pub found: Vec<WordsFound>,
}

/// How a judgement changed a distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Influence {
    /// The judgement's sequence number.
    pub judgement: JudgementId,
    /// About the distance as it is less what it would be without the judgement: below 0 it brought
    /// the item nearer.
    pub influence: f64,
}

impl Influence {
    /// Sorts by strength, the strongest first.
    pub(super) fn sort(influences: &mut [Self]) {
        influences.sort_by(|a, b| {
            let by_strength = b.influence.abs().total_cmp(&a.influence.abs());
            by_strength.then_with(|| a.judgement.cmp(&b.judgement))
        });
    }
}

impl Explain {
    /// Explains under this metric; by default under the active one.
    pub fn metric(mut self, metric: MetricChoice) -> Self {
        self.metric = metric;
        self
    }

    /// Explains for a user: under their own metric where they have one.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Makes the explanation.
    ///
    /// # Errors
    /// [`Error::UnknownId`](crate::Error::UnknownId) for the item or for a query by id; those of a
    /// search for the query and the metric; storage errors.
    pub fn run(self) -> Result<Explanation> {
        let learning = &self.learning;
        let metric = learning.choose(self.metric, self.user.as_deref())?;
        let query = learning.query_vector(&self.query)?;
        let item = learning
            .vectors_of(&[&self.item])?
            .pop()
            .unwrap_or_default();
        let user = self.user.as_deref();
        let memory = match self.metric {
            MetricChoice::Active => learning.memory(user),
            MetricChoice::BuiltIn | MetricChoice::Version(_) => None,
        };
        let moved = memory.and_then(|memory| memory.moved(&query));
        let rank = |metric: &Versioned, query: &[f32]| -> Result<Option<usize>> {
            let ranked = learning.ranking(metric, &self.query, query, DEPTH)?;
            let position = ranked.iter().position(|id| *id == self.item);
            Ok(position.map(|position| position + 1))
        };
        let (judgements, stale) = learning.influences(&metric, &query, &item)?;
        let asked = moved.as_deref().unwrap_or(&query);
        let words = learning.by_words(&metric, (&self.query, asked), &self.item)?;
        Ok(Explanation {
            metric: metric.version,
            rank: rank(&metric, asked)?,
            euclidean_rank: rank(learning.registry.built_in(), &query)?,
            distance: metric.metric.distance(&query, &item),
            euclidean: squared_distance(&query, &item),
            directions: caught("directions", || metric.metric.directions(&query, &item))?,
            judgements,
            memory: match moved {
                Some(_) => learning.remembered(&metric, &query, &item, user)?,
                None => Vec::new(),
            },
            words,
            stale,
        })
    }
}

impl Learning {
    /// An explanation of an item's distance from a query.
    pub fn explain(self: &Arc<Self>, query: Query, item: String) -> Explain {
        Explain {
            learning: Arc::clone(self),
            query,
            item,
            metric: MetricChoice::Active,
            user: None,
        }
    }

    /// The place of an item by words.
    fn by_words(
        &self,
        metric: &Versioned,
        (query, vector): (&Query, &[f32]),
        item: &str,
    ) -> Result<Option<ByWords>> {
        let Some(vectors) = self.vectors.hybrid() else {
            return Ok(None);
        };
        if matches!(query, Query::Vector(_)) {
            return Ok(None);
        }
        let mut found = match vectors.words_in(query, item) {
            // The stored item that is the query has no text.
            Err(Error::InvalidQuery(_)) => return Ok(None),
            found => found?,
        };
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let weight = self.words_weight(metric.version)?;
        let rank = |weight: Option<f64>| -> Result<Option<usize>> {
            let ranked = vectors.ranked(metric, &[(query, Some(vector))], weight, DEPTH)?;
            let ids = ranked.first().map(Vec::as_slice).unwrap_or_default();
            Ok(ids.iter().position(|id| id == item).map(|at| at + 1))
        };
        let asked = FusedQuery {
            query,
            vector,
            items: vec![item],
        };
        let shares = vectors.shares(metric, &*metric.metric, &[asked])?;
        let shares = shares.first().and_then(|shares| *shares.first()?);
        let Some(shares) = shares else {
            return Ok(None);
        };
        Ok(Some(ByWords {
            rank: rank(None)?,
            hybrid_rank: rank(Some(weight))?,
            shares,
            weight,
            found,
        }))
    }

    /// The influences of the judgements that a version was learned from on the distance between a
    /// query and an item, the strongest first, and the number of those that do not teach any more.
    fn influences(
        &self,
        metric: &Versioned,
        query: &[f32],
        item: &[f32],
    ) -> Result<(Vec<Influence>, usize)> {
        if metric.version.is_built_in() {
            return Ok((Vec::new(), 0));
        }
        let record = self.version_record(metric.version)?;
        let Some(range) = record.fit.judgements else {
            return Ok((Vec::new(), 0));
        };
        let user = record.lineage.user.clone();
        let whose = Whose::only(user.as_deref());
        let selection = Selection::of(whose, &record.settings).within(range);
        let collected = self.collect(&selection)?;
        let others = self.collect_others(&selection)?;
        let others = others.as_ref().map(|others| &others.examples);
        let plugin = self.plugin_named(&record.lineage.plugin)?;
        let sample = self.sample()?;
        let Some(report) = record.fit_report() else {
            return Ok((Vec::new(), 0));
        };
        let stale = collected.stale;
        if collected.is_empty() {
            return Ok((Vec::new(), stale));
        }
        let task = Task::new(self.rules.dim, &collected.examples, &sample)
            .with_learner(Some(&report.learner));
        let influences = || plugin.influences(&task, others, &report, (query, item));
        let Some(found) = caught("influences", influences)? else {
            return Ok((Vec::new(), stale));
        };
        let mut by_judgement: BTreeMap<JudgementId, f64> = BTreeMap::new();
        let graded = collected.graded.iter().zip(found.graded);
        let pairs = collected.pairs.iter().zip(found.pairs);
        for (judgement, influence) in graded.chain(pairs) {
            *by_judgement.entry(*judgement).or_default() += influence;
        }
        let mut influences: Vec<Influence> = by_judgement
            .into_iter()
            .map(|(judgement, influence)| Influence {
                judgement,
                influence,
            })
            .collect();
        Influence::sort(&mut influences);
        Ok((influences, stale))
    }
}
