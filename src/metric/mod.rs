//! Metrics: the built-in distances, versions, and which of them is active.

mod version;

pub use crate::index::Distance;
pub use version::Version;
pub(crate) use version::{imported, learned, record_of};
