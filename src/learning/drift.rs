//! Drift of everybody's metric from refit to refit, with alarms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Learning;
use super::answers::ONE_SIDED_95;
use crate::model::error::Result;
use crate::model::{JudgementId, Source, Version, VersionId};

/// A refit alarms that moves this many times as far as the median of those before it.
const LEAP_FACTOR: f64 = 3.0;
/// Smallest number of earlier refits that a leap is measured by.
const MIN_EARLIER: usize = 3;
/// Number of refits in a row, each on new judgements, that alarm when all were refused and measured
/// no gain.
const REFUSED_IN_A_ROW: usize = 3;

/// Smallest number of queries on either side that shares of relevant answers are compared on.
const MIN_QUERIES: usize = 10;
/// Smallest number of judged answers of such a query.
const MIN_ANSWERS: usize = 5;

/// The refits of everybody's metric, oldest first, and alarms about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Drift {
    /// The refits, oldest first.
    pub refits: Vec<DriftEntry>,
    /// Alarms in sentences; empty when all is well.
    pub alarms: Vec<String>,
}

/// One refit of everybody's metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DriftEntry {
    /// The version that it made.
    pub version: VersionId,
    /// The version that was active before.
    pub parent: VersionId,
    /// The affine-invariant Riemannian distance between the two; `None` where the plugin could not
    /// tell.
    pub distance: Option<f64>,
    /// The measure of the held-out test, in words.
    pub measure: String,
    /// The measure under Euclid or the version that was active, whichever left less of a gain.
    pub before: Option<f64>,
    /// The measure under the new version.
    pub after: Option<f64>,
    /// Lower confidence bound of the gain.
    pub lower_bound: Option<f64>,
    /// Whether the gate let it pass.
    pub accepted: bool,
    /// The share of the learned metric where it is [shrunken](crate::plugin::ShrunkenMetric).
    pub shrinkage: Option<f64>,
    /// The newest judgement that it learned from.
    pub newest: Option<JudgementId>,
}

impl Learning {
    /// The refits of everybody's metric, with alarms.
    ///
    /// # Errors
    /// Those of [`Collection::drift`](crate::Collection::drift).
    pub fn drift(&self) -> Result<Drift> {
        let versions = self.metrics()?;
        let refits: Vec<DriftEntry> = versions.iter().filter_map(entry).collect();
        let active = versions
            .iter()
            .find(|version| version.active && version.user.is_none());
        let learned = active.and_then(|active| Some((active.version, active.judgements?.last)));
        let worn = match learned {
            Some((active, newest)) => worn(&self.shares(newest)?, active),
            None => None,
        };
        let alarms = [leap(&refits), refused(&refits), worn]
            .into_iter()
            .flatten()
            .collect();
        Ok(Drift { refits, alarms })
    }
}

/// The entry of a version that a refit made for everybody.
fn entry(version: &Version) -> Option<DriftEntry> {
    let gate = version
        .gate
        .as_ref()
        .filter(|_| version.user.is_none() && !version.withdrawn)?;
    Some(DriftEntry {
        version: version.version,
        parent: version.parent.unwrap_or_default(),
        distance: version.moved,
        measure: gate.measure.clone(),
        before: gate.before,
        after: gate.after,
        lower_bound: gate.lower_bound,
        accepted: gate.accepted,
        shrinkage: version.shrinkage,
        newest: version.judgements.map(|range| range.last),
    })
}

/// The alarm of a last refit that moved far more than those before it. Shrunken metrics move little,
/// and the one after moves much, so they do not count for what is usual.
fn leap(refits: &[DriftEntry]) -> Option<String> {
    let (last, before) = refits.split_last()?;
    let distance = last.distance?;
    let whole = before.iter().filter(|refit| refit.shrinkage.is_none());
    let mut earlier: Vec<f64> = whole.filter_map(|refit| refit.distance).collect();
    earlier.sort_by(f64::total_cmp);
    let median = *earlier
        .get(earlier.len() / 2)
        .filter(|_| earlier.len() >= MIN_EARLIER)?;
    (distance > LEAP_FACTOR * median).then(|| {
        format!(
            "metric {} lies {distance:.2} from its parent, {:.1} times as far as refits usually \
             move: look at the newest judgements",
            last.version,
            distance / median
        )
    })
}

/// The alarm of the last refits on new judgements, when all of them were refused and measured no
/// gain.
fn refused(refits: &[DriftEntry]) -> Option<String> {
    let in_vain = |refit: &&DriftEntry| {
        let gain = refit.before.zip(refit.after);
        !refit.accepted && gain.is_some_and(|(before, after)| after <= before)
    };
    let last = refits.iter().rev().take_while(in_vain);
    let mut newest: Vec<Option<JudgementId>> = last.map(|refit| refit.newest).collect();
    newest.dedup();
    let row = newest.len();
    (row >= REFUSED_IN_A_ROW).then(|| {
        format!(
            "the last {row} refits on new judgements were refused, and their metrics measure no \
             better than what they were compared with: the new judgements may contradict the old \
             ones"
        )
    })
}

/// Shares of relevant answers, one a query, judged before the active metric was learned and since.
#[derive(Debug, Default)]
struct Shares {
    before: Vec<f64>,
    since: Vec<f64>,
}

