//! Which hosts and origins are answered.
//!
//! A page of another site can make a browser ask a service on its own machine or network, by a name
//! of its own that it lets point there (DNS rebinding). Such a request has that name as its host. So
//! only addresses, `localhost` and names that were given at start are hosts. An origin, where a
//! browser sends one, must be that host.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

use crate::problem::{Kind, Problem};

/// The names of a service, beside addresses and `localhost`.
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Refuses a request whose host is not known, or whose origin is another.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        let given = match request.headers().get(header::HOST) {
            Some(host) => host.to_str().ok().map(str::to_owned),
            // HTTP/2 has it in the address.
            None => request.uri().authority().map(ToString::to_string),
        };
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
        if same {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Forbidden,
            format!(
                "the origin {origin:?} is not this service; pages of other sites cannot ask it"
            ),
        ))
    }

    fn knows(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        !host.as_str().contains('@')
            && (name.eq_ignore_ascii_case("localhost")
                || address.parse::<IpAddr>().is_ok()
                || self.0.iter().any(|known| known.eq_ignore_ascii_case(name)))
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
        let hosts = Hosts::new(vec!["search.example.org".to_owned()]);
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
