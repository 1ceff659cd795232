//! [`Task`]: what a learner is given to fit a metric to.

use std::fmt::Debug;
use std::sync::Arc;

use ndarray::Array2;

use super::{FitReport, Metric};

/// Judgements to fit a metric to, with the metric that the result is compared with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Task<'a> {
    /// Dimension `d` of the vectors.
    pub dim: usize,
    /// Name of one of the plugin's learners; `None` lets the plugin choose.
    pub learner: Option<&'a str>,
    /// Seed of every random choice: equal tasks give equal metrics.
    pub seed: u64,
    /// The judgements.
    pub examples: &'a Examples,
    /// The active metric; `None` for Euclid. The gate compares the candidate with both.
    pub incumbent: Option<Incumbent<'a>>,
    /// Sample of the collection.
    pub sample: &'a Sample,
    /// Asks for the candidate as a low-rank update of another metric; `None` asks for a metric on
    /// its own. A plugin that knows no updates always makes one on its own.
    pub update_of: Option<UpdateOf<'a>>,
    /// Says whether to stop; a fit calls it between iterations, at least once, and ends with
    /// [`LearnError::Cancelled`](super::LearnError::Cancelled) after `true`.
    pub cancel: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Task<'a> {
    /// A task with the plugin's default learner, seed 0, no incumbent, and no cancellation.
    pub fn new(dim: usize, examples: &'a Examples, sample: &'a Sample) -> Self {
        Self {
            dim,
            learner: None,
            seed: 0,
            examples,
            incumbent: None,
            sample,
            update_of: None,
            cancel: &|| false,
        }
    }

    /// Sets the learner by its name.
    pub fn with_learner(mut self, learner: Option<&'a str>) -> Self {
        self.learner = learner;
        self
    }

    /// Sets the seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the incumbent.
    pub fn with_incumbent(mut self, incumbent: Option<Incumbent<'a>>) -> Self {
        self.incumbent = incumbent;
        self
    }

    /// Asks for a low-rank update of a metric.
    pub fn with_update_of(mut self, update_of: Option<UpdateOf<'a>>) -> Self {
        self.update_of = update_of;
        self
    }

    /// Sets the closure that is asked whether to stop.
    pub fn with_cancel(mut self, cancel: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.cancel = cancel;
        self
    }
}

impl Debug for Task<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("dim", &self.dim)
            .field("learner", &self.learner)
            .field("seed", &self.seed)
            .field("graded", &self.examples.graded.len())
            .field("pairs", &self.examples.pairs.len())
            .finish_non_exhaustive()
    }
}

/// The metric that a candidate is to replace.
#[derive(Debug, Clone, Copy)]
pub struct Incumbent<'a> {
    /// The metric.
    pub metric: &'a dyn Metric,
    /// Whether it is a [`ShrunkenMetric`](super::ShrunkenMetric): likely to be better than what it replaced, but not
    /// certain to be. A candidate that replaces it has to be better than Euclid, and not clearly
    /// worse than the incumbent.
    pub shrunken: bool,
    /// The report of the fit that made it, where it was learned from the judgements of the same
    /// users by the plugin that is asked now. It has seen these judgements, so a gate that has no
    /// others compares the candidate with what the incumbent's learner makes without them.
    pub report: Option<&'a FitReport>,
}

/// A request for a candidate as a low-rank update of a base metric, which takes a fraction of the
/// bytes of a matrix.
#[derive(Debug, Clone, Copy)]
pub struct UpdateOf<'a> {
    /// The base, a metric of the same plugin.
    pub base: &'a Arc<dyn Metric>,
    /// The largest rank of the update; 0 asks for a metric on its own.
    pub rank: usize,
}

/// Judgements as rows of a matrix of vectors.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// Distinct vectors of the judged queries and items (`n x d`).
    pub vectors: Array2<f32>,
    /// Graded judgements of a query and an item.
    pub graded: Vec<Graded>,
    /// Judgements of two items, neither of which is a query.
    pub pairs: Vec<Pair>,
}

/// One graded judgement of an item for a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Graded {
    /// Row of the query in [`Examples::vectors`]. Judgements of one query share the row.
    pub query: usize,
    /// Row of the item in [`Examples::vectors`].
    pub item: usize,
    /// From -1 (irrelevant) to 1 (relevant).
    pub grade: f32,
    /// Above 0; 1 unless the judge said otherwise.
    pub weight: f32,
}

/// One judgement of two items, neither of which is a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Row of one item in [`Examples::vectors`].
    pub a: usize,
    /// Row of the other.
    pub b: usize,
    /// Whether they belong together.
    pub similar: bool,
    /// Above 0; 1 unless the judge said otherwise.
    pub weight: f32,
}

/// Sample of a collection: items, and their differences to their neighbours.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Items, drawn uniformly without replacement (`n x d`).
    pub items: Array2<f32>,
    /// Differences `neighbour - item` of up to 1,000 of the items and their 10 nearest neighbours
    /// (`m x d`).
    pub neighbour_differences: Array2<f32>,
}