/// Numbers of relevant and of judged answers.
#[derive(Debug, Default)]
struct Counts {
    relevant: usize,
    judged: usize,
}

impl Learning {
    /// The shares of relevant answers around the newest judgement that a metric was learned from, of
    /// the judgements whose items hold what was judged. Queries with fewer than [`MIN_ANSWERS`] explicitly judged answers are left out, and so are
    /// the questions that refits ask.
    fn shares(&self, newest: JudgementId) -> Result<Shares> {
        let mut before: BTreeMap<Vec<u8>, Counts> = BTreeMap::new();
        let mut since: BTreeMap<Vec<u8>, Counts> = BTreeMap::new();
        let answers = self.counting(|(_, j)| !j.pair && j.source == Source::Explicit)?;
        for (id, judgement) in answers {
            let side = if id > newest { &mut since } else { &mut before };
            let counts = side.entry(judgement.query.key()).or_default();
            counts.relevant += usize::from(judgement.grade > 0.0);
            counts.judged += 1;
        }
        let shares = |counts: BTreeMap<Vec<u8>, Counts>| -> Vec<f64> {
            let enough = counts.into_values().filter(|c| c.judged >= MIN_ANSWERS);
            enough
                .map(|c| c.relevant as f64 / c.judged as f64)
                .collect()
        };
        Ok(Shares {
            before: shares(before),
            since: shares(since),
        })
    }
}

/// The alarm of a worn metric: fewer of the answers that were judged since it was learned are
/// relevant than of those before, with 95 % confidence (Welch's test).
fn worn(shares: &Shares, active: VersionId) -> Option<String> {
    let Shares { before, since } = shares;
    if before.len() < MIN_QUERIES || since.len() < MIN_QUERIES {
        return None;
    }
    let (then, now) = (mean(before), mean(since));
    let error = (square_error(before) + square_error(since)).sqrt();
    (now - then + ONE_SIDED_95 * error < 0.0).then(|| {
        format!(
            "of the answers judged since metric {active} was learned {:.0} % are relevant, of \
             those before {:.0} %: what people look for may have changed",
            100.0 * now,
            100.0 * then
        )
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The square of the standard error of the mean.
fn square_error(values: &[f64]) -> f64 {
    let (n, mean) = (values.len() as f64, mean(values));
    let squares = values.iter().map(|value| (value - mean).powi(2));
    squares.sum::<f64>() / (n * (n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refits(distances: &[f64], accepted: &[bool]) -> Vec<DriftEntry> {
        let of = |(i, (distance, accepted)): (usize, (&f64, &bool))| DriftEntry {
            version: VersionId(i as u32 + 1),
            parent: VersionId(i as u32),
            distance: Some(*distance),
            measure: "m".into(),
            before: Some(1.0),
            after: Some(if *accepted { 1.2 } else { 0.9 }),
            lower_bound: Some(if *accepted { 0.1 } else { -0.2 }),
            accepted: *accepted,
            shrinkage: None,
            newest: Some(JudgementId(10 * i as u64)),
        };
        distances.iter().zip(accepted).enumerate().map(of).collect()
    }

    #[test]
    fn only_what_is_unusual_alarms() {
        let calm = refits(&[1.0, 1.2, 0.9, 2.0], &[true, true, false, false]);
        assert_eq!((leap(&calm), refused(&calm)), (None, None));
        let wild = refits(&[1.0, 1.2, 0.9, 4.0], &[true, false, false, false]);
        assert!(
            leap(&wild).is_some_and(|a| a.contains("metric 4") && a.contains("4.0 times")),
            "{:?}",
            leap(&wild)
        );
        assert!(refused(&wild).is_some_and(|a| a.contains('3')));
        assert_eq!(leap(&wild[2..]), None, "too few to know what is usual");
        let mut after_shrunken = wild.clone();
        after_shrunken[..3]
            .iter_mut()
            .for_each(|refit| refit.shrinkage = Some(0.3));
        assert_eq!(
            leap(&after_shrunken),
            None,
            "short steps are not what is usual"
        );
        let mut again = wild.clone();
        for refit in &mut again {
            refit.newest = Some(JudgementId(7));
        }
        assert_eq!(refused(&again), None, "nothing new was judged");
        let mut close = wild.clone();
        close[3].after = Some(1.1);
        assert_eq!(
            refused(&close),
            None,
            "a gain that is not certain is no contradiction"
        );
        assert_eq!((leap(&calm), refused(&calm)), (None, None));
    }

    #[test]
    fn only_fewer_relevant_answers_on_enough_queries_alarm() {
        let shares = |before: f64, since: f64, n: usize| Shares {
            before: (0..n).map(|i| before + 0.1 * (i % 3) as f64).collect(),
            since: (0..n).map(|i| since + 0.1 * (i % 3) as f64).collect(),
        };
        let alarm = worn(&shares(0.5, 0.3, 12), VersionId(4));
        assert!(
            alarm.is_some_and(|a| a.contains("metric 4")
                && a.contains("40 %")
                && a.contains("60 %"))
        );
        assert_eq!(worn(&shares(0.5, 0.3, 9), VersionId(4)), None, "too few");
        assert_eq!(
            worn(&shares(0.5, 0.48, 12), VersionId(4)),
            None,
            "within the error"
        );
        assert_eq!(worn(&shares(0.3, 0.5, 12), VersionId(4)), None, "better");
    }
}
