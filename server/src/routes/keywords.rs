//! Keyword search over the texts of a collection: on, in a language, or off.

use affinis::Language;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::extract::{Given, Segments};
use crate::problem::Problem;

const INSTEAD: &str = "the text search of PostgreSQL finds words there";

/// The setting of keyword search.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeywordSetting {
    /// `simple`, or the two letters of a language; null where keyword search is off.
    #[schema(value_type = Option<String>)]
    language: Option<Language>,
}

/// Shows the language of keyword search.
#[utoipa::path(get, path = "/v1/collections/{c}/keywords", tag = "collections",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The language", body = KeywordSetting)))]
pub(crate) async fn language(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<KeywordSetting>, Problem> {
    let shown = app.on(name, |target| {
        let language = target.embedded(INSTEAD)?.keywords();
        Ok(KeywordSetting { language })
    });
    Ok(Json(shown.await?))
}

/// Turns keyword search on, in a language, or off. The index of the texts is built before the answer.
#[utoipa::path(put, path = "/v1/collections/{c}/keywords", tag = "collections",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = KeywordSetting,
    responses((status = 200, description = "It is on disk", body = KeywordSetting)))]
pub(crate) async fn set_language(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(setting): Given<KeywordSetting>,
) -> Result<Json<KeywordSetting>, Problem> {
    let set = app.on(name, move |target| {
        target.embedded(INSTEAD)?.set_keywords(setting.language)?;
        Ok(setting)
    });
    Ok(Json(set.await?))
}
