//! Stores that are only read: beside a writer, without one, and across all that a writer does.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use affinis::learning::{EvalQuery, Forget, Guidelines, Refit, ScaleGrade};
use affinis::{
    AddMode, Collection, Durability, Error, Filter, Item, Judgement, Language, MetricChoice, Query,
    Store, VersionId,
};
use affinis_testkit::Random;
use affinis_testkit::stores::{
    DIM, builder, collection_contents, create_filled, files, fill, items, judgements,
    store_contents, verified_contents,
};
use ndarray::Array2;
use serde_json::json;

fn reader(path: &Path) -> Store {
    let opened = builder()
        .read_only(true)
        .refresh_every(Duration::MAX)
        .open(path);
    opened.expect("opened")
}

fn guidelines(text: &str) -> Guidelines {
    let grade = |label: &str, grade| ScaleGrade {
        label: label.to_owned(),
        grade,
    };
    Guidelines {
        text: text.to_owned(),
        scale: vec![grade("no", -1.0), grade("yes", 1.0)],
    }
}

/// Whether a reader shows what the writer does.
fn shows(reader: &Store, writer: &Store) -> bool {
    reader.refresh().expect("refreshed");
    let [seen, there] = [reader, writer].map(|store| store_contents(store).expect("read"));
    seen == there
}

/// Waits until a reader shows what the writer does, which has just been opened.
fn wait_until_it_shows(reader: &Store, writer: &Store, after: &str) {
    let begun = Instant::now();
    while !shows(reader, writer) {
        assert!(begun.elapsed() < Duration::from_mins(1), "after {after}");
    }
}

#[test]
fn a_reader_shows_every_kind_of_write_and_a_handle_never_a_mixture() {
    let home = tempfile::tempdir().expect("a directory");
    let writer = builder().open(home.path()).expect("opened");
    let main = fill(&writer).expect("filled");
    let reader = reader(home.path());
    assert!(shows(&reader, &writer));
    assert!(!reader.refresh().expect("refreshed"), "nothing was written");
    let early = reader.collection("main").open().expect("opened");
    let contents = |collection: &Collection| collection_contents(collection).expect("read");
    let mut states = vec![contents(&early)];
    let mut shown = 0;

    let steps: [(&str, &dyn Fn() -> affinis::Result<()>); 14] = [
        ("an add", &|| main.add(items(200, 7)).map(drop)),
        ("a replacement", &|| main.add(items(30, 3)).map(drop)),
        ("an update of metadata", &|| {
            let changed = Item {
                id: "p200".into(),
                meta: json!({"n": "new"}),
                ..Item::default()
            };
            main.add_as(AddMode::Update, [changed]).map(drop)
        }),
        ("a removal", &|| main.delete(&["p201", "p1"]).map(drop)),
        ("judgements", &|| {
            main.judge_all(judgements("cy", 3)).map(drop)
        }),
        ("a refit", &|| main.refit().force(true).run().map(drop)),
        ("a rollback", &|| main.rollback(None).map(drop)),
        ("guidelines", &|| {
            main.set_guidelines(&guidelines("be strict"))
        }),
        ("forgetting", &|| {
            main.forget(&Forget::User("ann".into())).map(drop)
        }),
        ("no keywords", &|| main.set_keywords(None)),
        ("keywords", &|| main.set_keywords(Some(Language::German))),
        ("optimizing", &|| main.optimize()),
        ("a new collection", &|| {
            let new = writer.collection("new").dim(3).create()?;
            new.add([Item::vector("x", [1.0, 2.0, 3.0])]).map(drop)
        }),
        ("a dropped collection", &|| writer.drop_collection("beside")),
    ];
    for (what, step) in steps {
        step().expect(what);
        assert!(shows(&reader, &writer), "after {what}");
        states.push(contents(&main));
        // An earlier handle shows a state too, and takes no step back.
        let now = contents(&early);
        let state = states.iter().rposition(|state| *state == now);
        let state = state.unwrap_or_else(|| panic!("after {what}: a mixture of states"));
        assert!(state >= shown, "after {what}: a step back");
        shown = state;
    }
    assert!(shown > 7, "an earlier handle follows no write");
    assert_eq!(reader.verify().expect("verified").problems, []);
}

