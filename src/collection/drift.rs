//! How a collection's metric has moved from version to version, and what of it should alarm.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ask::Z;
use super::{Collection, Inner};
use crate::error::Result;
use crate::feedback::{Source, record_key, source_of};
use crate::metric::Version;

/// The name under which a version's parameters say how far it is from its parent.
pub(super) const MOVED: &str = "moved";
/// A step this many times the median of those before it is alarming.
const LEAP: f64 = 3.0;
/// Earlier steps that a leap is measured by, at least.
const STEPS: usize = 3;
/// So many refits, each on new judgements, that were refused and measured no gain one after the
/// other are alarming.
const REFUSED: usize = 3;

/// Queries on either side that shares of relevant answers are compared on, at least.
const QUERIES: usize = 10;
/// Answers of a query that were judged, at least.
const ANSWERS: usize = 5;

/// The steps of everybody's metric, oldest first, and what is alarming about them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Drift {
    /// A step a refit.
    pub steps: Vec<Step>,
    /// Sentences; empty when all is well.
    pub alarms: Vec<String>,
}

/// One refit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The version it made.
    pub version: u32,
    /// The version that was active then.
    pub parent: u32,
    /// The affine-invariant Riemannian distance between the two; `None` where the plugin could not
    /// say.
    pub distance: Option<f64>,
    /// What the gate measured.
    pub measure: String,
    /// Under Euclid or the version that was active, whichever left less of a gain.
    pub before: Option<f64>,
    /// Under the new one.
    pub after: Option<f64>,
    /// Lower confidence bound of the gain.
    pub lower_bound: Option<f64>,
    /// Whether the gate let it pass.
    pub accepted: bool,
    /// How far it goes from Euclid to what was learned, where it is a [step](crate::CautiousStep).
    pub step: Option<f64>,
    /// The newest judgement it learned from.
    pub newest: Option<u64>,
}

impl Collection {
    /// How everybody's metric has moved, refit by refit, with alarms: a step far longer than those
    /// before it, refits in a row that bring no gain, and answers of which fewer are relevant since
    /// the active metric was learned.
    ///
    /// # Errors
    /// Storage errors.
    pub fn drift(&self) -> Result<Drift> {
        let versions = self.metrics()?;
        let steps: Vec<Step> = versions.iter().filter_map(step).collect();
        let active = versions
            .iter()
            .find(|version| version.active && version.user.is_none());
        let worn = match active.and_then(|active| Some((active.version, active.judgements?.1))) {
            Some((active, newest)) => worn(&self.inner.shares(newest)?, active),
            None => None,
        };
        let alarms = [leap(&steps), refused(&steps), worn]
            .into_iter()
            .flatten()
            .collect();
        Ok(Drift { steps, alarms })
    }
}

fn step(version: &Version) -> Option<Step> {
    let gate = version
        .gate
        .as_ref()
        .filter(|_| version.user.is_none() && !version.withdrawn)?;
    Some(Step {
        version: version.version,
        parent: version.parent.unwrap_or(0),
        distance: version.parameters.get(MOVED).copied(),
        measure: gate.measure.clone(),
        before: gate.before,
        after: gate.after,
        lower_bound: gate.lower_bound,
        accepted: gate.accepted,
        step: version.step(),
        newest: version.judgements.map(|(_, newest)| newest),
    })
}

/// The last step is far longer than those before it. Cautious steps are short, and what comes after
/// one is not, so they say nothing of what is usual.
fn leap(steps: &[Step]) -> Option<String> {
    let (last, before) = steps.split_last()?;
    let before: Vec<&Step> = before.iter().filter(|step| step.step.is_none()).collect();
    let distance = last.distance?;
    let mut earlier: Vec<f64> = before.iter().filter_map(|s| s.distance).collect();
    earlier.sort_by(f64::total_cmp);
    let median = *earlier
        .get(earlier.len() / 2)
        .filter(|_| earlier.len() >= STEPS)?;
    (distance > LEAP * median).then(|| {
        format!(
            "metric {} lies {distance:.2} from its parent, {:.1} times as far as refits usually move: look at the newest \
             judgements",
            last.version,
            distance / median
        )
    })
}

/// The last refits on new judgements were refused, one after the other, and measured no gain.
fn refused(steps: &[Step]) -> Option<String> {
    let in_vain = |s: &&Step| {
        !s.accepted
            && s.before
                .zip(s.after)
                .is_some_and(|(before, after)| after <= before)
    };
    let mut newest: Vec<Option<u64>> = steps
        .iter()
        .rev()
        .take_while(in_vain)
        .map(|s| s.newest)
        .collect();
    newest.dedup();
    let row = newest.len();
    (row >= REFUSED).then(|| {
        format!(
            "the last {row} refits on new judgements were refused, and what they learned measures no better than what it was \
             compared with: the new judgements may contradict the old ones"
        )
    })
}

