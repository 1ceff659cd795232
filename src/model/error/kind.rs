//! Classes of errors, for programs that map errors to statuses.

use super::Error;
use crate::encode::EncodeError;
use crate::plugin::LearnError;

/// The class of an [`Error`], by what a caller can do about it. Meant for programs that map errors
/// to statuses, such as an HTTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input breaks a rule, and the same call fails again. HTTP 400.
    InvalidInput,
    /// The input names something that is not there. HTTP 404.
    NotFound,
    /// There is already something of this name. HTTP 409.
    AlreadyExists,
    /// The state of the store or collection does not allow the call; another call can change that.
    /// HTTP 409.
    Conflict,
    /// Another process or handle has the store open. HTTP 503.
    Locked,
    /// The system, the disk or the network failed; the call may succeed later. HTTP 503.
    Unavailable,
    /// Stored bytes are damaged; repair the store or restore a backup. HTTP 500.
    Damaged,
    /// This build, its plugins or this version of affinis cannot do it. HTTP 501.
    Unsupported,
    /// The caller cancelled the operation.
    Cancelled,
    /// An encoder, a plugin or affinis itself failed in a way that no input should cause. HTTP 500.
    Internal,
}

impl Error {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dimension { .. }
            | Self::NotFinite { .. }
            | Self::ZeroVector { .. }
            | Self::VectorTooLong { .. }
            | Self::InvalidItem { .. }
            | Self::DuplicateId { .. }
            | Self::InvalidQuery(_)
            | Self::UnknownText { .. }
            | Self::InvalidFilter { .. }
            | Self::AmbiguousField { .. }
            | Self::InvalidJudgement { .. }
            | Self::InvalidName { .. }
            | Self::InvalidSetting { .. }
            | Self::ConflictingSettings { .. }
            | Self::MissingDimension { .. }
            | Self::EncoderDimension { .. }
            | Self::MatrixShape { .. }
            | Self::InvalidVersion { .. }
            | Self::HistoryNumbers { .. }
            | Self::BuiltInChallenger
            | Self::NoDirectoryName(_) => ErrorKind::InvalidInput,
            Self::UnknownId { .. }
            | Self::UnknownVersion { .. }
            | Self::UnknownJudgement { .. }
            | Self::CollectionMissing { .. }
            | Self::DanglingLink { .. }
            | Self::NotAStore { .. } => ErrorKind::NotFound,
            Self::IdExists { .. } | Self::CollectionExists(_) | Self::BackupExists(_) => {
                ErrorKind::AlreadyExists
            }
            Self::HistoryExists { .. }
            | Self::NoJudgements { .. }
            | Self::TooFewGroups { .. }
            | Self::TextsTooShort
            | Self::WithdrawnVersion(_)
            | Self::PersonalVersion { .. }
            | Self::NothingToRollBack
            | Self::AlreadyActive(_)
            | Self::VersionNeeded { .. }
            | Self::TrialRunning { .. }
            | Self::SettingMismatch { .. }
            | Self::EncoderMismatch { .. }
            | Self::NoEncoder { .. }
            | Self::InUse { .. }
            | Self::NotReencoded { .. }
            | Self::StillOpen { .. }
            | Self::SymbolicLink(_)
            | Self::ReadOnly(_)
            | Self::OutOfNumbers { .. } => ErrorKind::Conflict,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Io { .. } | Self::Storage { .. } | Self::Poisoned(_) => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::OlderFormat { .. }
            | Self::NewerFormat { .. }
            | Self::NoPlugin(_)
            | Self::NoMatrix { .. } => ErrorKind::Unsupported,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Internal { .. } => ErrorKind::Internal,
            Self::Engine { kind, .. } => *kind,
            Self::Learn(error) => of_learning(error),
            Self::Encode(error) => of_encoding(error),
        }
    }
}

fn of_learning(error: &LearnError) -> ErrorKind {
    match error {
        LearnError::NotEnough(_) => ErrorKind::Conflict,
        LearnError::UnknownLearner { .. } | LearnError::NotAMetric(_) => ErrorKind::InvalidInput,
        LearnError::Damaged(_) => ErrorKind::Damaged,
        LearnError::Cancelled => ErrorKind::Cancelled,
        _ => ErrorKind::Internal,
    }
}

fn of_encoding(error: &EncodeError) -> ErrorKind {
    match error {
        EncodeError::Missing { .. } | EncodeError::NotFound { .. } => ErrorKind::NotFound,
        EncodeError::TooLarge { .. }
        | EncodeError::Config { .. }
        | EncodeError::Tokenizer { .. }
        | EncodeError::Model { .. }
        | EncodeError::Output { .. }
        | EncodeError::OutputShape { .. }
        | EncodeError::Text { .. }
        | EncodeError::Image { .. }
        | EncodeError::Takes { .. }
        | EncodeError::Token { .. }
        | EncodeError::Option { .. } => ErrorKind::InvalidInput,
        EncodeError::Unsupported { .. } | EncodeError::NotCompiled { .. } => ErrorKind::Unsupported,
        EncodeError::Io { .. } | EncodeError::Hub { .. } | EncodeError::Library { .. } => {
            ErrorKind::Unavailable
        }
        EncodeError::Run { .. } | EncodeError::NotFinite { .. } | EncodeError::Rows { .. } => {
            ErrorKind::Internal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IdError, ItemError, JudgementError, VersionId};

    /// An error of every kind. That every variant has a kind, the compiler checks: the match in
    /// `kind` has no wildcard.
    #[test]
    fn every_kind_is_the_class_of_some_error() {
        let item = Error::InvalidItem {
            index: 0,
            id: String::new(),
            source: ItemError::Id(IdError::Empty),
        };
        let judgement = Error::InvalidJudgement {
            index: 0,
            source: JudgementError::Grade(2.0),
        };
        let io = || std::io::Error::other("x");
        for (error, kind) in [
            (item, ErrorKind::InvalidInput),
            (judgement, ErrorKind::InvalidInput),
            (
                Error::UnknownVersion {
                    collection: "c".into(),
                    version: VersionId(7),
                },
                ErrorKind::NotFound,
            ),
            (
                Error::CollectionExists("c".into()),
                ErrorKind::AlreadyExists,
            ),
            (Error::InUse { name: "c".into() }, ErrorKind::Conflict),
            (
                Error::Locked {
                    path: "s".into(),
                    pid: None,
                },
                ErrorKind::Locked,
            ),
            (
                Error::Io {
                    path: "s".into(),
                    source: io(),
                },
                ErrorKind::Unavailable,
            ),
            (
                Error::Damaged {
                    part: "p".into(),
                    reason: "r".into(),
                },
                ErrorKind::Damaged,
            ),
            (Error::NoPlugin("n".into()), ErrorKind::Unsupported),
            (Error::Cancelled, ErrorKind::Cancelled),
            (LearnError::Cancelled.into(), ErrorKind::Cancelled),
            (
                LearnError::Numerical("n".into()).into(),
                ErrorKind::Internal,
            ),
            (
                Error::Internal {
                    source: Box::new(io()),
                },
                ErrorKind::Internal,
            ),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
