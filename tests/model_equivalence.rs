//! Any sequence of operations answers as a map in memory with an exact scan does, a rewritten query
//! gives the quadratic form, and copies lose nothing.

use std::collections::BTreeMap;

use affinis::{
    Collection, Distance, Filter, Item, MetricChoice, Precision, Query, Store, VersionId,
};
use affinis_testkit::Random;
use affinis_testkit::exact::{cosine, dot, l2};
use affinis_testkit::stores::{builder, collection_contents, fill};
use ndarray::Array2;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

const DIM: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    Add(Vec<(u8, u64)>),
    Delete(Vec<u8>),
    Relink,
    Reopen,
    Compact,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => prop::collection::vec((0..30_u8, any::<u64>()), 1..20).prop_map(Op::Add),
        3 => prop::collection::vec(0..30_u8, 1..6).prop_map(Op::Delete),
        1 => Just(Op::Relink),
        1 => Just(Op::Reopen),
        1 => Just(Op::Compact),
    ]
}

fn item(id: u8, seed: u64) -> Item {
    let mut random = Random(seed);
    let mut vector = random.vector(DIM);
    // Never the zero vector, which the cosine distance refuses.
    vector[0] += 1.5;
    Item::vector(format!("i{id}"), vector).with_meta(meta(&mut random))
}

fn meta(random: &mut Random) -> Value {
    let year = 2000 + random.below(5);
    match random.below(4) {
        0 => Value::Null,
        1 => json!({"year": year}),
        2 => {
            json!({"year": year as f64 + 0.5, "lang": (if random.below(2) == 0 { "en" } else { "de" })})
        }
        _ => json!({"tags": [random.below(3), "all"], "deep": {"year": year}}),
    }
}

type Passes = fn(&Value) -> bool;

/// Filters, each with the same condition in Rust.
fn filters() -> [(Value, Passes); 6] {
    [
        (json!({"year": {"$gte": 2002}}), |m| {
            m["year"].as_f64().is_some_and(|y| y >= 2002.0)
        }),
        (json!({"year": {"$ne": 2001}}), |m| {
            m["year"].as_f64() != Some(2001.0)
        }),
        (json!({"lang": {"$in": ["de"]}}), |m| m["lang"] == "de"),
        (json!({"tags": 1}), |m| m["tags"][0] == 1),
        (
            json!({"$or": [{"deep.year": 2003}, {"lang": {"$exists": true}}]}),
            |m| m["deep"]["year"] == 2003 || !m["lang"].is_null(),
        ),
        (json!({"$not": {"tags": "all"}}), |m| m["tags"].is_null()),
    ]
}

