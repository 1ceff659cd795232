//! The Rust part of `benches/peers/run.py`: measures affinis and `hnsw_rs` on given vectors.
//!
//! `peers CONFIG.json` reads a task that `run.py` writes, and prints one JSON document. Vectors are
//! files of little-endian `f32`, row after row; ids of the true neighbours are little-endian `u32`.
//! Searches run on one thread, and their rate is per second of its CPU time, so that other load on
//! the machine matters little.

use std::path::{Path, PathBuf};
use std::time::Instant;

use affinis::{
    Collection, Item, Judgement, MetricChoice, Query, Store,
    encode::{Encoder, Onnx},
};
use affinis_mahalanobis::Mahalanobis;
use hnsw_rs::prelude::{DistL2, Hnsw};
use serde::Deserialize;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

#[derive(Deserialize)]
struct Config {
    who: String,
    dim: usize,
    base: PathBuf,
    queries: PathBuf,
    truth: PathBuf,
    k: usize,
    widths: Vec<usize>,
    /// Matrix of a metric, `f64`, row after row; `truth_learned` are the true neighbours under it.
    matrix: Option<PathBuf>,
    truth_learned: Option<PathBuf>,
    /// For `learn`: the label of each item, `u32`.
    labels: Option<PathBuf>,
    /// Whether a fifth of the items is deleted and added again at the end.
    churn: bool,
}

fn main() -> Result<(), Failure> {
    // `cargo bench` gives `--bench` too.
    let Some(path) = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
    else {
        println!("run benches/peers/run.py, which calls this");
        return Ok(());
    };
    let task: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    if let (Some(texts), Some(model), Some(out)) = (
        task["encode"].as_str(),
        task["model"].as_str(),
        task["out"].as_str(),
    ) {
        return encode(texts, model, out);
    }
    if let (Some(store), Some(queries), Some(dim)) = (
        task["open"].as_str(),
        task["queries"].as_str(),
        task["dim"].as_u64(),
    ) {
        println!(
            "{}",
            reopened(Path::new(store), &floats(Path::new(queries))?, dim as usize)?
        );
        return Ok(());
    }
    let config: Config = serde_json::from_value(task)?;
    let base = floats(&config.base)?;
    let queries = floats(&config.queries)?;
    let document = match config.who.as_str() {
        "hnsw_rs" => peer(&config, &base, &queries)?,
        "learn" => learn(&config, &base)?,
        _ => ours(&config, &base, &queries)?,
    };
    println!("{document}");
    Ok(())
}

/// Encodes the lines of a file with the model of a directory.
fn encode(texts: &str, model: &str, out: &str) -> Result<(), Failure> {
    let texts = std::fs::read_to_string(texts)?;
    let lines: Vec<&str> = texts.lines().collect();
    let vectors = Onnx::from_dir(model)?.encode(&lines)?.vectors;
    std::fs::write(
        out,
        vectors
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>(),
    )?;
    println!(
        "{}",
        json!({"rows": vectors.nrows(), "dim": vectors.ncols()})
    );
    Ok(())
}

fn floats(path: &Path) -> Result<Vec<f32>, Failure> {
    let bytes = std::fs::read(path)?;
    Ok(bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect())
}

fn integers(path: &Path) -> Result<Vec<u32>, Failure> {
    let bytes = std::fs::read(path)?;
    Ok(bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| u32::from_le_bytes(*b))
        .collect())
}

fn status(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0)
}

/// CPU seconds of all threads so far.
fn process_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .filter_map(|f| f.parse().ok())
        .collect();
    (fields.get(10).unwrap_or(&0.0) + fields.get(11).unwrap_or(&0.0)) / 100.0
}

/// CPU seconds of this thread so far, up to the last tick of the kernel, at most 4 ms ago.
fn thread_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|n| n.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1e9
}

/// Shortest measurement of a rate, in CPU seconds.
const MIN_SECONDS: f64 = 0.25;

/// Recall, and queries per second, at each beam width; `find` returns ids and the number of
/// distances computed.
fn curve(
    config: &Config,
    widths: &[usize],
    queries: &[f32],
    truth: &[u32],
    mut find: impl FnMut(&[f32], usize) -> Result<(Vec<u32>, usize), Failure>,
) -> Result<Value, Failure> {
    let mut points = Vec::new();
    for &width in widths {
        let (mut found, mut seen) = (Vec::new(), 0);
        for query in queries.chunks_exact(config.dim) {
            let (ids, evaluations) = find(query, width)?;
            found.push(ids);
            seen += evaluations;
        }
        let right = found.iter().zip(truth.chunks_exact(config.k));
        let hits: usize = right
            .map(|(ids, truth)| ids.iter().filter(|id| truth.contains(id)).count())
            .sum();
        let (recall, visited) = (hits as f64 / truth.len() as f64, seen / found.len().max(1));
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let (start, mut rounds) = (thread_cpu(), 0);
            // Repeated until the resolution of the clock matters little.
            while rounds == 0 || thread_cpu() - start < MIN_SECONDS {
                for query in queries.chunks_exact(config.dim) {
                    find(query, width)?;
                }
                rounds += 1;
            }
            best = best.min((thread_cpu() - start) / f64::from(rounds));
        }
        let rate = (queries.len() / config.dim) as f64 / best;
        points.push(json!({"ef": width, "recall": recall, "qps": rate, "visited": visited}));
    }
    Ok(points.into())
}

