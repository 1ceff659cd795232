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

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::clicks::{contest, contest_of};
use super::interleave::{Team, draft, evidence};
use super::{Changes, Learning, Ledger, WriteGuard};
use crate::model::error::{Error, Result};
use crate::model::{
    JudgementId, MAX_K, Query, TrialRecord, Verdict, VersionId, VersionRecord, query_key,
};

/// Bound of the chance of a wrong decision where none is given.
const DEFAULT_ALPHA: f64 = 0.05;

/// A comparison of two metrics in live answers, with its present counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trial {
    /// The version that is to show that it is better.
    pub challenger: VersionId,
    /// The version that was active when the trial began.
    pub champion: VersionId,
    /// Bound of the chance that a challenger which is no better is promoted, and of the chance that
    /// one which is no worse is refused.
    pub alpha: f64,
    /// Contests that the challenger won.
    pub wins: u64,
    /// Contests that it lost.
    pub losses: u64,
    /// Contests in which both got as many clicks.
    pub ties: u64,
    /// The evidence that the challenger is better; it is promoted when this reaches `1 / alpha`.
    pub evidence: f64,
    /// The evidence that it is worse; it is refused when this reaches `1 / alpha`.
    pub evidence_against: f64,
    /// The decision.
    pub verdict: Verdict,
}

/// An answer of a trial. Report clicks on it as judgements of [`Source::Click`](crate::Source::Click) with all its ids as
/// [`shown`](crate::Judgement::shown), in their order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Interleaved {
    /// Ids of the items, best first.
    pub ids: Vec<String>,
    /// The metric that each was drawn from.
    pub teams: Vec<Team>,
}

/// A trial that is to begin; made by [`Collection::start_trial`](crate::Collection::start_trial).
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct StartTrial {
    learning: Arc<Learning>,
    challenger: VersionId,
    alpha: f64,
}

impl StartTrial {
    /// Sets the bound of the chance of either wrong decision, above 0 and below 1, however long
    /// the trial lasts and however often it is looked at; .05 by default.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Begins the trial. A running trial of another version ends.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::WithdrawnVersion`] or [`Error::NoPlugin`] for the
    /// version; [`Error::BuiltInChallenger`], [`Error::AlreadyActive`], [`Error::PersonalVersion`]
    /// or [`Error::TrialRunning`] for one that cannot be tried; [`Error::InvalidSetting`] for an
    /// `alpha` out of range; storage errors.
    pub fn run(self) -> Result<Trial> {
        self.learning.begin_trial(self.challenger, self.alpha)
    }
}

/// The running trial of a collection, if there is one.
#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Option<Running>>);

/// A running trial with the contests that were held in it.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) challenger: VersionId,
    pub(super) record: TrialRecord,
    /// Numbers of the contests.
    pub(super) held: HashSet<u64>,
}

impl Trials {
    /// Finds the running trial.
    pub(super) fn open(ledger: &dyn Ledger) -> Result<Self> {
        let mut running = None;
        for (challenger, version) in ledger.versions()? {
            let Some(record) = version.trial.filter(|t| t.verdict == Verdict::Running) else {
                continue;
            };
            let mut held = HashSet::new();
            for entry in ledger.judgements() {
                held.extend(contest_of(&entry?, record.start));
            }
            running = Some(Running {
                challenger,
                record,
                held,
            });
        }
        Ok(Self(Mutex::new(running)))
    }

