//! Questions that decide on a candidate, and what their answers say.
//!
//! Judgements of answers that were shown say nothing of the items that a new metric would show
//! instead. So a candidate that the held-out test cannot decide on is compared with the active
//! metric where the two disagree. For sampled items as queries, none of them judged before, the two
//! lists of ten are compared. One item of either list that the other list lacks makes a *contest*:
//! those that the other metric puts farthest behind its tenth, by the ratio of the distances. The
//! queries of the greatest disagreement are asked.
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

use serde::Serialize;

use super::{Changes, Effort, Learning, StoredItem};
use crate::error::{Error, Result};
use crate::model::{
    JudgementId, LoggedJudgement, LoggedQuery, Query, Source, VersionId, VersionRecord, Versioned,
};
use crate::plugin::{Gate, Metric, PairCounts};

/// Length of the lists that are compared.
const LIST_LENGTH: usize = 10;
/// Largest number of items that are tried as queries, unless more questions are asked for.
const MAX_TRIED: usize = 2_000;
/// Largest number of pairs of items whose distances are computed to find questions.
const MAX_PAIRS: usize = 40_000_000;
/// Bound of the chance that a candidate passes that is no better.
const ALPHA: f64 = 0.05;
/// Standard errors of one-sided 95 % confidence.
pub(super) const ONE_SIDED_95: f64 = 1.64;
/// Largest number of questions asked at a time.
const MAX_QUESTIONS: usize = 1_000;

/// A judgement that would help to decide: whether the item is a good answer to the query.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Question {
    /// The query: a stored item.
    pub query: Query,
    /// The id of the item to be judged.
    pub item: String,
    /// The user whose judgement is asked for; `None` asks anybody.
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

/// The state of the questions that were asked last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    /// Outcomes of the answered contests; `None` where none was answered.
    pub(super) tally: Option<Tally>,
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
pub(super) struct Tally {
    pub(super) wins: usize,
    pub(super) losses: usize,
    pub(super) ties: usize,
    /// Whether the judgements before the questions called the near irrelevant and the far relevant,
    /// beyond chance.
    pub(super) upside_down: bool,
}

/// The candidate and the active metric.
#[derive(Clone, Copy)]
struct Rivals<'a> {
    candidate: &'a Versioned,
    incumbent: &'a Versioned,
}

/// The ids of the nearest items of a query under the candidate and under the incumbent.
struct Lists {
    candidate: Vec<String>,
    incumbent: Vec<String>,
}

/// One item that only the candidate lists for a query, and one that only the incumbent lists.
struct Contest {
    query: String,
    candidate: String,
    incumbent: String,
    disagreement: f64,
}

/// The explicit answers to a query, in the order they were given.
type Graded = Vec<(String, f32)>;

impl Learning {
    /// Asks for judgements that may decide on a candidate, and records in its version how many.
    pub(super) fn ask(
        &self,
        candidate: &Versioned,
        incumbent: &Versioned,
        n: usize,
        user: Option<&str>,
    ) -> Result<Vec<Question>> {
        let rivals = Rivals {
            candidate,
            incumbent,
        };
        let questions = self.questions(rivals, n, user)?;
        if !questions.is_empty() {
            let _guard = self.lock();
            let mut record = self.version_record(candidate.version)?;
            record.asked = Some(questions.len() as u64);
            let mut changes = Changes::default();
            changes.put_version(candidate.version, record);
            self.ledger.commit(changes)?;
        }
        Ok(questions)
    }

