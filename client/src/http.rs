//! Requests and answers: addresses, tokens, retries, problem documents.

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use affinis_api::ProblemDocument;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::RootCertStore;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::config::{AutoHeaderValue, Config};
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use ureq::http::{HeaderValue, Method, Request, Response, Uri, request};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use crate::error::{Error, Result};

/// The time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// The time without a byte after which a connection is given up. A service answers within 60 s.
const SILENCE: Duration = Duration::from_secs(90);
/// The same for a collection that is exported, which the service writes down before it answers.
const LONG_SILENCE: Duration = Duration::from_hours(1);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 30;
/// How often a request is sent at most.
const ATTEMPTS: u32 = 8;
/// The pause before the first repetition; it doubles with each, up to `LONGEST_PAUSE`.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The header of a key under which a request is done once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What is not encoded in a segment of a path or in a parameter.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A part of an address.
pub(crate) fn encoded(part: &str) -> String {
    utf8_percent_encode(part, PLAIN).to_string()
}

/// When a request that was not answered is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing: at any time.
    Read,
    /// It has a key, under which the service does it once.
    Keyed,
    /// Not at all: doing it twice would not be the same.
    Never,
}

/// The connection to a service; a copy is cheap.
#[derive(Clone)]
pub(crate) struct Http {
    base: Arc<str>,
    agent: Agent,
    /// Makes a connection for each request, which is never one that the service has closed already.
    fresh: Agent,
    token: Option<HeaderValue>,
}

