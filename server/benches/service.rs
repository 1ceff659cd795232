//! What the service costs beside the crate's own search: CPU a request, memory, and the slowest
//! searches while it learns, imports and optimizes.
//!
//! `cargo bench -p affinis-server --bench service`; without `--bench`, as `cargo test` runs it, over a
//! few items and once. The store is opened by a process of its own (this program again), whose CPU
//! time and memory the system tells.
#![allow(clippy::cast_precision_loss, reason = "figures")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use affinis::{Collection, Item, Judgement, Query, Store};
use affinis_server::{Service, Settings};
use affinis_testkit::Random;
use affinis_testkit::stores::builder;
use serde_json::{Value, json};

const DIM: usize = 100;
const K: usize = 10;
const CONNECTIONS: usize = 16;
const CENTRES: usize = 200;

/// How much is measured.
struct Sizes {
    items: usize,
    searches: usize,
    imported: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes = if arguments.iter().any(|argument| argument == "--bench") {
        Sizes {
            items: 100_000,
            searches: 40_000,
            imported: 100_000,
        }
    } else {
        Sizes {
            items: 1_000,
            searches: 200,
            imported: 1_000,
        }
    };
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["own", dir, searches] => own(Path::new(dir), searches.parse().expect("a number")),
        ["serve", dir] => serve(Path::new(dir)),
        _ => measure(&sizes),
    }
}

fn open(dir: &Path) -> Store {
    builder().open(dir).expect("the store opens")
}

/// Points around centres, the same each time.
fn point(number: usize) -> Vec<f32> {
    let mut centre = Random((number % CENTRES) as u64);
    let mut own = Random(number as u64 ^ 0xabcd_ef01);
    let centre = centre.vector(DIM);
    let own = own.vector(DIM);
    centre.iter().zip(&own).map(|(c, o)| c + 0.6 * o).collect()
}

/// Points that no item is.
fn question(number: usize) -> Vec<f32> {
    point(number + 100_000_000)
}

fn fill(dir: &Path, items: usize) {
    let store = open(dir);
    let points = store.collection("points").dim(DIM).create().expect("new");
    for from in (0..items).step_by(10_000) {
        let numbers = from..items.min(from + 10_000);
        let batch = numbers.map(|at| Item::vector(at.to_string(), point(at)));
        points.add(batch).expect("added");
    }
    // Of the same centre is relevant.
    let judged = (0..400).map(|at| {
        let query = Query::like((at % 50).to_string());
        let same = (at % 50) + CENTRES * (1 + at / 100);
        if at % 2 == 0 {
            Judgement::relevant(query, (same % items).to_string())
        } else {
            Judgement::irrelevant(query, ((same + 7) % items).to_string())
        }
    });
    points.judge_all(judged).expect("judged");
    points.optimize().expect("optimized");
}

/// CPU time of a process in seconds, and its private memory in MiB, as Linux tells them.
fn usage(process: &str) -> (f64, f64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}"));
    let stat = read("stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    let status = read("status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    // Linux counts a hundred ticks a second wherever Rust runs.
    (
        ticks as f64 / 100.0,
        kib.unwrap_or_default() as f64 / 1024.0,
    )
}

fn searches(points: &Collection, count: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let search = points.search(question(at)).k(K);
                    let hits = search.include_text().include_meta().run();
                    assert_eq!(hits.expect("answered").len(), K);
                }
            });
        }
    });
}

/// The process that searches by the crate: prints the memory when idle, and the CPU of a search.
fn own(dir: &Path, count: usize) {
    let store = open(dir);
    let points = store.collection("points").open().expect("opened");
    searches(&points, 50);
    std::thread::sleep(Duration::from_millis(500));
    let (_, idle) = usage("self");
    // What making the questions costs is not of the search.
    let (begun, _) = usage("self");
    (0..count).for_each(|at| drop(std::hint::black_box(question(at))));
    let (made, _) = usage("self");
    searches(&points, count);
    let (ended, _) = usage("self");
    println!("{idle} {}", (ended - made) - (made - begun));
}

/// The process that serves.
fn serve(dir: &Path) {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let settings = Settings {
        listen,
        ..Settings::default()
    };
    // The log is written as `affinis serve` writes it, a line a request.
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::INFO)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let service = Service::bind(open(dir), settings).expect("bound");
    println!("{}", service.address());
    service.run().expect("served");
}

struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(dir: &Path) -> Self {
        let mut child = this(&["serve", &dir.to_string_lossy()])
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out)
            .read_line(&mut line)
            .expect("an address");
        Self {
            child,
            address: line.trim().to_owned(),
        }
    }

    fn usage(&self) -> (f64, f64) {
        usage(&self.child.id().to_string())
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_nodelay(true).expect("set");
        Client(BufReader::new(stream))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn this(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(arguments).stdout(Stdio::piped());
    command
}

/// A connection that is kept.
struct Client(BufReader<TcpStream>);

impl Client {
    fn ask(&mut self, call: &str, body: &str) -> Vec<u8> {
        let request = format!(
            "{call} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0
            .get_mut()
            .write_all(request.as_bytes())
            .expect("sent");
        let (mut length, mut line) = (0, String::new());
        let mut status = String::new();
        loop {
            line.clear();
            let read = self.0.read_line(&mut line).expect("a line");
            assert_ne!(read, 0, "{call}: the connection was closed");
            if status.is_empty() {
                status.clone_from(&line);
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        assert!(
            status.starts_with("HTTP/1.1 2"),
            "{call}: {status}{}",
            String::from_utf8_lossy(&body)
        );
        body
    }

    fn json(&mut self, call: &str, body: &Value) -> Value {
        let answer = self.ask(call, &body.to_string());
        serde_json::from_slice(&answer).expect("JSON")
    }
}

const SEARCH: &str = "POST /v1/collections/points/search";

fn search_body(number: usize) -> String {
    json!({"vector": question(number), "k": K}).to_string()
}

/// Asks from 16 connections. Returns the time of each request in milliseconds, sorted.
fn asked(serving: &Serving, count: usize, is_over: impl Fn() -> bool + Sync) -> Vec<f64> {
    let next = AtomicUsize::new(0);
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut times) = (serving.client(), Vec::new());
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= count || is_over() {
                            return times;
                        }
                        let body = search_body(at);
                        let begun = Instant::now();
                        client.ask(SEARCH, &body);
                        times.push(begun.elapsed().as_secs_f64() * 1e3);
                    }
                })
            })
            .collect();
        let times = threads.into_iter().map(|t| t.join().expect("no panic"));
        times.flatten().collect()
    });
    times.sort_by(f64::total_cmp);
    times
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Searches from one connection, one every 5 ms, until it is over.
fn paced(serving: &Serving, is_over: &AtomicBool) -> Vec<f64> {
    let (mut client, mut times) = (serving.client(), Vec::new());
    for at in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let body = search_body(at);
        let begun = Instant::now();
        client.ask(SEARCH, &body);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Waits for a job, by a connection of its own: one that stood still meanwhile is closed.
fn wait(serving: &Serving, begun: &Value) -> Value {
    let mut client = serving.client();
    let call = format!("GET /v1/jobs/{}", begun["job"].as_str().expect("a job"));
    loop {
        let job = client.json(&call, &Value::Null);
        if job["state"] != "running" {
            assert_eq!(job["state"], "done", "{job}");
            return job;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn measure(sizes: &Sizes) {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("store");
    fill(&dir, sizes.items);
    let count = sizes.searches;
    println!(
        "{} points x {DIM}, k {K}, {CONNECTIONS} threads or connections",
        sizes.items
    );

    let output = this(&["own", &dir.to_string_lossy(), &count.to_string()])
        .output()
        .expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<f64> = text
        .split_whitespace()
        .map(|f| f.parse().expect("a number"))
        .collect();
    let [own_memory, own_seconds] = figures[..] else {
        panic!("{text}");
    };
    let own_micros = own_seconds * 1e6 / count as f64;

    let serving = Serving::start(&dir);
    asked(&serving, 50, || false);
    std::thread::sleep(Duration::from_millis(500));
    let (_, memory) = serving.usage();
    let (begun, _) = serving.usage();
    let clock = Instant::now();
    let times = asked(&serving, count, || false);
    let rate = count as f64 / clock.elapsed().as_secs_f64();
    let (ended, _) = serving.usage();
    let micros = (ended - begun) * 1e6 / count as f64;
    println!(
        "CPU a search: {own_micros:.0} us by the crate, {micros:.0} us by the service, {:.0} us more",
        micros - own_micros
    );
    println!(
        "{rate:.0} searches a second; p50 {:.1} ms, p99 {:.1} ms",
        quantile(&times, 0.5),
        quantile(&times, 0.99)
    );
    println!(
        "memory when idle: {own_memory:.1} MiB by the crate, {memory:.1} MiB by the service, {:.1} MiB more",
        memory - own_memory
    );

    let is_over = AtomicBool::new(false);
    let clock = Instant::now();
    let alone = std::thread::scope(|scope| {
        let paced = scope.spawn(|| paced(&serving, &is_over));
        std::thread::sleep(Duration::from_secs(if count < 1_000 { 1 } else { 10 }));
        is_over.store(true, Ordering::Relaxed);
        paced.join().expect("no panic")
    });
    is_over.store(false, Ordering::Relaxed);
    let times = std::thread::scope(|scope| {
        let times = scope.spawn(|| paced(&serving, &is_over));
        let mut client = serving.client();
        let begun = client.json("POST /v1/collections/points/refit", &json!({"force": true}));
        let optimized = client.json("POST /v1/collections/points/optimize", &Value::Null);
        let mut importer = serving.client();
        for from in (0..sizes.imported).step_by(1_000) {
            let numbers = from..sizes.imported.min(from + 1_000);
            let items: Vec<Value> = numbers
                .map(|at| json!({"id": format!("new{at}"), "vector": point(at + 10_000_000)}))
                .collect();
            importer.json(
                "POST /v1/collections/points/items",
                &json!({"items": items}),
            );
        }
        wait(&serving, &begun);
        wait(&serving, &optimized);
        is_over.store(true, Ordering::Relaxed);
        times.join().expect("no panic")
    });
    for (what, times) in [
        ("nothing else", &alone),
        ("a refit, an import and optimize", &times),
    ] {
        println!(
            "{} searches, one every 5 ms, beside {what}: p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
            times.len(),
            quantile(times, 0.5),
            quantile(times, 0.99),
            times.last().copied().unwrap_or(f64::NAN)
        );
    }
    println!("{:.0} s for these", clock.elapsed().as_secs_f64());
}
