//! The gate: a held-out test that a candidate must pass before it may be promoted.
//!
//! **Cross-fitted.** Each fold of queries is scored under a metric fitted, in the same way, on the
//! other folds; the candidate itself is fitted on everything. So the test speaks of the procedure,
//! spends no judgement, and never scores a query under a metric that has seen it.
//!
//! The test is of the learner's default variant. Another one is chosen only where the same scores
//! put it above the default by more than a standard error, so the candidate is at least as good as
//! what was tested, and the choice, which has seen those scores, does not flatter the test.
//!
//! **Measured** by separation (see `score`), on what is held out (see `folds`). Queries weigh
//! `sqrt(r i / (r + i))` by their numbers of relevant and irrelevant results: the inverse standard
//! error of a difference of two means.
//!
//! **Against both.** The mean gain, less 1.64 standard errors, must be above 0 over Euclid and over
//! the incumbent, on at least 8 queries that have both kinds of results. Where there are fewer,
//! pairs decide by the area under the ROC curve, with at least 10 of each kind. Where both can be
//! measured, queries decide and pairs may veto: when they lose by more than 1.64 standard errors.
//! One standard error and 5 queries take their place where a step is judged (module `step`). Over
//! an incumbent that is a step no gain has to be shown, for it was no more than likely itself: the
//! candidate must be no clear loss, by one standard error, on 5 queries that are new to it where
//! there are so many.
//!
//! **Fair to both.** An incumbent that was fitted to the same judgements has seen the held-out
//! ones. Metrics of this plugin say what they have seen (module `seen`); when enough queries (or
//! pairs of each kind) are new to the incumbent, it is compared on those, where neither side has an
//! advantage. Otherwise all are used, which errs on the incumbent's side: a refit on next to no new
//! judgements has to be clearly better to be promoted, and can do no harm.

use affinis::{Gate, HeldOut};

use crate::evidence::Evidence;
use crate::score::Scores;
use crate::seen::Seen;

/// How sure the gate must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Queries with both kinds of results that it needs.
    queries: usize,
    /// Standard errors below the mean gain.
    errors: f64,
    /// The confidence that this gives, in per cent.
    confidence: u32,
}

/// What the candidate must pass: one-sided 95 %.
pub(crate) const WHOLE: Level = Level {
    queries: 8,
    errors: 1.64,
    confidence: 95,
};
/// What a step towards it must pass: one standard error, which is 81 % by Student's distribution
/// for five queries and 84 % for many.
pub(crate) const STEP: Level = Level {
    queries: 5,
    errors: 1.0,
    confidence: 80,
};
/// Pairs of each kind that the gate needs when queries do not suffice.
const MIN_PAIRS: usize = 10;

/// What a candidate is compared with, on all evidence.
pub(crate) struct Baselines {
    pub(crate) euclid: Scores,
    /// `None` when Euclid is active.
    pub(crate) incumbent: Option<Baseline>,
}

/// The active metric's scores, with what it has seen.
pub(crate) struct Baseline {
    pub(crate) scores: Scores,
    pub(crate) seen: Seen,
    /// It is a step, which itself was only likely to be better.
    pub(crate) step: bool,
}

impl Baseline {
    /// The comparison on what it has not seen; `None` when that is too little.
    fn on_new(
        &self,
        level: Level,
        kind: Kind,
        evidence: &Evidence<'_>,
        candidate: &Scores,
    ) -> Option<Test> {
        let is_new = |i: usize| {
            !self.seen.contains(match kind {
                Kind::Queries => evidence.queries[i].fingerprint,
                Kind::Pairs => evidence.links[i].fingerprint,
            })
        };
        compare(level, kind, evidence, (&self.scores, candidate), &is_new)
    }

    /// The comparison on everything.
    fn on_all(
        &self,
        level: Level,
        kind: Kind,
        evidence: &Evidence<'_>,
        candidate: &Scores,
    ) -> Option<Test> {
        compare(level, kind, evidence, (&self.scores, candidate), &|_| true)
    }
}

/// Findings of the test beside the verdict.
pub(crate) struct Findings {
    /// What the active metric measures, on judgements that are new to it where they are enough.
    pub(crate) incumbent: Option<HeldOut>,
    /// Whether queries or pairs find the candidate clearly worse; either may refuse it.
    pub(crate) clearly_worse: bool,
}

