//! Judgements, refits, versions of the metric, and what forgetting removed.

use affinis::learning::{
    Forgotten, FusionRecord, MemoryRecord, Question, RefitReport, Relearned, StaleJudgement,
};
use affinis::plugin::{Gate, PairCounts};
use affinis::{Judgement, JudgementId, Query, StoredJudgement, Version, VersionId};
use serde::{Deserialize, Serialize};

/// A judgement as `judgements` lists it: the fields of a line of `judge`, and whether it teaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JudgementDocument {
    /// The judgement.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub judgement: Judgement,
    /// Number of the judgement.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub sequence: JudgementId,
    /// Whether its items still hold what was judged.
    pub teaches: bool,
    /// Ids of its items that were replaced by others, where it does not teach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<String>>,
    /// Ids of its items that are not there, where it does not teach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Vec<String>>,
}

impl JudgementDocument {
    /// A stored judgement, with the reason why it teaches nothing if there is one.
    pub fn new(stored: StoredJudgement, stale: Option<&StaleJudgement>) -> Self {
        Self {
            judgement: stored.judgement,
            sequence: stored.id,
            teaches: stale.is_none(),
            changed: stale.map(|stale| stale.changed.clone()),
            gone: stale.map(|stale| stale.gone.clone()),
        }
    }
}

/// Numbers of the pairs that a metric was learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PairsDocument {
    /// Pairs that belong together.
    pub similar: usize,
    /// Pairs that do not.
    pub dissimilar: usize,
}

impl From<PairCounts> for PairsDocument {
    fn from(pairs: PairCounts) -> Self {
        Self {
            similar: pairs.similar,
            dissimilar: pairs.dissimilar,
        }
    }
}

/// The verdict of the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GateDocument {
    /// The measure, in words.
    pub measure: String,
    /// The measure before; null where there was too little to measure.
    pub before: Option<f64>,
    /// The measure under the candidate.
    pub after: Option<f64>,
    /// Lower confidence bound of the gain.
    pub lower_bound: Option<f64>,
    /// Number of queries or pairs held out.
    pub held_out: usize,
    /// The reason of the verdict, in words.
    pub reason: String,
}

impl From<&Gate> for GateDocument {
    fn from(gate: &Gate) -> Self {
        Self {
            measure: gate.measure.clone(),
            before: gate.before,
            after: gate.after,
            lower_bound: gate.lower_bound,
            held_out: gate.held_out,
            reason: gate.reason.clone(),
        }
    }
}

/// How judgements of a question show in its answer, and in those of questions like it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemoryDocument {
    /// Width of the kernel of a judged question, as a share of the distance to its judged items;
    /// null where memory is off.
    pub width: Option<f64>,
    /// Factor of the step from a judged question to its answers; null where memory is off.
    pub strength: Option<f64>,
    /// The held-out test of questions like those judged.
    pub gate: GateDocument,
}

impl From<&MemoryRecord> for MemoryDocument {
    fn from(memory: &MemoryRecord) -> Self {
        Self {
            width: memory.settings.map(|settings| settings.width),
            strength: memory.settings.map(|settings| settings.strength),
            gate: (&memory.gate).into(),
        }
    }
}

/// How much words count beside meaning in hybrid searches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FusionDocument {
    /// Weight of the words' share beside closeness.
    pub words: f64,
    /// The version under which it was tested, and holds; null for the version itself.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub under: Option<VersionId>,
    /// The held-out test of another weight than the one before.
    pub gate: GateDocument,
}

impl From<&FusionRecord> for FusionDocument {
    fn from(fusion: &FusionRecord) -> Self {
        Self {
            words: fusion.words,
            under: fusion.under,
            gate: (&fusion.gate).into(),
        }
    }
}

/// Milliseconds of the phases of a refit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MillisDocument {
    /// Reading judgements and sampling the collection.
    pub collect: f64,
    /// Fitting.
    pub fit: f64,
    /// The held-out test.
    pub gate: f64,
    /// Storing the version and answering under it.
    pub swap: f64,
}

/// A question whose answer may decide on a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuestionDocument {
    /// The stored item that is the query.
    pub query_id: String,
    /// Id of the item that is to be judged as an answer.
    pub item: String,
    /// The user who is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl QuestionDocument {
    /// A question; `None` where the query is not a stored item, which no refit asks.
    pub fn new(question: &Question) -> Option<Self> {
        match &question.query {
            Query::Item(id) => Some(Self {
                query_id: id.clone(),
                item: question.item.clone(),
                user: question.user.clone(),
            }),
            _ => None,
        }
    }
}

/// Outcome of a refit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefitDocument {
    /// Whether the candidate is active now.
    pub promoted: bool,
    /// The candidate's version; null after a dry run.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub version: Option<VersionId>,
    /// The version that was active before.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub parent: VersionId,
    /// The learner that made the candidate.
    pub learner: String,
    /// Pairs it learned from.
    pub pairs: PairsDocument,
    /// Weight of the prior.
    pub lambda: f64,
    /// Position on the geodesic, 0 to 1.
    pub t: f64,
    /// Condition number of the matrix.
    pub condition: f64,
    /// The held-out test.
    pub gate: GateDocument,
    /// How judgements are remembered in answers; null for one user's refit.
    pub memory: Option<MemoryDocument>,
    /// How much words count in hybrid searches; not there where the collection has no keywords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<FusionDocument>,
    /// Milliseconds of each phase.
    pub millis: MillisDocument,
    /// Share of the learned metric, where a shrunken one took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrinkage: Option<f64>,
    /// True where the candidate is a version that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<bool>,
    /// Number of judgements that taught nothing, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<usize>,
    /// Questions whose answers may decide, where some were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<Vec<QuestionDocument>>,
    /// After a dry run: whether the gate would have let the candidate pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_promote: Option<bool>,
}

