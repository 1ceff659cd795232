//! The verdict on a candidate from its comparisons with Euclid and with the incumbent, in figures
//! and in a sentence.

use affinis::plugin::Gate;

use super::baselines::Baselines;
use super::comparison::{CANDIDATE, Comparison, Kind, Level, MIN_PAIRS, SHRUNKEN};
use super::held_out::{Scores, Tested};
use crate::judgements::Judgements;

/// The comparisons of a candidate with all baselines by one kind of judgements.
pub(super) struct Verdict {
    kind: Kind,
    euclid: Comparison,
    incumbent: Option<Comparison>,
    over: Over,
    /// Evidence that the judgements agree with similarity.
    evidence: f64,
}

/// The judgements that the comparison with the incumbent rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Over {
    /// Judgements that are new to the incumbent.
    New,
    /// Judgements that the incumbent was fitted to.
    Seen,
    /// The same, under what the incumbent's learner makes without each fold.
    Refitted,
    /// Judgements that are new to an incumbent that is a shrunken metric: over it no gain has to be
    /// shown, but the candidate may be no clear loss.
    NewToShrunken,
}

impl Verdict {
    /// The verdict by one kind of judgements; `None` when they are too few.
    pub(super) fn new(
        level: Level,
        kind: Kind,
        judgements: &Judgements<'_>,
        tested: Tested<'_>,
        baselines: &Baselines<'_>,
    ) -> Option<Self> {
        let candidate = tested.scores;
        let euclid = baselines.over_euclid(judgements, candidate);
        let euclid = euclid.compare(level, kind)?;
        let evidence = baselines.euclid_evidence.mean(tested.evidence).of(kind);
        let Some(incumbent) = &baselines.incumbent else {
            return Some(Self {
                kind,
                euclid,
                incumbent: None,
                over: Over::New,
                evidence,
            });
        };
        let level = if incumbent.shrunken { SHRUNKEN } else { level };
        let on_new = incumbent.on_new(level, kind, judgements, candidate);
        let (incumbent, over) = match on_new {
            _ if incumbent.shrunken => (on_new, Over::NewToShrunken),
            Some(_) => (on_new, Over::New),
            None => {
                let on_all = incumbent.on_all(level, kind, judgements, candidate);
                let refitted = incumbent.is_refitted();
                (on_all, if refitted { Over::Refitted } else { Over::Seen })
            }
        };
        Some(Self {
            kind,
            euclid,
            incumbent,
            over,
            evidence,
        })
    }

    /// Whether even the upper bound of the gain over one of the baselines is below 0.
    pub(super) fn is_a_loss(&self) -> bool {
        self.euclid.upper() < 0.0 || self.incumbent.is_some_and(|over| over.upper() < 0.0)
    }

    /// The comparison with the lower bound, of those in which a gain has to be shown.
    fn worst(&self) -> Comparison {
        let incumbent = self.incumbent.filter(|_| self.over != Over::NewToShrunken);
        incumbent
            .filter(|i| i.lower() < self.euclid.lower())
            .unwrap_or(self.euclid)
    }

    fn passes(&self) -> bool {
        self.gains() && self.agrees()
    }

    fn gains(&self) -> bool {
        self.worst().lower() > 0.0 && !self.is_a_loss()
    }

    /// Whether the judgements agree with similarity, by the evidence that is asked for.
    fn agrees(&self) -> bool {
        self.evidence >= self.euclid.level.evidence
    }

    pub(super) fn gate(&self) -> Gate {
        let worst = self.worst();
        let mut gate = Gate::refused(self.kind.measure(), self.sentence());
        gate.accepted = self.passes();
        (gate.before, gate.after) = (Some(worst.before), Some(worst.after));
        gate.lower_bound = Some(worst.lower());
        gate.held_out = worst.count;
        gate
    }