/// Compares a collection's answers with those of the model.
fn compare(
    points: &Collection,
    model: &BTreeMap<String, Item>,
    distance: Distance,
    seed: u64,
) -> Result<(), TestCaseError> {
    let by_hand = |x: &[f32], y: &[f32]| match distance {
        Distance::Cosine => cosine(x, y),
        Distance::Dot => -dot(x, y),
        _ => l2(x, y),
    };
    prop_assert_eq!(points.len(), model.len());
    let mut random = Random(seed);
    for k in [1, 2, 5, 29, 10_000] {
        let mut query = random.vector(DIM);
        query[1] += 1.5;
        let (filter, keep) = &filters()[random.below(6)];
        for filtered in [false, true] {
            let mut search = points.search(query.clone()).k(k);
            if filtered {
                search = search.filter(Filter::from_json(filter).expect("a filter"));
            }
            let hits = search.run().expect("answered");
            let mut exact: Vec<(f64, &str)> = model
                .values()
                .filter(|item| !filtered || keep(&item.meta))
                .map(|item| {
                    (
                        by_hand(&query, item.vector.as_deref().expect("given")),
                        item.id.as_str(),
                    )
                })
                .collect();
            exact.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
            prop_assert_eq!(hits.len(), k.min(exact.len()), "k = {}, {}", k, filtered);
            for (at, hit) in hits.iter().enumerate() {
                let own = exact.iter().find(|(_, id)| *id == hit.id);
                prop_assert!(own.is_some(), "{} is not live, or does not pass", hit.id);
                for expected in [own.map_or(f64::NAN, |e| e.0), exact[at].0] {
                    let error = (f64::from(hit.distance) - expected).abs();
                    prop_assert!(
                        error <= 1e-4 * expected.abs() + 2e-6,
                        "{:?}: {} expected",
                        hit,
                        expected
                    );
                }
                if at > 0 {
                    let before = &hits[at - 1];
                    prop_assert!(
                        (before.distance, &before.id) < (hit.distance, &hit.id),
                        "{:?} before {:?}",
                        before,
                        hit
                    );
                }
            }
        }
    }
    for id in 0..30 {
        let id = format!("i{id}");
        let read = points.get(&id).expect("read");
        let mut known = model.get(&id).cloned();
        if let (Distance::Cosine, Some(item)) = (distance, &mut known) {
            // Vectors of cosine collections are read as unit vectors.
            let (read, given) = (read.as_ref(), item.vector.take());
            let read = read.and_then(|item| item.vector.clone());
            let (unit, given) = (read.clone().unwrap_or_default(), given.unwrap_or_default());
            prop_assert!((dot(&unit, &unit) - 1.0).abs() < 1e-6 && cosine(&unit, &given) < 1e-6);
            item.vector = read;
        }
        prop_assert_eq!(read, known);
        let like = points.search(Query::like(&id)).k(3).run();
        prop_assert_eq!(like.is_ok(), model.contains_key(&id));
        prop_assert!(!like.is_ok_and(|hits| hits.iter().any(|hit| hit.id == id)));
    }
    Ok(())
}

