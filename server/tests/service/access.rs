//! Who may do what: tokens, roles, logins, hosts and origins.

use std::net::SocketAddr;

use affinis::Store;
use affinis_server::{Role, ServeError, Service, Settings, Tokens};
use serde_json::{Value, json};

use crate::served::{Answer, Served};

/// A service with a token of each role, which are named after their roles.
pub(crate) struct Guarded {
    pub(crate) served: Served,
    tokens: Vec<(Role, String)>,
}

pub(crate) const ROLES: [Role; 4] = [Role::Search, Role::Judge, Role::Write, Role::Admin];

impl Guarded {
    pub(crate) fn new() -> Self {
        let made = ROLES.map(|role| (role, Tokens::make(&role.to_string(), role).unwrap()));
        let lines: Vec<&str> = made.iter().map(|(_, made)| made.line.as_str()).collect();
        let tokens = Tokens::parse(&lines.join("\n")).unwrap();
        let served = Served::with(|dir, settings| Settings {
            tokens: Some(tokens),
            backups: Some(dir.path().join("backups")),
            ..settings
        });
        let tokens = made
            .into_iter()
            .map(|(role, made)| (role, made.token))
            .collect();
        let guarded = Self { served, tokens };
        guarded
            .ask(
                Role::Write,
                "PUT",
                "/v1/collections/c",
                Some(json!({"dim": 2})),
            )
            .ok();
        let items =
            json!({"items": [{"id": "a", "vector": [0, 0]}, {"id": "b", "vector": [1, 0]}]});
        guarded
            .ask(Role::Write, "POST", "/v1/collections/c/items", Some(items))
            .ok();
        guarded
    }

    pub(crate) fn token(&self, role: Role) -> &str {
        let found = self.tokens.iter().find(|(other, _)| *other == role);
        &found.unwrap().1
    }

    pub(crate) fn ask(&self, role: Role, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.with(&format!("Bearer {}", self.token(role)), method, path, body)
    }

    pub(crate) fn with(
        &self,
        authorization: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let headers = [("authorization", authorization)];
        match body {
            Some(body) => self.served.send(method, path, &headers, body),
            None => self.served.raw(method, path, &headers, None),
        }
    }
}

#[test]
fn each_call_needs_its_role_and_no_less() {
    let guarded = Guarded::new();
    let c = "/v1/collections/c";
    let judgement = json!({"judgements": [{"query_id": "a", "item": "b", "relevant": true}]});
    let signal = json!({"signals": [{"query_id": "a", "shown": ["b"], "clicked": ["b"]}]});
    for (needed, method, path, body) in [
        (Role::Search, "GET", "/v1/collections".to_owned(), None),
        (Role::Search, "GET", c.to_owned(), None),
        (Role::Search, "GET", format!("{c}/items"), None),
        (Role::Search, "GET", format!("{c}/items/a"), None),
        (
            Role::Search,
            "POST",
            format!("{c}/get"),
            Some(json!({"ids": ["a"]})),
        ),
        (Role::Search, "POST", format!("{c}/count"), Some(json!({}))),
        (
            Role::Search,
            "POST",
            format!("{c}/search"),
            Some(json!({"like": "a"})),
        ),
        (
            Role::Search,
            "POST",
            format!("{c}/explain"),
            Some(json!({"like": "a", "item": "b"})),
        ),
        (
            Role::Search,
            "POST",
            format!("{c}/evaluate"),
            Some(json!({"queries": [{"query_id": "a", "relevant": ["b"]}]})),
        ),
        (Role::Search, "GET", format!("{c}/metrics"), None),
        (Role::Search, "GET", format!("{c}/metrics/0"), None),
        (Role::Search, "GET", format!("{c}/drift"), None),
        (Role::Search, "GET", format!("{c}/trial"), None),
        (Role::Search, "GET", "/v1/jobs".to_owned(), None),
        (Role::Search, "GET", "/metrics".to_owned(), None),
        (
            Role::Judge,
            "POST",
            format!("{c}/judgements"),
            Some(judgement),
        ),
        (Role::Judge, "GET", format!("{c}/judgements"), None),
        (Role::Judge, "POST", format!("{c}/signals"), Some(signal)),
        (Role::Judge, "GET", format!("{c}/ask"), None),
        (
            Role::Write,
            "POST",
            format!("{c}/items"),
            Some(json!({"items": [{"id": "x", "vector": [1, 1]}]})),
        ),
        (
            Role::Write,
            "POST",
            format!("{c}/metrics/import"),
            Some(json!({"matrix": [[1, 0], [0, 1]]})),
        ),
        (Role::Search, "GET", format!("{c}/guidelines"), None),
        (
            Role::Write,
            "PUT",
            format!("{c}/guidelines"),
            Some(
                json!({"text": "", "scale": [{"label": "no", "grade": -1}, {"label": "yes", "grade": 1}]}),
            ),
        ),
        (
            Role::Judge,
            "POST",
            format!("{c}/judgements/import"),
            Some(json!({"file": "a 0 b 1"})),
        ),
        (Role::Write, "POST", format!("{c}/metrics/0/promote"), None),
        (
            Role::Write,
            "POST",
            format!("{c}/refit"),
            Some(json!({"dry_run": true})),
        ),
        (Role::Write, "POST", format!("{c}/optimize"), None),
        (Role::Write, "DELETE", format!("{c}/trial"), None),
        (
            Role::Admin,
            "POST",
            format!("{c}/forget"),
            Some(json!({"item": "x"})),
        ),
        (Role::Admin, "POST", "/v1/verify".to_owned(), None),
        (Role::Admin, "GET", "/v1/backups".to_owned(), None),
    ] {
        let detail = guarded
            .with("", method, &path, body.clone())
            .problem(401, "unauthenticated");
        assert!(detail.contains(&needed.to_string()), "{path}: {detail}");
        for role in ROLES {
            let answer = guarded.ask(role, method, &path, body.clone());
            if role < needed {
                let detail = answer.problem(403, "forbidden");
                assert!(detail.contains(&needed.to_string()), "{path}: {detail}");
            } else {
                answer.good();
            }
        }
    }
    guarded
        .ask(Role::Write, "DELETE", c, None)
        .problem(403, "forbidden");
    guarded.ask(Role::Admin, "DELETE", c, None).ok();
}

