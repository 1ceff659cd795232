//! The roles of tokens, and which one each call needs.

use std::fmt;
use std::str::FromStr;

use axum::http::Method;
use serde::Serialize;

use crate::page;

/// What the holder of a token may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Search, and read everything but judgements.
    Search,
    /// Judge, answer questions, read judgements, and export.
    Judge,
    /// Change items, make and import collections, learn, promote and try metrics.
    Write,
    /// Drop and re-encode collections, forget, back up and verify.
    Admin,
}

/// A name that no role has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the roles are search, judge, write and admin, not {0:?}")]
pub struct UnknownRole(String);

impl Role {
    /// All roles, the least first.
    pub(crate) const ALL: [Self; 4] = [Self::Search, Self::Judge, Self::Write, Self::Admin];

    fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Judge => "judge",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let role = Self::ALL.into_iter().find(|role| role.name() == name);
        role.ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

/// The role that a call of a route needs; `None` where it needs none. A call that is not named here
/// needs the highest.
pub(crate) fn needed(method: &Method, route: &str) -> Option<Role> {
    const COLLECTION: &str = "/v1/collections/{c}";
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let of_collection = route.strip_prefix(COLLECTION);
    let role = match (method, of_collection.unwrap_or(route)) {
        (_, "/v1/session") | ("GET", "/healthz" | "/readyz" | "/openapi.json") => return None,
        // The page has the form to log in.
        ("GET", path) if page::is_file(path) => return None,
        ("GET", "/judgements" | "/ask" | "/export")
        | ("POST", "/judgements" | "/judgements/import" | "/ask" | "/signals")
        | ("DELETE", "/judgements/{n}") => Role::Judge,
        ("GET", "/v1/backups") => Role::Admin,
        ("GET", _)
        | ("POST", "/search" | "/get" | "/count" | "/explain" | "/evaluate" | "/trial/search") => {
            Role::Search
        }
        ("PUT", "" | "/guidelines" | "/keywords")
        | (
            "POST",
            "/items"
            | "/items/import"
            | "/delete"
            | "/refit"
            | "/optimize"
            | "/import"
            | "/trial"
            | "/metrics/{v}/promote"
            | "/metrics/rollback"
            | "/metrics/import"
            | "/v1/jobs/{job}/cancel",
        )
        | ("DELETE", "/items/{id}" | "/metrics/{v}" | "/trial") => Role::Write,
        _ => Role::Admin,
    };
    Some(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_have_names() {
        assert!(
            Role::Search < Role::Judge && Role::Judge < Role::Write && Role::Write < Role::Admin
        );
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("Admin".parse::<Role>().is_err());
    }

    #[test]
    fn calls_need_roles() {
        let needed = |method: Method, route: &str| needed(&method, route);
        assert_eq!(needed(Method::GET, "/healthz"), None);
        assert_eq!(needed(Method::GET, "/"), None);
        assert_eq!(needed(Method::GET, "/search.js"), None);
        assert_eq!(needed(Method::GET, "/v1/collections"), Some(Role::Search));
        let of = |path: &str| format!("/v1/collections/{{c}}{path}");
        assert_eq!(needed(Method::HEAD, &of("")), Some(Role::Search));
        assert_eq!(needed(Method::POST, &of("/judgements")), Some(Role::Judge));
        assert_eq!(needed(Method::GET, &of("/judgements")), Some(Role::Judge));
        assert_eq!(needed(Method::POST, &of("/items")), Some(Role::Write));
        assert_eq!(needed(Method::GET, &of("/guidelines")), Some(Role::Search));
        assert_eq!(needed(Method::PUT, &of("/guidelines")), Some(Role::Write));
        assert_eq!(needed(Method::PUT, &of("/keywords")), Some(Role::Write));
        assert_eq!(needed(Method::DELETE, &of("")), Some(Role::Admin));
        assert_eq!(needed(Method::POST, &of("/forget")), Some(Role::Admin));
        assert_eq!(needed(Method::GET, &of("/export")), Some(Role::Judge));
        assert_eq!(needed(Method::POST, &of("/import")), Some(Role::Write));
        assert_eq!(needed(Method::POST, &of("/reencode")), Some(Role::Admin));
        assert_eq!(needed(Method::GET, "/v1/encoders"), Some(Role::Search));
        assert_eq!(needed(Method::POST, "/v1/verify"), Some(Role::Admin));
        assert_eq!(needed(Method::PATCH, &of("/items")), Some(Role::Admin));
    }
}
