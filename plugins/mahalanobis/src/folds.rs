//! Cross-fitting: judged queries and pairs are dealt into folds, and each fold is scored under a
//! metric that was fitted without it.
//!
//! What is said of two items may stand in several places: as a judgement of one for the other, the
//! other way round, and as a pair. Queries that judge each other are therefore dealt together.
//! Where that would make groups too large to be folds, or one is a pair, the metric of each fold
//! has seen what the other holds out, and neither is scored.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, Judged, Query, mix};

/// Each fold's candidate is fitted on four fifths of the judgements, close to what all of them
/// would give.
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
    /// Deals by fingerprint and seed, so that neither order nor row numbers matter. Queries with
    /// both kinds of results, those with one, similar and dissimilar links are each spread evenly.
    pub(crate) fn new(evidence: &Evidence<'_>, seed: u64) -> Self {
        let groups = judging_each_other(&evidence.queries);
        let queries = deal(
            seed,
            evidence
                .queries
                .iter()
                .map(|q| (q.has_both_kinds(), q.fingerprint)),
            &groups,
        );
        let alone: Vec<usize> = (0..evidence.links.len()).collect();
        let links = deal(
            seed,
            evidence.links.iter().map(|l| (l.similar, l.fingerprint)),
            &alone,
        );
        let judged = evidence
            .queries
            .iter()
            .zip(&queries)
            .flat_map(|(query, fold)| {
                query
                    .relevant
                    .iter()
                    .chain(&query.irrelevant)
                    .map(|item| (pair(query.row, item.row), *fold))
            });
        let linked = evidence
            .links
            .iter()
            .zip(&links)
            .map(|(link, fold)| (pair(link.a, link.b), *fold));
        let (mut first, mut spread) = (BTreeMap::new(), BTreeSet::new());
        for (pair, fold) in judged.chain(linked) {
            if *first.entry(pair).or_insert(fold) != fold {
                spread.insert(pair);
            }
        }
        Self {
            queries,
            links,
            spread,
        }
    }

    /// Whether what is said of two rows is in one fold.
    pub(crate) fn holds_out(&self, a: usize, b: usize) -> bool {
        !self.spread.contains(&pair(a, b))
    }

    /// Of a query's results those that can be scored, the relevant ones first.
    pub(crate) fn held_out<'a>(&self, query: &'a Query) -> (Vec<&'a Judged>, Vec<&'a Judged>) {
        let of = |judged: &'a [Judged]| {
            judged
                .iter()
                .filter(|item| self.holds_out(query.row, item.row))
                .collect()
        };
        (of(&query.relevant), of(&query.irrelevant))
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// The group of each query, named by one of its members. Queries that judge each other are in one
/// group, as long as it holds no more than a quarter of a fold.
fn judging_each_other(queries: &[Query]) -> Vec<usize> {
    let at_row: BTreeMap<usize, usize> = queries
        .iter()
        .enumerate()
        .map(|(i, query)| (query.row, i))
        .collect();
    let judged = |i: usize| {
        queries[i]
            .relevant
            .iter()
            .chain(&queries[i].irrelevant)
            .map(|item| item.row)
    };
    let statements: BTreeSet<(usize, usize)> = (0..queries.len())
        .flat_map(|i| {
            judged(i)
                .filter_map(|row| at_row.get(&row).map(|j| (i, *j)))
                .collect::<Vec<_>>()
        })
        .collect();
    let most = (queries.len() / (4 * FOLDS)).max(2);
    let mut groups: Vec<usize> = (0..queries.len()).collect();
    let mut members: Vec<Vec<usize>> = groups.iter().map(|i| vec![*i]).collect();
    for (i, j) in statements
        .iter()
        .filter(|(i, j)| i < j && statements.contains(&(*j, *i)))
    {
        let (to, from) = (groups[*i], groups[*j]);
        if to != from && members[to].len() + members[from].len() <= most {
            let moved = std::mem::take(&mut members[from]);
            for member in &moved {
                groups[*member] = to;
            }
            members[to].extend(moved);
        }
    }
    groups
}