/// What the test finds beside its verdict.
pub(crate) fn findings(
    evidence: &Evidence<'_>,
    candidate: &Scores,
    baselines: &Baselines,
) -> Findings {
    let kind = if Available::scored(evidence, candidate).queries >= STEP.queries {
        Kind::Queries
    } else {
        Kind::Pairs
    };
    let active = match &baselines.incumbent {
        None => compare(
            STEP,
            kind,
            evidence,
            (&baselines.euclid, candidate),
            &|_| true,
        ),
        Some(active) => active
            .on_new(STEP, kind, evidence, candidate)
            .or_else(|| active.on_all(STEP, kind, evidence, candidate)),
    };
    let incumbent = active.map(|test| HeldOut {
        measure: test.before,
        count: test.count,
    });
    let verdict = |kind| Verdict::new(WHOLE, kind, evidence, candidate, baselines);
    let clearly_worse = [Kind::Queries, Kind::Pairs]
        .into_iter()
        .filter_map(verdict)
        .any(|verdict| verdict.is_a_loss());
    Findings {
        incumbent,
        clearly_worse,
    }
}

/// Whether there is enough evidence to measure a gain at all.
pub(crate) fn can_measure(evidence: &Evidence<'_>) -> bool {
    let Available {
        queries,
        similar,
        dissimilar,
    } = Available::of(evidence);
    queries >= STEP.queries || (similar >= MIN_PAIRS && dissimilar >= MIN_PAIRS)
}

/// What a gain can be measured on.
struct Available {
    queries: usize,
    similar: usize,
    dissimilar: usize,
}

impl Available {
    /// All there is.
    fn of(evidence: &Evidence<'_>) -> Self {
        let queries = evidence
            .queries
            .iter()
            .filter(|q| q.has_both_kinds())
            .count();
        let similar = evidence.links.iter().filter(|l| l.similar).count();
        Self {
            queries,
            similar,
            dissimilar: evidence.links.len() - similar,
        }
    }

    /// What could be held out.
    fn scored(evidence: &Evidence<'_>, scores: &Scores) -> Self {
        let links = |similar: bool| {
            let scored = evidence.links.iter().zip(&scores.placements);
            scored
                .filter(|(link, placement)| link.similar == similar && placement.is_some())
                .count()
        };
        let queries = scores.separations.iter().flatten().count();
        Self {
            queries,
            similar: links(true),
            dissimilar: links(false),
        }
    }
}

/// The verdict on cross-fitted scores.
pub(crate) fn judge(
    level: Level,
    evidence: &Evidence<'_>,
    candidate: &Scores,
    baselines: &Baselines,
) -> Gate {
    let by_queries = Verdict::new(level, Kind::Queries, evidence, candidate, baselines);
    let by_pairs = Verdict::new(level, Kind::Pairs, evidence, candidate, baselines);
    match (by_queries, by_pairs) {
        (Some(queries), Some(pairs)) => {
            let mut gate = queries.gate();
            if gate.accepted && pairs.is_a_loss() {
                gate.accepted = false;
                gate.reason = format!("{}; but {}", gate.reason, pairs.sentence());
            }
            gate
        }
        (Some(verdict), None) | (None, Some(verdict)) => verdict.gate(),
        (None, None) => too_few(&Available::scored(evidence, candidate)),
    }
}

/// The verdicts on a candidate that did not pass and on a step towards it, each told with the
/// other; that on the step only where it passed.
pub(crate) fn together(mut candidate: Gate, mut step: Gate) -> (Gate, Option<Gate>) {
    if step.accepted {
        step.reason = format!(
            "a step towards the candidate {}; the candidate itself is {}",
            step.reason, candidate.reason
        );
        return (candidate, Some(step));
    }
    if step.lower_bound.is_some() {
        candidate.reason = format!(
            "{}; nor is a step towards it likely to help",
            candidate.reason
        );
    }
    (candidate, None)
}

/// The verdict where there is too little evidence to measure a gain.
pub(crate) fn not_measured(evidence: &Evidence<'_>) -> Gate {
    too_few(&Available::of(evidence))
}

