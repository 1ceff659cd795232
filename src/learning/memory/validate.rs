//! Whether memory helps, and how wide and strong it is, by cross-validation on the judgements.
//!
//! Queries are scored by the area under the ROC curve of their results, see
//! [`cross_fit`](crate::learning::cross_fit). Two things are tested.
//!
//! **Questions like those judged.** Each query is moved by all others. Width and strength are
//! cross-fitted. Where the mean gain less 1.64
//! standard errors is above 0, on at least 8 queries, the best of all queries are taken; otherwise
//! the width is the least, which reaches the same question and next to no other one.
//!
//! **The same question.** Each half of a query's results is ranked by the query that the other half
//! moves. Where even the mean gain plus 1.64 standard errors is below 0, on at least 8 queries, what
//! people said of a question misleads about its other answers, and memory is off.

use ndarray::{Array2, ArrayView2, Axis};

use super::groups::{Judged, REST};
use crate::learning::cross_fit::{self, CONFIDENCE_95, MIN_QUERIES, Mean, Slack, contrast_weight};
use crate::learning::examples::Collected;
use crate::model::{MemoryRecord, MemorySettings};
use crate::plugin::{Gate, Metric};
use crate::sum::{dot, squared_distance};

/// Widths and strengths that are tried.
const WIDTHS: [f64; 4] = [MemorySettings::LEAST_WIDTH, 0.25, 0.4, 0.6];
const STRENGTHS: [f64; 3] = [1.0, 2.0, 3.0];
/// Largest number of queries that are tested: those that were judged last.
const MAX_QUERIES: usize = 1_000;
/// What is measured.
const MEASURE: &str = "area under the ROC curve of the results of held-out queries";

/// A query whose results can be scored.
struct Scored {
    group: usize,
    /// (row of the item, whether it is relevant) of each result.
    results: Vec<(usize, bool)>,
    weight: f64,
}

type Tried = cross_fit::Tried<MemorySettings>;

/// Tests memory on judgements, under the metric that answers will be given under. `None` once
/// `cancelled` returns true.
pub(in crate::learning) fn validate(
    collected: &Collected,
    metric: &dyn Metric,
    cancelled: &dyn Fn() -> bool,
) -> Option<MemoryRecord> {
    let judged = Judged::of(collected);
    let test = Test::new(&judged, metric);
    let same = test.same_question(MemorySettings::default().strength);
    let tried = test.like_questions(cancelled)?;
    Some(test.verdict(same, &tried))
}

struct Test<'a> {
    judged: &'a Judged<'a>,
    metric: &'a dyn Metric,
    scored: Vec<Scored>,
    biases: Vec<f32>,
    /// The first group that takes part.
    first: usize,
}

impl<'a> Test<'a> {
    fn new(judged: &'a Judged<'a>, metric: &'a dyn Metric) -> Self {
        let groups = judged.groups().len();
        let first = groups.saturating_sub(MAX_QUERIES);
        let mut scored = Vec::new();
        for group in first..groups {
            let results: Vec<(usize, bool)> = judged
                .graded(judged.examples(group))
                .map(|graded| (graded.item, graded.grade > 0.0))
                .collect();
            let weight = contrast_weight(results.iter().map(|(_, is)| *is));
            if weight > 0.0 {
                scored.push(Scored {
                    group,
                    results,
                    weight,
                });
            }
        }
        let vectors = judged.vectors();
        let mut biases = vec![0.0; vectors.nrows()];
        metric.biases(vectors.view(), &mut biases);
        Self {
            judged,
            metric,
            scored,
            biases,
            first,
        }
    }

    /// The area under the ROC curve of results by `bias - 2 direction . x`.
    fn area(&self, direction: &[f32], results: &[(usize, bool)]) -> f64 {
        let vectors = self.judged.vectors();
        let distances: Vec<(f64, bool)> = results
            .iter()
            .map(|(row, is_relevant)| {
                let item = vectors.row(*row);
                let item = item.as_slice().unwrap_or_default();
                let distance = f64::from(self.biases[*row]) - 2.0 * dot(direction, item);
                (distance, *is_relevant)
            })
            .collect();
        cross_fit::area(&distances)
    }

    /// The gain on each half of a query's results from the other half, over all queries that have
    /// both kinds in a half.
    fn same_question(&self, strength: f64) -> (Mean, usize) {
        let mut gains = Vec::new();
        for scored in &self.scored {
            let places = self.judged.examples(scored.group);
            let query = self.judged.groups().query(scored.group);
            let direction = self.metric.rewrite(query).direction;
            let half = |odd: usize| -> Vec<usize> {
                let places = places.iter().enumerate();
                let half = places.filter(|(at, _)| at % 2 == odd);
                half.map(|(_, place)| *place).collect()
            };
            let (mut gain, mut weight) = (0.0, 0.0);
            for (taught, asked) in [(half(0), half(1)), (half(1), half(0))] {
                let asked: Vec<(usize, bool)> = self
                    .judged
                    .graded(&asked)
                    .map(|graded| (graded.item, graded.grade > 0.0))
                    .collect();
                let of_half = contrast_weight(asked.iter().map(|(_, is)| *is));
                if of_half == 0.0 || taught.is_empty() {
                    continue;
                }
                let step = self.judged.step_of(&taught);
                let scale = strength / (1.0 + REST);
                let moved: Vec<f32> = query
                    .iter()
                    .zip(&step)
                    .map(|(query, step)| query + scale as f32 * step)
                    .collect();
                let moved = self.metric.rewrite(&moved).direction;
                gain += of_half * (self.area(&moved, &asked) - self.area(&direction, &asked));
                weight += of_half;
            }
            if weight > 0.0 {
                gains.push((gain / weight, weight));
            }
        }
        (Mean::of(gains.iter().copied()), gains.len())
    }

