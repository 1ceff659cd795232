//! What happens to every request: an id and a line of the log, headers of security, limits.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use crate::access::Caller;
use crate::app::App;
use crate::extract::BodyLimit;
use crate::lingering::linger;
use crate::problem::{Kind, Problem};
use crate::routes::transfer;

/// The header with the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of every answer. Nothing is loaded from elsewhere, and no other site shows the page.
const SECURITY: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The route of an address that there is not.
const UNKNOWN: &str = "unknown";

/// Numbers requests; with the number of the process they are told apart in one log.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The number of the process, read once.
static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);

/// Gives a request its id, and tells the log and the figures what became of it. Queries are not
/// told, since they may hold what people search for, and headers are not, since they hold tokens.
pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{:x}-{number:x}", *PROCESS);
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or(UNKNOWN, MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id, %method, route);
    // A body that ends by its chunks may have given a length too, which a proxy may have believed:
    // what follows on the connection is not read (RFC 9112, section 6.1).
    let in_chunks = request.headers().contains_key(header::TRANSFER_ENCODING);
    let is_http1 = request.version() <= Version::HTTP_11;
    let (request, ended) = linger(request, &app.limits, &app.ending);
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = begun.elapsed();
    let status = response.status().as_u16();
    app.figures.answered(told(&method), &route, status, took);
    let user = response.extensions_mut().remove::<Caller>();
    let user = user.and_then(|caller| caller.name);
    span.in_scope(|| {
        let micros = took.as_micros() as u64;
        tracing::info!(status, micros, user, "answered");
    });
    let headers = response.headers_mut();
    // What is refused unread may end the connection, which a client learns before it asks again.
    let is_unread = status >= 400 && !ended.get();
    if is_http1 && (in_chunks || is_unread) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

/// The name of a method in the figures, of which there are few, whatever clients send.
fn told(method: &Method) -> &str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ];
    if KNOWN.contains(method) {
        method.as_str()
    } else {
        "other"
    }
}

/// Limits the number of requests that are answered at a time, and the time of each.
pub(crate) async fn limit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Ok(_permit) = app.permits.try_acquire() else {
        let most = app.limits.requests;
        let detail = format!("{most} requests are being answered; ask again in a second");
        return Problem::new(Kind::Overloaded, detail).into_response();
    };
    let caller = request.extensions().get::<Caller>().cloned();
    let most = BodyLimit(app.limits.body_bytes);
    request.extensions_mut().insert(most);
    let time = app.limits.request_time;
    let mut response = if transfer::is_transfer(&request) {
        // However large a collection is; that it goes on is seen to there.
        next.run(request).await
    } else {
        let answered = tokio::time::timeout(time, next.run(request)).await;
        answered.unwrap_or_else(|_| {
            let seconds = time.as_secs_f64();
            let detail = format!(
                "there was no answer within {seconds} s; a write that was begun may still be done"
            );
            Problem::new(Kind::Timeout, detail).into_response()
        })
    };
    if let Some(caller) = caller {
        response.extensions_mut().insert(caller);
    }
    response
}
