//! Learns what "similar" means: a Mahalanobis metric refitted from judgements, for the [`affinis`]
//! vector store.
//!
//! - **Closed form.** `A = S^-1 #_t D`, the weighted geometric mean of the scatters of similar and
//!   dissimilar pairs (Zadeh, Hosseini and Sra, *Geometric Mean Metric Learning*, ICML 2016):
//!   milliseconds, no steps, no rates.
//! - **A prior from the collection itself**, so that thirty judgements do not wreck what the
//!   encoder knows.
//! - **A gate.** A candidate that does not beat both Euclid and the active metric on held-out
//!   judgements says so.
//!
//! ```
//! use affinis::{Examples, Graded, Metric, MetricLearner, Sample, Task};
//! use affinis_mahalanobis::Mahalanobis;
//! use ndarray::array;
//!
//! // For the query (row 0), what differs in the first coordinate is relevant, in the second it is not.
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
//! # Ok::<(), affinis::LearnError>(())
//! ```
//!
//! The rooms: `evidence` (judgements made ready), `scatter`, `prior`, `learner` (one room each), `shape` (scale and
//! condition cap), `folds`, `score`, `select`, `gate`; `fit` leads through them. `hinge` is a loss over triplets and
//! its descent. `change` keeps a metric as a change of another one, in kilobytes. `explain` splits a distance over directions, `influence`
//! over judgements. [`spd`] is the algebra, `packed` the
//! kernels, `codec` the bytes of a metric.

// No panic is to be reached from input or from what is on disk.
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

mod change;
mod changed;
mod codec;
mod compare;
mod evidence;
mod explain;
mod fit;
mod folds;
mod gate;
pub mod hinge;
mod influence;
mod learner;
mod metric;
mod packed;
mod plugin;
mod prior;
mod scatter;
mod score;
mod seen;
mod select;
mod shape;
pub mod spd;
mod step;

pub use changed::ChangedMetric;
pub use metric::MahalanobisMetric;
pub use plugin::Mahalanobis;
