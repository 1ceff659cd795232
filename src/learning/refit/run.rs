//! Running a refit: what it learns from, the fit, the gate, and the version that comes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::{Refit, RefitMillis, RefitReport};
use crate::learning::answers::AnswersSay;
use crate::learning::examples::{Collected, Selection, Whose};
use crate::learning::{Changes, Learning, RefitGuard, memory};
use crate::model::error::{Error, Result};
use crate::model::{
    ActivatedBy, FusionRecord, JudgementRange, MemoryRecord, RefitSettings, VersionId,
    VersionRecord, Versioned,
};
use crate::plugin::{
    FitReport, Fitted, Gate, Incumbent, LearnError, Metric, MetricLearner, Sample, ShrunkenMetric,
    Task, UpdateOf, caught,
};

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
    pub(in crate::learning) fn settings_of_active(
        &self,
    ) -> Result<HashMap<Option<String>, RefitSettings>> {
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

    pub(super) fn run_refit(
        &self,
        request: &Refit,
        _guard: &RefitGuard<'_>,
    ) -> Result<RefitReport> {
        let started = Instant::now();
        request.check()?;
        if !request.dry_run {
            self.ledger.check_writable()?;
        }
        let user = request.user.as_deref();
        let inputs = self.inputs(request)?;
        let collect = millis(started);
        let mut fitted = self.fit(request, &inputs)?;
        self.decide(request, &inputs.incumbent, &mut fitted)?;
        let base = inputs.base_of(&fitted).map(|base| &base.metric);
        self.check_conformance(&fitted.metric, inputs.plugin, base)?;
        let validating = Instant::now();
        let memory = validate_memory(request, &inputs, &fitted)?;
        let fusion = self.fusion_of(request, &inputs, &fitted)?;
        let memory_millis = millis(validating);
        let swapping = Instant::now();
        let same = self.version_of(request, &inputs, &fitted)?;
        let stored = match same {
            _ if request.dry_run => None,
            Some(version) => Some(self.take_version(
                request,
                &inputs,
                &mut fitted,
                (version, fusion.as_ref()),
            )?),
            None => {
                let found = (memory.as_ref(), fusion.as_ref());
                Some(self.store_candidate(request, &inputs, &mut fitted, found)?)
            }
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
            memory,
            fusion,
            millis: RefitMillis {
                collect,
                fit: fit_millis,
                gate: gate_millis + memory_millis,
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
        (version, fusion): (VersionId, Option<&FusionRecord>),
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
        let mut record = self.live_record(version)?;
        let mut changes = Changes::default();
        if fusion.is_some() && record.fusion.as_ref() != fusion {
            record.fusion = fusion.cloned();
            changes.put_version(version, record);
        }
        if promoted {
            self.make_active(&guard, changes, user, &metric, ActivatedBy::Refit)?;
        } else if !changes.versions.is_empty() {
            self.commit(changes)?;
        }
        Ok(Stored { metric, promoted })
    }

    /// How much words count in hybrid searches, under the metric that is to answer; `None` where the
    /// collection has no keywords.
    fn fusion_of(
        &self,
        request: &Refit,
        inputs: &Inputs<'_>,
        fitted: &Fitted,
    ) -> Result<Option<FusionRecord>> {
        let (metric, is_incumbent) = to_answer(request, inputs, fitted);
        let cancelled = || request.is_cancelled();
        let found = self.validate_fusion(&inputs.own, &inputs.incumbent, &**metric, &cancelled)?;
        Ok(found.map(|(words, gate)| FusionRecord {
            words,
            under: is_incumbent.then_some(inputs.incumbent.version),
            gate,
        }))
    }

    /// Stores a candidate as a version, and promotes it where it passed.
    fn store_candidate(
        &self,
        request: &Refit,
        inputs: &Inputs<'_>,
        fitted: &mut Fitted,
        (memory, fusion): (Option<&MemoryRecord>, Option<&FusionRecord>),
    ) -> Result<Stored> {
        let user = request.user.as_deref();
        let mut guard = self.lock()?;
        let is_promoted = |fitted: &mut Fitted| {
            let gate = &mut fitted.report.gate;
            refuse_if_overtaken(gate, inputs.incumbent.version, self.active(user));
            request.force || gate.accepted
        };
        let mut promoted = is_promoted(fitted);
        let mut record = candidate_record(request, inputs, fitted);
        record.memory = memory.cloned();
        record.fusion = fusion.cloned();
        let mut changes = Changes::default();
        let metric = Arc::clone(&fitted.metric);
        let metric = self.add_version(&guard, &mut changes, record, metric)?;
        if promoted && user.is_none() && self.vectors.prepares() {
            // Others write while the answers are made ready, so what was decided is asked again.
            self.commit(std::mem::take(&mut changes))?;
            self.keep_version(&metric);
            drop(guard);
            self.prepare(&metric, user)?;
            guard = self.lock()?;
            self.live_record(metric.version)?;
            promoted = is_promoted(fitted);
        }
        if promoted {
            self.make_active(&guard, changes, user, &metric, ActivatedBy::Refit)?;
        } else {
            self.commit(changes)?;
            self.keep_version(&metric);
        }
        Ok(Stored { metric, promoted })
    }
}

/// The metric that is to answer after a refit, and whether it is the incumbent.
fn to_answer<'a>(
    request: &Refit,
    inputs: &'a Inputs<'_>,
    fitted: &'a Fitted,
) -> (&'a Arc<dyn Metric>, bool) {
    if request.force || fitted.report.gate.accepted {
        (&fitted.metric, false)
    } else {
        (&inputs.incumbent.metric, true)
    }
}

/// Tests how everybody's judgements are remembered, under the metric that is to answer.
fn validate_memory(
    request: &Refit,
    inputs: &Inputs<'_>,
    fitted: &Fitted,
) -> Result<Option<MemoryRecord>> {
    if request.user.is_some() {
        return Ok(None);
    }
    let (metric, _) = to_answer(request, inputs, fitted);
    let cancelled = || request.is_cancelled();
    let validate = || memory::validate(&inputs.own, &**metric, &cancelled);
    let record = caught("rewrite", || validate().ok_or(LearnError::Cancelled));
    match record {
        Ok(record) => Ok(Some(record)),
        Err(LearnError::Cancelled) => Err(Error::Cancelled),
        Err(error) => Err(error.into()),
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
