//! The gate's second key: a few judgements that decide, and what they decided.
//!
//! Judgements of answers that were shown say nothing of the items that a new metric would show
//! instead. So a candidate that the held-out test cannot decide on is tried where it disagrees with
//! the active metric. For sampled items as queries, none of them judged before, the two lists of
//! ten are compared. What only the candidate lists and what only the active metric lists make a
//! *contest*: one item of each, those that the other metric puts farthest behind its tenth, by the
//! ratio of the distances. The queries of the greatest disagreement are asked.
//!
//! A contest is won when the candidate's item is relevant and the other is not, lost when it is the
//! other way round. Under the hypothesis that the candidate is no better, it wins at most half of
//! those that are won or lost, so the sign test decides. The candidate has not seen the answers,
//! and questions are chosen without any label. What is promoted is the refit on all judgements, the
//! answers among them: the key tests what made the candidate, as the cross-fitted gate does.
//!
//! Whoever judged is also who answers, so wrong judgements would be backed by wrong answers.
//! Judgements that say the *opposite* of the active metric, the near irrelevant and the far
//! relevant, are nobody's notion of similar: on them no answer is believed.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::Inner;
use super::neighbours::{Lists, Stored};
use crate::error::{Error, Result};
use crate::feedback::{Source, source_of};
use crate::index::Versioned;
use crate::persist::{JudgementRecord, QueryRecord, VersionRecord};
use crate::plugin::{FitReport, Gate, PairCounts};
use crate::query::Query;

/// Length of the lists that are compared.
const TOP: usize = 10;
/// Items that are tried as queries.
const POOL: usize = 2_000;
/// Pairs of items whose distances are computed for it: in large collections fewer are tried.
const COMPARED: usize = 40_000_000;
/// The chance of letting a candidate pass that is no better.
const ALPHA: f64 = 0.05;
/// Standard errors of one-sided 95 %.
pub(super) const Z: f64 = 1.64;
/// The most questions that are asked at a time.
pub(super) const MOST: usize = 1_000;
/// The name under which a version's parameters say how many judgements were asked for.
pub(super) const ASKED: &str = "asked";

/// A judgement that would help to decide: whether the item is a good answer to the query.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Question {
    /// The query: a stored item.
    pub query: Query,
    /// The item to be judged.
    pub item: String,
    /// Whose judgement is asked for; `None` asks anybody.
    pub user: Option<String>,
}

impl Serialize for Question {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        match &self.query {
            Query::Text(text) => map.serialize_entry("query", text)?,
            Query::Vector(vector) => map.serialize_entry("query_vector", vector)?,
            Query::Item(id) => map.serialize_entry("query_id", id)?,
        }
        map.serialize_entry("item", &self.item)?;
        if let Some(user) = &self.user {
            map.serialize_entry("user", user)?;
        }
        map.end()
    }
}

/// Where the questions that were asked last stand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    /// How the contests ended that were answered; `None` where none was.
    pub(super) tally: Option<Tally>,
    /// Questions that were not answered yet.
    pub(super) open: usize,
}

/// What answered questions say of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    For,
    Against,
    Nothing,
}

/// How the contests of a candidate ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) wins: usize,
    pub(super) losses: usize,
    pub(super) ties: usize,
    /// Before anything was asked, the judgements called the near irrelevant and the far relevant,
    /// beyond chance.
    pub(super) upside_down: bool,
}

/// What only one of two lists holds.
struct Contest {
    query: u32,
    /// Only in the candidate's list.
    new: u32,
    /// Only in the other list.
    old: u32,
    disagreement: f64,
}

impl Inner {
    /// Asks: the candidate's version says how many questions there were.
    pub(super) fn ask(
        &self,
        candidate: &Versioned,
        incumbent: &Versioned,
        n: usize,
        user: Option<&str>,
    ) -> Result<Vec<Question>> {
        let questions = self.questions(candidate, incumbent, n, user)?;
        if !questions.is_empty() {
            let _writing = self.lock_writer();
            let mut record = self.version_record(candidate.version)?;
            record
                .parameters
                .insert(ASKED.to_owned(), questions.len() as f64);
            let mut writes = self.shelf.write();
            writes.put_version_header(candidate.version, &record)?;
            writes.commit()?;
        }
        Ok(questions)
    }