#[test]
fn a_reader_survives_the_writers_end_and_what_happens_to_the_directory() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, backup) = (home.path().join("s"), home.path().join("b"));
    create_filled(&path);
    // Nobody has the store open.
    let reader = reader(&path);
    let early = reader.collection("main").open().expect("opened");
    let before = collection_contents(&early).expect("read");
    let check = |after: &str| {
        let writer = builder().open(&path).expect("opened");
        wait_until_it_shows(&reader, &writer, after);
        drop(writer);
        assert!(!reader.refresh().expect("refreshed"), "after {after}");
    };
    check("the writer came and went");
    let open = || {
        let writer = builder().open(&path).expect("opened");
        let main = writer.collection("main").open().expect("opened");
        (writer, main)
    };

    // It comes and goes before the reader looks.
    let (writer, main) = open();
    main.add(items(300, 2)).expect("added");
    let there = store_contents(&writer).expect("read");
    drop((writer, main));
    assert!(reader.refresh().expect("refreshed"));
    assert!(store_contents(&reader).expect("read") == there);

    let (writer, main) = open();
    writer.backup(&backup).expect("backed up");
    main.delete(&["p300"]).expect("deleted");
    wait_until_it_shows(&reader, &writer, "a removal");
    drop((writer, main));
    builder().compact(&path).expect("compacted");
    check("compaction");
    builder().restore(&backup, &path).expect("restored");
    check("the restoration of a backup");
    assert!(store_contents(&reader).expect("read") == there);
    assert!(collection_contents(&early).expect("read") == before);
    assert!(files(&path.join("published")).len() == 2, "leftovers");
}

#[test]
fn a_directory_that_cannot_be_written_to_is_read_and_not_changed() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    create_filled(&path);
    let there = verified_contents(&path).expect("read");
    let state = || -> Vec<(std::path::PathBuf, u64, SystemTime)> {
        let all = files(&path).into_iter().map(|file| {
            let meta = file.metadata().expect("known");
            (file, meta.len(), meta.modified().expect("known"))
        });
        all.collect()
    };
    let before = state();
    let readers: Vec<Store> = (0..3).map(|_| reader(&path)).collect();
    for reader in &readers {
        assert!(store_contents(reader).expect("read") == there);
        assert!(!reader.refresh().expect("refreshed"));
        let copy = home.path().join("copy");
        reader.backup(&copy).expect("backed up");
        let restored = home.path().join("restored");
        builder().restore(&copy, &restored).expect("whole");
        assert!(verified_contents(&restored).expect("read") == there);
        for dir in [copy, restored] {
            std::fs::remove_dir_all(dir).expect("removed");
        }
    }
    drop(readers);
    assert_eq!(state(), before);
}

#[test]
fn a_write_in_parts_is_seen_whole_or_not_at_all() {
    let home = tempfile::tempdir().expect("a directory");
    // Relaxed, so that parts are published before the write is whole.
    let writer = Store::builder().durability(Durability::Relaxed);
    let writer = writer.open(home.path()).expect("opened");
    let points = writer.collection("points").dim(4).create().expect("made");
    let other = writer.collection("other").dim(1).create().expect("made");
    let round = |round: usize| {
        (0..3000).map(move |i| {
            let item = Item::vector(format!("i{i}"), [i as f32, round as f32, 1.0, 0.0]);
            item.with_meta(json!({"round": round}))
        })
    };
    points.add(round(0)).expect("added");
    let reader = reader(home.path());
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..4 {
                points.add(round(number)).expect("added");
                other
                    .add([Item::vector(number.to_string(), [1.0])])
                    .expect("added");
            }
            is_done.store(true, Ordering::Release);
        });
        let (mut seen, mut looks) = (BTreeSet::new(), 0);
        while !is_done.load(Ordering::Acquire) || !seen.contains(&3) {
            // One that comes while the write is under way sees no part of it either.
            let late = (looks % 3 == 0).then(|| self::reader(home.path()));
            reader.refresh().expect("refreshed");
            for reader in late.iter().chain([&reader]) {
                let read = reader.collection("points").open().expect("opened");
                assert_eq!(read.len(), 3000);
                let rounds = read.facet("round", None, 10).expect("counted");
                assert_eq!(rounds.values.len(), 1, "{rounds:?}");
                let hits = read.search(vec![7.0, 3.0, 1.0, 0.0]).k(1).run();
                assert_eq!(hits.expect("answered")[0].id, "i7");
                let item = read.get("i7").expect("read").expect("there");
                let round = item.meta["round"].as_u64().expect("a number");
                let after = reader.collection("other").open().expect("opened").len();
                assert!(after as u64 <= round, "{after} and {round} are no moment");
                seen.insert(round);
            }
            looks += 1;
        }
        assert!(looks > 3);
    });
}

