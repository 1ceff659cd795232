//! The page: three files inside the program.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::app::App;

/// A file of the page.
#[derive(Clone)]
struct PageFile {
    content_type: &'static str,
    text: &'static str,
    /// Hash of the text, in quotes.
    etag: HeaderValue,
}

impl PageFile {
    fn new(content_type: &'static str, text: &'static str) -> Self {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        let tag = format!("\"{:032x}\"", u128::from_be_bytes(first));
        Self {
            content_type,
            text,
            // A tag of hexadecimal digits is a header's value.
            etag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = self.etag.to_str().unwrap_or_default();
        let known = headers.get_all(header::IF_NONE_MATCH).iter();
        // Weak tags too: an answer that is compressed on the way has one.
        let is_known = known
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().trim_start_matches("W/") == tag);
        let common = [
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        if is_known {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let content_type = [(header::CONTENT_TYPE, self.content_type)];
        (common, content_type, self.text).into_response()
    }
}

/// The routes of the page.
pub(crate) fn routes() -> Router<App> {
    let files = [
        (
            "/",
            "text/html; charset=utf-8",
            include_str!("../page/index.html"),
        ),
        (
            "/app.css",
            "text/css; charset=utf-8",
            include_str!("../page/app.css"),
        ),
        (
            "/app.js",
            "text/javascript; charset=utf-8",
            include_str!("../page/app.js"),
        ),
    ];
    let mut router = Router::new();
    for (path, content_type, text) in files {
        let file = PageFile::new(content_type, text);
        router = router.route(
            path,
            get(move |headers: HeaderMap| std::future::ready(file.answer(&headers))),
        );
    }
    router
}
