//! Which hosts and origins are answered.
//!
//! A page of another site can make a browser ask a service on its own machine or network, by a name
//! of its own that it lets point there (DNS rebinding). Such a request has that name as its host. So
//! only addresses, `localhost` and names that were given at start are hosts. An origin, where a
//! browser sends one, must be that host, or one that was given at start.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

use super::Origins;
use crate::problem::{Kind, Problem};

/// The names of a service, beside addresses and `localhost`, and the origins beside its own.
pub(super) struct Hosts {
    names: Vec<String>,
    origins: Origins,
}

impl Hosts {
    pub(super) fn new(names: Vec<String>, origins: Origins) -> Self {
        Self { names, origins }
    }

    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Refuses a request whose host is not known, or whose origin is another.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers().get_all(header::HOST).iter();
        let mut given = headers
            .map(|host| host.to_str().unwrap_or_default().to_owned())
            // HTTP/2 has it in the address, and a request to a proxy too.
            .chain(request.uri().authority().map(ToString::to_string));
        let first = given.next();
        if let Some(other) = given.find(|other| Some(other) != first.as_ref()) {
            let first = first.unwrap_or_default();
            return Err(Problem::invalid(format!(
                "the request names two hosts, {first} and {other}"
            )));
        }
        let given = first;
        let host = given.as_deref().and_then(|host| host.parse().ok());
        let host: Authority = host.filter(|host| self.knows(host)).ok_or_else(|| {
            let named = given.as_deref().unwrap_or("missing");
            Problem::new(
                Kind::Forbidden,
                format!(
                    "the host is {named}, not localhost, an IP address, or a name that the service was started with (--host)"
                ),
            )
        })?;
        let Some(origin) = request.headers().get(header::ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or_default();
        let same = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()));
        if same || self.origins.admit(origin) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Forbidden,
            format!(
                "the origin {origin:?} is not this service; pages of other sites cannot ask it, but for those that it was started with (--origin)"
            ),
        ))
    }

    fn knows(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        !host.as_str().contains('@')
            && (name.eq_ignore_ascii_case("localhost")
                || address.parse::<IpAddr>().is_ok()
                || self
                    .names
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn is_admitted(host: Option<&str>, origin: Option<&str>) -> bool {
        let mut request = Request::builder().uri("/");
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.body(Body::empty()).expect("a request");
        let hosts = Hosts::new(vec!["search.example.org".to_owned()], Origins::default());
        hosts.check(&request).is_ok()
    }

    #[test]
    fn names_of_others_are_refused() {
        for host in [
            "localhost",
            "LocalHost:7717",
            "127.0.0.1:7717",
            "[::1]:7717",
            "192.168.1.7",
            "search.example.org:443",
        ] {
            assert!(is_admitted(Some(host), None), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:7717",
            "evil.example@localhost",
            "localhost/evil",
        ] {
            assert!(!is_admitted(Some(host), None), "{host}");
        }
        assert!(!is_admitted(None, None));
    }

    #[test]
    fn two_hosts_are_refused() {
        let hosts = Hosts::new(Vec::new(), Origins::default());
        let check = |uri: &str, named: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for name in named {
                request = request.header(header::HOST, *name);
            }
            hosts.check(&request.body(Body::empty()).expect("a request"))
        };
        assert!(check("http://localhost:7717/", &["localhost:7717"]).is_ok());
        assert!(check("http://localhost:7717/", &[]).is_ok());
        assert!(check("http://evil.example/", &["localhost"]).is_err());
        assert!(check("http://localhost/", &["evil.example"]).is_err());
        assert!(check("/", &["localhost", "evil.example"]).is_err());
        assert!(check("/", &["localhost", "localhost:7717"]).is_err());
    }

    #[test]
    fn origins_of_others_are_refused() {
        let host = Some("localhost:7717");
        assert!(is_admitted(host, Some("http://localhost:7717")));
        assert!(is_admitted(host, Some("https://localhost:7717")));
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:7718",
            "http://evil.example",
            "file://localhost:7717",
        ] {
            assert!(!is_admitted(host, Some(origin)), "{origin}");
        }
    }
}
