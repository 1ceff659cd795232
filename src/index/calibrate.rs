//! Calibration: measures on the collection itself how far searches must go to keep their promise.
//!
//! The promise for a recall `r` is that the mean recall of the ten nearest items is at least `r`,
//! that the nearest item is found by all but a fifth of `1 - r` of the questions, and that no more
//! questions than that find fewer than five of the ten; and this for each [kind](QuestionKind) of
//! question, since people's questions are of one kind mostly, and a mean hides the others.
//!
//! Two sorts of questions are asked. The first are items moved by as much as their nearest
//! neighbour is away (items themselves would be too easy, since the walk leads straight to them):
//! every other one along the difference of two of its neighbours, which keeps it among the items,
//! the rest towards a distant item, which takes it between them. The second, in collections with
//! texts, are words and phrases of the items' own texts, which lie where no item does.
//!
//! Each question is searched for with growing slacks, and the results are compared with the exact
//! neighbours. Questions are divided into classes by the distance of the tenth item at which a
//! search with the smallest slack comes to rest: it is small for queries among the items and large
//! for queries far from them. [`plan`](crate::index::plan) then chooses a slack for each class.

use crate::index::calibrations::{Curve, FIRST_SLACK, SLACKS, Schedule};
use crate::index::plan::{Outcome, Question, plan};
use crate::index::quantizer::are_codes_walked;
use crate::index::query::RewrittenQuery;
use crate::index::search::{
    Found, Neighbour, Searcher, SnapshotBiases, evaluations_of_scan, nearest_exactly, width_of,
};
use crate::index::shared::{Shared, lock, request};
use crate::index::snapshot::Snapshot;
use crate::index::versioned::Versioned;
use crate::model::{DEFAULT_RECALL, Sampled};
use crate::slot::Slot;

/// Neighbours by which recall is measured.
const K: usize = 10;
/// A walk on vectors takes about this many times as long as one of the same width on codes.
const VECTORS_COST: f64 = 3.0;
/// If searches on codes compute at least this many distances in the mean, or half as many as a scan,
/// searches on vectors are measured too.
const COARSE_CODES_FROM: f64 = 5_000.0;
/// Slack of searches under an uncalibrated metric up to the default recall, if the graph's order is
/// right, and the number of distances that they are expected to compute.
const UNCALIBRATED: (f32, usize) = (0.3, 2_000);
/// An uncalibrated search beyond the default recall takes so many times the slack.
const HIGH_RECALL_FACTOR: f32 = 2.0;

/// A safe schedule until the metric is calibrated. The slack grows with the metric's distortion,
/// which bounds how far the order of the graph can be wrong under the metric.
pub(crate) fn uncalibrated(snapshot: &Snapshot, metric: &Versioned, recall: f64) -> Schedule {
    let (mut slack, mut evaluations) = UNCALIBRATED;
    if recall > DEFAULT_RECALL {
        slack *= HIGH_RECALL_FACTOR;
        evaluations *= 2;
    }
    // The graphs of growing segments are built under version 0, whatever metric is active.
    let is_native = metric.is_base()
        || snapshot
            .sealed
            .iter()
            .all(|view| view.segment.built_under == metric.version);
    let factor = match metric.metric.distortion() {
        _ if is_native => 1.0,
        c if c <= 1.5 => 1.0,
        c if c <= 4.0 => 1.5,
        _ => 2.0,
    };
    Schedule::guessed(factor * slack, evaluations)
}

/// The searches of one calibration, or of one check.
struct Calibration<'a> {
    snapshot: &'a Snapshot,
    biases: &'a SnapshotBiases,
    metric: &'a Versioned,
    cancel: &'a (dyn Fn() -> bool + Sync),
}

