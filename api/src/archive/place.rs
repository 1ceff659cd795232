//! Where in an exported file the cause of an error of its import stands.

use affinis::learning::History;
use affinis::{Error, VersionId};

use super::Places;
use crate::input::{InputError, Place};

/// Adds to an error that a file caused its name, and the line if it is known; gives back an error
/// of the store.
///
/// # Errors
/// The error, where the file did not cause it.
pub fn place_of(
    error: Error,
    file: &str,
    places: &Places,
    history: &History,
) -> Result<InputError, Error> {
    let of_version = |number: VersionId| {
        let mut versions = history.versions.iter();
        let at = versions.position(|stored| stored.version.version == number)?;
        places.versions.get(at)
    };
    let place = match &error {
        Error::InvalidItem { index, .. } => places.items.get(*index),
        Error::InvalidJudgement { index, .. } => places.judgements.get(*index),
        Error::InvalidVersion { version, .. } => of_version(*version),
        Error::InvalidSetting { .. }
        | Error::EncoderDimension { .. }
        | Error::HistoryNumbers { .. }
        | Error::VectorTooLong { .. }
        | Error::Learn(_)
        | Error::ZeroVector { .. }
        | Error::NotFinite { .. }
        | Error::Dimension { .. } => None,
        _ => return Err(error),
    };
    let reason = match &error {
        Error::InvalidItem { source, .. } => source.to_string(),
        Error::InvalidJudgement { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let place = place.copied().unwrap_or(Place::File);
    Ok(InputError::new(file, place, reason))
}
