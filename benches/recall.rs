//! Recall of the questions that people ask, by kind: `cargo bench --bench recall [-- SET ...]`
//! prints the table of docs/benchmarks.md.
//!
//! Each kind of question is answered by the default search, by searches of fixed width, and by a
//! scan, which is what the answers are compared with. The last columns give the narrowest fixed
//! width that keeps the promise too, and how the default's time and the number of its distances
//! compare with its. Times are CPU times of one thread; the two are measured in turns.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use affinis::encode::{EncodeError, Encoded, Encoder, Onnx};
use affinis::{Collection, Item, MetricChoice, Store};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::Random;
use affinis_testkit::questions::{Questions, composed, spread, texts};
use affinis_testkit::synthetic::orthonormalise;
use ndarray::Array2;

/// Questions of each kind.
const QUESTIONS: usize = 300;
/// Hits of a search.
const K: usize = 10;
/// The fixed widths that are tried, narrowest first.
const WIDTHS: [usize; 20] = [
    16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1536, 2048, 4096,
];
/// The condition number of the learned metric.
const CONDITION: f64 = 10.0;
/// Rounds of which the times are added.
const ROUNDS: usize = 5;
/// Least time of a round, since the clock of a thread's time is coarse.
const ROUND: Duration = Duration::from_millis(50);

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for set in [
        "composed",
        "debian",
        "wordnet",
        "all",
        "minilm-12k",
        "minilm-180k",
    ] {
        if chosen.is_empty() || chosen.iter().any(|name| name == set) {
            measure_set(set);
        }
    }
}

/// Measures one set, where its data is there.
fn measure_set(set: &str) -> Option<()> {
    let glosses = texts("wordnet-lemmas-glosses.tsv.gz")?;
    let packages = texts("debian-name-descriptions.tsv.gz")?;
    let minilm = set.starts_with("minilm");
    let (all, other) = match set {
        "composed" => (composed(&glosses), packages),
        "debian" => (spread(&packages, 20_000), glosses),
        "wordnet" => (spread(&glosses, 6_000), packages),
        "minilm-12k" => {
            let half = [spread(&packages, 6_000), spread(&glosses, 6_000)];
            (half.concat(), composed(&glosses))
        }
        _ => ([&*glosses, &*packages].concat(), composed(&glosses)),
    };
    let encoder = Arc::new(Remembering::new(if minilm {
        minilm_encoder()?
    } else {
        Onnx::embedded().expect("the model is in the binary")
    }));
    let questions = Questions::new(&all, &other, QUESTIONS, 5);
    let home = tempfile::tempdir().expect("a temporary directory");
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(home.path().join("store"))
        .expect("a store");
    let collection = store
        .collection("texts")
        .encoder_arc(encoder.clone())
        .create()
        .expect("a collection");
    for (batch, chunk) in questions.items.chunks(10_000).enumerate() {
        let items = chunk.iter().enumerate();
        let items = items.map(|(i, text)| Item::text(format!("{batch}-{i}"), text));
        collection.add(items).expect("added");
    }
    let dim = collection.info().dim;
    let version = collection
        .import_metric(conditioned(dim, CONDITION).view())
        .expect("a metric");
    println!(
        "\n### {set}: {} texts x {dim}, {}\n",
        questions.items.len(),
        if minilm {
            "all-MiniLM-L6-v2"
        } else {
            "shipped model"
        }
    );
    for (metric, name) in [(None, "built-in"), (Some(version), "learned")] {
        if let Some(version) = metric {
            collection.promote(version).expect("promoted");
        }
        collection.settle().expect("settled");
        println!(
            "| {name} metric | recall@10 | recall@1 | below .5 | us | distances | narrowest width | its us | its distances | ratio |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for (kind, asked) in &questions.kinds {
            measure_kind(&collection, &encoder, kind, asked);
        }
        println!();
    }
    Some(())
}

/// The model that `tools/get-minilm.sh` makes, where it is there.
fn minilm_encoder() -> Option<Onnx> {
    let dir = std::env::var_os("AFFINIS_MINILM").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/models/all-MiniLM-L6-v2"),
        PathBuf::from,
    );
    let model = Onnx::from_dir(&dir);
    if let Err(error) = &model {
        println!("skipped: {error}; tools/get-minilm.sh makes the model");
    }
    model.ok()
}

/// An encoder that looks up the texts that it is told to remember, so that the model's time is not
/// in the figures.
struct Remembering {
    model: Onnx,
    known: RwLock<HashMap<String, Vec<f32>>>,
}

impl Remembering {
    fn new(model: Onnx) -> Self {
        Self {
            model,
            known: RwLock::default(),
        }
    }

    /// Remembers those of `texts` that the model knows something of, and returns them.
    fn remember<'a>(&self, texts: &'a [String]) -> Vec<&'a str> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = self.model.encode(&texts).expect("encoded").vectors;
        let rows = texts.iter().zip(vectors.outer_iter());
        let known: Vec<(&str, Vec<f32>)> = rows
            .map(|(text, row)| (*text, row.to_vec()))
            .filter(|(_, row)| row.iter().any(|x| *x != 0.0))
            .collect();
        let texts = known.iter().map(|(text, _)| *text).collect();
        let known = known.into_iter().map(|(text, row)| (text.to_owned(), row));
        self.known.write().expect("no panic").extend(known);
        texts
    }
}