    /// The decision with the figures of all comparisons.
    pub(super) fn sentence(&self) -> String {
        let (measure, unit, judged) = match self.kind {
            Kind::Queries => (
                "the separation of irrelevant from relevant results",
                ", in standard deviations",
                "queries",
            ),
            Kind::Pairs => (
                "the chance that a dissimilar pair is farther apart than a similar one",
                "",
                "pairs",
            ),
        };
        let mut figures = figures(&self.euclid, "Euclid", judged);
        if let Some(comparison) = &self.incumbent {
            let (whom, over) = match self.over {
                Over::New => ("the active metric", format!("{judged} new to it")),
                Over::Seen => ("the active metric", format!("{judged}, seen by it")),
                Over::Refitted => (
                    "what the active metric's learner makes without them",
                    judged.to_owned(),
                ),
                Over::NewToShrunken => {
                    ("the active shrunken metric", format!("{judged} new to it"))
                }
            };
            figures = format!("{figures} and {}", self::figures(comparison, whom, &over));
        }
        let agreement = if self.gains() {
            format!(
                "; the evidence that the judgements agree with similarity is {} ({} is asked for)",
                told(self.evidence),
                self.euclid.level.evidence
            )
        } else {
            String::new()
        };
        format!(
            "{}: {measure} is {figures}{unit}{agreement}",
            self.decision()
        )
    }

    fn decision(&self) -> &'static str {
        if self.passes() {
            "passed"
        } else if self.gains() {
            "not promoted, the judgements may have been made at random"
        } else if self.worst().lower() > 0.0 {
            "not promoted, worse than the active shrunken metric"
        } else {
            "not promoted, no certain gain"
        }
    }
}

/// An e-value as it is told: beyond a thousand only that it is.
fn told(evidence: f64) -> String {
    if evidence > 1e3 {
        "above 1000".into()
    } else {
        format!("{evidence:.2}")
    }
}

/// The figures of one comparison: with what, and over which held-out judgements.
fn figures(comparison: &Comparison, whom: &str, over: &str) -> String {
    format!(
        "{:.3} against {:.3} under {whom} (gain at least {:+.3} with {} % confidence, over {} held-out {over})",
        comparison.after,
        comparison.before,
        comparison.lower(),
        comparison.level.confidence,
        comparison.count
    )
}

/// Numbers of judgements that a gain can be measured on.
pub(super) struct Measurable {
    pub(super) queries: usize,
    pub(super) similar: usize,
    pub(super) dissimilar: usize,
}

impl Measurable {
    /// The numbers of all judgements.
    pub(super) fn of(judgements: &Judgements<'_>) -> Self {
        let queries = judgements.queries.iter();
        let similar = judgements.pairs.iter().filter(|pair| pair.similar).count();
        Self {
            queries: queries.filter(|query| query.has_both_kinds()).count(),
            similar,
            dissimilar: judgements.pairs.len() - similar,
        }
    }

    /// The numbers of those that were scored.
    pub(super) fn scored(judgements: &Judgements<'_>, scores: &Scores) -> Self {
        let pairs = |similar: bool| {
            let scored = judgements.pairs.iter().zip(&scores.placements);
            scored
                .filter(|(pair, placement)| pair.similar == similar && placement.is_some())
                .count()
        };
        Self {
            queries: scores.separations.iter().flatten().count(),
            similar: pairs(true),
            dissimilar: pairs(false),
        }
    }

    /// Whether they suffice for a shrunken metric, which needs the fewest.
    pub(super) fn suffices(&self) -> bool {
        self.queries >= SHRUNKEN.min_queries
            || (self.similar >= MIN_PAIRS && self.dissimilar >= MIN_PAIRS)
    }

    /// The refusal where they do not suffice.
    pub(super) fn too_few(&self) -> Gate {
        let reason = format!(
            "not promoted: too few judgements to test it on; the gate needs {} queries judged with both relevant and \
             irrelevant results ({} for a metric shrunken towards Euclid; there are {}), or items judged as pairs, \
             {MIN_PAIRS} similar and {MIN_PAIRS} dissimilar (there are {} and {})",
            CANDIDATE.min_queries,
            SHRUNKEN.min_queries,
            self.queries,
            self.similar,
            self.dissimilar
        );
        let mut gate = Gate::refused(Kind::Queries.measure(), reason);
        gate.held_out = self.queries;
        gate
    }
}