#[test]
fn whatever_writes_is_refused_with_the_reason() {
    let home = tempfile::tempdir().expect("a directory");
    create_filled(home.path());
    let store = reader(home.path());
    let main = store.collection("main").open().expect("opened");
    let there = store_contents(&store).expect("read");
    let matrix = Array2::<f64>::eye(DIM);
    let all = Filter::from_json(&json!({})).expect("a filter");
    let history = main.history().expect("read");
    let judgement = || Judgement::relevant(vec![0.5; DIM], "p9");
    let refused: Vec<(&str, Option<Error>)> = vec![
        ("add", main.add(items(900, 1)).err()),
        ("update", main.add_as(AddMode::Update, items(1, 1)).err()),
        ("delete", main.delete(&["p1"]).err()),
        ("delete_matching", main.delete_matching(&all).err()),
        ("optimize", main.optimize().err()),
        ("set_keywords", main.set_keywords(None).err()),
        ("judge", main.judge(judgement()).err()),
        ("judge_all", main.judge_all([judgement()]).err()),
        ("refit", main.refit().force(true).run().err()),
        ("promote", main.promote(VersionId(1)).err()),
        ("rollback", main.rollback(None).err()),
        ("import_metric", main.import_metric(matrix.view()).err()),
        ("delete_metric", main.delete_metric(VersionId(1)).err()),
        ("clear_user_metric", main.clear_user_metric("ann").err()),
        ("start_trial", main.start_trial(VersionId(1)).run().err()),
        (
            "set_guidelines",
            main.set_guidelines(&guidelines("be kind")).err(),
        ),
        ("forget", main.forget(&Forget::User("ann".into())).err()),
        ("restore", main.restore(&history).err()),
        ("create", store.collection("new").dim(2).create().err()),
        (
            "open_or_create",
            store.collection("new").dim(2).open_or_create().err(),
        ),
        ("drop_collection", store.drop_collection("beside").err()),
        ("reencode_back", store.reencode_back("main").err()),
        ("reencode_commit", store.reencode_commit("main").err()),
        (
            "compact",
            builder().read_only(true).compact(home.path()).err(),
        ),
        (
            "restore a backup",
            builder()
                .read_only(true)
                .restore(home.path(), home.path())
                .err(),
        ),
        (
            "repair",
            builder().read_only(true).repair(home.path()).err(),
        ),
    ];
    for (what, error) in refused {
        assert!(
            matches!(error, Some(Error::ReadOnly(_))),
            "{what}: {error:?}"
        );
    }
    assert!(store_contents(&store).expect("read") == there);
    let missing = Store::open_read_only(home.path().join("missing"));
    assert!(matches!(missing, Err(Error::NotAStore { .. })));
    assert!(!home.path().join("missing").exists());
}

#[test]
fn all_that_reads_works_in_a_reader() {
    let home = tempfile::tempdir().expect("a directory");
    let writer = builder().open(home.path()).expect("opened");
    let theirs = fill(&writer).expect("filled");
    let store = reader(home.path());
    let ours = store.collection("main").open().expect("opened");
    let both = |what: &dyn Fn(&Collection) -> String| {
        assert_eq!(what(&ours), what(&theirs));
    };
    both(&|c| format!("{:?}", c.judgements().expect("read")));
    both(&|c| format!("{:?}", c.metrics().expect("read")));
    both(&|c| format!("{:?}", c.stale_judgements().expect("read")));
    both(&|c| format!("{:?}", c.unlearned().expect("read")));
    both(&|c| format!("{:?}", c.activations().expect("read")));
    both(&|c| format!("{:?}", c.metric_matrix(VersionId(2)).expect("read")));
    both(&|c| format!("{:?}", c.diff(VersionId(1), VersionId(2)).expect("read")));
    both(&|c| format!("{:?}", c.trial().expect("read")));
    both(&|c| {
        let explained = c.explain(Query::Item("p3".into()), "p9").run();
        serde_json::to_string(&explained.expect("explained")).expect("json")
    });
    both(&|c| {
        let queries = [EvalQuery::new(Query::Item("p3".into()), ["p9", "p4"])];
        let measured = c.evaluate(&queries, 10, &[MetricChoice::Active]);
        format!("{:?}", measured.expect("measured").rows)
    });
    both(&|c| {
        let filter = Filter::from_json(&json!({"n": {"$gte": 10}})).expect("a filter");
        let found = c.search(vec![0.1; DIM]).filter(filter).k(5).run();
        format!("{:?}", found.expect("answered").hits)
    });
    let dry: Refit = ours.refit();
    dry.force(true).dry_run(true).run().expect("fitted");
}