fn too_few(
    Available {
        queries,
        similar,
        dissimilar,
    }: &Available,
) -> Gate {
    let reason = format!(
        "not promoted: too few judgements to test it on; the gate needs {} queries judged with both relevant and \
             irrelevant results ({} for a step from Euclid; there are {queries}), or items judged as pairs, {MIN_PAIRS} \
             similar and {MIN_PAIRS} dissimilar (there are {similar} and {dissimilar})",
        WHOLE.queries, STEP.queries,
    );
    let mut gate = Gate::refused(Kind::Queries.measure(), reason);
    gate.held_out = *queries;
    gate
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Queries,
    Pairs,
}

impl Kind {
    fn measure(self) -> &'static str {
        match self {
            Self::Queries => {
                "separation of irrelevant from relevant results of held-out queries, in standard deviations of distance"
            }
            Self::Pairs => "area under the ROC curve of held-out pairs",
        }
    }
}

/// A paired comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Test {
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) gain: f64,
    /// The gain's standard error.
    pub(crate) error: f64,
    level: Level,
    count: usize,
}

impl Test {
    fn lower(&self) -> f64 {
        self.gain - self.level.errors * self.error
    }

    fn upper(&self) -> f64 {
        self.gain + self.level.errors * self.error
    }
}

/// Compares on the queries or links that `include` admits (asked by their index); `None` when they
/// are too few.
pub(crate) fn compare(
    level: Level,
    kind: Kind,
    evidence: &Evidence<'_>,
    (before, after): (&Scores, &Scores),
    include: &dyn Fn(usize) -> bool,
) -> Option<Test> {
    let samples = match kind {
        Kind::Queries => vec![query_sample(evidence, before, after, include)],
        Kind::Pairs => [true, false]
            .map(|similar| pair_sample(evidence, before, after, similar, include))
            .into(),
    };
    let least = if kind == Kind::Queries {
        level.queries
    } else {
        MIN_PAIRS
    };
    if samples.iter().any(|s| s.len() < least) {
        return None;
    }
    // Both kinds of pairs have the same mean placement within a fold; their variances add (`DeLong`
    // et al., 1988).
    let parts = samples.len() as f64;
    let (mut mean_before, mut mean_after, mut square_error) = (0.0, 0.0, 0.0);
    for sample in &samples {
        let n = sample.len() as f64;
        let total: f64 = sample.iter().map(|s| s.weight).sum();
        let mean = |value: &dyn Fn(&Paired) -> f64| {
            sample.iter().map(|s| s.weight * value(s)).sum::<f64>() / total
        };
        let (b, a) = (mean(&|s| s.before), mean(&|s| s.after));
        let squares: f64 = sample
            .iter()
            .map(|s| (s.weight * (s.after - s.before - (a - b))).powi(2))
            .sum();
        mean_before += b / parts;
        mean_after += a / parts;
        square_error += squares / (total * total) * (n / (n - 1.0));
    }
    Some(Test {
        before: mean_before,
        after: mean_after,
        gain: mean_after - mean_before,
        error: square_error.sqrt(),
        level,
        count: samples.iter().map(Vec::len).sum(),
    })
}

/// One query's or link's scores under both metrics.
struct Paired {
    before: f64,
    after: f64,
    weight: f64,
}

impl Paired {
    /// Scores that differ by rounding only are equal.
    fn new(before: f64, after: f64, weight: f64) -> Self {
        Self {
            before,
            after: if (after - before).abs() <= 1e-9 {
                before
            } else {
                after
            },
            weight,
        }
    }
}

fn query_sample(
    evidence: &Evidence<'_>,
    before: &Scores,
    after: &Scores,
    include: &dyn Fn(usize) -> bool,
) -> Vec<Paired> {
    let included = (0..evidence.queries.len()).filter(|i| include(*i));
    let scored = included.filter_map(|i| {
        Some(Paired::new(
            before.separations[i]?,
            after.separations[i]?,
            before.weights[i],
        ))
    });
    scored.collect()
}

fn pair_sample(
    evidence: &Evidence<'_>,
    before: &Scores,
    after: &Scores,
    similar: bool,
    include: &dyn Fn(usize) -> bool,
) -> Vec<Paired> {
    let of_kind = evidence
        .links
        .iter()
        .enumerate()
        .filter(|(i, l)| l.similar == similar && include(*i));
    of_kind
        .filter_map(|(i, _)| {
            Some(Paired::new(
                before.placements[i]?,
                after.placements[i]?,
                1.0,
            ))
        })
        .collect()
}

