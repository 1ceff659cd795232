//! Two metrics side by side in live answers: team-draft interleaving, and a sequential test of the
//! clicks.
//!
//! An answer of a trial draws from both metrics' lists in turn, so that neither is favoured
//! (Radlinski, Kurup and Joachims, *How does clickthrough data reflect retrieval quality?*, CIKM
//! 2008). Which metric draws first in a round is decided by a coin of the trial, the query and the
//! user: whoever reports a click says what was shown, and the teams are found again.
//!
//! A user's first clicks on the answer to a query are one contest, won by the metric whose items
//! got more of them. Under the hypothesis that the challenger is no better, it wins at most half of
//! the contests that somebody wins. After `w` won and `l` lost the evidence against that is the
//! mixture of likelihood ratios over win rates from 1/2 to 1, `2 * 2^n * integral_{1/2}^1 p^w (1 -
//! p)^l dp` with `n = w + l`. It starts at 1 and is a supermartingale, so it ever reaches `1 /
//! alpha` with a probability of at most `alpha` (Ville 1939; Robbins 1970): it may be looked at
//! after every click. The same evidence with the sides exchanged ends a trial for the champion.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::interleave::{draft, evidence};
use super::signals::is_click;
use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::feedback::{Judgement, Source, Subject, query_key, record_key};
use crate::index::Versioned;
use crate::persist::{JudgementRecord, Shelf, VersionRecord, Writes};
use crate::query::{MAX_K, Query};

/// The chance of a wrong decision that is allowed where none is given.
const ALPHA: f64 = 0.05;

/// Two metrics that are compared in live answers, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// The version that is to show that it is better.
    pub challenger: u32,
    /// The version that was active when the trial began.
    pub champion: u32,
    /// Bounds both the chance that a challenger which is no better is promoted, and that one which
    /// is no worse is turned down.
    pub alpha: f64,
    /// Contests that the challenger won.
    pub wins: u64,
    /// Contests that it lost.
    pub losses: u64,
    /// Contests in which both got as many clicks.
    pub ties: u64,
    /// The evidence that the challenger is better; it is promoted when this reaches `1 / alpha`.
    pub evidence: f64,
    /// The evidence that it is worse; it is turned down when this reaches `1 / alpha`.
    pub evidence_against: f64,
    /// What was decided.
    pub verdict: Verdict,
}

/// What a trial decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing yet: it goes on.
    Running,
    /// The challenger was better, and was promoted.
    Promoted,
    /// The challenger was worse.
    Refused,
    /// It was ended before it was decided.
    Ended,
}

/// Which of the two metrics an answer was drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Team {
    /// The version that was active.
    Champion,
    /// The version on trial.
    Challenger,
}

/// An answer of a trial. Report clicks on it as judgements of [`Source::Click`] with all its ids as
/// [`shown`](Judgement::shown), in their order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Interleaved {
    /// The items' ids, best first.
    pub ids: Vec<String>,
    /// The metric each was drawn from.
    pub teams: Vec<Team>,
}

/// A trial as its challenger's record keeps it, among the parameters.
#[derive(Debug, Clone, PartialEq)]
struct State {
    challenger: u32,
    champion: u32,
    alpha: f64,
    /// The sequence number of the first judgement that may count.
    start: u64,
    wins: u64,
    losses: u64,
    ties: u64,
    verdict: Verdict,
}

/// The trial that is running, with the contests that were held.
#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Option<Running>>);

#[derive(Debug, Clone)]
struct Running {
    state: State,
    held: HashSet<u64>,
}

impl Trials {
    /// Finds the trial that is running.
    pub(super) fn open(shelf: &Shelf) -> Result<Self> {
        let mut running = None;
        for (version, record) in shelf.versions()? {
            if let Some(state) =
                State::read(version, &record.parameters).filter(|s| s.verdict == Verdict::Running)
            {
                let mut held = HashSet::new();
                for entry in shelf.judgements() {
                    let (sequence, record) = entry?;
                    if sequence >= state.start && is_contest(&record) {
                        held.insert(contest_of(&record, state.start));
                    }
                }
                running = Some(Running { state, held });
            }
        }
        Ok(Self(Mutex::new(running)))
    }

