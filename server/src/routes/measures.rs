//! What says how good answers are, and why: explanations, evaluations, drift.

use std::collections::BTreeMap;

use affinis::MetricChoice;
use affinis::learning::{Drift, EvalQuery};
use affinis_api::ExplanationDocument;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::to_value;
use crate::app::App;
use crate::extract::{Given, Segments};
use crate::problem::Problem;
use crate::query::{MetricName, choice, judged, rank_by, single};

/// The largest number of queries of an evaluation.
const MAX_QUERIES: usize = 10_000;

/// An item whose rank is to be explained.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainRequest {
    /// The query, a text.
    query: Option<String>,
    /// The query, a vector.
    vector: Option<Vec<f32>>,
    /// The query, a stored item's id.
    like: Option<String>,
    /// Id of the item.
    item: String,
    /// The metric that is explained; the active one by default.
    metric: Option<MetricName>,
    /// The user, whose own metric is the active one where they have one.
    user: Option<String>,
}

/// Queries whose relevant items are known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluateRequest {
    /// The queries, at most 10,000.
    queries: Vec<Evaluated>,
    /// Number of hits over which precision, recall and nDCG are computed.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 10_000)]
    k: usize,
    /// The metric that is measured beside Euclid; the active one by default.
    metric: Option<MetricName>,
    /// Rank by words and meaning together.
    #[serde(default)]
    hybrid: bool,
    /// Rank by words only.
    #[serde(default)]
    words_only: bool,
    /// Smallest grade that is relevant; any above 0 by default.
    relevance_threshold: Option<f64>,
    /// Give the measures of each query, too.
    #[serde(default)]
    per_query: bool,
}

fn ten() -> usize {
    10
}

/// A query with its relevant items.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evaluated {
    /// The query, a text.
    query: Option<String>,
    /// The query, a stored item's id, which is left out of its answer.
    query_id: Option<String>,
    /// The query, a vector.
    query_vector: Option<Vec<f32>>,
    /// Ids of the relevant items, or grades by id.
    relevant: Relevant,
}

/// Relevant items, or grades of items.
#[derive(Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`relevant` is a list of ids, or an object of grades by id"
)]
pub(crate) enum Relevant {
    /// Ids of relevant items.
    Ids(Vec<String>),
    /// Grades by id.
    Grades(BTreeMap<String, f64>),
}

impl Evaluated {
    fn read(self, threshold: Option<f64>) -> Result<EvalQuery, Problem> {
        let query = judged(self.query, self.query_id, self.query_vector)?;
        Ok(match self.relevant {
            Relevant::Ids(ids) => EvalQuery::new(query, ids),
            Relevant::Grades(grades) => EvalQuery::graded(query, grades, threshold),
        })
    }
}

/// Measures under metrics.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a type of the crate affinis")]
pub(crate) struct EvaluationDocument {
    /// The cut of precision, recall and nDCG.
    k: usize,
    /// Number of queries.
    queries: usize,
    /// A row a metric: its version as `metric`, and `precision`, `recall`, `ndcg`, `mrr` and `map`,
    /// each with `mean` and the 95 % interval from `low` to `high`; where it was asked for,
    /// `per_query` with the same measures of each query, in their order.
    #[schema(value_type = Vec<Object>)]
    rows: (),
}

/// The refits of everybody's metric.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a type of the crate affinis")]
pub(crate) struct DriftDocument {
    /// The refits, oldest first: `version`, `parent`, `distance`, `measure`, `before`, `after`,
    /// `lower_bound`, `accepted`, `shrinkage`, `newest`.
    #[schema(value_type = Vec<Object>)]
    refits: (),
    /// Alarms in sentences.
    alarms: Vec<String>,
}

/// Explains an item's rank by the directions of the metric and by judgements.
#[utoipa::path(post, path = "/v1/collections/{c}/explain", tag = "measures",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ExplainRequest,
    responses((status = 200, description = "The explanation", body = ExplanationDocument)))]
pub(crate) async fn explain(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(request): Given<ExplainRequest>,
) -> Result<Json<ExplanationDocument>, Problem> {
    let (query, _) = single(request.query, request.vector, request.like)?;
    let metric = choice(request.metric);
    let why = app.on(name, move |target| {
        let explain = target.learning().explain(query, request.item);
        let mut explain = explain.metric(metric);
        if let Some(user) = request.user {
            explain = explain.user(user);
        }
        Ok(ExplanationDocument::from(&explain.run()?))
    });
    Ok(Json(why.await?))
}

/// Measures the answers to queries whose relevant items are known, under Euclid and a metric.
#[utoipa::path(post, path = "/v1/collections/{c}/evaluate", tag = "measures",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = EvaluateRequest,
    responses((status = 200, description = "The measures", body = EvaluationDocument)))]
pub(crate) async fn evaluate(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(request): Given<EvaluateRequest>,
) -> Result<Json<serde_json::Value>, Problem> {
    let count = request.queries.len();
    if !(1..=MAX_QUERIES).contains(&count) {
        return Err(Problem::invalid(format!(
            "an evaluation has 1 to {MAX_QUERIES} queries, not {count}"
        )));
    }
    let threshold = request.relevance_threshold;
    let queries = request.queries.into_iter().map(|q| q.read(threshold));
    let queries: Vec<EvalQuery> = queries.collect::<Result<_, _>>()?;
    let metrics = [MetricChoice::BuiltIn, choice(request.metric)];
    let ranking = rank_by(request.hybrid, request.words_only)?;
    let evaluation = app.on(name, move |target| {
        let learning = target.learning();
        let evaluation = learning.evaluate(&queries, request.k, &metrics, ranking)?;
        let mut document = to_value(&evaluation)?;
        if request.per_query {
            for (row, measured) in evaluation.rows.iter().enumerate() {
                document["rows"][row]["per_query"] = to_value(&measured.per_query)?;
            }
        }
        Ok(document)
    });
    Ok(Json(evaluation.await?))
}

/// Shows how far each refit moved the metric, and alarms.
#[utoipa::path(get, path = "/v1/collections/{c}/drift", tag = "measures",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The refits", body = DriftDocument)))]
pub(crate) async fn drift(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Drift>, Problem> {
    let drift = app.on(name, |target| Ok(target.learning().drift()?));
    Ok(Json(drift.await?))
}
