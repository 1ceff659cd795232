//! [`Error`]: what can go wrong with a call.

use std::error::Error as StdError;
use std::path::PathBuf;

use affinis_api::ProblemDocument;

/// An error of a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service refused the request, or its job failed. The document has the kind, the status and
    /// the words; [`ProblemDocument::kind_name`] is what a program looks at.
    #[error("{0}")]
    Problem(ProblemDocument),
    /// There was no answer: the connection could not be made, was cut off, or took too long. A
    /// request that changes something may have been done all the same.
    #[error("{url} does not answer: {source}")]
    Transport {
        /// Address of the service.
        url: String,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The certificate that the service shows is signed by nobody whom this client trusts, is of
    /// another name, or has expired.
    #[error("the certificate of {url} is not trusted: {reason}")]
    Certificate {
        /// Address of the service.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is not one of this service, such as that of a proxy before it.
    #[error("{url} answered with status {status}, and not as a service of affinis does: {reason}")]
    Answer {
        /// Address of the service.
        url: String,
        /// Status of the answer.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// Items were added in several requests, of which one failed. Those before it are stored.
    #[error("the first {stored} items are stored, the {count} after them are not: {source}")]
    Partly {
        /// Number of items that were sent before and are stored.
        stored: usize,
        /// Number of items of the request that failed; none of them is stored, unless `source` is
        /// [`Error::Transport`].
        count: usize,
        /// Why it failed.
        source: Box<Error>,
    },
    /// The address is not one of a service.
    #[error(
        "{url:?} is not the address of a service, such as http://127.0.0.1:7717 or https://search.example.org: {reason}"
    )]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token has characters that no token has.
    #[error(
        "the token is not one that `affinis token` makes: it has white space or other characters that no header holds"
    )]
    Token,
    /// The file of root certificates cannot be used.
    #[error("{}: {reason}", path.display())]
    RootCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is asked for has no form in a request of this version of the client.
    #[error("this version of the client cannot send {0}")]
    Unsupported(&'static str),
    /// The system gives no random numbers, which keys of requests are made of.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The problem document, where the service gave one.
    pub fn problem(&self) -> Option<&ProblemDocument> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Partly { source, .. } => source.problem(),
            _ => None,
        }
    }

    /// Whether the service gave a problem of this kind, such as `not-found`.
    pub fn is(&self, kind: &str) -> bool {
        self.problem()
            .is_some_and(|problem| problem.kind_name() == kind)
    }
}
