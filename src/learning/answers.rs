//! Answers to the [questions](super::ask) on a candidate, and what they decide.
//!
//! A candidate wins a contest when its item is relevant and the other is not, and loses it the
//! other way round. Under the hypothesis that the candidate is no better, it wins at most half of
//! the contests that have a winner, so the sign test decides. The candidate has not seen the
//! answers, and questions are chosen without any label. The refit that is promoted learns from all
//! judgements, the answers among them: the contests test the procedure that made it, as the
//! cross-fitted gate does.
//!
//! Whoever judged also answers, so wrong judgements would be backed by wrong answers. Judgements
//! that say the *opposite* of the active metric, the near irrelevant and the far relevant, are
//! nobody's notion of similar: with them no answer is believed.

use std::collections::{BTreeMap, HashSet};

use super::ask::{Lists, Rivals};
use super::{Learning, StoredItem};
use crate::model::error::Result;
use crate::model::{
    JudgementId, LoggedJudgement, LoggedQuery, Source, VersionId, VersionRecord, Versioned,
};
use crate::plugin::{Gate, PairCounts};

/// Bound of the chance that a candidate passes that is no better.
const ALPHA: f64 = 0.05;
/// Standard errors of one-sided 95 % confidence.
pub(super) const ONE_SIDED_95: f64 = 1.64;

/// The state of the questions that were asked last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    /// Outcomes of the answered contests; `None` where none was answered.
    pub(super) outcomes: Option<Outcomes>,
    /// Questions that were not answered yet.
    pub(super) open: usize,
}

/// The verdict of answered questions on a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswersSay {
    For,
    Against,
    Nothing,
}

/// Outcomes of a candidate's contests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) wins: usize,
    pub(super) losses: usize,
    pub(super) ties: usize,
    /// Whether the judgements before the questions called the near irrelevant and the far relevant,
    /// beyond chance.
    pub(super) upside_down: bool,
}

/// The explicit answers to a query, in the order they were given.
type Graded = Vec<(String, f32)>;

impl Learning {
    /// What the answers to the last questions say; nothing where nothing was asked of a candidate
    /// to the incumbent. After more than twice the judgements that the candidate had, its answers
    /// say nothing of a refit any more.
    pub(super) fn answers(
        &self,
        incumbent: &Versioned,
        user: Option<&str>,
        pairs: PairCounts,
    ) -> Result<Answers> {
        let asked = |record: &VersionRecord| {
            record.asked.is_some() && !record.withdrawn && record.is_of(user)
        };
        let versions = self.ledger.versions()?;
        let last = versions.into_iter().rfind(|(_, record)| asked(record));
        let Some((version, record)) =
            last.filter(|(_, record)| record.lineage.parent == incumbent.version)
        else {
            return Ok(Answers::default());
        };
        let Some(seen) = record.fit.judgements.map(|range| range.last) else {
            return Ok(Answers::default());
        };
        let PairCounts {
            similar,
            dissimilar,
        } = record.fit.pairs;
        let had = similar.saturating_add(dissimilar).saturating_mul(2);
        if had < pairs.similar + pairs.dissimilar {
            return Ok(Answers::default());
        }
        let answered = self.answers_since(seen, user)?;
        let count: usize = answered.values().map(Vec::len).sum();
        let asked = record.asked.unwrap_or(0) as usize;
        let outcomes = self.outcomes(version, &record, incumbent, &answered)?;
        Ok(Answers {
            outcomes,
            open: asked.saturating_sub(count),
        })
    }

    /// Explicit answers since a judgement, of queries that were not judged before it, by query.
    fn answers_since(
        &self,
        seen: JudgementId,
        user: Option<&str>,
    ) -> Result<BTreeMap<String, Graded>> {
        let is_theirs =
            |judgement: &LoggedJudgement| user.is_none() || judgement.user.as_deref() == user;
        let mut before = HashSet::new();
        let mut after: BTreeMap<String, Graded> = BTreeMap::new();
        for (id, judgement) in self
            .teaching(|(_, judgement)| is_theirs(judgement))?
            .judgements
        {
            let LoggedJudgement {
                query: LoggedQuery::Item(query),
                item,
                grade,
                pair: false,
                source,
                ..
            } = judgement
            else {
                continue;
            };
            if id <= seen {
                before.insert(query.id);
            } else if source == Source::Explicit {
                after.entry(query.id).or_default().push((item.id, grade));
            }
        }
        after.retain(|query, _| !before.contains(query));
        Ok(after)
    }

