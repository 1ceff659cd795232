//! The page: its files inside the program.

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

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The files of the page: path, type and text.
const FILES: [(&str, &str, &str); 16] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/icon.svg", SVG, include_str!("../page/icon.svg")),
    ("/app.css", CSS, include_str!("../page/app.css")),
    ("/app.js", SCRIPT, include_str!("../page/app.js")),
    ("/api.js", SCRIPT, include_str!("../page/api.js")),
    ("/chart.js", SCRIPT, include_str!("../page/chart.js")),
    (
        "/collection.js",
        SCRIPT,
        include_str!("../page/collection.js"),
    ),
    ("/dom.js", SCRIPT, include_str!("../page/dom.js")),
    ("/exchange.js", SCRIPT, include_str!("../page/exchange.js")),
    (
        "/guidelines.js",
        SCRIPT,
        include_str!("../page/guidelines.js"),
    ),
    ("/judge.js", SCRIPT, include_str!("../page/judge.js")),
    (
        "/judgements.js",
        SCRIPT,
        include_str!("../page/judgements.js"),
    ),
    ("/learn.js", SCRIPT, include_str!("../page/learn.js")),
    ("/lines.js", SCRIPT, include_str!("../page/lines.js")),
    ("/search.js", SCRIPT, include_str!("../page/search.js")),
    ("/timeline.js", SCRIPT, include_str!("../page/timeline.js")),
];

/// Whether a path is that of a file of the page.
pub(crate) fn is_file(path: &str) -> bool {
    FILES.iter().any(|(known, ..)| *known == path)
}

/// The routes of the page.
pub(crate) fn routes() -> Router<App> {
    let mut router = Router::new();
    for (path, content_type, text) in FILES {
        let file = PageFile::new(content_type, text);
        router = router.route(
            path,
            get(move |headers: HeaderMap| std::future::ready(file.answer(&headers))),
        );
    }
    router
}
