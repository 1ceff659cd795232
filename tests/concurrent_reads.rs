//! Reads during writes of every kind: each answer is right for one snapshot between its start and
//! its end.
//!
//! `AFFINIS_SECONDS` says for how long (2), and prints the waits of searches:
//! `AFFINIS_SECONDS=60 cargo test --workspace --release --test concurrent_reads -- --nocapture`

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use affinis::{Collection, Filter, Item, Judgement, MetricChoice, Query, VersionId};

use affinis_testkit::stores::builder;
use affinis_testkit::{Random, setting};

const DIM: usize = 8;
/// The number of items that are written and deleted together: an answer holds all of a group, of
/// one age, or none.
const GROUP: usize = 5;
const GROUPS: usize = 40;

/// The items of a group, whose vectors encode the group and its age.
fn group(group: usize, age: usize) -> Vec<Item> {
    let vector = |i: usize| {
        let mut vector = vec![0.0; DIM];
        (vector[0], vector[1], vector[2]) = (group as f32, age as f32 / 64.0, i as f32 / 1024.0);
        vector
    };
    (0..GROUP)
        .map(|i| Item::vector(format!("g{group}-{i}"), vector(i)))
        .collect()
}

/// Searches once and checks that the answer is of one snapshot: whole groups, each of one age,
/// sorted, each id once. Returns the time that the search took.
fn search_once(main: &Collection, ages: &[AtomicU64], choice: MetricChoice) -> Duration {
    let oldest: Vec<u64> = ages.iter().map(|age| age.load(Ordering::SeqCst)).collect();
    let started = Instant::now();
    let hits = main
        .search(vec![0.0; DIM])
        .k(GROUPS * GROUP + 10)
        .recall(1.0)
        .metric(choice)
        .memory(false)
        .run()
        .expect("answered");
    let took = started.elapsed();
    let mut groups = vec![Vec::new(); GROUPS];
    let mut seen = std::collections::BTreeSet::new();
    for pair in hits.windows(2) {
        assert!(pair[0].distance <= pair[1].distance, "out of order");
    }
    for hit in &hits {
        assert!(seen.insert(hit.id.clone()), "{} stands twice", hit.id);
        let (of, _) = hit.id[1..].split_once('-').expect("a group's item");
        groups[of.parse::<usize>().expect("a number")].push(hit.distance);
    }
    for (at, found) in groups.iter().enumerate() {
        assert!(
            found.is_empty() || found.len() == GROUP,
            "group {at} has {} items",
            found.len()
        );
        if hits.metric == 0 && !found.is_empty() {
            // The distance to the zero vector encodes the age.
            let square = f64::from(found[0]) - (at as f64).powi(2);
            let age = (square.max(0.0)).sqrt() * 64.0;
            let newest = ages[at].load(Ordering::SeqCst) + 1;
            assert!(
                age >= oldest[at] as f64 - 2.0 && age <= newest as f64 + 2.0,
                "group {at} is of age {age:.1}, not from {} to {newest}",
                oldest[at]
            );
        }
    }
    took
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times
        .get((times.len().saturating_sub(1) as f64 * share) as usize)
        .copied()
        .unwrap_or_default()
}

