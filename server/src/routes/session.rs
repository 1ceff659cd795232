//! Logins of browsers.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{AppendHeaders, IntoResponse};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{COOKIE, Caller, LIFETIME, Role, session_of};
use crate::app::App;
use crate::extract::Given;
use crate::problem::{Kind, Problem};

/// Who is asking.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// Whether the service has tokens.
    tokens: bool,
    /// Name of the token; null without one.
    user: Option<String>,
    /// What the caller may do; null before a login.
    role: Option<Role>,
}

/// A token to log in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// The token.
    token: String,
}

impl Session {
    fn of(app: &App, caller: Caller) -> Self {
        Self {
            tokens: app.access.has_tokens(),
            user: caller.name,
            role: caller.role,
        }
    }
}

/// Says who is asking.
#[utoipa::path(get, path = "/v1/session", tag = "session",
    responses((status = 200, description = "Who is asking", body = Session)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Json<Session> {
    Json(Session::of(&app, caller))
}

/// Logs in with a token, and sets a cookie.
#[utoipa::path(post, path = "/v1/session", tag = "session",
    request_body = Login,
    responses((status = 200, description = "Who is asking now", body = Session)))]
pub(crate) async fn begin(
    State(app): State<App>,
    Given(login): Given<Login>,
) -> Result<impl IntoResponse, Problem> {
    if !app.access.has_tokens() {
        return Err(Problem::new(
            Kind::Conflict,
            "this service has no tokens, so nobody logs in",
        ));
    }
    let caller = app.access.caller(&login.token).ok_or_else(|| {
        let detail =
            "no such token; `affinis token` makes one, and the service reads its file at start";
        Problem::new(Kind::Unauthenticated, detail)
    })?;
    let begun = app.access.sessions.begin(caller.clone());
    let name = begun.map_err(|error| Problem::new(Kind::Unavailable, error.to_string()))?;
    let cookie = cookie(&app, &name, LIFETIME.as_secs());
    Ok((
        AppendHeaders([(header::SET_COOKIE, cookie)]),
        Json(Session::of(&app, caller)),
    ))
}

/// Logs out.
#[utoipa::path(delete, path = "/v1/session", tag = "session",
    responses((status = 200, description = "Nobody is asking", body = Session)))]
pub(crate) async fn end(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    if let Some(session) = session_of(&headers) {
        app.access.sessions.end(session);
    }
    let nobody = Session {
        tokens: app.access.has_tokens(),
        user: None,
        role: None,
    };
    (
        AppendHeaders([(header::SET_COOKIE, cookie(&app, "", 0))]),
        Json(nobody),
    )
}

/// The header that sets the cookie for a number of seconds.
fn cookie(app: &App, session: &str, seconds: u64) -> String {
    let secure = if app.access.over_tls { "; Secure" } else { "" };
    format!("{COOKIE}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}")
}
