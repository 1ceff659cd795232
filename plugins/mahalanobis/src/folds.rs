//! Cross-fitting: judged queries and pairs are dealt into folds, and each fold is scored under a metric that was fitted
//! without it.
//!
//! What is said of two items may stand in several places: as a judgement of one for the other, the other way round, and as a
//! pair. Where these are in several folds, the metric of each has seen what the other holds out, so none of them is scored.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, Judged, Query, mix};

/// Each fold's candidate is fitted on four fifths of the judgements, close to what all of them would give.
pub(crate) const FOLDS: usize = 5;

/// Which fold each query and each link is in.
#[derive(Debug)]
pub(crate) struct Folds {
    pub(crate) queries: Vec<usize>,
    pub(crate) links: Vec<usize>,
    /// Pairs of rows, the lesser first, of which something is said in several folds.
    spread: BTreeSet<(usize, usize)>,
}

impl Folds {
    /// Deals by fingerprint and seed, so that neither order nor row numbers matter. Queries with both kinds of results,
    /// those with one, similar and dissimilar links are each spread evenly.
    pub(crate) fn new(evidence: &Evidence<'_>, seed: u64) -> Self {
        let queries = deal(seed, evidence.queries.iter().map(|q| (q.has_both_kinds(), q.fingerprint)));
        let links = deal(seed, evidence.links.iter().map(|l| (l.similar, l.fingerprint)));
        let judged = evidence.queries.iter().zip(&queries).flat_map(|(query, fold)| {
            query.relevant.iter().chain(&query.irrelevant).map(|item| (pair(query.row, item.row), *fold))
        });
        let linked = evidence.links.iter().zip(&links).map(|(link, fold)| (pair(link.a, link.b), *fold));
        let (mut first, mut spread) = (BTreeMap::new(), BTreeSet::new());
        for (pair, fold) in judged.chain(linked) {
            if *first.entry(pair).or_insert(fold) != fold {
                spread.insert(pair);
            }
        }
        Self { queries, links, spread }
    }

    /// Whether what is said of two rows is in one fold.
    pub(crate) fn holds_out(&self, a: usize, b: usize) -> bool {
        !self.spread.contains(&pair(a, b))
    }

    /// Of a query's results those that can be scored, the relevant ones first.
    pub(crate) fn held_out<'a>(&self, query: &'a Query) -> (Vec<&'a Judged>, Vec<&'a Judged>) {
        let of = |judged: &'a [Judged]| judged.iter().filter(|item| self.holds_out(query.row, item.row)).collect();
        (of(&query.relevant), of(&query.irrelevant))
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
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

#[cfg(test)]
mod tests {
    use affinis::{Examples, Graded, Pair};
    use ndarray::Array2;

    use super::*;

    #[test]
    fn what_stands_in_two_folds_is_held_out_of_neither() {
        let vectors = Array2::from_shape_fn((40, 2), |(i, j)| (i * (j + 1)) as f32);
        let graded = |query, item| Graded { query, item, grade: 1.0, weight: 1.0 };
        let mut examples = Examples { vectors, ..Examples::default() };
        // Each of 20 judges the next, and the first ten are judged back; the last is a pair as well.
        examples.graded.extend((0..20).map(|i| graded(i, i + 20)));
        examples.graded.extend((0..10).map(|i| graded(i + 20, i)));
        examples.pairs.push(Pair { a: 39, b: 19, similar: true, weight: 1.0 });
        let evidence = Evidence::new(2, &examples).expect("evidence");
        let folds = Folds::new(&evidence, 7);
        let fold_of = |row: usize| evidence.queries.iter().position(|q| q.row == row).map(|at| folds.queries[at]);
        let mut apart = 0;
        for i in 0..20 {
            let one_fold = match i {
                0..10 => fold_of(i) == fold_of(i + 20),
                19 => fold_of(i) == Some(folds.links[0]),
                _ => true,
            };
            apart += usize::from(!one_fold);
            assert_eq!(folds.holds_out(i, i + 20), one_fold, "{i}");
            assert_eq!(folds.holds_out(i + 20, i), one_fold, "{i}");
        }
        assert!(apart > 0);
        assert!(folds.holds_out(0, 1));
    }
}
