//! Collections: list, create, describe, drop.

use affinis::encode::{EMBEDDED, Encoder, Onnx};
use affinis::{CollectionInfo, Distance, Error, Precision, Stats};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

use crate::app::App;
use crate::blocking::blocking;
use crate::extract::{GivenOrDefault, Segments};
use crate::problem::Problem;

/// The collections of the store.
#[derive(Serialize, ToSchema)]
pub(crate) struct Collections {
    /// Settings and size of each, by name.
    #[schema(value_type = Vec<CollectionDocument>)]
    collections: Vec<CollectionInfo>,
}

/// Settings and size of a collection.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a type of the crate affinis")]
pub(crate) struct CollectionDocument {
    /// Name of the collection.
    name: String,
    /// Dimension of its vectors.
    dim: usize,
    /// `l2`, `cosine` or `dot`.
    distance: String,
    /// `f32`, `f16` or `i8`.
    precision: String,
    /// Encoder of its texts; null where its vectors are given.
    #[schema(value_type = Option<Object>)]
    encoder: Option<()>,
    /// Number of live items.
    items: u64,
}

/// The settings of a new collection.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCollection {
    /// `embedded`, the encoder in the program; the default where no `dim` is given.
    encoder: Option<String>,
    /// Dimension of vectors that are given, 1 to 4,096, in place of an encoder.
    dim: Option<usize>,
    /// `l2`, `cosine` or `dot`; by default what the encoder asks for, else `l2`.
    #[schema(value_type = Option<String>)]
    distance: Option<Distance>,
    /// `f32`, `f16` or `i8`; `f32` by default.
    #[schema(value_type = Option<String>)]
    precision: Option<Precision>,
}

impl NewCollection {
    /// The encoder of the collection. No path comes from a request.
    fn encoder(&self) -> Result<Option<Arc<dyn Encoder>>, Problem> {
        match (self.encoder.as_deref(), self.dim) {
            (None, Some(_)) => Ok(None),
            (None | Some(EMBEDDED), None) => {
                Ok(Some(Arc::new(Onnx::embedded().map_err(Error::from)?)))
            }
            (Some(EMBEDDED), Some(_)) => Err(Problem::invalid(
                "a collection has `encoder` or `dim`, not both",
            )),
            (Some(_), _) => Err(Problem::invalid(
                "over HTTP the encoder is \"embedded\"; `affinis create --encoder DIR` takes one of a directory",
            )),
        }
    }
}

/// Figures of a collection, as `stats` prints them, and its settings.
#[derive(Serialize, ToSchema)]
pub(crate) struct Described {
    /// Name of the collection.
    name: String,
    /// Built-in distance, version 0 of the metric.
    #[schema(value_type = String)]
    distance: Distance,
    /// Precision of stored vectors.
    #[schema(value_type = String)]
    precision: Precision,
    /// Encoder of its texts; null where its vectors are given.
    #[schema(value_type = Option<Object>)]
    encoder: Option<affinis::EncoderInfo>,
    /// Sizes, segments and calibration: `items`, `dim`, `deleted`, `segments`, `growing`,
    /// `judgements`, `active_metric`, `recall`, `memory_bytes`, `disk_bytes`, `store_bytes`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    stats: Stats,
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
    let listed = blocking(move || {
        app.store
            .collections()
            .map(|c| Collections { collections: c })
    });
    Ok(Json(listed.await?))
}

/// Creates a collection.
#[utoipa::path(put, path = "/v1/collections/{c}", tag = "collections",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = NewCollection,
    responses((status = 201, description = "The collection", body = CollectionDocument)))]
pub(crate) async fn create(
    State(app): State<App>,
    Segments(name): Segments<String>,
    GivenOrDefault(settings): GivenOrDefault<NewCollection>,
) -> Result<(StatusCode, Json<CollectionInfo>), Problem> {
    let create = move || -> Result<CollectionInfo, Problem> {
        let mut builder = app.store.collection(&name);
        if let Some(encoder) = settings.encoder()? {
            builder = builder.encoder_arc(encoder);
        }
        if let Some(dim) = settings.dim {
            builder = builder.dim(dim);
        }
        if let Some(distance) = settings.distance {
            builder = builder.distance(distance);
        }
        if let Some(precision) = settings.precision {
            builder = builder.precision(precision);
        }
        let collection = builder.create()?;
        app.keep(&collection);
        Ok(collection.info())
    };
    Ok((StatusCode::CREATED, Json(blocking(create).await?)))
}

/// Describes a collection: its settings, sizes and index.
#[utoipa::path(get, path = "/v1/collections/{c}", tag = "collections",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The collection", body = Described)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Described>, Problem> {
    let described = app.on(name, |collection| {
        let info = collection.info();
        Ok(Described {
            name: info.name,
            distance: info.distance,
            precision: info.precision,
            encoder: info.encoder,
            stats: collection.stats()?,
        })
    });
    Ok(Json(described.await?))
}

/// Drops a collection with its items, judgements and metrics.
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
