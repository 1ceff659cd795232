//! What a store keeps: items come back as they were added, collections keep their settings, and a
//! refused or interrupted call stores nothing.

use std::time::Duration;

use affinis::{
    AddMode, Distance, Durability, Error, Filter, Item, Judgement, Query, Store,
    encode::{EncodeError, Encoded, Encoder},
    learning::History,
};
use affinis_testkit::WordCounts;
use affinis_testkit::exact::items;
use affinis_testkit::stores::{fresh, ids, vectors};
use serde_json::json;

#[test]
fn added_items_are_read_back_also_after_reopening() {
    let (dir, store) = fresh();
    let notes = store
        .collection("notes")
        .encoder(WordCounts::new(16, "a"))
        .create()
        .expect("created");
    let long = "word ".repeat(200_000 / 5);
    notes
        .add([
            Item::text("a", "apple pear").with_meta(json!({"n": 1, "deep": {"er": [1, 2]}})),
            Item::text("b", long.clone()),
            Item::text("c", "given").with_vector(vec![0.5; 16]),
        ])
        .expect("added");
    let before = notes.get_many(&["c", "a", "b"]).expect("read");
    assert_eq!(before[1].meta["deep"]["er"][1], 2);
    assert_eq!(before[2].text.as_deref(), Some(long.as_str()));
    assert!(before[2].truncated && !before[1].truncated);
    assert_eq!(before[0].vector, Some(vec![0.5; 16]));
    let hits = notes
        .search("pear")
        .k(3)
        .include_text()
        .include_meta()
        .run()
        .expect("hits");
    assert_eq!(hits[0].id, "a");
    drop((notes, store));

    let store = Store::open(dir.path().join("s")).expect("reopened");
    let notes = store
        .collection("notes")
        .encoder(WordCounts::new(16, "a"))
        .open()
        .expect("opened");
    assert_eq!(notes.get_many(&["c", "a", "b"]).expect("read"), before);
    let again = notes
        .search("pear")
        .k(3)
        .include_text()
        .include_meta()
        .run()
        .expect("hits");
    assert_eq!(again.hits, hits.hits);
    assert_eq!(
        notes
            .items()
            .expect("ids")
            .collect::<Result<Vec<_>, _>>()
            .expect("items")
            .len(),
        3
    );
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn an_id_that_exists_is_replaced_and_a_deleted_one_never_comes_back() {
    let (dir, store) = fresh();
    let points = vectors(&store, 2);
    let added = points
        .add([Item::vector("a", [0.0, 0.0]), Item::vector("b", [1.0, 1.0])])
        .expect("added");
    assert_eq!((added.added, added.replaced), (2, 0));
    let added = points
        .add([Item::vector("a", [9.0, 9.0]), Item::vector("c", [2.0, 2.0])])
        .expect("added");
    assert_eq!((added.added, added.replaced), (1, 1));
    assert_eq!(points.len(), 3);
    let hits = points.search(vec![0.0, 0.0]).run().expect("hits");
    assert_eq!(ids(&hits), ["b", "c", "a"]);
    assert_eq!(points.delete(&["b", "c"]).expect("deleted"), 2);
    assert_eq!(
        ids(&points.search(vec![0.0, 0.0]).run().expect("hits")),
        ["a"]
    );
    assert!(points.get("b").expect("read").is_none());
    points
        .add([Item::vector("b", [3.0, 3.0])])
        .expect("added again");
    drop((points, store));
    let store = Store::open(dir.path().join("s")).expect("reopened");
    let points = vectors(&store, 2);
    assert_eq!(
        ids(&points.search(vec![0.0, 0.0]).run().expect("hits")),
        ["b", "a"]
    );
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn collections_keep_their_settings_and_do_not_mix() {
    let (dir, store) = fresh();
    store
        .collection("a")
        .dim(2)
        .create()
        .expect("created")
        .add(items(5, 2, 3))
        .expect("added");
    store
        .collection("b")
        .encoder(WordCounts::new(8, "one"))
        .create()
        .expect("created");
    assert!(matches!(
        store.collection("a").dim(2).create(),
        Err(Error::CollectionExists(_))
    ));
    assert!(matches!(
        store.collection("c").open(),
        Err(Error::CollectionMissing { .. })
    ));
    assert!(matches!(
        store.collection("c").open_or_create(),
        Err(Error::MissingDimension { .. })
    ));
    assert!(matches!(
        store.collection("c").dim(0).create(),
        Err(Error::InvalidSetting { .. })
    ));
    assert!(matches!(
        store.collection("c").dim(4097).create(),
        Err(Error::InvalidSetting { .. })
    ));
    assert!(matches!(
        store.collection("").dim(4).create(),
        Err(Error::InvalidName { .. })
    ));
    drop(store);
    let store = Store::open(dir.path().join("s")).expect("reopened");
    assert!(matches!(
        store.collection("a").dim(3).open(),
        Err(Error::SettingMismatch {
            what: "dimension",
            ..
        })
    ));
    assert!(matches!(
        store
            .collection("a")
            .distance(Distance::Dot)
            .open_or_create(),
        Err(Error::SettingMismatch {
            what: "distance",
            ..
        })
    ));
    assert!(matches!(
        store
            .collection("b")
            .encoder(WordCounts::new(8, "two"))
            .open(),
        Err(Error::EncoderMismatch { .. })
    ));
    assert!(matches!(
        store
            .collection("a")
            .encoder(WordCounts::new(2, "one"))
            .open(),
        Err(Error::EncoderMismatch { .. })
    ));
    let listed = store.collections().expect("listed");
    assert_eq!(
        listed
            .iter()
            .map(|c| (c.name.as_str(), c.dim, c.items))
            .collect::<Vec<_>>(),
        [("a", 2, 5), ("b", 8, 0)]
    );
    // A collection opens without its encoder, and refuses texts.
    let b = store.collection("b").open().expect("opened");
    assert!(matches!(
        b.search("text").run(),
        Err(Error::NoEncoder { .. })
    ));
    drop(b);
    store.drop_collection("a").expect("dropped");
    store.collection("a").dim(3).create().expect("made anew");
    assert_eq!(store.collection("a").open().expect("opened").len(), 0);
}

#[test]
fn a_store_is_opened_by_one_handle_at_a_time_and_only_in_a_directory_of_its_own() {
    let (dir, store) = fresh();
    let path = dir.path().join("s");
    match Store::open(&path) {
        Err(error @ Error::Locked { .. }) => {
            assert!(matches!(error, Error::Locked { pid, .. } if pid == Some(std::process::id())));
            let said = error.to_string();
            assert!(said.contains("another handle of this process"), "{said}");
        }
        other => panic!("a second handle got {other:?}"),
    }
    // One who waits fails as late as it was asked to, and opens the store once it is released.
    let waiting = Store::builder().wait(Duration::from_millis(50));
    assert!(matches!(waiting.open(&path), Err(Error::Locked { .. })));
    let waiting = std::thread::spawn({
        let path = path.clone();
        move || Store::builder().wait(Duration::from_mins(10)).open(path)
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    drop(store);
    let store = waiting.join().expect("no panic").expect("opened");
    // The lock is released with the last handle, whether of the store or of a collection.
    let points = vectors(&store, 2);
    drop(store);
    assert!(matches!(Store::open(&path), Err(Error::Locked { .. })));
    drop(points);
    Store::open(&path).expect("free again");

    let occupied = dir.path().join("occupied");
    std::fs::create_dir(&occupied).expect("a directory");
    std::fs::write(occupied.join("thesis.txt"), "mine").expect("a file");
    assert!(matches!(
        Store::open(&occupied),
        Err(Error::NotAStore { .. })
    ));
    assert!(matches!(
        Store::open(occupied.join("thesis.txt")),
        Err(Error::NotAStore { .. })
    ));
    let absent = dir.path().join("absent");
    assert!(matches!(
        Store::builder().create(false).open(&absent),
        Err(Error::NotAStore { .. })
    ));
    assert!(!absent.exists(), "a refused opening leaves nothing");

    #[cfg(unix)]
    {
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&absent, &link).expect("linked");
        for opened in [
            Store::open(&link),
            Store::builder().create(false).open(&link),
        ] {
            assert!(
                matches!(&opened, Err(Error::DanglingLink { target, .. }) if *target == absent),
                "{opened:?}"
            );
        }
        std::fs::create_dir(&absent).expect("a directory");
        Store::open(&link).expect("a link to a directory is one");
    }
}

#[test]
fn an_insert_refuses_ids_that_exist_and_an_update_those_that_do_not() {
    let (dir, store) = fresh();
    let points = vectors(&store, 2);
    let a = Item::vector("a", [1.0, 0.0])
        .with_text("kept")
        .with_meta(json!({"year": 2020, "lang": "en"}));
    points.add_as(AddMode::Insert, [a.clone()]).expect("added");
    let both = [Item::vector("b", [0.0, 1.0]), Item::vector("a", [9.0, 9.0])];
    match points.add_as(AddMode::Insert, both.clone()) {
        Err(Error::IdExists { ids, .. }) => assert_eq!(ids, ["a"]),
        other => panic!("{other:?}"),
    }
    match points.add_as(AddMode::Update, both) {
        Err(Error::UnknownId { ids, .. }) => assert_eq!(ids, ["b"]),
        other => panic!("{other:?}"),
    }
    let given_nothing = Item {
        id: "a".into(),
        ..Item::default()
    };
    assert!(matches!(
        points.add_as(AddMode::Update, [given_nothing.clone()]),
        Err(Error::InvalidItem { .. })
    ));
    let meta = given_nothing.with_meta(json!({"year": 2021}));
    assert!(matches!(
        points.add_as(AddMode::Update, [meta.clone(), meta.clone()]),
        Err(Error::DuplicateId { .. })
    ));
    assert_eq!(
        points.get("a").expect("read"),
        Some(a.clone()),
        "nothing was stored"
    );

    let updated = points.add_as(AddMode::Update, [meta]).expect("updated");
    assert_eq!(
        (updated.added, updated.replaced, updated.updated),
        (0, 0, 1)
    );
    let a = a.with_meta(json!({"year": 2021, "lang": "en"}));
    assert_eq!(points.get("a").expect("read"), Some(a.clone()));
    let filter = |text| Filter::parse(text).expect("a filter");
    assert_eq!(
        points.count(&filter("{\"year\": 2020}")).expect("counted"),
        0
    );
    assert_eq!(
        points.count(&filter("{\"year\": 2021}")).expect("counted"),
        1
    );
    points
        .add_as(AddMode::Update, [Item::vector("a", [0.0, 5.0])])
        .expect("updated");
    let a = a.with_vector([0.0, 5.0]);
    // A merge may break what both parts keep.
    let long = |key: &str| json!({key: "x".repeat(40 << 10)});
    let change = |meta| Item {
        id: "a".into(),
        meta,
        ..Item::default()
    };
    points
        .add_as(AddMode::Update, [change(long("one"))])
        .expect("updated");
    assert!(matches!(
        points.add_as(AddMode::Update, [change(long("two"))]),
        Err(Error::InvalidItem { .. })
    ));
    points
        .add_as(AddMode::Update, [change(json!({"one": null}))])
        .expect("updated");
    drop((points, store));
    let store = Store::open(dir.path().join("s")).expect("reopened");
    assert_eq!(vectors(&store, 2).get("a").expect("read"), Some(a));
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn items_are_listed_found_and_removed_by_filters_across_pages() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 1);
    let all = (0..700)
        .map(|i| Item::vector(format!("{i:03}"), [i as f32]).with_meta(json!({"third": i % 3})));
    points.add(all).expect("added");
    let listed = |after: Option<&str>| -> Vec<String> {
        let items = points.list(after);
        items.map(|item| item.expect("read").id).collect()
    };
    let ids: Vec<String> = (0..700).map(|i| format!("{i:03}")).collect();
    assert_eq!(listed(None), ids);
    assert_eq!(listed(Some("255")), ids[256..]);
    assert_eq!(listed(Some("255a")), ids[256..]);
    assert!(listed(Some("699")).is_empty());

    let third = Filter::parse("{\"third\": 1}").expect("a filter");
    let found: Vec<Item> = points
        .get_matching(&third)
        .expect("found")
        .collect::<Result<_, _>>()
        .expect("read");
    assert_eq!(found.len(), 233);
    assert!(found.is_sorted_by(|a, b| a.id < b.id));
    assert!(found.iter().all(|item| item.meta["third"] == 1));
    for (after, first) in [("", 0), ("001", 1), ("002", 1), ("500", 167), ("699", 233)] {
        let page = points.list_matching(&third, Some(after)).expect("found");
        let page: Result<Vec<Item>, _> = page.collect();
        assert!(page.expect("read") == found[first..], "behind {after:?}");
    }
    assert_eq!(points.delete_matching(&third).expect("removed"), 233);
    assert_eq!(points.delete_matching(&third).expect("removed"), 0);
    assert_eq!((points.len(), listed(None).len()), (467, 467));
    let hits = points.search(vec![1.0]).k(2).run().expect("hits");
    assert!(!hits.iter().any(|hit| hit.id == "001"));
    // An iterator is a handle: the store stays open until it is dropped.
    let mut items = points.list(None);
    assert!(items.next().is_some());
    drop(points);
    let store = store.close().expect_err("a handle is left").store;
    drop(items);
    store.close().expect("closed");
}

#[test]
fn the_size_of_a_collection_is_its_own() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 64);
    let empty = store.collection("empty").dim(64).create().expect("made");
    points
        .add((0..500).map(|i| Item::vector(i.to_string(), vec![i as f32; 64])))
        .expect("added");
    let (full, none) = (
        points.stats().expect("stats"),
        empty.stats().expect("stats"),
    );
    assert!(none.disk_bytes < 500, "{none:?}");
    // 500 vectors of 256 bytes, with ids and checksums.
    assert!((128_000..400_000).contains(&full.disk_bytes), "{full:?}");
    assert_eq!(full.store_bytes, none.store_bytes);
}

