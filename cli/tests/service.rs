//! The commands `serve` and `token`, run as their users run them, and the examples of
//! `docs/service.md`.
#![cfg(feature = "serve")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Where the certificates of the tests of TLS are.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/service/tls");

/// A running `affinis serve`; it is killed when this is dropped.
struct Serving {
    child: Child,
    address: String,
    /// Reads what it writes to standard error, so that it never waits for a reader.
    log: Option<JoinHandle<String>>,
}

impl Serving {
    fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_affinis"))
            .current_dir(home)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stderr = BufReader::new(child.stderr.take().expect("its errors"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("listening on http");
        let url = url.map(|url| url.trim_start_matches('s'));
        let address = url.and_then(|url| url.strip_prefix("://"));
        let address = address.expect(&line).to_owned();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).expect("its errors");
            log
        });
        Self {
            child,
            address,
            log: Some(log),
        }
    }

    /// Sends a request on a connection of its own. Returns the status and the body; `None` where
    /// no whole answer came.
    fn ask(&self, head: &str, body: &Value) -> Option<(u16, String)> {
        ask(&self.address, head, body)
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill").success());
    }

    /// The exit status, which must come in time, and what else was written to standard error.
    fn end(mut self, within: Duration) -> (Option<i32>, String) {
        let until = Instant::now() + within;
        while self.child.try_wait().expect("waited").is_none() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait().expect("waited").code();
        let log = self.log.take().map(|log| log.join().expect("no panic"));
        (status, log.unwrap_or_default())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(address: &str, head: &str, body: &Value) -> Option<(u16, String)> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut connection = TcpStream::connect(address).ok()?;
    let patience = Some(Duration::from_secs(30));
    connection.set_read_timeout(patience).ok()?;
    let request = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn affinis(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_affinis"))
        .current_dir(home)
        .args(arguments)
        .output()
        .expect("started");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Writes items from several connections until `signal` was sent for a while. Returns the ids that
/// were acknowledged.
fn write_until(serving: &Serving, round: usize, signal: &str) -> Vec<String> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, address) = (&done, serving.address.as_str());
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    let mut at = 0;
                    while !done.load(Ordering::Relaxed) {
                        at += 1;
                        let id = format!("{round}-{writer}-{at}");
                        let item = json!({"items": [{"id": id, "vector": [1, 2]}]});
                        let answer = ask(address, "POST /v1/collections/c/items", &item);
                        if answer.is_some_and(|(status, _)| status == 200) {
                            acknowledged.push(id);
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(400));
        serving.signal(signal);
        std::thread::sleep(Duration::from_millis(100));
        done.store(true, Ordering::Relaxed);
        let written = writers
            .into_iter()
            .map(|writer| writer.join().expect("no panic"));
        written.flatten().collect()
    })
}

/// The ids of all items, read by the command line.
fn ids(home: &Path) -> Vec<String> {
    let (status, listed, error) = affinis(home, &["list", "c", "--json"]);
    assert_eq!(status, Some(0), "{error}");
    let items = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line));
    items
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn kills_during_writes_lose_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().expect("a directory");
    let mut written = Vec::new();
    for round in 0..3 {
        let serving = Serving::start(home.path(), &[]);
        if round == 0 {
            let made = serving.ask("PUT /v1/collections/c", &json!({"dim": 2}));
            assert_eq!(made.expect("an answer").0, 201);
        }
        let acknowledged = write_until(&serving, round, "-KILL");
        assert!(!acknowledged.is_empty());
        written.extend(acknowledged);
        drop(serving);
        let held = ids(home.path());
        let lost: Vec<_> = written.iter().filter(|id| !held.contains(id)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

#[test]
fn the_signal_to_terminate_ends_it_in_time_under_load() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), &["--log", "json"]);
    let made = serving.ask("PUT /v1/collections/c", &json!({"dim": 2}));
    assert_eq!(made.expect("an answer").0, 201);
    let acknowledged = write_until(&serving, 0, "-TERM");
    let (status, log) = serving.end(Duration::from_secs(5));
    assert_eq!(status, Some(0), "{log}");
    let held = ids(home.path());
    assert!(!acknowledged.is_empty());
    assert!(acknowledged.iter().all(|id| held.contains(id)));
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let answered = lines.iter().find(|line| line["status"] == 201).expect(&log);
    assert!(answered["micros"].is_u64(), "{answered}");
    assert_eq!(
        answered["span"]["route"], "/v1/collections/{c}",
        "{answered}"
    );
    assert!(answered["span"]["id"].is_string(), "{answered}");
}

