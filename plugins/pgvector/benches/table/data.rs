//! Rows and questions.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use affinis::Judgement;
use affinis::encode::{Encoder, Onnx};
use affinis_testkit::servers::Servers;
use affinis_testkit::{data_dir, skipped};
use bytes::Bytes;
use futures_util::SinkExt as _;
use ndarray::{Array1, Array2, Axis, s};
use tokio_postgres::NoTls;

use crate::judged;

/// Questions of each kind.
const QUESTIONS: usize = 200;
/// Rows that are sent at a time.
const SENT: usize = 500;

pub(crate) struct Data {
    /// The rows, of unit length (`n x d`).
    pub(crate) vectors: Array2<f32>,
    /// The texts of the rows with their encoder, where they are of texts.
    pub(crate) texts: Option<(Vec<String>, Onnx)>,
    /// Questions of each kind, which are no rows.
    questions: Vec<(&'static str, Vec<Vec<f32>>)>,
    random: u64,
}

impl Data {
    /// Descriptions of Debian's packages and glosses of WordNet, by all-MiniLM-L6-v2.
    pub(crate) fn texts() -> Option<Self> {
        let texts = lines()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let model = std::env::var_os("AFFINIS_MINILM").map_or_else(
            || root.join("target/models/all-MiniLM-L6-v2"),
            PathBuf::from,
        );
        if !model.join("model.onnx").exists() {
            skipped("no model; tools/get-minilm.sh makes it");
            return None;
        }
        let encoder = Onnx::from_dir(&model).expect("a model");
        let encode = |texts: &[String]| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            encoder.encode(&texts).expect("vectors").vectors
        };
        // One text of a hundred is a question, and no row.
        let (held, rows): (Vec<_>, Vec<_>) = texts
            .into_iter()
            .enumerate()
            .partition(|(at, _)| at % 100 == 0);
        let of = |texts: Vec<(usize, String)>| texts.into_iter().map(|(_, text)| text).collect();
        let (held, rows): (Vec<String>, Vec<String>) = (of(held), of(rows));
        let step = held.len() / QUESTIONS;
        let held: Vec<String> = held
            .into_iter()
            .step_by(step.max(1))
            .take(QUESTIONS)
            .collect();
        let words: Vec<String> = held.iter().map(|text| words(text)).collect();
        let vectors = kept(&root.join("target/engines"), &rows, &encode);
        let items = some(&vectors);
        let as_rows = |vectors: Array2<f32>| vectors.outer_iter().map(|v| v.to_vec()).collect();
        Some(Self {
            questions: vec![
                ("items", items),
                ("texts", as_rows(encode(&held))),
                ("words", as_rows(encode(&words))),
            ],
            vectors,
            texts: Some((rows, encoder)),
            random: 1,
        })
    }