impl Encoder for Remembering {
    fn dim(&self) -> usize {
        self.model.dim()
    }

    fn name(&self) -> &str {
        self.model.name()
    }

    fn fingerprint(&self) -> &str {
        self.model.fingerprint()
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        if let [text] = texts
            && let Some(row) = self.known.read().expect("no panic").get(*text)
        {
            let row = Array2::from_shape_vec((1, row.len()), row.clone());
            return Ok(Encoded::new(row.expect("one row")));
        }
        self.model.encode(texts)
    }
}

/// How well one way of searching answers questions.
struct Outcome {
    recall: f64,
    recall_at_1: f64,
    below_half: f64,
    /// Mean number of distances computed.
    distances: usize,
}

impl Outcome {
    /// Whether the answers are what is promised by default.
    fn keeps_promise(&self) -> bool {
        self.recall >= 0.95 && self.recall_at_1 >= 0.99 && self.below_half <= 0.01
    }
}

fn measure_kind(collection: &Collection, encoder: &Remembering, kind: &str, asked: &[String]) {
    let asked = encoder.remember(asked);
    let truth: Vec<Vec<f32>> = asked
        .iter()
        .map(|question| search(collection, question, None, Some(1.0)).0)
        .collect();
    let default = outcome(collection, &asked, &truth, None);
    let fixed = WIDTHS.iter().find_map(|ef| {
        let outcome = outcome(collection, &asked, &truth, Some(*ef));
        outcome.keeps_promise().then_some((*ef, outcome))
    });
    let mut times = [0.0; 2];
    for _ in 0..ROUNDS {
        times[0] += micros(collection, &asked, None) / ROUNDS as f64;
        if let Some((ef, _)) = fixed {
            times[1] += micros(collection, &asked, Some(ef)) / ROUNDS as f64;
        }
    }
    let mark = if default.keeps_promise() {
        ""
    } else {
        " (missed)"
    };
    let (width, distances) = fixed.map_or((0, 0), |(ef, fixed)| (ef, fixed.distances));
    println!(
        "| {kind}{mark} | {:.3} | {:.3} | {:.3} | {:.1} | {} | {width} | {:.1} | {distances} | {:.2} |",
        default.recall,
        default.recall_at_1,
        default.below_half,
        times[0],
        default.distances,
        times[1],
        if times[1] > 0.0 {
            times[0] / times[1]
        } else {
            0.0
        },
    );
}

/// Mean CPU time of a search in microseconds, over a round.
fn micros(collection: &Collection, asked: &[&str], ef: Option<usize>) -> f64 {
    let before = cpu_time();
    let mut searches = 0;
    loop {
        for question in asked {
            search(collection, question, ef, None);
        }
        searches += asked.len();
        let time = cpu_time().saturating_sub(before);
        if time >= ROUND {
            return time.as_secs_f64() * 1e6 / searches as f64;
        }
    }
}

fn outcome(
    collection: &Collection,
    asked: &[&str],
    truth: &[Vec<f32>],
    ef: Option<usize>,
) -> Outcome {
    let answers: Vec<(Vec<f32>, usize)> = asked
        .iter()
        .map(|question| search(collection, question, ef, None))
        .collect();
    let pairs = || answers.iter().map(|(found, _)| found).zip(truth);
    let recalls: Vec<f64> = pairs()
        .map(|(found, truth)| {
            // Items as near as the last of the exact ones count as much as it does.
            let last = truth[truth.len() - 1];
            found.iter().filter(|distance| **distance <= last).count() as f64 / truth.len() as f64
        })
        .collect();
    let count = recalls.len() as f64;
    Outcome {
        recall: recalls.iter().sum::<f64>() / count,
        recall_at_1: pairs()
            .filter(|(found, truth)| found[0] <= truth[0])
            .count() as f64
            / count,
        below_half: recalls.iter().filter(|recall| **recall < 0.5).count() as f64 / count,
        distances: answers
            .iter()
            .map(|(_, distances)| distances)
            .sum::<usize>()
            / answers.len(),
    }
}

/// The distances of the hits, nearest first, and the number of distances computed.
fn search(
    collection: &Collection,
    question: &str,
    ef: Option<usize>,
    recall: Option<f64>,
) -> (Vec<f32>, usize) {
    let mut search = collection
        .search(question)
        .k(K)
        .metric(MetricChoice::Active);
    if let Some(ef) = ef {
        search = search.ef(ef);
    }
    if let Some(recall) = recall {
        search = search.recall(recall);
    }
    let hits = search.run().expect("hits");
    let distances = hits.execution.visited;
    (hits.iter().map(|hit| hit.distance).collect(), distances)
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// A random matrix of a condition number, its eigenvalues spread evenly on a logarithmic scale.
fn conditioned(dim: usize, condition: f64) -> Array2<f64> {
    let mut random = Random(11);
    let mut basis = Array2::from_shape_fn((dim, dim), |_| random.normal());
    orthonormalise(&mut basis);
    let value = |i: usize| condition.powf(i as f64 / (dim.max(2) - 1) as f64);
    let scaled = Array2::from_shape_fn((dim, dim), |(i, j)| value(i) * basis[(i, j)]);
    let matrix = basis.t().dot(&scaled);
    (&matrix + &matrix.t()) / 2.0
}
