//! Learning a metric from the judgements so far.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ask::{self, Question, Said};
use super::collect::{Selection, Whose};
use super::drift::MOVED;
use super::versions::BASE;
use super::{Collection, Inner, share};
use crate::error::{Error, Result};
use crate::feedback::Source;
use crate::index::Versioned;
use crate::metric::learned;
use crate::plugin::{CautiousStep, Change, FitReport, Fitted, Gate, Incumbent, PairCounts, Task};

/// A refit to be run; made by [`Collection::refit`].
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Refit {
    collection: Collection,
    learner: Option<String>,
    user: Option<String>,
    seed: u64,
    dry_run: bool,
    force: bool,
    half_life: Option<Duration>,
    user_share: Option<f64>,
    rank: Option<usize>,
    ask: Option<usize>,
    /// Give up when no handle but this one and the caller's is left.
    until_alone: bool,
}

/// What a refit did and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RefitReport {
    /// Whether the candidate is active now.
    pub promoted: bool,
    /// The candidate's number; `None` after a dry run.
    pub version: Option<u32>,
    /// The version that was active before.
    pub parent: u32,
    /// What made the candidate.
    pub learner: String,
    /// Pairs it learned from.
    pub pairs: PairCounts,
    /// The weight of the prior.
    pub lambda: f64,
    /// Position on the geodesic.
    pub t: f64,
    /// `cond A`.
    pub condition: f64,
    /// How far it goes from Euclid to what was learned, where it is a [step](CautiousStep).
    pub step: Option<f64>,
    /// The held-out test.
    pub gate: Gate,
    /// Where the time went.
    pub millis: RefitMillis,
    /// Judgements that may decide, where they were asked for and the candidate was not promoted.
    /// They come in twos of one query.
    pub questions: Vec<Question>,
}

/// Milliseconds of each part of a refit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct RefitMillis {
    /// Reading judgements and sampling the collection.
    pub collect: f64,
    /// Fitting, selection included.
    pub fit: f64,
    /// The held-out test.
    pub gate: f64,
    /// Storing the version and making it seen.
    pub swap: f64,
}

impl Collection {
    /// Learns a metric from the judgements so far. The candidate becomes a version; it is promoted
    /// when the gate finds that it answers held-out judgements better. Where that is likely, and
    /// not certain, a [step](CautiousStep) towards it is promoted in its place. Searches go on
    /// meanwhile, and the next one after a promotion is answered under it: nothing is rebuilt.
    pub fn refit(&self) -> Refit {
        Refit {
            collection: self.clone(),
            learner: None,
            user: None,
            seed: 0,
            dry_run: false,
            force: false,
            half_life: None,
            user_share: self.inner.background.user_share(),
            rank: None,
            ask: None,
            until_alone: false,
        }
    }
}

impl Refit {
    /// Which learner; by default the plugin chooses.
    pub fn learner(mut self, learner: impl Into<String>) -> Self {
        self.learner = Some(learner.into());
        self
    }

    /// Learns a metric for one user: from their judgements, with everybody else's as the prior. The
    /// gate tests it on theirs alone. Users without a metric of their own are answered under
    /// everybody's.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Fixes every random choice; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Fits and judges a candidate, and stores nothing.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Promotes the candidate whatever the gate says.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Asks for so many judgements (2 to 1,000; 30 decide most cases) when the gate does not let
    /// the candidate pass. Answer them as [explicit](crate::Source::Explicit) judgements and refit
    /// again: they decide where they speak clearly for or against the candidate, and are learned
    /// from besides.
    pub fn ask(mut self, questions: usize) -> Self {
        self.ask = Some(questions);
        self
    }

    /// Lets a judgement's weight halve over so much time, counted back from the newest judgement.
    /// By default they all keep theirs.
    pub fn half_life(mut self, half_life: Duration) -> Self {
        self.half_life = Some(half_life);
        self
    }

    /// Lets no user's judgements make up more than this share of the weight of all that the shared
    /// metric is learned from, above 0 and at most 1: whoever judges much, or with great weight, is
    /// scaled down. Where there are too few users for it, nobody weighs more than the one who
    /// weighs least. Judgements without a user are the program's own and are not scaled. By default
    /// nobody is, unless the [collection was opened](crate::CollectionBuilder::user_share) so.
    pub fn user_share(mut self, share: f64) -> Self {
        self.user_share = Some(share);
        self
    }

    /// Keeps a user's metric as a change of everybody's along so many directions (`4 rank d` bytes
    /// instead of `4 d^2`); 0 keeps it whole. By default 64 where there are more than 256
    /// dimensions, and whole otherwise. The metric that everybody has is always whole, and so is a
    /// user's where everybody has the built-in one.
    pub fn rank(mut self, rank: usize) -> Self {
        self.rank = Some(rank);
        self
    }

    /// With what a version was refitted with.
    pub(super) fn with(mut self, settings: Settings) -> Self {
        let Settings {
            half_life,
            user_share,
            rank,
        } = settings;
        self.half_life = half_life.or(self.half_life);
        self.user_share = user_share.or(self.user_share);
        self.rank = rank.or(self.rank);
        self
    }

