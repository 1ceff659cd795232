//! Evaluation: measures of how good answers are against known relevant items.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Effort, Learning};
use crate::model::error::{Error, Result, cut};
use crate::model::{MAX_K, MetricChoice, Query, RankBy, VersionId, Versioned};

/// Number of answers that MRR and MAP look at, as in `trec_eval`.
const DEPTH: usize = 1_000;
/// Resamples of the queries for an interval.
const RESAMPLES: usize = 1_000;

/// A query with the items that are right answers to it.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalQuery {
    /// The query.
    pub query: Query,
    /// Ids of the relevant items; a query's own item does not count. Where there are none, all
    /// measures but nDCG are 0, as in `trec_eval`.
    pub relevant: Vec<String>,
    /// Gains of items in nDCG, each above 0, by id; where it is empty, that of a relevant item is 1.
    pub gains: BTreeMap<String, f64>,
}

impl EvalQuery {
    /// A query with its relevant items.
    pub fn new(
        query: impl Into<Query>,
        relevant: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            query: query.into(),
            relevant: relevant.into_iter().map(Into::into).collect(),
            gains: BTreeMap::new(),
        }
    }

    /// A query with graded items. A grade above 0 is the item's gain in nDCG; for the other measures
    /// a grade of at least `threshold` is relevant, or one above 0 without a threshold.
    pub fn graded(
        query: impl Into<Query>,
        grades: impl IntoIterator<Item = (impl Into<String>, f64)>,
        threshold: Option<f64>,
    ) -> Self {
        let mut graded = Self::new(query, [""; 0]);
        for (id, grade) in grades {
            let id = id.into();
            if threshold.map_or(grade > 0.0, |threshold| grade >= threshold) {
                graded.relevant.push(id.clone());
            }
            if grade > 0.0 {
                graded.gains.insert(id, grade);
            }
        }
        graded
    }
}

/// Measures of several metrics on the same queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvaluationRow {
    /// The metric's version.
    pub metric: VersionId,
    /// Share of the first k answers that are relevant.
    pub precision: Measure,
    /// Share of the relevant items among the first k answers.
    pub recall: Measure,
    /// Discounted cumulative gain of the first k answers over the best possible (Järvelin &
    /// Kekäläinen 2002), with the gains as they are and the discount `log2(rank + 1)`, as in
    /// `trec_eval`.
    pub ndcg: Measure,
    /// One over the rank of the first relevant answer, 0 beyond rank 1,000 (or k, if that is more).
    pub mrr: Measure,
    /// Mean over the relevant items of the precision at their rank, 0 beyond rank 1,000 (or k).
    pub map: Measure,
    /// The measures of each query, in the order of the queries. They are not serialised.
    #[serde(skip)]
    pub per_query: Vec<QueryMeasures>,
}

/// The measures of one query, as [`EvaluationRow`] describes their means.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueryMeasures {
    /// Precision at k.
    pub precision: f64,
    /// Recall at k.
    pub recall: f64,
    /// nDCG at k.
    pub ndcg: f64,
    /// Reciprocal rank.
    pub mrr: f64,
    /// Average precision.
    pub map: f64,
}

impl From<&Scores> for QueryMeasures {
    fn from(&[precision, recall, ndcg, mrr, map]: &Scores) -> Self {
        Self {
            precision,
            recall,
            ndcg,
            mrr,
            map,
        }
    }
}

/// A mean with its 95 % interval, by bootstrap over queries.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
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

/// A query with its vector and what is known of its answers.
struct Prepared<'a> {
    query: &'a Query,
    /// `None` for a text of which the encoder knows nothing, where words rank too.
    vector: Option<Vec<f32>>,
    known: Known<'a>,
}

/// The known answers to a query.
struct Known<'a> {
    relevant: HashSet<&'a str>,
    gains: HashMap<&'a str, f64>,
    /// The gains in falling order.
    ideal: Vec<f64>,
}

