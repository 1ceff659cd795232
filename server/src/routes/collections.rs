//! Collections: list, create, describe, drop.

use affinis::encode::EMBEDDED;
use affinis::{Distance, EncoderInfo, Language, Precision};
use affinis_api::target::Target;
use affinis_api::{DescriptionDocument, TableStatsDocument};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::blocking::blocking;
use crate::engine::CollectionDocument;
use crate::extract::{GivenOrDefault, Segments};
use crate::problem::Problem;

use super::encoders;

/// The collections of the store.
#[derive(Serialize, ToSchema)]
pub(crate) struct Collections {
    /// Settings and size of each, by name.
    collections: Vec<CollectionDocument>,
}

/// The settings of a new collection.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCollection {
    /// Name of the encoder, one of `/v1/encoders`; where no `dim` is given, `embedded` by default.
    encoder: Option<String>,
    /// Output of the encoder's graph that is the embedding; by default by its name.
    output: Option<String>,
    /// Dimension of vectors that are given, 1 to 4,096, in place of an encoder.
    dim: Option<usize>,
    /// `l2`, `cosine` or `dot`; by default what the encoder asks for, else `l2`.
    #[schema(value_type = Option<String>, pattern = "^(l2|cosine|dot)$")]
    distance: Option<Distance>,
    /// `f32`, `f16` or `i8`; `f32` by default.
    #[schema(value_type = Option<String>, pattern = "^(f32|f16|i8)$")]
    precision: Option<Precision>,
    /// Turns on keyword search over the texts: `simple`, or the two letters of a language.
    #[schema(value_type = Option<String>)]
    keywords: Option<Language>,
}

/// Figures of a collection, as `stats` prints them, and its settings.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(
    clippy::large_enum_variant,
    reason = "one is made a request, and is written at once"
)]
pub(crate) enum Described {
    /// Of a store.
    Store(DescriptionDocument),
    /// A table of PostgreSQL.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "only a build with the feature has tables")
    )]
    Table(DescribedTable),
}

/// Figures of a collection on a table of PostgreSQL, and its settings.
#[derive(Serialize, ToSchema)]
pub(crate) struct DescribedTable {
    /// Name of the collection.
    name: String,
    /// Built-in distance, version 0 of the metric.
    #[schema(value_type = String)]
    distance: Distance,
    /// Null: the database decides on the precision of stored vectors.
    #[schema(value_type = Option<String>)]
    precision: Option<Precision>,
    /// Encoder of its texts; null where its vectors are given.
    #[schema(value_type = Option<Object>)]
    encoder: Option<EncoderInfo>,
    /// `items`, `dim`, `judgements`, `stale_judgements`, `active_metric`, `candidates`,
    /// `far_candidates`, `staleness_seconds`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    figures: TableStatsDocument,
}

impl Described {
    fn new(target: &Target) -> Result<Self, Problem> {
        match target {
            Target::Embedded(collection) => Ok(Self::Store(DescriptionDocument::of(collection)?)),
            #[cfg(feature = "postgres")]
            Target::Table(table) => {
                let info = target.settings(0)?;
                Ok(Self::Table(DescribedTable {
                    name: info.name,
                    distance: info.distance,
                    precision: None,
                    encoder: info.encoder,
                    figures: TableStatsDocument::of(table)?,
                }))
            }
        }
    }
}

/// The name of what was dropped.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dropped {
    /// Name of the collection.
    dropped: String,
}

/// Lists the collections.
#[utoipa::path(get, path = "/v1/collections", tag = "collections",
    responses((status = 200, description = "The collections", body = Collections)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Collections>, Problem> {
    let collections = blocking(move || app.engine.collections()).await?;
    Ok(Json(Collections { collections }))
}

/// Creates a collection.
#[utoipa::path(put, path = "/v1/collections/{c}", tag = "collections",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Option<NewCollection>,
    responses((status = 201, description = "The collection", body = CollectionDocument)))]
pub(crate) async fn create(
    State(app): State<App>,
    Segments(name): Segments<String>,
    GivenOrDefault(settings): GivenOrDefault<NewCollection>,
) -> Result<(StatusCode, Json<CollectionDocument>), Problem> {
    let create = move || -> Result<CollectionDocument, Problem> {
        let store = app
            .engine
            .store("`affinis pg init --table TABLE` attaches a table")?;
        let mut builder = store.collection(&name);
        match (settings.dim, &settings.encoder, &settings.output) {
            (Some(dim), None, None) => builder = builder.dim(dim),
            (None, encoder, output) => {
                let encoder = encoder.as_deref().unwrap_or(EMBEDDED);
                let encoder = encoders::load(&app.engine, encoder, output.as_deref())?;
                builder = builder.encoder_arc(encoder);
            }
            (Some(_), _, _) => {
                return Err(Problem::invalid(
                    "a collection has `encoder` or `dim`, not both",
                ));
            }
        }
        if let Some(distance) = settings.distance {
            builder = builder.distance(distance);
        }
        if let Some(precision) = settings.precision {
            builder = builder.precision(precision);
        }
        if let Some(language) = settings.keywords {
            builder = builder.keywords(language);
        }
        let collection = builder.create()?;
        let info = collection.info();
        app.keep(Target::Embedded(collection));
        Ok(info.into())
    };
    Ok((StatusCode::CREATED, Json(blocking(create).await?)))
}

/// Describes a collection: its settings, sizes and index.
#[utoipa::path(get, path = "/v1/collections/{c}", tag = "collections",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The collection", body = DescriptionDocument)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Described>, Problem> {
    Ok(Json(app.on(name, Described::new).await?))
}

/// Drops a collection with its items, judgements and metrics. A table of PostgreSQL is detached, and
/// keeps its rows.
#[utoipa::path(delete, path = "/v1/collections/{c}", tag = "collections",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The name of what was dropped", body = Dropped)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Dropped>, Problem> {
    let remove = move || -> Result<Dropped, Problem> {
        app.drop_collection(&name)?;
        app.questions.forget(&name);
        Ok(Dropped { dropped: name })
    };
    Ok(Json(blocking(remove).await?))
}