    /// Points of a thousand clusters.
    pub(crate) fn synthetic(rows: usize, dim: usize) -> Self {
        let rows = wanted(rows);
        let mut random = fastrand::Rng::with_seed(7);
        let mut normal = || (0..6).map(|_| random.f32() - 0.5).sum::<f32>();
        let centres = Array2::from_shape_fn((1_000, dim), |_| normal());
        let mut point = |at: usize| {
            let centre = centres.row(at * 7_919 % 1_000);
            let point: Array1<f32> = centre.mapv(|x| x + 0.6 * normal());
            let norm = point.dot(&point).sqrt();
            point / norm
        };
        let mut vectors = Array2::zeros((rows, dim));
        for (at, mut row) in vectors.outer_iter_mut().enumerate() {
            row.assign(&point(at));
        }
        let mut points = |from: usize| (0..QUESTIONS).map(|at| point(from + at).to_vec()).collect();
        let (texts, words) = (points(13), points(377));
        Self {
            questions: vec![
                ("items", some(&vectors)),
                ("texts", texts),
                ("words", words),
            ],
            vectors,
            texts: None,
            random: 1,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.vectors.nrows()
    }

    pub(crate) fn dim(&self) -> usize {
        self.vectors.ncols()
    }

    /// Questions of a kind: items, texts that are no rows, one or two of their words.
    pub(crate) fn questions(&self, kind: &str) -> Vec<Vec<f32>> {
        let of = self.questions.iter().find(|(known, _)| *known == kind);
        of.map(|(_, questions)| questions.clone())
            .unwrap_or_default()
    }

    /// A metric with eigenvalues from one to the condition, evenly on a scale of logarithms.
    pub(crate) fn metric(&self, condition: f64) -> Array2<f64> {
        let dim = self.dim();
        let mut random = fastrand::Rng::with_seed(self.random);
        let mut basis: Array2<f64> = Array2::from_shape_fn((dim, dim), |_| random.f64() - 0.5);
        for at in 0..dim {
            let (before, mut rest) = basis.view_mut().split_at(Axis(0), at);
            let mut row = rest.row_mut(0);
            for other in before.outer_iter() {
                let product = row.dot(&other);
                row.scaled_add(-product, &other);
            }
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
        let weight = |at: usize| condition.powf(at as f64 / (dim - 1) as f64);
        let weights = Array1::from_shape_fn(dim, weight);
        basis.t().dot(&(&basis * &weights.insert_axis(Axis(1))))
    }

    /// Judgements of the ten nearest rows of a sample by somebody who sees twenty directions.
    pub(crate) fn judgements(&self, count: usize) -> Vec<Judgement> {
        let mut random = fastrand::Rng::with_seed(3);
        let dim = self.dim();
        let seen: Array2<f32> = Array2::from_shape_fn((dim, 20), |_| random.f32() - 0.5);
        let sample = self.vectors.slice(s![..20_000.min(self.rows()), ..]);
        let (by_all, by_seen) = (sample, sample.dot(&seen));
        let mut judgements = Vec::new();
        for query in self.questions("texts").iter().take(count / 10) {
            let query = ndarray::ArrayView1::from(query.as_slice());
            let products = by_all.dot(&query);
            let mut near: Vec<usize> = (0..sample.nrows()).collect();
            near.sort_by(|a, b| products[*b].total_cmp(&products[*a]));
            let of_query = seen.t().dot(&query);
            let apart = |item: &usize| {
                let apart = &by_seen.row(*item) - &of_query;
                apart.dot(&apart)
            };
            let mut ten: Vec<usize> = near.into_iter().take(10).collect();
            ten.sort_by(|a, b| apart(a).total_cmp(&apart(b)));
            for (place, item) in ten.into_iter().enumerate() {
                judgements.push(judged(
                    query.as_slice().unwrap_or_default(),
                    item,
                    place < 5,
                ));
            }
        }
        judgements
    }

    /// Makes the table `docs` of the rows, with an index by inner product.
    pub(crate) fn load(&self, servers: &Servers, kind: &str) {
        let columns = format!(
            "id bigint, embedding vector({}), meta jsonb, body text",
            self.dim()
        );
        let url = servers.url();
        let parts: Vec<String> = if kind == "shards" {
            servers.call("shard-table", &["docs", &columns, "--vector", ""]);
            let shards = servers.status()["shards"].clone();
            let shards = shards.as_array().expect("shards").clone();
            shards
                .iter()
                .filter_map(|url| url.as_str().map(str::to_owned))
                .collect()
        } else {
            run(
                &url,
                &format!("CREATE TABLE docs ({columns}, PRIMARY KEY (id))"),
            );
            vec![url.clone()]
        };
        self.copy(&url);
        for part in &parts {
            run(
                part,
                "SET maintenance_work_mem = '1500MB'; SET max_parallel_maintenance_workers = 1; \
                 CREATE INDEX ON docs USING hnsw (embedding vector_ip_ops); ANALYZE docs",
            );
        }
    }

    fn copy(&self, url: &str) {
        let runtime = runtime();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls)
                .await
                .expect("connected");
            tokio::spawn(connection);
            let copy = "COPY docs FROM STDIN";
            let sink = client.copy_in::<_, Bytes>(copy).await.expect("a copy");
            let mut sink = std::pin::pin!(sink);
            for (from, some) in self.vectors.axis_chunks_iter(Axis(0), SENT).enumerate() {
                let mut lines = String::new();
                for (at, vector) in some.outer_iter().enumerate() {
                    let id = from * SENT + at;
                    let text = match &self.texts {
                        Some((texts, _)) => texts[id].replace(['\\', '\n', '\r', '\t'], " "),
                        None => String::new(),
                    };
                    let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
                    let _ = writeln!(
                        lines,
                        "{id}\t[{}]\t{{\"of2\": {}, \"of20\": {}, \"of200\": {}}}\t{text}",
                        numbers.join(","),
                        id % 2,
                        id % 20,
                        id % 200
                    );
                }
                sink.send(Bytes::from(lines)).await.expect("sent");
            }
            sink.finish().await.expect("copied");
        });
    }
}

/// Runs statements.
fn run(url: &str, sql: &str) {
    runtime().block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .expect("connected");
        tokio::spawn(connection);
        client.batch_execute(sql).await.expect("done");
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Number of rows, or the smaller one that is asked for.
fn wanted(rows: usize) -> usize {
    affinis_testkit::setting("AFFINIS_ROWS", rows as u64).min(rows as u64) as usize
}

/// The texts of both collections, mixed.
fn lines() -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for name in [
        "debian-name-descriptions.tsv.gz",
        "wordnet-lemmas-glosses.tsv.gz",
    ] {
        let path = data_dir().join("text").join(name);
        let Ok(file) = fs::File::open(&path) else {
            skipped(&format!("no {}", path.display()));
            return None;
        };
        let mut all = String::new();
        let read = flate2::read::GzDecoder::new(file).read_to_string(&mut all);
        read.expect("texts");
        texts.extend(all.lines().map(|line| line.replace('\t', ": ")));
    }
    fastrand::Rng::with_seed(2).shuffle(&mut texts);
    texts.truncate(wanted(texts.len()));
    Some(texts)
}

/// One or two words of a text.
fn words(text: &str) -> String {
    let mut words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.truncate(1 + text.len() % 2);
    words.join(" ")
}

/// A sample of the rows.
fn some(vectors: &Array2<f32>) -> Vec<Vec<f32>> {
    let step = (vectors.nrows() / QUESTIONS).max(1);
    let rows = vectors.outer_iter().step_by(step).take(QUESTIONS);
    rows.map(|row| row.to_vec()).collect()
}

/// The vectors of texts, computed once.
fn kept(
    directory: &Path,
    texts: &[String],
    encode: &impl Fn(&[String]) -> Array2<f32>,
) -> Array2<f32> {
    let path = directory.join(format!("minilm-{}.f32", texts.len()));
    if let Ok(bytes) = fs::read(&path) {
        let (numbers, _) = bytes.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|n| f32::from_le_bytes(*n)).collect();
        let dim = numbers.len() / texts.len();
        return Array2::from_shape_vec((texts.len(), dim), numbers).expect("whole rows");
    }
    let parts: Vec<Array2<f32>> = texts.chunks(10_000).map(encode).collect();
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let vectors = ndarray::concatenate(Axis(0), &views).expect("rows");
    fs::create_dir_all(directory).expect("a directory");
    let bytes: Vec<u8> = vectors.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(path, bytes).expect("written");
    vectors
}
