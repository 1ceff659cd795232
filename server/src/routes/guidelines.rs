//! Guidelines for those who judge: a text, and the scale of grades.

use affinis::learning::Guidelines;
use axum::Json;
use axum::extract::State;
use utoipa::ToSchema;

use crate::app::App;
use crate::extract::{Given, Segments};
use crate::problem::Problem;

/// What those who judge a collection are told, and the grades they choose from.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a type of the crate affinis")]
pub(crate) struct GuidelinesDocument {
    /// The text, at most 16 KiB; it may be empty.
    text: String,
    /// The grades, in rising order, at least one below 0 and one above.
    #[schema(min_items = 2, max_items = 7)]
    scale: Vec<ScaleGradeDocument>,
}

/// A grade of the scale.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a type of the crate affinis")]
pub(crate) struct ScaleGradeDocument {
    /// Its name, 1 to 64 bytes, another one for each grade.
    label: String,
    /// The grade of a judgement, -1 (irrelevant) to 1 (relevant).
    #[schema(minimum = -1, maximum = 1)]
    grade: f32,
}

/// Shows the guidelines for those who judge; the usual scale where none were set.
#[utoipa::path(get, path = "/v1/collections/{c}/guidelines", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The guidelines", body = GuidelinesDocument)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Guidelines>, Problem> {
    let shown = app.on(name, |collection| Ok(collection.learning().guidelines()?));
    Ok(Json(shown.await?))
}

/// Sets the guidelines for those who judge. Judgements that were given before keep their grades.
#[utoipa::path(put, path = "/v1/collections/{c}/guidelines", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = GuidelinesDocument,
    responses((status = 200, description = "They are on disk", body = GuidelinesDocument)))]
pub(crate) async fn set(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(guidelines): Given<Guidelines>,
) -> Result<Json<Guidelines>, Problem> {
    let set = app.on(name, move |collection| {
        collection.learning().set_guidelines(&guidelines)?;
        Ok(guidelines)
    });
    Ok(Json(set.await?))
}
