//! What the service answers beside the documents that the command line prints too.

use std::borrow::Cow;
use std::fmt;

use affinis::encode::Encoder;
use affinis::learning::{NeighbourChanges, Team, Trial};
use affinis::maintenance::Reencoded;
use affinis::{Collection, Distance, EncoderInfo, JudgementId, Precision, Stats, VersionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{JudgementDocument, QuestionDocument, RefitDocument};

/// Settings and figures of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DescriptionDocument {
    /// Name of the collection.
    pub name: String,
    /// Built-in distance, version 0 of the metric.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub distance: Distance,
    /// Precision of stored vectors.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub precision: Precision,
    /// Encoder of its texts; null where its vectors are given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub encoder: Option<EncoderInfo>,
    /// Mean number of distances that a search computes; null before it was measured.
    #[serde(default)]
    pub evaluations: Option<f64>,
    /// Size of the files that are mapped into memory, in bytes.
    #[serde(default)]
    pub mapped_bytes: usize,
    /// Sizes, segments and calibration: `items`, `dim`, `deleted`, `segments`, `growing`,
    /// `judgements`, `active_metric`, `recall`, `memory_bytes`, `disk_bytes`, `store_bytes`.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub stats: Stats,
}

impl DescriptionDocument {
    /// The settings and figures of a collection of a store.
    ///
    /// # Errors
    /// Those of [`Collection::stats`].
    pub fn of(collection: &Collection) -> affinis::Result<Self> {
        let info = collection.info();
        let stats = collection.stats()?;
        Ok(Self {
            name: info.name,
            distance: info.distance,
            precision: info.precision,
            encoder: info.encoder,
            evaluations: stats.evaluations,
            mapped_bytes: stats.mapped_bytes,
            stats,
        })
    }
}

/// Numbers of judgements that were stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JudgedDocument {
    /// How many were stored.
    pub stored: usize,
    /// Number of the first; null where none was stored.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub first: Option<JudgementId>,
    /// Number of the last.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub last: Option<JudgementId>,
    /// The trial, where one was running: its counts now, and its decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub trial: Option<Trial>,
}

/// A page of judgements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JudgementsDocument {
    /// The judgements, in the order of their numbers.
    pub judgements: Vec<JudgementDocument>,
    /// The `after` of the next page; null at the end.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub next: Option<JudgementId>,
}

/// A question, with the texts of its items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenQuestionDocument {
    /// The question.
    #[serde(flatten)]
    pub question: QuestionDocument,
    /// Text of the query; null where the item has none.
    pub query_text: Option<String>,
    /// Text of the item; null where it has none.
    pub item_text: Option<String>,
}

/// The version that is active now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActiveDocument {
    /// Number of the version.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub active: VersionId,
    /// The user whom it answers, where it does not answer everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// How two versions of the metric differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DifferenceDocument {
    /// Affine-invariant Riemannian distance of the matrices.
    pub distance: f64,
    /// Factors by which squared lengths grow along the directions that change most.
    pub factors: Vec<f64>,
    /// How the nearest neighbours of sampled items change: `kept`, the share that stays, and
    /// `queries`, each with `query`, `gone` and `come`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub neighbours: NeighbourChanges,
}

/// The matrix of a version of the metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MatrixDocument {
    /// Number of the version.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub version: VersionId,
    /// Origin of the matrix.
    pub learner: String,
    /// Time at which it was made, RFC 3339; empty for version 0.
    pub created: String,
    /// Its rows.
    pub matrix: Vec<Vec<f64>>,
}

/// An answer of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrialAnswerDocument {
    /// The text or the id that was asked for; null for a vector.
    pub query: Value,
    /// The hits of both metrics, drawn in turn.
    pub hits: Vec<TrialHitDocument>,
}

/// A hit of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrialHitDocument {
    /// Id of the item.
    pub id: String,
    /// Rank, from 1.
    pub rank: usize,
    /// Text of the item; null where it has none.
    pub text: Option<String>,
    /// Metadata of the item; null where it has none.
    pub meta: Value,
    /// The metric that it was drawn from: `champion` or `challenger`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub team: Team,
}