impl RefitDocument {
    /// The outcome of a refit, or of a dry run.
    pub fn new(report: &RefitReport, dry_run: bool) -> Self {
        let questions = report.questions.iter().filter_map(QuestionDocument::new);
        Self {
            promoted: report.promoted,
            version: report.version,
            parent: report.parent,
            learner: report.learner.clone(),
            pairs: report.pairs.into(),
            lambda: report.lambda,
            t: report.t,
            condition: report.condition,
            gate: (&report.gate).into(),
            memory: report.memory.as_ref().map(Into::into),
            fusion: report.fusion.as_ref().map(Into::into),
            millis: MillisDocument {
                collect: report.millis.collect,
                fit: report.millis.fit,
                gate: report.millis.gate,
                swap: report.millis.swap,
            },
            shrinkage: report.shrinkage,
            unchanged: report.unchanged.then_some(true),
            stale: (report.stale > 0).then_some(report.stale),
            ask: (!report.questions.is_empty()).then(|| questions.collect()),
            would_promote: dry_run.then_some(report.gate.accepted),
        }
    }
}

/// A version of the metric, as `metrics` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionDocument {
    /// Number of the version; 0 is the built-in distance.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub version: VersionId,
    /// The version that was active when it was made; null for version 0.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub parent: Option<VersionId>,
    /// Whether it answers everybody, or its user.
    pub active: bool,
    /// The learner, `import`, or the built-in distance.
    pub learner: String,
    /// Time at which it was made, RFC 3339; empty for version 0.
    pub created: String,
    /// Condition number of its matrix.
    pub condition: f64,
    /// Pairs it learned from.
    pub pairs: PairsDocument,
    /// Whether the held-out test let it pass; null for version 0 and imports, which had none.
    pub accepted: Option<bool>,
    /// The held-out test; null for version 0 and imports.
    pub gate: Option<GateDocument>,
    /// The user it was learned for, where it is one user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// True where it was withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<bool>,
    /// Share of the learned metric, where it is shrunken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrinkage: Option<f64>,
    /// How much words count in hybrid searches, where its refit tested that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<FusionDocument>,
}

impl From<&Version> for VersionDocument {
    fn from(version: &Version) -> Self {
        Self {
            version: version.version,
            parent: version.parent,
            active: version.active,
            learner: version.learner.clone(),
            created: version.created_text(),
            condition: version.condition,
            pairs: version.pairs.into(),
            accepted: version.gate.as_ref().map(|gate| gate.accepted),
            gate: version.gate.as_ref().map(GateDocument::from),
            user: version.user.clone(),
            withdrawn: version.withdrawn.then_some(true),
            shrinkage: version.shrinkage,
            fusion: version.fusion.as_ref().map(Into::into),
        }
    }
}

/// What forgetting removed, and what was learned anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForgottenDocument {
    /// Number of judgements removed.
    pub removed: usize,
    /// Versions that had learned from them, which are withdrawn.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<u32>))]
    pub withdrawn: Vec<VersionId>,
    /// The refit without them; null where none was needed or possible.
    pub refit: Option<RefitDocument>,
    /// The version that is active now.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub active: VersionId,
    /// Users whose own metric was withdrawn.
    pub users: Vec<RelearnedDocument>,
}

/// Outcome for a user whose own metric was withdrawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelearnedDocument {
    /// The user.
    pub user: String,
    /// The version that was learned anew.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub version: Option<VersionId>,
    /// Whether it is active.
    pub promoted: bool,
    /// Its held-out test.
    pub gate: Option<GateDocument>,
    /// Share of the learned metric, where a shrunken one took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrinkage: Option<f64>,
    /// The version that answers the user now.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub active: VersionId,
}

impl From<&Relearned> for RelearnedDocument {
    fn from(relearned: &Relearned) -> Self {
        let refit = relearned.refit.as_ref();
        Self {
            user: relearned.user.clone(),
            version: refit.and_then(|refit| refit.version),
            promoted: refit.is_some_and(|refit| refit.promoted),
            gate: refit.map(|refit| (&refit.gate).into()),
            shrinkage: refit.and_then(|refit| refit.shrinkage),
            active: relearned.active,
        }
    }
}

impl From<&Forgotten> for ForgottenDocument {
    fn from(forgotten: &Forgotten) -> Self {
        let refit = forgotten.refit.as_ref();
        Self {
            removed: forgotten.removed,
            withdrawn: forgotten.withdrawn.clone(),
            refit: refit.map(|report| RefitDocument::new(report, false)),
            active: forgotten.active,
            users: forgotten.users.iter().map(Into::into).collect(),
        }
    }
}
