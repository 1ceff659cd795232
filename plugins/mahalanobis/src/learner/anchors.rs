//! Judgements as anchors: a judged query, or an item of a judged pair, with its positives and its
//! negatives.

use std::collections::BTreeMap;

use super::Training;
use crate::gate::Folds;
use crate::judgements::{JudgedItem, JudgedQuery};

/// An anchor with the rows that belong to it and those that do not.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    pub(super) row: usize,
    pub(super) positives: Vec<JudgedItem>,
    pub(super) negatives: Vec<usize>,
}

impl Anchor {
    fn of_query(query: &JudgedQuery) -> Self {
        Self {
            row: query.row,
            positives: query.relevant.clone(),
            negatives: query.irrelevant.iter().map(|judged| judged.row).collect(),
        }
    }

    fn of_item(row: usize) -> Self {
        Self {
            row,
            positives: Vec::new(),
            negatives: Vec::new(),
        }
    }
}

impl Training<'_> {
    /// The anchors of all judgements that are not held out, in the order of the judgements. A pair
    /// has an anchor at either end.
    pub(super) fn anchors(&self) -> Vec<Anchor> {
        let is_known = |of: fn(&Folds) -> &[usize], i: usize| {
            self.held_out
                .is_none_or(|(folds, fold)| of(folds)[i] != fold)
        };
        let queries = self.judgements.queries.iter().enumerate();
        let mut anchors: Vec<Anchor> = queries
            .filter(|(i, _)| is_known(|folds| &folds.queries, *i))
            .map(|(_, query)| Anchor::of_query(query))
            .collect();
        let mut of_item = BTreeMap::new();
        let pairs = self.judgements.pairs.iter().enumerate();
        for (_, pair) in pairs.filter(|(i, _)| is_known(|folds| &folds.pairs, *i)) {
            for (row, other) in [(pair.a, pair.b), (pair.b, pair.a)] {
                let at = *of_item.entry(row).or_insert_with(|| {
                    anchors.push(Anchor::of_item(row));
                    anchors.len() - 1
                });
                if pair.similar {
                    anchors[at].positives.push(JudgedItem {
                        row: other,
                        weight: pair.weight,
                    });
                } else {
                    anchors[at].negatives.push(other);
                }
            }
        }
        anchors
    }
}
