//! Benchmarks of searching, of choosing among hits, adding, refitting and encoding, to find
//! regressions. `benches/run.sh` runs them and prints a table.
//!
//! The data are 6,000 points of 384 dimensions: the `MiniLM` vectors of `wordnet-6000` if
//! `../shared/data` exists, else synthetic clusters. The first line of the output says which.

use std::path::PathBuf;
use std::sync::LazyLock;

use affinis::encode::Backend;
use affinis::{
    Collection, Item, Judgement, MetricChoice, Query, Store, VersionId,
    encode::{Encoder, Onnx},
};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::{data_dir, f16_vectors};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use serde_json::json;

const DIM: usize = 384;

fn main() {
    let (items, source) = &*POINTS;
    println!("{} points x {DIM}: {source}", items.len());
    divan::main();
}

/// Points with their labels in `meta.label`, and a description of their origin.
static POINTS: LazyLock<(Vec<Item>, &'static str)> = LazyLock::new(|| {
    let text = data_dir().join("text");
    match f16_vectors(&text.join("wordnet-6000.minilm384.f16.npy")) {
        Some(vectors) => {
            let labels = std::fs::read_to_string(text.join("wordnet-6000.tsv"))
                .expect("the texts are beside the vectors");
            let rows = vectors.outer_iter().zip(labels.lines()).enumerate();
            let items = rows.map(|(i, (row, line))| {
                Item::vector(i.to_string(), row.to_vec())
                    .with_meta(json!({"label": line.split('\t').next()}))
            });
            (items.collect(), "MiniLM vectors of wordnet-6000")
        }
        None => (clusters(), "synthetic clusters"),
    }
});

/// 6,000 items around 40 random centres.
fn clusters() -> Vec<Item> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut point = move || -> Vec<f32> { (0..DIM).map(|_| random.f32() - 0.5).collect() };
    let centres: Vec<Vec<f32>> = (0..40).map(|_| point()).collect();
    (0..6_000)
        .map(|i| {
            let vector: Vec<f32> = point()
                .iter()
                .zip(&centres[i % 40])
                .map(|(x, c)| x + c)
                .collect();
            Item::vector(i.to_string(), vector).with_meta(json!({"label": i % 40}))
        })
        .collect()
}

/// A collection of all points, with built graphs, 1,000 judgements, and a learned metric as version
/// 1.
static LEARNED: LazyLock<Collection> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory").keep();
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir)
        .expect("a store");
    let points = store
        .collection("points")
        .dim(DIM)
        .create()
        .expect("a collection");
    let (items, _) = &*POINTS;
    points.add(items.clone()).expect("added");
    for query in 0..100 {
        let hits = points
            .search(Query::like(query.to_string()))
            .run()
            .expect("hits");
        let label = |id: &str| &items[id.parse::<usize>().expect("a number")].meta["label"];
        let own = query.to_string();
        let judged = hits.iter().map(|hit| {
            let grade = if label(&hit.id) == label(&own) {
                1.0
            } else {
                -1.0
            };
            Judgement::graded(Query::like(&own), &hit.id, grade)
        });
        points.judge_all(judged).expect("judged");
    }
    points.refit().force(true).run().expect("a metric");
    points.settle().expect("settled");
    points
});

fn search(bencher: Bencher<'_, '_>, metric: MetricChoice) {
    let points = &*LEARNED;
    let (items, _) = &*POINTS;
    let mut at = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        at = (at + 1) % items.len();
        let query = items[at].vector.clone().expect("a vector");
        black_box(points.search(query).metric(metric).run().expect("hits"))
    });
}

#[divan::bench(min_time = 1)]
fn search_euclidean(bencher: Bencher<'_, '_>) {
    search(bencher, MetricChoice::BuiltIn);
}

#[divan::bench(min_time = 1)]
fn search_learned(bencher: Bencher<'_, '_>) {
    search(bencher, MetricChoice::Version(VersionId(1)));
}

