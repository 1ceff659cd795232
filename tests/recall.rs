//! Recall at default settings on real vectors, against an exact scan, under Euclid and under a
//! learned metric.

use std::collections::HashSet;

use affinis::{Collection, Item, Judgement, MetricChoice, Query, VersionId};
use affinis_testkit::stores::builder;
use affinis_testkit::{data_dir, f16_vectors};
use ndarray::{Array1, Array2, Axis};

const DIM: usize = 384;

/// The items and labels of a data set, where it is there.
fn read(name: &str) -> Option<(Vec<Item>, Vec<String>)> {
    let text = data_dir().join("text");
    let vectors = f16_vectors(&text.join(format!("{name}.minilm384.f16.npy")))?;
    let labels = std::fs::read_to_string(text.join(format!("{name}.tsv")))
        .expect("the labels are beside the vectors");
    let labels: Vec<String> = labels
        .lines()
        .map(|l| l.split('\t').next().unwrap_or_default().to_owned())
        .collect();
    let items = vectors
        .outer_iter()
        .enumerate()
        .map(|(i, row)| Item::vector(i.to_string(), row.to_vec()));
    Some((items.collect(), labels))
}

/// Exact squared distances of pairs of items under `A`, in `f64`, from `X A` and the diagonal of `X
/// A X'`.
struct Exact {
    x: Array2<f64>,
    xa: Array2<f64>,
    own: Array1<f64>,
}

impl Exact {
    fn new(items: &[Item], a: &Array2<f64>) -> Self {
        let numbers = items
            .iter()
            .flat_map(|i| i.vector.iter().flatten().map(|x| f64::from(*x)))
            .collect();
        let x = Array2::from_shape_vec((items.len(), DIM), numbers).expect("whole rows");
        let xa = x.dot(a);
        let own = (&xa * &x).sum_axis(Axis(1));
        Self { x, xa, own }
    }

    /// The ids of the ten items nearest to an item.
    fn nearest(&self, i: usize) -> HashSet<String> {
        let products = self.x.dot(&self.xa.row(i));
        let distance = |j: &usize| self.own[i] - 2.0 * products[*j] + self.own[*j];
        let mut order: Vec<usize> = (0..self.own.len()).collect();
        order.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        order[..10].iter().map(ToString::to_string).collect()
    }
}

fn recall(points: &Collection, items: &[Item], metric: MetricChoice, exact: &Exact) -> f64 {
    let queries: Vec<usize> = (0..items.len()).step_by(items.len() / 200).collect();
    let (mut found, mut visited) = (0, 0);
    for i in &queries {
        let expected = exact.nearest(*i);
        let query = items[*i].vector.as_deref().expect("a vector");
        let hits = points.search(query).metric(metric).run().expect("hits");
        visited += hits.execution.visited;
        found += hits.iter().filter(|h| expected.contains(&h.id)).count();
    }
    // Queries that are far from all items may be answered by a scan.
    assert!(
        visited / queries.len() < items.len() / 4,
        "the graph answers, not a scan: {visited} distances of {} queries",
        queries.len()
    );
    found as f64 / (10 * queries.len()) as f64
}

#[test]
fn recall_is_at_least_95_percent_under_euclid_and_under_a_learned_metric() {
    for name in ["debian-6000", "wordnet-6000"] {
        let Some((items, labels)) = read(name) else {
            return;
        };
        let dir = tempfile::tempdir().expect("a directory");
        let store = builder().open(dir.path()).expect("a store");
        let points = store
            .collection("points")
            .dim(DIM)
            .create()
            .expect("created");
        points.add(items.clone()).expect("added");
        points.settle().expect("linked");
        let euclid = recall(
            &points,
            &items,
            MetricChoice::BuiltIn,
            &Exact::new(&items, &Array2::eye(DIM)),
        );
        for query in 0..100 {
            let hits = points
                .search(Query::like(query.to_string()))
                .run()
                .expect("hits");
            let judged = hits.iter().map(|hit| {
                let relevant = labels[hit.id.parse::<usize>().expect("a row")] == labels[query];
                Judgement::graded(
                    Query::like(query.to_string()),
                    &hit.id,
                    if relevant { 1.0 } else { -1.0 },
                )
            });
            points.judge_all(judged).expect("judged");
        }
        let report = points.refit().run().expect("a report");
        assert!(report.promoted, "{name}: {report:?}");
        points.settle().expect("calibrated");
        let a = points.metric_matrix(VersionId(1)).expect("a matrix");
        let learned = recall(
            &points,
            &items,
            MetricChoice::Active,
            &Exact::new(&items, &a),
        );
        println!(
            "{name}: recall@10 {euclid:.4} under Euclid, {learned:.4} under the learned metric"
        );
        assert!(
            euclid >= 0.95 && learned >= 0.95,
            "{name}: {euclid} {learned}"
        );
    }
}
