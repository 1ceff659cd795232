//! Learning a metric from the judgements so far.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::answers::AnswersSay;
use super::ask::{self, Question};
use super::examples::{Collected, Selection, Whose};
use super::weights::user_share;
use super::{Changes, Learning, RefitGuard};
use crate::model::error::{Error, Result};
use crate::model::{JudgementRange, RefitSettings, VersionId, VersionRecord, Versioned};
use crate::plugin::{
    FitReport, Fitted, Gate, Incumbent, LearnError, MetricLearner, PairCounts, Sample,
    ShrunkenMetric, Task, UpdateOf, caught,
};

/// A refit that is to be run; made by [`Collection::refit`](crate::Collection::refit).
#[must_use = "end with `run`"]
#[derive(Clone)]
pub struct Refit {
    learning: Arc<Learning>,
    user: Option<String>,
    settings: RefitSettings,
    dry_run: bool,
    force: bool,
    ask: Option<usize>,
    cancel: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    /// Whether it gives up when no handle but its own and its caller's is left.
    until_alone: bool,
}

impl std::fmt::Debug for Refit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refit")
            .field("learning", &self.learning)
            .field("user", &self.user)
            .field("settings", &self.settings)
            .field("dry_run", &self.dry_run)
            .field("force", &self.force)
            .field("ask", &self.ask)
            .finish_non_exhaustive()
    }
}

/// Outcome of a refit, with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RefitReport {
    /// Whether the refit made its candidate active.
    pub promoted: bool,
    /// Whether nothing changed since a version was learned: the candidate is that version, to the
    /// bit, and no other was stored.
    pub unchanged: bool,
    /// The candidate's version; `None` after a dry run.
    pub version: Option<VersionId>,
    /// The version that was active before.
    pub parent: VersionId,
    /// The learner that made the candidate.
    pub learner: String,
    /// Pairs it learned from.
    pub pairs: PairCounts,
    /// Number of judgements that taught nothing, because their items hold other contents than those
    /// that were judged, or are gone.
    pub stale: usize,
    /// The weight of the prior.
    pub lambda: f64,
    /// Position on the geodesic.
    pub t: f64,
    /// `cond A`.
    pub condition: f64,
    /// The share of the learned metric where a [shrunken one](crate::plugin::ShrunkenMetric) took
    /// its place.
    pub shrinkage: Option<f64>,
    /// The held-out test.
    pub gate: Gate,
    /// Milliseconds of each phase.
    pub millis: RefitMillis,
    /// Judgements that may decide, where they were asked for and the candidate was not promoted.
    /// They come in twos of one query.
    pub questions: Vec<Question>,
}

/// Milliseconds of each phase of a refit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct RefitMillis {
    /// Reading judgements and sampling the collection.
    pub collect: f64,
    /// Fitting, selection included.
    pub fit: f64,
    /// The held-out test.
    pub gate: f64,
    /// Storing the version and answering under it.
    pub swap: f64,
}

impl Learning {
    /// A refit with the settings of the open collection.
    pub fn refit(self: &Arc<Self>) -> Refit {
        Refit {
            learning: Arc::clone(self),
            user: None,
            settings: RefitSettings {
                user_share: self.background.user_share(),
                ..RefitSettings::default()
            },
            dry_run: false,
            force: false,
            ask: None,
            cancel: None,
            until_alone: false,
        }
    }
}

impl Refit {
    /// Sets the learner; by default the plugin chooses.
    pub fn learner(mut self, learner: impl Into<String>) -> Self {
        self.settings.learner = Some(learner.into());
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
        self.settings.seed = seed;
        self
    }

    /// Fits and tests a candidate, and stores nothing.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Promotes the candidate whatever the gate says.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Asks for a number of judgements (2 to 1,000; 30 decide most cases) where the gate does not
    /// let the candidate pass. Answer them as [explicit](crate::Source::Explicit) judgements and
    /// refit again: they decide where they speak clearly for or against the candidate, and are
    /// learned from as well.
    pub fn ask(mut self, questions: usize) -> Self {
        self.ask = Some(questions);
        self
    }

    /// Halves the weight of a judgement over each such time, counted back from the newest one. By
    /// default all judgements keep their weight.
    pub fn half_life(mut self, half_life: Duration) -> Self {
        self.settings.half_life = Some(half_life);
        self
    }