#[test]
fn relaxed_durability_is_made_strict_by_a_flush() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::builder()
        .durability(Durability::Relaxed)
        .open(dir.path())
        .expect("opened");
    vectors(&store, 3).add(items(50, 3, 9)).expect("added");
    store.flush().expect("flushed");
    drop(store);
    let store = Store::open(dir.path()).expect("reopened");
    assert_eq!(vectors(&store, 3).len(), 50);
}

#[test]
#[expect(clippy::too_many_lines, reason = "every refusal in one story")]
fn a_refused_batch_stores_nothing() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 2);
    let good = || Item::vector("good", [1.0, 1.0]);
    let mut deep = json!(1);
    for _ in 0..33 {
        deep = json!({"in": deep});
    }
    type Expected = fn(&Error) -> bool;
    let cases: Vec<(Item, Expected)> = vec![
        (Item::vector("x", [1.0]), |e| {
            e.to_string().contains("has 1 number")
        }),
        (Item::vector("x", [1.0, f32::NAN]), |e| {
            matches!(e, Error::InvalidItem { index: 1, .. })
        }),
        (Item::vector("x", [f32::NEG_INFINITY, 0.0]), |e| {
            e.to_string().contains("inf")
        }),
        (Item::vector("x", [3.0e38, 3.0e38]), |e| {
            e.to_string().contains("overflow")
        }),
        (Item::vector("", [1.0, 1.0]), |e| {
            matches!(e, Error::InvalidItem { index: 1, .. })
        }),
        (Item::vector("i".repeat(513), [1.0, 1.0]), |e| {
            matches!(e, Error::InvalidItem { index: 1, .. })
        }),
        (good(), |e| {
            matches!(
                e,
                Error::DuplicateId {
                    first: 0,
                    second: 1,
                    ..
                }
            )
        }),
        (Item::vector("x", [1.0, 1.0]).with_meta(deep), |e| {
            matches!(e, Error::InvalidItem { .. })
        }),
        (
            Item::vector("x", [1.0, 1.0]).with_meta(json!({"m": "m".repeat(70_000)})),
            |e| e.to_string().contains("bytes"),
        ),
        (Item::vector("x", [1.0, 1.0]).with_meta(json!(["m"])), |e| {
            e.to_string().contains("not a JSON object")
        }),
        (
            Item::vector("x", [1.0, 1.0]).with_text("t".repeat((1 << 20) + 1)),
            |e| matches!(e, Error::InvalidItem { .. }),
        ),
        (Item::text("x", "a text"), |e| {
            matches!(e, Error::NoEncoder { .. })
        }),
        (
            Item {
                id: "x".into(),
                ..Item::default()
            },
            |e| matches!(e, Error::InvalidItem { .. }),
        ),
    ];
    for (bad, expected) in cases {
        let error = points.add([good(), bad.clone()]).expect_err("a refusal");
        assert!(expected(&error), "{} gave {error:?}", bad.id);
        assert!(points.is_empty() && points.get("good").expect("read").is_none());
    }
    assert!(matches!(
        points.delete(&["nobody"]),
        Err(Error::UnknownId { .. })
    ));
    points.add([good()]).expect("added");
    assert!(matches!(
        points.delete(&["good", "nobody"]),
        Err(Error::UnknownId { .. })
    ));
    assert_eq!(points.len(), 1);
    let refused = points.search(vec![1.0, f32::NAN]).run();
    assert!(matches!(refused, Err(Error::NotFinite { .. })));
    assert!(matches!(
        points.search(vec![1.0]).run(),
        Err(Error::Dimension { .. })
    ));
    assert!(matches!(
        points.search(Query::like("nobody")).run(),
        Err(Error::UnknownId { .. })
    ));
    for k in [0, 10_001] {
        assert!(matches!(
            points.search(vec![1.0, 1.0]).k(k).run(),
            Err(Error::InvalidQuery(_))
        ));
    }
    assert!(matches!(
        points.search(vec![1.0, 1.0]).ef(0).run(),
        Err(Error::InvalidQuery(_))
    ));
    assert!(matches!(
        points.search(vec![1.0, 1.0]).recall(1.5).run(),
        Err(Error::InvalidQuery(_))
    ));
    let unit = store
        .collection("unit")
        .dim(2)
        .distance(Distance::Cosine)
        .create()
        .expect("created");
    assert!(matches!(
        unit.add([Item::vector("z", [0.0, 0.0])]),
        Err(Error::InvalidItem { index: 0, .. })
    ));
    assert!(matches!(
        unit.search(vec![0.0, 0.0]).run(),
        Err(Error::ZeroVector { .. })
    ));
}

