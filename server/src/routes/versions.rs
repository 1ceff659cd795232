//! Versions of the metric: list, show, promote, roll back, compare, delete, export, import.

use affinis::learning::Activation;
use affinis::{Error, Version, VersionId};
use affinis_api::target::Target;
use affinis_api::{ActiveDocument, DifferenceDocument, MatrixDocument, VersionDocument};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::extract::{Given, GivenOrDefault, Segments};
use crate::problem::{Kind, Problem};

/// Number of items whose neighbours are compared.
const SAMPLE: usize = 100;
/// Number of neighbours of an item that are compared.
const NEIGHBOURS: usize = 10;

/// The versions of a collection's metric.
#[derive(Serialize, ToSchema)]
pub(crate) struct Versions {
    /// The versions, version 0 first.
    metrics: Vec<VersionDocument>,
    /// When which version became everybody's, the oldest first; the newest 200 are known.
    #[schema(value_type = Vec<ActivationDocument>)]
    activations: Vec<Activation>,
}

/// A time from which everybody was answered under another version.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a type of the crate affinis")]
pub(crate) struct ActivationDocument {
    /// The time, RFC 3339.
    at: String,
    /// The version that was active from then on.
    version: u32,
    /// What made it active: `refit`, `choice` (a promotion or a rollback), `trial`, or `withdrawal`
    /// of the version before.
    by: String,
}

/// What is gone back to: a version, or for a user the shared metric; by default the parent of the
/// active version.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Back {
    /// Number of a version.
    version: Option<u32>,
    /// A user whose own metric ends.
    user: Option<String>,
}

/// The number of the version that was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedVersion {
    /// The number.
    #[schema(value_type = u32)]
    deleted: VersionId,
}

/// A matrix to import, as an export has it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToImport {
    /// Its rows: `d x d`, symmetric and positive definite.
    matrix: Vec<Vec<f64>>,
    /// Taken and not read, so that an export can be imported.
    #[serde(default, rename = "version")]
    #[schema(value_type = Option<u32>)]
    _version: Value,
    /// Taken and not read.
    #[serde(default, rename = "learner")]
    #[schema(value_type = Option<String>)]
    _learner: Value,
    /// Taken and not read.
    #[serde(default, rename = "created")]
    #[schema(value_type = Option<String>)]
    _created: Value,
}

/// The version that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Imported {
    /// Its number; it is not active yet.
    #[schema(value_type = u32)]
    version: VersionId,
}

/// For whom a version is active.
fn active(target: &Target, version: VersionId) -> Result<ActiveDocument, Problem> {
    Ok(ActiveDocument {
        active: version,
        user: target.learning().metric(version)?.user,
    })
}

/// Lists the versions.
#[utoipa::path(get, path = "/v1/collections/{c}/metrics", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The versions", body = Versions)))]
pub(crate) async fn list(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Versions>, Problem> {
    let versions = app.on(name, |target| {
        let learning = target.learning();
        Ok((learning.metrics()?, learning.activations()?))
    });
    let (metrics, activations) = versions.await?;
    Ok(Json(Versions {
        metrics: metrics.iter().map(VersionDocument::from).collect(),
        activations,
    }))
}

/// Shows everything that is known of a version.
#[utoipa::path(get, path = "/v1/collections/{c}/metrics/{v}", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection"),
        ("v" = u32, Path, description = "Number of the version")),
    responses((status = 200, description = "The version, with the fields of the list and more", body = Object)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segments((name, version)): Segments<(String, u32)>,
) -> Result<Json<Version>, Problem> {
    let version = app.on(name, move |target| {
        Ok(target.learning().metric(VersionId(version))?)
    });
    Ok(Json(version.await?))
}

/// Deletes a version that nothing needs.
#[utoipa::path(delete, path = "/v1/collections/{c}/metrics/{v}", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection"),
        ("v" = u32, Path, description = "Number of the version")),
    responses((status = 200, description = "It is gone", body = DeletedVersion)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Segments((name, version)): Segments<(String, u32)>,
) -> Result<Json<DeletedVersion>, Problem> {
    let deleted = VersionId(version);
    let done = app.on(name, move |target| {
        Ok(target.learning().delete_metric(deleted)?)
    });
    done.await?;
    Ok(Json(DeletedVersion { deleted }))
}

/// Makes a version active: for its user, or else for everybody.
#[utoipa::path(post, path = "/v1/collections/{c}/metrics/{v}/promote", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection"),
        ("v" = u32, Path, description = "Number of the version")),
    responses((status = 200, description = "It is active", body = ActiveDocument)))]