impl Http {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let base = checked(url)?;
        let (agent, fresh) = agents(&base, &[]);
        Ok(Self {
            agent,
            fresh,
            base: base.into(),
            token: None,
        })
    }

    pub(crate) fn with_token(mut self, token: &str) -> Result<Self> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Token);
        }
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Token)?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    pub(crate) fn with_root_certificates(mut self, path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::RootCertificates {
            path: path.to_owned(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let mut certificates = Vec::new();
        for item in parse_pem(&pem) {
            let item = item.map_err(|error| wrong(error.to_string()))?;
            let PemItem::Certificate(certificate) = item else {
                continue;
            };
            // Otherwise one that cannot be read would be passed over when it is needed.
            RootCertStore::empty()
                .add(certificate.der().into())
                .map_err(|error| wrong(format!("it holds a certificate that is none: {error}")))?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(wrong("it holds no certificate in PEM".to_owned()));
        }
        (self.agent, self.fresh) = agents(&self.base, &certificates);
        Ok(self)
    }

    /// The address of the service.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.read(&self.send(&Method::GET, path, None, Repeat::Read)?)
    }

    /// A text that is not JSON.
    pub(crate) fn get_text(&self, path: &str) -> Result<String> {
        let body = self.send(&Method::GET, path, None, Repeat::Read)?;
        String::from_utf8(body).map_err(|error| self.strange(200, error.to_string()))
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        repeat: Repeat,
    ) -> Result<T> {
        let body = self.body(body)?;
        self.read(&self.send(&Method::POST, path, Some(&body), repeat)?)
    }

    /// A POST with a body that is JSON already.
    pub(crate) fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
        repeat: Repeat,
    ) -> Result<T> {
        self.read(&self.send(&Method::POST, path, Some(body), repeat)?)
    }

    pub(crate) fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = self.body(body)?;
        self.read(&self.send(&Method::PUT, path, Some(&body), Repeat::Never)?)
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.read(&self.send(&Method::DELETE, path, None, Repeat::Never)?)
    }

    fn body(&self, body: &impl Serialize) -> Result<Vec<u8>> {
        serde_json::to_vec(body).map_err(|error| self.strange(0, error.to_string()))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|error| self.strange(200, error.to_string()))
    }

    pub(crate) fn strange(&self, status: u16, reason: String) -> Error {
        Error::Answer {
            url: self.base.to_string(),
            status,
            reason,
        }
    }

    /// The error of a request without an answer.
    fn unanswered(&self, source: ureq::Error) -> Error {
        let url = self.base.to_string();
        match untrusted(&source) {
            Some(reason) => Error::Certificate {
                url,
                reason: reason.to_string(),
            },
            None => Error::Transport {
                url,
                source: Box::new(source),
            },
        }
    }

    /// The bytes of an answer that may be long, and may be long in coming.
    pub(crate) fn get_stream(&self, path: &str) -> Result<Box<dyn Read + Send>> {
        let request = self.request(&Method::GET, path).body(());
        let request = request.map_err(|error| self.unanswered(error.into()))?;
        let request = self.agent.configure_request(request);
        let request = request.timeout_per_read(Some(LONG_SILENCE)).build();
        let answered = self.agent.run(request);
        let response = answered.map_err(|error| self.unanswered(error))?;
        let response = self.of_success(response)?;
        Ok(Box::new(response.into_body().into_reader()))
    }

    /// A POST with a body of JSON lines that is read while it is sent. What the service refuses ahead
    /// is not sent.
    pub(crate) fn post_stream<T: DeserializeOwned>(
        &self,
        path: &str,
        mut body: impl Read,
        length: Option<u64>,
    ) -> Result<T> {
        let mut request = self
            .request(&Method::POST, path)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(EXPECT, "100-continue");
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length);
        }
        let request = request.body(SendBody::from_reader(&mut body));
        let request = request.map_err(|error| self.unanswered(error.into()))?;
        let answered = self.fresh.run(request);
        let response = answered.map_err(|error| self.unanswered(error))?;
        self.read(&self.whole(self.of_success(response)?)?)
    }

    /// A request with the token.
    fn request(&self, method: &Method, path: &str) -> request::Builder {
        let url = format!("{}{path}", self.base);
        let request = Request::builder().method(method).uri(url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    /// The whole body of an answer.
    fn whole(&self, response: Response<Body>) -> Result<Vec<u8>> {
        let body = response.into_body().into_with_config().limit(MAX_ANSWER);
        body.read_to_vec().map_err(|error| self.unanswered(error))
    }

    /// An answer of success, or the error that it is.
    fn of_success(&self, response: Response<Body>) -> Result<Response<Body>> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.whole(response)?;
        if let Ok(problem) = serde_json::from_slice::<ProblemDocument>(&body) {
            return Err(Error::Problem(problem));
        }
        let text = String::from_utf8_lossy(&body);
        let begin: String = text.trim().chars().take(200).collect();
        Err(self.strange(status.as_u16(), begin))
    }

    /// Sends a request until it is answered, and returns the body of an answer of success.
    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        repeat: Repeat,
    ) -> Result<Vec<u8>> {
        let key = match repeat {
            Repeat::Keyed => Some(key()?),
            Repeat::Read | Repeat::Never => None,
        };
        let mut pause = PAUSE;
        for attempt in 1.. {
            let answered = self.once(method, path, body, key.as_deref(), repeat);
            let Err(error) = &answered else {
                return answered;
            };
            if attempt == ATTEMPTS || !may_succeed(error, repeat, attempt) {
                return answered;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        Err(self.strange(0, "it was not asked".to_owned()))
    }

    fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        key: Option<&str>,
        repeat: Repeat,
    ) -> Result<Vec<u8>> {
        let mut request = self.request(method, path);
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let agent = match repeat {
            Repeat::Never => &self.fresh,
            Repeat::Read | Repeat::Keyed => &self.agent,
        };
        let response = if let Some(body) = body {
            let request = request.header(CONTENT_TYPE, "application/json").body(body);
            agent.run(request.map_err(|error| self.unanswered(error.into()))?)
        } else {
            let request = request.body(());
            agent.run(request.map_err(|error| self.unanswered(error.into()))?)
        };
        let response = response.map_err(|error| self.unanswered(error))?;
        self.whole(self.of_success(response)?)
    }
}

/// Whether a request that failed may succeed when it is sent again.
fn may_succeed(error: &Error, repeat: Repeat, attempt: u32) -> bool {
    match error {
        // Nobody listens: the service is not there, or has ended and does not know keys any more.
        Error::Transport { source, .. } => repeat != Repeat::Never && !is_refused(source.as_ref()),
        Error::Problem(problem) => match problem.kind_name() {
            // It was not looked at.
            "overloaded" => true,
            // It may still be done, and its answer is kept under the key.
            "timeout" => repeat == Repeat::Keyed,
            // The first one with the key is not answered yet.
            "conflict" => repeat == Repeat::Keyed && attempt > 1,
            _ => false,
        },
        _ => false,
    }
}

/// Why the certificate of a service is not trusted, where it is not.
fn untrusted(error: &ureq::Error) -> Option<&rustls::Error> {
    let reason = match error {
        ureq::Error::Rustls(reason) => Some(reason),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    reason.filter(|reason| matches!(reason, rustls::Error::InvalidCertificate(_)))
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Io(error)) => matches!(
            error.kind(),
            // Of TLS, that the other side speaks another language.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidData
        ),
        Some(
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Rustls(_)
            | ureq::Error::Tls(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::BodyExceedsLimit(_),
        ) => true,
        _ => false,
    }
}

