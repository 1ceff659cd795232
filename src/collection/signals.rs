//! What a judgement weighs by how it came about.
//!
//! **Sources.** Clicks and proxy labels are noisier than what somebody said outright. A label that
//! is right with probability `a` is worth `2a - 1` of a certain one: that is its correlation with
//! the truth. `a` is estimated from the judgements of the same two things that were also made
//! explicitly, starting from a guess that counts as much as [`GUESS`] of these. A source that is
//! wrong as often as right is not used.
//!
//! **Clicks.** An answer at rank `r` is looked at less often than one above it, so a click there
//! says more: it weighs `sqrt(r)`, half way (on the logarithm) to the inverse of a propensity of
//! `1/r` (Joachims, Swaminathan and Schnabel, WSDM 2017), which would let single clicks far down
//! outweigh everything. What was shown above the last click and not clicked was most likely looked
//! at and passed over (Joachims, KDD 2002): a weak negative.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::feedback::{Source, record_key, source_of};
use crate::persist::{JudgementRecord, QueryRecord};

/// Judgements that the guess of a source's reliability counts as.
const GUESS: f64 = 8.0;
/// What a skipped answer weighs against a click.
const SKIP: f32 = 0.25;

/// What a source is taken for until explicit judgements say more.
fn guess(source: Source) -> f64 {
    match source {
        Source::Explicit => 1.0,
        Source::Click => 0.75,
        Source::Proxy => 0.65,
    }
}

/// Two things of which something was said; of two items in either order.
fn subject(record: &JudgementRecord) -> (Vec<u8>, Vec<u8>) {
    let (query, item) = (
        record_key(&record.query),
        record_key(&QueryRecord::Item(record.item.clone())),
    );
    match record.query {
        QueryRecord::Item(_) if item < query => (item, query),
        _ => (query, item),
    }
}

/// The weight of each source, learned from how well it predicts explicit judgements.
pub(super) fn source_weights(judgements: &[(u64, JudgementRecord)]) -> BTreeMap<Source, f32> {
    let said = |source: Source| {
        let mut said: HashMap<_, f64> = HashMap::new();
        for (_, record) in judgements
            .iter()
            .filter(|(_, r)| source_of(r.source) == source)
        {
            *said.entry(subject(record)).or_default() += f64::from(record.weight * record.grade);
        }
        said
    };
    let explicit = said(Source::Explicit);
    let weight = |source: Source| {
        let (mut right, mut all) = (GUESS * guess(source), GUESS);
        for (subject, sum) in said(source) {
            if let Some(truth) = explicit.get(&subject).filter(|truth| **truth * sum != 0.0) {
                right += f64::from(u8::from(*truth * sum > 0.0));
                all += 1.0;
            }
        }
        (2.0 * right / all - 1.0).max(0.0) as f32
    };
    BTreeMap::from([
        (Source::Explicit, 1.0),
        (Source::Click, weight(Source::Click)),
        (Source::Proxy, weight(Source::Proxy)),
    ])
}

/// How much more a click at its place says than one at the first.
pub(super) fn place_weight(record: &JudgementRecord) -> f32 {
    let place = record.shown.iter().position(|id| *id == record.item);
    match place {
        Some(place) if is_click(record) => (place as f32 + 1.0).sqrt(),
        _ => 1.0,
    }
}

/// A click on one of several answers.
pub(super) fn is_click(record: &JudgementRecord) -> bool {
    source_of(record.source) == Source::Click && !record.pair && record.grade > 0.0
}

/// Answers that were passed over, as judgements, with the number of the first click on what was
/// shown with them.
pub(super) fn skips(judgements: &[(u64, JudgementRecord)]) -> Vec<(u64, JudgementRecord)> {
    type Shown<'a> = (Vec<u8>, Option<&'a str>, &'a [String]);
    let mut order: Vec<Shown<'_>> = Vec::new();
    let mut clicks: HashMap<Shown<'_>, Vec<&(u64, JudgementRecord)>> = HashMap::new();
    for click in judgements
        .iter()
        .filter(|(_, r)| is_click(r) && !r.shown.is_empty())
    {
        let record = &click.1;
        let key: Shown<'_> = (
            record_key(&record.query),
            record.user.as_deref(),
            &record.shown,
        );
        let of_answer = clicks.entry(key.clone()).or_default();
        if of_answer.is_empty() {
            order.push(key);
        }
        of_answer.push(click);
    }
    let mut skipped = Vec::new();
    for key in order {
        let clicks = &clicks[&key];
        let Some((sequence, first)) = clicks.first() else {
            continue;
        };
        let clicked: HashSet<&str> = clicks.iter().map(|(_, r)| r.item.as_str()).collect();
        let Some(last) = key.2.iter().rposition(|id| clicked.contains(id.as_str())) else {
            continue;
        };
        let passed = key.2[..last].iter().filter(|id| {
            !clicked.contains(id.as_str())
                && !matches!(&first.query, QueryRecord::Item(query) if query == *id)
        });
        skipped.extend(passed.map(|id| {
            let weight = first.weight * SKIP;
            (
                *sequence,
                JudgementRecord {
                    item: id.clone(),
                    grade: -1.0,
                    weight,
                    shown: Vec::new(),
                    ..first.clone()
                },
            )
        }));
    }
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::{Judgement, to_record};
    use crate::query::Query;

    fn numbered(judgements: impl IntoIterator<Item = Judgement>) -> Vec<(u64, JudgementRecord)> {
        judgements
            .into_iter()
            .enumerate()
            .map(|(i, j)| (i as u64, to_record(&j)))
            .collect()
    }

    #[test]
    fn a_source_weighs_what_it_proved() {
        let click = |item: &str| Judgement::relevant("q", item).source(Source::Click);
        let proxy = |item: &str| Judgement::similar(item, "z").source(Source::Proxy);
        let untested = source_weights(&numbered([click("a"), proxy("a")]));
        assert_eq!(
            (untested[&Source::Explicit], untested[&Source::Click]),
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
        let tested = source_weights(&all);
        assert!(
            tested[&Source::Click] > 0.9 && tested[&Source::Proxy] == 0.0,
            "{tested:?}"
        );
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
            .map(|(n, r)| (*n, r.item.as_str(), r.grade, r.weight))
            .collect();
        assert_eq!(
            found,
            [(0, "a", -1.0, 0.25)],
            "b is the query, c and d were clicked, e stands below"
        );
        assert_eq!(place_weight(&all[1].1), 2.0);
        assert_eq!(place_weight(&all[2].1), 1.0);
    }
}