pub(crate) async fn promote(
    State(app): State<App>,
    Segments((name, version)): Segments<(String, u32)>,
) -> Result<Json<ActiveDocument>, Problem> {
    let promoted = app.on(name, move |target| {
        let version = VersionId(version);
        target.learning().promote(version)?;
        active(target, version)
    });
    Ok(Json(promoted.await?))
}

/// Makes an earlier version active again, or ends a user's own metric.
#[utoipa::path(post, path = "/v1/collections/{c}/metrics/rollback", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Option<Back>,
    responses((status = 200, description = "What is active now", body = ActiveDocument)))]
pub(crate) async fn rollback(
    State(app): State<App>,
    Segments(name): Segments<String>,
    GivenOrDefault(back): GivenOrDefault<Back>,
) -> Result<Json<ActiveDocument>, Problem> {
    let rolled = app.on(name, move |target| match (back.version, back.user) {
        (version, None) => {
            let version = target.learning().rollback(version.map(VersionId))?;
            active(target, version)
        }
        (None, Some(user)) => {
            let learning = target.learning();
            let shared = learning.active(None);
            if learning.active(Some(&user)) == shared {
                return Err(Problem::new(
                    Kind::Conflict,
                    format!("{user:?} has no metric of their own to go back from"),
                ));
            }
            learning.clear_user_metric(&user)?;
            Ok(ActiveDocument {
                active: shared,
                user: Some(user),
            })
        }
        (Some(_), Some(_)) => Err(Problem::invalid(
            "a rollback names a `version` or a `user`, not both",
        )),
    });
    Ok(Json(rolled.await?))
}

/// Compares two versions: their distance, directions, and nearest items.
#[utoipa::path(get, path = "/v1/collections/{c}/metrics/{v}/diff/{w}", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection"),
        ("v" = u32, Path, description = "Number of the version to start from"),
        ("w" = u32, Path, description = "Number of the version to compare with it")),
    responses((status = 200, description = "The difference", body = DifferenceDocument)))]
pub(crate) async fn diff(
    State(app): State<App>,
    Segments((name, from, to)): Segments<(String, u32, u32)>,
) -> Result<Json<DifferenceDocument>, Problem> {
    let difference = app.on(name, move |target| {
        let learning = target.learning();
        let (from, to) = (VersionId(from), VersionId(to));
        let comparison = learning.diff(from, to)?;
        let changes = learning.diff_neighbours(from, to);
        Ok(DifferenceDocument {
            distance: comparison.distance,
            factors: comparison.factors,
            neighbours: changes.sample(SAMPLE).k(NEIGHBOURS).run()?,
        })
    });
    Ok(Json(difference.await?))
}

/// Gives the matrix of a version.
#[utoipa::path(get, path = "/v1/collections/{c}/metrics/{v}/export", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection"),
        ("v" = u32, Path, description = "Number of the version")),
    responses((status = 200, description = "The matrix", body = MatrixDocument)))]
pub(crate) async fn export(
    State(app): State<App>,
    Segments((name, version)): Segments<(String, u32)>,
) -> Result<Json<MatrixDocument>, Problem> {
    let exported = app.on(name, move |target| {
        let learning = target.learning();
        let version = VersionId(version);
        let matrix = learning.metric_matrix(version)?;
        let record = learning.metric(version)?;
        let rows = matrix.outer_iter().map(|row| row.to_vec());
        Ok(MatrixDocument {
            version,
            created: record.created_text(),
            matrix: rows.collect(),
            learner: record.learner,
        })
    });
    Ok(Json(exported.await?))
}

/// Stores a matrix as a new version, which is not active.
#[utoipa::path(post, path = "/v1/collections/{c}/metrics/import", tag = "metrics",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ToImport,
    responses((status = 201, description = "The version", body = Imported)))]
pub(crate) async fn import(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(given): Given<ToImport>,
) -> Result<(StatusCode, Json<Imported>), Problem> {
    let imported = app.on(name, move |target| {
        let dim = target.dim();
        let rows = given.matrix.len();
        let columns = given.matrix.iter().map(Vec::len);
        let uneven = columns.clone().find(|columns| *columns != dim);
        if rows != dim || uneven.is_some() {
            let columns = uneven.unwrap_or(dim);
            return Err(Error::MatrixShape { rows, columns, dim }.into());
        }
        let numbers = given.matrix.into_iter().flatten().collect();
        let matrix = Array2::from_shape_vec((dim, dim), numbers)
            .map_err(|error| Problem::invalid(error.to_string()))?;
        let version = target.learning().import_metric(matrix.view(), None)?;
        Ok(Imported { version })
    });
    Ok((StatusCode::CREATED, Json(imported.await?)))
}
