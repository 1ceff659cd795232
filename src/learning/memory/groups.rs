//! Judgements of one query as one step, and the queries near another one.

use std::collections::HashMap;

use ndarray::Array2;

use crate::learning::examples::Collected;
use crate::model::JudgementId;
use crate::sum::{dot, squared_distance};

/// Added to the sum of kernels, so that far queries move nothing.
pub(super) const REST: f64 = 0.2;
/// Queries farther away than this many widths are left out: their kernel is below `e^-8`.
const REACH: f64 = 8.0;
/// Smallest width, as a share of a query's squared length: the same question is found by it where
/// its judged items are all equal to it.
const LEAST_WIDTH: f64 = 1e-6;
/// Numbers that are compared before it is looked whether a query is out of reach already.
const BLOCK: usize = 64;

/// Judged queries and their steps, without what the steps are made of.
#[derive(Debug, Default)]
pub(super) struct Groups {
    dim: usize,
    /// Queries (`n x d`).
    queries: Vec<f32>,
    /// Steps `p - n` (`n x d`).
    steps: Vec<f32>,
    /// Median squared distances from each query to its judged items.
    scales: Vec<f64>,
}

/// Judged queries with the judgements that their steps are made of.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    collected: &'a Collected,
    groups: Groups,
    /// The graded examples of each query, by their places.
    examples: Vec<Vec<usize>>,
}

/// The sum of the steps of the queries near one.
pub(super) struct Step {
    sum: Vec<f64>,
    total: f64,
}

impl Step {
    pub(super) fn new(dim: usize) -> Self {
        Self {
            sum: vec![0.0; dim],
            total: 0.0,
        }
    }

    /// The moved query; `None` where there was no step.
    pub(super) fn apply(&self, query: &[f32], strength: f64) -> Option<Vec<f32>> {
        if self.total <= 0.0 {
            return None;
        }
        let scale = strength / (self.total + REST);
        let moved = query.iter().zip(&self.sum);
        let moved: Vec<f32> = moved
            .map(|(number, step)| (f64::from(*number) + scale * step) as f32)
            .collect();
        moved
            .iter()
            .all(|number| number.is_finite())
            .then_some(moved)
    }
}

impl Groups {
    pub(super) fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.scales.len()
    }

    pub(super) fn query(&self, at: usize) -> &[f32] {
        &self.queries[at * self.dim..(at + 1) * self.dim]
    }

    pub(super) fn step(&self, at: usize) -> &[f32] {
        &self.steps[at * self.dim..(at + 1) * self.dim]
    }

    /// The width of a query's kernel, in squared distance.
    pub(super) fn width(&self, at: usize, width: f64) -> f64 {
        let query = self.query(at);
        (width * self.scales[at])
            .max(LEAST_WIDTH * dot(query, query))
            .max(f64::MIN_POSITIVE)
    }

    /// The queries within reach of one, with their kernels.
    pub(super) fn near<'a>(
        &'a self,
        query: &'a [f32],
        width: f64,
    ) -> impl Iterator<Item = (usize, f64)> + 'a {
        (0..self.len()).filter_map(move |at| {
            let scale = self.width(at, width);
            let squared = distance_within(query, self.query(at), REACH * scale)?;
            Some((at, (-squared / scale).exp()))
        })
    }

    /// Adds the steps of the queries within reach of one, each by its kernel times a weight.
    pub(super) fn add_near(&self, query: &[f32], width: f64, weight: f64, to: &mut Step) {
        for (at, kernel) in self.near(query, width) {
            to.total += weight * kernel;
            for (sum, step) in to.sum.iter_mut().zip(self.step(at)) {
                *sum += weight * kernel * f64::from(*step);
            }
        }
    }
}