    /// The outcomes of the contests that answers decide; `None` where they decide none.
    fn outcomes(
        &self,
        version: VersionId,
        record: &VersionRecord,
        incumbent: &Versioned,
        answered: &BTreeMap<String, Graded>,
    ) -> Result<Option<Outcomes>> {
        // The separation counts standard deviations a query, so its mean over n queries errs by
        // about 1 / sqrt(n).
        let upside_down = record.fit.incumbent.is_some_and(|held_out| {
            held_out.measure < -ONE_SIDED_95 / (held_out.count as f64).max(1.0).sqrt()
        });
        let mut outcomes = Outcomes {
            upside_down,
            ..Outcomes::default()
        };
        let candidate = self.load(version)?;
        let rivals = Rivals {
            candidate: &candidate,
            incumbent,
        };
        for gain in self.gains(answered, rivals)? {
            match gain {
                gain if gain > 0.0 => outcomes.wins += 1,
                gain if gain < 0.0 => outcomes.losses += 1,
                _ => outcomes.ties += 1,
            }
        }
        let contests = outcomes.wins + outcomes.losses + outcomes.ties;
        Ok((contests > 0).then_some(outcomes))
    }

    /// How much better the candidate's own items were judged than the incumbent's, query by query;
    /// queries of which those of one side were not judged are left out.
    fn gains(&self, answered: &BTreeMap<String, Graded>, rivals: Rivals<'_>) -> Result<Vec<f64>> {
        let answered: Vec<(&String, &Graded)> = answered
            .iter()
            .filter(|(_, answers)| answers.len() > 1)
            .collect();
        let ids: Vec<&str> = answered.iter().map(|(query, _)| query.as_str()).collect();
        let vectors = self.vectors.vectors(&ids)?;
        let mut queries = Vec::new();
        let mut grades = Vec::new();
        for ((query, answers), vector) in answered.into_iter().zip(vectors) {
            let Some(vector) = vector else { continue };
            let id = query.clone();
            queries.push(StoredItem { id, vector });
            grades.push(answers);
        }
        let lists = self.lists(rivals, &queries)?;
        let gain = |(graded, lists): (&Graded, Lists)| {
            let candidate = relevant_share(graded, &lists.candidate, &lists.incumbent)?;
            let incumbent = relevant_share(graded, &lists.incumbent, &lists.candidate)?;
            Some(candidate - incumbent)
        };
        Ok(grades.into_iter().zip(lists).filter_map(gain).collect())
    }
}

/// The share of relevant answers among those that only one list has; `None` where none of these was
/// judged.
fn relevant_share(graded: &Graded, list: &[String], other: &[String]) -> Option<f64> {
    let own = graded
        .iter()
        .filter(|(item, _)| list.contains(item) && !other.contains(item));
    let relevant: Vec<f64> = own
        .map(|(_, grade)| f64::from(u8::from(*grade > 0.0)))
        .collect();
    (!relevant.is_empty()).then(|| relevant.iter().sum::<f64>() / relevant.len() as f64)
}

impl Outcomes {
    /// The outcomes in words.
    pub(super) fn summary(self) -> String {
        let Self {
            wins, losses, ties, ..
        } = self;
        format!(
            "of the pairs of judgements asked for, {wins} for the candidate, {losses} for the \
             active metric, {ties} for neither"
        )
    }

    /// Lets the outcomes change a verdict of the held-out test, and returns which side they take.
    ///
    /// `refuted` is whether the held-out test finds the candidate clearly worse: answers do not let
    /// such a candidate pass.
    pub(super) fn decide(self, gate: &mut Gate, refuted: bool) -> AnswersSay {
        let Self {
            wins,
            losses,
            upside_down,
            ..
        } = self;
        let summary = self.summary();
        let better = win_probability(wins, losses, 0.5);
        let worse = win_probability(losses, wins, 0.5);
        if upside_down {
            gate.accepted = false;
            gate.reason = format!(
                "not promoted: before anything was asked, irrelevant results were nearer than \
                 relevant ones, beyond chance, so answers are not believed; {summary}; {}",
                gate.reason
            );
            AnswersSay::Against
        } else if worse <= ALPHA {
            gate.accepted = false;
            gate.reason = format!("not promoted: {summary} (p {worse:.3}); {}", gate.reason);
            AnswersSay::Against
        } else if better <= ALPHA && !refuted && !gate.accepted {
            *gate = self.passed(better, &gate.reason);
            AnswersSay::For
        } else {
            gate.reason = format!("{}; {summary} (p {better:.3})", gate.reason);
            AnswersSay::Nothing
        }
    }