/// A key that no other request has.
fn key() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// The address of a service without a slash at its end.
fn checked(url: &str) -> Result<String> {
    let wrong = |reason: &str| Error::Url {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let base = url.trim_end_matches('/');
    let uri: Uri = base.parse().map_err(|_| wrong("it is no URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(wrong("it begins with http:// or https:// and a host")),
    }
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("a token is given apart, not in the address"));
    }
    if uri.query().is_some() {
        return Err(wrong("it has no part behind a question mark"));
    }
    Ok(base.to_owned())
}

/// The roots that are trusted: those of the system, and others beside them. Where there is none,
/// those of the web that are in the program.
fn roots(others: &[Certificate<'static>]) -> RootCerts {
    // One of the system that cannot be read trusts nobody.
    let system = rustls_native_certs::load_native_certs().certs;
    let system = system
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned());
    let all: Vec<_> = system.chain(others.iter().cloned()).collect();
    if all.is_empty() {
        return RootCerts::WebPki;
    }
    RootCerts::new_with_certs(&all)
}

/// What keeps connections, and what makes one for each request. The roots of the system are read
/// once for both.
fn agents(base: &str, others: &[Certificate<'static>]) -> (Agent, Agent) {
    let is_https = base
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let roots = is_https.then(|| roots(others));
    let agent = |keeps_connections| config(base, roots.clone(), keeps_connections).new_agent();
    (agent(true), agent(false))
}

fn config(base: &str, roots: Option<RootCerts>, keeps_connections: bool) -> Config {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // A token goes to nobody else.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .user_agent(concat!("affinis-client/", env!("CARGO_PKG_VERSION")));
    if let Some(roots) = roots {
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    if !keeps_connections {
        config = config.max_idle_connections(0);
    }
    if is_loopback(base) {
        // No proxy reaches this machine's own services, and nothing is gained by packing.
        config = config.proxy(None).accept_encoding(AutoHeaderValue::None);
    }
    config.build()
}

/// Whether an address is on this machine.
fn is_loopback(base: &str) -> bool {
    let uri: Option<Uri> = base.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for (url, base) in [
            ("http://127.0.0.1:7717", "http://127.0.0.1:7717"),
            ("https://search.example.org/", "https://search.example.org"),
            (
                "https://example.org/affinis/",
                "https://example.org/affinis",
            ),
        ] {
            assert_eq!(checked(url).expect(url), base);
        }
        for url in [
            "ftp://x",
            "localhost:7717",
            "http://",
            "http://a b",
            "http://ann:secret@host",
            "http://x?y",
        ] {
            let error = checked(url).expect_err(url).to_string();
            assert!(error.contains("http://127.0.0.1:7717"), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        assert!(is_loopback("http://localhost:1") && is_loopback("http://[::1]:1"));
        assert!(is_loopback("http://127.0.0.2") && !is_loopback("http://192.168.0.1"));
        assert!(!is_loopback("https://localhost.example.org"));
    }

    #[test]
    fn what_has_been_done_may_not_be_done_twice() {
        let reset = |kind: io::ErrorKind| Error::Transport {
            url: String::new(),
            source: Box::new(ureq::Error::Io(kind.into())),
        };
        let problem = |kind: &'static str| {
            Error::Problem(ProblemDocument {
                kind: kind.into(),
                title: "".into(),
                status: 0,
                detail: String::new(),
            })
        };
        let lost = io::ErrorKind::ConnectionReset;
        for (error, repeat, attempt, again) in [
            (reset(lost), Repeat::Read, 1, true),
            (reset(lost), Repeat::Keyed, 1, true),
            (reset(lost), Repeat::Never, 1, false),
            (
                reset(io::ErrorKind::ConnectionRefused),
                Repeat::Read,
                1,
                false,
            ),
            (problem("urn:affinis:overloaded"), Repeat::Never, 1, true),
            (problem("urn:affinis:timeout"), Repeat::Keyed, 1, true),
            (problem("urn:affinis:timeout"), Repeat::Never, 1, false),
            (problem("urn:affinis:conflict"), Repeat::Keyed, 1, false),
            (problem("urn:affinis:conflict"), Repeat::Keyed, 2, true),
            (problem("urn:affinis:invalid-input"), Repeat::Read, 1, false),
        ] {
            assert_eq!(
                may_succeed(&error, repeat, attempt),
                again,
                "{error:?} {repeat:?}"
            );
        }
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encoded("a/b c?ä"), "a%2Fb%20c%3F%C3%A4");
    }
}