fn search(
    collection: &Collection,
    config: &Config,
    metric: MetricChoice,
) -> impl FnMut(&[f32], usize) -> Result<(Vec<u32>, usize), Failure> {
    let (collection, k) = (collection.clone(), config.k);
    move |query, width| {
        let mut search = collection.search(query).k(k).metric(metric);
        if width > 0 {
            search = search.ef(width);
        }
        let hits = search.run()?;
        let ids = hits
            .iter()
            .map(|hit| hit.id.parse())
            .collect::<Result<_, _>>()?;
        Ok((ids, hits.execution.visited))
    }
}

fn items(base: &[f32], dim: usize, rows: std::ops::Range<usize>) -> impl Iterator<Item = Item> {
    rows.map(move |i| Item::vector(i.to_string(), base[i * dim..(i + 1) * dim].to_vec()))
}

fn ours(config: &Config, base: &[f32], queries: &[f32]) -> Result<Value, Failure> {
    const BATCH: usize = 1000;
    let (dim, total) = (config.dim, base.len() / config.dim);
    let dir = tempfile::tempdir()?;
    let open = || {
        Store::builder()
            .plugin(Mahalanobis::default())
            .open(dir.path())
    };
    let before = status("VmRSS:");
    let store = open()?;
    let collection = store.collection("points").dim(dim).create()?;
    let (start, cpu) = (Instant::now(), process_cpu());
    for from in (0..total).step_by(BATCH) {
        collection.add(items(base, dim, from..(from + BATCH).min(total)))?;
    }
    let (add_wall, add_cpu) = (start.elapsed().as_secs_f64(), process_cpu() - cpu);
    collection.settle()?;
    let (build_wall, build_cpu) = (start.elapsed().as_secs_f64(), process_cpu() - cpu);
    let memory = status("VmRSS:") - before;
    let truth = integers(&config.truth)?;
    let euclid = curve(
        config,
        &config.widths,
        queries,
        &truth,
        search(&collection, config, MetricChoice::BuiltIn),
    )?;
    let default = curve(
        config,
        &[0],
        queries,
        &truth,
        search(&collection, config, MetricChoice::Active),
    )?;
    let mut document = json!({
        "name": "affinis", "add_items_per_s": total as f64 / add_wall, "add_cpu": add_cpu, "build_cpu": build_cpu,
        "build_wall": build_wall, "rss_mib": memory / 1024.0, "curve": euclid, "default": default,
        "stats": collection.stats()?,
    });
    if let (Some(matrix), Some(truth)) = (&config.matrix, &config.truth_learned) {
        let bytes = std::fs::read(matrix)?;
        let numbers = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b))
            .collect();
        let matrix = ndarray::Array2::from_shape_vec((dim, dim), numbers)?;
        let version = collection.import_metric(matrix.view())?;
        let truth = integers(truth)?;
        let start = Instant::now();
        collection.promote(version)?;
        collection.search(&queries[..dim]).run()?;
        document["first_answer_ms"] = (start.elapsed().as_secs_f64() * 1000.0).into();
        collection.settle()?;
        let under = || {
            let find = search(&collection, config, MetricChoice::Version(version));
            curve(config, &config.widths, queries, &truth, find)
        };
        document["learned_old_graph"] = under()?;
        document["learned_default"] = curve(
            config,
            &[0],
            queries,
            &truth,
            search(&collection, config, MetricChoice::Active),
        )?;
        let cpu = process_cpu();
        collection.optimize()?;
        document["optimize_cpu"] = (process_cpu() - cpu).into();
        document["learned_optimized"] = under()?;
    }
    if config.churn {
        document["churn"] = churn(config, base, queries, &collection)?;
    }
    drop((collection, store));
    // Opening is measured in a fresh process.
    let task = dir.path().with_extension("open.json");
    std::fs::write(
        &task,
        json!({"open": dir.path(), "queries": config.queries, "dim": dim}).to_string(),
    )?;
    let child = std::process::Command::new(std::env::current_exe()?)
        .arg(&task)
        .output();
    std::fs::remove_file(&task)?;
    let child = child?;
    if !child.status.success() {
        return Err(String::from_utf8_lossy(&child.stderr).into());
    }
    let reopened: serde_json::Map<String, Value> = serde_json::from_slice(&child.stdout)?;
    for (name, value) in reopened {
        document[name] = value;
    }
    Ok(document)
}

/// Time to open a store and answer a query, and memory after all queries, as JSON.
fn reopened(store: &Path, queries: &[f32], dim: usize) -> Result<Value, Failure> {
    let (own, files) = (status("RssAnon:"), status("RssFile:"));
    let start = Instant::now();
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(store)?;
    let collection = store.collection("points").open()?;
    collection.search(&queries[..dim]).run()?;
    let open_ms = start.elapsed().as_secs_f64() * 1000.0;
    for query in queries.chunks_exact(dim) {
        collection.search(query).run()?;
    }
    let stats = collection.stats()?;
    Ok(
        json!({"open_ms": open_ms, "disk_mib": stats.store_bytes as f64 / 1_048_576.0,
        "open_own_mib": (status("RssAnon:") - own) / 1024.0, "open_mapped_mib": (status("RssFile:") - files) / 1024.0}),
    )
}

