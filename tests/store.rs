//! The store as a program sees it: what is added is there, what is refused leaves nothing, what was
//! acknowledged survives.

mod common;

use affinis::{
    Collection, Distance, Durability, EncodeError, Encoded, Encoder, Error, Filter, History, Item,
    Judgement, Precision, Query, Store,
};
use common::{Random, WordCounts, cosine, dot, exact, items, l2};
use serde_json::json;

fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("s")).expect("a fresh store");
    (dir, store)
}

fn vectors(store: &Store, dim: usize) -> Collection {
    store
        .collection("v")
        .dim(dim)
        .open_or_create()
        .expect("a collection")
}

fn ids(hits: &affinis::Hits) -> Vec<&str> {
    hits.iter().map(|h| h.id.as_str()).collect()
}

#[test]
fn what_is_added_is_read_back_and_survives_reopening() {
    let (dir, store) = fresh();
    let notes = store
        .collection("notes")
        .encoder(WordCounts::new(16, "a"))
        .create()
        .expect("created");
    let long = "word ".repeat(200_000 / 5);
    notes
        .add([
            Item::text("a", "apple pear").meta(json!({"n": 1, "deep": {"er": [1, 2]}})),
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
        .with_text()
        .with_meta()
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
        .with_text()
        .with_meta()
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
fn answers_equal_a_brute_force_scan_for_every_distance_and_precision() {
    let (_dir, store) = fresh();
    let data = items(700, 13, 1);
    type Exact = fn(&[f32], &[f32]) -> f64;
    let distances: [(Distance, Exact); 3] = [
        (Distance::L2, l2),
        (Distance::Cosine, cosine),
        (Distance::Dot, |x, y| -dot(x, y)),
    ];
    for (distance, by_hand) in distances {
        for precision in [Precision::F32, Precision::F16, Precision::I8] {
            let name = format!("{distance:?} {precision:?}");
            let points = store
                .collection(&name)
                .dim(13)
                .distance(distance)
                .precision(precision)
                .create()
                .expect("created");
            points.add(data.clone()).expect("added");
            let stored: Vec<Item> = points
                .items()
                .expect("ids")
                .collect::<Result<_, _>>()
                .expect("items");
            let mut random = Random(7);
            for k in [1, 10, 699, 10_000] {
                let query = random.vector(13);
                let expected = exact(&stored, k, |x| by_hand(&query, x));
                let hits = points.search(query).k(k).run().expect("hits");
                assert_eq!(hits.len(), expected.len(), "{name}, k = {k}");
                for (hit, (id, distance)) in hits.iter().zip(&expected) {
                    assert!(
                        (f64::from(hit.distance) - distance).abs() <= 1e-4 * distance.abs() + 2e-6,
                        "{name}: {hit:?} for {id} at {distance}"
                    );
                }
                let same = ids(&hits)
                    .iter()
                    .zip(&expected)
                    .filter(|(a, b)| **a == b.0)
                    .count();
                assert!(
                    same + 4 >= expected.len(),
                    "{name}, k = {k}: {same} of {} in place",
                    expected.len()
                );
            }
        }
    }
}

#[test]
fn images_keep_of_each_number_what_its_precision_keeps_and_answer_as_before() {
    const DIM: usize = 100;
    let mut sizes = Vec::new();
    for precision in [Precision::F32, Precision::F16, Precision::I8] {
        for distance in [Distance::L2, Distance::Cosine] {
            let (dir, store) = fresh();
            let points = store
                .collection("p")
                .dim(DIM)
                .distance(distance)
                .precision(precision);
            let points = points.create().expect("created");
            points.add(items(3_000, DIM, 5)).expect("added");
            points.relink().expect("linked");
            points.settle().expect("settled");
            let filter = Filter::parse(r#"{"none": {"$exists": false}}"#).expect("a filter");
            let answers = |points: &Collection| {
                let mut random = Random(9);
                let mut all = Vec::new();
                for i in 0..40 {
                    let search = points.search(random.vector(DIM)).k(10);
                    let search = match i % 4 {
                        0 => search.ef(30),
                        1 => search.recall(1.0),
                        2 => search.filter(filter.clone()),
                        _ => search,
                    };
                    all.extend(
                        search
                            .run()
                            .expect("hits")
                            .iter()
                            .map(|hit| (hit.id.clone(), hit.distance.to_bits())),
                    );
                }
                all
            };
            let before = answers(&points);
            drop((points, store));
            let images = dir.path().join("s/sled/segments");
            let bytes: u64 = std::fs::read_dir(&images)
                .expect("images")
                .map(|file| file.expect("a file").metadata().expect("its size").len())
                .sum();
            let store = Store::open(dir.path().join("s")).expect("opened");
            let points = store.collection("p").open().expect("opened");
            assert_eq!(answers(&points), before, "{precision:?} {distance:?}");
            assert_eq!(store.verify().expect("verified").problems, []);
            // Relinked from the image.
            points
                .add([Item::vector("new", Random(77).vector(DIM))])
                .expect("added");
            points.relink().expect("linked");
            points.settle().expect("settled");
            assert_eq!(store.verify().expect("verified").problems, []);
            sizes.push(bytes);
        }
    }
    let [whole, _, half, normalised, byte, _] = sizes[..] else {
        panic!("{sizes:?}")
    };
    let rows = (3_000 * DIM) as u64;
    assert!(
        whole - half >= 2 * rows && half - byte >= rows * 9 / 10,
        "{sizes:?}"
    );
    assert!(
        normalised > whole - rows,
        "normalised vectors are not the stored ones: {sizes:?}"
    );
}

#[test]
fn ties_are_in_the_order_of_ids_whatever_the_order_of_adding() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 3);
    for id in ["m", "z", "a", "q"] {
        points
            .add([Item::vector(id, [1.0, 2.0, 3.0])])
            .expect("added");
    }
    let hits = points.search(vec![1.0, 2.0, 3.0]).k(3).run().expect("hits");
    assert_eq!(ids(&hits), ["a", "m", "q"]);
    assert!(hits.iter().all(|h| h.distance == 0.0));
    assert_eq!(hits.iter().map(|h| h.rank).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        ids(&points.search(Query::like("m")).k(3).run().expect("hits")),
        ["a", "q", "z"]
    );
}

#[test]
fn nothing_of_a_refused_input_is_stored() {
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
        (Item::vector("x", [1.0, 1.0]).meta(deep), |e| {
            matches!(e, Error::InvalidItem { .. })
        }),
        (
            Item::vector("x", [1.0, 1.0]).meta(json!({"m": "m".repeat(70_000)})),
            |e| e.to_string().contains("bytes"),
        ),
        (Item::vector("x", [1.0, 1.0]).meta(json!(["m"])), |e| {
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
fn the_widest_beam_is_as_wide_as_the_collection() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 2);
    points
        .add((0..20).map(|i| Item::vector(i.to_string(), [i as f32, 0.0])))
        .expect("added");
    let hits = points
        .search(vec![3.0, 0.0])
        .k(2)
        .ef(usize::MAX)
        .run()
        .expect("hits");
    assert_eq!(hits[0].id, "3");
}

#[test]
fn a_caller_that_panics_leaves_no_half_made_collection() {
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
fn a_query_that_has_no_direction_is_not_judged() {
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

#[test]
fn an_empty_collection_answers_no_hits() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 4);
    assert!(
        points
            .search(vec![0.0; 4])
            .run()
            .expect("no hits")
            .is_empty()
    );
    assert_eq!(points.add([]).expect("nothing").added, 0);
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
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        store.collection("c").dim(0).create(),
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        store.collection("c").dim(4097).create(),
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        store.collection("").dim(4).create(),
        Err(Error::Invalid(_))
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
    // Without its encoder it opens, and says what it misses when a text comes.
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
fn a_store_is_opened_once_at_a_time_and_only_where_it_belongs() {
    let (dir, store) = fresh();
    let path = dir.path().join("s");
    match Store::open(&path) {
        Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("a second handle got {other:?}"),
    }
    // The lock goes with the last handle, whichever it is.
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
}

#[test]
fn filters_equal_a_filter_by_hand() {
    const LANGS: [&str; 3] = ["en", "de", "fr"];
    let (_dir, store) = fresh();
    let points = vectors(&store, 4);
    let mut data = items(400, 4, 5);
    for (i, item) in data.iter_mut().enumerate() {
        item.meta = json!({"year": 2000 + i % 30, "lang": LANGS[i % 3], "tags": [i % 7, "all"]});
    }
    points.add(data.clone()).expect("added");
    let query = [0.1_f32, -0.2, 0.3, 0.0];
    type Keep = fn(&Item) -> bool;
    let cases: [(serde_json::Value, Keep); 4] = [
        (json!({"year": {"$gte": 2020}, "lang": "en"}), |i| {
            i.meta["year"].as_i64() >= Some(2020) && i.meta["lang"] == "en"
        }),
        (json!({"tags": 3}), |i| i.meta["tags"][0] == 3),
        (json!({"$or": [{"lang": "de"}, {"year": 2001}]}), |i| {
            i.meta["lang"] == "de" || i.meta["year"] == 2001
        }),
        (json!({"lang": "none"}), |_| false),
    ];
    for round in 0..2 {
        for (filter, keep) in &cases {
            let kept: Vec<Item> = data.iter().filter(|i| keep(i)).cloned().collect();
            let expected: Vec<String> = exact(&kept, 25, |x| l2(&query, x))
                .into_iter()
                .map(|e| e.0)
                .collect();
            let filter = Filter::from_json(filter).expect("a filter");
            let hits = points
                .search(query.as_slice())
                .k(25)
                .filter(filter)
                .run()
                .expect("hits");
            assert_eq!(ids(&hits), expected, "round {round}");
        }
        // Filters see later writes.
        data.retain(|i| i.id != "p5");
        let p4 = data.iter_mut().find(|i| i.id == "p4").expect("p4");
        p4.meta = json!({"year": 2029, "lang": "en", "tags": [3]});
        points.add([p4.clone()]).expect("replaced");
        if round == 0 {
            points.delete(&["p5"]).expect("deleted");
        }
    }
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
fn a_batch_is_seen_whole_by_searches_that_run_meanwhile() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 3);
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
fn items_that_are_replaced_all_the_time_are_read_whole() {
    let (_dir, store) = fresh();
    let points = vectors(&store, 2);
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
                .with_text()
                .with_meta()
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

/// Gives one vector whatever is asked.
#[derive(Debug)]
struct Lazy;

impl Encoder for Lazy {
    fn name(&self) -> &'static str {
        "lazy"
    }
    fn fingerprint(&self) -> &'static str {
        "lazy"
    }
    fn dim(&self) -> usize {
        2
    }
    fn encode(&self, _: &[&str]) -> Result<Encoded, EncodeError> {
        Ok(Encoded {
            vectors: ndarray::Array2::ones((1, 2)),
            truncated: vec![false],
        })
    }
}

#[test]
fn an_encoder_that_leaves_texts_out_is_refused() {
    let (_dir, store) = fresh();
    let notes = store
        .collection("n")
        .encoder(Lazy)
        .create()
        .expect("created");
    notes.add([Item::text("a", "one")]).expect("added");
    assert!(matches!(
        notes.add([Item::text("b", "two"), Item::text("c", "three")]),
        Err(Error::Invalid(_))
    ));
    let judged = notes.judge_all([
        Judgement::relevant("four", "a"),
        Judgement::relevant("five", "a"),
    ]);
    assert!(matches!(judged, Err(Error::Invalid(_))), "{judged:?}");
    assert_eq!((notes.len(), notes.judgement_count()), (1, 0));
}