impl Calibration<'_> {
    /// What a search with one slack for all queries finds.
    fn find(&self, query: &RewrittenQuery<'_>, slack: f32, coded: bool) -> Found {
        self.follow(query, &Schedule::guessed(slack, 0), coded)
    }

    /// What a search by a schedule finds.
    fn follow(&self, query: &RewrittenQuery<'_>, schedule: &Schedule, coded: bool) -> Found {
        let searcher = Searcher {
            snapshot: self.snapshot,
            query,
            biases: self.biases,
            k: K,
            listed: K,
            ef: width_of(schedule.evaluations).max(K),
            schedule: Some(schedule),
            coded,
            allowed: None,
            cancel: Some(self.cancel),
        };
        searcher.run()
    }

    /// The curve of walks on codes, or on vectors if codes lead walks astray or vectors are
    /// cheaper. `None` if it was cancelled.
    fn measure(&self, sample: &[Sampled], coded: bool) -> Option<Curve> {
        let queries: Vec<RewrittenQuery<'_>> = sample
            .iter()
            .map(|sampled| RewrittenQuery::new(self.metric, &sampled.vector))
            .collect();
        let exact = nearest_exactly(self.snapshot, self.biases, &queries, K, self.cancel)?;
        let curve = |coded: bool| {
            let questions = self.questions(&queries, sample, &exact, coded)?;
            Some(plan(&questions, self.snapshot.held()))
        };
        if !coded {
            // Where codes are never walked, curves need not say so.
            return curve(false);
        }
        let by_codes = curve(true)?;
        let cost = |curve: &Curve| curve.evaluations(DEFAULT_RECALL).unwrap_or(f64::MAX);
        let scan = evaluations_of_scan(self.snapshot.held()) as f64;
        if cost(&by_codes) < COARSE_CODES_FROM.min(scan / 2.0) {
            return Some(by_codes);
        }
        let by_vectors = curve(false)?;
        Some(if VECTORS_COST * cost(&by_vectors) <= cost(&by_codes) {
            Curve {
                on_vectors: true,
                ..by_vectors
            }
        } else {
            by_codes
        })
    }

    /// What searches with each of [`SLACKS`] find of each query; `None` if it was cancelled.
    fn questions(
        &self,
        queries: &[RewrittenQuery<'_>],
        sample: &[Sampled],
        exact: &[Vec<Neighbour>],
        coded: bool,
    ) -> Option<Vec<Question>> {
        let scan = evaluations_of_scan(self.snapshot.held());
        let mut questions = Vec::with_capacity(queries.len());
        for ((query, sampled), exact) in queries.iter().zip(sample).zip(exact) {
            let mut rest = 0.0;
            let mut dearest: Option<Outcome> = None;
            let outcomes = SLACKS.map(|slack| {
                if let Some(outcome) = dearest {
                    return outcome;
                }
                let found = self.find(query, slack, coded);
                if slack == FIRST_SLACK {
                    rest = found.rest.unwrap_or_default();
                }
                let outcome = outcome(&found, exact);
                // Farther walks would be chosen no more: a scan is cheaper.
                dearest = (found.evaluations >= scan).then_some(outcome);
                outcome
            });
            if (self.cancel)() {
                return None;
            }
            questions.push(Question {
                kind: sampled.kind,
                form: sampled.form,
                rest,
                outcomes,
            });
        }
        Some(questions)
    }
}

/// Compares what was found with the exact neighbours. Items as near as the last of these count as
/// much as it does.
fn outcome(found: &Found, exact: &[Neighbour]) -> Outcome {
    let wanted = exact.len().min(K);
    let last = exact.get(wanted.saturating_sub(1));
    let right = found.hits.iter().take(wanted);
    let right = right
        .filter(|hit| last.is_some_and(|last| hit.distance <= last.distance))
        .count();
    let first = found.hits.first().zip(exact.first());
    Outcome {
        recall: if wanted == 0 {
            1.0
        } else {
            right as f32 / wanted as f32
        },
        has_nearest: first.is_none_or(|(hit, nearest)| hit.distance <= nearest.distance),
        evaluations: found.evaluations as u32,
    }
}

