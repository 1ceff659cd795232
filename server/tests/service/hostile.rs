//! Clients that mean no good, or do what no client should.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use affinis_server::{Limits, Settings};
use serde_json::json;

use crate::served::Served;

fn limited(change: impl FnOnce(&mut Limits)) -> Served {
    let mut limits = Limits::default();
    change(&mut limits);
    Served::with(|_, settings| Settings { limits, ..settings })
}

/// A connection that waits for answers for a time that no test takes.
fn connect(served: &Served) -> TcpStream {
    let connection = TcpStream::connect(served.address()).unwrap();
    let patience = Some(Duration::from_secs(30));
    connection.set_read_timeout(patience).unwrap();
    connection.set_write_timeout(patience).unwrap();
    connection
}

/// What comes until the connection is closed. Fails where it is not.
fn rest(connection: &mut TcpStream) -> String {
    let mut read = Vec::new();
    if let Err(error) = connection.read_to_end(&mut read) {
        let is_open = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!is_open, "the connection is still open");
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Sends bytes one at a time until the connection is closed. Returns what came.
fn trickled(served: &Served, bytes: impl Iterator<Item = u8>) -> String {
    let mut connection = connect(served);
    let begun = Instant::now();
    for byte in bytes {
        if connection.write_all(&[byte]).is_err() || begun.elapsed() > Duration::from_secs(30) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        // Has it answered, or closed?
        connection.set_nonblocking(true).unwrap();
        let seen = connection.peek(&mut [0]);
        connection.set_nonblocking(false).unwrap();
        if seen.is_ok() {
            break;
        }
    }
    rest(&mut connection)
}

#[test]
fn heads_and_bodies_that_trickle_in_are_cut_off() {
    let served = limited(|limits| {
        limits.head_time = Duration::from_millis(500);
        limits.request_time = Duration::from_millis(500);
    });
    let head = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ";
    let endless = head.bytes().chain(std::iter::repeat(b'x'));
    let answer = trickled(&served, endless);
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    let head = "POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n";
    let mut connection = connect(&served);
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    // While it trickles, others are answered.
    for _ in 0..10 {
        connection.write_all(b" ").unwrap();
    }
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    rest(&mut connection);
    assert!((0..20).any(|_| served.get("/healthz").status == 200));
}

/// There is room for one connection: others wait until it is cut off.
#[test]
fn a_client_that_stands_still_makes_room() {
    let patience = Duration::from_millis(300);
    let served = limited(|limits| {
        limits.connections = 1;
        limits.head_time = patience;
        limits.stall_time = patience;
    });
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let whole = get("/healthz");
    let half_preface = "PRI * HTTP/2.0\r\n";
    for sent in ["", "G", half_preface, &whole] {
        let mut still = connect(&served);
        still.write_all(sent.as_bytes()).unwrap();
        let answer = rest(&mut still);
        assert_eq!(
            answer.contains("HTTP/1.1 200"),
            sent == whole,
            "{sent:?}: {answer}"
        );
    }
    // One that asks for more than the buffers hold, and takes nothing.
    let mut still = connect(&served);
    still
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let many = get("/openapi.json").repeat(500);
    let _ = still.write_all(many.as_bytes());
    let mut other = connect(&served);
    other.write_all(whole.as_bytes()).unwrap();
    assert!(rest(&mut other).starts_with("HTTP/1.1 200"));
    let answers = rest(&mut still).matches("HTTP/1.1 200").count();
    assert!((1..500).contains(&answers), "{answers}");
}

#[test]
fn a_thousand_idle_connections_keep_nobody_waiting() {
    const IDLE: usize = 1_000;
    // Both ends are in this process.
    let id = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &id, "--nofile=4096:"])
        .output();
    let served = limited(|limits| limits.head_time = Duration::from_mins(5));
    let idle: Vec<TcpStream> = (0..IDLE)
        .map_while(|at| {
            let mut connection = TcpStream::connect(served.address()).ok()?;
            // Half of them have begun to ask.
            if at % 2 == 0 {
                connection
                    .write_all(b"GET /healthz HTTP/1.1\r\nhost: ")
                    .ok()?;
            }
            Some(connection)
        })
        .collect();
    if idle.len() < IDLE {
        affinis_testkit::skipped(&format!(
            "no more than {} open files: {raised:?}",
            idle.len()
        ));
        return;
    }
    for _ in 0..20 {
        served.get("/healthz").ok();
    }
    served.plane();
    // Those that begun are answered once they go on.
    let mut last = &idle[IDLE - 2];
    last.write_all(b"localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    last.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_body_that_says_it_is_too_large_is_not_waited_for() {
    let served = limited(|limits| limits.request_time = Duration::from_mins(5));
    for key in ["", "idempotency-key: k\r\n"] {
        let answer = served.bytes(&format!(
            "POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{key}content-length: 99999999999\r\n\r\n{{"
        ));
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("urn:affinis:too-large"), "{answer}");
    }
}

