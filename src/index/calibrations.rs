//! What calibration has measured of each metric, and how far searches go by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::{KindRecall, QueryForm};

/// Slacks of adaptive searches that are measured, smallest first.
pub(crate) const SLACKS: [f32; 9] = [0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8];
/// The slack with which each search begins, until it comes to rest and its class is known.
pub(crate) const FIRST_SLACK: f32 = SLACKS[0];
/// The recalls for which calibration plans, smallest first.
pub(crate) const LEVELS: [f64; 6] = [0.8, 0.9, 0.95, 0.98, 0.99, 0.995];
/// Beyond the last of [`LEVELS`], slacks are this many times as large.
const BEYOND_LEVELS: f32 = 2.0;

/// How far a search goes after it came to rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reach {
    /// To all items within a slack of the `k`-th distance.
    Slack(f32),
    /// To all items.
    Scan,
}

/// A class of queries at one level of recall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Class {
    /// Position in [`SLACKS`]; beyond its end, the items are scanned.
    pub(crate) reach: u8,
    /// Mean recall of the class, 0 to 1.
    pub(crate) recall: f32,
}

/// The plan for one of [`LEVELS`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Level {
    /// The classes of queries, nearest to the items first.
    pub(crate) classes: Vec<Class>,
    /// Mean number of distances computed, where one of a scan counts as much as it takes.
    pub(crate) evaluations: f64,
}

/// The plans for queries of one form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plans {
    /// The distances of the `k`-th item at rest that divide queries into classes, increasing.
    pub(crate) bounds: Vec<f32>,
    /// The plan for each of [`LEVELS`].
    pub(crate) levels: Vec<Level>,
}

/// What was measured of one metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// Whether the walks were on vectors, since codes lead walks astray.
    pub(crate) on_vectors: bool,
    /// The plans for queries of any form.
    pub(crate) any: Plans,
    /// The plans for queries of those forms of which enough questions were measured.
    pub(crate) forms: BTreeMap<QueryForm, Plans>,
    /// What searches with the default recall reach.
    pub(crate) kinds: Vec<KindRecall>,
}

impl Plans {
    /// The plan for the smallest level that is at least `recall`; the last one if there is none.
    fn level(&self, recall: f64) -> Option<usize> {
        let wanted = LEVELS.iter().position(|level| *level >= recall);
        let last = self.levels.len().checked_sub(1)?;
        Some(wanted.unwrap_or(last).min(last))
    }

    /// Whether the plans are complete, and their numbers can be used.
    fn is_sound(&self) -> bool {
        let is_whole = |level: &Level| {
            level.classes.len() == self.bounds.len() + 1 && level.evaluations.is_finite()
        };
        self.levels.len() == LEVELS.len()
            && self.levels.iter().all(is_whole)
            && self.bounds.iter().all(|bound| !bound.is_nan())
    }
}

impl Curve {
    /// The plans for queries of a form.
    pub(crate) fn plans(&self, form: QueryForm) -> &Plans {
        self.forms.get(&form).unwrap_or(&self.any)
    }

    /// Mean number of distances that searches for a recall compute, whatever their form.
    pub(crate) fn evaluations(&self, recall: f64) -> Option<f64> {
        Some(self.any.levels[self.any.level(recall)?].evaluations)
    }

    /// Whether the plans are complete, and their numbers can be used.
    pub(crate) fn is_sound(&self) -> bool {
        self.any.is_sound() && self.forms.values().all(Plans::is_sound)
    }

    /// Reads the stored form; `None` if it is not one.
    pub(crate) fn decode(encoded: &[u8]) -> Option<Self> {
        let curve: Self = postcard::from_bytes(encoded).ok()?;
        curve.is_sound().then_some(curve)
    }

    /// The stored form; see [`Self::decode`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Only a type that says no length beforehand cannot be encoded.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// A checksum, by which an answer names the calibration that it was planned by.
    pub(crate) fn checksum(&self) -> u32 {
        crc32fast::hash(&self.encode())
    }
}

/// How far the searches for one recall go under one metric.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    plan: Planned,
    /// By which slacks are multiplied.
    factor: f32,
    /// Mean number of distances computed.
    pub(crate) evaluations: usize,
    /// See [`Curve::on_vectors`].
    pub(crate) on_vectors: bool,
}

#[derive(Debug, Clone)]
enum Planned {
    /// By a calibration, for a form, at the position of a level.
    Measured {
        by: Arc<Measured>,
        form: QueryForm,
        level: usize,
    },
    /// With one slack for all queries.
    Guessed(f32),
}

/// A curve with its checksum.
#[derive(Debug)]
struct Measured {
    curve: Curve,
    checksum: u32,
}

impl Schedule {
    /// A schedule without a measurement.
    pub(crate) fn guessed(slack: f32, evaluations: usize) -> Self {
        Self {
            plan: Planned::Guessed(slack),
            factor: 1.0,
            evaluations,
            on_vectors: false,
        }
    }

    /// How far a search goes whose `k`-th distance at rest is `distance`, and the recall to be
    /// expected, if it was measured.
    pub(crate) fn reach(&self, distance: f32) -> (Reach, Option<f32>) {
        match &self.plan {
            Planned::Guessed(slack) => (Reach::Slack(*slack), None),
            Planned::Measured { by, form, level } => {
                let plans = by.curve.plans(*form);
                let at = plans.bounds.partition_point(|bound| *bound < distance);
                let class = plans.levels[*level].classes[at];
                match SLACKS.get(class.reach as usize) {
                    Some(slack) => (Reach::Slack(self.factor * slack), Some(class.recall)),
                    None => (Reach::Scan, Some(1.0)),
                }
            }
        }
    }

