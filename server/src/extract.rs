//! What handlers take from a request: its JSON body, the parts of its path, its query.

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// A JSON body. It must be declared as such, which a page of another origin cannot do unasked.
pub(crate) struct Given<T>(pub(crate) T);

/// A JSON body that may be missing or null, which is then the default.
pub(crate) struct GivenOrDefault<T>(pub(crate) T);

/// The variable parts of the path.
pub(crate) struct Segments<T>(pub(crate) T);

/// The parameters behind the question mark.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let declared = is_json(request.headers());
        let body = whole(request, state).await?;
        if !declared {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "the body must be JSON, with the header `content-type: application/json`",
            ));
        }
        read(&body).map(Self)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for GivenOrDefault<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let declared = is_json(request.headers());
        let body = whole(request, state).await?;
        match (declared, body.is_empty()) {
            (_, true) => Ok(Self(T::default())),
            (true, false) => read::<Option<T>>(&body).map(|given| Self(given.unwrap_or_default())),
            (false, false) => Err(Problem::new(
                Kind::UnsupportedMediaType,
                "a body must be JSON, with the header `content-type: application/json`",
            )),
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(error) => Err(Problem::invalid(error.body_text())),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(Problem::invalid(error.body_text())),
        }
    }
}

/// The largest body of a request, in bytes, as its extension.
#[derive(Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);

/// The whole body, within the limit of its size. One that says ahead that it is larger is not read,
/// and one that is packed is not unpacked, whose size nobody could tell.
pub(crate) async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    if let Some(BodyLimit(most)) = request.extensions().get()
        && request.body().size_hint().lower() > *most as u64
    {
        return Err(Problem::new(
            Kind::TooLarge,
            format!("the body has more than {most} bytes, the most that is taken"),
        ));
    }
    let coding = request.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "the body must not be compressed: send it without `content-encoding`",
        ));
    }
    Bytes::from_request(request, state).await.map_err(|error| {
        let kind = match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
            _ => Kind::InvalidInput,
        };
        Problem::new(kind, error.body_text())
    })
}

/// Whether a body is declared as JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE);
    let declared = declared.and_then(|value| value.to_str().ok());
    let essence = declared.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The length from which a body is read apart: reading it takes longer than a search.
const LONG: usize = 32 << 10;

/// Reads JSON. Where it is long, the connections of this thread are served by another meanwhile.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.len() < LONG {
        return parsed(body);
    }
    tokio::task::block_in_place(|| parsed(body))
}

/// Reads JSON, and refuses what would be lost of it: a key twice, an integer beyond 64 bits.
fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let wrong = |reason: &dyn std::fmt::Display| Problem::invalid(format!("the body: {reason}"));
    let text = std::str::from_utf8(body).map_err(|error| wrong(&error))?;
    let value = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    affinis::json::check(text, |_| false).map_err(|error| wrong(&error))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_declared_as_json_is_json() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonx", false),
            ("text/plain; application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                value.parse().expect("a header's value"),
            )]);
            assert_eq!(is_json(&headers), json, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn a_key_twice_is_refused() {
        assert!(read::<serde_json::Value>(br#"{"a": 1, "b": 2}"#).is_ok());
        let twice = read::<serde_json::Value>(br#"{"a": 1, "a": 2}"#);
        let detail = twice.expect_err("refused").document();
        assert!(format!("{detail:?}").contains("twice"), "{detail:?}");
    }
}
