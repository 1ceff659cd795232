//! Which of a learner's variants is used: the default, unless the held-out scores say clearly
//! otherwise.
//!
//! The one standard error rule (Breiman et al., 1984), by query: another variant is taken when its
//! mean gain over the default exceeds the standard error of that gain.

use crate::evidence::Evidence;
use crate::gate::{Kind, WHOLE, compare};
use crate::score::Scores;

/// Judgements from which on there is anything to select by.
pub(crate) const MIN_JUDGEMENTS: usize = 300;
/// Similar pairs from which on refining is tried.
pub(crate) const MIN_POSITIVES: usize = 50;
/// Folds on which refining is compared with the default: a refinement costs as much as many closed
/// forms.
pub(crate) const REFINED_FOLDS: usize = 2;

/// The index of the variant to use, by their cross-fitted scores. `scores[0]` is the default's.
pub(crate) fn select(evidence: &Evidence<'_>, scores: &[Scores]) -> usize {
    let Some((default, others)) = scores.split_first() else {
        return 0;
    };
    let mut best = (0, 0.0);
    for (i, other) in others.iter().enumerate() {
        let test = compare(WHOLE, Kind::Queries, evidence, (default, other), &|_| true)
            .or_else(|| compare(WHOLE, Kind::Pairs, evidence, (default, other), &|_| true));
        if let Some(test) = test.filter(|t| t.gain > t.error && t.gain > best.1) {
            best = (i + 1, test.gain);
        }
    }
    best.0
}
