//! The JSON object of a line.

use affinis::json::{self, JsonError};
use serde::de::DeserializeOwned;

/// Parses a line that holds one JSON object. `rounded` says below which of its keys numbers are
/// floats in any case; elsewhere an integer must fit into 64 bits.
///
/// # Errors
/// The mistake, with its column.
pub fn json_line<T: DeserializeOwned>(
    text: &str,
    rounded: impl Fn(&str) -> bool,
) -> Result<T, String> {
    if !text.trim_start().starts_with('{') {
        return Err("not a JSON object; a line holds one, {..}".into());
    }
    let value = serde_json::from_str(text).map_err(|e| parse_error(&e))?;
    json::check(text, rounded).map_err(|error| match error {
        JsonError::KeyTwice { at, .. } | JsonError::IntegerTooLarge { at, .. } => {
            format!("{error} (column {})", at + 1)
        }
        other => other.to_string(),
    })?;
    Ok(value)
}

/// The message of the parser of a line, with the column.
pub fn parse_error(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match message.strip_suffix(&place) {
        Some(reason) => format!("{reason} (column {})", error.column()),
        None => message,
    }
}
