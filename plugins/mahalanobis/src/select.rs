//! The choice among a learner's variants: the default, unless the held-out scores are clearly
//! better for another.
//!
//! The one standard error rule (Breiman et al., 1984), by query: another variant is taken when its
//! mean gain over the default exceeds the standard error of that gain.

use crate::gate::{CANDIDATE, Kind, Paired, Scores};
use crate::judgements::Judgements;

/// Least number of judgements at which there is anything to select by.
pub(crate) const MIN_JUDGEMENTS: usize = 300;
/// Least number of similar pairs at which refining is tried.
pub(crate) const MIN_SIMILAR: usize = 50;
/// Number of folds on which refining is compared with the default: a refinement costs as much as
/// many closed forms.
pub(crate) const REFINED_FOLDS: usize = 2;

/// The index of the variant to use, by their cross-fitted scores. `scores[0]` is the default's.
pub(crate) fn select(judgements: &Judgements<'_>, scores: &[Scores]) -> usize {
    let Some((default, others)) = scores.split_first() else {
        return 0;
    };
    let mut best = (0, 0.0);
    for (i, other) in others.iter().enumerate() {
        let paired = Paired {
            judgements,
            before: default,
            after: other,
        };
        let comparison = paired
            .compare(CANDIDATE, Kind::Queries)
            .or_else(|| paired.compare(CANDIDATE, Kind::Pairs));
        if let Some(gain) = comparison
            .filter(|comparison| comparison.gain > comparison.error)
            .map(|comparison| comparison.gain)
            .filter(|gain| *gain > best.1)
        {
            best = (i + 1, gain);
        }
    }
    best.0
}