    /// The verdict of outcomes that let a candidate pass, of the significance `p`.
    fn passed(self, p: f64, held_out_reason: &str) -> Gate {
        let Self {
            wins, losses, ties, ..
        } = self;
        let share = wins as f64 / (wins + losses) as f64;
        let measure = "share of the decided pairs asked for in which the metric's own item is the \
                       relevant one";
        let reason = format!(
            "passed: {} (p {p:.3}); the held-out test alone says {held_out_reason}",
            self.summary()
        );
        let mut gate = Gate::refused(measure, reason);
        gate.accepted = true;
        (gate.before, gate.after) = (Some(1.0 - share), Some(share));
        // The share of wins that is just not refuted, as a gain over a half on either side.
        gate.lower_bound = Some(2.0 * lower_share(wins, losses) - 1.0);
        gate.held_out = wins + losses + ties;
        gate
    }
}

/// The probability of at least so many wins when each contest is won with probability `p`; at a
/// half, the sign test. The outcome itself counts half (Lancaster 1961), since with so few contests
/// the exact test errs far on the safe side.
fn win_probability(wins: usize, losses: usize, p: f64) -> f64 {
    let n = wins + losses;
    // In logarithms, for binomial coefficients leave the range of f64 from a thousand on.
    let (mut sum, mut choose) = (0.0, 0.0_f64);
    for k in (wins..=n).rev() {
        let term = (choose + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln()).exp();
        sum += if k == wins { 0.5 * term } else { term };
        choose += (k as f64 / (n - k + 1) as f64).ln();
    }
    sum
}

/// The least share of wins that the outcome does not refute at [`ALPHA`].
fn lower_share(wins: usize, losses: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if win_probability(wins, losses, middle) < ALPHA {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_counts_the_outcome_half() {
        let is = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        };
        is(win_probability(0, 0, 0.5), 0.5);
        is(win_probability(4, 0, 0.5), 0.5 / 16.0);
        is(win_probability(5, 1, 0.5), (1.0 + 0.5 * 6.0) / 64.0);
        is(win_probability(1, 5, 0.5), 1.0 - win_probability(5, 1, 0.5));
        is(win_probability(2_000, 2_000, 0.5), 0.5);
        assert!(
            win_probability(2_100, 1_900, 0.5) < 1e-3 && win_probability(1_900, 2_100, 0.5) > 0.999
        );
        let low = lower_share(9, 1);
        assert!(
            (win_probability(9, 1, low) - ALPHA).abs() < 1e-9 && low > 0.5 && low < 0.9,
            "{low}"
        );
    }

    #[test]
    fn answers_decide_both_ways_and_never_against_a_refutation() {
        let gate = |before: f64, after: f64, lower: f64| Gate {
            accepted: lower > 0.0,
            measure: "separation".into(),
            before: Some(before),
            after: Some(after),
            lower_bound: Some(lower),
            held_out: 10,
            reason: "said".into(),
        };
        let decided = |wins, losses, mut gate: Gate| {
            // Its upper bound is as far above the gain as its lower bound is below.
            let refuted = gate
                .before
                .zip(gate.after)
                .zip(gate.lower_bound)
                .is_some_and(|((b, a), l)| 2.0 * (a - b) < l);
            Outcomes {
                wins,
                losses,
                ties: 3,
                upside_down: false,
            }
            .decide(&mut gate, refuted);
            assert!(
                gate.reason.contains("said")
                    && gate.reason.contains(&format!("{wins} for the candidate")),
                "{}",
                gate.reason
            );
            gate
        };
        let undecided = gate(1.0, 1.1, -0.2);
        let passed = decided(8, 1, undecided.clone());
        assert!(
            passed.accepted && passed.held_out == 12 && passed.lower_bound.is_some_and(|b| b > 0.0)
        );
        assert!(!decided(5, 2, undecided.clone()).accepted, "too few");
        assert!(!decided(0, 0, undecided).accepted);
        assert!(
            !decided(8, 1, gate(1.0, 0.5, -0.8)).accepted,
            "the held-out test finds it worse: at most -.2"
        );
        assert!(
            !decided(1, 8, gate(1.0, 1.5, 0.2)).accepted,
            "what was asked speaks against it"
        );
        assert!(
            decided(2, 3, gate(1.0, 1.5, 0.2)).accepted,
            "what was asked does not decide"
        );
        let mut opposite = gate(-0.5, 0.5, 0.2);
        Outcomes {
            wins: 9,
            losses: 0,
            ties: 0,
            upside_down: true,
        }
        .decide(&mut opposite, false);
        assert!(!opposite.accepted && opposite.reason.contains("not believed"));
    }
}