/// Outcome of building one graph of all items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OptimizedDocument {
    /// Number of items.
    pub items: usize,
    /// Version of the metric under which the graph was built.
    pub metric: VersionId,
    /// Time it took, in milliseconds.
    pub millis: f64,
}

/// Outcome of a check of everything that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedDocument {
    /// Number of records, references and digests that were checked.
    pub checked: u64,
    /// All damage that was found.
    pub problems: Vec<DamageDocument>,
}

/// Damage of one part of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageDocument {
    /// The part.
    pub part: String,
    /// What is wrong with it.
    pub message: String,
}

/// Outcome of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDocument {
    /// Name, or directory, of the backup.
    pub backup: String,
    /// Number of collections in it.
    pub collections: usize,
    /// Number of items in it.
    pub items: u64,
}

/// Outcome of an import of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedDocument {
    /// Name of the new collection.
    pub collection: String,
    /// Number of its items.
    pub items: u64,
    /// Number of its judgements.
    pub judgements: u64,
    /// Number of its learned metrics.
    pub metrics: u64,
}

/// Outcome of giving a collection another encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReencodedDocument {
    /// Name of the collection.
    pub collection: String,
    /// Name of the encoder.
    pub encoder: String,
    /// Fingerprint of the encoder.
    pub fingerprint: String,
    /// Dimension of its vectors.
    pub dim: usize,
    /// Number of items.
    pub items: u64,
    /// Items whose texts were encoded; the others were by a run that was interrupted.
    pub encoded: u64,
    /// Judgements that were carried over.
    pub judgements: u64,
    /// Judgements that were not.
    pub left_out: Vec<JudgementId>,
    /// The refit on the judgements; null where there is none.
    pub refit: Option<RefitDocument>,
    /// Whether what the collection was before is dropped.
    pub committed: bool,
}

impl ReencodedDocument {
    /// The outcome for a collection that has an encoder now.
    pub fn new(collection: &str, encoder: &dyn Encoder, done: Reencoded, committed: bool) -> Self {
        let refit = done.refit.as_ref();
        Self {
            collection: collection.to_owned(),
            encoder: encoder.name().to_owned(),
            fingerprint: encoder.fingerprint().to_owned(),
            dim: encoder.dim(),
            items: done.items,
            encoded: done.encoded,
            judgements: done.judgements,
            refit: refit.map(|report| RefitDocument::new(report, false)),
            left_out: done.left_out,
            committed,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It is being done.
    Running,
    /// It ended, and has a result.
    Done,
    /// It ended, and has an error.
    Failed,
}

/// A job: work in the background of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobDocument {
    /// Name of the job.
    pub job: String,
    /// What is done: `refit`, `optimize`, `verify`, `backup`, `reencode`, `import` or `add`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: Cow<'static, str>,
    /// The collection that it is done to; null for the whole store.
    pub collection: Option<String>,
    /// How far it is.
    pub state: JobState,
    /// Share that is done, 0 to 1; null where that is not known.
    pub progress: Option<f32>,
    /// What came of it, as the command line prints it with `--json`; null before it is done.
    pub result: Option<Value>,
    /// Why it failed; null where it did not.
    pub error: Option<ProblemDocument>,
}

/// The name of a job that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BegunDocument {
    /// Name of the job.
    pub job: String,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDocument {
    /// Whether the service has tokens.
    pub tokens: bool,
    /// Name of the token; null without one.
    pub user: Option<String>,
    /// What the caller may do, `search`, `judge`, `write` or `admin`; null before a login.
    pub role: Option<String>,
}

/// An error of a request, a problem document of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemDocument {
    /// The kind of error, such as `urn:affinis:not-found`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The kind in words.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub title: Cow<'static, str>,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
}

impl ProblemDocument {
    /// The kind without `urn:affinis:`, such as `not-found`.
    pub fn kind_name(&self) -> &str {
        self.kind.strip_prefix("urn:affinis:").unwrap_or(&self.kind)
    }
}

impl fmt::Display for ProblemDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
