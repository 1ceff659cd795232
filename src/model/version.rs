//! Versions of a collection's metric: immutable, numbered, each with its origin and its figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::memory::{FusionRecord, MemoryRecord};
use super::time;
use super::{Distance, JudgementId, VersionError, VersionId};
use crate::plugin::{FitReport, Gate, HeldOut, Metric, PairCounts};

/// One version of a collection's metric. Version 0 is the built-in distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Version {
    /// Number of the version.
    pub version: VersionId,
    /// The version that was active when it was learned; `None` for version 0.
    pub parent: Option<VersionId>,
    /// The version that it is a low-rank update of; `None` for a metric on its own.
    pub base: Option<VersionId>,
    /// Whether searches that name no metric are answered under it (for a user's version: that
    /// user's searches).
    pub active: bool,
    /// The user it was learned for; `None` for everybody.
    pub user: Option<String>,
    /// Origin of its matrix: a learner, `import`, or the built-in distance.
    pub learner: String,
    /// Time at which it was made; `None` for version 0.
    #[serde(with = "time::rfc3339_or_empty")]
    pub created: Option<SystemTime>,
    /// Condition number of its matrix `A`.
    pub condition: f64,
    /// Numbers of the pairs that it learned from.
    pub pairs: PairCounts,
    /// First and last judgement that it learned from.
    pub judgements: Option<JudgementRange>,
    /// Weight of the prior.
    pub lambda: f64,
    /// Position on the geodesic between the two scatter matrices, 0 to 1.
    pub t: f64,
    /// Settings of the refit that made it.
    pub settings: RefitSettings,
    /// Share of the learned metric in a metric that is shrunken towards Euclid; `None` for others.
    pub shrinkage: Option<f64>,
    /// Affine-invariant Riemannian distance from its parent, where the plugin could compute it.
    pub moved: Option<f64>,
    /// Measure of the metric that was active, on held-out judgements, where there was one.
    pub incumbent: Option<HeldOut>,
    /// Number of judgements of other users in the prior of a user's version.
    pub judgements_of_others: Option<u64>,
    /// Weights of the sources of judgements, for learned versions.
    pub source_weights: Option<SourceWeights>,
    /// Number of judgements that were asked for to decide on it.
    pub asked: Option<u64>,
    /// Trial in which it was the challenger.
    pub trial: Option<TrialRecord>,
    /// The held-out test; `None` for version 0 and imports.
    pub gate: Option<Gate>,
    /// How judgements are remembered in answers, as its refit found it; `None` for versions of
    /// single users and for imports.
    #[serde(default)]
    pub memory: Option<MemoryRecord>,
    /// How much words count in hybrid searches, as its refit found it; `None` where the collection
    /// had no keywords, and for imports.
    #[serde(default)]
    pub fusion: Option<FusionRecord>,
    /// Notes of its plugin.
    pub notes: BTreeMap<String, f64>,
    /// Name of the plugin that reads its matrix.
    pub plugin: String,
    /// Whether it was withdrawn: judgements that it had learned from were forgotten, or it measures
    /// the vectors of an encoder that was [replaced](crate::Store::reencode).
    pub withdrawn: bool,
}

/// First and last judgement of a range, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "(JudgementId, JudgementId)",
    into = "(JudgementId, JudgementId)"
)]
pub struct JudgementRange {
    /// The first judgement.
    pub first: JudgementId,
    /// The last judgement.
    pub last: JudgementId,
}

impl From<(JudgementId, JudgementId)> for JudgementRange {
    fn from((first, last): (JudgementId, JudgementId)) -> Self {
        Self { first, last }
    }
}

impl From<JudgementRange> for (JudgementId, JudgementId) {
    fn from(range: JudgementRange) -> Self {
        (range.first, range.last)
    }
}

impl JudgementRange {
    /// The range of all judgements.
    pub(crate) const ALL: Self = Self {
        first: JudgementId(0),
        last: JudgementId(u64::MAX),
    };

    /// Whether a judgement lies in the range.
    pub fn contains(self, judgement: JudgementId) -> bool {
        (self.first..=self.last).contains(&judgement)
    }

    /// The smallest range that contains both.
    pub(crate) fn hull(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Self {
                first: a.first.min(b.first),
                last: a.last.max(b.last),
            }),
            (one, other) => one.or(other),
        }
    }
}

/// Settings of a refit that decide, beside the judgements, what is learned from them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefitSettings {
    /// The learner that was asked for; `None` where the plugin chose.
    pub learner: Option<String>,
    /// The rank of a user's metric that was asked for, 0 for a whole matrix; `None` where nothing
    /// was asked.
    pub rank: Option<usize>,
    /// The time over which a judgement's weight halves; `None` where all keep theirs.
    pub half_life: Option<Duration>,
    /// The largest share of the weights that one user's judgements may have together; `None`
    /// without a limit.
    pub user_share: Option<f64>,
    /// The seed of every random choice.
    pub seed: u64,
}