    /// Finds the running trial again, after the collection took in another one's history.
    pub(super) fn reload(&self, ledger: &dyn Ledger) -> Result<()> {
        let running = Self::open(ledger)?.0;
        *self.lock() = running.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn ended(&self) -> TrialRecord {
        TrialRecord {
            verdict: Verdict::Ended,
            ..self.record
        }
    }
}

impl TrialRecord {
    /// The trial of a challenger.
    fn of(self, challenger: VersionId) -> Trial {
        Trial {
            challenger,
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

    /// The verdict of the counts.
    pub(super) fn decided(self) -> Verdict {
        if evidence(self.wins, self.losses) * self.alpha >= 1.0 {
            Verdict::Promoted
        } else if evidence(self.losses, self.wins) * self.alpha >= 1.0 {
            Verdict::Refused
        } else {
            Verdict::Running
        }
    }

    /// Checks a trial that was written elsewhere, by a collection with so many judgements, of which
    /// the next one has the number `next`.
    fn check(self, judgements: usize, next: JudgementId) -> std::result::Result<(), String> {
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
        Ok(())
    }
}

/// Checks the trials of versions that were written elsewhere. `usable` says whether a version can
/// answer everybody. An error names the version.
pub(super) fn check<'a>(
    trials: impl Iterator<Item = (VersionId, &'a TrialRecord)>,
    judgements: usize,
    next: JudgementId,
    usable: &dyn Fn(VersionId) -> bool,
) -> std::result::Result<(), (VersionId, String)> {
    let mut running = None;
    for (version, trial) in trials {
        trial
            .check(judgements, next)
            .map_err(|reason| (version, reason))?;
        if trial.verdict != Verdict::Running {
            continue;
        }
        if !(usable(trial.champion) && usable(version)) {
            let reason = "its trial is running, but one of the two metrics is not for everybody or not there";
            return Err((version, reason.to_owned()));
        }
        if let Some(other) = running.replace(version) {
            let reason = format!("its trial is running, and so is that of version {other}");
            return Err((version, reason));
        }
    }
    Ok(())
}

impl Learning {
    /// A trial of a version against the active one.
    pub fn start_trial(self: &Arc<Self>, challenger: VersionId) -> StartTrial {
        StartTrial {
            learning: Arc::clone(self),
            challenger,
            alpha: DEFAULT_ALPHA,
        }
    }

    fn begin_trial(&self, challenger: VersionId, alpha: f64) -> Result<Trial> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(Error::InvalidSetting {
                setting: "alpha",
                value: alpha.to_string(),
                allowed: "above 0 and below 1".to_owned(),
            });
        }
        let metric = self.load(challenger)?;
        if challenger.is_built_in() {
            return Err(Error::BuiltInChallenger);
        }
        let user = self.version_record(challenger)?.lineage.user;
        self.prepare(&metric, user.as_deref())?;
        let _guard = self.lock()?;
        let mut running = self.trials.lock();
        let champion = self.active(None);
        let mut version = self.live_record(challenger)?;
        check_challenger(challenger, &version, champion, running.as_ref())?;
        let record = TrialRecord {
            champion,
            alpha,
            start: self.ledger.next_ids()?.judgement,
            wins: 0,
            losses: 0,
            ties: 0,
            verdict: Verdict::Running,
        };
        let mut changes = Changes::default();
        if let Some(before) = &*running {
            self.put_trial(&mut changes, before.challenger, before.ended())?;
        }
        version.trial = Some(record);
        changes.put_version(challenger, version);
        self.commit(changes)?;
        *running = Some(Running {
            challenger,
            record,
            held: HashSet::new(),
        });
        Ok(record.of(challenger))
    }

    /// The running trial, or else the last one.
    ///
    /// # Errors
    /// Those of [`Collection::trial`](crate::Collection::trial).
    pub fn trial(&self) -> Result<Option<Trial>> {
        if let Some(running) = &*self.trials.lock() {
            return Ok(Some(running.record.of(running.challenger)));
        }
        let versions = self.ledger.versions()?;
        let last = versions
            .into_iter()
            .filter_map(|(version, record)| Some((version, record.trial?)))
            .max_by_key(|(_, trial)| trial.start);
        Ok(last.map(|(version, trial)| trial.of(version)))
    }

    /// Ends the running trial, undecided.
    ///
    /// # Errors
    /// Those of [`Collection::end_trial`](crate::Collection::end_trial).
    pub fn end_trial(&self) -> Result<Option<Trial>> {
        let _guard = self.lock()?;
        let mut running = self.trials.lock();
        let Some(before) = running.as_ref() else {
            return Ok(None);
        };
        let (challenger, record) = (before.challenger, before.ended());
        let mut changes = Changes::default();
        self.put_trial(&mut changes, challenger, record)?;
        self.commit(changes)?;
        *running = None;
        Ok(Some(record.of(challenger)))
    }

