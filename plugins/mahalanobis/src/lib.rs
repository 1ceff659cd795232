//! Learns what "similar" means: a Mahalanobis metric refitted from judgements, for the [`affinis`]
//! vector store.
//!
//! - **Closed form.** `A = S^-1 #_t D`, the weighted geometric mean of the scatters of similar and
//!   dissimilar pairs (Zadeh, Hosseini and Sra, *Geometric Mean Metric Learning*, ICML 2016):
//!   milliseconds, without iterations or learning rates.
//! - **A prior from the collection itself**, so that thirty judgements do not undo what the encoder
//!   knows.
//! - **A gate.** A candidate is promoted only if it is better than Euclid and than the active
//!   metric on held-out judgements.
//!
//! ```
//! use affinis::plugin::{Examples, Graded, Metric, MetricLearner, Sample, Task};
//! use affinis_mahalanobis::Mahalanobis;
//! use ndarray::array;
//!
//! // Of the answers to the query (row 0), those that differ in the first coordinate are relevant.
//! let examples = Examples {
//!     vectors: array![[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]],
//!     graded: [(1, 1.0), (2, 1.0), (3, -1.0), (4, -1.0)]
//!         .map(|(item, grade)| Graded { query: 0, item, grade, weight: 1.0 })
//!         .into(),
//!     pairs: vec![],
//! };
//! let sample = Sample::default();
//! let fitted = Mahalanobis::default().fit(&Task::new(2, &examples, &sample))?;
//! let d = |y: [f32; 2]| fitted.metric.distance(&[0.0, 0.0], &y);
//! assert!(d([1.0, 0.0]) < d([0.0, 1.0]));
//! assert!(!fitted.report.gate.accepted, "one query is too little to promote a metric on");
//! # Ok::<(), affinis::plugin::LearnError>(())
//! ```
//!
//! Where to look:
//!
//! - `plugin` is what a store registers; `fit` leads through a refit, from judgements to a
//!   candidate with its verdict.
//! - `judgements` checks and merges judgements, `scatter` sums their differences, `prior` estimates
//!   the collection's own geometry.
//! - `learner` has a module for each learner, `shape` scales and caps what they find, and `select`
//!   chooses among a learner's variants.
//! - [`gate`] is the held-out test, for learners of other plugins too, and `shrink` the metric
//!   shrunken towards Euclid that may pass where the candidate does not.
//! - `metric` is a metric on its own, `low_rank_update` one that is kept as an update of another
//!   one, `codec` their bytes; `fingerprints` lists the judgements that a metric was fitted to.
//! - `explain` splits a distance over directions, `influence` over judgements, and `compare`
//!   compares two metrics.
//! - [`spd`] is the algebra of symmetric positive definite matrices, `packed` the kernels, and
//!   [`hinge`] a loss over triplets with its descent.

// No panic is reachable from input or from disk.
#![cfg_attr(
    not(any(test, fuzzing)),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]
#![deny(unsafe_code)]

mod codec;
mod compare;
mod explain;
mod fingerprints;
mod fit;
pub mod gate;
pub mod hinge;
mod influence;
mod judgements;
mod learner;
mod low_rank_update;
mod metric;
mod packed;
mod plugin;
mod prior;
mod scatter;
mod select;
mod shape;
mod shrink;
pub mod spd;

pub use low_rank_update::LowRankUpdate;
pub use metric::MahalanobisMetric;
pub use plugin::Mahalanobis;