#[test]
fn a_packed_body_is_not_unpacked() {
    let served = Served::new();
    served.plane();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let blank = vec![b' '; 1 << 20];
    // Small enough to be sent before it is refused: of what is refused while it is sent a client may
    // see no answer.
    for _ in 0..4 {
        packed.write_all(&blank).unwrap();
    }
    packed.write_all(br#"{"like": "a"}"#).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 1 << 13);
    let path = "/v1/collections/c/search";
    let json = ("content-type", "application/json");
    for coding in ["gzip", "br", "gzip, gzip"] {
        let headers = [json, ("content-encoding", coding)];
        let detail = served
            .raw("POST", path, &headers, Some(&packed))
            .problem(415, "unsupported-media-type");
        assert!(detail.contains("content-encoding"), "{detail}");
    }
    let headers = [json, ("content-encoding", "identity")];
    let plain = br#"{"like": "a"}"#;
    served.raw("POST", path, &headers, Some(plain)).ok();
}

/// A second request must not hide in the body of a first one, however a proxy before the service
/// reads its length.
#[test]
fn nothing_hides_behind_a_body() {
    let served = Served::new();
    let hidden = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let post = "POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for heads in [
        "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n",
        "content-length: 0\r\ncontent-length: 60\r\n\r\n",
        "content-length: +0\r\n\r\n",
        "content-length: 0, 60\r\n\r\n",
        "content-length: 0x0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n-0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n",
        "content-length : 0\r\n\r\n",
        "x: a\r\n content-length: 0\r\n\r\n",
        "x: a\rcontent-length: 0\r\n\r\n",
        "x: a\0\r\ncontent-length: 0\r\n\r\n",
    ] {
        let answer = served.bytes(&format!("{post}{heads}{hidden}"));
        assert!(!answer.contains("HTTP/1.1 200"), "{heads:?}: {answer}");
        assert!(
            answer.matches("HTTP/1.1 ").count() <= 1,
            "{heads:?}: {answer}"
        );
    }
    // As a proof that the second would be answered.
    let answer = served.bytes(&format!("{post}content-length: 0\r\n\r\n{hidden}"));
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
}

#[test]
fn two_hosts_are_one_too_many() {
    let served = Served::new();
    for request in [
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n",
        "GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\nhost: evil.example\r\n",
    ] {
        let answer = served.bytes(&format!("{request}connection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400"), "{request}: {answer}");
    }
}

/// A client that kept the connection would find it closed at its next request.
#[test]
fn a_body_that_is_refused_unread_ends_the_connection_openly() {
    let served = Served::new();
    let body = "{".repeat(1_000);
    for head in [
        "POST /v1/collections/c/items HTTP/1.1\r\nhost: evil.example\r\n",
        "POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\n",
        "PATCH /v1/collections/c/items HTTP/1.1\r\nhost: localhost\r\n",
    ] {
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let answer = served.bytes(&request).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 4"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

#[test]
fn requests_that_are_none_end_the_connection() {
    let served = Served::new();
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    for sent in [
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        "GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET / HTTP/1.1 \r\nhost: localhost and more\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3} a hello of TLS",
        &long,
        &many,
    ] {
        let mut connection = connect(&served);
        // The service may close it before all is sent.
        let _ = connection.write_all(sent.as_bytes());
        let answer = rest(&mut connection);
        let status = answer.split(' ').nth(1).unwrap_or("400");
        assert!(status.starts_with('4'), "{:?}: {answer}", &sent[..20]);
    }
    served.get("/healthz").ok();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let served = Served::new();
    served.plane();
    let get = |id: &str, more: &str| {
        format!("GET /v1/collections/c/items/{id} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
    };
    let sent = ["a", "b", "nobody", "c"].map(|id| get(id, "")).concat();
    let answer = served.bytes(&(sent + &get("d", "connection: close\r\n")));
    let order: Vec<usize> = [
        r#"{"id":"a""#,
        r#"{"id":"b""#,
        "urn:affinis:not-found",
        r#"{"id":"c""#,
        r#"{"id":"d""#,
    ]
    .iter()
    .map(|part| answer.find(part).expect(part))
    .collect();
    assert!(order.is_sorted(), "{answer}");
}

/// Runs an exchange over HTTP/2, on a connection of its own.
fn over_http2<F: Future<Output = ()>>(
    served: &Served,
    exchange: impl FnOnce(h2::client::SendRequest<axum::body::Bytes>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(served.address())
            .await
            .unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        tokio::time::timeout(Duration::from_mins(1), exchange(client))
            .await
            .expect("answered in time");
        driver.abort();
    });
}

fn get(path: &str, more: &[(&str, &str)]) -> ureq::http::Request<()> {
    let uri = format!("http://localhost{path}");
    let mut request = ureq::http::Request::get(uri);
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

#[test]
fn many_streams_of_one_connection_are_answered() {
    let served = Served::new();
    over_http2(&served, async |client| {
        let mut client = client.ready().await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..400 {
            client = client.ready().await.unwrap();
            let (answer, _) = client.send_request(get("/healthz", &[]), true).unwrap();
            // So that no more are open than the service allows.
            answers.push(tokio::spawn(answer));
        }
        let mut answered = 0;
        for answer in answers {
            // 256 at a time are answered; more are told to come again.
            match answer.await.unwrap() {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    assert!(matches!(status, 200 | 503), "{status}");
                    answered += usize::from(status == 200);
                }
                // One that was begun before the client knew how many may be open.
                Err(error) => assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM)),
            }
        }
        assert!(answered >= 100, "{answered}");
        // The host is in the address, and a header that says another is refused.
        client = client.ready().await.unwrap();
        let evil = get("/healthz", &[("host", "evil.example")]);
        let (answer, _) = client.send_request(evil, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 400);
    });
}