    /// Finds it again, after the collection took in another one's history.
    pub(super) fn reload(&self, shelf: &Shelf) -> Result<()> {
        *self.lock() = Self::open(shelf)?
            .0
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NAMES: [&str; 7] = [
    "trial_alpha",
    "trial_champion",
    "trial_losses",
    "trial_start",
    "trial_ties",
    "trial_verdict",
    "trial_wins",
];

impl State {
    fn read(challenger: u32, parameters: &BTreeMap<String, f64>) -> Option<Self> {
        let [alpha, champion, losses, start, ties, verdict, wins] =
            NAMES.map(|name| parameters.get(name).copied());
        Some(Self {
            challenger,
            champion: champion? as u32,
            alpha: alpha?,
            start: start? as u64,
            wins: wins? as u64,
            losses: losses? as u64,
            ties: ties? as u64,
            verdict: match verdict? as u32 {
                0 => Verdict::Running,
                1 => Verdict::Promoted,
                2 => Verdict::Refused,
                _ => Verdict::Ended,
            },
        })
    }

    /// Checks a trial that was written elsewhere, of a collection with so many judgements of which
    /// the next one has this number.
    fn check(
        &self,
        judgements: usize,
        next: u64,
        usable: &dyn Fn(u32) -> bool,
    ) -> std::result::Result<(), String> {
        let contests = self
            .wins
            .saturating_add(self.losses)
            .saturating_add(self.ties);
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return Err(format!(
                "its trial has alpha {}, not above 0 and below 1",
                self.alpha
            ));
        }
        if contests > judgements as u64 || self.start > next {
            return Err(format!(
                "its trial has {contests} contests from judgement {} on, more than there are",
                self.start
            ));
        }
        if self.verdict == Verdict::Running && !(usable(self.champion) && usable(self.challenger)) {
            return Err("its trial is running, but one of the two metrics is not for everybody or not there".to_owned());
        }
        Ok(())
    }

    fn write(&self, record: &mut VersionRecord) {
        let verdict = match self.verdict {
            Verdict::Running => 0.0,
            Verdict::Promoted => 1.0,
            Verdict::Refused => 2.0,
            Verdict::Ended => 3.0,
        };
        let values = [
            self.alpha,
            f64::from(self.champion),
            self.losses as f64,
            self.start as f64,
            self.ties as f64,
            verdict,
            self.wins as f64,
        ];
        record
            .parameters
            .extend(NAMES.map(str::to_owned).into_iter().zip(values));
    }

    fn trial(&self) -> Trial {
        Trial {
            challenger: self.challenger,
            champion: self.champion,
            alpha: self.alpha,
            wins: self.wins,
            losses: self.losses,
            ties: self.ties,
            evidence: evidence(self.wins, self.losses),
            evidence_against: evidence(self.losses, self.wins),
            verdict: self.verdict,
        }
    }

    fn decided(&self) -> Verdict {
        match self.trial() {
            t if t.evidence * self.alpha >= 1.0 => Verdict::Promoted,
            t if t.evidence_against * self.alpha >= 1.0 => Verdict::Refused,
            _ => Verdict::Running,
        }
    }
}

/// Checks what versions say of trials, as if nobody of us had written it. `usable` says whether a
/// version can answer everybody.
pub(super) fn check<'a>(
    records: impl Iterator<Item = (u32, &'a BTreeMap<String, f64>)>,
    judgements: usize,
    next: u64,
    usable: &dyn Fn(u32) -> bool,
) -> std::result::Result<(), (u32, String)> {
    let mut running = None;
    for (version, parameters) in records {
        let Some(state) = State::read(version, parameters) else {
            continue;
        };
        state
            .check(judgements, next, usable)
            .map_err(|reason| (version, reason))?;
        if state.verdict == Verdict::Running
            && let Some(other) = running.replace(version)
        {
            return Err((
                version,
                format!("its trial is running, and so is that of version {other}"),
            ));
        }
    }
    Ok(())
}

impl Collection {
    /// Begins a trial of a version against the active one. `alpha`, by default .05, bounds the
    /// chance of either wrong decision, however long the trial lasts and however often it is looked
    /// at. A trial of another version that is running ends.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::WithdrawnVersion`] or [`Error::NoPlugin`] for the
    /// version; [`Error::Invalid`] when it is active, built in, a user's own or on trial already,
    /// or for an `alpha` that is not above 0 and below 1; storage errors.
    pub fn start_trial(&self, challenger: u32, alpha: Option<f64>) -> Result<Trial> {
        let inner = &self.inner;
        let alpha = alpha.unwrap_or(ALPHA);
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(Error::Invalid(format!(
                "alpha is {alpha}, not above 0 and below 1"
            )));
        }
        inner.load(challenger)?;
        if challenger == 0 {
            return Err(Error::Invalid(
                "version 0 is what metrics are compared with; name another one".into(),
            ));
        }
        let _writing = inner.lock_writer();
        let mut running = inner.trials.lock();
        let champion = inner.metrics.active(None);
        let mut record = inner.kept_record(challenger)?;
        if champion == challenger {
            return Err(Error::Invalid(format!(
                "version {challenger} is active already; there is nothing to try"
            )));
        }
        if let Some(user) = &record.user {
            return Err(Error::Invalid(format!(
                "version {challenger} is {user:?}'s own; a trial is for everybody"
            )));
        }
        if let Some(held) = running
            .as_ref()
            .filter(|r| r.state.challenger == challenger)
            .map(|r| r.held.len())
        {
            return Err(Error::Invalid(format!(
                "a trial of version {challenger} is running, with {held} contests held; end it to begin another"
            )));
        }
        let start = inner.shelf.next_judgement()?;
        let state = State {
            challenger,
            champion,
            alpha,
            start,
            wins: 0,
            losses: 0,
            ties: 0,
            verdict: Verdict::Running,
        };
        state.write(&mut record);
        let mut writes = inner.shelf.write();
        if let Some(before) = &*running {
            inner.put_trial(
                &mut writes,
                &State {
                    verdict: Verdict::Ended,
                    ..before.state.clone()
                },
            )?;
        }
        writes.put_version_header(challenger, &record)?;
        writes.commit()?;
        let trial = state.trial();
        *running = Some(Running {
            state,
            held: HashSet::new(),
        });
        Ok(trial)
    }

