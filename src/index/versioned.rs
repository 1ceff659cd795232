//! A metric and the version number that identifies it.

use std::sync::Arc;

use crate::plugin::Metric;

/// The version of the built-in distance, [`Config::base`](super::Config::base).
pub(crate) const BASE_VERSION: u32 = 0;

/// A metric and its version: equal versions mean equal metrics.
#[derive(Debug, Clone)]
pub(crate) struct Versioned {
    /// Version number; [`BASE_VERSION`] is the built-in distance.
    pub(crate) version: u32,
    /// The metric.
    pub(crate) metric: Arc<dyn Metric>,
}

impl Versioned {
    /// Whether this is the built-in distance.
    pub(crate) fn is_base(&self) -> bool {
        self.version == BASE_VERSION
    }
}
