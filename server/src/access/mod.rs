//! Who may do what: tokens and their roles, logins of browsers, and the hosts that are answered.

mod hosts;
mod origins;
mod rate;
mod roles;
mod sessions;
mod tokens;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::page;
use crate::problem::{Kind, Problem};

pub(crate) use origins::Origins;
pub use roles::{Role, UnknownRole};
pub(crate) use sessions::{COOKIE, LIFETIME};
pub use tokens::{NewToken, TokenError, Tokens};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of the token; `None` where the service has no tokens.
    pub(crate) name: Option<String>,
    /// What the caller may do; `None` before a login.
    pub(crate) role: Option<Role>,
}

impl Caller {
    /// Everybody who reaches a service without tokens.
    const ANYBODY: Self = Self {
        name: None,
        role: Some(Role::Admin),
    };
    /// Somebody without a token.
    const NOBODY: Self = Self {
        name: None,
        role: None,
    };

    /// Whether the caller may do what a role may.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role.is_some_and(|own| own >= role)
    }
}

/// The address from which a connection came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The tokens, the logins, the hosts and the rate of a service.
pub(crate) struct Access {
    tokens: Option<Tokens>,
    hosts: hosts::Hosts,
    rate: Option<rate::Rate>,
    /// Whether the service answers over TLS, so that its cookie goes nowhere else.
    pub(crate) over_tls: bool,
    pub(crate) sessions: sessions::Sessions,
}

impl Access {
    pub(crate) fn new(
        tokens: Option<Tokens>,
        hosts: Vec<String>,
        origins: Origins,
        rate: Option<NonZeroU32>,
        over_tls: bool,
    ) -> Self {
        Self {
            tokens,
            hosts: hosts::Hosts::new(hosts, origins),
            rate: rate.map(rate::Rate::new),
            over_tls,
            sessions: sessions::Sessions::default(),
        }
    }

    /// The origins beside the service's own.
    pub(crate) fn origins(&self) -> &Origins {
        self.hosts.origins()
    }

    /// Whether a token is needed.
    pub(crate) fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The caller that a token stands for.
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        let (name, role) = self.tokens.as_ref()?.find(token)?;
        Some(Caller {
            name: Some(name.to_owned()),
            role: Some(role),
        })
    }

    /// The caller of a request. A wrong token is not passed over for a cookie beside it.
    fn caller_of(&self, headers: &HeaderMap) -> Caller {
        if !self.has_tokens() {
            return Caller::ANYBODY;
        }
        let known = match headers.get(header::AUTHORIZATION) {
            Some(given) => given
                .to_str()
                .ok()
                .and_then(|given| given.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .and_then(|(_, token)| self.caller(token.trim())),
            None => session_of(headers).and_then(|session| self.sessions.find(session)),
        };
        known.unwrap_or(Caller::NOBODY)
    }

    /// Counts a request of a caller, and refuses one that comes too fast. What watches the service,
    /// and the files of the page, are asked for at any rate.
    fn count(&self, caller: &Caller, request: &Request) -> Result<(), Problem> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        let path = request.extensions().get::<MatchedPath>();
        let path = path.map_or("", MatchedPath::as_str);
        if matches!(path, "/healthz" | "/readyz") || page::is_file(path) {
            return Ok(());
        }
        let whose = match (&caller.name, request.extensions().get::<Peer>()) {
            (Some(name), _) => rate::Counted::Token(name.clone()),
            (None, Some(Peer(address))) => rate::Counted::address(*address),
            (None, None) => return Ok(()),
        };
        rate.count(whose, Instant::now())
    }
}

/// The name of the session in the cookies of a request.
pub(crate) fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, session)| session)
}

/// Lets a request through that comes from a known host and origin, by somebody who may make it.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match admit(&app, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn admit(app: &App, request: &Request) -> Result<Caller, Problem> {
    app.access.hosts.check(request)?;
    let caller = app.access.caller_of(request.headers());
    // Before what the caller may do: tokens cannot be guessed faster either.
    app.access.count(&caller, request)?;
    // An address that there is not needs nothing: the answer is that there is none.
    let Some(path) = request.extensions().get::<MatchedPath>() else {
        return Ok(caller);
    };
    match roles::needed(request.method(), path.as_str()) {
        Some(role) if caller.role.is_none() => Err(Problem::new(
            Kind::Unauthenticated,
            format!(
                "this needs a token with the role {role}, as `Authorization: Bearer TOKEN`; `affinis token` makes one"
            ),
        )),
        Some(role) if !caller.may(role) => Err(Problem::new(
            Kind::Forbidden,
            format!("this needs a token with the role {role}"),
        )),
        _ => Ok(caller),
    }
}
