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

mod found;
mod lanes;
mod learner;
mod serving;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use affinis_testkit::{Random, setting};
use serde_json::{Value, json};

use found::Found;
use lanes::{Lane, id, vector};
use learner::Learner;
use serving::{Client, Serving};

/// The number of lanes that write items and judgements; one more learns.
const LANES: usize = 3;

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
