//! Cross-fitting: judged queries and pairs are dealt into folds, and each fold is scored under a metric that was fitted
//! without it.

use crate::evidence::{Evidence, mix};

/// Each fold's candidate is fitted on four fifths of the judgements, close to what all of them would give.
pub(crate) const FOLDS: usize = 5;

/// Which fold each query and each link is in.
#[derive(Debug)]
pub(crate) struct Folds {
    pub(crate) queries: Vec<usize>,
    pub(crate) links: Vec<usize>,
}

impl Folds {
    /// Deals by fingerprint and seed, so that neither order nor row numbers matter. Queries with both kinds of results,
    /// those with one, similar and dissimilar links are each spread evenly.
    pub(crate) fn new(evidence: &Evidence<'_>, seed: u64) -> Self {
        Self {
            queries: deal(seed, evidence.queries.iter().map(|q| (q.has_both_kinds(), q.fingerprint))),
            links: deal(seed, evidence.links.iter().map(|l| (l.similar, l.fingerprint))),
        }
    }
}

fn deal(seed: u64, members: impl Iterator<Item = (bool, u64)>) -> Vec<usize> {
    let mut order: Vec<(bool, u64, usize)> =
        members.enumerate().map(|(i, (kind, fingerprint))| (kind, mix(seed ^ mix(fingerprint)), i)).collect();
    order.sort_unstable();
    let mut folds = vec![0; order.len()];
    let mut dealt = [0_usize; 2];
    for (kind, _, i) in order {
        let next = &mut dealt[usize::from(kind)];
        folds[i] = *next % FOLDS;
        *next += 1;
    }
    folds
}