#[test]
fn streams_that_are_reset_at_once_keep_nobody_waiting() {
    let served = Served::new();
    over_http2(&served, async |client| {
        let mut client = client;
        for at in 0..3_000 {
            client = match client.ready().await {
                Ok(client) => client,
                // It was ended, as it should be.
                Err(_) => return,
            };
            let Ok((_, mut stream)) = client.send_request(get("/v1/collections", &[]), false)
            else {
                return;
            };
            // The request is on its way before it is withdrawn.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            stream.send_reset(h2::Reason::CANCEL);
            if at % 1_000 == 999 {
                served.get("/healthz").ok();
            }
        }
    });
    served.get("/healthz").ok();
}

#[test]
fn pages_of_other_sites_ask_only_where_they_may() {
    let page = "https://quepid.example.org";
    let asked = |served: &Served, method: &str, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type",
            ),
        ];
        served.raw(method, "/v1/collections", &headers, None)
    };
    let closed = Served::new();
    for method in ["OPTIONS", "GET"] {
        let answer = asked(&closed, method, page);
        assert_eq!(answer.header("access-control-allow-origin"), "");
        answer.problem(403, "forbidden");
    }
    let open = Served::with(|_, settings| Settings {
        origins: vec![page.to_owned()],
        ..settings
    });
    let preflight = asked(&open, "OPTIONS", page);
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), page);
    assert_eq!(preflight.header("access-control-allow-credentials"), "");
    let allowed = preflight.header("access-control-allow-headers");
    for header in ["authorization", "content-type", "idempotency-key"] {
        assert!(allowed.contains(header), "{allowed}");
    }
    let answer = asked(&open, "GET", page);
    assert_eq!(answer.header("access-control-allow-origin"), page);
    answer.ok();
    for other in ["https://evil.example", "null", "http://quepid.example.org"] {
        let preflight = asked(&open, "OPTIONS", other);
        assert_eq!(
            preflight.header("access-control-allow-origin"),
            "",
            "{other}"
        );
        let answer = asked(&open, "GET", other);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{other}");
        answer.problem(403, "forbidden");
    }
    let headers = [("host", "rebound.example"), ("origin", page)];
    open.raw("GET", "/v1/collections", &headers, None)
        .problem(403, "forbidden");
}

#[test]
fn the_figures_do_not_grow_with_what_clients_make_up() {
    let served = Served::new();
    for at in 0..20 {
        let answer = served.bytes(&format!(
            "MADEUP{at} /v1/nothing/{at} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    let figures = String::from_utf8(served.get("/metrics").body).unwrap();
    assert!(
        !figures.contains("MADEUP") && !figures.contains("nothing"),
        "{figures}"
    );
    assert!(
        figures.contains(r#"method="other",route="unknown",status="404"} 20"#),
        "{figures}"
    );
}

#[test]
fn a_backup_that_exists_is_refused_at_once_and_without_its_path() {
    let served = Served::with(|dir, settings| Settings {
        backups: Some(dir.path().join("backups")),
        ..settings
    });
    let begun = served.post("/v1/backups", json!({"name": "monday"})).ok();
    served.result(&begun);
    let again = served.post("/v1/backups", json!({"name": "monday"}));
    let detail = again.problem(409, "already-exists");
    assert!(
        detail.contains("monday") && !detail.contains('/'),
        "{detail}"
    );
}