/// Learns a metric from 2,000 judgements of the answers to 100 items as queries, by whether the
/// labels agree, and writes its matrix.
fn learn(config: &Config, base: &[f32]) -> Result<Value, Failure> {
    const ITEMS: usize = 20_000;
    let (Some(labels), Some(matrix)) = (&config.labels, &config.matrix) else {
        return Err("`learn` needs labels and matrix".into());
    };
    let labels = integers(labels)?;
    let dir = tempfile::tempdir()?;
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir.path())?;
    let collection = store.collection("points").dim(config.dim).create()?;
    let count = (base.len() / config.dim).min(ITEMS);
    collection.add(items(base, config.dim, 0..count))?;
    for query in (0..count).step_by(count / 100) {
        let own = query.to_string();
        let hits = collection.search(Query::like(&own)).k(20).run()?;
        let mut judged = Vec::new();
        for hit in &hits {
            let grade = if labels[hit.id.parse::<usize>()?] == labels[query] {
                1.0
            } else {
                -1.0
            };
            judged.push(Judgement::graded(Query::like(&own), &hit.id, grade));
        }
        collection.judge_all(judged)?;
    }
    let report = collection.refit().force(true).run()?;
    let version = report.version.ok_or("no metric")?;
    let numbers: Vec<u8> = collection
        .metric_matrix(version)?
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    std::fs::write(matrix, numbers)?;
    Ok(
        json!({"condition": collection.metric(version)?.condition, "judgements": count / (count / 100) * 20}),
    )
}

/// Recall against a scan after building, after a fifth of the items is deleted, after it is added
/// again, and after `optimize`.
fn churn(
    config: &Config,
    base: &[f32],
    queries: &[f32],
    collection: &Collection,
) -> Result<Value, Failure> {
    let (dim, total) = (config.dim, base.len() / config.dim);
    let queries = &queries[..queries.len().min(200 * dim)];
    let step = |name: &str| -> Result<Value, Failure> {
        let (mut right, mut all, mut visited) = (0, 0, 0);
        for query in queries.chunks_exact(dim) {
            let truth = collection.search(query).k(config.k).recall(1.0).run()?;
            let found = collection.search(query).k(config.k).run()?;
            right += found
                .iter()
                .filter(|hit| truth.iter().any(|t| t.id == hit.id))
                .count();
            all += truth.len();
            visited += found.execution.visited;
        }
        let stats = collection.stats()?;
        Ok(
            json!({"step": name, "recall": f64::from(right as u32) / f64::from(all as u32), "items": stats.items,
            "deleted": stats.deleted, "segments": stats.segments.len(), "visited": visited / (queries.len() / dim)}),
        )
    };
    let mut steps = vec![step("built")?];
    let gone: Vec<String> = (0..total)
        .filter(|i| i % 5 == 0)
        .map(|i| i.to_string())
        .collect();
    for ids in gone.chunks(1000) {
        collection.delete(ids)?;
    }
    steps.push(step("20 % deleted")?);
    for ids in gone.chunks(1000) {
        let rows = ids
            .iter()
            .map(|id| id.parse::<usize>())
            .collect::<Result<Vec<_>, _>>()?;
        collection.add(
            rows.into_iter()
                .map(|i| Item::vector(i.to_string(), base[i * dim..(i + 1) * dim].to_vec())),
        )?;
    }
    collection.settle()?;
    steps.push(step("added again")?);
    collection.optimize()?;
    steps.push(step("optimized")?);
    Ok(steps.into())
}

fn peer(config: &Config, base: &[f32], queries: &[f32]) -> Result<Value, Failure> {
    let total = base.len() / config.dim;
    let before = status("VmRSS:");
    let cpu = process_cpu();
    let graph: Hnsw<'_, f32, DistL2> = Hnsw::new(16, total, 16, 200, DistL2);
    let rows: Vec<Vec<f32>> = base.chunks_exact(config.dim).map(<[f32]>::to_vec).collect();
    let numbered: Vec<(&Vec<f32>, usize)> = rows.iter().zip(0..).collect();
    graph.parallel_insert(&numbered);
    let build_cpu = process_cpu() - cpu;
    // The graph holds its own copies.
    drop(numbered);
    drop(rows);
    let memory = status("VmRSS:") - before;
    let truth = integers(&config.truth)?;
    let found = curve(config, &config.widths, queries, &truth, |query, width| {
        let found = graph.search(query, config.k, width.max(config.k));
        Ok((found.iter().map(|n| n.d_id as u32).collect(), 0))
    })?;
    Ok(
        json!({"name": "hnsw_rs", "build_cpu": build_cpu, "rss_mib": memory / 1024.0, "curve": found}),
    )
}