#[test]
fn wrong_tokens_open_nothing() {
    let guarded = Guarded::new();
    let good = guarded.token(Role::Admin).to_owned();
    for wrong in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {good}"),
        format!("Bearer {good}x"),
        format!("Bearer {}", &good[..good.len() - 1]),
        good.clone(),
    ] {
        let answer = guarded.with(&wrong, "GET", "/v1/collections", None);
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        answer.problem(401, "unauthenticated");
    }
    for path in [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/",
        "/app.js",
        "/v1/session",
    ] {
        assert_eq!(guarded.served.get(path).status, 200, "{path}");
    }
    assert_eq!(guarded.served.get("/nothing").status, 404);
}

#[test]
fn nobody_judges_as_another() {
    let guarded = Guarded::new();
    let path = "/v1/collections/c/judgements";
    let judge = |role, user: Option<&str>| {
        let mut judgement = json!({"query_id": "a", "item": "b", "relevant": true});
        if let Some(user) = user {
            judgement["user"] = json!(user);
        }
        guarded.ask(role, "POST", path, Some(json!({"judgements": [judgement]})))
    };
    judge(Role::Judge, None).ok();
    judge(Role::Judge, Some("judge")).ok();
    judge(Role::Judge, Some("ann")).problem(403, "forbidden");
    judge(Role::Admin, Some("judge")).problem(403, "forbidden");
    let signal =
        json!({"signals": [{"query_id": "a", "shown": ["b"], "clicked": ["b"], "user": "ann"}]});
    guarded
        .ask(
            Role::Judge,
            "POST",
            "/v1/collections/c/signals",
            Some(signal),
        )
        .problem(403, "forbidden");
    judge(Role::Admin, None).ok();
    let listed = guarded.ask(Role::Judge, "GET", path, None).ok();
    let users: Vec<&Value> = listed["judgements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|j| &j["user"])
        .collect();
    assert_eq!(users, ["judge", "judge", "admin"]);
    guarded
        .ask(Role::Judge, "DELETE", &format!("{path}/2"), None)
        .problem(403, "forbidden");
    guarded
        .ask(Role::Judge, "DELETE", &format!("{path}/1"), None)
        .ok();
    guarded
        .ask(Role::Write, "DELETE", &format!("{path}/2"), None)
        .ok();
    // What others judged comes in from a file of theirs, by who may write.
    let line = r#"{"query_id": "a", "item": "b", "relevant": true, "user": "ann"}"#;
    let import = |role| {
        let body = json!({ "file": line });
        guarded.ask(role, "POST", &format!("{path}/import"), Some(body))
    };
    let detail = import(Role::Judge).problem(403, "forbidden");
    assert!(detail.contains("line 1"), "{detail}");
    import(Role::Write).ok();
    let listed = guarded.ask(Role::Judge, "GET", &format!("{path}?user=ann"), None);
    assert_eq!(listed.ok()["judgements"][0]["user"], "ann");
}

#[test]
fn a_browser_logs_in_and_out() {
    let guarded = Guarded::new();
    let served = &guarded.served;
    let nobody = json!({"tokens": true, "user": null, "role": null});
    assert_eq!(served.get("/v1/session").ok(), nobody);
    served
        .post("/v1/session", json!({"token": "wrong"}))
        .problem(401, "unauthenticated");
    let login = served.post("/v1/session", json!({"token": guarded.token(Role::Judge)}));
    let cookie = login.header("set-cookie").to_owned();
    assert_eq!(
        login.ok(),
        json!({"tokens": true, "user": "judge", "role": "judge"})
    );
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(guarded.token(Role::Judge)));
    let session = cookie.split(';').next().unwrap();
    let with = |method, path| served.raw(method, path, &[("cookie", session)], None);
    assert_eq!(with("GET", "/v1/session").ok()["user"], "judge");
    with("GET", "/v1/collections/c/judgements").ok();
    with("DELETE", "/v1/collections/c").problem(403, "forbidden");
    // A wrong token is not passed over for the cookie.
    let both = [("cookie", session), ("authorization", "Bearer wrong")];
    served
        .raw("GET", "/v1/collections", &both, None)
        .problem(401, "unauthenticated");
    let logout = with("DELETE", "/v1/session");
    assert!(logout.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(logout.ok(), nobody);
    with("GET", "/v1/collections").problem(401, "unauthenticated");
}

#[test]
fn without_tokens_everybody_may_do_everything_and_nobody_logs_in() {
    let served = Served::new();
    assert_eq!(
        served.get("/v1/session").ok(),
        json!({"tokens": false, "user": null, "role": "admin"})
    );
    served
        .post("/v1/session", json!({"token": "x"}))
        .problem(409, "conflict");
}

#[test]
fn an_address_that_others_reach_needs_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let listen: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let open = Settings {
        listen,
        ..Settings::default()
    };
    let refused = Service::bind(store.clone(), open);
    assert!(matches!(refused, Err(ServeError::Open(address)) if address == listen));
    let line = Tokens::make("ann", Role::Admin).unwrap().line;
    let tokens = Some(Tokens::parse(&line).unwrap());
    assert!(
        Service::bind(
            store,
            Settings {
                listen,
                tokens,
                ..Settings::default()
            }
        )
        .is_ok()
    );
}