/// Ends the program with a message when the threads run for longer than `most`: a deadlock would
/// otherwise hang the test.
fn watchdog(ended: &AtomicBool, most: Duration) {
    let started = Instant::now();
    while !ended.load(Ordering::Acquire) {
        if started.elapsed() > most {
            eprintln!("the threads do not end: a deadlock");
            std::process::exit(101);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_answer_during_writes_is_of_one_snapshot() {
    let seconds = setting("AFFINIS_SECONDS", 2);
    let home = tempfile::tempdir().expect("a directory");
    let store = builder().open(home.path().join("s")).expect("opened");
    let main = store.collection("main").dim(DIM).create().expect("made");
    for at in 0..GROUPS {
        main.add(group(at, 0)).expect("added");
    }
    let judged = (0..GROUPS / 2).flat_map(|g| {
        let (a, b, c) = (
            format!("g{g}-0"),
            format!("g{g}-1"),
            format!("g{}-0", g + 15),
        );
        [
            Judgement::relevant(Query::like(&a), b),
            Judgement::irrelevant(Query::like(&a), c),
        ]
    });
    main.judge_all(judged).expect("judged");
    main.settle().expect("settled");
    let ages: Vec<AtomicU64> = (0..GROUPS).map(|_| AtomicU64::new(0)).collect();
    let mut quiet: Vec<Duration> = (0..300)
        .map(|_| search_once(&main, &ages, MetricChoice::Active))
        .collect();
    let (stop, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let busy: Mutex<Vec<Duration>> = Mutex::default();
    let (writes, refits, optimizations) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let running = || !stop.load(Ordering::Acquire);
    std::thread::scope(|scope| {
        scope.spawn(|| watchdog(&ended, Duration::from_secs(seconds * 4 + 240)));
        let workers = [
            scope.spawn(|| {
                let mut random = Random(5);
                while running() {
                    let at = random.below(GROUPS);
                    let age = ages[at].load(Ordering::SeqCst) + 1;
                    if random.below(4) == 0 {
                        let ids: Vec<String> = (0..GROUP).map(|i| format!("g{at}-{i}")).collect();
                        main.delete(&ids).expect("deleted");
                    }
                    main.add(group(at, age as usize)).expect("added");
                    ages[at].store(age, Ordering::SeqCst);
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            }),
            scope.spawn(|| {
                while running() {
                    // A refit fails while all judged groups are deleted.
                    if main.refit().force(true).run().is_ok() {
                        refits.fetch_add(1, Ordering::Relaxed);
                    }
                    main.rollback(Some(VersionId(0))).expect("rolled back");
                }
            }),
            scope.spawn(|| {
                while running() {
                    main.optimize().expect("optimized");
                    optimizations.fetch_add(1, Ordering::Relaxed);
                }
            }),
            scope.spawn(|| {
                let mut times = Vec::new();
                while running() {
                    times.push(search_once(&main, &ages, MetricChoice::Active));
                    times.push(search_once(&main, &ages, MetricChoice::BuiltIn));
                }
                busy.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(times);
            }),
        ];
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Release);
        for worker in workers {
            if let Err(panic) = worker.join() {
                ended.store(true, Ordering::Release);
                std::panic::resume_unwind(panic);
            }
        }
        ended.store(true, Ordering::Release);
    });
    let mut busy = busy.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} searches during {} writes, {} refits, {} optimizations; quiet p50 {:?} p99 {:?}, busy p50 {:?} p99 {:?}",
        busy.len(),
        writes.load(Ordering::Relaxed),
        refits.load(Ordering::Relaxed),
        optimizations.load(Ordering::Relaxed),
        percentile(&mut quiet, 0.5),
        percentile(&mut quiet, 0.99),
        percentile(&mut busy, 0.5),
        percentile(&mut busy, 0.99)
    );
    assert!(!busy.is_empty() && writes.load(Ordering::Relaxed) > 0);
    assert_eq!(store.verify().expect("verified").problems, []);
}

#[test]
fn a_search_sees_a_batch_whole_or_not_at_all() {
    let home = tempfile::tempdir().expect("a directory");
    let store = builder().open(home.path().join("s")).expect("opened");
    let points = store.collection("v").dim(3).create().expect("made");
    let batch = 10;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..40 {
                let fresh = (0..batch)
                    .map(|i| Item::vector(format!("{round}-{i}"), [round as f32, i as f32, 0.0]));
                points.add(fresh).expect("added");
                if round % 4 == 3 {
                    let gone: Vec<String> = (0..batch).map(|i| format!("{round}-{i}")).collect();
                    points.delete(&gone).expect("deleted");
                }
            }
        });
        while !writer.is_finished() {
            let hits = points
                .search(vec![0.0, 0.0, 0.0])
                .k(10_000)
                .run()
                .expect("hits");
            assert_eq!(
                hits.len() % batch,
                0,
                "{} hits are no whole number of batches",
                hits.len()
            );
        }
    });
    assert_eq!(points.len(), 300);
}

#[test]
fn an_item_is_read_whole_while_it_is_being_replaced() {
    let home = tempfile::tempdir().expect("a directory");
    let store = builder().open(home.path().join("s")).expect("opened");
    let points = store.collection("v").dim(2).create().expect("made");
    let item =
        |round: usize| Item::vector("x", [1.0, 0.0]).with_text(format!("{round} ").repeat(40_000));
    points
        .add([item(0), Item::vector("y", [0.0, 1.0])])
        .expect("added");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..150 {
                points.add([item(round)]).expect("added");
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            assert!(points.get("x").expect("sound").is_some());
            assert_eq!(points.get_many(&["y", "x"]).expect("sound").len(), 2);
            let items: Vec<Item> = points
                .items()
                .expect("ids")
                .collect::<Result<_, _>>()
                .expect("sound");
            assert_eq!(items.len(), 2);
            let hits = points
                .search(vec![1.0, 0.0])
                .k(2)
                .include_text()
                .include_meta()
                .run()
                .expect("sound");
            assert_eq!(hits.len(), 2);
            let any = Filter::parse(r#"{"n": {"$exists": false}}"#).expect("a filter");
            assert_eq!(
                points
                    .search(vec![1.0, 0.0])
                    .filter(any)
                    .run()
                    .expect("sound")
                    .len(),
                2
            );
        }
    });
}

#[test]
fn a_filter_that_names_a_field_for_the_first_time_beside_writes_misses_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let store = builder().open(home.path().join("s")).expect("opened");
    let points = store.collection("v").dim(2).create().expect("made");
    // The second value is a list, which is compared on the item's own record.
    let item = |id: &str| {
        Item::vector(id, [1.0, 0.0]).with_meta(serde_json::json!({"tags": ["a", {"b": 1}]}))
    };
    points.add([item("x"), item("y")]).expect("added");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..150 {
                points.add([item("x")]).expect("added");
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut fields = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            fields += 1;
            for filter in [
                format!(r#"{{"field{fields}": {{"$exists": false}}}}"#),
                r#"{"tags": ["a", {"b": 1}]}"#.into(),
            ] {
                let hits = points
                    .search(vec![1.0, 0.0])
                    .filter(Filter::parse(&filter).expect("a filter"))
                    .run()
                    .expect("hits");
                assert_eq!(hits.len(), 2, "{filter}");
            }
        }
    });
}