    /// The trial that is running, or else the last one; `None` when there was none.
    ///
    /// # Errors
    /// Storage errors.
    pub fn trial(&self) -> Result<Option<Trial>> {
        if let Some(running) = &*self.inner.trials.lock() {
            return Ok(Some(running.state.trial()));
        }
        let states = self.inner.shelf.versions()?;
        let last = states
            .iter()
            .filter_map(|(version, record)| State::read(*version, &record.parameters))
            .max_by_key(|s| s.start);
        Ok(last.map(|state| state.trial()))
    }

    /// Ends the trial that is running, undecided. Gives it as it stood; `None` when there is none.
    ///
    /// # Errors
    /// Storage errors.
    pub fn end_trial(&self) -> Result<Option<Trial>> {
        let inner = &self.inner;
        let _writing = inner.lock_writer();
        let mut running = inner.trials.lock();
        let Some(before) = running.as_ref() else {
            return Ok(None);
        };
        let state = State {
            verdict: Verdict::Ended,
            ..before.state.clone()
        };
        let mut writes = inner.shelf.write();
        inner.put_trial(&mut writes, &state)?;
        writes.commit()?;
        *running = None;
        Ok(Some(state.trial()))
    }

    /// Answers a query from both metrics of the running trial. The same query of the same user is
    /// answered alike as long as the collection stays as it is.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] when no trial is running or `k` is out of range; those of a search.
    pub fn interleave(
        &self,
        query: impl Into<Query>,
        k: usize,
        user: Option<&str>,
    ) -> Result<Interleaved> {
        let inner = &self.inner;
        let query = query.into();
        if !(1..=MAX_K).contains(&k) {
            return Err(Error::InvalidQuery(format!(
                "k is {k}, not between 1 and {MAX_K}"
            )));
        }
        let Some(state) = inner.trials.lock().as_ref().map(|r| r.state.clone()) else {
            return Err(Error::InvalidQuery(
                "no trial is running; start one to have answers of two metrics".into(),
            ));
        };
        inner.interleaved(&state, &query, k, user)
    }
}

