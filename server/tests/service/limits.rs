//! Limits, keys, compression, the page, and the end of the service.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use affinis_server::{Limits, Settings};
use affinis_testkit::kinds;
use serde_json::{Value, json};

use crate::served::Served;

fn limited(change: impl FnOnce(&mut Limits)) -> Served {
    let mut limits = Limits::default();
    change(&mut limits);
    Served::with(|_, settings| Settings { limits, ..settings })
}

#[test]
fn bodies_that_are_not_what_they_should_be_are_refused() {
    let served = Served::new();
    served.plane();
    let path = "/v1/collections/c/search";
    let json = [("content-type", "application/json; charset=utf-8")];
    let send = |body: &[u8]| served.raw("POST", path, &json, Some(body));
    send(b"{\"like\": \"a\"}").ok();
    for (body, word) in [
        (&b""[..], "EOF"),
        (b"{\"like\": \"a\"", "EOF"),
        (b"{\"like\": \"a\"} more", "trailing"),
        (b"[]", "SearchRequest"),
        (b"{\"like\": \"a\", \"like\": \"b\"}", "duplicate"),
        (
            b"{\"like\": \"a\", \"filter\": {\"x\": 1, \"x\": 2}}",
            "twice",
        ),
        (
            b"{\"like\": \"a\", \"filter\": {\"x\": 18446744073709551616}}",
            "64 bits",
        ),
        (b"{\"like\": \"\xff\"}", "utf-8"),
    ] {
        let detail = send(body).problem(400, "invalid-input");
        assert!(
            detail.contains(word),
            "{:?}: {detail}",
            String::from_utf8_lossy(body)
        );
    }
    served
        .get("/v1/collections/c/items?colour=1")
        .problem(400, "invalid-input");
    served.get("/v1/nothing").problem(404, "not-found");
    served
        .get("/v1/collections/c/search")
        .problem(405, "method-not-allowed");
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let served = limited(|limits| limits.body_bytes = 1_000);
    served.plane();
    let body = |length: usize| {
        let mut body = br#"{"like": "a"}"#.to_vec();
        body.resize(length, b' ');
        body
    };
    let path = "/v1/collections/c/search";
    let json = [("content-type", "application/json")];
    served.raw("POST", path, &json, Some(&body(1_000))).ok();
    served
        .raw("POST", path, &json, Some(&body(1_001)))
        .problem(413, "too-large");
    let key = [json[0], ("idempotency-key", "k")];
    served
        .raw("POST", path, &key, Some(&body(1_001)))
        .problem(413, "too-large");
    // One that does not say its length, in chunks.
    let chunk = format!("{:x}\r\n{}\r\n", 600, "x".repeat(600));
    let answer = served.bytes(&format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn half_requests_are_given_up() {
    let served = limited(|limits| {
        limits.head_time = Duration::from_millis(300);
        limits.request_time = Duration::from_millis(300);
        limits.linger_time = Duration::from_millis(300);
    });
    let begun = Instant::now();
    let half_head = served.bytes("GET /healthz HTTP/1.1\r\nhost: loc");
    assert!(
        half_head.is_empty() || half_head.starts_with("HTTP/1.1 408"),
        "{half_head}"
    );
    let half_body = served.bytes(
        "PUT /v1/collections/c HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    );
    assert!(
        half_body.starts_with("HTTP/1.1 503") && half_body.contains("urn:affinis:timeout"),
        "{half_body}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    // On a busy machine a whole request may take as long.
    assert!((0..20).any(|_| served.get("/healthz").status == 200));
}

#[test]
fn requests_beyond_the_limit_are_told_to_come_again() {
    let served = limited(|limits| {
        limits.requests = 2;
        limits.request_time = Duration::from_secs(50);
    });
    let head = "PUT /v1/collections/c HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let half = || {
        let mut connection = TcpStream::connect(served.address()).unwrap();
        connection.write_all(head.as_bytes()).unwrap();
        connection
    };
    // One that comes while the question below is being answered may itself be refused.
    let mut held = Vec::new();
    let until = Instant::now() + Duration::from_secs(40);
    let refused = loop {
        held.push(half());
        let answer = served.get("/v1/collections");
        if answer.status == 503 || Instant::now() > until {
            break answer;
        }
    };
    let again = refused.header("retry-after").to_owned();
    refused.problem(503, "overloaded");
    assert_eq!(again, "1");
    drop(held);
}

#[test]
fn a_smuggled_request_is_not_answered() {
    let served = Served::new();
    for heads in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunkedx\r\n",
    ] {
        let answer = served.bytes(&format!(
            "POST /v1/verify HTTP/1.1\r\nhost: localhost\r\n{heads}connection: close\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
        ));
        assert!(!answer.contains("HTTP/1.1 2"), "{heads}: {answer}");
    }
}

#[test]
fn a_key_makes_a_post_be_done_once() {
    let served = Served::new();
    served.plane();
    let path = "/v1/collections/c/judgements";
    let body =
        |item: &str| json!({"judgements": [{"query_id": "a", "item": item, "relevant": true}]});
    let post =
        |key: &str, item: &str| served.send("POST", path, &[("idempotency-key", key)], body(item));
    let first = post("one", "b");
    assert_eq!(first.header("idempotency-replayed"), "");
    let first = first.ok();
    let again = post("one", "b");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("content-type"), "application/json");
    assert_eq!(again.ok(), first);
    post("one", "c").problem(422, "key-reused");
    assert_ne!(post("two", "b").ok(), first);
    post("", "b").problem(400, "invalid-input");
    // An error is the answer too, as long as it is the caller's.
    post("three", "nobody").problem(404, "not-found");
    post("three", "nobody").problem(404, "not-found");
    let listed = served.get(path).ok();
    assert_eq!(listed["judgements"].as_array().unwrap().len(), 2);
}

#[test]
fn answers_are_compressed_where_that_is_understood() {
    let served = Served::of_kinds(0);
    let path = "/v1/collections/points/items";
    // A connection of its own: the client of the other tests may unpack what it gets. HTTP/1.0 has no
    // chunks.
    let ask = |more: &str| {
        let mut stream = TcpStream::connect(served.address()).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nhost: localhost\r\n{more}\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        (head, answer.split_off(end + 4))
    };
    let (head, plain) = ask("");
    assert!(!head.contains("content-encoding"), "{head}");
    let (head, packed) = ask("accept-encoding: gzip\r\n");
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(packed.len() < plain.len() / 2);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain);
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_is_kept() {
    let served = Served::new();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
    ] {
        let page = served.get(path);
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, content_type)
        );
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        let tag = page.header("etag").to_owned();
        assert!(tag.len() > 10, "{tag}");
        let again = served.raw("GET", path, &[("if-none-match", &tag)], None);
        assert_eq!((again.status, again.body.len()), (304, 0));
        let other = served.raw("GET", path, &[("if-none-match", "\"other\"")], None);
        assert_eq!(other.status, 200);
    }
    let api = served.get("/v1/collections");
    assert_eq!(api.header("cache-control"), "no-store");
    assert_ne!(
        api.header("x-request-id"),
        served.get("/healthz").header("x-request-id")
    );
}

