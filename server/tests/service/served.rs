//! A service on a free port over a store in a temporary directory, and requests to it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use affinis::Store;
use affinis_server::{Limits, Service, Settings, Stop};
use affinis_testkit::kinds;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

/// A running service. It is stopped when this is dropped, and its store is closed then.
pub(crate) struct Served {
    address: SocketAddr,
    stop: Stop,
    running: Option<JoinHandle<()>>,
    agent: Agent,
    pub(crate) dir: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} bytes", self.body.len()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default()
    }

    /// Checks that the answer is good.
    #[track_caller]
    pub(crate) fn good(&self) {
        let body = String::from_utf8_lossy(&self.body);
        assert!((200..300).contains(&self.status), "{}: {body}", self.status);
    }

    /// The JSON of an answer that must be good.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        self.good();
        self.json()
    }

    /// The detail of the problem that an answer must be, of this status and kind.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, kind: &str) -> String {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let document = self.json();
        assert_eq!(document["type"], format!("urn:affinis:{kind}"), "{body}");
        assert_eq!(document["status"], status, "{body}");
        assert!(document["title"].is_string(), "{body}");
        document["detail"].as_str().unwrap().to_owned()
    }
}

impl Served {
    /// A service over an empty store.
    pub(crate) fn new() -> Self {
        Self::with(|_, settings| settings)
    }

    /// A service over a store with the collection `points` of the testkit: 1,000 points of five
    /// kinds, of dimension 8, of which the answers to some queries are judged.
    pub(crate) fn of_kinds(judged: usize) -> Self {
        Self::of_kinds_with(judged, Limits::default())
    }

    /// The same with limits.
    pub(crate) fn of_kinds_with(judged: usize, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, points) = kinds::store_of_kinds(&dir.path().join("store"));
        if judged > 0 {
            kinds::judge_answers(&points, 0..judged, None);
        }
        drop(points);
        let settings = Settings {
            limits,
            ..Settings::default()
        };
        Self::over(dir, store, settings)
    }

    /// A service with settings, which may name files in the directory.
    pub(crate) fn with(set: impl FnOnce(&TempDir, Settings) -> Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = kinds::open(&dir.path().join("store"));
        let settings = set(&dir, Settings::default());
        Self::over(dir, store, settings)
    }

    /// A service over a store, which keeps a directory.
    pub(crate) fn over(dir: TempDir, store: Store, settings: Settings) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let service = Service::bind(store, Settings { listen, ..settings }).unwrap();
        let (address, stop) = (service.address(), service.stop());
        let running = std::thread::spawn(move || service.run().unwrap());
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(1)))
            .build()
            .into();
        Self {
            address,
            stop,
            running: Some(running),
            agent,
            dir,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn stop(&self) {
        self.stop.stop();
    }

    /// Stops the service and waits until it has ended. Returns the time that took.
    pub(crate) fn ended(&mut self) -> Duration {
        let begun = Instant::now();
        self.stop.stop();
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
        begun.elapsed()
    }

    /// A request with headers and a body as they are given.
    pub(crate) fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut answer = answer.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.body_mut().read_to_vec().unwrap(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, &[], None)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.raw("DELETE", path, &[], None)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[], body)
    }

    pub(crate) fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[], body)
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.raw(method, path, &headers, Some(body.to_string().as_bytes()))
    }

    /// Follows a job to its end, by its events. Returns the job.
    #[track_caller]
    pub(crate) fn finish(&self, begun: &Value) -> Value {
        let job = begun["job"].as_str().unwrap();
        let events = self.get(&format!("/v1/jobs/{job}/events"));
        assert_eq!(events.header("content-type"), "text/event-stream");
        let text = String::from_utf8(events.body).unwrap();
        let last = text.trim().rsplit("\n\n").next().unwrap().to_owned();
        let (name, data) = last.split_once('\n').unwrap();
        let document: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(
            name,
            format!("event: {}", document["state"].as_str().unwrap())
        );
        assert_eq!(document, self.get(&format!("/v1/jobs/{job}")).ok());
        document
    }

    /// The result of a job that must not fail.
    #[track_caller]
    pub(crate) fn result(&self, begun: &Value) -> Value {
        let job = self.finish(begun);
        assert_eq!(job["state"], "done", "{job}");
        job["result"].clone()
    }

    /// Sends bytes on a connection of its own, and gives what comes back until it is closed.
    pub(crate) fn bytes(&self, sent: &str) -> String {
        let mut connection = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(20));
        connection.set_read_timeout(patience).unwrap();
        connection.write_all(sent.as_bytes()).unwrap();
        let mut read = Vec::new();
        let _ = connection.read_to_end(&mut read);
        String::from_utf8_lossy(&read).into_owned()
    }

    /// A collection `c` of four points in the plane: a (0, 0), b (1, 0), c (0, 2), d (3, 3).
    pub(crate) fn plane(&self) {
        self.put("/v1/collections/c", json!({"dim": 2})).ok();
        let items = json!({"items": [
            {"id": "a", "vector": [0, 0], "meta": {"year": 2019, "lang": "en"}},
            {"id": "b", "vector": [1, 0], "text": "the second", "meta": {"year": 2020}},
            {"id": "c", "vector": [0, 2], "meta": {"year": 2021, "lang": "de"}},
            {"id": "d", "vector": [3, 3]},
        ]});
        let stored = self.post("/v1/collections/c/items", items).ok();
        assert_eq!(
            (&stored["added"], &stored["replaced"]),
            (&json!(4), &json!(0))
        );
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}
