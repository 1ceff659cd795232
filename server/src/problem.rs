//! Errors as problem documents (RFC 9457), with the crate's own words.

use affinis::ErrorKind;
use affinis_api::ProblemDocument;
use affinis_api::target::TargetError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What is wrong with a request or its answer, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidInput,
    NotFound,
    AlreadyExists,
    Conflict,
    Locked,
    Unavailable,
    Damaged,
    Unsupported,
    Cancelled,
    Internal,
    Unauthenticated,
    Forbidden,
    MethodNotAllowed,
    UnsupportedMediaType,
    TooLarge,
    Timeout,
    Overloaded,
    RateLimited,
    KeyReused,
}

impl Kind {
    /// The last part of the problem's type, its title, and the status.
    fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::InvalidInput => (
                "invalid-input",
                "The input breaks a rule",
                StatusCode::BAD_REQUEST,
            ),
            Self::NotFound => ("not-found", "There is no such thing", StatusCode::NOT_FOUND),
            Self::AlreadyExists => ("already-exists", "It exists already", StatusCode::CONFLICT),
            Self::Conflict => (
                "conflict",
                "The present state does not allow it",
                StatusCode::CONFLICT,
            ),
            Self::Locked => (
                "locked",
                "The store is in use",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::Unavailable => (
                "unavailable",
                "The system failed; it may work later",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::Damaged => (
                "damaged",
                "What is stored is damaged",
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
            Self::Unsupported => (
                "unsupported",
                "This service cannot do it",
                StatusCode::NOT_IMPLEMENTED,
            ),
            Self::Cancelled => (
                "cancelled",
                "It was cancelled",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::Internal => (
                "internal",
                "The service failed",
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
            Self::Unauthenticated => (
                "unauthenticated",
                "A token is needed",
                StatusCode::UNAUTHORIZED,
            ),
            Self::Forbidden => ("forbidden", "It is not allowed", StatusCode::FORBIDDEN),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                "The address does not take this method",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                "The body is not declared as JSON",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            Self::TooLarge => (
                "too-large",
                "The request is too large",
                StatusCode::PAYLOAD_TOO_LARGE,
            ),
            Self::Timeout => (
                "timeout",
                "It took too long",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::Overloaded => (
                "overloaded",
                "Too much is being done",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::RateLimited => (
                "rate-limited",
                "Too many requests come",
                StatusCode::TOO_MANY_REQUESTS,
            ),
            Self::KeyReused => (
                "key-reused",
                "The idempotency key was used for another request",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
        }
    }
}

/// An error of a request.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// Input that breaks a rule.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidInput, detail)
    }

    /// The same error, of a line of a file.
    pub(crate) fn in_line(self, line: u64) -> Self {
        let detail = format!("the file, line {line}: {}", self.detail);
        Self { detail, ..self }
    }

    /// The document.
    pub(crate) fn document(&self) -> ProblemDocument {
        let (name, title, status) = self.kind.parts();
        ProblemDocument {
            kind: format!("urn:affinis:{name}").into(),
            title: title.into(),
            status: status.as_u16(),
            detail: self.detail.clone(),
        }
    }
}

impl From<TargetError> for Problem {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Store(error) => error.into(),
            TargetError::Setting(text) => Self::invalid(text),
            TargetError::Unsupported(text) => Self::new(Kind::Unsupported, text),
            other => Self::new(Kind::Internal, other.to_string()),
        }
    }
}

impl From<affinis::Error> for Problem {
    fn from(error: affinis::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidInput => Kind::InvalidInput,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::AlreadyExists => Kind::AlreadyExists,
            ErrorKind::Conflict => Kind::Conflict,
            ErrorKind::Locked => Kind::Locked,
            ErrorKind::Unavailable => Kind::Unavailable,
            ErrorKind::Damaged => Kind::Damaged,
            ErrorKind::Unsupported => Kind::Unsupported,
            ErrorKind::Cancelled => Kind::Cancelled,
            _ => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (_, _, status) = self.kind.parts();
        let document = self.document();
        let mut response = (status, axum::Json(&document)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self.kind {
            Kind::Unauthenticated => {
                let scheme = HeaderValue::from_static("Bearer realm=\"affinis\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            // A request is let through at least once a second.
            Kind::Overloaded | Kind::RateLimited => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if status.is_server_error() {
            tracing::warn!(
                kind = document.kind.as_ref(),
                detail = document.detail,
                "failed"
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_words_and_the_class_of_the_error() {
        let error = affinis::Error::CollectionExists("notes".into());
        let words = error.to_string();
        let document = Problem::from(error).document();
        assert_eq!(
            (
                document.kind.as_ref(),
                document.status,
                document.detail.as_str()
            ),
            ("urn:affinis:already-exists", 409, words.as_str())
        );
    }
}