    /// The checksum of the calibration; `None` before the first.
    pub(crate) fn calibration(&self) -> Option<u32> {
        match &self.plan {
            Planned::Guessed(_) => None,
            Planned::Measured { by, .. } => Some(by.checksum),
        }
    }
}

/// Curves by metric version.
#[derive(Debug, Default)]
pub(crate) struct Calibrations(Mutex<BTreeMap<u32, Arc<Measured>>>);

impl Calibrations {
    /// Begins with the curves of an earlier session.
    pub(crate) fn new(known: BTreeMap<u32, Curve>) -> Self {
        let calibrations = Self::default();
        for (version, curve) in known {
            calibrations.set(version, curve);
        }
        calibrations
    }

    /// The schedule for a metric, a form of queries and a recall, if the metric was measured.
    pub(crate) fn schedule(&self, version: u32, form: QueryForm, recall: f64) -> Option<Schedule> {
        let by = Arc::clone(self.curves().get(&version)?);
        let plans = by.curve.plans(form);
        let level = plans.level(recall)?;
        let is_beyond = LEVELS.last().is_some_and(|last| recall > *last);
        Some(Schedule {
            factor: if is_beyond { BEYOND_LEVELS } else { 1.0 },
            evaluations: plans.levels[level].evaluations as usize,
            on_vectors: by.curve.on_vectors,
            plan: Planned::Measured { by, form, level },
        })
    }

    /// Mean number of distances that searches for a recall compute under a metric.
    pub(crate) fn evaluations(&self, version: u32, recall: f64) -> Option<f64> {
        self.curves().get(&version)?.curve.evaluations(recall)
    }

    /// Whether walks under a metric are on vectors; see [`Curve::on_vectors`].
    pub(crate) fn are_vectors_walked(&self, version: u32) -> bool {
        let curves = self.curves();
        curves.get(&version).is_some_and(|by| by.curve.on_vectors)
    }

    /// Whether a metric was measured.
    pub(crate) fn contains(&self, version: u32) -> bool {
        self.curves().contains_key(&version)
    }

    /// All curves.
    pub(crate) fn all(&self) -> BTreeMap<u32, Curve> {
        let curves = self.curves();
        let all = curves
            .iter()
            .map(|(version, by)| (*version, by.curve.clone()));
        all.collect()
    }

    /// Drops all curves.
    pub(crate) fn clear(&self) {
        self.curves().clear();
    }

    /// Sets the curve of a metric. One that cannot be used is left out.
    pub(crate) fn set(&self, version: u32, curve: Curve) {
        if curve.is_sound() {
            let checksum = curve.checksum();
            self.curves()
                .insert(version, Arc::new(Measured { curve, checksum }));
        }
    }

    fn curves(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Measured>>> {
        // Curves are whole whenever the lock is free, even if a thread panicked with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve() -> Curve {
        let class = |reach| Class {
            reach,
            recall: 0.96,
        };
        let level = Level {
            classes: vec![class(1), class(SLACKS.len() as u8)],
            evaluations: 700.0,
        };
        let far = Level {
            classes: vec![class(3), class(4)],
            ..level.clone()
        };
        let plans = |level: Level| Plans {
            bounds: vec![0.5],
            levels: vec![level; LEVELS.len()],
        };
        Curve {
            on_vectors: false,
            any: plans(level),
            forms: BTreeMap::from([(QueryForm::OneWord, plans(far))]),
            kinds: Vec::new(),
        }
    }

    #[test]
    fn a_query_goes_as_far_as_its_class() {
        let calibrations = Calibrations::new(BTreeMap::from([(3, curve())]));
        let any = QueryForm::Any;
        let schedule = calibrations.schedule(3, any, 0.95).expect("measured");
        assert_eq!(schedule.reach(0.4).0, Reach::Slack(SLACKS[1]));
        assert_eq!(schedule.reach(0.6).0, Reach::Scan);
        assert_eq!(schedule.calibration(), Some(curve().checksum()));
        let beyond = calibrations.schedule(3, any, 0.999).expect("measured");
        assert_eq!(beyond.reach(0.4).0, Reach::Slack(2.0 * SLACKS[1]));
        assert!(calibrations.schedule(4, any, 0.95).is_none());
        let slack = |form| {
            let schedule = calibrations.schedule(3, form, 0.95).expect("measured");
            schedule.reach(0.4).0
        };
        assert_eq!(slack(QueryForm::OneWord), Reach::Slack(SLACKS[3]));
        assert_eq!(slack(QueryForm::TwoWords), slack(any), "not measured");
    }

    #[test]
    fn a_curve_is_read_as_it_was_stored() {
        assert_eq!(Curve::decode(&curve().encode()), Some(curve()));
        assert_eq!(Curve::decode(&curve().encode()[1..]), None);
        assert_eq!(Curve::decode(&[]), None);
    }

    #[test]
    fn a_curve_that_cannot_be_used_is_left_out() {
        let mut damaged = curve();
        damaged.any.levels[2].classes.pop();
        let calibrations = Calibrations::new(BTreeMap::from([(3, damaged)]));
        assert!(!calibrations.contains(3));
    }
}
