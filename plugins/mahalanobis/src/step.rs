//! A step towards a candidate that is likely to help, but not certain to.
//!
//! Some hundred judgements of answers that were shown seldom make a gain certain, even where the candidate helps
//! everywhere. What is at stake depends on how far one goes: under `d = (1 - s) d_0 + s d_A`, which is the metric
//! `(1 - s) A_0 + s A`, a third of the way gains half of what the candidate would gain, and loses at most two fifths of what
//! it would lose (docs/learning.md). So a step may be taken on less evidence than the whole way.
//!
//! It begins at Euclid or, for a user, at everybody's metric, and may replace those and another step. Another learned
//! metric it may not replace: a step from there would keep what that one learned, however old, and after `forget` not be what
//! the judgements that are left make. Then the candidate itself has to pass.

use std::sync::Arc;

use affinis::{LearnError, Metric, Task};
use ndarray::Array2;

use crate::change::{Base, Change};
use crate::shape::Shaped;
use crate::spd;

/// How far a step goes.
pub(crate) const SHARE: f64 = 1.0 / 3.0;

/// Where a step begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    Euclid,
    Everybodys(&'a Arc<dyn Metric>),
}

impl<'a> Start<'a> {
    /// `None` where no step may be taken.
    pub(crate) fn of(task: &Task<'a>) -> Option<Self> {
        let replaced = |base: Option<&dyn Metric>| match (task.incumbent, base) {
            (Some(active), _) if active.step => true,
            (Some(active), Some(base)) => active.metric.encode() == base.encode(),
            (None, None) => true,
            _ => false,
        };
        let base = task.change.as_ref().map(|change| change.base);
        replaced(base.map(|base| &**base)).then(|| base.map_or(Self::Euclid, Self::Everybodys))
    }

    /// The metric a step away, towards one that was found; as a change of the base where that one is a change.
    pub(crate) fn toward(
        self,
        (found, change): (&Shaped, Option<&Change>),
        base: Option<&Base<'_>>,
    ) -> Result<(Shaped, Option<Change>), LearnError> {
        if let (Some(change), Some(base)) = (change, base) {
            let change = change.toward(SHARE);
            let shaped = base.changed(&change)?;
            return Ok((shaped, Some(change)));
        }
        let d = found.factor.nrows();
        let start = match self {
            Self::Euclid => Array2::eye(d),
            Self::Everybodys(metric) => {
                metric.matrix().ok_or_else(|| LearnError::NotAMetric("everybody's metric has no matrix".into()))?
            }
        };
        let mixed = start * (1.0 - SHARE) + spd::gram_of_upper(&found.factor) * SHARE;
        Ok((Shaped::of(mixed.view())?, None))
    }
}
