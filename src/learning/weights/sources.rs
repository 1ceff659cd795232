//! Weights of judgements by how they came about.
//!
//! **Sources.** Clicks and proxy labels are noisier than explicit judgements. A label that is right
//! with probability `a` weighs `2a - 1`, its correlation with the truth. `a` is estimated on the
//! subjects that were also judged explicitly, from a prior guess that counts as [`PRIOR_COUNT`] of
//! them. A source that is wrong as often as it is right weighs nothing.
//!
//! **Clicks.** An answer at rank `r` is examined less often than one above it, so a click there is
//! stronger evidence. It weighs `sqrt(r)`, half way (on the logarithm) to the inverse of a
//! propensity of `1/r` (Joachims, Swaminathan and Schnabel, WSDM 2017), which would let single
//! clicks far down outweigh everything. Answers above the last click that were not clicked were
//! most likely examined and passed over (Joachims, KDD 2002): they become weak negatives.

use std::collections::{HashMap, HashSet};

use crate::learning::Entry;
use crate::model::{LoggedItem, LoggedJudgement, Source, SourceWeights, item_key};

/// Number of judgements that the prior guess of a source's reliability counts as.
const PRIOR_COUNT: f64 = 8.0;
/// Weight of an answer that was passed over, as a share of the click's.
const SKIP_WEIGHT: f32 = 0.25;

/// The probability that a source's label is right, before explicit judgements tell more.
fn prior_reliability(source: Source) -> f64 {
    match source {
        Source::Explicit => 1.0,
        Source::Click => 0.75,
        Source::Proxy => 0.65,
    }
}

/// The query and the item of a judgement; two items come in the same order either way.
fn subject(judgement: &LoggedJudgement) -> (Vec<u8>, Vec<u8>) {
    let query = judgement.query.key();
    let item = item_key(&judgement.item.id);
    match judgement.query.item() {
        Some(_) if item < query => (item, query),
        _ => (query, item),
    }
}

impl SourceWeights {
    /// The weights that explicit judgements of the same subjects give the other sources.
    pub(in crate::learning) fn learned(judgements: &[Entry]) -> Self {
        let explicit = weighted_grades(judgements, Source::Explicit);
        let weight = |source: Source| {
            let mut right = PRIOR_COUNT * prior_reliability(source);
            let mut all = PRIOR_COUNT;
            for (subject, grade) in weighted_grades(judgements, source) {
                let truth = explicit.get(&subject).filter(|t| **t * grade != 0.0);
                if let Some(truth) = truth {
                    right += f64::from(u8::from(*truth * grade > 0.0));
                    all += 1.0;
                }
            }
            (2.0 * right / all - 1.0).max(0.0) as f32
        };
        Self::new(weight(Source::Click), weight(Source::Proxy))
    }

    /// The weight of a source.
    pub(in crate::learning) fn of(self, source: Source) -> f32 {
        match source {
            Source::Explicit => 1.0,
            Source::Click => self.click,
            Source::Proxy => self.proxy,
        }
    }
}

/// The sums of weighted grades of one source, by subject.
fn weighted_grades(judgements: &[Entry], source: Source) -> HashMap<(Vec<u8>, Vec<u8>), f64> {
    let mut sums: HashMap<_, f64> = HashMap::new();
    for (_, judgement) in judgements.iter().filter(|(_, j)| j.source == source) {
        *sums.entry(subject(judgement)).or_default() +=
            f64::from(judgement.weight * judgement.grade);
    }
    sums
}

/// The factor by which a click at its rank outweighs one at the first; 1 for other judgements.
pub(in crate::learning) fn rank_weight(judgement: &LoggedJudgement) -> f32 {
    let position = judgement
        .shown
        .iter()
        .position(|shown| shown.id == judgement.item.id);
    match position {
        Some(position) if judgement.is_click() => (position as f32 + 1.0).sqrt(),
        _ => 1.0,
    }
}

/// One list of answers that was shown to a user for a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ShownList<'a> {
    query: Vec<u8>,
    user: Option<&'a str>,
    shown: &'a [LoggedItem],
}