/// The squared distance of two vectors; `None` where it is above a bound.
fn distance_within(x: &[f32], y: &[f32], bound: f64) -> Option<f64> {
    let mut squared = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        let mut sums = [0.0_f32; 8];
        let ((eights, rest), (others, other_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
        for (x, y) in eights.iter().zip(others) {
            for lane in 0..8 {
                sums[lane] += (x[lane] - y[lane]) * (x[lane] - y[lane]);
            }
        }
        for ((sum, x), y) in sums.iter_mut().zip(rest).zip(other_rest) {
            *sum += (x - y) * (x - y);
        }
        squared += f64::from(sums.iter().sum::<f32>());
        if squared.is_nan() || squared > bound {
            return None;
        }
    }
    Some(squared)
}

impl<'a> Judged<'a> {
    /// The queries of graded examples, in the order of their first judgement. Those that call no
    /// item relevant or irrelevant are left out.
    pub(super) fn of(collected: &'a Collected) -> Self {
        let rows = &collected.examples.vectors;
        let dim = rows.ncols();
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut examples: Vec<Vec<usize>> = Vec::new();
        for (at, graded) in collected.examples.graded.iter().enumerate() {
            if graded.grade == 0.0 {
                continue;
            }
            let place = *places.entry(graded.query).or_insert_with(|| {
                examples.push(Vec::new());
                examples.len() - 1
            });
            examples[place].push(at);
        }
        let mut judged = Self {
            collected,
            groups: Groups {
                dim,
                ..Groups::default()
            },
            examples,
        };
        for at in 0..judged.examples.len() {
            let query = judged.row(judged.query_row(at));
            let step = judged.step_of(&judged.examples[at]);
            let items = judged.graded(&judged.examples[at]);
            let distances = items.map(|graded| squared_distance(query, judged.row(graded.item)));
            let scale = median(distances.collect());
            judged.groups.queries.extend_from_slice(query);
            judged.groups.steps.extend(step);
            judged.groups.scales.push(scale);
        }
        judged
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn into_groups(self) -> Groups {
        self.groups
    }

    /// The examples of a query.
    pub(super) fn examples(&self, group: usize) -> &[usize] {
        &self.examples[group]
    }

    /// Some examples by their places.
    pub(super) fn graded<'b>(
        &'b self,
        places: &'b [usize],
    ) -> impl Iterator<Item = &'a crate::plugin::Graded> + Clone + 'b {
        let graded = &self.collected.examples.graded;
        places.iter().map(|at| &graded[*at])
    }

    /// Vectors of queries and items, one a row.
    pub(super) fn vectors(&self) -> &'a Array2<f32> {
        &self.collected.examples.vectors
    }

    fn row(&self, row: usize) -> &'a [f32] {
        let rows = self
            .collected
            .examples
            .vectors
            .as_slice()
            .unwrap_or_default();
        &rows[row * self.groups.dim..(row + 1) * self.groups.dim]
    }

    fn query_row(&self, group: usize) -> usize {
        let first = self.examples[group].first();
        first.map_or(0, |at| self.collected.examples.graded[*at].query)
    }

    /// The step `p - n` of some examples of one query.
    pub(super) fn step_of(&self, places: &[usize]) -> Vec<f32> {
        let mut step = vec![0.0_f64; self.groups.dim];
        for (graded, share) in self.shares(places) {
            let (query, item) = (self.row(graded.query), self.row(graded.item));
            for ((step, item), query) in step.iter_mut().zip(item).zip(query) {
                *step += share * f64::from(item - query);
            }
        }
        step.into_iter().map(|number| number as f32).collect()
    }

    /// The share of each example in the step of its query: `p - n = sum_i share_i (x_i - q)`.
    fn shares<'b>(
        &'b self,
        places: &'b [usize],
    ) -> impl Iterator<Item = (&'a crate::plugin::Graded, f64)> + 'b {
        let weight = |graded: &crate::plugin::Graded| {
            f64::from(graded.weight) * f64::from(graded.grade.abs())
        };
        let total = |is_relevant: bool| {
            let of_kind = self
                .graded(places)
                .filter(|graded| (graded.grade > 0.0) == is_relevant);
            // The query itself has the weight 1.
            1.0 + of_kind.map(weight).sum::<f64>()
        };
        let (relevant, irrelevant) = (total(true), total(false));
        self.graded(places).map(move |graded| {
            let share = if graded.grade > 0.0 {
                weight(graded) / relevant
            } else {
                -weight(graded) / irrelevant
            };
            (graded, share)
        })
    }

    /// What each judgement of a query adds to the product of its step with a direction.
    pub(super) fn parts(&self, group: usize, direction: &[f32]) -> Vec<(JudgementId, f64)> {
        let places = &self.examples[group];
        let numbers = places.iter().map(|at| self.collected.graded[*at]);
        let parts = self.shares(places).map(|(graded, share)| {
            let (query, item) = (self.row(graded.query), self.row(graded.item));
            share * (dot(item, direction) - dot(query, direction))
        });
        numbers.zip(parts).collect()
    }
}

/// The median; 0 of none.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}