    /// Answers a query from both metrics of the running trial.
    ///
    /// # Errors
    /// Those of [`Collection::interleave`](crate::Collection::interleave).
    pub fn interleave(&self, query: &Query, k: usize, user: Option<&str>) -> Result<Interleaved> {
        if !(1..=MAX_K).contains(&k) {
            return Err(Error::InvalidQuery(format!(
                "k is {k}, not between 1 and {MAX_K}"
            )));
        }
        let Some(running) = self.trials.lock().clone() else {
            return Err(Error::InvalidQuery(
                "no trial is running; start one to have answers of two metrics".into(),
            ));
        };
        self.interleaved(&running, query, k, user)
    }

    /// Records a trial in the version of its challenger.
    pub(super) fn put_trial(
        &self,
        changes: &mut Changes,
        challenger: VersionId,
        trial: TrialRecord,
    ) -> Result<()> {
        if let Some(record) = changes.version_mut(challenger) {
            record.trial = Some(trial);
            return Ok(());
        }
        let mut record = self.version_record(challenger)?;
        record.trial = Some(trial);
        changes.put_version(challenger, record);
        Ok(())
    }

    pub(super) fn interleaved(
        &self,
        running: &Running,
        query: &Query,
        k: usize,
        user: Option<&str>,
    ) -> Result<Interleaved> {
        let vector = self.query_vector(query)?;
        let ranked = |version: VersionId| {
            let metric = self.load(version)?;
            self.ranking(&metric, query, &vector, k)
        };
        let coin = contest(&query_key(query), user, running.record.start);
        let champion = ranked(running.record.champion)?;
        let challenger = ranked(running.challenger)?;
        let (ids, teams) = draft(&champion, &challenger, k, coin).into_iter().unzip();
        Ok(Interleaved { ids, teams })
    }

    /// Ends a running trial whose clicks or metrics are about to be forgotten; its counts go. Says
    /// whether it ended.
    pub(super) fn forget_trial(
        &self,
        _guard: &WriteGuard<'_>,
        changes: &mut Changes,
        gone: &[JudgementId],
        withdrawn: &[VersionId],
    ) -> Result<bool> {
        let Some(running) = self.trials.lock().clone() else {
            return Ok(false);
        };
        let record = running.record;
        let concerned = gone.iter().any(|judgement| *judgement >= record.start)
            || withdrawn.contains(&running.challenger)
            || withdrawn.contains(&record.champion);
        if concerned {
            let ended = TrialRecord {
                wins: 0,
                losses: 0,
                ties: 0,
                ..running.ended()
            };
            self.put_trial(changes, running.challenger, ended)?;
        }
        Ok(concerned)
    }

    /// Ends a running trial because another metric becomes the active one.
    pub(super) fn supersede_trial(
        &self,
        _guard: &WriteGuard<'_>,
        changes: &mut Changes,
    ) -> Result<()> {
        let Some(running) = self.trials.lock().clone() else {
            return Ok(());
        };
        self.put_trial(changes, running.challenger, running.ended())
    }

    /// Whether a version is one of the two of the running trial.
    pub(super) fn is_in_trial(&self, version: VersionId) -> bool {
        let running = self.trials.lock();
        running.as_ref().is_some_and(|running| {
            version == running.challenger || version == running.record.champion
        })
    }

    /// Makes the end of a trial visible.
    pub(super) fn clear_trial(&self, _guard: &WriteGuard<'_>) {
        *self.trials.lock() = None;
    }
}

/// Refuses a challenger that cannot be tried against the active version.
fn check_challenger(
    challenger: VersionId,
    record: &VersionRecord,
    champion: VersionId,
    running: Option<&Running>,
) -> Result<()> {
    if champion == challenger {
        return Err(Error::AlreadyActive(challenger));
    }
    if let Some(user) = &record.lineage.user {
        return Err(Error::PersonalVersion {
            version: challenger,
            user: user.clone(),
        });
    }
    if let Some(running) = running.filter(|running| running.challenger == challenger) {
        return Err(Error::TrialRunning {
            version: challenger,
            contests: running.held.len(),
        });
    }
    Ok(())
}