    /// The questions on a candidate, in pairs of one query.
    fn questions(&self, rivals: Rivals<'_>, n: usize, user: Option<&str>) -> Result<Vec<Question>> {
        let judged = self.judged_items(user)?;
        let seed = u64::from(rivals.candidate.version.0);
        let items = self.vectors.revision().items;
        let wanted = (MAX_PAIRS / items.max(1)).clamp(n, MAX_TRIED.max(n));
        let mut queries = self.vectors.sample(wanted + judged.len(), seed)?;
        queries.retain(|item| !judged.contains(&item.id));
        queries.truncate(wanted);
        let lists = self.lists(rivals, &queries)?;
        let mut contests = Vec::new();
        for (query, lists) in queries.iter().zip(&lists) {
            contests.extend(self.contest(query, lists, rivals)?);
        }
        contests.sort_by(|a: &Contest, b| {
            let by_disagreement = b.disagreement.total_cmp(&a.disagreement);
            by_disagreement.then_with(|| a.query.cmp(&b.query))
        });
        contests.truncate(n.div_ceil(2));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut questions = Vec::with_capacity(2 * contests.len());
        for contest in contests {
            // In either order, so that the position does not tell which metric an item comes from.
            let mut items = [contest.candidate, contest.incumbent];
            if random.bool() {
                items.swap(0, 1);
            }
            questions.extend(items.map(|item| Question {
                query: Query::like(&contest.query),
                item,
                user: user.map(str::to_owned),
            }));
        }
        questions.truncate(n);
        Ok(questions)
    }

    /// The items that a user, or anybody, judged answers to.
    fn judged_items(&self, user: Option<&str>) -> Result<HashSet<String>> {
        let mut judged = HashSet::new();
        for entry in self.ledger.judgements() {
            let (_, judgement) = entry?;
            let counts = user.is_none() || judgement.user.as_deref() == user;
            if let (LoggedQuery::Item(id), true) = (judgement.query, counts) {
                judged.insert(id);
            }
        }
        Ok(judged)
    }

    /// The exact lists of both metrics for stored items as queries.
    fn lists(&self, rivals: Rivals<'_>, queries: &[StoredItem]) -> Result<Vec<Lists>> {
        let of = |metric| self.nearest_of_items(metric, queries, LIST_LENGTH, Effort::Exact);
        let (candidate, incumbent) = (of(rivals.candidate)?, of(rivals.incumbent)?);
        let pairs = candidate.into_iter().zip(incumbent);
        Ok(pairs
            .map(|(candidate, incumbent)| Lists {
                candidate,
                incumbent,
            })
            .collect())
    }

    /// The contest of a query, where each list has an item of its own.
    fn contest(
        &self,
        query: &StoredItem,
        lists: &Lists,
        rivals: Rivals<'_>,
    ) -> Result<Option<Contest>> {
        let of_candidate = self.farthest(
            query,
            &*rivals.incumbent.metric,
            &lists.incumbent,
            &lists.candidate,
        )?;
        let of_incumbent = self.farthest(
            query,
            &*rivals.candidate.metric,
            &lists.candidate,
            &lists.incumbent,
        )?;
        Ok(of_candidate
            .zip(of_incumbent)
            .map(|((candidate, a), (incumbent, b))| Contest {
                query: query.id.clone(),
                candidate,
                incumbent,
                disagreement: a + b,
            }))
    }