impl Inner {
    fn put_trial(&self, writes: &mut Writes<'_>, state: &State) -> Result<()> {
        let mut record = self.version_record(state.challenger)?;
        state.write(&mut record);
        writes.put_version_header(state.challenger, &record)
    }

    fn interleaved(
        &self,
        state: &State,
        query: &Query,
        k: usize,
        user: Option<&str>,
    ) -> Result<Interleaved> {
        let vector = self.query_vector(query)?;
        let own = match query {
            Query::Item(id) => self.slots_of(&[id])?.first().copied(),
            _ => None,
        };
        let ranked = |version: u32| -> Result<Vec<u32>> {
            let metric = self.load(version)?;
            let found = self.find(&metric, &vector, k + 1)?;
            Ok(found
                .hits
                .iter()
                .map(|n| n.slot)
                .filter(|slot| Some(*slot) != own)
                .take(k)
                .collect())
        };
        let coin = contest(&query_key(query), user, state.start);
        let drafted = draft(
            &ranked(state.champion)?,
            &ranked(state.challenger)?,
            k,
            coin,
        );
        let named = drafted
            .into_iter()
            .filter_map(|(slot, team)| Some((self.ids.get(slot)?.to_owned(), team)));
        let (ids, teams) = named.unzip();
        Ok(Interleaved { ids, teams })
    }

    /// Counts what new judgements say of the running trial, into the transaction that stores them.
    /// The writer's lock is held. Gives what is to be called once that transaction has been
    /// committed.
    pub(super) fn count_clicks(
        &self,
        judgements: &[Judgement],
        writes: &mut Writes<'_>,
    ) -> Result<Counted> {
        let Some(mut running) = self.trials.lock().clone() else {
            return Ok(Counted::default());
        };
        // Clicks by contest, in the order of their first.
        let mut contests: Vec<u64> = Vec::new();
        let mut clicks: HashMap<u64, Vec<&Judgement>> = HashMap::new();
        for judgement in judgements
            .iter()
            .filter(|j| j.source == Source::Click && !j.shown.is_empty())
        {
            if let Subject::Graded { query, grade, .. } = &judgement.subject
                && *grade > 0.0
            {
                let contest = contest(
                    &query_key(query),
                    judgement.user.as_deref(),
                    running.state.start,
                );
                let of_contest = clicks.entry(contest).or_default();
                if of_contest.is_empty() {
                    contests.push(contest);
                }
                of_contest.push(judgement);
            }
        }
        let mut changed = false;
        for contest in contests {
            if running.state.verdict != Verdict::Running || !running.held.insert(contest) {
                continue;
            }
            let Some(score) = self.score(&running.state, &clicks[&contest])? else {
                continue;
            };
            match score.signum() {
                1 => running.state.wins += 1,
                -1 => running.state.losses += 1,
                _ => running.state.ties += 1,
            }
            running.state.verdict = running.state.decided();
            changed = true;
        }
        let promoted =
            (running.state.verdict == Verdict::Promoted).then_some(running.state.challenger);
        if changed {
            self.put_trial(writes, &running.state)?;
        }
        Ok(Counted {
            running: Some(running),
            promoted: promoted.map(|v| self.load(v)).transpose()?,
        })
    }