    /// The questions on a candidate, in pairs of one query.
    fn questions(
        &self,
        candidate: &Versioned,
        incumbent: &Versioned,
        n: usize,
        user: Option<&str>,
    ) -> Result<Vec<Question>> {
        let mut judged = HashSet::new();
        for entry in self.shelf.judgements() {
            let (_, record) = entry?;
            if let (QueryRecord::Item(id), true) = (
                record.query,
                user.is_none() || record.user.as_deref() == user,
            ) {
                judged.insert(id);
            }
        }
        let mut slots = self.index.live_slots();
        let mut random = fastrand::Rng::with_seed(u64::from(candidate.version));
        random.shuffle(&mut slots);
        slots.retain(|slot| self.ids.get(*slot).is_some_and(|id| !judged.contains(id)));
        slots.truncate((COMPARED / slots.len().max(1)).clamp(n, POOL.max(n)));
        let items = self.stored(slots);
        let [news, olds] =
            [candidate, incumbent].map(|metric| self.nearest_exactly(metric, &items, TOP));
        let lists = news?.into_iter().zip(olds?);
        let contest = |((query, vector), lists): (&Stored, Lists)| {
            self.contest(*query, vector, lists, (candidate, incumbent))
        };
        let mut contests: Vec<Contest> = items.iter().zip(lists).filter_map(contest).collect();
        contests.sort_by(|a, b| {
            b.disagreement
                .total_cmp(&a.disagreement)
                .then_with(|| a.query.cmp(&b.query))
        });
        contests.truncate(n.div_ceil(2));
        let mut questions = Vec::with_capacity(2 * contests.len());
        for contest in contests {
            // In either order, so that the place does not tell which metric an item comes from.
            let items = if random.bool() {
                [contest.new, contest.old]
            } else {
                [contest.old, contest.new]
            };
            let Some(query) = self.ids.get(contest.query) else {
                continue;
            };
            let named = items.iter().filter_map(|slot| self.ids.get(*slot));
            questions.extend(named.map(|item| Question {
                query: Query::like(query),
                item: item.to_owned(),
                user: user.map(str::to_owned),
            }));
        }
        questions.truncate(n);
        Ok(questions)
    }

