//! How judgements show in answers, as refits find it.

use serde::{Deserialize, Serialize};

use super::VersionId;
use crate::plugin::Gate;

/// How the judgements of a question move it, and questions like it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemorySettings {
    /// Width of the kernel of a judged question, as a share of the median squared distance from it
    /// to its judged items; above 0 and at most 10.
    pub width: f64,
    /// Factor of the step from a judged question to its answers, above 0 and at most 10.
    pub strength: f64,
}

impl MemorySettings {
    /// A width within which the same question lies, and next to no other one.
    pub(crate) const LEAST_WIDTH: f64 = 0.15;

    /// Whether both are within their bounds.
    pub(crate) fn is_valid(self) -> bool {
        [self.width, self.strength]
            .iter()
            .all(|number| *number > 0.0 && *number <= 10.0)
    }
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            width: Self::LEAST_WIDTH,
            strength: 2.0,
        }
    }
}

/// How judgements are remembered in answers since a refit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemoryRecord {
    /// Width and strength; `None` where memory is off.
    pub settings: Option<MemorySettings>,
    /// The held-out test of questions like those judged. Accepted: their answers gain, too.
    pub gate: Gate,
}

/// How much words count beside meaning in hybrid searches, as a refit found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FusionRecord {
    /// Weight of the [share of words](crate::learning::Shares) beside closeness, 0 to 100.
    pub words: f64,
    /// The version under which it was tested, and holds; `None` for the version itself.
    pub under: Option<VersionId>,
    /// The held-out test of another weight than the one before. Accepted: it is the weight now.
    pub gate: Gate,
}

impl FusionRecord {
    /// The weight of words where no refit found another one.
    pub const DEFAULT_WORDS: f64 = 2.0;

    /// Whether the weight is within its bounds.
    pub(crate) fn is_valid(&self) -> bool {
        (0.0..=100.0).contains(&self.words)
    }
}