/// Deals members, of a kind and with a fingerprint each, group by group.
fn deal(seed: u64, members: impl Iterator<Item = (bool, u64)>, groups: &[usize]) -> Vec<usize> {
    // A group is dealt where the first of its members is.
    let mut order: BTreeMap<usize, (bool, u64)> = BTreeMap::new();
    let mut sizes: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
    for ((kind, fingerprint), group) in members.zip(groups) {
        let key = (kind, mix(seed ^ mix(fingerprint)));
        order
            .entry(*group)
            .and_modify(|first| *first = key.min(*first))
            .or_insert(key);
        sizes.entry(*group).or_default()[usize::from(kind)] += 1;
    }
    let mut order: Vec<((bool, u64), usize)> =
        order.into_iter().map(|(group, key)| (key, group)).collect();
    order.sort_unstable();
    let mut folds: BTreeMap<usize, usize> = BTreeMap::new();
    let mut dealt = [[0_usize; 2]; FOLDS];
    for ((kind, _), group) in order {
        let least = (0..FOLDS)
            .min_by_key(|fold| dealt[*fold][usize::from(kind)])
            .unwrap_or(0);
        folds.insert(group, least);
        let size = sizes.get(&group).copied().unwrap_or_default();
        dealt[least]
            .iter_mut()
            .zip(size)
            .for_each(|(sum, size)| *sum += size);
    }
    groups
        .iter()
        .map(|group| folds.get(group).copied().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use affinis::{Examples, Graded, Pair};
    use ndarray::Array2;

    use super::*;

    #[test]
    fn what_stands_in_several_places_is_in_one_fold_or_not_scored() {
        let vectors = Array2::from_shape_fn((40, 2), |(i, j)| (i * (j + 1)) as f32);
        let graded = |query, item| Graded {
            query,
            item,
            grade: 1.0,
            weight: 1.0,
        };
        let mut examples = Examples {
            vectors,
            ..Examples::default()
        };
        // Each of 20 judges the next, and the first ten are judged back; the last is a pair as
        // well.
        examples.graded.extend((0..20).map(|i| graded(i, i + 20)));
        examples.graded.extend((0..10).map(|i| graded(i + 20, i)));
        examples.pairs.push(Pair {
            a: 39,
            b: 19,
            similar: true,
            weight: 1.0,
        });
        let evidence = Evidence::new(2, &examples).expect("evidence");
        let folds = Folds::new(&evidence, 7);
        let fold_of = |row: usize| {
            evidence
                .queries
                .iter()
                .position(|q| q.row == row)
                .map(|at| folds.queries[at])
        };
        // 30 queries are too few for groups of more than two.
        for i in 0..10 {
            assert_eq!(fold_of(i), fold_of(i + 20), "{i}");
            assert!(
                folds.holds_out(i, i + 20) && folds.holds_out(i + 20, i),
                "{i}"
            );
        }
        assert_eq!(folds.holds_out(19, 39), fold_of(19) == Some(folds.links[0]));
        let sizes: Vec<usize> = (0..FOLDS)
            .map(|fold| folds.queries.iter().filter(|f| **f == fold).count())
            .collect();
        assert_eq!(sizes, [6; FOLDS]);
    }

    #[test]
    fn where_everybody_judges_everybody_folds_stay_folds() {
        let vectors = Array2::from_shape_fn((60, 2), |(i, j)| (i * (j + 1)) as f32);
        let mut examples = Examples {
            vectors,
            ..Examples::default()
        };
        let near = |i: usize| {
            (1..6)
                .map(move |step| (i + step) % 60)
                .chain((1..6).map(move |step| (i + 60 - step) % 60))
        };
        for i in 0..60 {
            examples.graded.extend(near(i).map(|item| Graded {
                query: i,
                item,
                grade: 1.0,
                weight: 1.0,
            }));
        }
        let evidence = Evidence::new(2, &examples).expect("evidence");
        let folds = Folds::new(&evidence, 7);
        for fold in 0..FOLDS {
            assert!(
                (10..=14).contains(&folds.queries.iter().filter(|f| **f == fold).count()),
                "{:?}",
                folds.queries
            );
        }
        for (i, query) in evidence.queries.iter().enumerate() {
            for item in &query.relevant {
                let other = evidence
                    .queries
                    .iter()
                    .position(|q| q.row == item.row)
                    .expect("a query");
                assert_eq!(
                    folds.holds_out(query.row, item.row),
                    folds.queries[i] == folds.queries[other]
                );
            }
        }
    }
}
