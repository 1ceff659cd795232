//! The candidate shrunken towards Euclid, which may be promoted where the candidate is likely to
//! help, but not certain to.
//!
//! Some hundred judgements of answers that were shown seldom make a gain certain, even where the
//! candidate helps everywhere. What is at stake depends on the candidate's share: under `d = (1 -
//! s) d_I + s d_A`, which is the metric `(1 - s) I + s A`, a share of a third gains half of what
//! the candidate would gain, and loses at most two fifths of what it would lose (docs/learning.md).
//! So a shrunken metric may be promoted on less evidence than the candidate.
//!
//! It is shrunken towards Euclid always, and may replace Euclid and another shrunken metric. It may
//! not replace a learned metric, nor is anything shrunken towards one: it would keep what that one
//! learned, however old, would be tested on what that one has seen, and after `forget` would not be
//! what the remaining judgements make. There the candidate itself has to pass.

use affinis::plugin::{Gate, LearnError, Task};
use ndarray::Array2;

use crate::shape::Shaped;
use crate::spd;

/// The candidate's share in a shrunken metric.
pub(crate) const SHARE: f64 = 1.0 / 3.0;

/// Largest difference of two numbers of equal matrices of trace `d`.
const ROUNDING: f64 = 1e-9;

/// Whether a shrunken metric may be promoted. Where people's metrics are updates of everybody's,
/// that one was learned.
pub(crate) fn may_be_promoted(task: &Task<'_>) -> bool {
    task.update_of.is_none() && task.incumbent.is_none_or(|incumbent| incumbent.shrunken)
}

/// The metric `(1 - s) I + s A` of a candidate `A`.
pub(crate) fn shrunken(candidate: &Shaped) -> Result<Shaped, LearnError> {
    let mixed = Array2::eye(candidate.factor.nrows()) * (1.0 - SHARE)
        + spd::gram_of_upper(&candidate.factor) * SHARE;
    Shaped::of(mixed.view())
}

/// Whether a shrunken metric is the active one already.
pub(crate) fn is_active(task: &Task<'_>, shrunken: &Shaped) -> bool {
    let active = task
        .incumbent
        .filter(|incumbent| incumbent.shrunken)
        .and_then(|incumbent| incumbent.metric.matrix());
    active.is_some_and(|active| {
        let difference = active - spd::gram_of_upper(&shrunken.factor);
        difference.iter().all(|v| v.abs() < ROUNDING)
    })
}

/// The verdicts on a candidate that did not pass and on the metric shrunken from it, each told with
/// the other; that on the shrunken metric only where it passed.
pub(crate) fn verdicts(mut candidate: Gate, mut shrunken: Gate) -> (Gate, Option<Gate>) {
    if shrunken.accepted {
        shrunken.reason = format!(
            "shrunken towards Euclid the candidate {}; the candidate itself is {}",
            shrunken.reason, candidate.reason
        );
        return (candidate, Some(shrunken));
    }
    if shrunken.lower_bound.is_some() {
        candidate.reason = format!(
            "{}; shrunken towards Euclid it is not likely to help either",
            candidate.reason
        );
    }
    (candidate, None)
}