#[test]
fn a_panic_in_the_callers_iterator_leaves_no_collection() {
    let (dir, store) = fresh();
    let items = (0..10).map(|i| {
        assert!(i < 5, "the caller's own mistake");
        Item::vector(i.to_string(), [i as f32])
    });
    let make = std::panic::AssertUnwindSafe(|| {
        store
            .collection("v")
            .dim(1)
            .create_with(items, &History::default())
    });
    assert!(std::panic::catch_unwind(make).is_err());
    let points = store
        .collection("v")
        .dim(1)
        .create()
        .expect("there is none yet");
    points.add([Item::vector("kept", [1.0])]).expect("added");
    drop((points, store));
    let store = Store::open(dir.path().join("s")).expect("opened");
    assert_eq!(store.collection("v").open().expect("opened").len(), 1);
}

#[test]
fn a_zero_query_is_refused_in_judgements_of_a_cosine_collection() {
    let (_dir, store) = fresh();
    let notes = store
        .collection("n")
        .encoder(WordCounts::new(16, "a"))
        .distance(Distance::Cosine)
        .create()
        .expect("created");
    notes.add([Item::text("a", "apple")]).expect("added");
    let judged = notes.judge_all([
        Judgement::relevant("pear", "a"),
        Judgement::relevant("", "a"),
    ]);
    assert!(
        matches!(judged, Err(Error::InvalidJudgement { index: 1, .. })),
        "{judged:?}"
    );
    assert_eq!(notes.judgement_count(), 0);
}

