//! What watches the service: whether it lives, whether it can answer, and figures.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::blocking::blocking;
use crate::figures::CONTENT_TYPE;
use crate::problem::{Kind, Problem};

/// That all is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Says that the service lives.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It lives", body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    OK
}

/// Says whether the service can answer: the store can be read, and the service does not end.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "It can answer", body = Health)))]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<Health>, Problem> {
    if *app.ending.borrow() {
        return Err(Problem::new(Kind::Unavailable, "the service is ending"));
    }
    blocking(move || app.engine.collections()).await?;
    Ok(OK)
}

/// Gives figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "Figures", body = String,
        content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let figures = move || {
        app.figures
            .text(&app.open_collections(), app.jobs.running())
    };
    let figures = blocking(figures).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], figures))
}
