//! Evaluation: measures of how good answers are against known relevant items.

use std::collections::HashSet;

use serde::Serialize;

use super::{Effort, Learning};
use crate::model::error::{Error, Result, cut};
use crate::model::{MAX_K, MetricChoice, Query, VersionId, Versioned};

/// Number of answers that MRR and MAP look at, as in `trec_eval`.
const DEPTH: usize = 1_000;
/// Resamples of the queries for an interval.
const RESAMPLES: usize = 1_000;

/// A query with the items that are right answers to it.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalQuery {
    /// The query.
    pub query: Query,
    /// Ids of the relevant items; a query's own item does not count.
    pub relevant: Vec<String>,
}

/// Measures of several metrics on the same queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// The cut of precision, recall and nDCG.
    pub k: usize,
    /// Number of queries.
    pub queries: usize,
    /// One row a metric, in the order asked.
    pub rows: Vec<EvaluationRow>,
}

impl Evaluation {
    /// How many answers MRR and MAP look at.
    pub fn depth(&self) -> usize {
        self.k.max(DEPTH)
    }
}

/// The measures under one metric, means over queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EvaluationRow {
    /// The metric's version.
    pub metric: VersionId,
    /// Share of the first k answers that are relevant.
    pub precision: Measure,
    /// Share of the relevant items among the first k answers.
    pub recall: Measure,
    /// Discounted cumulative gain of the first k answers over the best possible (Järvelin &
    /// Kekäläinen 2002).
    pub ndcg: Measure,
    /// One over the rank of the first relevant answer, 0 beyond rank 1,000 (or k, if that is more).
    pub mrr: Measure,
    /// Mean over the relevant items of the precision at their rank, 0 beyond rank 1,000 (or k).
    pub map: Measure,
}

/// A mean with its 95 % interval, by bootstrap over queries.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Measure {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One query's precision, recall, nDCG, reciprocal rank and average precision.
type Scores = [f64; 5];

/// Queries whose answers are evaluated together, to bound the memory of their rankings.
const BATCH: usize = 256;

/// A query with its vector and the ids of its relevant items.
struct Prepared<'a> {
    query: &'a Query,
    vector: Vec<f32>,
    relevant: HashSet<&'a str>,
}

impl Learning {
    /// Measures how well queries are answered under metrics.
    pub(crate) fn evaluate(
        &self,
        queries: &[EvalQuery],
        k: usize,
        metrics: &[MetricChoice],
    ) -> Result<Evaluation> {
        if !(1..=MAX_K).contains(&k) {
            return Err(Error::InvalidQuery(format!(
                "k is {k}, not between 1 and {MAX_K}"
            )));
        }
        if queries.is_empty() {
            return Err(Error::InvalidQuery(
                "there are no queries to evaluate".into(),
            ));
        }
        let prepared = self.prepare_evaluation(queries)?;
        let mut rows = Vec::with_capacity(metrics.len());
        for choice in metrics {
            let metric = self.choose(*choice, None)?;
            let scores = self.scores(&prepared, k, &metric)?;
            let measure = |i: usize| bootstrap(&scores.iter().map(|s| s[i]).collect::<Vec<_>>());
            rows.push(EvaluationRow {
                metric: metric.version,
                precision: measure(0),
                recall: measure(1),
                ndcg: measure(2),
                mrr: measure(3),
                map: measure(4),
            });
        }
        Ok(Evaluation {
            k,
            queries: queries.len(),
            rows,
        })
    }

