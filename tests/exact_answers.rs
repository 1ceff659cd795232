//! Answers equal an exact scan, under every distance, precision and filter.

use affinis::{Collection, Distance, Filter, Item, Precision, Query, Store};
use affinis_testkit::Random;
use affinis_testkit::exact::{cosine, dot, exact, items, l2};
use affinis_testkit::stores::{fresh, ids, vectors};
use serde_json::json;

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
fn segment_files_keep_the_precision_asked_for_and_answer_as_before() {
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
            points.optimize().expect("linked");
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
            let segments = dir.path().join("s/sled/segments");
            let bytes: u64 = std::fs::read_dir(&segments)
                .expect("segment files")
                .map(|file| file.expect("a file").metadata().expect("its size").len())
                .sum();
            let store = Store::open(dir.path().join("s")).expect("opened");
            let points = store.collection("p").open().expect("opened");
            assert_eq!(answers(&points), before, "{precision:?} {distance:?}");
            assert_eq!(store.verify().expect("verified").problems, []);
            // The graph is built again from the segment file.
            points
                .add([Item::vector("new", Random(77).vector(DIM))])
                .expect("added");
            points.optimize().expect("linked");
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
fn filtered_answers_equal_a_filtered_scan() {
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
fn ties_are_ordered_by_id_not_by_insertion() {
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
fn a_beam_wider_than_the_collection_is_accepted() {
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
fn an_empty_collection_answers_without_hits() {
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