#[test]
fn items_whose_end_comes_are_gone_from_a_reader_too() {
    let home = tempfile::tempdir().expect("a directory");
    {
        let writer = Store::open(home.path()).expect("opened");
        let points = writer.collection("points").dim(1).create().expect("made");
        let end = SystemTime::now() + Duration::from_secs(6);
        let passing = Item {
            expires: Some(end),
            ..Item::vector("passing", [1.0])
        };
        points
            .add([passing, Item::vector("staying", [2.0])])
            .expect("added");
    }
    let store = reader(home.path());
    let points = store.collection("points").open().expect("opened");
    assert_eq!(points.len(), 2);
    while points.len() == 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(points.get("passing").expect("read").is_none());
    assert!(!points.contains("passing").expect("read"));
    let hits = points.search(vec![1.0]).k(2).run().expect("answered");
    assert_eq!((hits.len(), &*hits[0].id), (1, "staying"));
    assert_eq!(points.items().expect("listed").count(), 1);
}

#[test]
fn a_collection_that_is_opened_is_no_older_than_is_promised() {
    let home = tempfile::tempdir().expect("a directory");
    let writer = Store::open(home.path()).expect("opened");
    let points = writer.collection("points").dim(1).create().expect("made");
    let every = |time| {
        Store::builder()
            .read_only(true)
            .refresh_every(time)
            .open(home.path())
    };
    let now = every(Duration::ZERO).expect("opened");
    let never = every(Duration::MAX).expect("opened");
    for number in 1..20 {
        points
            .add([Item::vector(number.to_string(), [number as f32])])
            .expect("added");
        let count = |store: &Store| store.collection("points").open().expect("opened").len();
        assert_eq!((count(&now), count(&never)), (number, 0));
    }
}

#[test]
fn a_reader_that_comes_when_nothing_is_written_any_more_waits_for_nobody() {
    let home = tempfile::tempdir().expect("a directory");
    let writer = builder().open(home.path()).expect("opened");
    let points = writer.collection("points").dim(DIM).create().expect("made");
    let mut random = Random(5);
    for from in 0..30 {
        let some =
            (0..100).map(|i| Item::vector(format!("p{}", from * 100 + i), random.vector(DIM)));
        points.add(some).expect("added");
    }
    // What is written in the background last is in no hurry to become durable.
    points.optimize().expect("optimized");
    points.delete(&["p1"]).expect("deleted");
    points.settle().expect("settled");
    let store = reader(home.path());
    let read = store.collection("points").open().expect("opened");
    assert_eq!(read.len(), 2999);
    assert_eq!(store.verify().expect("verified").problems, []);
}

#[test]
fn damaged_and_foreign_files_among_the_published_ones_are_refused_or_ignored() {
    let home = tempfile::tempdir().expect("a directory");
    let writer = builder().open(home.path()).expect("opened");
    fill(&writer).expect("filled");
    let store = reader(home.path());
    let published = home.path().join("published");
    let all = files(&published).into_iter();
    let mut checkpoints = all.filter(|file| file.extension().is_some_and(|of| of == "checkpoint"));
    let checkpoint = checkpoints.next().expect("published");
    for (foreign, bytes) in [("a.note", "x"), ("zz", ""), ("0.log", "half")] {
        std::fs::write(published.join(foreign), bytes).expect("written");
    }
    assert!(shows(&store, &writer));
    let bytes = std::fs::read(&checkpoint).expect("read");
    let open = || Store::builder().read_only(true).open(home.path());
    for (cut, flip) in [
        (bytes.len() / 2, None),
        (bytes.len(), Some(bytes.len() / 2)),
    ] {
        let mut damaged = bytes[..cut].to_vec();
        if let Some(at) = flip {
            damaged[at] ^= 1;
        }
        // A file of its own: the other reader has mapped the sound one.
        std::fs::remove_file(&checkpoint).expect("removed");
        std::fs::write(&checkpoint, damaged).expect("written");
        let error = open().err();
        assert!(matches!(error, Some(Error::Damaged { .. })), "{error:?}");
    }
    let main = writer.collection("main").open().expect("opened");
    main.add(items(700, 1)).expect("added");
    assert!(
        shows(&store, &writer),
        "one that follows reads the log only"
    );
}
