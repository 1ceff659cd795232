//! Judgements as anchors: a judged query, or an item of a judged pair, with what belongs to it and
//! what does not.

use std::collections::BTreeMap;

use super::Training;
use crate::evidence::Judged;

/// Something that others belong to or not; rows of the evidence.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    pub(super) row: usize,
    pub(super) positives: Vec<Judged>,
    pub(super) negatives: Vec<usize>,
}

impl Training<'_> {
    /// The anchors of all that is not held out, in the evidence's order. A pair has an anchor at
    /// either end.
    pub(super) fn anchors(&self) -> Vec<Anchor> {
        let evidence = self.evidence;
        let query_in = |i: usize| {
            self.held_out
                .is_none_or(|(folds, fold)| folds.queries[i] != fold)
        };
        let link_in = |i: usize| {
            self.held_out
                .is_none_or(|(folds, fold)| folds.links[i] != fold)
        };
        let of_query = |q: &crate::evidence::Query| Anchor {
            row: q.row,
            positives: q.relevant.clone(),
            negatives: q.irrelevant.iter().map(|j| j.row).collect(),
        };
        let queries = evidence
            .queries
            .iter()
            .enumerate()
            .filter(|(i, _)| query_in(*i));
        let mut anchors: Vec<Anchor> = queries.map(|(_, q)| of_query(q)).collect();
        let mut of_item = BTreeMap::new();
        for (_, link) in evidence
            .links
            .iter()
            .enumerate()
            .filter(|(i, _)| link_in(*i))
        {
            for (row, other) in [(link.a, link.b), (link.b, link.a)] {
                let at = *of_item.entry(row).or_insert_with(|| {
                    anchors.push(Anchor {
                        row,
                        positives: Vec::new(),
                        negatives: Vec::new(),
                    });
                    anchors.len() - 1
                });
                if link.similar {
                    anchors[at].positives.push(Judged {
                        row: other,
                        weight: link.weight,
                    });
                } else {
                    anchors[at].negatives.push(other);
                }
            }
        }
        anchors
    }
}