    /// What a version says of the request.
    fn parameters(&self) -> impl Iterator<Item = (String, f64)> {
        let days = self.half_life.map(|time| time.as_secs_f64() / 86_400.0);
        let said = [(HALF_LIFE_DAYS, days), (USER_SHARE, self.user_share)];
        said.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    }

    /// Gives up when the caller's handle is the last one.
    pub(super) fn until_alone(mut self) -> Self {
        self.until_alone = true;
        self
    }

    /// Runs it. Refits of one collection run one at a time.
    ///
    /// # Errors
    /// [`Error::NoJudgements`]; [`Error::NoPlugin`]; [`Error::Learn`] when the judgements do not
    /// determine a metric; [`Error::Invalid`] for a number of questions, a half-life or a share
    /// that cannot be, and for questions of a dry run; storage errors. The active metric is
    /// unchanged then.
    pub fn run(self) -> Result<RefitReport> {
        let inner = &self.collection.inner;
        let _refitting = inner.refit.lock().unwrap_or_else(PoisonError::into_inner);
        inner.refit(&self)
    }
}

/// The name under which a version's parameters say the half-life of its judgements, in days.
const HALF_LIFE_DAYS: &str = "half_life_days";

/// The name under which a version's parameters say the greatest share of one user.
const USER_SHARE: &str = "user_share";

/// A half-life as a version says it; `None` where it is no time.
fn days_to_duration(days: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(days * 86_400.0)
        .ok()
        .filter(|d| !d.is_zero())
}

/// What decides, beside the judgements, what is learned from them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settings {
    pub(super) half_life: Option<Duration>,
    pub(super) user_share: Option<f64>,
    pub(super) rank: Option<usize>,
}

impl Settings {
    /// Those that a version says it was refitted with.
    pub(super) fn of(parameters: &BTreeMap<String, f64>) -> Self {
        let said = |name: &str| parameters.get(name).copied();
        Self {
            half_life: said(HALF_LIFE_DAYS).and_then(days_to_duration),
            user_share: said(USER_SHARE).filter(|share| share::check(*share).is_ok()),
            rank: said("rank")
                .filter(|rank| *rank >= 1.0)
                .map(|rank| rank as usize),
        }
    }
}

impl Inner {
    /// What the active metrics were refitted with, by user.
    pub(super) fn settings_of_active(&self) -> Result<HashMap<Option<String>, Settings>> {
        let active = self.shelf.active()?;
        let users = active
            .users
            .into_iter()
            .map(|(user, version)| (Some(user), version));
        let learned = users
            .chain([(None, active.shared)])
            .filter(|(_, version)| *version > 0);
        learned
            .map(|(user, version)| {
                Ok((
                    user,
                    Settings::of(&self.version_record(version)?.parameters),
                ))
            })
            .collect()
    }
}

/// Dimensions up to which a user's metric is kept whole.
const WHOLE_UP_TO: usize = 256;
/// Directions of a user's metric beyond that.
const RANK: usize = 64;

/// The name under which a user's version says how many judgements of others its prior was made of.
pub(super) const OTHERS: &str = "judgements_of_others";

