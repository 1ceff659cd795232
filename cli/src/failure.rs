//! How a command fails, and the exit status that says so.

use std::fmt;
use std::io;

use crate::input::InputError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments were wrong.
    Usage(String),
    /// The operation failed.
    Failed(String),
    /// The store refused or failed.
    Store(affinis::Error),
    /// An input cannot be used.
    Input(InputError),
    /// What there is to say cannot be printed.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// Whether the reader of standard output went away, as `head` does: nobody is left to tell.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
            Self::Store(affinis::Error::Io { path, source })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                write!(
                    f,
                    "{}: {source}; give the user who runs this the right to read and write there, or name another place",
                    path.display()
                )
            }
            Self::Store(error) => error.fmt(f),
            Self::Input(error) => error.fmt(f),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
        }
    }
}

impl From<affinis::Error> for Failure {
    fn from(error: affinis::Error) -> Self {
        Self::Store(error)
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_opened_is_said_with_what_to_do() {
        let failure = |kind: io::ErrorKind| {
            Failure::Store(affinis::Error::Io {
                path: "s/lock".into(),
                source: kind.into(),
            })
            .to_string()
        };
        let denied = failure(io::ErrorKind::PermissionDenied);
        assert!(
            denied.starts_with("s/lock: permission denied; ") && denied.contains("the right to"),
            "{denied}"
        );
        assert_eq!(failure(io::ErrorKind::NotFound), "s/lock: entity not found");
    }
}
