//! How a collection's metric has moved from version to version, and what of it should alarm.

use serde::Serialize;

use super::Collection;
use crate::error::Result;
use crate::metric::Version;
use crate::plugin::{CautiousStep, FitReport};

/// The name under which a version's parameters say how far it is from its parent.
pub(super) const MOVED: &str = "moved";
/// A step this many times the median of those before it is alarming.
const LEAP: f64 = 3.0;
/// Earlier steps that a leap is measured by, at least.
const STEPS: usize = 3;
/// So many refits, each on new judgements, that were refused and measured no gain one after the other are alarming.
const REFUSED: usize = 3;

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
    /// The affine-invariant Riemannian distance between the two; `None` where the plugin could not say.
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
    /// At most so much was the measure under the version that was active above Euclid's, with 95 % confidence, on judgements
    /// that it was not learned from; `None` where they were too few.
    pub active_gain_at_most: Option<f64>,
}

impl Collection {
    /// How everybody's metric has moved, refit by refit, with alarms: a step far longer than those before it, refits
    /// in a row that bring no gain, and an active metric that is worse than Euclid on what was judged since.
    ///
    /// # Errors
    /// Storage errors.
    pub fn drift(&self) -> Result<Drift> {
        let versions = self.metrics()?;
        let steps: Vec<Step> = versions.iter().filter_map(step).collect();
        let active = versions.iter().find(|v| v.active && v.user.is_none()).map_or(0, |v| v.version);
        let alarms = [leap(&steps), refused(&steps), worn(&steps, active)].into_iter().flatten().collect();
        Ok(Drift { steps, alarms })
    }
}

fn step(version: &Version) -> Option<Step> {
    let gate = version.gate.as_ref().filter(|_| version.user.is_none() && !version.withdrawn)?;
    Some(Step {
        version: version.version,
        parent: version.parent.unwrap_or(0),
        distance: version.parameters.get(MOVED).copied(),
        measure: gate.measure.clone(),
        before: gate.before,
        after: gate.after,
        lower_bound: gate.lower_bound,
        accepted: gate.accepted,
        step: version.parameters.get(CautiousStep::PARAMETER).copied(),
        newest: version.judgements.map(|(_, newest)| newest),
        active_gain_at_most: version.parameters.get(FitReport::ACTIVE_GAIN_AT_MOST).copied(),
    })
}

/// The last step is far longer than those before it. Cautious steps are short, and what comes after one is not, so they say
/// nothing of what is usual.
fn leap(steps: &[Step]) -> Option<String> {
    let (last, before) = steps.split_last()?;
    let before: Vec<&Step> = before.iter().filter(|step| step.step.is_none()).collect();
    let distance = last.distance?;
    let mut earlier: Vec<f64> = before.iter().filter_map(|s| s.distance).collect();
    earlier.sort_by(f64::total_cmp);
    let median = *earlier.get(earlier.len() / 2).filter(|_| earlier.len() >= STEPS)?;
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
    let in_vain = |s: &&Step| !s.accepted && s.before.zip(s.after).is_some_and(|(before, after)| after <= before);
    let mut newest: Vec<Option<u64>> = steps.iter().rev().take_while(in_vain).map(|s| s.newest).collect();
    newest.dedup();
    let row = newest.len();
    (row >= REFUSED).then(|| {
        format!(
            "the last {row} refits on new judgements were refused, and what they learned measures no better than what it was \
             compared with: the new judgements may contradict the old ones"
        )
    })
}

/// What is active is measured below Euclid on what was judged since.
fn worn(steps: &[Step], active: u32) -> Option<String> {
    steps.iter().find(|step| step.version == active)?;
    let most = steps.iter().rfind(|s| s.parent == active)?.active_gain_at_most?;
    (most < 0.0).then(|| {
        format!(
            "metric {active} is active, and on queries judged since it was learned it measures at least {:.3} below the \
             Euclidean distance: what people look for may have changed",
            -most
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
            active_gain_at_most: Some(0.1),
        };
        distances.iter().zip(accepted).enumerate().map(of).collect()
    }

    #[test]
    fn only_what_is_unusual_alarms() {
        let calm = steps(&[1.0, 1.2, 0.9, 2.0], &[true, true, false, false]);
        assert_eq!((leap(&calm), refused(&calm), worn(&calm, 2)), (None, None, None));
        let wild = steps(&[1.0, 1.2, 0.9, 4.0], &[true, false, false, false]);
        assert!(leap(&wild).is_some_and(|a| a.contains("metric 4") && a.contains("4.0 times")), "{:?}", leap(&wild));
        assert!(refused(&wild).is_some_and(|a| a.contains('3')));
        assert_eq!(leap(&wild[2..]), None, "too few to know what is usual");
        let mut after_steps = wild.clone();
        after_steps[..3].iter_mut().for_each(|step| step.step = Some(0.3));
        assert_eq!(leap(&after_steps), None, "short steps are not what is usual");
        let mut again = wild.clone();
        for step in &mut again {
            step.newest = Some(7);
        }
        assert_eq!(refused(&again), None, "nothing new was judged");
        let mut close = wild.clone();
        close[3].after = Some(1.1);
        assert_eq!(refused(&close), None, "a gain that is not certain is no contradiction");
        let mut worse = calm;
        worse[3].active_gain_at_most = Some(-0.2);
        assert!(worn(&worse, 3).is_some_and(|a| a.contains("metric 3") && a.contains("0.200")));
        assert_eq!(worn(&worse, 2), None, "that was said of another version");
    }
}