    fn prepare_evaluation<'a>(&self, queries: &'a [EvalQuery]) -> Result<Vec<Prepared<'a>>> {
        let vectors = self.query_vectors(queries.iter().map(|q| &q.query))?;
        let mut prepared = Vec::with_capacity(queries.len());
        for (number, (query, vector)) in queries.iter().zip(vectors).enumerate() {
            let ids: Vec<&str> = query.relevant.iter().map(String::as_str).collect();
            self.vectors_of(&ids)?;
            let mut relevant: HashSet<&str> = ids.into_iter().collect();
            if let Query::Item(own) = &query.query {
                relevant.remove(own.as_str());
            }
            if relevant.is_empty() {
                let name = match &query.query {
                    Query::Text(text) | Query::Item(text) => format!(" ({:?})", cut(text)),
                    Query::Vector(_) => String::new(),
                };
                return Err(Error::InvalidQuery(format!(
                    "query number {number}{name} has no relevant items to find"
                )));
            }
            prepared.push(Prepared {
                query: &query.query,
                vector,
                relevant,
            });
        }
        Ok(prepared)
    }

    /// The scores of each query under a metric.
    fn scores(
        &self,
        queries: &[Prepared<'_>],
        k: usize,
        metric: &Versioned,
    ) -> Result<Vec<Scores>> {
        // One more than is scored, because a query's own item is left out.
        let depth = k.max(DEPTH) + 1;
        let mut all = Vec::with_capacity(queries.len());
        for batch in queries.chunks(BATCH) {
            let vectors: Vec<&[f32]> = batch.iter().map(|q| q.vector.as_slice()).collect();
            let found = self
                .vectors
                .nearest(metric, &vectors, depth, Effort::Served)?;
            for (query, ids) in batch.iter().zip(found) {
                let own = match query.query {
                    Query::Item(id) => Some(id),
                    Query::Text(_) | Query::Vector(_) => None,
                };
                let ranked: Vec<bool> = ids
                    .iter()
                    .filter(|id| Some(*id) != own)
                    .map(|id| query.relevant.contains(id.as_str()))
                    .collect();
                all.push(scores(&ranked, query.relevant.len(), k));
            }
        }
        Ok(all)
    }
}

/// Measures of one ranking: whether each answer is relevant, and how many items are.
fn scores(ranked: &[bool], relevant: usize, k: usize) -> Scores {
    let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let top = &ranked[..k.min(ranked.len())];
    let found = top.iter().filter(|r| **r).count() as f64;
    // Folded from 0: the sum of no numbers is -0.
    let dcg = top
        .iter()
        .enumerate()
        .filter(|(_, r)| **r)
        .fold(0.0, |sum, (i, _)| sum + gain(i));
    let ideal: f64 = (0..relevant.min(k)).map(gain).sum();
    let mut seen = 0.0;
    let mut precision_sum = 0.0;
    let mut reciprocal = 0.0;
    for (i, _) in ranked
        .iter()
        .take(DEPTH.max(k))
        .enumerate()
        .filter(|(_, r)| **r)
    {
        seen += 1.0;
        precision_sum += seen / (i as f64 + 1.0);
        if seen == 1.0 {
            reciprocal = 1.0 / (i as f64 + 1.0);
        }
    }
    [
        found / k as f64,
        found / relevant as f64,
        dcg / ideal,
        reciprocal,
        precision_sum / relevant as f64,
    ]
}

/// The mean and the 2.5 % and 97.5 % points of the means of resamples (Efron 1979). The same values
/// give the same interval.
fn bootstrap(values: &[f64]) -> Measure {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let mut random = fastrand::Rng::with_seed(0xb007);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| (0..n).map(|_| values[random.usize(..n)]).sum::<f64>() / n as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    Measure {
        mean,
        low: means[RESAMPLES / 40],
        high: means[RESAMPLES - 1 - RESAMPLES / 40],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_of_a_ranking_worked_by_hand() {
        // Relevant at ranks 1, 3 and 6; four relevant in all; k = 5.
        let [precision, recall, ndcg, mrr, map] =
            scores(&[true, false, true, false, false, true], 4, 5);
        assert_eq!(precision, 0.4);
        assert_eq!(recall, 0.5);
        assert_eq!(mrr, 1.0);
        let log = |r: f64| 1.0 / (r + 1.0).log2();
        assert!(
            (ndcg - (log(1.0) + log(3.0)) / (log(1.0) + log(2.0) + log(3.0) + log(4.0))).abs()
                < 1e-12
        );
        assert!((map - (1.0 + 2.0 / 3.0 + 3.0 / 6.0) / 4.0).abs() < 1e-12);
        assert_eq!(scores(&[], 4, 5), [0.0; 5]);
        assert!(
            scores(&[false; 5], 4, 5)
                .iter()
                .all(|measure| measure.is_sign_positive())
        );
    }

    #[test]
    fn the_interval_holds_the_mean_and_narrows() {
        let few: Vec<f64> = (0..20).map(|i| f64::from(i % 2)).collect();
        let many: Vec<f64> = (0..2000).map(|i| f64::from(i % 2)).collect();
        let (few, many) = (bootstrap(&few), bootstrap(&many));
        assert_eq!((few.mean, many.mean), (0.5, 0.5));
        assert!(few.low < 0.5 && few.high > 0.5);
        assert!(many.high - many.low < (few.high - few.low) / 5.0);
        // The normal approximation of the interval of 2,000 coin flips.
        assert!((many.high - many.low - 2.0 * 1.96 * (0.25_f64 / 2000.0).sqrt()).abs() < 0.01);
    }
}