impl Learning {
    /// Measures how well queries are answered under metrics, by meaning or by words too.
    ///
    /// # Errors
    /// Those of [`Collection::evaluate`](crate::Collection::evaluate).
    pub fn evaluate(
        &self,
        queries: &[EvalQuery],
        k: usize,
        metrics: &[MetricChoice],
        ranking: RankBy,
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
        let prepared = self.prepare_evaluation(queries, ranking)?;
        let mut rows = Vec::with_capacity(metrics.len());
        for choice in metrics {
            let metric = self.choose(*choice, None)?;
            let scores = self.scores(&prepared, k, &metric, ranking)?;
            let measure = |i: usize| bootstrap(&scores.iter().map(|s| s[i]).collect::<Vec<_>>());
            rows.push(EvaluationRow {
                metric: metric.version,
                precision: measure(0),
                recall: measure(1),
                ndcg: measure(2),
                mrr: measure(3),
                map: measure(4),
                per_query: scores.iter().map(QueryMeasures::from).collect(),
            });
        }
        Ok(Evaluation {
            k,
            queries: queries.len(),
            rows,
        })
    }

    fn prepare_evaluation<'a>(
        &self,
        queries: &'a [EvalQuery],
        ranking: RankBy,
    ) -> Result<Vec<Prepared<'a>>> {
        let asked = queries.iter().map(|q| &q.query);
        let vectors = match ranking {
            RankBy::Meaning => self.query_vectors(asked)?.into_iter().map(Some).collect(),
            RankBy::Words | RankBy::Hybrid => self.known_query_vectors(asked)?,
        };
        let mut prepared = Vec::with_capacity(queries.len());
        for (number, (query, vector)) in queries.iter().zip(vectors).enumerate() {
            let ids = query.relevant.iter().chain(query.gains.keys());
            let ids: Vec<&str> = ids.map(String::as_str).collect();
            self.vectors_of(&ids)?;
            if let Some((id, gain)) = query.gains.iter().find(|(_, gain)| !is_gain(**gain)) {
                return Err(Error::InvalidQuery(format!(
                    "query number {number} has the gain {gain} of {:?}, which is not above 0",
                    cut(id)
                )));
            }
            prepared.push(Prepared {
                query: &query.query,
                vector,
                known: Known::of(query),
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
        ranking: RankBy,
    ) -> Result<Vec<Scores>> {
        // One more than is scored, because a query's own item is left out.
        let depth = k.max(DEPTH) + 1;
        let weight = match ranking {
            RankBy::Hybrid => Some(self.words_weight(metric.version)?),
            RankBy::Meaning | RankBy::Words => None,
        };
        let mut all = Vec::with_capacity(queries.len());
        for batch in queries.chunks(BATCH) {
            let found = if ranking == RankBy::Meaning {
                let vectors: Vec<&[f32]> =
                    batch.iter().filter_map(|q| q.vector.as_deref()).collect();
                self.vectors
                    .nearest(metric, &vectors, depth, Effort::Served)?
            } else {
                let vectors = self.vectors.hybrid();
                let vectors = vectors.ok_or_else(|| Error::no_keywords(&self.name))?;
                let asked: Vec<_> = batch
                    .iter()
                    .map(|q| (q.query, q.vector.as_deref()))
                    .collect();
                vectors.ranked(metric, &asked, weight, depth)?
            };
            for (query, ids) in batch.iter().zip(found) {
                let own = match query.query {
                    Query::Item(id) => Some(id),
                    Query::Text(_) | Query::Vector(_) => None,
                };
                let ranked = ids.iter().filter(|id| Some(*id) != own);
                let ranked: Vec<&str> = ranked.map(String::as_str).collect();
                all.push(query.known.scores(&ranked, k));
            }
        }
        Ok(all)
    }
}

fn is_gain(gain: f64) -> bool {
    gain.is_finite() && gain > 0.0
}

impl<'a> Known<'a> {
    /// What a query says of its answers, without its own item.
    fn of(query: &'a EvalQuery) -> Self {
        let own = query.query.item().map(String::as_str);
        let relevant = query.relevant.iter().map(String::as_str);
        let relevant: HashSet<&str> = relevant.filter(|id| Some(*id) != own).collect();
        let gains: HashMap<&str, f64> = if query.gains.is_empty() {
            relevant.iter().map(|id| (*id, 1.0)).collect()
        } else {
            let gains = query.gains.iter().map(|(id, gain)| (id.as_str(), *gain));
            gains.filter(|(id, _)| Some(*id) != own).collect()
        };
        let mut ideal: Vec<f64> = gains.values().copied().collect();
        ideal.sort_by(|a, b| b.total_cmp(a));
        Self {
            relevant,
            gains,
            ideal,
        }
    }

    /// Measures of a ranking; a share of nothing is 0.
    fn scores(&self, ranked: &[&str], k: usize) -> Scores {
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let is_relevant = |id: &&&str| self.relevant.contains(**id);
        let top = &ranked[..k.min(ranked.len())];
        let found = top.iter().filter(is_relevant).count() as f64;
        let dcg = discounted(
            top.iter()
                .map(|id| self.gains.get(id).copied().unwrap_or(0.0)),
        );
        let ideal = discounted(self.ideal.iter().take(k).copied());
        let mut seen = 0.0;
        let mut precision_sum = 0.0;
        let mut reciprocal = 0.0;
        let ranks = ranked.iter().take(DEPTH.max(k)).enumerate();
        for (at, _) in ranks.filter(|(_, id)| is_relevant(id)) {
            let rank = at as f64 + 1.0;
            seen += 1.0;
            precision_sum += seen / rank;
            if seen == 1.0 {
                reciprocal = 1.0 / rank;
            }
        }
        let relevant = self.relevant.len() as f64;
        [
            found / k as f64,
            share(found, relevant),
            share(dcg, ideal),
            reciprocal,
            share(precision_sum, relevant),
        ]
    }
}

/// The sum of gains by rank, each over `log2(rank + 1)`.
fn discounted(gains: impl Iterator<Item = f64>) -> f64 {
    // Folded from 0: the sum of no numbers is -0.
    gains
        .enumerate()
        .fold(0.0, |sum, (at, gain)| sum + gain / (at as f64 + 2.0).log2())
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
        let query = EvalQuery::new("q", ["a", "c", "f", "z"]);
        let known = Known::of(&query);
        let ranked = ["a", "b", "c", "d", "e", "f"];
        let [precision, recall, ndcg, mrr, map] = known.scores(&ranked, 5);
        assert_eq!(precision, 0.4);
        assert_eq!(recall, 0.5);
        assert_eq!(mrr, 1.0);
        let log = |r: f64| 1.0 / (r + 1.0).log2();
        assert!(
            (ndcg - (log(1.0) + log(3.0)) / (log(1.0) + log(2.0) + log(3.0) + log(4.0))).abs()
                < 1e-12
        );
        assert!((map - (1.0 + 2.0 / 3.0 + 3.0 / 6.0) / 4.0).abs() < 1e-12);
        assert_eq!(known.scores(&[], 5), [0.0; 5]);
        assert!(
            known
                .scores(&["x"; 5], 5)
                .iter()
                .all(|measure| measure.is_sign_positive())
        );
        // Graded: only what reaches the threshold is relevant, and every gain counts in nDCG.
        let grades = [("a", 1.0), ("c", 3.0), ("z", 2.0), ("d", 0.0)];
        let query = EvalQuery::graded("q", grades, Some(2.0));
        let [precision, recall, ndcg, mrr, map] = Known::of(&query).scores(&ranked, 5);
        assert_eq!((precision, recall, mrr), (0.2, 0.5, 1.0 / 3.0));
        assert!((map - 1.0 / 6.0).abs() < 1e-12);
        let ideal = 3.0 * log(1.0) + 2.0 * log(2.0) + log(3.0);
        assert!((ndcg - (log(1.0) + 3.0 * log(3.0)) / ideal).abs() < 1e-12);
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