#[test]
fn the_end_loses_nothing_that_was_acknowledged_and_ends_streams() {
    let mut served = Served::of_kinds(200);
    let done = AtomicBool::new(false);
    let address = served.address();
    // A stream of events, of a job that waits for others.
    let begun: Vec<Value> = (0..6)
        .map(|seed| {
            served
                .post(
                    "/v1/collections/points/refit",
                    json!({"seed": seed, "learner": "contrastive"}),
                )
                .ok()
        })
        .collect();
    let mut stream = TcpStream::connect(address).unwrap();
    let job = begun[5]["job"].as_str().unwrap();
    write!(
        stream,
        "GET /v1/jobs/{job}/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
    )
    .unwrap();
    let writers = 4;
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let (served, done) = (&served, &done);
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || {
                    let agent: ureq::Agent = ureq::Agent::config_builder()
                        .http_status_as_error(false)
                        .build()
                        .into();
                    let mut stored = Vec::new();
                    for at in 0.. {
                        let id = format!("w{writer}-{at}");
                        let item = json!({"items": [{"id": id, "vector": vec![0.5; 8]}]});
                        let sent = agent
                            .post(format!("http://{address}/v1/collections/points/items"))
                            .header("content-type", "application/json")
                            .send(item.to_string());
                        match sent {
                            Ok(answer) if answer.status().is_success() => stored.push(id),
                            _ if done.load(Ordering::Relaxed) => break,
                            Ok(_) | Err(_) => {}
                        }
                    }
                    stored
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        served.stop();
        done.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(served.ended() < Duration::from_secs(5));
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert!(String::from_utf8_lossy(&read).contains("event: progress"));
    assert!(acknowledged.len() >= writers, "{}", acknowledged.len());
    let store = kinds::open(&served.dir.path().join("store"));
    let points = store.collection("points").open().unwrap();
    for id in acknowledged {
        assert!(points.contains(&id).unwrap(), "{id} was acknowledged");
    }
}