/// Weights of the sources of judgements beside [`Explicit`](crate::Source::Explicit), which weighs
/// 1; each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceWeights {
    /// Weight of clicks.
    pub click: f32,
    /// Weight of proxy labels.
    pub proxy: f32,
}

impl SourceWeights {
    pub(crate) fn new(click: f32, proxy: f32) -> Self {
        Self { click, proxy }
    }
}

/// Decision of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// No decision yet: the trial goes on.
    Running,
    /// The challenger was better, and was promoted.
    Promoted,
    /// The challenger was worse.
    Refused,
    /// The trial was ended before it was decided.
    Ended,
}

/// Counts and settings of a trial, stored with its challenger.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrialRecord {
    /// The version that was active when the trial began.
    pub champion: VersionId,
    /// Bound of the chance of either wrong decision.
    pub alpha: f64,
    /// The first judgement that may count.
    pub start: JudgementId,
    /// Number of contests that the challenger won.
    pub wins: u64,
    /// Number of contests that it lost.
    pub losses: u64,
    /// Number of contests in which both had the same number of clicks.
    pub ties: u64,
    /// The decision.
    pub verdict: Verdict,
}

/// A metric with the number of its version. Equal numbers mean equal metrics.
#[derive(Debug, Clone)]
pub struct Versioned {
    /// Number of the version.
    pub version: VersionId,
    /// Its metric.
    pub metric: Arc<dyn Metric>,
}

/// The active versions: that of everybody, and those of users who have one of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active {
    /// The version that answers everybody.
    pub shared: VersionId,
    /// The versions that answer users who have one of their own.
    pub users: BTreeMap<String, VersionId>,
}

/// A metric version as it is stored, without its matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub(crate) lineage: Lineage,
    pub(crate) settings: RefitSettings,
    pub(crate) fit: FitRecord,
    pub(crate) gate: Option<Gate>,
    /// Number of judgements that were asked for to decide on it.
    pub(crate) asked: Option<u64>,
    /// The trial in which it was the challenger.
    pub(crate) trial: Option<TrialRecord>,
    /// Whether judgements that it had learned from were forgotten. Its matrix is then removed.
    pub(crate) withdrawn: bool,
    /// Notes of its plugin, which nothing but the plugin reads.
    pub(crate) plugin_notes: BTreeMap<String, f64>,
    /// How judgements are remembered since its refit.
    pub(crate) memory: Option<MemoryRecord>,
    /// How much words count in hybrid searches since its refit.
    pub(crate) fusion: Option<FusionRecord>,
}

/// Origin of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    pub(crate) parent: VersionId,
    /// The version that it is a low-rank update of.
    pub(crate) base: Option<VersionId>,
    pub(crate) user: Option<String>,
    pub(crate) plugin: String,
    /// The learner that made it, or `import`.
    pub(crate) learner: String,
    /// Milliseconds since 1970 in UTC.
    pub(crate) created: i64,
}

/// Figures of the fit that made a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FitRecord {
    pub(crate) condition: f64,
    pub(crate) pairs: PairCounts,
    pub(crate) lambda: f64,
    pub(crate) t: f64,
    pub(crate) shrinkage: Option<f64>,
    pub(crate) moved: Option<f64>,
    pub(crate) judgements: Option<JudgementRange>,
    pub(crate) judgements_of_others: Option<u64>,
    pub(crate) source_weights: Option<SourceWeights>,
    /// The measure of the metric that was active, with its number of queries or pairs.
    pub(crate) incumbent: Option<HeldOut>,
}

impl Version {
    /// A version of this number that a plugin's learner made, with neutral figures. For tests of
    /// plugins; a store makes its versions itself.
    pub fn new(version: VersionId, plugin: impl Into<String>, learner: impl Into<String>) -> Self {
        Self {
            version,
            parent: None,
            base: None,
            active: false,
            user: None,
            learner: learner.into(),
            created: None,
            condition: 1.0,
            pairs: PairCounts::default(),
            judgements: None,
            lambda: 0.0,
            t: 0.0,
            settings: RefitSettings::default(),
            shrinkage: None,
            moved: None,
            incumbent: None,
            judgements_of_others: None,
            source_weights: None,
            asked: None,
            trial: None,
            gate: None,
            memory: None,
            fusion: None,
            notes: BTreeMap::new(),
            plugin: plugin.into(),
            withdrawn: false,
        }
    }

    /// Time at which it was made, as RFC 3339; an empty string for version 0.
    pub fn created_text(&self) -> String {
        let millis = self.created.map(time::millis);
        millis.map(time::rfc3339).unwrap_or_default()
    }

    /// Version 0, named for the built-in distance.
    pub(crate) fn built_in(distance: Distance, active: bool) -> Self {
        Self {
            active,
            ..Self::new(VersionId::BUILT_IN, "", distance.to_string())
        }
    }