    /// The contest that the lists of the candidate and the incumbent make for a query, if each has
    /// an item of its own.
    fn contest(
        &self,
        query: u32,
        vector: &[f32],
        (news, olds): Lists,
        (candidate, incumbent): (&Versioned, &Versioned),
    ) -> Option<Contest> {
        // How far a metric puts what only the other lists behind the last of its own list.
        let farthest = |metric: &Versioned, list: &[u32], others: &[u32]| -> Option<(u32, f64)> {
            let distance =
                |slot: u32| Some(metric.metric.distance(vector, &self.index.vector(slot)?));
            let last = distance(*list.last()?).filter(|d| *d != 0.0)?;
            // A similarity is a negative distance, which has no ratios.
            let behind = |d: f64| {
                if last > 0.0 {
                    (d / last).max(1.0).ln()
                } else {
                    ((d - last) / last.abs()).max(0.0)
                }
            };
            let only_others = others.iter().filter(|slot| !list.contains(slot));
            only_others
                .filter_map(|slot| Some((*slot, behind(distance(*slot)?))))
                .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)))
        };
        let (new, old) = (
            farthest(incumbent, &olds, &news),
            farthest(candidate, &news, &olds),
        );
        new.zip(old).map(|((new, a), (old, b))| Contest {
            query,
            new,
            old,
            disagreement: a + b,
        })
    }

    /// What the answers to the last questions say; nothing where nothing was asked of a candidate
    /// to the incumbent. A refit on more than twice the judgements that the candidate had is
    /// another matter: the answers say nothing of it.
    pub(super) fn answers(
        &self,
        incumbent: &Versioned,
        user: Option<&str>,
        pairs: PairCounts,
    ) -> Result<Answers> {
        let asked = |record: &VersionRecord| {
            record.parameters.contains_key(ASKED)
                && !record.withdrawn
                && record.user.as_deref() == user
        };
        let last = self
            .shelf
            .versions()?
            .into_iter()
            .rfind(|(_, record)| asked(record));
        let Some((version, record)) = last.filter(|(_, record)| record.parent == incumbent.version)
        else {
            return Ok(Answers::default());
        };
        let Some((_, seen)) = record.judgements else {
            return Ok(Answers::default());
        };
        if record
            .similar
            .saturating_add(record.dissimilar)
            .saturating_mul(2)
            < (pairs.similar + pairs.dissimilar) as u64
        {
            return Ok(Answers::default());
        }
        let mut before = HashSet::new();
        let mut after: BTreeMap<String, Vec<(String, f32)>> = BTreeMap::new();
        for entry in self.shelf.judgements() {
            let (sequence, record) = entry?;
            let JudgementRecord {
                query: QueryRecord::Item(query),
                item,
                grade,
                pair: false,
                source,
                user: who,
                ..
            } = record
            else {
                continue;
            };
            if user.is_some() && who.as_deref() != user {
                continue;
            }
            if sequence <= seen {
                before.insert(query);
            } else if source_of(source) == Source::Explicit {
                after.entry(query).or_default().push((item, grade));
            }
        }
        let after: Vec<(String, Vec<(String, f32)>)> = after
            .into_iter()
            .filter(|(query, _)| !before.contains(query))
            .collect();
        let answered: usize = after.iter().map(|(_, answers)| answers.len()).sum();
        let said = |name: &str| record.parameters.get(name).copied();
        let open = said(ASKED).map_or(0, |asked| (asked as usize).saturating_sub(answered));
        // The separation counts standard deviations a query, so its mean over n queries errs by
        // about 1 / sqrt(n).
        let upside_down = said(FitReport::ACTIVE_MEASURE)
            .zip(said(FitReport::ACTIVE_HELD_OUT))
            .is_some_and(|(measure, held_out)| measure < -Z / held_out.max(1.0).sqrt());
        let mut tally = Tally {
            upside_down,
            ..Tally::default()
        };
        for gain in self.outcomes(&after, &self.load(version)?, incumbent)? {
            match gain {
                gain if gain > 0.0 => tally.wins += 1,
                gain if gain < 0.0 => tally.losses += 1,
                _ => tally.ties += 1,
            }
        }
        let contests = tally.wins + tally.losses + tally.ties;
        Ok(Answers {
            tally: (contests > 0).then_some(tally),
            open,
        })
    }

    /// By how much the candidate's own items were judged better, query by query; nothing of a query
    /// where those of one side were not judged.
    fn outcomes(
        &self,
        answered: &[(String, Vec<(String, f32)>)],
        candidate: &Versioned,
        incumbent: &Versioned,
    ) -> Result<Vec<f64>> {
        let mut items = Vec::new();
        let mut said: Vec<Vec<(u32, f32)>> = Vec::new();
        for (query, answers) in answered.iter().filter(|(_, answers)| answers.len() > 1) {
            let Some(item) = self.stored(self.shelf.slot(query)?).pop() else {
                continue;
            };
            let of_slot = |(item, grade): &(String, f32)| {
                Ok(self.shelf.slot(item)?.map(|slot| (slot, *grade)))
            };
            let graded: Vec<Option<(u32, f32)>> =
                answers.iter().map(of_slot).collect::<Result<_>>()?;
            items.push(item);
            said.push(graded.into_iter().flatten().collect());
        }
        let [news, olds] =
            [candidate, incumbent].map(|metric| self.nearest_exactly(metric, &items, TOP));
        let relevant = |said: &[(u32, f32)], list: &[u32], other: &[u32]| -> Option<f64> {
            let own = said
                .iter()
                .filter(|(slot, _)| list.contains(slot) && !other.contains(slot));
            let relevant: Vec<f64> = own
                .map(|(_, grade)| f64::from(u8::from(*grade > 0.0)))
                .collect();
            (!relevant.is_empty()).then(|| relevant.iter().sum::<f64>() / relevant.len() as f64)
        };
        let gain = |(said, (new, old)): (Vec<(u32, f32)>, Lists)| {
            Some(relevant(&said, &new, &old)? - relevant(&said, &old, &new)?)
        };
        Ok(said
            .into_iter()
            .zip(news?.into_iter().zip(olds?))
            .filter_map(gain)
            .collect())
    }
}

