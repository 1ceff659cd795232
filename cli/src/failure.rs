//! The error of a command, its message and its exit status.

use std::fmt;
use std::io;

use affinis::encode::EncodeError;
use affinis_api::target::TargetError;

use crate::input::InputError;
use crate::output::INTERRUPT_STATUS;

/// Error of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments were wrong.
    Usage(String),
    /// The operation failed, for the reason given.
    Failed(String),
    /// Error of the store.
    Store(affinis::Error),
    /// Error of a service, or of the connection to it.
    #[cfg(feature = "client")]
    Service(affinis_client::Error),
    /// Error of an input.
    Input(InputError),
    /// Standard output cannot be written.
    Output(io::Error),
    /// The user asked the command to stop; nothing is left of it.
    Interrupted(String),
}

impl Failure {
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Interrupted(_) => INTERRUPT_STATUS,
            _ => 1,
        }
    }

    /// Whether the reader of standard output closed it, as `head` does, so that the command ends
    /// quietly.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::Interrupted(message) => {
                f.write_str(message)
            }
            Self::Store(affinis::Error::Io { path, source })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                write!(
                    f,
                    "{}: {source}; give the user who runs this the right to read and write there, or name another place",
                    path.display()
                )
            }
            Self::Store(affinis::Error::Damaged { part, reason }) => {
                write!(
                    f,
                    "{part} is damaged: {reason}; `affinis verify` lists all damage and `affinis verify --repair` rebuilds what can be rebuilt; the rest must come from a backup"
                )
            }
            Self::Store(affinis::Error::UnknownVersion {
                collection,
                version,
            }) => write!(
                f,
                "collection {collection:?} has no metric version {version}; `affinis metrics` lists its versions"
            ),
            Self::Store(error @ affinis::Error::NoJudgements { .. }) => {
                f.write_str(&of_commands(&error.to_string()))
            }
            Self::Store(affinis::Error::Encode(EncodeError::Output {
                path,
                fault,
                outputs,
            })) => write!(
                f,
                "{}: {fault}; it has {}; if one of them is the embedding of a text or of its tokens, choose it with `affinis create --output NAME`",
                path.display(),
                outputs.join(", ")
            ),
            Self::Store(error @ affinis::Error::Encode(EncodeError::NotFound { .. })) => {
                write!(f, "{error}; `--encoder DIR` names the one that has it")
            }
            Self::Store(error) => error.fmt(f),
            #[cfg(feature = "client")]
            Self::Service(error) => service(error, f),
            Self::Input(error) => error.fmt(f),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
        }
    }
}

/// A message that names commands where it named methods.
fn of_commands(message: &str) -> String {
    message.replace(
        "give some with `Collection::judge`",
        "store some with `affinis judge`",
    )
}

/// The message of a service's error, with a remedy.
#[cfg(feature = "client")]
fn service(error: &affinis_client::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let message = of_commands(&error.to_string());
    let remedy = match error {
        affinis_client::Error::Transport { .. } => "; `affinis serve` starts a service",
        affinis_client::Error::Certificate { .. } => {
            "; --root-certificates FILE names the certificate of an authority that signed it"
        }
        error if error.is("unauthenticated") => {
            "; AFFINIS_TOKEN in the environment or --token-file FILE gives a token"
        }
        _ => "",
    };
    write!(f, "{message}{remedy}")
}

impl From<affinis::Error> for Failure {
    fn from(error: affinis::Error) -> Self {
        Self::Store(error)
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Store(error) => Self::Store(error),
            TargetError::Setting(text) => Self::Usage(text),
            other => Self::Failed(other.to_string()),
        }
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
    fn messages_name_commands_and_not_methods() {
        let errors = [
            affinis::Error::Damaged {
                part: "record 1".into(),
                reason: "its checksum does not fit".into(),
            },
            affinis::Error::UnknownVersion {
                collection: "c".into(),
                version: affinis::VersionId(7),
            },
            affinis::Error::NoJudgements {
                user: None,
                stale: 0,
            },
            affinis::Error::Encode(EncodeError::Output {
                path: "model.onnx".into(),
                fault: "none of its outputs is known to be an embedding".into(),
                outputs: vec!["logits [batch, 1]".into()],
            }),
        ];
        let advice = [
            "`affinis verify --repair`",
            "`affinis metrics`",
            "`affinis judge`",
            "--output NAME",
        ];
        for (error, advice) in errors.into_iter().zip(advice) {
            let told = Failure::Store(error).to_string();
            assert!(told.contains(advice) && !told.contains("::"), "{told}");
        }
    }

    #[test]
    fn a_missing_permission_is_reported_with_a_remedy() {
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
