//! Answers to searches.

use affinis::{Execution, Hit, Hits, VersionId};
use serde::Serialize;
use serde_json::Value;

/// The answer to one query.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnswerDocument {
    /// The text or the id that was asked for; the row of a vector in a file, null for a vector in a
    /// request.
    pub query: Value,
    /// Version of the metric that ranked the hits.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub metric: VersionId,
    /// The hits, nearest first.
    pub hits: Vec<HitDocument>,
    /// How the search was executed, where that was asked for.
    #[serde(flatten)]
    pub execution: Option<ExecutionDocument>,
}

/// One hit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HitDocument {
    /// Id of the item.
    pub id: String,
    /// Squared distance under the metric; smaller is nearer.
    pub distance: f32,
    /// Score for people; larger is better.
    pub score: f32,
    /// By how much judgements of this question and of questions like it bring the item nearer: hits
    /// are in the order of distance less memory. Not there where none is near the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f32>,
    /// Rank among the hits, from 1.
    pub rank: usize,
    /// Text of the item; null where it has none or none was asked for.
    pub text: Option<String>,
    /// Metadata of the item; null where it has none or none were asked for.
    pub meta: Option<Value>,
}

/// How a search was executed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionDocument {
    /// Number of distances computed.
    pub visited: usize,
    /// Width of the beam.
    pub ef: usize,
    /// Microseconds in the index.
    pub micros: u64,
    /// How the segments were searched, such as `graph`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub plan: &'static str,
}

impl AnswerDocument {
    /// The answer to a query of this name, with its execution where that is wanted.
    pub fn new(query: Value, hits: Hits, with_execution: bool) -> Self {
        Self {
            query,
            metric: hits.metric,
            execution: with_execution.then(|| (&hits.execution).into()),
            hits: hits.into_iter().map(HitDocument::from).collect(),
        }
    }
}

impl From<&Execution> for ExecutionDocument {
    fn from(execution: &Execution) -> Self {
        Self {
            visited: execution.visited,
            ef: execution.ef,
            micros: execution.micros,
            plan: execution.plan.name(),
        }
    }
}

impl From<Hit> for HitDocument {
    fn from(hit: Hit) -> Self {
        Self {
            id: hit.id,
            distance: hit.distance,
            score: hit.score,
            memory: hit.memory,
            rank: hit.rank,
            text: hit.text,
            meta: hit.meta,
        }
    }
}