    /// A stored version.
    pub(crate) fn read(version: VersionId, record: VersionRecord, active: bool) -> Self {
        let VersionRecord {
            lineage,
            settings,
            fit,
            gate,
            asked,
            trial,
            withdrawn,
            plugin_notes,
            memory,
            fusion,
        } = record;
        Self {
            version,
            parent: Some(lineage.parent),
            base: lineage.base,
            active,
            user: lineage.user,
            learner: lineage.learner,
            created: time::from_millis(lineage.created),
            condition: fit.condition,
            pairs: fit.pairs,
            judgements: fit.judgements,
            lambda: fit.lambda,
            t: fit.t,
            settings,
            shrinkage: fit.shrinkage,
            moved: fit.moved,
            incumbent: fit.incumbent,
            judgements_of_others: fit.judgements_of_others,
            source_weights: fit.source_weights,
            asked,
            trial,
            gate,
            memory,
            fusion,
            notes: plugin_notes,
            plugin: lineage.plugin,
            withdrawn,
        }
    }
}

impl VersionRecord {
    /// The record of a version that another store exported.
    pub(crate) fn imported(version: &Version) -> Result<Self, VersionError> {
        let created = version.created.ok_or(VersionError::NoTime)?;
        let settings = version.settings.clone();
        let optional = [
            version.shrinkage,
            version.moved,
            settings.user_share,
            version.incumbent.map(|incumbent| incumbent.measure),
        ];
        let numbers = [version.condition, version.lambda, version.t];
        let mut all = numbers
            .iter()
            .chain(optional.iter().flatten())
            .chain(version.notes.values());
        if all.any(|number| !number.is_finite()) {
            return Err(VersionError::NotFinite);
        }
        let memory = version.memory.as_ref().and_then(|memory| memory.settings);
        if memory.is_some_and(|memory| !memory.is_valid()) {
            return Err(VersionError::Memory);
        }
        if version
            .fusion
            .as_ref()
            .is_some_and(|fusion| !fusion.is_valid())
        {
            return Err(VersionError::Fusion);
        }
        Ok(Self {
            lineage: Lineage {
                parent: version.parent.unwrap_or_default(),
                base: version.base,
                user: version.user.clone(),
                plugin: version.plugin.clone(),
                learner: version.learner.clone(),
                created: time::millis(created),
            },
            settings,
            fit: FitRecord {
                condition: version.condition,
                pairs: version.pairs,
                lambda: version.lambda,
                t: version.t,
                shrinkage: version.shrinkage,
                moved: version.moved,
                judgements: version.judgements,
                judgements_of_others: version.judgements_of_others,
                source_weights: version.source_weights,
                incumbent: version.incumbent,
            },
            gate: version.gate.clone(),
            asked: version.asked,
            trial: version.trial,
            withdrawn: version.withdrawn,
            plugin_notes: version.notes.clone(),
            memory: version.memory.clone(),
            fusion: version.fusion.clone(),
        })
    }

    /// The record of a candidate that a plugin's learner made.
    pub(crate) fn learned(report: &FitReport, plugin: &str, parent: VersionId) -> Self {
        Self {
            lineage: Lineage {
                parent,
                base: None,
                user: None,
                plugin: plugin.to_owned(),
                learner: report.learner.clone(),
                created: time::now_millis(),
            },
            settings: RefitSettings::default(),
            fit: FitRecord {
                condition: report.condition,
                pairs: report.pairs,
                lambda: report.lambda,
                t: report.t,
                shrinkage: report.shrinkage,
                incumbent: report.incumbent,
                ..FitRecord::default()
            },
            gate: Some(report.gate.clone()),
            asked: None,
            trial: None,
            withdrawn: false,
            plugin_notes: report.notes.clone(),
            memory: None,
            fusion: None,
        }
    }

    /// The record of an imported matrix.
    pub(crate) fn of_matrix(plugin: &str, parent: VersionId, condition: f64) -> Self {
        Self {
            lineage: Lineage {
                parent,
                base: None,
                user: None,
                plugin: plugin.to_owned(),
                learner: "import".to_owned(),
                created: time::now_millis(),
            },
            settings: RefitSettings::default(),
            fit: FitRecord {
                condition,
                ..FitRecord::default()
            },
            gate: None,
            asked: None,
            trial: None,
            withdrawn: false,
            plugin_notes: BTreeMap::new(),
            memory: None,
            fusion: None,
        }
    }

    /// The report of the fit that made it, without times; `None` for a version that was not
    /// learned.
    pub(crate) fn fit_report(&self) -> Option<FitReport> {
        let mut report = FitReport::new(&self.lineage.learner, self.gate.clone()?);
        report.pairs = self.fit.pairs;
        (report.lambda, report.t) = (self.fit.lambda, self.fit.t);
        report.condition = self.fit.condition;
        report.shrinkage = self.fit.shrinkage;
        report.incumbent = self.fit.incumbent;
        report.notes.clone_from(&self.plugin_notes);
        Some(report)
    }

    /// Whether it was learned for this user, or, with `None`, for everybody.
    pub(crate) fn is_of(&self, user: Option<&str>) -> bool {
        self.lineage.user.as_deref() == user
    }
}
