//! Metrics: the built-in distances, versions, and which of them is active.

mod builtin;
mod version;

pub use builtin::Distance;
pub use version::Version;
pub(crate) use version::{imported, learned, record_of};
