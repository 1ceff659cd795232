//! Euclid and the incumbent, which a candidate is compared with.

use affinis::plugin::{HeldOut, Incumbent, LearnError, Task};

use super::Outcome;
use super::agreement::Evidence;
use super::comparison::{CANDIDATE, Comparison, Kind, Level, Paired, SHRUNKEN};
use super::folds::Folds;
use super::held_out::{Euclid, Function, HeldOutDistances, Scores, Tested};
use super::verdict::{Measurable, Verdict};
use crate::codec;
use crate::fingerprints::Fingerprints;
use crate::judgements::Judgements;

/// The baselines of a candidate, measured on all held-out judgements.
pub(crate) struct Baselines<'a> {
    pub(crate) euclid: HeldOutDistances<'a>,
    euclid_scores: Scores,
    /// How far the judgements agree with Euclid's distances.
    pub(super) euclid_evidence: Evidence,
    /// `None` when Euclid is active.
    pub(super) incumbent: Option<IncumbentScores>,
}

/// The active metric's scores, with the judgements that it was fitted to.
pub(super) struct IncumbentScores {
    scores: Scores,
    seen: Fingerprints,
    /// The scores of what its learner makes without each fold, where these are known.
    refitted: Option<Scores>,
    /// Whether it is a shrunken metric, which was no more than likely to be better than Euclid.
    pub(super) shrunken: bool,
}

impl<'a> Baselines<'a> {
    /// Measures Euclid and the task's incumbent.
    ///
    /// # Errors
    /// [`LearnError::Cancelled`] when the task is cancelled.
    pub(crate) fn measure(
        task: &Task<'_>,
        judgements: &'a Judgements<'a>,
        folds: &'a Folds,
    ) -> Result<Self, LearnError> {
        let poll = || super::poll(task);
        let euclid = HeldOutDistances::under(judgements, folds, &Euclid, poll)?;
        let incumbent = match task.incumbent {
            Some(Incumbent {
                metric, shrunken, ..
            }) => {
                let distance = Function(|x: &[f32], y: &[f32]| metric.distance(x, y));
                let distances = HeldOutDistances::under(judgements, folds, &distance, poll)?;
                Some(IncumbentScores {
                    scores: distances.scores(),
                    seen: seen(&metric.encode(), judgements),
                    refitted: None,
                    shrunken,
                })
            }
            None => None,
        };
        Ok(Self {
            euclid_scores: euclid.scores(),
            euclid_evidence: euclid.evidence(),
            euclid,
            incumbent,
        })
    }

    /// Whether the incumbent has seen so many of the judgements that the candidate has to be
    /// compared on those.
    pub(crate) fn have_been_seen(&self, judgements: &Judgements<'_>, candidate: &Scores) -> bool {
        let Some(incumbent) = self.incumbent.as_ref().filter(|i| !i.shrunken) else {
            return false;
        };
        [Kind::Queries, Kind::Pairs].into_iter().any(|kind| {
            let on_all = incumbent.on_all(CANDIDATE, kind, judgements, candidate);
            let on_new = incumbent.on_new(CANDIDATE, kind, judgements, candidate);
            on_all.is_some() && on_new.is_none()
        })
    }

    /// Sets the scores of what the incumbent's learner makes without each fold. Where the incumbent
    /// has seen the judgements, the candidate is compared with these.
    pub(crate) fn set_refitted(&mut self, scores: Scores) {
        if let Some(incumbent) = &mut self.incumbent {
            incumbent.refitted = Some(scores);
        }
    }

