//! A step towards a candidate that is likely to help, but not certain to.
//!
//! Some hundred judgements of answers that were shown seldom make a gain certain, even where the
//! candidate helps everywhere. What is at stake depends on how far one goes: under `d = (1 - s) d_I
//! + s d_A`, which is the metric `(1 - s) I + s A`, a third of the way gains half of what the
//! candidate would gain, and loses at most two fifths of what it would lose (docs/learning.md). So
//! a step may be taken on less evidence than the whole way.
//!
//! It begins at Euclid, and may replace Euclid and another step. A learned metric it may not
//! replace, and it does not begin at one either: it would keep what that one learned, however old,
//! would be tested on what that one has seen, and after `forget` would not be what the judgements
//! that are left make. Then the candidate itself has to pass.

use affinis::{LearnError, Task};
use ndarray::Array2;

use crate::shape::Shaped;
use crate::spd;

/// How far a step goes.
pub(crate) const SHARE: f64 = 1.0 / 3.0;

/// Whether a step may be taken. Where people's metrics are changes of everybody's, that one was
/// learned.
pub(crate) fn may_be_taken(task: &Task<'_>) -> bool {
    task.update_of.is_none() && task.incumbent.is_none_or(|incumbent| incumbent.shrunken)
}

/// The metric a step away from Euclid, towards one that was found.
pub(crate) fn toward(found: &Shaped) -> Result<Shaped, LearnError> {
    let mixed = Array2::eye(found.factor.nrows()) * (1.0 - SHARE)
        + spd::gram_of_upper(&found.factor) * SHARE;
    Shaped::of(mixed.view())
}

/// Whether the active metric is this one already.
pub(crate) fn is_active(task: &Task<'_>, shaped: &Shaped) -> bool {
    let active = task
        .incumbent
        .filter(|incumbent| incumbent.shrunken)
        .and_then(|incumbent| incumbent.metric.matrix());
    active.is_some_and(|active| {
        let apart = active - spd::gram_of_upper(&shaped.factor);
        apart.iter().all(|v| v.abs() < 1e-9)
    })
}
