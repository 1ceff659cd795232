//! How much words count beside meaning in hybrid searches.
//!
//! The score of an item is `closeness + weight * words`, of the two [`Shares`](super::Shares). A
//! refit of a collection with keywords tries other weights on the judged queries, under the metric
//! that is to answer, by [cross-fitting](super::cross_fit): of those that are about as good as the best,
//! within a standard error, the one nearest to the weight before. It takes the place of that where
//! its mean gain less 2.33 standard errors is above 0, on at least 8 queries. So a few judgements seldom
//! move it far, and where it matters little it stays. Only judgements of texts teach it: a stored item
//! as the query has the words of a whole text, of which most say nothing, and a person asks a few.
//!
//! The weight belongs to a version of the metric: going back to a version goes back to its weight. It
//! is that of the last refit that tested it under the version, where there was none that of the
//! version's parent, and [2](FusionRecord::DEFAULT_WORDS) at the root.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Learning;
use super::backend::{FusedQuery, Shares};
use super::cross_fit::{self, CONFIDENCE_99, MIN_QUERIES, Mean, Slack, Tried, contrast_weight};
use super::examples::{Collected, Subject};
use crate::model::error::{Error, Result};
use crate::model::{FusionRecord, LoggedQuery, Query, QueryHash, VersionId, Versioned};
use crate::plugin::{Gate, Metric};

/// Weights that are tried, beside the one before.
const WEIGHTS: [f64; 7] = [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
/// How far below the best one a weight nearer to that before may be.
const SLACK: Slack = Slack(1.0);
/// Largest number of queries that are tested: those that were judged last.
const MAX_QUERIES: usize = 300;
/// Queries whose shares are asked for together.
const BATCH: usize = 32;
/// What is measured.
const MEASURE: &str =
    "area under the ROC curve of the results of held-out queries in hybrid searches";

/// The weights of words by version in this process, read when they are first asked for after a
/// change.
#[derive(Default)]
pub(super) struct Weights {
    /// Number of changes of versions.
    changes: AtomicU64,
    /// Weights, and the number of changes that they are of.
    read: Mutex<Option<(u64, HashMap<VersionId, f64>)>>,
}

impl Weights {
    /// Says that versions may have changed.
    pub(super) fn outdate(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// A query whose results can be scored.
struct Scored<'a> {
    query: Query,
    /// Row of its vector.
    row: usize,
    /// (id of the item, whether it is relevant) of each result.
    results: Vec<(&'a str, bool)>,
    weight: f64,
}

impl Learning {
    /// The weight of words beside closeness in hybrid searches under a version.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn words_weight(&self, version: VersionId) -> Result<f64> {
        let mut read = self
            .fusion
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Read before the versions: a change meanwhile makes them older than the next one.
        let now = self.fusion.changes.load(Ordering::Acquire);
        let weights = match read.take() {
            Some((of, weights)) if of == now => weights,
            _ => self.read_weights()?,
        };
        let (_, weights) = read.insert((now, weights));
        let weight = weights.get(&version).copied();
        Ok(weight.unwrap_or(FusionRecord::DEFAULT_WORDS))
    }

    fn read_weights(&self) -> Result<HashMap<VersionId, f64>> {
        let versions = self.ledger.versions()?;
        let mut own: HashMap<VersionId, f64> = HashMap::new();
        for (version, record) in &versions {
            if let Some(fusion) = record.fusion.as_ref().filter(|_| !record.withdrawn) {
                own.insert(fusion.under.unwrap_or(*version), fusion.words);
            }
        }
        let at_root = own.get(&VersionId::BUILT_IN).copied();
        let at_root = at_root.unwrap_or(FusionRecord::DEFAULT_WORDS);
        let mut weights = HashMap::from([(VersionId::BUILT_IN, at_root)]);
        // Parents have lower numbers; one that was deleted is passed over.
        for (version, record) in &versions {
            let inherited = weights
                .get(&record.lineage.parent)
                .copied()
                .unwrap_or(at_root);
            weights.insert(*version, own.get(version).copied().unwrap_or(inherited));
        }
        Ok(weights)
    }

    /// Tests other weights of words on judgements, under a metric that is to answer. `stored` is the
    /// version that answers now. `None` where the collection has no keywords.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once `cancelled` returns true; those of the engine.
    pub(super) fn validate_fusion(
        &self,
        collected: &Collected,
        stored: &Versioned,
        metric: &dyn Metric,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<(f64, Gate)>> {
        let Some(vectors) = self.vectors.hybrid() else {
            return Ok(None);
        };
        let before = self.words_weight(stored.version)?;
        let scored = self.scored(collected)?;
        let asked: Vec<FusedQuery<'_>> = scored.iter().map(|s| s.asked(collected)).collect();
        let mut shares = Vec::with_capacity(asked.len());
        for batch in asked.chunks(BATCH) {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            match vectors.shares(stored, metric, batch) {
                // Keyword search was turned off meanwhile.
                Err(Error::InvalidQuery(_)) => return Ok(None),
                found => shares.extend(found?),
            }
        }
        let known: Vec<Known> = scored.iter().zip(shares).map(Known::new).collect();
        Ok(Some(verdict(&known, before)))
    }

    /// The queries that are texts, and have relevant and irrelevant results: those judged last first.
    fn scored<'a>(&self, collected: &'a Collected) -> Result<Vec<Scored<'a>>> {
        let mut results: BTreeMap<usize, Vec<(&str, bool)>> = BTreeMap::new();
        for graded in &collected.examples.graded {
            let subjects = [graded.query, graded.item].map(|row| &collected.subjects[row]);
            if let [Subject::Query(_), Subject::Item(id)] = subjects {
                let of_query = results.entry(graded.query).or_default();
                // The last word counts.
                of_query.retain(|(item, _)| item != id);
                of_query.push((id, graded.grade > 0.0));
            }
        }
        results.retain(|_, results| weight_of(results) > 0.0);
        let hash_of = |row: &usize| match &collected.subjects[*row] {
            Subject::Query(hash) => Some(*hash),
            Subject::Item(_) => None,
        };
        let texts = self.texts_of(results.keys().filter_map(hash_of).collect())?;
        let asked = results.into_iter().rev().filter_map(|(row, results)| {
            Some(Scored {
                query: Query::Text(texts.get(&hash_of(&row)?)?.clone()),
                row,
                weight: weight_of(&results),
                results,
            })
        });
        Ok(asked.take(MAX_QUERIES).collect())
    }

    /// The judged texts with these hashes.
    fn texts_of(&self, hashes: HashSet<QueryHash>) -> Result<HashMap<QueryHash, String>> {
        let mut texts = HashMap::new();
        if hashes.is_empty() {
            return Ok(texts);
        }
        for entry in self.ledger.judgements() {
            let query = entry?.1.query;
            if let Some(hash) = query.hash().filter(|hash| hashes.contains(hash))
                && let LoggedQuery::Text(text) = query
            {
                texts.insert(hash, text);
            }
        }
        Ok(texts)
    }
}

fn weight_of(results: &[(&str, bool)]) -> f64 {
    contrast_weight(results.iter().map(|(_, is_relevant)| *is_relevant))
}

impl Scored<'_> {
    fn asked<'a>(&'a self, collected: &'a Collected) -> FusedQuery<'a> {
        let row = collected.examples.vectors.row(self.row);
        FusedQuery {
            query: &self.query,
            vector: row.to_slice().unwrap_or_default(),
            items: self.results.iter().map(|(item, _)| *item).collect(),
        }
    }
}

