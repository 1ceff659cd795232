//! Requests that are refused before their body is read: a client that writes all of it first sees
//! the answer all the same.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::time::Duration;

use affinis_server::{Limits, Role, Settings, Tokens};

use crate::served::{Answer, Served};

/// Far more than the buffers of two sockets hold.
const LARGE: usize = 20 << 20;
const JSON: (&str, &str) = ("content-type", "application/json");

/// A service with the token of somebody who may search, and that token.
fn with_token(change: impl FnOnce(&mut Limits)) -> (Served, String) {
    let ann = Tokens::make("ann", Role::Search).unwrap();
    let tokens = Tokens::parse(&ann.line).unwrap();
    let mut limits = Limits::default();
    change(&mut limits);
    let served = Served::with(|_, settings| Settings {
        tokens: Some(tokens),
        limits,
        ..settings
    });
    (served, format!("Bearer {}", ann.token))
}

/// Sends all of a body before the answer is looked at.
fn post(served: &Served, path: &str, headers: &[(&str, &str)], length: usize) -> Answer {
    let body = vec![b' '; length];
    let headers = [&[JSON], headers].concat();
    served.raw("POST", path, &headers, Some(&body))
}

#[test]
fn a_large_body_is_refused_with_an_answer() {
    let (served, token) = with_token(|_| {});
    let items = "/v1/collections/c/items";
    let nobody = [("authorization", "Bearer guessed")];
    post(&served, items, &nobody, LARGE).problem(401, "unauthenticated");
    let ann = [("authorization", token.as_str())];
    post(&served, items, &ann, LARGE).problem(403, "forbidden");
    post(&served, "/v1/nothing", &nobody, LARGE).problem(404, "not-found");
    let packed = [ann[0], ("content-encoding", "gzip")];
    let search = "/v1/collections/c/search";
    post(&served, search, &packed, LARGE).problem(415, "unsupported-media-type");
    let keyed = [ann[0], ("idempotency-key", "")];
    post(&served, search, &keyed, LARGE).problem(400, "invalid-input");
    // Beyond the limit of 32 MiB, said ahead.
    post(&served, search, &ann, 40 << 20).problem(413, "too-large");
}

#[test]
fn what_comes_too_fast_is_refused_with_an_answer() {
    let (served, _) = with_token(|limits| limits.rate = NonZeroU32::new(1));
    let path = "/v1/collections/c/search";
    // On a busy machine more than a second may lie between two heads of requests.
    let refused = (0..50)
        .map(|_| {
            post(&served, path, &[], 0);
            post(&served, path, &[], LARGE)
        })
        .find(|answer| answer.status != 401)
        .expect("a refusal");
    refused.problem(429, "rate-limited");
}

#[test]
fn an_import_that_is_refused_by_its_first_bytes_has_an_answer() {
    let served = Served::new();
    served.plane();
    let body = vec![b' '; LARGE];
    let lines = [("content-type", "application/x-ndjson")];
    for (collection, headers, status, kind) in [
        ("c", &lines[..], 409, "already-exists"),
        ("d", &[], 415, "unsupported-media-type"),
    ] {
        let path = format!("/v1/collections/{collection}/import");
        served
            .raw("POST", &path, headers, Some(&body))
            .problem(status, kind);
    }
}

/// Sends the head of a request that is refused, for a body of a length, and then bytes of it as
/// long as they are taken, but no more than the length. Returns how many were taken.
fn sent_until_closed(served: &Served, more: &str, length: usize) -> usize {
    let mut connection = TcpStream::connect(served.address()).unwrap();
    connection
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    write!(
        connection,
        "POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {length}\r\n\r\n"
    )
    .unwrap();
    let piece = vec![b' '; 1 << 16];
    let mut sent = 0;
    while sent < length {
        match connection.write(&piece[..piece.len().min(length - sent)]) {
            Ok(written) => sent += written,
            Err(error) => {
                let timeout = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                assert!(!timeout.contains(&error.kind()), "still open: {error}");
                break;
            }
        }
    }
    sent
}

#[test]
fn only_so_many_bytes_are_read_after_a_refusal() {
    let served = Served::with(|_, mut settings| {
        settings.limits.linger_bytes = 1 << 20;
        settings
    });
    let length = 1 << 30;
    assert!(sent_until_closed(&served, "", length) < length / 2);
    served.get("/healthz").ok();
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_long() {
    let served = Served::with(|_, mut settings| {
        settings.limits.linger_time = Duration::from_millis(300);
        settings
    });
    let half = "POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf";
    // The connection ends, or reading it fails.
    let answer = served.bytes(half);
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[test]
fn a_client_that_asks_first_sends_nothing_after_a_refusal() {
    let served = Served::new();
    let mut connection = TcpStream::connect(served.address()).unwrap();
    let patience = Some(Duration::from_secs(20));
    connection.set_read_timeout(patience).unwrap();
    write!(
        connection,
        "POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {LARGE}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = answer.to_ascii_lowercase();
    assert!(answer.contains("connection: close"), "{answer}");
}