/// One kind's comparisons with all baselines.
struct Verdict {
    kind: Kind,
    euclid: Test,
    incumbent: Option<Test>,
    /// What the comparison with the incumbent rests on.
    over: Over,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Over {
    /// What the incumbent has not seen.
    New,
    /// What it has seen.
    Seen,
    /// What it has not seen, where the incumbent is a step: that may be no clear loss.
    NewToStep,
}

impl Verdict {
    fn new(
        level: Level,
        kind: Kind,
        evidence: &Evidence<'_>,
        candidate: &Scores,
        baselines: &Baselines,
    ) -> Option<Self> {
        let euclid = compare(
            level,
            kind,
            evidence,
            (&baselines.euclid, candidate),
            &|_| true,
        )?;
        let Some(incumbent) = &baselines.incumbent else {
            return Some(Self {
                kind,
                euclid,
                incumbent: None,
                over: Over::New,
            });
        };
        let level = if incumbent.step { STEP } else { level };
        let on_new = incumbent.on_new(level, kind, evidence, candidate);
        Some(match on_new {
            _ if incumbent.step => Self {
                kind,
                euclid,
                incumbent: on_new,
                over: Over::NewToStep,
            },
            Some(_) => Self {
                kind,
                euclid,
                incumbent: on_new,
                over: Over::New,
            },
            None => {
                let on_all = incumbent.on_all(level, kind, evidence, candidate);
                Self {
                    kind,
                    euclid,
                    incumbent: on_all,
                    over: Over::Seen,
                }
            }
        })
    }

    /// Whether even the upper bound over one of both is below 0.
    fn is_a_loss(&self) -> bool {
        self.euclid.upper() < 0.0 || self.incumbent.is_some_and(|test| test.upper() < 0.0)
    }

    /// The comparison with the lower bound, of those in which a gain has to be shown.
    fn worst(&self) -> Test {
        let incumbent = self.incumbent.filter(|_| self.over != Over::NewToStep);
        incumbent
            .filter(|i| i.lower() < self.euclid.lower())
            .unwrap_or(self.euclid)
    }

    fn passes(&self) -> bool {
        self.worst().lower() > 0.0 && !self.is_a_loss()
    }

    fn gate(&self) -> Gate {
        let worst = self.worst();
        let mut gate = Gate::refused(self.kind.measure(), self.sentence());
        gate.accepted = self.passes();
        (gate.before, gate.after) = (Some(worst.before), Some(worst.after));
        gate.lower_bound = Some(worst.lower());
        gate.held_out = worst.count;
        gate
    }

    fn sentence(&self) -> String {
        let (what, unit) = match self.kind {
            Kind::Queries => (
                "the separation of irrelevant from relevant results",
                " standard deviations",
            ),
            Kind::Pairs => (
                "the chance that a dissimilar pair is farther apart than a similar one",
                "",
            ),
        };
        let against = |test: &Test, whom: &str, over: &str| {
            format!(
                "{:.3} against {:.3} under {whom} (gain at least {:+.3} with {} % confidence, over {} held-out {over})",
                test.after,
                test.before,
                test.lower(),
                test.level.confidence,
                test.count
            )
        };
        let over = if self.kind == Kind::Queries {
            "queries"
        } else {
            "pairs"
        };
        let mut figures = against(&self.euclid, "Euclid", over);
        if let Some(test) = &self.incumbent {
            let (whom, over) = match self.over {
                Over::New => ("the active metric", format!("{over} new to it")),
                Over::Seen => ("the active metric", format!("{over}, seen by it")),
                Over::NewToStep => ("the step that is active", format!("{over} new to it")),
            };
            figures = format!("{figures} and {}", against(test, whom, &over));
        }
        let decision = match self.passes() {
            true => "passed",
            false if self.worst().lower() > 0.0 => {
                "not promoted, worse than the step that is active"
            }
            false => "not promoted, no certain gain",
        };
        format!(
            "{decision}: {what} is {figures}{}",
            if unit.is_empty() {
                String::new()
            } else {
                format!(", in{unit}")
            }
        )
    }
}