    /// The gains of each width and strength, each query moved by all others; `None` once `cancelled`
    /// returns true.
    fn like_questions(&self, cancelled: &dyn Fn() -> bool) -> Option<Vec<Tried>> {
        let groups = self.judged.groups();
        let n = groups.len() - self.first;
        let rewritten = |vector: &[f32]| self.metric.rewrite(vector).direction;
        let mut directions: Vec<f32> = Vec::new();
        let mut steps: Vec<f32> = Vec::new();
        for group in self.first..groups.len() {
            directions.extend(rewritten(groups.query(group)));
            // The rewriting of a difference of vectors is that of their direction, for it is linear.
            steps.extend(rewritten(groups.step(group)));
        }
        let dim = directions.len() / n.max(1);
        let steps = ArrayView2::from_shape((n, dim), &steps).ok()?;
        let mut squared = Array2::<f64>::zeros((n, n));
        for i in 0..n {
            if cancelled() {
                return None;
            }
            for j in 0..i {
                let (a, b) = (groups.query(self.first + i), groups.query(self.first + j));
                squared[[i, j]] = squared_distance(a, b);
                squared[[j, i]] = squared[[i, j]];
            }
        }
        let plain: Vec<f64> = self
            .scored
            .iter()
            .map(|scored| {
                let at = scored.group - self.first;
                self.area(&directions[at * dim..(at + 1) * dim], &scored.results)
            })
            .collect();
        let mut tried = Vec::with_capacity(WIDTHS.len() * STRENGTHS.len());
        for width in WIDTHS {
            if cancelled() {
                return None;
            }
            let mut kernels = Array2::from_shape_fn((n, n), |(i, j)| {
                let scale = groups.width(self.first + j, width);
                if i == j {
                    0.0
                } else {
                    (-squared[[i, j]] / scale).exp() as f32
                }
            });
            for mut row in kernels.axis_iter_mut(Axis(0)) {
                let total = row.sum() + REST as f32;
                row /= total;
            }
            let mixed = kernels.dot(&steps);
            for strength in STRENGTHS {
                let gains = self.scored.iter().zip(&plain).map(|(scored, plain)| {
                    let at = scored.group - self.first;
                    let direction: Vec<f32> = directions[at * dim..(at + 1) * dim]
                        .iter()
                        .zip(mixed.row(at))
                        .map(|(direction, step)| direction + strength as f32 * step)
                        .collect();
                    self.area(&direction, &scored.results) - plain
                });
                tried.push(Tried {
                    choice: MemorySettings { width, strength },
                    gains: gains.collect(),
                });
            }
        }
        Some(tried)
    }

    fn verdict(&self, (same, same_count): (Mean, usize), tried: &[Tried]) -> MemoryRecord {
        let count = self.scored.len();
        let weights: Vec<f64> = self.scored.iter().map(|scored| scored.weight).collect();
        let gain = cross_fit::gain(tried, &weights, Slack(0.0));
        let lower = gain.lower(CONFIDENCE_95);
        let is_off = same_count >= MIN_QUERIES && same.upper(CONFIDENCE_95) < 0.0;
        let accepted = !is_off && count >= MIN_QUERIES && lower > 0.0;
        let settings = match cross_fit::best(tried, &weights, Slack(0.0)) {
            _ if is_off => None,
            Some(best) if accepted => Some(best.choice),
            _ => Some(MemorySettings::default()),
        };
        let reason = if is_off {
            format!(
                "off: half of what was judged of a query misleads about the other half: gain {:.3}, at most {:.3} \
                 with 95 % confidence, on {same_count} queries",
                same.mean,
                same.upper(CONFIDENCE_95)
            )
        } else if count < MIN_QUERIES {
            format!(
                "the same question is remembered; {count} queries with relevant and irrelevant results are too few \
                 to say whether others gain (at least {MIN_QUERIES})"
            )
        } else if accepted {
            format!(
                "questions like those judged gain {:.3}, at least {:.3} with 95 % confidence, on {count} held-out \
                 queries",
                gain.mean, lower
            )
        } else {
            format!(
                "the same question is remembered; no gain for others was shown: {:.3}, at least {:.3} with 95 % \
                 confidence, on {count} held-out queries",
                gain.mean, lower
            )
        };
        MemoryRecord {
            settings,
            gate: Gate {
                accepted,
                measure: MEASURE.to_owned(),
                before: None,
                after: None,
                lower_bound: (count >= MIN_QUERIES).then_some(lower),
                held_out: count,
                reason,
            },
        }
    }
}
