//! The choice among a learner's variants: the default, unless the held-out scores are clearly
//! better for another.
//!
//! By query, as in the one standard error rule (Breiman et al., 1984): another variant is taken
//! when its mean gain over the default exceeds the variant's margin in standard errors of that
//! gain.

use crate::gate::{CANDIDATE, Comparison, Kind, Paired, Scores};
use crate::judgements::Judgements;
use crate::learner::Variant;

/// Least number of similar pairs at which refining is tried.
pub(crate) const MIN_SIMILAR: usize = 50;
/// Standard errors by which the default has to be worse for another variant to be tested in its
/// place.
const TESTED: f64 = 2.0;
/// Number of folds on which refining is compared with the default: a refinement costs as much as
/// many closed forms.
pub(crate) const REFINED_FOLDS: usize = 2;

/// A chosen variant.
pub(crate) struct Choice {
    /// Its index.
    pub(crate) chosen: usize,
    /// The index of the variant that the gate tests: the default, since the scores that chose
    /// flatter what was chosen; but the chosen one where the default is so much worse that it says
    /// nothing of it.
    pub(crate) tested: usize,
}

/// The choice among variants by their cross-fitted scores, both in the same order, the default
/// first.
pub(crate) fn select(
    judgements: &Judgements<'_>,
    variants: &[Variant],
    scores: &[Scores],
) -> Choice {
    let mut choice = Choice {
        chosen: 0,
        tested: 0,
    };
    let Some(default) = scores.first() else {
        return choice;
    };
    let mut most = 0.0;
    for (i, (variant, other)) in variants.iter().zip(scores).enumerate().skip(1) {
        let paired = Paired {
            judgements,
            before: default,
            after: other,
        };
        let comparison = paired
            .compare(CANDIDATE, Kind::Queries)
            .or_else(|| paired.compare(CANDIDATE, Kind::Pairs));
        let Some(Comparison { gain, error, .. }) = comparison else {
            continue;
        };
        if gain > variant.margin * error && gain > most {
            most = gain;
            choice.chosen = i;
            // Refined variants are measured on some folds only.
            let is_tested = gain > TESTED * error && !variant.refined;
            choice.tested = if is_tested { i } else { 0 };
        }
    }
    choice
}