    /// The challenger's clicks less the champion's; `None` when what was shown is no answer of the
    /// trial.
    fn score(&self, state: &State, clicks: &[&Judgement]) -> Result<Option<i64>> {
        let Some(first) = clicks.first() else {
            return Ok(None);
        };
        let Subject::Graded { query, .. } = &first.subject else {
            return Ok(None);
        };
        let answer = self.interleaved(state, query, first.shown.len(), first.user.as_deref())?;
        if answer.ids != first.shown {
            return Ok(None);
        }
        let clicked: HashSet<&str> = clicks
            .iter()
            .filter_map(|j| {
                if let Subject::Graded { item, .. } = &j.subject {
                    Some(item.as_str())
                } else {
                    None
                }
            })
            .collect();
        let teams = answer
            .ids
            .iter()
            .zip(&answer.teams)
            .filter(|(id, _)| clicked.contains(id.as_str()));
        Ok(Some(
            teams
                .map(|(_, team)| if *team == Team::Challenger { 1 } else { -1 })
                .sum(),
        ))
    }

    /// Makes counted clicks seen.
    pub(super) fn counted(&self, counted: Counted) {
        if let Some(running) = counted.running {
            let going_on = running.state.verdict == Verdict::Running;
            *self.trials.lock() = going_on.then_some(running);
        }
    }

    /// Ends a running trial whose clicks or metrics are about to be forgotten: what it counted
    /// goes. The writer's lock is held.
    pub(super) fn forget_trial(
        &self,
        writes: &mut Writes<'_>,
        gone: &[u64],
        withdrawn: &[u32],
    ) -> Result<bool> {
        let Some(state) = self.trials.lock().as_ref().map(|r| r.state.clone()) else {
            return Ok(false);
        };
        let concerned = gone.iter().any(|sequence| *sequence >= state.start)
            || withdrawn
                .iter()
                .any(|version| [state.challenger, state.champion].contains(version));
        if concerned {
            let state = State {
                wins: 0,
                losses: 0,
                ties: 0,
                verdict: Verdict::Ended,
                ..state
            };
            let mut record = self.version_record(state.challenger)?;
            record.withdrawn |= withdrawn.contains(&state.challenger);
            state.write(&mut record);
            writes.put_version_header(state.challenger, &record)?;
        }
        Ok(concerned)
    }

    /// Ends a running trial because another metric becomes the active one. The writer's lock is
    /// held.
    pub(super) fn supersede_trial(&self, writes: &mut Writes<'_>) -> Result<()> {
        let Some(state) = self.trials.lock().as_ref().map(|r| r.state.clone()) else {
            return Ok(());
        };
        self.put_trial(
            writes,
            &State {
                verdict: Verdict::Ended,
                ..state
            },
        )
    }

    /// Makes the end of a trial seen.
    pub(super) fn clear_trial(&self) {
        *self.trials.lock() = None;
    }
}

/// What new judgements did to the running trial.
#[derive(Debug, Default)]
pub(super) struct Counted {
    running: Option<Running>,
    /// The challenger, when it has won.
    pub(super) promoted: Option<Versioned>,
}

/// A click on what may be an answer of a trial.
fn is_contest(record: &JudgementRecord) -> bool {
    is_click(record) && !record.shown.is_empty()
}

fn contest_of(record: &JudgementRecord, start: u64) -> u64 {
    contest(&record_key(&record.query), record.user.as_deref(), start)
}

/// The number of a contest, which also tosses its coins.
fn contest(query: &[u8], user: Option<&str>, start: u64) -> u64 {
    let mut bytes = query.to_vec();
    bytes.push(u8::from(user.is_some()));
    bytes.extend_from_slice(user.unwrap_or_default().as_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, start)
}
