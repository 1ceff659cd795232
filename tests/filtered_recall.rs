//! Recall of filtered searches at every selectivity, against an exact scan: for filters that are
//! independent of the vectors, and for filters on their cluster.

use affinis::{Collection, Filter, Item, Plan, Store};
use serde_json::json;

const DIM: usize = 24;
const COUNT: usize = 20_000;
const CLUSTERS: usize = 40;
const K: usize = 10;

/// Points of forty clusters, with a uniform random share each.
struct Points {
    vectors: Vec<Vec<f32>>,
    shares: Vec<f64>,
}

fn points() -> Points {
    let mut random = fastrand::Rng::with_seed(17);
    let mut normal = || (0..6).map(|_| random.f32() - 0.5).sum::<f32>();
    let centres: Vec<Vec<f32>> = (0..CLUSTERS)
        .map(|_| (0..DIM).map(|_| 1.5 * normal()).collect())
        .collect();
    let vectors = (0..COUNT)
        .map(|i| centres[i % CLUSTERS].iter().map(|c| c + normal()).collect())
        .collect();
    let mut random = fastrand::Rng::with_seed(18);
    Points {
        vectors,
        shares: (0..COUNT).map(|_| random.f64()).collect(),
    }
}

fn filled(points: &Points, dir: &std::path::Path) -> (Store, Collection) {
    let store = Store::open(dir).expect("a store");
    let all = store.collection("points").dim(DIM).create().expect("made");
    let item = |i: usize| {
        let meta = json!({"share": points.shares[i], "cluster": i % CLUSTERS});
        Item::vector(i.to_string(), points.vectors[i].clone()).with_meta(meta)
    };
    all.add((0..COUNT).map(item)).expect("added");
    all.settle().expect("linked");
    (store, all)
}

/// The mean recall@10 over 50 queries, and the plans that answered them.
fn recall(
    all: &Collection,
    points: &Points,
    filter: &str,
    passes: impl Fn(usize) -> bool,
) -> (f64, Vec<Plan>) {
    let filter = Filter::parse(filter).expect("a filter");
    let matching: Vec<usize> = (0..COUNT).filter(|i| passes(*i)).collect();
    let (mut found, mut possible, mut plans) = (0, 0, Vec::new());
    for query in (0..COUNT).step_by(COUNT / 50) {
        let distance = |i: usize| -> f64 {
            let pairs = points.vectors[query].iter().zip(&points.vectors[i]);
            pairs
                .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
                .sum()
        };
        let mut exact = matching.clone();
        exact.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        exact.truncate(K);
        let hits = all
            .search(points.vectors[query].clone())
            .k(K)
            .filter(filter.clone())
            .run()
            .expect("answered");
        let rows: Vec<usize> = hits
            .iter()
            .map(|hit| hit.id.parse().expect("a row"))
            .collect();
        assert!(
            rows.iter().all(|row| passes(*row)),
            "what does not pass is not found"
        );
        assert_eq!(rows.len(), exact.len(), "as many as there are");
        if hits.execution.plan == Plan::FilterScan {
            assert_eq!(rows, exact, "a scan is exact");
        }
        found += exact.iter().filter(|row| rows.contains(row)).count();
        possible += exact.len();
        plans.push(hits.execution.plan);
    }
    plans.sort();
    plans.dedup();
    (
        f64::from(found as u32) / f64::from(possible.max(1) as u32),
        plans,
    )
}

#[test]
fn filtered_searches_keep_their_recall_at_every_selectivity() {
    let dir = tempfile::tempdir().expect("a directory");
    let points = points();
    let (_store, all) = filled(&points, dir.path());
    let mut used = Vec::new();
    for share in [
        1.0, 0.9, 0.7, 0.5, 0.35, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001,
    ] {
        let (recall, plans) = recall(
            &all,
            &points,
            &format!("{{\"share\": {{\"$lt\": {share}}}}}"),
            |i| points.shares[i] < share,
        );
        println!("{share}: {recall:.4} by {plans:?}");
        assert!(
            recall >= 0.95,
            "{recall} where {share} of the items pass, by {plans:?}"
        );
        used.extend(plans);
    }
    // Whole clusters: most queries are far from all items that pass, or from half of them.
    for clusters in [1, 2, 4, 8, 12, 20, 30, 39] {
        let (recall, plans) = recall(
            &all,
            &points,
            &format!("{{\"cluster\": {{\"$lt\": {clusters}}}}}"),
            |i| i % CLUSTERS < clusters,
        );
        println!("{clusters} of {CLUSTERS} clusters: {recall:.4} by {plans:?}");
        assert!(
            recall >= 0.95,
            "{recall} where {clusters} clusters pass, by {plans:?}"
        );
        used.extend(plans);
    }
    for plan in [Plan::FilterScan, Plan::FilterGraph] {
        assert!(used.contains(&plan), "{plan} was never used: {used:?}");
    }
}
