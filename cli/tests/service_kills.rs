//! A service that is killed at random moments loses nothing that it acknowledged, and leaves no
//! request half done.
//!
//! Several clients post items, delete them, judge, learn and promote, each in its own lane of ids,
//! and note what was acknowledged. The service is killed and started again. It must then hold what
//! was acknowledged, and of the one request of each lane that was under way all or nothing.
//!
//! `AFFINIS_KILLS` says how many kills (6), `AFFINIS_SEED` from which seed (1):
//! `AFFINIS_KILLS=200 cargo test --workspace --features full --test service_kills -- --nocapture`
#![cfg(feature = "serve")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use affinis_testkit::{Random, setting};
use serde_json::{Value, json};

/// The number of lanes that write items and judgements; one more learns.
const LANES: usize = 3;
/// The number of batches that a lane keeps before it deletes more than it adds.
const MOST_BATCHES: usize = 12;

/// A running `affinis serve`, killed at the latest when this is dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    /// Starts the program; `None` where it was killed, `after` that time, before it listened.
    fn start(home: &Path, after: Option<Duration>) -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_affinis"))
            .current_dir(home)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stderr = BufReader::new(child.stderr.take().expect("its errors"));
        if let Some(after) = after {
            std::thread::sleep(after);
            child.kill().expect("killed");
        }
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        // The log is read on, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let address = line.trim().strip_prefix("listening on http://");
        match (address, after) {
            (Some(address), None) => Some(Self {
                child,
                address: address.to_owned(),
            }),
            (_, Some(_)) => {
                child.wait().expect("it ended");
                None
            }
            (None, None) => panic!("the service does not begin: {line}"),
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ended");
    }

    fn client(&self) -> Client<'_> {
        Client {
            address: &self.address,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the service, each time on a connection of its own.
#[derive(Clone, Copy)]
struct Client<'a> {
    address: &'a str,
}

struct Answer {
    status: u16,
    replayed: bool,
    body: Value,
}