/// An encoder that returns one row for any number of texts.
#[derive(Debug)]
struct OneRow;

impl Encoder for OneRow {
    fn name(&self) -> &'static str {
        "one-row"
    }
    fn fingerprint(&self) -> &'static str {
        "one-row"
    }
    fn dim(&self) -> usize {
        2
    }
    fn encode(&self, _: &[&str]) -> Result<Encoded, EncodeError> {
        Ok(Encoded::new(ndarray::Array2::ones((1, 2))))
    }
}

#[test]
fn a_store_says_what_keeps_it_open_and_is_closed_once_nothing_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    let points = store.collection("p").dim(1).create().expect("created");
    store.collection("q").dim(1).create().expect("created");
    let clone = store.clone();
    let refused = store.close().expect_err("two handles are left");
    assert!(matches!(
        &refused.error,
        Error::StillOpen { collections, stores: 1 } if collections == &["p"]
    ));
    drop((points, clone));
    refused.store.close().expect("closed");
    let store = Store::open(dir.path()).expect("the directory is free");
    assert_eq!(store.collections().expect("listed").len(), 2);
}

#[test]
fn an_encoder_that_returns_too_few_rows_is_refused() {
    let (_dir, store) = fresh();
    let notes = store
        .collection("n")
        .encoder(OneRow)
        .create()
        .expect("created");
    notes.add([Item::text("a", "one")]).expect("added");
    assert!(matches!(
        notes.add([Item::text("b", "two"), Item::text("c", "three")]),
        Err(Error::Encode(EncodeError::Rows { .. }))
    ));
    let judged = notes.judge_all([
        Judgement::relevant("four", "a"),
        Judgement::relevant("five", "a"),
    ]);
    assert!(
        matches!(judged, Err(Error::Encode(EncodeError::Rows { .. }))),
        "{judged:?}"
    );
    assert_eq!((notes.len(), notes.judgement_count()), (1, 0));
}