/// 24 cases, and first those of `model_equivalence.proptest-regressions`, which failed before.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 24,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn answers_after_any_operations_equal_an_exact_scan_of_a_map(
        ops in prop::collection::vec(op(), 1..25), which in 0..3_usize, seed: u64
    ) {
        let distance = [Distance::L2, Distance::Cosine, Distance::Dot][which];
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        let open = || {
            let store = builder().open(&path).expect("opened");
            let points = store.collection("c").dim(DIM).distance(distance).open_or_create().expect("opened");
            (store, points)
        };
        let mut model: BTreeMap<String, Item> = BTreeMap::new();
        let mut opened = Some(open());
        for (number, op) in ops.iter().enumerate() {
            let (store, points) = opened.take().expect("open");
            match op {
                Op::Add(batch) => {
                    let batch: BTreeMap<u8, u64> = batch.iter().copied().collect();
                    let items: Vec<Item> = batch.into_iter().map(|(id, seed)| item(id, seed)).collect();
                    let fresh = items.iter().filter(|item| !model.contains_key(&item.id)).count();
                    let added = points.add(items.clone()).expect("added");
                    prop_assert_eq!((added.added, added.replaced), (fresh, items.len() - fresh));
                    model.extend(items.into_iter().map(|item| (item.id.clone(), item)));
                }
                Op::Delete(ids) => {
                    let ids: Vec<String> = ids.iter().map(|id| format!("i{id}")).collect();
                    let known = ids.iter().all(|id| model.contains_key(id));
                    prop_assert_eq!(points.delete(&ids).is_ok(), known);
                    if known {
                        model.retain(|id, _| !ids.contains(id));
                    }
                }
                Op::Relink => points.optimize().expect("optimized"),
                Op::Reopen | Op::Compact => {
                    // Answers are the same after a restart, bit for bit.
                    let before = collection_contents(&points).expect("seen");
                    drop((store, points));
                    if matches!(op, Op::Compact) {
                        builder().compact(&path).expect("compacted");
                    }
                    let (store, points) = open();
                    prop_assert!(collection_contents(&points).expect("seen") == before, "a restart changed answers");
                    opened = Some((store, points));
                    continue;
                }
            }
            if number % 3 == 0 {
                compare(&points, &model, distance, seed ^ number as u64)?;
            }
            opened = Some((store, points));
        }
        let (store, points) = opened.take().expect("open");
        compare(&points, &model, distance, seed)?;
        prop_assert_eq!(store.verify().expect("verified").problems, []);
    }

    #[test]
    fn a_rewritten_query_gives_the_quadratic_form(seed: u64, dim in 1..12_usize) {
        let mut random = Random(seed);
        // A = B'B + I/4, of any scale.
        let b = Array2::from_shape_fn((dim, dim), |_| f64::from(random.unit()));
        let scale = 10_f64.powi(random.below(7) as i32 - 3);
        let a = (b.t().dot(&b) + Array2::<f64>::eye(dim) * 0.25) * scale;
        let home = tempfile::tempdir().expect("a directory");
        let store = builder().open(home.path()).expect("opened");
        let points = store.collection("c").dim(dim).create().expect("made");
        let items: Vec<Item> = (0..40).map(|i| Item::vector(format!("i{i}"), random.vector(dim))).collect();
        points.add(items.clone()).expect("added");
        let version = points.import_metric(a.view()).expect("a metric");
        let a = points.metric_matrix(version).expect("kept");
        let query = random.vector(dim);
        let search = points.search(query.clone()).k(40).recall(1.0).metric(MetricChoice::Version(version));
        let hits = search.run().expect("answered");
        prop_assert_eq!(hits.len(), 40);
        for hit in &hits {
            let item = items.iter().find(|item| item.id == hit.id).expect("an item");
            let x = item.vector.as_deref().expect("given");
            let z = ndarray::Array1::from_iter(query.iter().zip(x).map(|(q, x)| f64::from(*q) - f64::from(*x)));
            let expected = z.dot(&a.dot(&z));
            let error = (f64::from(hit.distance) - expected).abs();
            let mean = a.diag().sum() / dim as f64;
            prop_assert!(error <= 1e-4 * expected + 1e-6 * mean, "{}: {} expected", hit.distance, expected);
        }
    }

    #[test]
    fn a_collection_is_copied_backed_up_and_restored_with_all_it_learned(which in 0..3_usize) {
        let precision = [Precision::F32, Precision::F16, Precision::I8][which];
        let home = tempfile::tempdir().expect("a directory");
        let store = builder().open(home.path().join("s")).expect("opened");
        let main = fill(&store).expect("filled");
        let items = main.items().expect("listed").collect::<Result<Vec<_>, _>>().expect("read");
        let history = main.history().expect("read");
        let make = |store: &Store, name: &str, precision| {
            let copy = store.collection(name).dim(main.dim()).precision(precision);
            let copy = copy.keywords(main.keywords().expect("on"));
            copy.create_with(items.clone(), &history)
        };
        let copy = make(&store, "copy", precision).expect("imported");
        prop_assert_eq!(copy.history().expect("read"), history.clone());
        if precision == Precision::F32 {
            prop_assert!(collection_contents(&copy).expect("seen") == collection_contents(&main).expect("seen"));
        }
        // A history that contradicts itself is refused and leaves no collection.
        let mut bad = history.clone();
        bad.active = VersionId(77);
        let refused = store.collection("bad").dim(main.dim()).create_with(items.clone(), &bad);
        prop_assert!(refused.is_err() && store.collections().expect("listed").len() == 3);
        store.backup(home.path().join("b")).expect("backed up");
        let before = collection_contents(&copy).expect("seen");
        builder().restore(home.path().join("b"), home.path().join("r")).expect("restored");
        let restored = builder().open(home.path().join("r")).expect("opened");
        prop_assert!(collection_contents(&restored.collection("copy").open().expect("opened")).expect("seen") == before);
    }
}