impl Inner {
    fn refit(&self, request: &Refit) -> Result<RefitReport> {
        let started = Instant::now();
        let user = request.user.as_deref();
        let learner = self.learner(request.learner.as_deref())?;
        if let Some(n) = request.ask {
            ask::check(n)?;
            if request.dry_run {
                return Err(Error::Invalid(
                    "a dry run stores no candidate that judgements could be asked for".into(),
                ));
            }
        }
        if request.half_life.is_some_and(|h| h.is_zero()) {
            return Err(Error::Invalid(
                "the half-life is 0; it is a time above 0".into(),
            ));
        }
        request.user_share.map_or(Ok(()), share::check)?;
        let selection = Selection::of(Whose::only(user))
            .half_life(request.half_life)
            .user_share(request.user_share);
        let collected = self.collect(&selection)?;
        if collected.is_empty() {
            return Err(Error::NoJudgements(
                user.map(|u| format!(" by user {u:?}")).unwrap_or_default(),
            ));
        }
        let others = self.collect_others(&selection)?;
        let sample = self.sample()?;
        let incumbent = self.load(self.metrics.active(user))?;
        let is_step = incumbent.version > 0
            && self
                .version_record(incumbent.version)?
                .parameters
                .contains_key(CautiousStep::PARAMETER);
        let base = if user.is_some() {
            self.base_for_users(learner.name())?
        } else {
            None
        };
        let rank = request
            .rank
            .unwrap_or(if self.dim > WHOLE_UP_TO { RANK } else { 0 });
        let collect = millis(started);
        let task = Task {
            dim: self.dim,
            learner: request.learner.as_deref(),
            seed: request.seed,
            examples: &collected.examples,
            // To learn from nothing is to begin at Euclid; a built-in distance that is another one
            // is an incumbent too.
            incumbent: (incumbent.version > 0 || incumbent.metric.matrix().is_none()).then_some(
                Incumbent {
                    metric: &*incumbent.metric,
                    step: is_step,
                },
            ),
            sample: &sample,
            change: base.as_ref().map(|base| Change {
                base: &base.metric,
                rank,
            }),
            cancel: &|| request.until_alone && Arc::strong_count(&request.collection.inner) <= 2,
        };
        let mut fitted = match &others {
            Some(others) => learner.fit_personal(&task, &others.examples)?,
            None => learner.fit(&task)?,
        };
        self.decide(request, &incumbent, &mut fitted)?;
        if let Ok(comparison) = learner.compare(&*incumbent.metric, &*fitted.metric) {
            fitted
                .report
                .parameters
                .insert(MOVED.to_owned(), comparison.distance);
        }
        for (source, weight) in collected
            .weights
            .iter()
            .filter(|(source, _)| **source != Source::Explicit)
        {
            let name = format!("weight_of_{}", source.name());
            fitted.report.parameters.insert(name, f64::from(*weight));
        }
        if let Some(others) = &others {
            fitted
                .report
                .parameters
                .insert(OTHERS.to_owned(), others.len() as f64);
        }
        if let Some(base) = base.filter(|_| fitted.of_base) {
            fitted
                .report
                .parameters
                .insert(BASE.to_owned(), f64::from(base.version));
        }
        fitted.report.parameters.extend(request.parameters());
        let swapping = Instant::now();
        let mut promoted = false;
        let mut version = None;
        let mut candidate = None;
        if !request.dry_run {
            let range = hull(
                collected.range,
                others.as_ref().and_then(|others| others.range),
            );
            let _writing = self.lock_writer();
            refuse_if_overtaken(
                &mut fitted.report.gate,
                incumbent.version,
                self.metrics.active(user),
            );
            promoted = request.force || fitted.report.gate.accepted;
            let record = learned(
                &fitted.report,
                learner.name(),
                incumbent.version,
                user,
                range,
            );
            let mut writes = self.shelf.write();
            let metric = self.put_version(&mut writes, &record, fitted.metric)?;
            version = Some(metric.version);
            if promoted {
                self.make_active(writes, user, &metric)?;
            } else {
                writes.commit()?;
                self.keep_version(&metric);
                candidate = Some(metric);
            }
        }
        let swap = millis(swapping);
        let questions = match (request.ask, candidate) {
            (Some(n), Some(candidate)) => self.ask(&candidate, &incumbent, n, user)?,
            _ => Vec::new(),
        };
        let FitReport {
            learner,
            pairs,
            lambda,
            t,
            condition,
            parameters,
            gate,
            fit_millis,
            gate_millis,
        } = fitted.report;
        let step = parameters.get(CautiousStep::PARAMETER).copied();
        let millis = RefitMillis {
            collect,
            fit: fit_millis,
            gate: gate_millis,
            swap,
        };
        Ok(RefitReport {
            promoted,
            version,
            parent: incumbent.version,
            learner,
            pairs,
            lambda,
            t,
            condition,
            step,
            gate,
            millis,
            questions,
        })
    }

    /// Turns the second key, where questions were answered, and takes the step where the candidate
    /// does not pass.
    fn decide(&self, request: &Refit, incumbent: &Versioned, fitted: &mut Fitted) -> Result<()> {
        fitted.report.parameters.remove(CautiousStep::PARAMETER);
        let sound =
            |step: &CautiousStep| step.gate.accepted && step.share > 0.0 && step.share < 1.0;
        fitted.step.take_if(|step| !sound(step));
        let answers = self.answers(incumbent, request.user.as_deref(), fitted.report.pairs)?;
        if let Some(tally) = answers.tally {
            let refuted = fitted
                .report
                .parameters
                .contains_key(FitReport::CLEARLY_WORSE);
            match (
                tally.decide(&mut fitted.report.gate, refuted),
                &mut fitted.step,
            ) {
                (Said::Nothing, Some(step)) => {
                    step.gate.reason = format!("{}; {}", step.gate.reason, tally.words())
                }
                (Said::Against, step) => *step = None,
                _ => {}
            }
        }
        // Questions are about the candidate itself, answers count for the metric that was active,
        // and force is for it.
        let reason = &mut fitted.report.gate.reason;
        match &fitted.step {
            _ if fitted.report.gate.accepted || request.force => {}
            Some(_) if request.ask.is_some() => {
                reason.push_str("; a step towards it would pass, where nothing is asked");
            }
            Some(_) if answers.open > 0 => {
                let open = answers.open;
                *reason = format!(
                    "{reason}; a step towards it would pass, once the {open} open questions are answered"
                );
            }
            _ => fitted.take_step(),
        }
        Ok(())
    }
}

/// What was compared with one metric says nothing of another that became active meanwhile.
fn refuse_if_overtaken(gate: &mut Gate, compared: u32, active: u32) {
    if gate.accepted && compared != active {
        gate.accepted = false;
        gate.reason = format!(
            "not promoted: metric {active} became active while this one was compared with metric {compared}; that said: {}",
            gate.reason
        );
    }
}

/// The least range that holds both.
fn hull(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, other) => one.or(other),
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