#[test]
fn a_token_opens_what_its_role_may_and_is_in_no_log() {
    let home = tempfile::tempdir().expect("a directory");
    let (status, made, error) =
        affinis(home.path(), &["token", "ann", "--role", "search", "--json"]);
    assert_eq!(status, Some(0), "{error}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let (token, line) = (
        made["token"].as_str().expect("a token"),
        made["line"].as_str().expect("a line"),
    );
    assert!(
        line.starts_with("ann search ") && !line.contains(token),
        "{line}"
    );
    std::fs::write(home.path().join("tokens.txt"), line).expect("written");
    let serving = Serving::start(home.path(), &["--tokens", "tokens.txt"]);
    let get = |path: &str| {
        serving
            .ask(&format!("GET {path}"), &Value::Null)
            .expect("an answer")
            .0
    };
    assert_eq!((get("/healthz"), get("/v1/collections")), (200, 401));
    let request = format!(
        "GET /v1/collections HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    let mut connection = TcpStream::connect(&serving.address).expect("connected");
    connection.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.signal("-INT");
    let (status, log) = serving.end(Duration::from_secs(5));
    assert_eq!(status, Some(0), "{log}");
    assert!(
        log.contains("401") && log.contains("ann") && !log.contains(token),
        "{log}"
    );
}

#[test]
fn what_cannot_be_served_is_refused_with_a_remedy() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("bad.txt"), "ann boss 00\n").expect("written");
    for file in ["certificate.pem", "key.pem", "other-key.pem"] {
        std::fs::copy(Path::new(CERTIFICATES).join(file), home.path().join(file)).expect("copied");
    }
    let tls = |certificate, key| ["serve", "--tls-cert", certificate, "--tls-key", key];
    for (arguments, code, word) in [
        (&["serve", "--listen", "0.0.0.0:0"][..], 1, "--tokens"),
        (&["serve", "--tokens", "none.txt"], 1, "none.txt"),
        (&["serve", "--tokens", "bad.txt"], 1, "line 1"),
        (&["serve", "--listen", "nowhere"], 2, "127.0.0.1:7717"),
        (&["serve", "--tls-cert", "certificate.pem"], 2, "--tls-key"),
        (&["serve", "--tls-key", "key.pem"], 2, "--tls-cert"),
        (&tls("none.pem", "key.pem"), 1, "none.pem"),
        (&tls("certificate.pem", "none.pem"), 1, "none.pem"),
        (
            &tls("key.pem", "key.pem"),
            1,
            "key.pem: there is no certificate",
        ),
        (
            &tls("certificate.pem", "certificate.pem"),
            1,
            "certificate.pem: there is no private key",
        ),
        (
            &tls("certificate.pem", "other-key.pem"),
            1,
            "not that of the certificate",
        ),
        (&["serve", "--rate", "0"], 2, "--rate"),
        (
            &["token", "ann", "--role", "boss"],
            2,
            "search, judge, write and admin",
        ),
        (&["token", "two words", "--role", "admin"], 1, "white space"),
    ] {
        let (status, _, error) = affinis(home.path(), arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {error}");
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
}

#[test]
fn a_client_of_others_asks_over_tls() {
    if Command::new("curl").arg("--version").output().is_err() {
        affinis_testkit::skipped("there is no curl");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let file = |name| format!("{CERTIFICATES}/{name}");
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let serving = Serving::start(
        home.path(),
        &["--tls-cert", &certificate, "--tls-key", &key],
    );
    let port = serving.address.rsplit_once(':').expect("a port").1;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--cacert"])
        .args([
            &file("authority.pem"),
            &format!("https://localhost:{port}/healthz"),
        ])
        .output()
        .expect("started");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("ok"), "{output:?}");
}

#[cfg(feature = "postgres")]
#[test]
#[allow(clippy::too_many_lines, reason = "a test tells one story")]
fn a_table_of_postgresql_is_searched_judged_and_learned_over_http() {
    let Ok(url) = std::env::var("AFFINIS_PG_URL") else {
        affinis_testkit::skipped("AFFINIS_PG_URL names no server");
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let name = format!("service-test-{}", std::process::id());
    let mut items = String::new();
    for item in affinis_testkit::kinds::kinds(300) {
        let item =
            json!({"id": item.id, "text": format!("number {}", item.id), "vector": item.vector});
        items.push_str(&item.to_string());
        items.push('\n');
    }
    std::fs::write(home.path().join("items.jsonl"), items).expect("written");
    for arguments in [
        vec!["create", &name, "--dim", "8"],
        vec!["add", &name, "items.jsonl"],
        vec!["export", &name, "archive.jsonl"],
        vec!["--store", &url, "import", &name, "archive.jsonl"],
    ] {
        let (status, _, error) = affinis(home.path(), &arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {error}");
    }
    let serving = Serving::start(home.path(), &["--store", &url]);
    let of = |path: &str| format!("/v1/collections/{name}{path}");
    let send = |method: &str, path: &str, body: Value| {
        let (status, body) = serving
            .ask(&format!("{method} {path}"), &body)
            .expect("an answer");
        let document: Value = serde_json::from_str(&body).unwrap_or_default();
        (status, document)
    };
    let ok = |method: &str, path: &str, body: Value| {
        let (status, document) = send(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {document}");
        document
    };
    assert_eq!(send("GET", "/readyz", Value::Null).0, 200);
    let listed = ok("GET", "/v1/collections", Value::Null);
    let listed = listed["collections"].as_array().expect("a list");
    let own = listed.iter().find(|own| own["name"] == name.as_str());
    assert!(
        own.is_some_and(|own| own["table"].is_string()),
        "{listed:?}"
    );
    let described = ok("GET", &of(""), Value::Null);
    assert_eq!(
        (&described["items"], &described["dim"]),
        (&json!(300), &json!(8))
    );
    assert_eq!(ok("POST", &of("/count"), json!({}))["count"], 300);
    assert_eq!(ok("GET", &of("/items/7"), Value::Null)["text"], "number 7");
    let got = ok("POST", &of("/get"), json!({"ids": ["8", "7", "8"]}));
    assert_eq!(got["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(send("GET", &of("/items/none"), Value::Null).0, 404);

    let mut judgements = Vec::new();
    for query in (0..40).map(|query: usize| query.to_string()) {
        let answer = ok(
            "POST",
            &of("/search"),
            json!({"like": query, "metric": "euclidean"}),
        );
        for hit in answer["hits"].as_array().expect("hits") {
            let id = hit["id"].as_str().expect("an id");
            let relevant = affinis_testkit::kinds::kind(id) == affinis_testkit::kinds::kind(&query);
            judgements.push(json!({"query_id": query, "item": id, "relevant": relevant}));
        }
    }
    let judged = ok(
        "POST",
        &of("/judgements"),
        json!({"judgements": judgements}),
    );
    assert_eq!(judged["stored"], 400);
    let nobody = json!({"judgements": [{"query_id": "0", "item": "nobody", "relevant": true}]});
    assert_eq!(send("POST", &of("/judgements"), nobody).0, 404);
    let of_seven = ok("GET", &of("/judgements?query_id=7"), Value::Null);
    assert_eq!(of_seven["judgements"].as_array().map(Vec::len), Some(10));
    let begun = ok("POST", &of("/refit"), json!({}));
    let job = format!("/v1/jobs/{}", begun["job"].as_str().expect("a job"));
    let until = Instant::now() + Duration::from_mins(1);
    let report = loop {
        let document = ok("GET", &job, Value::Null);
        if document["state"] != "running" || Instant::now() > until {
            break document;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(report["result"]["promoted"], true, "{report}");
    let versions = ok("GET", &of("/metrics"), Value::Null);
    assert_eq!(versions["metrics"][1]["accepted"], true, "{versions}");
    let many = json!({"queries": [{"like": "1"}, {"vector": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]}], "k": 3});
    let answers = ok("POST", &of("/search"), many);
    assert_eq!(answers["answers"][1]["metric"], 1);
    ok("POST", &of("/explain"), json!({"like": "1", "item": "6"}));
    ok("GET", &of("/drift"), Value::Null);
    let (status, exported) = serving
        .ask(&format!("GET {}", of("/export")), &Value::Null)
        .expect("an answer");
    assert_eq!((status, exported.lines().count()), (200, 702));

    let item = json!({"items": [{"id": "x", "vector": [0, 0, 0, 0, 0, 0, 0, 0]}]});
    for (method, path, body, word) in [
        (
            "PUT",
            "/v1/collections/new".to_owned(),
            json!({"dim": 2}),
            "pg init",
        ),
        ("POST", of("/items"), item, "INSERT"),
        ("GET", of("/items"), Value::Null, "SELECT"),
        ("DELETE", of("/items/1"), Value::Null, "DELETE"),
        ("POST", of("/delete"), json!({"ids": ["1"]}), "DELETE"),
        ("POST", of("/optimize"), Value::Null, "REINDEX"),
        (
            "POST",
            of("/reencode"),
            json!({"encoder": "embedded"}),
            "pg init",
        ),
        ("POST", "/v1/verify".to_owned(), Value::Null, "pg_amcheck"),
        ("GET", "/v1/backups".to_owned(), Value::Null, "pg_dump"),
        (
            "POST",
            "/v1/backups".to_owned(),
            json!({"name": "b"}),
            "pg_dump",
        ),
    ] {
        let (status, document) = send(method, &path, body);
        assert_eq!(status, 501, "{method} {path}: {document}");
        assert_eq!(document["type"], "urn:affinis:unsupported");
        let detail = document["detail"].as_str().expect("a detail");
        assert!(detail.contains(word), "{method} {path}: {detail}");
    }
    ok("DELETE", &of(""), Value::Null);
    assert_eq!(send("GET", &of(""), Value::Null).0, 404);
    serving.signal("-TERM");
    assert_eq!(serving.end(Duration::from_secs(5)).0, Some(0));
}

/// The commands in the `sh` blocks of the documentation are given to a new service, in their order.
#[test]
fn the_examples_of_the_documentation_work() {
    if Command::new("curl").arg("--version").output().is_err() {
        affinis_testkit::skipped("there is no curl");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), &["--backups", "backups"]);
    let documentation = include_str!("../../docs/service.md");
    let blocks = documentation.split("```sh\n").skip(1);
    let commands: Vec<&str> = blocks
        .map(|block| block.split("```").next().unwrap_or_default())
        .collect();
    assert!(commands.len() >= 5);
    let script = commands
        .join("\n")
        .replace("localhost:7717", &serving.address);
    // An answer that is an error ends the script.
    std::fs::write(
        home.path().join(".curlrc"),
        "fail-with-body\nsilent\nshow-error\n",
    )
    .expect("written");
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .env("CURL_HOME", home.path())
        .output()
        .expect("started");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