    /// Of the items that only another list has, the one that a metric puts farthest behind the end
    /// of its own list, and how far.
    fn farthest(
        &self,
        query: &StoredItem,
        metric: &dyn Metric,
        own: &[String],
        others: &[String],
    ) -> Result<Option<(String, f64)>> {
        let Some(last) = own.last() else {
            return Ok(None);
        };
        let ids: Vec<&str> = std::iter::once(last)
            .chain(others.iter().filter(|id| !own.contains(id)))
            .map(String::as_str)
            .collect();
        let vectors = self.vectors.vectors(&ids)?;
        let distance = |vector: &Option<Vec<f32>>| {
            let vector = vector.as_ref()?;
            Some(metric.distance(&query.vector, vector))
        };
        let Some(last) = vectors.first().and_then(distance).filter(|d| *d != 0.0) else {
            return Ok(None);
        };
        // A similarity is a negative distance, which has no ratios.
        let behind = |d: f64| {
            if last > 0.0 {
                (d / last).max(1.0).ln()
            } else {
                ((d - last) / last.abs()).max(0.0)
            }
        };
        let behind_last = ids.iter().zip(&vectors).skip(1);
        let farthest = behind_last
            .filter_map(|(id, vector)| Some((*id, behind(distance(vector)?))))
            .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(a.0)));
        Ok(farthest.map(|(id, behind)| (id.to_owned(), behind)))
    }

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
        let tally = self.tally(version, &record, incumbent, &answered)?;
        Ok(Answers {
            tally,
            open: asked.saturating_sub(count),
        })
    }

    /// Explicit answers since a judgement, of queries that were not judged before it, by query.
    fn answers_since(
        &self,
        seen: JudgementId,
        user: Option<&str>,
    ) -> Result<BTreeMap<String, Graded>> {
        let mut before = HashSet::new();
        let mut after: BTreeMap<String, Graded> = BTreeMap::new();
        for entry in self.ledger.judgements() {
            let (id, judgement) = entry?;
            let LoggedJudgement {
                query: LoggedQuery::Item(query),
                item,
                grade,
                pair: false,
                source,
                user: who,
                ..
            } = judgement
            else {
                continue;
            };
            if user.is_some() && who.as_deref() != user {
                continue;
            }
            if id <= seen {
                before.insert(query);
            } else if source == Source::Explicit {
                after.entry(query).or_default().push((item, grade));
            }
        }
        after.retain(|query, _| !before.contains(query));
        Ok(after)
    }

    /// The outcomes of the contests that answers decide; `None` where they decide none.
    fn tally(
        &self,
        version: VersionId,
        record: &VersionRecord,
        incumbent: &Versioned,
        answered: &BTreeMap<String, Graded>,
    ) -> Result<Option<Tally>> {
        // The separation counts standard deviations a query, so its mean over n queries errs by
        // about 1 / sqrt(n).
        let upside_down = record.fit.incumbent.is_some_and(|held_out| {
            held_out.measure < -ONE_SIDED_95 / (held_out.count as f64).max(1.0).sqrt()
        });
        let mut tally = Tally {
            upside_down,
            ..Tally::default()
        };
        let candidate = self.load(version)?;
        let rivals = Rivals {
            candidate: &candidate,
            incumbent,
        };
        for gain in self.gains(answered, rivals)? {
            match gain {
                gain if gain > 0.0 => tally.wins += 1,
                gain if gain < 0.0 => tally.losses += 1,
                _ => tally.ties += 1,
            }
        }
        let contests = tally.wins + tally.losses + tally.ties;
        Ok((contests > 0).then_some(tally))
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

impl Tally {
    /// What was answered, in words.
    pub(super) fn summary(self) -> String {
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
    pub(super) fn decide(self, gate: &mut Gate, refuted: bool) -> AnswersSay {
        let Self {
            wins,
            losses,
            ties,
            upside_down,
        } = self;
        let said = self.summary();
        let (better, worse) = (chance(wins, losses, 0.5), chance(losses, wins, 0.5));
        if upside_down {
            gate.accepted = false;
            gate.reason = format!(
                "not promoted: before anything was asked, irrelevant results were nearer than relevant ones, beyond chance, \
                 so answers are not believed; {said}; {}",
                gate.reason
            );
            AnswersSay::Against
        } else if worse <= ALPHA {
            gate.accepted = false;
            gate.reason = format!("not promoted: {said} (p {worse:.3}); {}", gate.reason);
            AnswersSay::Against
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
            AnswersSay::For
        } else {
            gate.reason = format!("{}; {said} (p {better:.3})", gate.reason);
            AnswersSay::Nothing
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
    if (2..=MAX_QUESTIONS).contains(&n) {
        return Ok(());
    }
    Err(Error::InvalidSetting {
        setting: "the number of judgements asked for",
        value: n.to_string(),
        allowed: format!("2 to {MAX_QUESTIONS}"),
    })
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
