//! Plugins: the traits [`Metric`] and [`MetricLearner`], and what passes between them and a store.
//!
//! The store knows learning only through this module. A [`Metric`] is a distance that the index
//! searches under; a [`MetricLearner`] fits a candidate metric to the judgements of a [`Task`] and
//! says whether it may be promoted. A third trait, [`Encoder`], turns texts into vectors. Plugins are
//! crates that depend on this one, never the other way round.
//!
//! A store does not trust a plugin: it checks every metric by [`conformance`], and a panic of a
//! plugin becomes an error.
//!
//! [`Encoder`]: crate::encode::Encoder

pub mod conformance;
mod learner;
mod metric;
mod panics;
mod report;
mod task;

pub use learner::{Comparison, Influences, LearnError, MetricLearner};
pub use metric::{Direction, Metric, Rewritten};
pub(crate) use panics::caught;
pub use report::{FitReport, Fitted, Gate, HeldOut, PairCounts, ShrunkenMetric};
pub use task::{Examples, Graded, Incumbent, Pair, Sample, Task, UpdateOf};