    /// Limits the share of one user's judgements in the weight of all that the shared metric is
    /// learned from, above 0 and at most 1; the judgements of users above it are scaled down. Where
    /// there are too few users for the limit, nobody weighs more than the one who weighs least.
    /// Judgements without a user are the program's own and are not scaled. Without a limit here,
    /// that of the [opened collection](crate::CollectionBuilder::user_share) holds, if it has one.
    pub fn user_share(mut self, share: f64) -> Self {
        self.settings.user_share = Some(share);
        self
    }

    /// Keeps a user's metric as an update of everybody's of at most this rank (`4 rank d` bytes
    /// instead of `4 d^2`); 0 keeps it whole. By default the rank is 64 above 256 dimensions, and
    /// the metric is whole otherwise. Everybody's metric is always whole, and so is a user's where
    /// everybody has the built-in one.
    pub fn rank(mut self, rank: usize) -> Self {
        self.settings.rank = Some(rank);
        self
    }

    /// Stops the fit with [`Error::Cancelled`] soon after `cancel` returns `true`. Nothing is
    /// stored then.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Arc::new(cancel));
        self
    }

    /// Takes over the settings of an earlier refit.
    pub(super) fn with(mut self, settings: RefitSettings) -> Self {
        let of_collection = self.settings.user_share;
        self.settings = settings;
        self.settings.user_share = self.settings.user_share.or(of_collection);
        self
    }

    /// Gives up when no handle of the collection is left.
    pub(super) fn until_alone(mut self) -> Self {
        self.until_alone = true;
        self
    }

    /// Runs the refit. Refits of one collection run one at a time.
    ///
    /// # Errors
    /// [`Error::NoJudgements`], also where none of them teaches; [`Error::NoPlugin`];
    /// [`Error::Learn`] when the judgements do not determine a metric; [`Error::Cancelled`];
    /// [`Error::InvalidSetting`] for a number of questions, a half-life or a share out of range;
    /// [`Error::ConflictingSettings`] for questions of a dry run; storage errors. The active metric
    /// is unchanged then.
    pub fn run(self) -> Result<RefitReport> {
        let guard = self.learning.lock_refits();
        self.learning.run_refit(&self, &guard)
    }

    /// Checks the settings.
    fn check(&self) -> Result<()> {
        if let Some(n) = self.ask {
            ask::check(n)?;
            if self.dry_run {
                return Err(Error::ConflictingSettings {
                    first: "a dry run",
                    second: "asking for judgements",
                    reason: "it stores no candidate that judgements could be asked for",
                });
            }
        }
        if self.settings.half_life.is_some_and(|h| h.is_zero()) {
            return Err(Error::InvalidSetting {
                setting: "the half-life",
                value: "0".to_owned(),
                allowed: "a time above 0".to_owned(),
            });
        }
        self.settings.user_share.map_or(Ok(()), user_share::check)
    }

    /// Whether the fit is to stop.
    fn is_cancelled(&self) -> bool {
        let alone = self.until_alone && Arc::strong_count(&self.learning) <= 2;
        alone || self.cancel.as_ref().is_some_and(|cancel| cancel())
    }
}

/// Largest dimension at which a user's metric is kept whole where nothing is said of its rank.
const MAX_WHOLE_DIM: usize = 256;
/// Rank of a user's metric above that dimension where nothing is said of it.
const DEFAULT_RANK: usize = 64;

/// What a refit is fitted on.
struct Inputs<'a> {
    plugin: &'a Arc<dyn MetricLearner>,
    own: Collected,
    /// Examples of the other users, for a user's own metric.
    others: Option<Collected>,
    sample: Arc<Sample>,
    incumbent: Versioned,
    /// Whether the incumbent is a shrunken metric.
    incumbent_shrunken: bool,
    /// The report of the incumbent's fit, where it was learned for the same users by this plugin.
    incumbent_report: Option<FitReport>,
    /// Everybody's metric, which a user's own may be a low-rank update of.
    base: Option<Versioned>,
}

