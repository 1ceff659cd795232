//! The service over TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use affinis_server::{Limits, Role, Settings, Tls, Tokens};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::served::Served;

const CERTIFICATE: &[u8] = include_bytes!("tls/certificate.pem");
const KEY: &[u8] = include_bytes!("tls/key.pem");
const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");

fn secured(change: impl FnOnce(Settings) -> Settings) -> Served {
    let tls = Some(Tls::from_pem(CERTIFICATE, KEY).unwrap());
    Served::with(|_, settings| change(Settings { tls, ..settings }))
}

/// A client that trusts the authority of the tests.
fn client(protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(AUTHORITY).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Sends a request over TLS and HTTP/1.1, and gives what comes back.
fn ask(served: &Served, head: &str, body: &Value) -> String {
    let body = body.to_string();
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(client(&[b"http/1.1"]), name).unwrap();
    let stream = TcpStream::connect(served.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    // The end of the connection is announced, so that it is not taken for a cut.
    read.unwrap();
    answer
}

#[test]
fn http_1_is_answered_and_the_cookie_goes_over_tls_only() {
    let ann = Tokens::make("ann", Role::Admin).unwrap();
    let tokens = Tokens::parse(&ann.line).unwrap();
    let served = secured(|settings| Settings {
        tokens: Some(tokens),
        ..settings
    });
    let health = ask(&served, "GET /healthz", &Value::Null);
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let login = ask(&served, "POST /v1/session", &json!({"token": ann.token}));
    let cookie = login
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap_or_else(|| panic!("{login}"));
    for part in ["HttpOnly", "SameSite=Strict", "Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
}

#[test]
fn http_2_is_answered() {
    let served = secured(|settings| settings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let status = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(served.address())
            .await
            .unwrap();
        let connector = tokio_rustls::TlsConnector::from(client(&[b"h2"]));
        let name = "localhost".try_into().unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        let request = axum::http::Request::get(format!(
            "https://localhost:{}/v1/collections",
            served.address().port()
        ));
        let (answer, _) = sender
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        let status = answer.await.unwrap().status();
        driving.abort();
        status
    });
    assert_eq!(status, 200);
}

#[test]
fn plain_text_is_refused_with_a_remedy() {
    let served = secured(|settings| settings);
    let answer = served.bytes("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("https://"),
        "{answer}"
    );
    let health = ask(&served, "GET /healthz", &Value::Null);
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
}

#[test]
fn a_handshake_that_does_not_come_is_given_up_and_frees_its_connection() {
    let served = secured(|settings| Settings {
        limits: Limits {
            head_time: Duration::from_millis(300),
            connections: 2,
            ..settings.limits
        },
        ..settings
    });
    // More than may be open at a time; the later ones wait until the first are given up.
    for sent in ["", "\u{16}", "", "\u{16}\u{3}\u{1}", ""] {
        assert_eq!(served.bytes(sent), "");
    }
    let idle: Vec<TcpStream> = (0..6)
        .map(|_| TcpStream::connect(served.address()).unwrap())
        .collect();
    let health = ask(&served, "GET /healthz", &Value::Null);
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    drop(idle);
}

#[test]
fn requests_beyond_the_rate_are_told_to_come_again() {
    let (ann, bob) = (
        Tokens::make("ann", Role::Search).unwrap(),
        Tokens::make("bob", Role::Search).unwrap(),
    );
    let tokens = Tokens::parse(&format!("{}\n{}", ann.line, bob.line)).unwrap();
    let served = Served::with(|_, settings| Settings {
        tokens: Some(tokens),
        limits: Limits {
            rate: NonZeroU32::new(1),
            ..settings.limits
        },
        ..settings
    });
    let as_holder = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        served.raw("GET", "/v1/collections", &headers, None)
    };
    // On a busy machine more than a second may lie between two requests.
    let refused = (0..200)
        .map(|_| as_holder(&ann.token))
        .find(|answer| answer.status == 429)
        .unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(429, "rate-limited");
    as_holder(&bob.token).ok();
    // Guesses of tokens are counted by their address.
    assert!((0..200).any(|_| as_holder("guess").status == 429));
    for _ in 0..20 {
        for path in ["/healthz", "/readyz", "/", "/app.js"] {
            assert_eq!(served.get(path).status, 200, "{path}");
        }
    }
}