/// Weak negatives: answers that were passed over, each with the number of the first click on the
/// list that it was shown in.
pub(in crate::learning) fn skips(judgements: &[Entry]) -> Vec<Entry> {
    let mut order: Vec<ShownList<'_>> = Vec::new();
    let mut clicks: HashMap<ShownList<'_>, Vec<&Entry>> = HashMap::new();
    let is_listed_click = |(_, j): &&Entry| j.is_click() && !j.shown.is_empty();
    for click in judgements.iter().filter(is_listed_click) {
        let list = ShownList {
            query: click.1.query.key(),
            user: click.1.user.as_deref(),
            shown: &click.1.shown,
        };
        let of_list = clicks.entry(list.clone()).or_default();
        if of_list.is_empty() {
            order.push(list);
        }
        of_list.push(click);
    }
    order
        .iter()
        .flat_map(|list| skipped_of(list, &clicks[list]))
        .collect()
}

/// The weak negatives of one list.
fn skipped_of(list: &ShownList<'_>, clicks: &[&Entry]) -> Vec<Entry> {
    let Some((number, first)) = clicks.first() else {
        return Vec::new();
    };
    let clicked: HashSet<&str> = clicks.iter().map(|(_, j)| j.item.id.as_str()).collect();
    let is_clicked = |item: &LoggedItem| clicked.contains(item.id.as_str());
    let last = list.shown.iter().rposition(is_clicked);
    let query = first.query.item().map(|query| &query.id);
    list.shown[..last.unwrap_or(0)]
        .iter()
        .filter(|item| !is_clicked(item) && query != Some(&item.id))
        .map(|item| (*number, negative(first, item)))
        .collect()
}

/// A weak negative of an item, beside a click.
fn negative(click: &LoggedJudgement, item: &LoggedItem) -> LoggedJudgement {
    LoggedJudgement {
        item: item.clone(),
        grade: -1.0,
        weight: click.weight * SKIP_WEIGHT,
        shown: Vec::new(),
        ..click.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Judgement, JudgementId, Query};

    fn numbered(judgements: impl IntoIterator<Item = Judgement>) -> Vec<Entry> {
        judgements
            .into_iter()
            .enumerate()
            .map(|(i, j)| {
                let content = j.content(|_| None);
                (JudgementId(i as u64), LoggedJudgement::of(&j, &content))
            })
            .collect()
    }

    #[test]
    fn a_source_weighs_what_it_proved() {
        let click = |item: &str| Judgement::relevant("q", item).source(Source::Click);
        let proxy = |item: &str| Judgement::similar(item, "z").source(Source::Proxy);
        let untested = SourceWeights::learned(&numbered([click("a"), proxy("a")]));
        assert_eq!(
            (untested.of(Source::Explicit), untested.of(Source::Click)),
            (1.0, 0.5)
        );
        let ids: Vec<String> = (0..40).map(|i| format!("i{i}")).collect();
        // Clicks are always right, proxies always wrong; of two items the order does not matter.
        let explicit = ids.iter().flat_map(|id| {
            [
                Judgement::relevant("q", id),
                Judgement::graded(Query::like("z"), id, -1.0),
            ]
        });
        let all = numbered(
            explicit
                .chain(ids.iter().map(|id| click(id)))
                .chain(ids.iter().map(|id| proxy(id))),
        );
        let tested = SourceWeights::learned(&all);
        assert!(tested.click > 0.9 && tested.proxy == 0.0, "{tested:?}");
    }

    #[test]
    fn what_stands_above_the_last_click_was_passed_over() {
        let click = |item: &str| {
            Judgement::relevant(Query::like("b"), item)
                .source(Source::Click)
                .shown(["a", "b", "c", "d", "e"])
        };
        let all = numbered([click("c"), click("d"), Judgement::relevant("q", "a")]);
        let skipped = skips(&all);
        let found: Vec<_> = skipped
            .iter()
            .map(|(n, r)| (n.0, r.item.id.as_str(), r.grade, r.weight))
            .collect();
        assert_eq!(
            found,
            [(0, "a", -1.0, 0.25)],
            "b is the query, c and d were clicked, e stands below"
        );
        assert_eq!(rank_weight(&all[1].1), 2.0);
        assert_eq!(rank_weight(&all[2].1), 1.0);
    }
}
