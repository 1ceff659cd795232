//! Diversity by maximal marginal relevance.

use super::{Ranked, Search, Source};
use crate::items::Candidate;
use crate::model::Hits;
use crate::model::error::{Error, Result};
use crate::plugin::Metric;
use crate::sum::dot;

/// The most hits of a search with diversity.
const MAX_HITS: usize = 1_000;
/// The hits are chosen from so many times as many candidates ...
const POOL: usize = 3;
/// ... and at least from so many.
const MIN_POOL: usize = 30;

impl<Q> Search<Q> {
    /// Chooses hits that differ from each other, by maximal marginal relevance (Carbonell &
    /// Goldstein, SIGIR 1998): the nearest item first, and then one by one the candidate `i` of the
    /// largest
    ///
    /// `(1 - diversity) relevance(i) - diversity max_j similarity(i, j)`
    ///
    /// over the hits `j` so far. At 0 the order is that of a search without it, at 1 only difference
    /// counts; it is 1 less the `lambda` of the paper. Candidates are the nearest `3 k` items, at
    /// least 30. Both terms are from 0 to 1, so that the unit of the metric does not matter:
    /// relevance falls in proportion to the distance, from 1 of the nearest candidate to 0 of the
    /// farthest, and similarity in the same way with the distance under the metric of the search,
    /// from 1 at the distance of the nearest candidate from itself to 0 at that from the candidate
    /// that is farthest from it.
    ///
    /// Ranks are those of the choice; distances and scores stay what they are. `k` is at most 1,000.
    pub fn diversity(mut self, diversity: f64) -> Self {
        self.diversity = Some(diversity);
        self
    }
}

/// Checks the settings.
pub(super) fn check(diversity: f64, k: usize) -> Result<()> {
    if !(0.0..=1.0).contains(&diversity) {
        return Err(Error::InvalidQuery(format!(
            "the diversity {diversity} is not between 0, which changes nothing, and 1"
        )));
    }
    if k > MAX_HITS {
        return Err(Error::InvalidQuery(format!(
            "k is {k}; with diversity it is at most {MAX_HITS}"
        )));
    }
    Ok(())
}

/// The most relevant and different hits.
pub(super) fn answer(ranked: &mut Ranked<'_>, k: usize, diversity: f64) -> Result<Hits> {
    let listed = ranked.best((POOL * k).max(MIN_POOL), None)?;
    let Source::Meaning(ranking) = &ranked.source else {
        return Err(Error::InvalidQuery(
            "a search by words has no diversity yet".to_owned(),
        ));
    };
    let mut pool = Vec::with_capacity(listed.candidates.len());
    for candidate in listed.candidates {
        // What was removed meanwhile is no hit.
        if let Some(vector) = ranking.vector_of(&candidate)? {
            pool.push((candidate, vector));
        }
    }
    let (metric, query) = ranking.keyed_by();
    let selection = Selection::new(metric, query, &pool, diversity);
    let (chosen, is_complete) = selection.choose(k, &|| ranking.is_cancelled());
    let chosen: Vec<Candidate<'_>> = chosen.into_iter().map(|at| pool[at].0).collect();
    let mut hits = ranked.hits(&chosen, 1)?;
    hits.execution.complete &= is_complete;
    Ok(hits)
}

/// The choice from a pool of candidates, which are in the order of their keys.
struct Selection<'a> {
    metric: &'a dyn Metric,
    pool: &'a [(Candidate<'a>, Vec<f32>)],
    /// The term of each candidate in rewritten distances.
    biases: Vec<f64>,
    relevance: Vec<f64>,
    diversity: f64,
}

impl<'a> Selection<'a> {
    /// `query` is the one whose distances are the keys.
    fn new(
        metric: &'a dyn Metric,
        query: &[f32],
        pool: &'a [(Candidate<'a>, Vec<f32>)],
        diversity: f64,
    ) -> Self {
        let rewritten = metric.rewrite(query);
        // The key is offset - 2 direction . x + bias, which saves computing the bias.
        let biases = pool.iter().map(|(candidate, vector)| {
            f64::from(candidate.key) - f64::from(rewritten.offset)
                + 2.0 * dot(&rewritten.direction, vector)
        });
        let keys = pool.iter().map(|(candidate, _)| f64::from(candidate.key));
        let least = keys.clone().fold(f64::INFINITY, f64::min);
        let greatest = keys.clone().fold(f64::NEG_INFINITY, f64::max);
        Self {
            metric,
            pool,
            biases: biases.collect(),
            relevance: keys.map(|key| closeness(key, least, greatest)).collect(),
            diversity,
        }
    }

    /// The positions of `k` candidates, and whether the choice was not cancelled.
    fn choose(&self, k: usize, is_cancelled: &dyn Fn() -> bool) -> (Vec<usize>, bool) {
        let k = k.min(self.pool.len());
        let mut chosen = Vec::with_capacity(k);
        let mut remaining: Vec<usize> = (0..self.pool.len()).collect();
        // The largest similarity of each candidate to those that are chosen.
        let mut similarity = vec![0.0_f64; self.pool.len()];
        let mut range = None;
        let mut next = 0;
        while chosen.len() < k {
            if is_cancelled() {
                return (chosen, false);
            }
            let at = remaining.remove(next);
            chosen.push(at);
            let distances = self.distances(at);
            let (least, greatest) = *range.get_or_insert_with(|| {
                let vector = &self.pool[at].1;
                let own = self.metric.distance(vector, vector);
                (own, distances.iter().copied().fold(own, f64::max))
            });
            let mut best = f64::NEG_INFINITY;
            for (position, &other) in remaining.iter().enumerate() {
                let close = closeness(distances[other], least, greatest);
                similarity[other] = similarity[other].max(close);
                let value = (1.0 - self.diversity) * self.relevance[other]
                    - self.diversity * similarity[other];
                // Of equal ones the more relevant stands first.
                if value > best {
                    (best, next) = (value, position);
                }
            }
        }
        (chosen, true)
    }

    /// The distances of all candidates from one of them.
    fn distances(&self, at: usize) -> Vec<f64> {
        let rewritten = self.metric.rewrite(&self.pool[at].1);
        let offset = f64::from(rewritten.offset);
        let pool = self.pool.iter().zip(&self.biases);
        pool.map(|((_, vector), bias)| offset - 2.0 * dot(&rewritten.direction, vector) + bias)
            .collect()
    }
}

/// 1 at the least of some distances, 0 at the greatest, and in proportion between them; 1 where all
/// are equal.
fn closeness(distance: f64, least: f64, greatest: f64) -> f64 {
    if greatest > least {
        ((greatest - distance) / (greatest - least)).clamp(0.0, 1.0)
    } else {
        1.0
    }
}