impl Shared {
    /// Calibrates a metric. Does nothing while there is no sealed segment.
    pub(crate) fn calibrate(&self, metric: &Versioned, cancel: &(dyn Fn() -> bool + Sync)) {
        // The segments must not change until the measurement is recorded.
        let _building = lock(&self.building);
        let snapshot = self.snapshot.load_full();
        if self.check_metric(metric).is_err() || snapshot.sealed.is_empty() {
            return;
        }
        let calibration = Calibration {
            snapshot: &snapshot,
            biases: &SnapshotBiases::of(&snapshot, &self.biases, metric.version),
            metric,
            cancel,
        };
        let coded = are_codes_walked(self.dim);
        let mut sample = self.questions_near_items(&snapshot, |vector| {
            let found = calibration.find(&RewrittenQuery::new(metric, vector), FIRST_SLACK, coded);
            found.hits.iter().map(|hit| Slot(hit.slot)).collect()
        });
        sample.extend(self.questions_to_measure(&snapshot));
        sample.extend(self.asked.recent(metric.version));
        if let Some(curve) = calibration.measure(&sample, coded) {
            self.calibrations.set(metric.version, curve);
        }
    }

    /// Checks the answers to queries that were asked lately against exact ones, and requests a
    /// calibration if the promise is broken, in which they then have a part. False if there is
    /// nothing to check.
    pub(crate) fn check_promise(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        let Some(asked) = self.asked.take_due() else {
            return false;
        };
        let metric = self.active();
        let snapshot = self.snapshot.load_full();
        if snapshot.sealed.is_empty() || !self.calibrations.contains(metric.version) {
            return true;
        }
        let asked: Vec<&Sampled> = asked
            .iter()
            .filter(|(version, _)| *version == metric.version)
            .map(|(_, sampled)| sampled)
            .collect();
        let queries: Vec<RewrittenQuery<'_>> = asked
            .iter()
            .map(|sampled| RewrittenQuery::new(&metric, &sampled.vector))
            .collect();
        let searches = Calibration {
            snapshot: &snapshot,
            biases: &SnapshotBiases::of(&snapshot, &self.biases, metric.version),
            metric: &metric,
            cancel,
        };
        let Some(exact) = nearest_exactly(&snapshot, searches.biases, &queries, K, cancel) else {
            return true;
        };
        let outcomes = asked.iter().zip(&queries).zip(&exact);
        let outcomes = outcomes.filter_map(|((sampled, query), exact)| {
            let version = metric.version;
            let schedule = self
                .calibrations
                .schedule(version, sampled.form, DEFAULT_RECALL)?;
            let coded = are_codes_walked(self.dim) && !schedule.on_vectors;
            Some(outcome(&searches.follow(query, &schedule, coded), exact))
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        if is_broken(&outcomes) && !cancel() {
            tracing::info!(
                metric = metric.version,
                "searches found less than was promised of what was asked lately; recall is measured again"
            );
            request(&mut lock(&self.requested).calibrate, metric);
        }
        true
    }
}

/// Whether outcomes are worse than the promise for the default recall leaves to chance.
fn is_broken(outcomes: &[Outcome]) -> bool {
    const STANDARD_ERRORS: f64 = 2.0;
    const MAX_MISSED_SHARE: usize = 20;
    let n = outcomes.len().max(1) as f64;
    let recalls = || outcomes.iter().map(|outcome| f64::from(outcome.recall));
    let mean = recalls().sum::<f64>() / n;
    let variance = recalls().map(|recall| (recall - mean).powi(2)).sum::<f64>() / n;
    let missed = outcomes
        .iter()
        .filter(|outcome| !outcome.has_nearest)
        .count();
    mean + STANDARD_ERRORS * (variance / n).sqrt() < DEFAULT_RECALL
        || missed * MAX_MISSED_SHARE > outcomes.len().max(MAX_MISSED_SHARE)
}
