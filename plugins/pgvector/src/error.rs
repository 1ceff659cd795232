//! Errors of the database as errors of affinis: what failed, and what to do.

use affinis::{Error, ErrorKind, Result};
use tokio_postgres::error::SqlState;

/// What failed while talking to the server, other than an error of affinis.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", of_server(.0))]
    Server(#[from] tokio_postgres::Error),
    #[error("no connection: {0}")]
    Pool(String),
    #[error("{0}")]
    Other(String),
}

/// The server's own words, with its advice.
fn of_server(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        return text;
    };
    let mut text = format!("the server says: {}", db.message());
    if let Some(detail) = db.detail() {
        text = format!("{text} ({detail})");
    }
    if let Some(hint) = db.hint() {
        text = format!("{text}; {hint}");
    }
    text
}

/// The class of a server's error.
fn kind(error: &tokio_postgres::Error) -> ErrorKind {
    let Some(state) = error.code() else {
        return ErrorKind::Unavailable;
    };
    if *state == SqlState::INSUFFICIENT_PRIVILEGE {
        return ErrorKind::InvalidInput;
    }
    if [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_OBJECT,
        SqlState::INVALID_CATALOG_NAME,
    ]
    .contains(state)
    {
        return ErrorKind::NotFound;
    }
    match &state.code()[..2] {
        // Connections, resources, the operator's intervention, transactions that collided.
        "08" | "53" | "57" | "40" | "55" | "25" => ErrorKind::Unavailable,
        "22" | "28" | "42" => ErrorKind::InvalidInput,
        "23" => ErrorKind::Conflict,
        "0A" => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    }
}

/// An error of the server during what is said.
pub(crate) fn server(what: impl Into<String>, error: tokio_postgres::Error) -> Error {
    Error::Engine {
        what: what.into(),
        kind: kind(&error),
        source: Box::new(Failure::from(error)),
    }
}

/// An error without a source of its own.
pub(crate) fn other(what: impl Into<String>, kind: ErrorKind, why: impl Into<String>) -> Error {
    Error::Engine {
        what: what.into(),
        kind,
        source: Box::new(Failure::Other(why.into())),
    }
}

/// Says what was done when the server refused.
pub(crate) trait During<T> {
    fn during(self, what: impl Into<String>) -> Result<T>;
}

impl<T> During<T> for std::result::Result<T, tokio_postgres::Error> {
    fn during(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| server(what, error))
    }
}

/// Whether the server does not know a table, as when another client dropped it.
pub(crate) fn is_missing_table(error: &Error) -> bool {
    let Error::Engine { source, .. } = error else {
        return false;
    };
    let failure = source.downcast_ref::<Failure>();
    matches!(failure, Some(Failure::Server(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE))
}

/// Whether the connection or the server went, so that the same read may succeed on another one.
pub(crate) fn is_lost_connection(error: &Error) -> bool {
    let Error::Engine { source, .. } = error else {
        return false;
    };
    match source.downcast_ref::<Failure>() {
        Some(Failure::Server(error)) => {
            error.is_closed()
                || error.code().is_none_or(|state| {
                    ["08", "57"].contains(&&state.code()[..2])
                        || *state == SqlState::READ_ONLY_SQL_TRANSACTION
                })
        }
        Some(Failure::Pool(_)) => true,
        _ => false,
    }
}
