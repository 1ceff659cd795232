//! Maintenance: optimize a collection, verify the store, back it up.

use std::path::{Path, PathBuf};
use std::time::Instant;

use affinis::Error;
use affinis_api::BegunDocument;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::to_value;
use crate::app::App;
use crate::blocking::blocking;
use crate::extract::{Given, Segments};
use crate::jobs::JobKind;
use crate::problem::{Kind, Problem};

/// What backs a database up.
const BACKUPS: &str =
    "pg_dump and pg_basebackup back a database up, and the schema affinis with it";
/// The longest name of a backup, in bytes.
const MAX_NAME: usize = 128;

/// A backup to write.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToBackUp {
    /// Name of the backup, of letters, digits, `-`, `_` and `.`, which begins with a letter or a
    /// digit.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length = 128)]
    name: String,
}

/// The backups that there are.
#[derive(Serialize, ToSchema)]
pub(crate) struct Backups {
    /// Their names, in order.
    backups: Vec<String>,
}

/// Builds one graph of all items in the background, under the active metric.
#[utoipa::path(post, path = "/v1/collections/{c}/optimize", tag = "maintenance",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 202, description = "A job, whose result has `items`, `metric` and `millis`", body = BegunDocument)))]
pub(crate) async fn optimize(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<(StatusCode, Json<BegunDocument>), Problem> {
    let (opened, of) = (app.clone(), name.clone());
    let collection = blocking(move || -> Result<_, Problem> {
        let target = opened.collection(&of)?;
        let instead = "its index is the server's, which builds and keeps it (REINDEX)";
        Ok(target.embedded(instead)?.clone())
    });
    let collection = collection.await?;
    let begun = app.begin(JobKind::Optimize, Some(name), move |_, job| {
        let started = Instant::now();
        collection.optimize_with(|share| job.progress(share), || job.is_cancelled())?;
        Ok(json!({
            "items": collection.len(),
            "metric": collection.active_metric(None),
            "millis": started.elapsed().as_secs_f64() * 1000.0,
        }))
    })?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Reads and checks everything that is stored, in the background.
#[utoipa::path(post, path = "/v1/verify", tag = "maintenance",
    responses((status = 202, description = "A job, whose result has `checked` and `problems`", body = BegunDocument)))]
pub(crate) async fn verify(
    State(app): State<App>,
) -> Result<(StatusCode, Json<BegunDocument>), Problem> {
    let store = app
        .engine
        .store("pg_amcheck checks what a server stores")?
        .clone();
    let begun = app.begin(JobKind::Verify, None, move |_, _| {
        to_value(&store.verify()?)
    })?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Lists the backups.
#[utoipa::path(get, path = "/v1/backups", tag = "maintenance",
    responses((status = 200, description = "Their names", body = Backups)))]
pub(crate) async fn backups(State(app): State<App>) -> Result<Json<Backups>, Problem> {
    let directory = directory(&app)?.to_owned();
    let backups = blocking(move || names(&directory)).await?;
    Ok(Json(Backups { backups }))
}

/// Writes a backup of the whole store, in the background.
#[utoipa::path(post, path = "/v1/backups", tag = "maintenance",
    request_body = ToBackUp,
    responses((status = 202, description = "A job, whose result has `backup`, `collections` and `items`", body = BegunDocument)))]
pub(crate) async fn backup(
    State(app): State<App>,
    Given(given): Given<ToBackUp>,
) -> Result<(StatusCode, Json<BegunDocument>), Problem> {
    let name = checked(given.name)?;
    let path = directory(&app)?.join(&name);
    let store = app.engine.store(BACKUPS)?.clone();
    let (sought, known) = (path.clone(), name.clone());
    let is_new = blocking(move || match sought.try_exists() {
        Ok(true) => Err(Problem::new(
            Kind::AlreadyExists,
            format!("there is a backup {known:?}; give this one another name"),
        )),
        // What keeps it from being written tells the job.
        Ok(false) | Err(_) => Ok(()),
    });
    is_new.await?;
    let begun = app.begin(JobKind::Backup, None, move |_, job| {
        store.backup_with(&path, || job.is_cancelled())?;
        let collections = store.collections()?;
        let items: u64 = collections.iter().map(|info| info.items).sum();
        Ok(json!({"backup": name, "collections": collections.len(), "items": items}))
    })?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// The directory of backups, which was named at start.
fn directory(app: &App) -> Result<&Path, Problem> {
    app.engine.store(BACKUPS)?;
    app.backups.as_deref().ok_or_else(|| {
        Problem::new(
            Kind::Unsupported,
            "this service was started without --backups DIR, so it writes none",
        )
    })
}

/// A name that leads nowhere but into the directory.
fn checked(name: String) -> Result<String, Problem> {
    let is_fit = (1..=MAX_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_fit {
        return Ok(name);
    }
    Err(Problem::invalid(format!(
        "a backup's name has 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`, and begins with a letter or a digit"
    )))
}

/// The names of the directories in a directory; none where it is not there yet.
fn names(directory: &PathBuf) -> affinis::Result<Vec<String>> {
    let failed = |source| Error::Io {
        path: directory.clone(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_directory = entry.file_type().map_err(failed)?.is_dir();
        if let Ok(name) = entry.file_name().into_string()
            && is_directory
            && checked(name.clone()).is_ok()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_backup_is_no_path() {
        for name in ["monday", "2026-03-01", "a.b_c"] {
            assert!(checked(name.to_owned()).is_ok(), "{name}");
        }
        for name in [
            "", ".", "..", "../x", "a/b", "a\\b", "/tmp", ".hidden", "a\0b", "é",
        ] {
            assert!(checked(name.to_owned()).is_err(), "{name:?}");
        }
        assert!(checked("a".repeat(MAX_NAME + 1)).is_err());
    }
}