impl Inputs<'_> {
    /// Number of judgements that teach nothing.
    fn stale(&self) -> usize {
        self.own.stale + self.others.as_ref().map_or(0, |others| others.stale)
    }

    /// The base of a candidate that is an update of it.
    fn base_of(&self, fitted: &Fitted) -> Option<&Versioned> {
        self.base.as_ref().filter(|_| fitted.is_update)
    }

    /// First and last judgement that a candidate is learned from.
    fn range(&self) -> Option<JudgementRange> {
        let others = self.others.as_ref().and_then(|others| others.range);
        JudgementRange::hull(self.own.range, others)
    }
}

impl Learning {
    /// The settings that the active versions were refitted with, by user.
    pub(super) fn settings_of_active(&self) -> Result<HashMap<Option<String>, RefitSettings>> {
        let active = self.ledger.active()?;
        let users = active
            .users
            .into_iter()
            .map(|(user, version)| (Some(user), version));
        let learned = users
            .chain([(None, active.shared)])
            .filter(|(_, version)| !version.is_built_in());
        learned
            .map(|(user, version)| Ok((user, self.version_record(version)?.settings)))
            .collect()
    }

    fn run_refit(&self, request: &Refit, _guard: &RefitGuard<'_>) -> Result<RefitReport> {
        let started = Instant::now();
        request.check()?;
        let user = request.user.as_deref();
        let inputs = self.inputs(request)?;
        let collect = millis(started);
        let mut fitted = self.fit(request, &inputs)?;
        self.decide(request, &inputs.incumbent, &mut fitted)?;
        let base = inputs.base_of(&fitted).map(|base| &base.metric);
        self.check_conformance(&fitted.metric, inputs.plugin, base)?;
        let swapping = Instant::now();
        let same = self.version_of(request, &inputs, &fitted)?;
        let stored = match same {
            _ if request.dry_run => None,
            Some(version) => Some(self.take_version(request, &inputs, &mut fitted, version)?),
            None => Some(self.store_candidate(request, &inputs, &mut fitted)?),
        };
        let swap = millis(swapping);
        let questions = match (request.ask, &stored) {
            (Some(n), Some(stored)) if !stored.promoted && !stored.is(&inputs.incumbent) => {
                self.ask(&stored.metric, &inputs.incumbent, n, user)?
            }
            _ => Vec::new(),
        };
        let FitReport {
            learner,
            pairs,
            lambda,
            t,
            condition,
            shrinkage,
            gate,
            fit_millis,
            gate_millis,
            ..
        } = fitted.report;
        Ok(RefitReport {
            promoted: stored.as_ref().is_some_and(|stored| stored.promoted),
            unchanged: same.is_some(),
            version: stored.map(|stored| stored.metric.version),
            parent: inputs.incumbent.version,
            learner,
            pairs,
            stale: inputs.stale(),
            lambda,
            t,
            condition,
            shrinkage,
            gate,
            millis: RefitMillis {
                collect,
                fit: fit_millis,
                gate: gate_millis,
                swap,
            },
            questions,
        })
    }