/// Shares of relevant answers, a query each, that were judged before the active metric was learned
/// and since.
#[derive(Debug, Default)]
struct Shares {
    before: Vec<f64>,
    since: Vec<f64>,
}

impl Inner {
    /// The shares around the newest judgement that a metric was learned from. Of a query with fewer
    /// answers than [`ANSWERS`] that were judged explicitly they say too little; what `refit --ask`
    /// asks is not among them.
    fn shares(&self, newest: u64) -> Result<Shares> {
        let mut queries: BTreeMap<(bool, Vec<u8>), (usize, usize)> = BTreeMap::new();
        for entry in self.shelf.judgements() {
            let (sequence, record) = entry?;
            if !record.pair && source_of(record.source) == Source::Explicit {
                let counts = queries
                    .entry((sequence > newest, record_key(&record.query)))
                    .or_default();
                *counts = (counts.0 + usize::from(record.grade > 0.0), counts.1 + 1);
            }
        }
        let mut shares = Shares::default();
        for ((since, _), (relevant, judged)) in queries
            .into_iter()
            .filter(|(_, (_, judged))| *judged >= ANSWERS)
        {
            let side = if since {
                &mut shares.since
            } else {
                &mut shares.before
            };
            side.push(relevant as f64 / judged as f64);
        }
        Ok(shares)
    }
}

/// Fewer of the answers that were judged since the active metric was learned are relevant than of
/// those before, with 95 % confidence (Welch).
fn worn(shares: &Shares, active: u32) -> Option<String> {
    let Shares { before, since } = shares;
    if before.len() < QUERIES || since.len() < QUERIES {
        return None;
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let square_error = |of: &[f64]| {
        let n = of.len() as f64;
        of.iter()
            .map(|share| (share - mean(of)).powi(2))
            .sum::<f64>()
            / (n * (n - 1.0))
    };
    let (then, now) = (mean(before), mean(since));
    let error = (square_error(before) + square_error(since)).sqrt();
    (now - then + Z * error < 0.0).then(|| {
        format!(
            "of the answers judged since metric {active} was learned {:.0} % are relevant, of those before {:.0} %: what people \
             look for may have changed",
            100.0 * now,
            100.0 * then
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(distances: &[f64], accepted: &[bool]) -> Vec<Step> {
        let of = |(i, (distance, accepted)): (usize, (&f64, &bool))| Step {
            version: i as u32 + 1,
            parent: i as u32,
            distance: Some(*distance),
            measure: "m".into(),
            before: Some(1.0),
            after: Some(if *accepted { 1.2 } else { 0.9 }),
            lower_bound: Some(if *accepted { 0.1 } else { -0.2 }),
            accepted: *accepted,
            step: None,
            newest: Some(10 * i as u64),
        };
        distances.iter().zip(accepted).enumerate().map(of).collect()
    }

    #[test]
    fn only_what_is_unusual_alarms() {
        let calm = steps(&[1.0, 1.2, 0.9, 2.0], &[true, true, false, false]);
        assert_eq!((leap(&calm), refused(&calm)), (None, None));
        let wild = steps(&[1.0, 1.2, 0.9, 4.0], &[true, false, false, false]);
        assert!(
            leap(&wild).is_some_and(|a| a.contains("metric 4") && a.contains("4.0 times")),
            "{:?}",
            leap(&wild)
        );
        assert!(refused(&wild).is_some_and(|a| a.contains('3')));
        assert_eq!(leap(&wild[2..]), None, "too few to know what is usual");
        let mut after_steps = wild.clone();
        after_steps[..3]
            .iter_mut()
            .for_each(|step| step.step = Some(0.3));
        assert_eq!(
            leap(&after_steps),
            None,
            "short steps are not what is usual"
        );
        let mut again = wild.clone();
        for step in &mut again {
            step.newest = Some(7);
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
        let alarm = worn(&shares(0.5, 0.3, 12), 4);
        assert!(
            alarm.is_some_and(|a| a.contains("metric 4")
                && a.contains("40 %")
                && a.contains("60 %"))
        );
        assert_eq!(worn(&shares(0.5, 0.3, 9), 4), None, "too few");
        assert_eq!(worn(&shares(0.5, 0.48, 12), 4), None, "within the error");
        assert_eq!(worn(&shares(0.3, 0.5, 12), 4), None, "better");
    }
}
