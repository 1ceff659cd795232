//! Encoders: those that there are, and giving a collection another one.

use std::sync::Arc;

use affinis::Distance;
use affinis::encode::{self, EMBEDDED, Encoder};
use affinis_api::{BegunDocument, ReencodedDocument};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::to_value;
use crate::app::App;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::extract::{Given, Segments};
use crate::jobs::JobKind;
use crate::problem::{Kind, Problem};

/// What does it over PostgreSQL.
const ON_A_TABLE: &str = "update the vectors of the table with those of another encoder, and attach it anew with `affinis pg init --encoder`";
/// Why a collection is not answered for meanwhile.
const SWITCHING: &str = "is being given another encoder";

/// The encoders that collections can have.
#[derive(Serialize, ToSchema)]
pub(crate) struct Encoders {
    /// Their names: `embedded`, the one in the program, and directories of models below those that
    /// the service was started with.
    encoders: Vec<String>,
}

/// Another encoder for a collection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToReencode {
    /// Name of the encoder, one of `/v1/encoders`.
    encoder: String,
    /// Output of the encoder's graph that is the embedding; by default by its name.
    output: Option<String>,
    /// Built-in distance; that of the collection by default.
    #[schema(value_type = Option<String>)]
    distance: Option<Distance>,
    /// Drop what the collection was before as soon as it is encoded.
    #[serde(default)]
    commit: bool,
}

/// The end of a change of the encoder.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reencoded {
    /// Name of the collection.
    collection: String,
    /// True where what it was before is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<bool>,
    /// True where it is what it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    back: Option<bool>,
}

/// Loads the encoder of a name. No path comes from a request: the name is compared with those of
/// the directories that there are.
pub(super) fn load(
    engine: &Engine,
    name: &str,
    output: Option<&str>,
) -> Result<Arc<dyn Encoder>, Problem> {
    if name.contains(['/', '\\']) || matches!(name, "" | "." | "..") {
        return Err(Problem::invalid(format!(
            "an encoder is named, and {name:?} is a path; /v1/encoders lists those that there are"
        )));
    }
    if name == EMBEDDED {
        return Ok(encode::load(EMBEDDED, output).map_err(affinis::Error::from)?);
    }
    let models = encode::models(engine.models());
    let model = models
        .iter()
        .find(|model| model.file_name().is_some_and(|own| own == name));
    let Some(path) = model.and_then(|model| model.to_str()) else {
        return Err(Problem::new(
            Kind::NotFound,
            format!(
                "there is no encoder {name:?}; there are {}: `serve --encoder DIR` and AFFINIS_MODELS name directories of others",
                engine.encoders().join(", ")
            ),
        ));
    };
    Ok(encode::load(path, output).map_err(affinis::Error::from)?)
}

/// Lists the encoders that collections can have.
#[utoipa::path(get, path = "/v1/encoders", tag = "encoders",
    responses((status = 200, description = "Their names", body = Encoders)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Encoders>, Problem> {
    let listed = blocking(move || -> Result<_, Problem> { Ok(app.engine.encoders()) });
    Ok(Json(Encoders {
        encoders: listed.await?,
    }))
}

/// Encodes the texts of a collection with another encoder, in the background. It answers as before
/// until the end, at which its judgements follow and a metric is fitted.
#[utoipa::path(post, path = "/v1/collections/{c}/reencode", tag = "encoders",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ToReencode,
    responses((status = 202, description = "A job, whose result is that of `reencode --json`", body = BegunDocument)))]
pub(crate) async fn reencode(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(given): Given<ToReencode>,
) -> Result<(StatusCode, Json<BegunDocument>), Problem> {
    // What cannot be begun is an error of this request, not of its job.
    let (opened, of) = (app.clone(), name.clone());
    let (given, encoder) = blocking(move || -> Result<_, Problem> {
        opened.collection(&of)?.embedded(ON_A_TABLE)?;
        let encoder = load(&opened.engine, &given.encoder, given.output.as_deref())?;
        Ok((given, encoder))
    })
    .await?;
    let begun = app.begin(JobKind::Reencode, Some(name.clone()), move |app, job| {
        let store = app.engine.store(ON_A_TABLE)?;
        let reencode = || {
            let (shown, stopping) = (Arc::clone(job), Arc::clone(job));
            let mut reencode = store
                .reencode(&name, Arc::clone(&encoder))
                .progress(move |done, all| shown.progress(done as f32 / all.max(1) as f32))
                .cancel(move || stopping.is_cancelled());
            if let Some(distance) = given.distance {
                reencode = reencode.distance(distance);
            }
            reencode
        };
        // While it is answered for and written to. For the end it is needed alone.
        let ahead = reencode().fill()?;
        let (before, working) = (format!("{name}.before"), format!("{name}.reencoding"));
        let done = app.alone(&[&name, &before, &working], SWITCHING, || reencode().run())?;
        app.questions.forget(&name);
        if given.commit {
            app.alone(&[&before], SWITCHING, || store.reencode_commit(&name))?;
        }
        let mut document = ReencodedDocument::new(&name, encoder.as_ref(), done, given.commit);
        document.encoded += ahead;
        to_value(&document)
    })?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Drops what a collection was before it was given another encoder.
#[utoipa::path(post, path = "/v1/collections/{c}/reencode/commit", tag = "encoders",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "It is dropped", body = Reencoded)))]
pub(crate) async fn commit(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Reencoded>, Problem> {
    let commit = move || -> Result<Reencoded, Problem> {
        let store = app.engine.store(ON_A_TABLE)?;
        let before = format!("{name}.before");
        app.alone(&[&before], SWITCHING, || store.reencode_commit(&name))?;
        Ok(Reencoded {
            collection: name,
            committed: Some(true),
            back: None,
        })
    };
    Ok(Json(blocking(commit).await?))
}

/// Gives a collection the encoder that it had before. What it has become since is kept as
/// `NAME.reencoding`.
#[utoipa::path(post, path = "/v1/collections/{c}/reencode/back", tag = "encoders",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "It is what it was", body = Reencoded)))]
pub(crate) async fn back(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Reencoded>, Problem> {
    let back = move || -> Result<Reencoded, Problem> {
        let store = app.engine.store(ON_A_TABLE)?;
        let (before, working) = (format!("{name}.before"), format!("{name}.reencoding"));
        app.alone(&[&name, &before, &working], SWITCHING, || {
            store.reencode_back(&name)
        })?;
        app.questions.forget(&name);
        Ok(Reencoded {
            collection: name,
            committed: None,
            back: Some(true),
        })
    };
    Ok(Json(blocking(back).await?))
}