    /// Reads what a refit is fitted on.
    fn inputs(&self, request: &Refit) -> Result<Inputs<'_>> {
        let user = request.user.as_deref();
        let plugin = self.plugin_for(request.settings.learner.as_deref())?;
        let selection = Selection::of(Whose::only(user), &request.settings);
        let own = self.collect(&selection)?;
        if own.is_empty() {
            return Err(Error::NoJudgements {
                user: user.map(str::to_owned),
                stale: own.stale,
            });
        }
        let others = self.collect_others(&selection)?;
        let sample = self.sample()?;
        let incumbent = self.load(self.active(user))?;
        let (mut incumbent_shrunken, mut incumbent_report) = (false, None);
        if !incumbent.version.is_built_in() {
            let record = self.version_record(incumbent.version)?;
            incumbent_shrunken = record.fit.shrinkage.is_some();
            let is_alike = record.is_of(user) && record.lineage.plugin == plugin.name();
            incumbent_report = record.fit_report().filter(|_| is_alike);
        }
        let base = match user {
            Some(_) => self.base_for_users(plugin.name())?,
            None => None,
        };
        Ok(Inputs {
            plugin,
            own,
            others,
            sample,
            incumbent,
            incumbent_shrunken,
            incumbent_report,
            base,
        })
    }

    /// Lets the plugin fit a candidate.
    fn fit(&self, request: &Refit, inputs: &Inputs<'_>) -> Result<Fitted> {
        let dim = self.rules.dim;
        let default_rank = if dim > MAX_WHOLE_DIM { DEFAULT_RANK } else { 0 };
        let rank = request.settings.rank.unwrap_or(default_rank);
        let incumbent = &inputs.incumbent;
        // Without an incumbent a plugin compares with Euclid alone, so a built-in distance that is
        // not Euclid is one too.
        let is_incumbent = !incumbent.version.is_built_in() || incumbent.metric.matrix().is_none();
        let cancel = || request.is_cancelled();
        let task = Task::new(dim, &inputs.own.examples, &inputs.sample)
            .with_learner(request.settings.learner.as_deref())
            .with_seed(request.settings.seed)
            .with_incumbent(is_incumbent.then_some(Incumbent {
                metric: &*incumbent.metric,
                shrunken: inputs.incumbent_shrunken,
                report: inputs.incumbent_report.as_ref(),
            }))
            .with_update_of(inputs.base.as_ref().map(|base| UpdateOf {
                base: &base.metric,
                rank,
            }))
            .with_cancel(&cancel);
        let fitted = match &inputs.others {
            Some(others) => caught("fit_personal", || {
                inputs.plugin.fit_personal(&task, &others.examples)
            }),
            None => caught("fit", || inputs.plugin.fit(&task)),
        };
        fitted.map_err(|error| match error {
            LearnError::Cancelled => Error::Cancelled,
            error => error.into(),
        })
    }

    /// Lets answered questions decide, and puts the shrunken metric in the candidate's place where
    /// only that passes.
    fn decide(&self, request: &Refit, incumbent: &Versioned, fitted: &mut Fitted) -> Result<()> {
        fitted.report.shrinkage = None;
        let passes = |shrunken: &ShrunkenMetric| {
            shrunken.gate.accepted && shrunken.share > 0.0 && shrunken.share < 1.0
        };
        fitted.shrunken.take_if(|shrunken| !passes(shrunken));
        let answers = self.answers(incumbent, request.user.as_deref(), fitted.report.pairs)?;
        if let Some(outcomes) = answers.outcomes {
            let refuted = fitted.report.clearly_worse;
            let verdict = outcomes.decide(&mut fitted.report.gate, refuted);
            match (verdict, &mut fitted.shrunken) {
                (AnswersSay::Nothing, Some(shrunken)) => {
                    shrunken.gate.reason =
                        format!("{}; {}", shrunken.gate.reason, outcomes.summary());
                }
                (AnswersSay::Against, shrunken) => *shrunken = None,
                _ => {}
            }
        }
        // Questions are about the candidate itself, answers count for the metric that was active,
        // and force is for the candidate.
        let reason = &mut fitted.report.gate.reason;
        match &fitted.shrunken {
            _ if fitted.report.gate.accepted || request.force => {}
            Some(_) if request.ask.is_some() => {
                reason.push_str("; shrunken towards Euclid it would pass, where nothing is asked");
            }
            Some(_) if answers.open > 0 => {
                *reason = format!(
                    "{reason}; shrunken towards Euclid it would pass, once the {} open questions \
                     are answered",
                    answers.open
                );
            }
            _ => fitted.use_shrunken(),
        }
        Ok(())
    }

    /// The version that a candidate is already, to the bit: the incumbent, or else the newest one.
    /// Questions are asked only of a version that was learned under the present incumbent.
    fn version_of(
        &self,
        request: &Refit,
        inputs: &Inputs<'_>,
        fitted: &Fitted,
    ) -> Result<Option<VersionId>> {
        let incumbent = inputs.incumbent.version;
        let base = inputs.base_of(fitted).map(|base| base.version);
        // What later refits take over from a version; the learner and the seed show in the metric.
        let settings =
            |of: &RefitSettings| (of.rank, of.half_life, of.user_share.map(f64::to_bits));
        let is_alike = |record: &VersionRecord| {
            !record.withdrawn
                && settings(&record.settings) == settings(&request.settings)
                && record.is_of(request.user.as_deref())
                && record.lineage.plugin == inputs.plugin.name()
                && record.lineage.base == base
                && record.fit.judgements == inputs.range()
                && record.fit.pairs == fitted.report.pairs
                && record.fit.condition.to_bits() == fitted.report.condition.to_bits()
        };
        let mut alike = self.ledger.versions()?;
        alike.retain(|(version, record)| {
            let may_be_asked = request.ask.is_none() || record.lineage.parent == incumbent;
            is_alike(record) && (*version == incumbent || may_be_asked)
        });
        alike.sort_by_key(|(version, _)| (*version == incumbent, *version));
        let bytes = fitted.metric.encode();
        for (version, _) in alike.into_iter().rev() {
            if self.ledger.metric(version)?.as_deref() == Some(&bytes) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Takes a version that is the candidate already in its place, and promotes it where the
    /// candidate passed and it is not active.
    fn take_version(
        &self,
        request: &Refit,
        inputs: &Inputs<'_>,
        fitted: &mut Fitted,
        version: VersionId,
    ) -> Result<Stored> {
        let user = request.user.as_deref();
        let metric = self.load(version)?;
        if request.force || fitted.report.gate.accepted {
            self.prepare(&metric, user)?;
        }
        let guard = self.lock()?;
        let active = self.active(user);
        refuse_if_overtaken(&mut fitted.report.gate, inputs.incumbent.version, active);
        let promoted = version != active && (request.force || fitted.report.gate.accepted);
        if promoted {
            self.live_record(version)?;
            self.make_active(&guard, Changes::default(), user, &metric)?;
        }
        Ok(Stored { metric, promoted })
    }

    /// Stores a candidate as a version, and promotes it where it passed.
    fn store_candidate(
        &self,
        request: &Refit,
        inputs: &Inputs<'_>,
        fitted: &mut Fitted,
    ) -> Result<Stored> {
        let user = request.user.as_deref();
        let mut guard = self.lock()?;
        let is_promoted = |fitted: &mut Fitted| {
            let gate = &mut fitted.report.gate;
            refuse_if_overtaken(gate, inputs.incumbent.version, self.active(user));
            request.force || gate.accepted
        };
        let mut promoted = is_promoted(fitted);
        let record = candidate_record(request, inputs, fitted);
        let mut changes = Changes::default();
        let metric = Arc::clone(&fitted.metric);
        let metric = self.add_version(&guard, &mut changes, record, metric)?;
        if promoted && user.is_none() && self.vectors.prepares() {
            // Others write while the answers are made ready, so what was decided is asked again.
            self.ledger.commit(std::mem::take(&mut changes))?;
            self.keep_version(&metric);
            drop(guard);
            self.prepare(&metric, user)?;
            guard = self.lock()?;
            self.live_record(metric.version)?;
            promoted = is_promoted(fitted);
        }
        if promoted {
            self.make_active(&guard, changes, user, &metric)?;
        } else {
            self.ledger.commit(changes)?;
            self.keep_version(&metric);
        }
        Ok(Stored { metric, promoted })
    }
}

/// The record of a candidate.
fn candidate_record(request: &Refit, inputs: &Inputs<'_>, fitted: &Fitted) -> VersionRecord {
    let Inputs {
        plugin,
        own,
        others,
        incumbent,
        ..
    } = inputs;
    let mut record = VersionRecord::learned(&fitted.report, plugin.name(), incumbent.version);
    record.lineage.user.clone_from(&request.user);
    record.lineage.base = inputs.base_of(fitted).map(|base| base.version);
    record.settings = request.settings.clone();
    record.fit.judgements = inputs.range();
    record.fit.judgements_of_others = others.as_ref().map(|others| others.len() as u64);
    record.fit.source_weights = Some(own.weights);
    let compare = || plugin.compare(&*incumbent.metric, &*fitted.metric);
    record.fit.moved = caught("compare", compare)
        .ok()
        .map(|comparison| comparison.distance);
    record
}

/// A candidate that was stored.
struct Stored {
    metric: Versioned,
    promoted: bool,
}

impl Stored {
    fn is(&self, incumbent: &Versioned) -> bool {
        self.metric.version == incumbent.version
    }
}

/// Refuses a candidate that was compared with one metric when another became active meanwhile.
fn refuse_if_overtaken(gate: &mut Gate, compared: VersionId, active: VersionId) {
    if gate.accepted && compared != active {
        gate.accepted = false;
        gate.reason = format!(
            "not promoted: metric {active} became active while this one was compared with metric \
             {compared}; the comparison said: {}",
            gate.reason
        );
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