#[test]
fn threads_that_add_at_the_same_time_each_get_their_own_outcome() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 50;
    let (dir, store) = fresh();
    let points = vectors(&store, 2);
    let refused: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let points = points.clone();
                scope.spawn(move || {
                    let mut refused = 0;
                    for round in 0..ROUNDS {
                        let own = Item::vector(format!("{thread}-{round}"), [thread as f32, 1.0]);
                        let added = points.add([own.clone()]).expect("added");
                        assert_eq!((added.added, added.replaced), (1, 0));
                        let again = own.with_text("again");
                        let added = points.add([again]).expect("replaced");
                        assert_eq!((added.added, added.replaced), (0, 1));
                        // All threads want this one, and one gets it.
                        let shared = Item::vector(format!("shared-{round}"), [0.0, thread as f32]);
                        match points.add_as(AddMode::Insert, [shared]) {
                            Ok(added) => assert_eq!(added.added, 1),
                            Err(Error::IdExists { ids, .. }) => {
                                assert_eq!(ids, [format!("shared-{round}")]);
                                refused += 1;
                            }
                            Err(other) => panic!("{other}"),
                        }
                    }
                    refused
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .sum()
    });
    assert_eq!(refused, (THREADS - 1) * ROUNDS);
    drop((points, store));
    let store = Store::open(dir.path().join("s")).expect("opened again");
    assert_eq!(store.verify().expect("verified").problems, []);
    let points = vectors(&store, 2);
    assert_eq!(points.len(), (THREADS + 1) * ROUNDS);
    for thread in 0..THREADS {
        let item = points
            .get(&format!("{thread}-7"))
            .expect("read")
            .expect("there");
        assert_eq!(item.text.as_deref(), Some("again"));
        assert_eq!(item.vector, Some(vec![thread as f32, 1.0]));
    }
}
