//! Folds of judged queries and pairs, each of which is scored under a metric that was fitted
//! without it.
//!
//! Two items may be judged in several places: one as an answer to the other, the other way round,
//! and as a pair. Queries that judge each other are therefore dealt together. Where that would make
//! groups too large to be folds, or one of the places is a pair, the metric of each fold has seen
//! what the other holds out, and neither is scored.

use std::collections::{BTreeMap, BTreeSet};

use affinis::plugin::Examples;

use crate::fingerprints::splitmix;
use crate::judgements::{JudgedItem, JudgedQuery, Judgements};

/// Number of folds: each fold's candidate is fitted on four fifths of the judgements, close to what
/// all of them would give.
pub(crate) const FOLDS: usize = 5;

/// The fold of each query and of each pair.
#[derive(Debug)]
pub(crate) struct Folds {
    pub(crate) queries: Vec<usize>,
    pub(crate) pairs: Vec<usize>,
    /// Pairs of rows, the lesser first, that are judged in several folds.
    spread: BTreeSet<(usize, usize)>,
}

impl Folds {
    /// Deals by fingerprint and seed, so that neither order nor row numbers matter. Queries with
    /// both kinds of results, those with one, similar and dissimilar pairs are each spread evenly.
    pub(crate) fn new(judgements: &Judgements<'_>, seed: u64) -> Self {
        let Judgements { queries, pairs, .. } = judgements;
        let groups = judging_each_other(queries);
        let of_queries = queries.iter().map(|q| (q.has_both_kinds(), q.fingerprint));
        let of_queries = deal(seed, of_queries, &groups);
        let alone: Vec<usize> = (0..pairs.len()).collect();
        let of_pairs = pairs.iter().map(|p| (p.similar, p.fingerprint));
        let of_pairs = deal(seed, of_pairs, &alone);

        let graded = queries.iter().zip(&of_queries).flat_map(|(query, fold)| {
            let items = query.items();
            items.map(move |item| (unordered(query.row, item.row), *fold))
        });
        let paired = pairs.iter().zip(&of_pairs);
        let paired = paired.map(|(pair, fold)| (unordered(pair.a, pair.b), *fold));
        let (mut first, mut spread) = (BTreeMap::new(), BTreeSet::new());
        for (rows, fold) in graded.chain(paired) {
            if *first.entry(rows).or_insert(fold) != fold {
                spread.insert(rows);
            }
        }
        Self {
            queries: of_queries,
            pairs: of_pairs,
            spread,
        }
    }

    /// Whether all judgements of two rows are in one fold.
    pub(crate) fn holds_out(&self, a: usize, b: usize) -> bool {
        !self.spread.contains(&unordered(a, b))
    }

    /// The relevant and the irrelevant results of a query that can be scored.
    pub(crate) fn held_out<'a>(
        &self,
        query: &'a JudgedQuery,
    ) -> (Vec<&'a JudgedItem>, Vec<&'a JudgedItem>) {
        let of = |judged: &'a [JudgedItem]| {
            judged
                .iter()
                .filter(|item| self.holds_out(query.row, item.row))
                .collect()
        };
        (of(&query.relevant), of(&query.irrelevant))
    }

    /// The examples that the metric of a fold is fitted to: all but those of the fold.
    pub(crate) fn training(
        &self,
        judgements: &Judgements<'_>,
        examples: &Examples,
        fold: usize,
    ) -> Examples {
        let rows = |i: usize| judgements.first_rows[i];
        let queries = judgements.queries.iter().zip(&self.queries);
        let held_out_queries: BTreeSet<usize> = queries
            .filter(|(_, of)| **of == fold)
            .map(|(query, _)| query.row)
            .collect();
        let pairs = judgements.pairs.iter().zip(&self.pairs);
        let held_out_pairs: BTreeSet<(usize, usize)> = pairs
            .filter(|(_, of)| **of == fold)
            .map(|(pair, _)| unordered(pair.a, pair.b))
            .collect();
        let mut training = examples.clone();
        training
            .graded
            .retain(|g| !held_out_queries.contains(&rows(g.query)));
        training
            .pairs
            .retain(|p| !held_out_pairs.contains(&unordered(rows(p.a), rows(p.b))));
        training
    }
}

/// Two rows, the lesser first.
fn unordered(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// The group of each query, named by one of its members. Queries that judge each other are in one
/// group, as long as it holds no more than a quarter of a fold.
fn judging_each_other(queries: &[JudgedQuery]) -> Vec<usize> {
    let at_row: BTreeMap<usize, usize> = queries
        .iter()
        .enumerate()
        .map(|(i, query)| (query.row, i))
        .collect();
    let mut judges: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (i, query) in queries.iter().enumerate() {
        let judged = query.items().filter_map(|item| at_row.get(&item.row));
        judges.extend(judged.map(|j| (i, *j)));
    }
    let max_members = (queries.len() / (4 * FOLDS)).max(2);
    let mut groups: Vec<usize> = (0..queries.len()).collect();
    let mut members: Vec<Vec<usize>> = groups.iter().map(|i| vec![*i]).collect();
    for (i, j) in judges
        .iter()
        .filter(|(i, j)| i < j && judges.contains(&(*j, *i)))
    {
        let (to, from) = (groups[*i], groups[*j]);
        if to != from && members[to].len() + members[from].len() <= max_members {
            let moved = std::mem::take(&mut members[from]);
            for member in &moved {
                groups[*member] = to;
            }
            members[to].extend(moved);
        }
    }
    groups
}

/// The fold of each member. Members, each of a kind and with a fingerprint, are dealt group by
/// group.
fn deal(seed: u64, members: impl Iterator<Item = (bool, u64)>, groups: &[usize]) -> Vec<usize> {
    // A group is dealt where the first of its members is.
    let mut order: BTreeMap<usize, (bool, u64)> = BTreeMap::new();
    let mut sizes: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
    for ((kind, fingerprint), group) in members.zip(groups) {
        let key = (kind, splitmix(seed ^ splitmix(fingerprint)));
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
    use affinis::plugin::{Examples, Graded, Pair};
    use ndarray::Array2;

    use super::*;

    #[test]
    fn what_is_judged_in_several_places_is_in_one_fold_or_not_scored() {
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
        let judgements = Judgements::new(2, &examples).expect("judgements");
        let folds = Folds::new(&judgements, 7);
        let fold_of = |row: usize| {
            judgements
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
        assert_eq!(folds.holds_out(19, 39), fold_of(19) == Some(folds.pairs[0]));
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
                .map(move |offset| (i + offset) % 60)
                .chain((1..6).map(move |offset| (i + 60 - offset) % 60))
        };
        for i in 0..60 {
            examples.graded.extend(near(i).map(|item| Graded {
                query: i,
                item,
                grade: 1.0,
                weight: 1.0,
            }));
        }
        let judgements = Judgements::new(2, &examples).expect("judgements");
        let folds = Folds::new(&judgements, 7);
        for fold in 0..FOLDS {
            assert!(
                (10..=14).contains(&folds.queries.iter().filter(|f| **f == fold).count()),
                "{:?}",
                folds.queries
            );
        }
        for (i, query) in judgements.queries.iter().enumerate() {
            for item in &query.relevant {
                let other = judgements
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
