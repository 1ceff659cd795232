//! The routes: what each call takes and gives. A file holds the calls of one noun.

mod collections;
mod encoders;
mod guidelines;
mod health;
mod import;
mod items;
mod jobs;
mod judgements;
mod keywords;
mod learning;
mod loading;
mod maintenance;
mod measures;
mod search;
mod session;
pub(crate) mod transfer;
mod trial;
mod versions;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Router, response::IntoResponse as _};
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::{access, idempotency, layers, openapi, page};

pub(crate) use learning::AskedQuestions;

/// The calls, with their description.
pub(crate) fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(collections::list))
        .routes(routes!(
            collections::create,
            collections::show,
            collections::remove
        ))
        .routes(routes!(keywords::language, keywords::set_language))
        .routes(routes!(encoders::list))
        .routes(routes!(encoders::reencode))
        .routes(routes!(encoders::commit))
        .routes(routes!(encoders::back))
        .routes(routes!(transfer::export))
        .routes(routes!(transfer::import))
        .routes(routes!(items::add, items::list))
        .routes(routes!(items::get, items::delete))
        .routes(routes!(items::document))
        .routes(routes!(loading::import))
        .routes(routes!(items::get_many))
        .routes(routes!(items::delete_many))
        .routes(routes!(items::count))
        .routes(routes!(search::search))
        .routes(routes!(measures::explain))
        .routes(routes!(measures::evaluate))
        .routes(routes!(measures::drift))
        .routes(routes!(judgements::judge, judgements::list))
        .routes(routes!(judgements::withdraw))
        .routes(routes!(import::import))
        .routes(routes!(judgements::signals))
        .routes(routes!(judgements::forget))
        .routes(routes!(guidelines::show, guidelines::set))
        .routes(routes!(learning::refit))
        .routes(routes!(learning::questions, learning::answer))
        .routes(routes!(versions::list))
        .routes(routes!(versions::show, versions::delete))
        .routes(routes!(versions::promote))
        .routes(routes!(versions::rollback))
        .routes(routes!(versions::import))
        .routes(routes!(versions::export))
        .routes(routes!(versions::diff))
        .routes(routes!(trial::show, trial::start, trial::end))
        .routes(routes!(trial::search))
        .routes(routes!(maintenance::optimize))
        .routes(routes!(maintenance::verify))
        .routes(routes!(maintenance::backups, maintenance::backup))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::cancel))
        .routes(routes!(session::show, session::begin, session::end))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// A document as a JSON value, for the result of a job.
fn to_value(document: &impl serde::Serialize) -> Result<serde_json::Value, Problem> {
    serde_json::to_value(document).map_err(|error| Problem::new(Kind::Internal, error.to_string()))
}

/// The service as a router: the calls, the page, and what happens to every request.
pub(crate) fn router(app: &App) -> Router {
    let (router, description) = described().split_for_parts();
    let description = openapi::completed(description);
    let describe = move || std::future::ready(axum::Json(description.clone()));
    let router = router
        .route("/openapi.json", get(describe))
        .merge(page::routes())
        .fallback(|| async {
            let detail = "there is no such address; /openapi.json lists those that there are";
            Problem::new(Kind::NotFound, detail).into_response()
        })
        .method_not_allowed_fallback(|| async {
            let detail =
                "this address does not take this method; /openapi.json lists what it takes";
            Problem::new(Kind::MethodNotAllowed, detail).into_response()
        })
        .layer(from_fn_with_state(app.clone(), idempotency::once))
        .layer(DefaultBodyLimit::max(app.limits.body_bytes))
        .layer(from_fn_with_state(app.clone(), layers::limit))
        .layer(from_fn_with_state(app.clone(), access::guard))
        .layer(CompressionLayer::new());
    // Before the tokens: a preflight has none, and a page reads that it was refused.
    let router = match app.access.origins().layer() {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(from_fn_with_state(app.clone(), layers::observe))
        .with_state(app.clone())
}
