//! Trials: two metrics side by side in live answers, decided by clicks.

use affinis::VersionId;
use affinis::learning::Trial;
use affinis_api::{TrialAnswerDocument, TrialHitDocument};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::extract::{Given, Segments};
use crate::problem::Problem;
use crate::query::single;

/// The trial of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct TrialDocument {
    /// The running trial, otherwise the last one: `challenger`, `champion`, `alpha`, `wins`,
    /// `losses`, `ties`, `evidence`, `evidence_against`, `verdict`; null where there was none.
    #[schema(value_type = Option<Object>)]
    trial: Option<Trial>,
}

/// The version that is to show that it is better.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToTry {
    /// Number of the version.
    version: u32,
    /// Largest chance of a wrong decision, above 0 and below 1; .05 by default.
    alpha: Option<f64>,
}

/// A search whose answer both metrics of the trial make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialSearch {
    /// A text.
    query: Option<String>,
    /// A vector.
    vector: Option<Vec<f32>>,
    /// Id of a stored item.
    like: Option<String>,
    /// Largest number of hits, 1 to 10,000; 10 by default.
    #[schema(minimum = 1, maximum = 10_000)]
    k: Option<usize>,
    /// The user who searches.
    user: Option<String>,
}

/// Shows the running trial, otherwise the last one.
#[utoipa::path(get, path = "/v1/collections/{c}/trial", tag = "trial",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The trial", body = TrialDocument)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<TrialDocument>, Problem> {
    let trial = app.on(name, |target| Ok(target.learning().trial()?));
    let trial = trial.await?;
    Ok(Json(TrialDocument { trial }))
}

/// Starts a trial of a version against the active one.
#[utoipa::path(post, path = "/v1/collections/{c}/trial", tag = "trial",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ToTry,
    responses((status = 201, description = "The trial", body = TrialDocument)))]
pub(crate) async fn start(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(given): Given<ToTry>,
) -> Result<(StatusCode, Json<TrialDocument>), Problem> {
    let trial = app.on(name, move |target| {
        let mut trial = target.learning().start_trial(VersionId(given.version));
        if let Some(alpha) = given.alpha {
            trial = trial.alpha(alpha);
        }
        Ok(Some(trial.run()?))
    });
    let trial = trial.await?;
    Ok((StatusCode::CREATED, Json(TrialDocument { trial })))
}

/// Ends the running trial without a decision.
#[utoipa::path(delete, path = "/v1/collections/{c}/trial", tag = "trial",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The trial; null where none was running", body = TrialDocument)))]
pub(crate) async fn end(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<TrialDocument>, Problem> {
    let trial = app.on(name, |target| Ok(target.learning().end_trial()?));
    let trial = trial.await?;
    Ok(Json(TrialDocument { trial }))
}

/// Answers a query with hits of both metrics of the trial. What is chosen of them is told as
/// signals, with all ids as shown.
#[utoipa::path(post, path = "/v1/collections/{c}/trial/search", tag = "trial",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = TrialSearch,
    responses((status = 200, description = "The hits", body = TrialAnswerDocument)))]
pub(crate) async fn search(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(request): Given<TrialSearch>,
) -> Result<Json<TrialAnswerDocument>, Problem> {
    let (query, title) = single(request.query, request.vector, request.like)?;
    let answer = app.on(name, move |target| {
        let k = request.k.unwrap_or(10);
        let learning = target.learning();
        let answer = learning.interleave(&query, k, request.user.as_deref())?;
        let mut items = target.items(&answer.ids)?;
        let drawn = answer.ids.into_iter().zip(answer.teams).enumerate();
        let hits = drawn.map(|(at, (id, team))| {
            let item = items.remove(&id).unwrap_or_default();
            TrialHitDocument {
                id,
                rank: at + 1,
                text: item.text,
                meta: item.meta,
                team,
            }
        });
        Ok(TrialAnswerDocument {
            query: title,
            hits: hits.collect(),
        })
    });
    Ok(Json(answer.await?))
}
