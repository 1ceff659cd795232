//! Research beside the store: what no store of affinis can reach.
//!
//! [`Labelled`] learns a Mahalanobis metric from labelled tables, in place of judgements. The bench
//! `learning` measures it against other learners of metrics, measures what feedback gains on
//! labelled texts, and writes the tables and plots of `docs/learning.md`. This crate is not
//! published.

mod labelled;
mod neighbours;
mod scatters;

pub use labelled::{Labelled, LabelledFit};