/// A query with the shares of its results, as far as they are there, and whether they are relevant.
struct Known {
    weight: f64,
    results: Vec<(Shares, bool)>,
}

impl Known {
    fn new((scored, shares): (&Scored<'_>, Vec<Option<Shares>>)) -> Self {
        let results = shares.into_iter().zip(&scored.results);
        Self {
            weight: scored.weight,
            results: results
                .filter_map(|(shares, (_, is))| Some((shares?, *is)))
                .collect(),
        }
    }
}

/// The weight from now on, and what the test of others says.
fn verdict(known: &[Known], before: f64) -> (f64, Gate) {
    let known: Vec<&Known> = known
        .iter()
        .filter(|known| !known.results.is_empty())
        .collect();
    let weights: Vec<f64> = known.iter().map(|known| known.weight).collect();
    let areas = |weight: f64| -> Vec<f64> {
        let area = |known: &&Known| {
            let results = known.results.iter();
            let keys: Vec<(f64, bool)> = results
                .map(|(shares, is)| {
                    let score = f64::from(shares.closeness) + weight * f64::from(shares.words);
                    (-score, *is)
                })
                .collect();
            cross_fit::area(&keys)
        };
        known.iter().map(area).collect()
    };
    let plain = areas(before);
    let mut choices = WEIGHTS.to_vec();
    choices.retain(|weight| *weight != before);
    let far = |weight: &f64| ((weight + WEIGHTS[1]) / (before + WEIGHTS[1])).ln().abs();
    choices.sort_by(|a, b| far(a).total_cmp(&far(b)));
    choices.insert(0, before);
    let tried: Vec<Tried<f64>> = choices
        .into_iter()
        .map(|choice| Tried {
            choice,
            gains: areas(choice)
                .iter()
                .zip(&plain)
                .map(|(area, plain)| area - plain)
                .collect(),
        })
        .collect();
    let count = weights.len();
    let gain = cross_fit::gain(&tried, &weights, SLACK);
    let best = cross_fit::best(&tried, &weights, SLACK).map_or(before, |best| best.choice);
    let accepted = count >= MIN_QUERIES && gain.lower(CONFIDENCE_99) > 0.0 && best != before;
    let measure = |areas: &[f64]| Mean::of(areas.iter().copied().zip(weights.iter().copied())).mean;
    let reason = if count < MIN_QUERIES {
        format!(
            "words keep the weight {before}: {count} judged texts with relevant and irrelevant results are too \
             few to choose another (at least {MIN_QUERIES})"
        )
    } else if accepted {
        format!(
            "words get the weight {best} instead of {before}: hybrid searches gain {:.3}, at least {:.3} with 99 % \
             confidence, on {count} held-out queries",
            gain.mean,
            gain.lower(CONFIDENCE_99)
        )
    } else {
        format!(
            "words keep the weight {before}: no other showed a gain on {count} held-out queries ({:.3}, at least \
             {:.3} with 99 % confidence)",
            gain.mean,
            gain.lower(CONFIDENCE_99)
        )
    };
    let gate = Gate {
        accepted,
        measure: MEASURE.to_owned(),
        before: (count > 0).then(|| measure(&plain)),
        after: (count > 0).then(|| measure(&areas(best))),
        lower_bound: (count >= MIN_QUERIES).then(|| gain.lower(CONFIDENCE_99)),
        held_out: count,
        reason,
    };
    (if accepted { best } else { before }, gate)
}