    /// A candidate beside Euclid.
    pub(super) fn over_euclid<'s>(
        &'s self,
        judgements: &'s Judgements<'s>,
        candidate: &'s Scores,
    ) -> Paired<'s> {
        Paired {
            judgements,
            before: &self.euclid_scores,
            after: candidate,
        }
    }

    /// The outcome of the test of a candidate.
    pub(crate) fn outcome(&self, judgements: &Judgements<'_>, candidate: Tested<'_>) -> Outcome {
        let verdict = |kind| Verdict::new(CANDIDATE, kind, judgements, candidate, self);
        let clearly_worse = [Kind::Queries, Kind::Pairs]
            .into_iter()
            .filter_map(verdict)
            .any(|verdict| verdict.is_a_loss());
        Outcome {
            gate: self.verdict(CANDIDATE, judgements, candidate),
            incumbent: self.held_out(judgements, candidate.scores),
            clearly_worse,
        }
    }

    /// The verdict on a candidate at some level. Queries decide where there are enough of them, and
    /// pairs may refuse; otherwise pairs decide.
    pub(crate) fn verdict(
        &self,
        level: Level,
        judgements: &Judgements<'_>,
        candidate: Tested<'_>,
    ) -> affinis::plugin::Gate {
        let verdict = |kind| Verdict::new(level, kind, judgements, candidate, self);
        match (verdict(Kind::Queries), verdict(Kind::Pairs)) {
            (Some(queries), Some(pairs)) => {
                let mut gate = queries.gate();
                if gate.accepted && pairs.is_a_loss() {
                    gate.accepted = false;
                    gate.reason = format!("{}; but {}", gate.reason, pairs.sentence());
                }
                gate
            }
            (Some(verdict), None) | (None, Some(verdict)) => verdict.gate(),
            (None, None) => Measurable::scored(judgements, candidate.scores).too_few(),
        }
    }

    /// What the active metric measures, on judgements that are new to it where they are enough.
    fn held_out(&self, judgements: &Judgements<'_>, candidate: &Scores) -> Option<HeldOut> {
        let queries = Measurable::scored(judgements, candidate).queries;
        let kind = if queries >= SHRUNKEN.min_queries {
            Kind::Queries
        } else {
            Kind::Pairs
        };
        let comparison = match &self.incumbent {
            None => self
                .over_euclid(judgements, candidate)
                .compare(SHRUNKEN, kind),
            Some(active) => active
                .on_new(SHRUNKEN, kind, judgements, candidate)
                .or_else(|| active.on_all(SHRUNKEN, kind, judgements, candidate)),
        };
        comparison.map(|comparison| HeldOut {
            measure: comparison.before,
            count: comparison.count,
        })
    }
}

impl IncumbentScores {
    /// The comparison on judgements that the incumbent was not fitted to; `None` when these are too
    /// few.
    pub(super) fn on_new(
        &self,
        level: Level,
        kind: Kind,
        judgements: &Judgements<'_>,
        candidate: &Scores,
    ) -> Option<Comparison> {
        let is_new = |fingerprint| !self.seen.contains(fingerprint);
        self.beside(judgements, candidate)
            .compare_on(level, kind, &is_new)
    }

    /// Whether the comparison on all judgements is with what its learner makes without each fold.
    pub(super) fn is_refitted(&self) -> bool {
        self.refitted.is_some()
    }

    /// The comparison on all judgements: with what its learner makes without each fold, where that
    /// is known.
    pub(super) fn on_all(
        &self,
        level: Level,
        kind: Kind,
        judgements: &Judgements<'_>,
        candidate: &Scores,
    ) -> Option<Comparison> {
        let paired = Paired {
            judgements,
            before: self.refitted.as_ref().unwrap_or(&self.scores),
            after: candidate,
        };
        paired.compare(level, kind)
    }

    fn beside<'s>(&'s self, judgements: &'s Judgements<'s>, candidate: &'s Scores) -> Paired<'s> {
        Paired {
            judgements,
            before: &self.scores,
            after: candidate,
        }
    }
}

/// The judgements that a metric of these bytes was fitted to. A built-in distance, which has no
/// bytes, was fitted to none; another plugin's metric counts as fitted to all.
fn seen(bytes: &[u8], judgements: &Judgements<'_>) -> Fingerprints {
    if bytes.is_empty() {
        return Fingerprints::default();
    }
    codec::peek_fingerprints(bytes).unwrap_or_else(|| Fingerprints::new(judgements.fingerprints()))
}