impl Client<'_> {
    fn send(self, call: &str, key: Option<&str>, body: &Value) -> Option<TcpStream> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let key = key.map_or_else(String::new, |key| format!("idempotency-key: {key}\r\n"));
        let request = format!(
            "{call} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{key}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut connection = TcpStream::connect(self.address).ok()?;
        let patience = Some(Duration::from_mins(1));
        connection.set_read_timeout(patience).expect("set");
        connection.write_all(request.as_bytes()).ok()?;
        Some(connection)
    }

    /// The answer; `None` where no whole one came.
    fn ask(self, call: &str, key: Option<&str>, body: &Value) -> Option<Answer> {
        let mut answer = String::new();
        let mut connection = self.send(call, key, body)?;
        connection.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| {
            let length = line.to_ascii_lowercase();
            length.strip_prefix("content-length:")?.trim().parse().ok()
        });
        // The kill may have come within the answer.
        if length != Some(body.len()) {
            return None;
        }
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().expect("a status"),
            replayed: head.contains("idempotency-replayed: true"),
            body: serde_json::from_str(body).expect(body),
        })
    }

    /// The answer to a request that must succeed.
    fn get(self, path: &str) -> Value {
        let answer = self.ask(&format!("GET {path}"), None, &Value::Null);
        let answer = answer.unwrap_or_else(|| panic!("{path} is not answered"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }
}

/// What a lane asks of the service.
#[derive(Debug, Clone)]
enum Op {
    /// Adds a batch of so many items, or replaces it, with a revision.
    Put(u64, usize, u64),
    /// Deletes a batch.
    Delete(u64),
    /// Gives so many judgements, under a name that nobody used before.
    Judge(String, usize),
}

/// What a lane was told is stored.
#[derive(Default)]
struct Lane {
    /// Size and revision of each batch.
    batches: BTreeMap<u64, (usize, u64)>,
    /// Number of judgements of each name.
    judged: BTreeMap<String, usize>,
    /// Numbers batches, revisions, names and keys.
    next: u64,
    under_way: Option<Op>,
}

fn id(lane: usize, batch: u64, at: usize) -> String {
    format!("w{lane}-{batch}-{at}")
}

/// The vector of an item, which no other has.
fn vector(lane: usize, batch: u64, at: usize) -> [f32; 4] {
    [lane as f32, batch as f32, at as f32, 1.0]
}

impl Lane {
    fn operation(&mut self, lane: usize, random: &mut Random) -> Op {
        self.next += 1;
        let known: Vec<u64> = self.batches.keys().copied().collect();
        let one = (!known.is_empty()).then(|| known[random.below(known.len().max(1))]);
        match (random.below(10), one) {
            (0..=1, Some(batch)) => Op::Put(batch, self.batches[&batch].0, self.next),
            (2..=3, Some(batch)) => Op::Delete(batch),
            (4..=7, Some(batch)) if known.len() >= MOST_BATCHES => Op::Delete(batch),
            (4..=5, Some(_)) => Op::Judge(format!("u{lane}-{}", self.next), 1 + random.below(6)),
            _ => Op::Put(self.next, 2 + random.below(40), self.next),
        }
    }

    fn done(&mut self, op: &Op) {
        match op {
            Op::Put(batch, size, revision) => {
                self.batches.insert(*batch, (*size, *revision));
            }
            Op::Delete(batch) => {
                self.batches.remove(batch);
            }
            Op::Judge(name, count) => {
                self.judged.insert(name.clone(), *count);
            }
        }
    }

    fn request(&self, lane: usize, op: &Op) -> (&'static str, Value) {
        match op {
            Op::Put(batch, size, revision) => {
                let items = (0..*size).map(|at| {
                    json!({"id": id(lane, *batch, at), "vector": vector(lane, *batch, at),
                        "meta": {"revision": revision}})
                });
                (
                    "POST /v1/collections/main/items",
                    json!({"items": items.collect::<Vec<_>>()}),
                )
            }
            Op::Delete(batch) => {
                let (size, _) = self.batches[batch];
                let ids: Vec<String> = (0..size).map(|at| id(lane, *batch, at)).collect();
                ("POST /v1/collections/main/delete", json!({"ids": ids}))
            }
            Op::Judge(name, count) => {
                let mut known = self.batches.iter().cycle();
                let judgements = (0..*count).map(|at| {
                    let (batch, (size, _)) = known.next().expect("a batch");
                    json!({"query_id": id(lane, *batch, 0), "item": id(lane, *batch, size - 1),
                        "relevant": at % 2 == 0, "user": name})
                });
                (
                    "POST /v1/collections/main/judgements",
                    json!({"judgements": judgements.collect::<Vec<_>>()}),
                )
            }
        }
    }

    /// Asks until the service is gone.
    fn work(&mut self, lane: usize, client: Client<'_>, random: &mut Random, acks: &AtomicU64) {
        loop {
            let op = self.operation(lane, random);
            let (call, body) = self.request(lane, &op);
            self.under_way = Some(op.clone());
            let key = format!("{lane}-{}", self.next);
            // One in four clients hangs up, and sends the same again.
            if random.below(4) == 0 {
                drop(client.send(call, Some(&key), &body));
            }
            let answer = loop {
                match client.ask(call, Some(&key), &body) {
                    None => return,
                    // The first one is still being answered.
                    Some(answer) if answer.status == 409 => {}
                    Some(answer) => break answer,
                }
            };
            assert_eq!(answer.status, 200, "{op:?}: {}", answer.body);
            self.done(&op);
            self.under_way = None;
            acks.fetch_add(1, Ordering::Relaxed);
            if random.below(4) == 0 {
                let Some(again) = client.ask(call, Some(&key), &body) else {
                    return;
                };
                assert!(again.replayed && again.body == answer.body, "{op:?}");
            }
        }
    }

    /// Checks what a kill left of the lane, and takes it over.
    fn check(&mut self, lane: usize, found: &Found, context: &str) {
        let under_way = self.under_way.take();
        let context = format!("{context}, lane {lane}, under way {under_way:?}");
        if let Some(op) = under_way {
            let is_done = match &op {
                Op::Put(batch, size, revision) => {
                    found.batch(lane, *batch) == Some((*size, *revision))
                }
                Op::Delete(batch) => found.batch(lane, *batch).is_none(),
                Op::Judge(name, count) => found.judged.get(name) == Some(count),
            };
            if is_done {
                self.done(&op);
            }
        }
        for (batch, state) in &self.batches {
            assert_eq!(
                found.batch(lane, *batch),
                Some(*state),
                "{context}: batch {batch}"
            );
        }
        let (batches, judged) = found.of_lane(lane);
        assert_eq!(
            batches,
            self.batches.keys().copied().collect(),
            "{context}: batches"
        );
        assert_eq!(judged, self.judged, "{context}: judgements");
    }
}

/// What the service holds.
#[derive(Default)]
struct Found {
    /// The items of each batch of each lane, with their revisions.
    items: BTreeMap<(usize, u64), BTreeMap<usize, u64>>,
    judged: BTreeMap<String, usize>,
    /// Parent of each version.
    versions: BTreeMap<u64, u64>,
    active: u64,
}

impl Found {
    fn read(client: Client<'_>) -> Self {
        let mut found = Self::default();
        let number = |text: Option<&str>| text.expect("a part").parse::<u64>().expect("a number");
        let path = "/v1/collections/main/items?limit=10000&vector=false";
        for item in client.get(path)["items"].as_array().expect("items") {
            let id = item["id"].as_str().expect("an id");
            let mut parts = id.strip_prefix('w').expect(id).split('-');
            let lane = number(parts.next()) as usize;
            let batch = number(parts.next());
            let at = number(parts.next()) as usize;
            let revision = item["meta"]["revision"].as_u64().expect("a revision");
            let items = found.items.entry((lane, batch)).or_default();
            items.insert(at, revision);
        }
        let mut after: Option<u64> = None;
        loop {
            let after_last = after.map_or_else(String::new, |after| format!("&after={after}"));
            let path = format!("/v1/collections/main/judgements?limit=10000{after_last}");
            let page = client.get(&path);
            for judgement in page["judgements"].as_array().expect("judgements") {
                let user = judgement["user"].as_str().expect("a user").to_owned();
                *found.judged.entry(user).or_default() += 1;
            }
            match page["next"].as_u64() {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let versions = client.get("/v1/collections/main/metrics");
        for version in versions["metrics"].as_array().expect("versions") {
            let number = version["version"].as_u64().expect("a number");
            found
                .versions
                .insert(number, version["parent"].as_u64().unwrap_or_default());
            if version["active"] == true {
                found.active = number;
            }
        }
        found
    }

    /// Size and revision of a whole batch; `None` where nothing of it is there. A batch of two
    /// revisions or with gaps has the size 0.
    fn batch(&self, lane: usize, batch: u64) -> Option<(usize, u64)> {
        let items = self.items.get(&(lane, batch))?;
        let revisions: BTreeSet<u64> = items.values().copied().collect();
        let is_whole = items.keys().copied().eq(0..items.len()) && revisions.len() == 1;
        Some((
            if is_whole { items.len() } else { 0 },
            *revisions.first().expect("an item"),
        ))
    }

    fn of_lane(&self, lane: usize) -> (BTreeSet<u64>, BTreeMap<String, usize>) {
        let batches = self.items.keys().filter(|(of, _)| *of == lane);
        let prefix = format!("u{lane}-");
        let judged = self
            .judged
            .iter()
            .filter(|(user, _)| user.starts_with(&prefix));
        (
            batches.map(|(_, batch)| *batch).collect(),
            judged.map(|(user, count)| (user.clone(), *count)).collect(),
        )
    }
}

/// What the lane that learns asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Learn {
    Refit,
    Import,
    Promote(u64),
    Rollback,
}

/// What that lane was told.
#[derive(Default)]
struct Learner {
    versions: BTreeSet<u64>,
    active: u64,
    next: u64,
    under_way: Option<Learn>,
}

impl Learner {
    /// Asks until the service is gone.
    fn work(&mut self, client: Client<'_>, random: &mut Random, acks: &AtomicU64) {
        loop {
            let versions: Vec<u64> = self.versions.iter().copied().collect();
            let op = match random.below(6) {
                0..=1 => Learn::Refit,
                2 => Learn::Import,
                3..=4 if !versions.is_empty() => {
                    Learn::Promote(versions[random.below(versions.len())])
                }
                _ => Learn::Rollback,
            };
            self.under_way = Some(op);
            if self.run(op, client, random).is_none() {
                return;
            }
            self.under_way = None;
            acks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `None` where the service is gone.
    fn run(&mut self, op: Learn, client: Client<'_>, random: &mut Random) -> Option<()> {
        const METRICS: &str = "POST /v1/collections/main/metrics";
        self.next += 1;
        let key = format!("learn-{}", self.next);
        match op {
            Learn::Import => {
                let matrix: Vec<Vec<f64>> = (0..4)
                    .map(|row| {
                        (0..4)
                            .map(|column| {
                                f64::from(u8::from(row == column)) * (1.0 + f64::from(row))
                            })
                            .collect()
                    })
                    .collect();
                let call = format!("{METRICS}/import");
                let answer = client.ask(&call, Some(&key), &json!({"matrix": matrix}))?;
                assert_eq!(answer.status, 201, "{}", answer.body);
                let version = answer.body["version"].as_u64().expect("a version");
                assert!(self.versions.insert(version), "{version} was given before");
            }
            Learn::Promote(version) => {
                let call = format!("{METRICS}/{version}/promote");
                let answer = client.ask(&call, Some(&key), &Value::Null)?;
                assert_eq!(answer.status, 200, "{}", answer.body);
                self.active = version;
            }
            Learn::Rollback => {
                let call = format!("{METRICS}/rollback");
                let answer = client.ask(&call, Some(&key), &json!({}))?;
                match answer.status {
                    200 => self.active = answer.body["active"].as_u64().expect("a version"),
                    // There is nothing to go back to.
                    status => assert_eq!((status, self.active), (409, 0), "{}", answer.body),
                }
            }
            Learn::Refit => {
                // With other settings each time, since what was learned already is not stored again.
                let body = json!({"force": true, "seed": random.next() >> 12,
                    "half_life_days": 30 + random.below(10_000)});
                let begun = client.ask("POST /v1/collections/main/refit", Some(&key), &body)?;
                assert_eq!(begun.status, 202, "{}", begun.body);
                let job = begun.body["job"].as_str().expect("a job").to_owned();
                loop {
                    let path = format!("GET /v1/jobs/{job}");
                    let job = client.ask(&path, None, &Value::Null)?.body;
                    match job["state"].as_str() {
                        Some("running") => std::thread::sleep(Duration::from_millis(5)),
                        Some("done") => {
                            if let Some(version) = job["result"]["version"].as_u64() {
                                assert!(self.versions.insert(version), "{job}");
                                if job["result"]["promoted"] == true {
                                    self.active = version;
                                }
                            }
                            break;
                        }
                        // Too few judgements of items that are there.
                        _ => {
                            let kind = job["error"]["type"].as_str().unwrap_or_default();
                            assert!(
                                ["urn:affinis:invalid-input", "urn:affinis:conflict"]
                                    .contains(&kind),
                                "{job}"
                            );
                            break;
                        }
                    }
                }
            }
        }
        Some(())
    }

    fn check(&mut self, found: &Found, context: &str) {
        let under_way = self.under_way.take();
        let context = format!("{context}, under way {under_way:?}");
        let held: BTreeSet<u64> = found.versions.keys().copied().filter(|v| *v > 0).collect();
        let lost: Vec<_> = self.versions.difference(&held).collect();
        assert!(lost.is_empty(), "{context}: versions {lost:?} are lost");
        let new: Vec<u64> = held.difference(&self.versions).copied().collect();
        let may_be_new = matches!(under_way, Some(Learn::Refit | Learn::Import));
        assert!(
            new.len() <= usize::from(may_be_new),
            "{context}: versions {new:?} came"
        );
        let mut allowed = vec![self.active];
        match under_way {
            Some(Learn::Promote(version)) => allowed.push(version),
            Some(Learn::Rollback) => allowed.extend(found.versions.get(&self.active)),
            Some(Learn::Refit) => allowed.extend(&new),
            _ => {}
        }
        assert!(
            allowed.contains(&found.active),
            "{context}: {} is active, not one of {allowed:?}",
            found.active
        );
        self.versions = held;
        self.active = found.active;
    }
}

/// Checks that what is stored is sound, and that searches find what is stored.
fn is_sound(client: Client<'_>, lanes: &[Lane], context: &str) {
    let begun = client.ask("POST /v1/verify", None, &Value::Null);
    let job = begun.expect("an answer").body["job"].clone();
    let path = format!("/v1/jobs/{}", job.as_str().expect("a job"));
    let verified = loop {
        let job = client.get(&path);
        if job["state"] != "running" {
            break job;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(
        verified["result"]["problems"],
        json!([]),
        "{context}: {verified}"
    );
    for (lane, state) in lanes.iter().enumerate() {
        let Some((batch, (size, _))) = state.batches.last_key_value() else {
            continue;
        };
        let body = json!({"vector": vector(lane, *batch, size - 1), "k": 1, "metric": "euclidean"});
        let answer = client.ask("POST /v1/collections/main/search", None, &body);
        let hits = answer.expect("an answer").body;
        assert_eq!(
            hits["hits"][0]["id"],
            id(lane, *batch, size - 1),
            "{context}"
        );
    }
}

#[test]
fn a_killed_service_loses_nothing_acknowledged_and_leaves_no_request_half_done() {
    let (kills, seed) = (setting("AFFINIS_KILLS", 6), setting("AFFINIS_SEED", 1));
    let home = tempfile::tempdir().expect("a directory");
    let mut random = Random(seed ^ 0xbeef);
    let mut lanes: Vec<Lane> = (0..LANES).map(|_| Lane::default()).collect();
    let mut learner = Learner::default();
    let (acks, mut torn, started) = (AtomicU64::new(0), 0, Instant::now());
    let mut serving = Serving::start(home.path(), None).expect("it listens");
    let made = serving
        .client()
        .ask("PUT /v1/collections/main", None, &json!({"dim": 4}));
    assert_eq!(made.expect("an answer").status, 201);
    for kill in 0..kills {
        let context = format!("seed {seed}, kill {kill}");
        // The kill comes after so many acknowledgements, and at no certain moment after that.
        let last = acks.load(Ordering::Relaxed) + random.next() % 60;
        let wait = Duration::from_micros(random.next() % [300, 5_000, 50_000][random.below(3)]);
        let seeds: Vec<u64> = (0..=LANES).map(|_| random.next()).collect();
        let client = Client {
            address: &serving.address.clone(),
        };
        std::thread::scope(|scope| {
            let acks = &acks;
            for (at, lane) in lanes.iter_mut().enumerate() {
                let mut random = Random(seeds[at]);
                scope.spawn(move || lane.work(at, client, &mut random, acks));
            }
            let (learner, mut random) = (&mut learner, Random(seeds[LANES]));
            scope.spawn(move || learner.work(client, &mut random, acks));
            let until = Instant::now() + Duration::from_mins(2);
            while acks.load(Ordering::Relaxed) < last && Instant::now() < until {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(wait);
            serving.kill();
        });
        assert!(
            acks.load(Ordering::Relaxed) >= last,
            "{context}: the service answers no more"
        );
        torn += lanes.iter().filter(|lane| lane.under_way.is_some()).count();
        // One in four is killed again while it opens the store.
        if random.below(4) == 0 {
            let after = Duration::from_micros(random.next() % 60_000);
            Serving::start(home.path(), Some(after));
        }
        serving = Serving::start(home.path(), None).expect("it listens");
        let found = Found::read(serving.client());
        for (at, lane) in lanes.iter_mut().enumerate() {
            lane.check(at, &found, &context);
        }
        learner.check(&found, &context);
        is_sound(serving.client(), &lanes, &context);
    }
    println!(
        "{kills} kills survived, {torn} requests under way; {} acknowledged, none lost; {} versions; {:.0} s",
        acks.load(Ordering::Relaxed),
        learner.versions.len(),
        started.elapsed().as_secs_f64()
    );
}
