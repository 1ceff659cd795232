//! What the tests of affinis, its plugin and its command line share. Dev-only, never published.
//!
//! A unit test inside the crate `affinis` links this crate with a second copy of `affinis`, whose
//! types are not its own. Such tests use only what takes plain types: [`Random`], [`skipped`],
//! [`data_dir`], [`setting`], [`synthetic::orthonormalise`] and [`fuzz::drive`].
#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "a test's tools panic where the test fails"
)]

pub mod crash;
mod data;
pub mod exact;
pub mod fuzz;
pub mod interrupted;
pub mod kinds;
pub mod life;
pub mod models;
pub mod questions;
mod random;
pub mod servers;
pub mod simulation;
pub mod stores;
pub mod synthetic;
mod word_counts;

pub use data::{data_dir, f16_vectors, setting, skipped};
pub use random::Random;
pub use word_counts::WordCounts;