impl Tally {
    /// What was answered, in words.
    pub(super) fn words(self) -> String {
        let Self {
            wins, losses, ties, ..
        } = self;
        format!(
            "of the pairs of judgements asked for, {wins} for the candidate, {losses} for the active metric, {ties} for neither"
        )
    }

    /// Turns the key in a verdict of the held-out test, and says to which side.
    ///
    /// `refuted` is what the held-out test finds clearly worse, which answers do not let pass.
    pub(super) fn decide(self, gate: &mut Gate, refuted: bool) -> Said {
        let Self {
            wins,
            losses,
            ties,
            upside_down,
        } = self;
        let said = self.words();
        let (better, worse) = (chance(wins, losses, 0.5), chance(losses, wins, 0.5));
        if upside_down {
            gate.accepted = false;
            gate.reason = format!(
                "not promoted: before anything was asked, irrelevant results were nearer than relevant ones, beyond chance, \
                 so answers are not believed; {said}; {}",
                gate.reason
            );
            Said::Against
        } else if worse <= ALPHA {
            gate.accepted = false;
            gate.reason = format!("not promoted: {said} (p {worse:.3}); {}", gate.reason);
            Said::Against
        } else if better <= ALPHA && !refuted && !gate.accepted {
            let n = (wins + losses) as f64;
            let share = wins as f64 / n;
            *gate = Gate {
                accepted: true,
                measure: "share of the decided pairs asked for in which the metric's own item is the relevant one"
                    .into(),
                before: Some(1.0 - share),
                after: Some(share),
                // The share of wins that is just not refuted, as a gain over a half on either side.
                lower_bound: Some(2.0 * lower_share(wins, losses) - 1.0),
                held_out: wins + losses + ties,
                reason: format!("passed: {said} (p {better:.3}); the held-out test alone says {}", gate.reason),
            };
            Said::For
        } else {
            gate.reason = format!("{}; {said} (p {better:.3})", gate.reason);
            Said::Nothing
        }
    }
}

/// The chance of so many wins, or more, when each is won with probability `p`: the sign test at a
/// half. The outcome itself counts half (Lancaster 1961), since with so few contests the exact test
/// errs far on the safe side.
fn chance(wins: usize, losses: usize, p: f64) -> f64 {
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

/// The least share of wins that the outcome does not refute.
fn lower_share(wins: usize, losses: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if chance(wins, losses, middle) < ALPHA {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// A number of questions that can be asked.
pub(super) fn check(n: usize) -> Result<()> {
    if (2..=MOST).contains(&n) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{n} judgements cannot be asked for; ask for 2 to {MOST}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_counts_the_outcome_half() {
        let is = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9, "{found}, not {expected}")
        };
        is(chance(0, 0, 0.5), 0.5);
        is(chance(4, 0, 0.5), 0.5 / 16.0);
        is(chance(5, 1, 0.5), (1.0 + 0.5 * 6.0) / 64.0);
        is(chance(1, 5, 0.5), 1.0 - chance(5, 1, 0.5));
        is(chance(2_000, 2_000, 0.5), 0.5);
        assert!(chance(2_100, 1_900, 0.5) < 1e-3 && chance(1_900, 2_100, 0.5) > 0.999);
        let low = lower_share(9, 1);
        assert!(
            (chance(9, 1, low) - ALPHA).abs() < 1e-9 && low > 0.5 && low < 0.9,
            "{low}"
        );
    }

    #[test]
    fn the_key_turns_both_ways_and_never_against_a_refutation() {
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
            Tally {
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
        Tally {
            wins: 9,
            losses: 0,
            ties: 0,
            upside_down: true,
        }
        .decide(&mut opposite, false);
        assert!(!opposite.accepted && opposite.reason.contains("not believed"));
    }
}