/// Searches under the learned metric with a setting that chooses among the hits.
#[divan::bench(min_time = 1, args = ["offset", "cursor", "groups", "diversity"])]
fn search_choosing(bencher: Bencher<'_, '_>, setting: &str) {
    let points = &*LEARNED;
    let (items, _) = &*POINTS;
    let mut at = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        at = (at + 1) % items.len();
        let query = items[at].vector.clone().expect("a vector");
        let search = points
            .search(query)
            .metric(MetricChoice::Version(VersionId(1)));
        let search = match setting {
            "offset" => search.offset(20),
            "cursor" => search.cursor(affinis::FIRST_PAGE),
            "groups" => search.group_by("label", 1),
            _ => search.diversity(0.3),
        };
        black_box(search.run().expect("hits"))
    });
}

/// Counts of all labels.
#[divan::bench(min_time = 1)]
fn facet(bencher: Bencher<'_, '_>) {
    let points = &*LEARNED;
    bencher.bench_local(|| black_box(points.facet("label", None, 10).expect("counts")));
}

/// All items within a distance, which is a scan.
#[divan::bench(min_time = 1)]
fn within(bencher: Bencher<'_, '_>) {
    let points = &*LEARNED;
    let (items, _) = &*POINTS;
    let mut at = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        at = (at + 1) % items.len();
        let query = items[at].vector.clone().expect("a vector");
        black_box(points.within(query, 0.5).run().expect("hits").count())
    });
}

/// Durable batches; building graphs in the background is not included.
#[divan::bench(sample_count = 5, sample_size = 1, args = [1, 100, 1000])]
fn add(bencher: Bencher<'_, '_>, batch: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path()).expect("a store");
    let points = store
        .collection("points")
        .dim(DIM)
        .create()
        .expect("a collection");
    let (items, _) = &*POINTS;
    let mut round = 0;
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        round += 1;
        let fresh = items[..batch].iter().cloned().map(|mut item| {
            item.id = format!("{round}-{}", item.id);
            item
        });
        points.add(fresh).expect("added")
    });
}

/// A refit of 1,000 judgements: the closed form, the choice of its settings, and the gate.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn refit(bencher: Bencher<'_, '_>) {
    let points = &*LEARNED;
    bencher.bench_local(|| points.refit().dry_run(true).run().expect("a report"));
}

/// The built-in model on 6,000 glosses of WordNet.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn encode(bencher: Bencher<'_, '_>) {
    let texts: Vec<&str> = include_str!("../cli/data/wordnet-6000.tsv")
        .lines()
        .filter_map(|l| Some(l.split_once('\t')?.1))
        .collect();
    let encoder = Onnx::embedded().expect("the shipped model");
    bencher
        .counter(ItemsCount::new(texts.len()))
        .bench_local(|| encoder.encode(&texts).expect("vectors"));
}

/// all-MiniLM-L6-v2 on 1,000 of these glosses. Needs the model of `tools/get-minilm.sh`, and
/// `ORT_DYLIB_PATH` for ONNX Runtime.
#[divan::bench(sample_count = 3, sample_size = 1, args = ["rten", "onnxruntime"])]
fn encode_minilm(bencher: Bencher<'_, '_>, backend: &str) {
    let encoder = match backend {
        "rten" => minilm(Backend::Rten),
        #[cfg(feature = "onnxruntime")]
        _ => minilm(Backend::OnnxRuntime),
        #[cfg(not(feature = "onnxruntime"))]
        _ => None,
    };
    let Some(encoder) = encoder else { return };
    let texts: Vec<&str> = include_str!("../cli/data/wordnet-6000.tsv")
        .lines()
        .step_by(6)
        .filter_map(|line| Some(line.split_once('\t')?.1))
        .collect();
    bencher
        .counter(ItemsCount::new(texts.len()))
        .bench_local(|| encoder.encode(&texts).expect("vectors"));
}

fn minilm(backend: Backend) -> Option<Onnx> {
    let dir = std::env::var_os("AFFINIS_MINILM").map_or_else(
        || PathBuf::from("target/models/all-MiniLM-L6-v2"),
        PathBuf::from,
    );
    Onnx::options().backend(backend).from_dir(dir).ok()
}
