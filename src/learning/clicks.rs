//! Clicks on the answers of a running [trial](super::trial), counted as contests.
//!
//! The first clicks of a user on the answer to a query are one contest.

use std::collections::{HashMap, HashSet};

use super::interleave::Team;
use super::trial::Running;
use super::{Changes, Entry, Learning, WriteGuard};
use crate::model::error::Result;
use crate::model::{Judgement, JudgementId, Source, Subject, Verdict, Versioned, query_key};

/// Changes that new judgements make to the running trial.
#[derive(Debug, Default)]
pub(super) struct Counted {
    running: Option<Running>,
    /// The challenger, when it has won.
    pub(super) promoted: Option<Versioned>,
}

impl Learning {
    /// Adds what new judgements decide of the running trial to the changes that store them. Gives
    /// what is to be published once these are stored.
    pub(super) fn count_clicks(
        &self,
        _guard: &WriteGuard<'_>,
        judgements: &[Judgement],
        changes: &mut Changes,
    ) -> Result<Counted> {
        let Some(mut running) = self.trials.lock().clone() else {
            return Ok(Counted::default());
        };
        let mut changed = false;
        for (contest, clicks) in clicks_by_contest(judgements, running.record.start) {
            let decided = running.record.verdict != Verdict::Running;
            if decided || !running.held.insert(contest) {
                continue;
            }
            let Some(score) = self.score(&running, &clicks)? else {
                continue;
            };
            match score.signum() {
                1 => running.record.wins += 1,
                -1 => running.record.losses += 1,
                _ => running.record.ties += 1,
            }
            running.record.verdict = running.record.decided();
            changed = true;
        }
        if changed {
            self.put_trial(changes, running.challenger, running.record)?;
        }
        let promoted = running.record.verdict == Verdict::Promoted;
        let promoted = promoted
            .then(|| self.load(running.challenger))
            .transpose()?;
        Ok(Counted {
            running: Some(running),
            promoted,
        })
    }

    /// The clicks on the challenger's items less those on the champion's; `None` when the list that
    /// was shown is no answer of the trial.
    fn score(&self, running: &Running, clicks: &[&Judgement]) -> Result<Option<i64>> {
        let Some(first) = clicks.first() else {
            return Ok(None);
        };
        let Subject::Graded { query, .. } = &first.subject else {
            return Ok(None);
        };
        let k = first.shown.len();
        let answer = self.interleaved(running, query, k, first.user.as_deref())?;
        if answer.ids != first.shown {
            return Ok(None);
        }
        let clicked: HashSet<&str> = clicks.iter().filter_map(|j| j.graded_item()).collect();
        let teams = answer
            .ids
            .iter()
            .zip(&answer.teams)
            .filter(|(id, _)| clicked.contains(id.as_str()))
            .map(|(_, team)| match team {
                Team::Challenger => 1,
                Team::Champion => -1,
            });
        Ok(Some(teams.sum()))
    }

    /// Makes counted clicks visible.
    pub(super) fn publish_count(&self, _guard: &WriteGuard<'_>, counted: Counted) {
        if let Some(running) = counted.running {
            let goes_on = running.record.verdict == Verdict::Running;
            *self.trials.lock() = goes_on.then_some(running);
        }
    }
}

/// Clicks on shown answers by contest, in the order of each contest's first click.
fn clicks_by_contest(judgements: &[Judgement], start: JudgementId) -> Vec<(u64, Vec<&Judgement>)> {
    let mut contests: Vec<(u64, Vec<&Judgement>)> = Vec::new();
    let mut known: HashMap<u64, usize> = HashMap::new();
    for judgement in judgements {
        let Subject::Graded { query, grade, .. } = &judgement.subject else {
            continue;
        };
        let is_click = judgement.source == Source::Click && *grade > 0.0;
        if !is_click || judgement.shown.is_empty() {
            continue;
        }
        let key = query_key(query);
        let contest = contest(&key, judgement.user.as_deref(), start);
        let at = *known.entry(contest).or_insert_with(|| {
            contests.push((contest, Vec::new()));
            contests.len() - 1
        });
        contests[at].1.push(judgement);
    }
    contests
}

/// The contest that an entry of the log is a click in, of a trial that began with the judgement
/// `start`; `None` for other entries.
pub(super) fn contest_of((id, judgement): &Entry, start: JudgementId) -> Option<u64> {
    let counts = *id >= start && judgement.is_click() && !judgement.shown.is_empty();
    counts.then(|| contest(&judgement.query.key(), judgement.user.as_deref(), start))
}

/// The number of a contest, which is also the seed of its coins.
pub(super) fn contest(query: &[u8], user: Option<&str>, start: JudgementId) -> u64 {
    let mut bytes = query.to_vec();
    bytes.push(u8::from(user.is_some()));
    bytes.extend_from_slice(user.unwrap_or_default().as_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, start.0)
}
