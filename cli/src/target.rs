//! The collection that a command is about, in whichever engine it is.

pub(crate) use affinis_api::target::{SearchSettings, Target};

use crate::input::Expected;

/// What a collection accepts as input.
pub(crate) fn expected(target: &Target) -> Expected {
    Expected {
        dim: target.dim(),
        texts: target.has_encoder(),
        distance: target.distance(),
        skip_bad: false,
    }
}
