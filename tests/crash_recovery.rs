//! A process killed at a random moment loses nothing that was acknowledged.
//!
//! A child (this test program again) does random operations and prints to a pipe when each begins
//! and when it is acknowledged. The parent applies them to a model and kills the child. The store,
//! opened again, must then hold the contents of the model, or those after the one operation that
//! was under way.
//!
//! `AFFINIS_KILLS` says how many kills (12), `AFFINIS_SEED` from which seed (1):
//! `AFFINIS_KILLS=200 cargo test --workspace --test crash_recovery -- --nocapture`

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use affinis::Store;
use affinis_testkit::crash::{Model, Op, after_a_kill, model_of, work};
use affinis_testkit::stores::builder;
use affinis_testkit::{Random, setting};

/// A line that the child prints: an operation begins, or is acknowledged with these words.
enum Line {
    Begin(u64),
    Done(u64, Vec<String>),
}

struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(dir: &Path, seed: u64, from: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "child",
                "--ignored",
                "--nocapture",
                "--test-threads",
                "1",
            ])
            .env("AFFINIS_CRASH_DIR", dir)
            .env("AFFINIS_SEED", seed.to_string())
            .env("AFFINIS_FROM", from.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Option<Line> {
        loop {
            let line = self.lines.next()?.expect("the pipe can be read");
            // The test harness prints to the same pipe, and the last line may be cut off.
            let Some((_, text)) = line.split_once('@') else {
                continue;
            };
            let mut words = text.split(' ').map(str::to_owned);
            let kind = words.next();
            let number = words.next().and_then(|n| n.parse().ok());
            let words: Vec<String> = words.collect();
            match (kind.as_deref(), number, words.last().map(String::as_str)) {
                (Some("begin"), Some(number), Some(".")) => return Some(Line::Begin(number)),
                (Some("done"), Some(number), Some(".")) => return Some(Line::Done(number, words)),
                _ => {}
            }
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_acknowledged_and_leaves_no_operation_half_done() {
    let (kills, seed) = (setting("AFFINIS_KILLS", 12), setting("AFFINIS_SEED", 1));
    let home = tempfile::tempdir().expect("a temporary directory");
    let dir = home.path();
    let mut random = Random(seed ^ 0xdead);
    let mut model = Model::default();
    // A reader in this process, which lives through all kills, sees what is there after each, and
    // something whole while the child writes.
    let mut reader: Option<Store> = None;
    let (mut next, mut acknowledged, mut torn, started) = (0_u64, 0_u64, 0_u64, Instant::now());
    for kill in 0..kills {
        let mut worker = Worker::start(dir, seed, next);
        // One child in four is killed while it opens the store, or soon after.
        let opening = random.below(4) == 0;
        let last = if opening { 0 } else { 1 + random.below(25) };
        let wait = Duration::from_micros(random.next() % [300, 3_000, 20_000][random.below(3)]);
        let mut under_way: Option<Op> = None;
        let mut begun = 0;
        if opening {
            std::thread::sleep(Duration::from_micros(random.next() % 30_000));
            worker.child.kill().expect("killed");
        }
        while let Some(line) = worker.next() {
            match line {
                Line::Begin(number) => {
                    assert_eq!(
                        number, next,
                        "kill {kill}: the child does another operation than the model"
                    );
                    under_way = Some(model.operation(seed, number));
                    next = number + 1;
                    begun += 1;
                    if begun == last {
                        std::thread::sleep(wait);
                        worker.child.kill().expect("killed");
                    }
                }
                Line::Done(number, words) => {
                    let op = under_way
                        .take()
                        .unwrap_or_else(|| panic!("{number} was done and never begun"));
                    model.done(&op, &words);
                    acknowledged += 1;
                    if let Some(reader) = reader.as_ref().filter(|_| random.below(4) == 0) {
                        reader.refresh().expect("refreshed");
                        model_of(reader);
                    }
                }
            }
        }
        let status = worker.child.wait().expect("the child ended");
        assert!(
            begun >= last,
            "kill {kill}: the child ended by itself ({status}), seed {seed}, operation {next}"
        );
        torn += u64::from(under_way.is_some());
        let context = format!(
            "seed {seed}, kill {kill}, operation {} {under_way:?}",
            next.saturating_sub(1)
        );
        let seen = reader.as_ref().map(|reader| {
            let refreshed = reader.refresh();
            refreshed.unwrap_or_else(|error| panic!("{context}: {error}"));
            model_of(reader)
        });
        let before = model;
        model = after_a_kill(dir, &before, under_way.as_ref(), &context);
        if let Some(seen) = seen {
            // The last commit may be whole in the database before it is seen.
            assert!(
                [&before, &model]
                    .iter()
                    .any(|model| model.is_seen_as(&seen, under_way.as_ref())),
                "{context}: the reader sees {seen:?}"
            );
        }
        if reader.is_none() {
            let opened = builder().read_only(true).open(dir.join("store"));
            reader = Some(opened.unwrap_or_else(|error| panic!("{context}: {error}")));
        }
    }
    let (items, judgements, versions) = model.counts();
    println!(
        "{kills} kills survived, {torn} of them in the middle of an operation; {acknowledged} operations acknowledged, \
         none lost; {items} items, {judgements} judgements, {versions} versions at the end; {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "started by the other test"]
fn child() {
    let Some(dir) = std::env::var_os("AFFINIS_CRASH_DIR") else {
        return;
    };
    work(
        Path::new(&dir),
        setting("AFFINIS_SEED", 1),
        setting("AFFINIS_FROM", 0),
    );
}
