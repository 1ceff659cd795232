//! Pages of other sites that may ask the service from a browser (CORS).

use std::time::Duration;

use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::CorsLayer;

/// The time for which a browser may keep what it was told.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The origins beside the service's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Reads origins such as `https://quepid.example.org`; the error is the first that is none.
    pub(crate) fn read(origins: &[String]) -> Result<Self, String> {
        let read = origins.iter().map(|origin| {
            let authority = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"))
                .filter(|authority| !authority.contains('@'));
            let is_origin = authority.is_some_and(|a| a.parse::<Authority>().is_ok());
            // Browsers send it in lower case.
            let value = HeaderValue::from_str(&origin.to_ascii_lowercase());
            match value {
                Ok(value) if is_origin => Ok(value),
                _ => Err(origin.clone()),
            }
        });
        read.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a page of this origin may ask.
    pub(super) fn admit(&self, origin: &str) -> bool {
        self.0
            .iter()
            .any(|known| known.as_bytes() == origin.as_bytes())
    }

    /// What answers preflights of these origins, and tells browsers that they may read answers;
    /// `None` where there is no origin. Cookies are not among what such a page may use: it needs a
    /// token of its own.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        if self.0.is_empty() {
            return None;
        }
        let key = HeaderName::from_static("idempotency-key");
        let exposed = ["idempotency-replayed", "retry-after", "x-request-id"];
        Some(
            CorsLayer::new()
                .allow_origin(self.0.clone())
                .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
                .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, key])
                .expose_headers(exposed.map(HeaderName::from_static))
                .max_age(MAX_AGE),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let read = |origin: &str| Origins::read(&[origin.to_owned()]);
        for origin in ["http://localhost:3000", "https://Quepid.example.org"] {
            assert!(read(origin).is_ok(), "{origin}");
        }
        for origin in [
            "",
            "*",
            "null",
            "quepid.example.org",
            "https://",
            "https://quepid.example.org/",
            "https://quepid.example.org/case",
            "https://ann@quepid.example.org",
            "file://x",
        ] {
            assert_eq!(read(origin).err().as_deref(), Some(origin));
        }
        let known = read("https://Quepid.example.org").expect("an origin");
        assert!(known.admit("https://quepid.example.org"));
        for other in [
            "http://quepid.example.org",
            "https://quepid.example.org:8443",
            "null",
            "",
        ] {
            assert!(!known.admit(other), "{other}");
        }
    }
}