#[test]
fn other_hosts_and_origins_are_refused() {
    let served = Served::new();
    let port = served.address().port();
    let ask = |headers: &str| {
        let request = format!("GET /v1/collections HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        let answer = served.bytes(&request);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(ask(&format!("host: localhost:{port}\r\n")), "200");
    assert_eq!(ask("host: 127.0.0.1\r\n"), "200");
    assert_eq!(ask("host: rebound.example\r\n"), "403");
    assert_eq!(ask(&format!("host: localhost.example:{port}\r\n")), "403");
    assert_eq!(ask(""), "403");
    assert_eq!(
        ask(&format!(
            "host: localhost:{port}\r\norigin: http://localhost:{port}\r\n"
        )),
        "200"
    );
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        assert_eq!(
            ask(&format!("host: localhost:{port}\r\norigin: {origin}\r\n")),
            "403",
            "{origin}"
        );
    }
    // A page of another site can post without asking only what is not declared as JSON.
    let form = [("content-type", "text/plain")];
    let answer = served.raw(
        "POST",
        "/v1/collections/c/search",
        &form,
        Some(b"{\"like\": \"a\"}"),
    );
    answer.problem(415, "unsupported-media-type");
    let none = served.raw("PUT", "/v1/collections/c", &form, Some(b"{\"dim\": 2}"));
    none.problem(415, "unsupported-media-type");
}
