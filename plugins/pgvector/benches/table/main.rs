//! Figures of docs/engines.md, on servers that this program starts:
//!
//! ```text
//! cargo bench -p affinis-pgvector --bench table -- one          181,000 texts x 384, one server
//! cargo bench -p affinis-pgvector --bench table -- shards       the same on three shards
//! cargo bench -p affinis-pgvector --bench table -- million      1,000,000 x 100 on three shards
//! ```
//!
//! It needs `plugins/pgvector/servers/get.sh`, and for texts `../shared/data` and the model that
//! `AFFINIS_MINILM` names. Vectors of texts are kept in `target/engines`. `AFFINIS_ROWS` takes fewer
//! rows.

mod data;
mod measure;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use affinis::{Distance, Filter, Judgement, MetricChoice, Query, VersionId};
use affinis_mahalanobis::Mahalanobis;
use affinis_pgvector::{Postgres, Table};
use affinis_testkit::servers::Servers;
use data::Data;
use measure::{Truth, percentile};
use ndarray::Array2;
use serde_json::json;

fn main() {
    let what = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let what = what.unwrap_or_else(|| "one".to_owned());
    let (kind, data) = match what.as_str() {
        "one" | "shards" => (what.as_str(), Data::texts()),
        "million" => ("shards", Some(Data::synthetic(1_000_000, 100))),
        other => panic!("{other:?} is none of one, shards, million"),
    };
    let Some(data) = data else { return };
    let Some(servers) = Servers::start(kind, &[]) else {
        return;
    };
    let began = Instant::now();
    data.load(&servers, kind);
    println!(
        "{} rows x {} on {what}: loaded and indexed in {:.0} s",
        data.rows(),
        data.dim(),
        began.elapsed().as_secs_f64()
    );
    let postgres = Postgres::connect(&servers.url()).expect("connected");
    let began = Instant::now();
    let table = postgres
        .attach("docs")
        .table("docs")
        .meta("meta")
        .distance(Distance::Dot);
    let table = match &data.texts {
        Some((_, encoder)) => table.text("body").encoder(Arc::new(encoder.clone())),
        None => table,
    };
    let table = table
        .plugin(Mahalanobis::default())
        .open()
        .expect("attached");
    println!("attached in {:.2} s", began.elapsed().as_secs_f64());
    refit(&table, &data);
    recall(&table, &data);
    if kind == "one" {
        beside_its_own(&servers, &table, &data);
    }
}

/// Judges by a hidden metric, refits, and searches meanwhile.
fn refit(table: &Table, data: &Data) {
    let judgements = data.judgements(1_000);
    let began = Instant::now();
    table.learning().judge(&judgements).expect("judged");
    println!(
        "{} judgements stored in {:.2} s",
        judgements.len(),
        began.elapsed().as_secs_f64()
    );
    let quiet = latencies(table, data, || {
        std::thread::sleep(Duration::from_secs(5));
    });
    let mut seconds = 0.0;
    let busy = latencies(table, data, || {
        let began = Instant::now();
        let report = table
            .learning()
            .refit()
            .force(true)
            .run()
            .expect("refitted");
        seconds = began.elapsed().as_secs_f64();
        println!("refit to flip: {seconds:.1} s, {:?}", report.millis);
        assert!(report.promoted);
    });
    for (when, mut times) in [("quiet", quiet), ("during the refit", busy)] {
        println!(
            "a search, {when}: {} searches, p50 {:.2} ms, p99 {:.2} ms",
            times.len(),
            percentile(&mut times, 0.5),
            percentile(&mut times, 0.99)
        );
    }
    let stats = table.stats().expect("stats");
    println!(
        "candidates ranked: {:?}, of far questions {:?}",
        stats.candidates, stats.far_candidates
    );
}

/// Times of searches of one client, in milliseconds, while work is done.
fn latencies(table: &Table, data: &Data, work: impl FnOnce()) -> Vec<f64> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let searching = scope.spawn(|| {
            let mut times = Vec::new();
            for query in data.questions("items").iter().cycle() {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let began = Instant::now();
                table.search(query.clone()).run().expect("hits");
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            times
        });
        work();
        stop.store(true, Ordering::Release);
        searching.join().expect("no panic")
    })
}

/// Recall under the learned metric and under one of condition 16, by kind of question and filter.
fn recall(table: &Table, data: &Data) {
    let hard = data.metric(16.0);
    let began = Instant::now();
    let version = table
        .learning()
        .import_metric(hard.view(), None)
        .expect("imported");
    table.learning().promote(version).expect("promoted");
    let stats = table.stats().expect("stats");
    println!(
        "a metric of condition 16 promoted in {:.1} s, {:?} candidates, {:?} of far questions",
        began.elapsed().as_secs_f64(),
        stats.candidates,
        stats.far_candidates
    );
    println!(
        "| version | questions | rows that pass | recall@10 | p50 ms |\n|---|---|---|---|---|"
    );
    for version in [VersionId::BUILT_IN, VersionId(1), version] {
        let choice = MetricChoice::Version(version);
        let metric = table.learning().choose(choice, None).expect("a metric");
        for kind in ["items", "texts", "words"] {
            let all = data.questions(kind);
            for share in [1, 2, 20, 200] {
                // Answers of few rows take long.
                let questions = &all[..all.len().min(if share < 20 { 200 } else { 60 })];
                let truth = Truth::of(data, &metric.metric, questions, share);
                let mut times = Vec::new();
                let mut found = 0;
                for (question, nearest) in questions.iter().zip(&truth.nearest) {
                    let search = table.search(question.clone()).metric(choice);
                    let search = if share == 1 {
                        search
                    } else {
                        let field = format!("of{share}");
                        let filter = Filter::from_json(&json!({ field: 0 })).expect("a filter");
                        search.filter(filter)
                    };
                    let began = Instant::now();
                    let hits = search.run().expect("hits");
                    times.push(began.elapsed().as_secs_f64() * 1e3);
                    found += hits.iter().filter(|hit| nearest.contains(&hit.id)).count();
                }
                let wanted: usize = truth.nearest.iter().map(Vec::len).sum();
                println!(
                    "| {version} | {kind} | {:.1} % | {:.3} | {:.2} |",
                    100.0 / share as f64,
                    found as f64 / wanted as f64,
                    percentile(&mut times, 0.5)
                );
            }
        }
    }
}

/// The time of a learned search over that of the table's own at a recall of .95.
fn beside_its_own(servers: &Servers, table: &Table, data: &Data) {
    let questions = data.questions("texts");
    let euclid = table.learning().choose(MetricChoice::BuiltIn, None);
    let truth = Truth::of(data, &euclid.expect("a metric").metric, &questions, 1);
    let (ef, recall, own) = measure::own(&servers.url(), &questions, &truth);
    let mut learned: Vec<f64> = (0..3)
        .flat_map(|_| &questions)
        .map(|question| {
            let began = Instant::now();
            let choice = MetricChoice::Version(VersionId(1));
            table
                .search(question.clone())
                .metric(choice)
                .run()
                .expect("hits");
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let learned = percentile(&mut learned, 0.5);
    println!(
        "its own ORDER BY ... LIMIT 10: ef_search {ef}, recall {recall:.3}, p50 {own:.2} ms; \
         a learned search p50 {learned:.2} ms, {:.2} times",
        learned / own
    );
}

/// A judgement of one vector: an item is relevant to it or not.
pub(crate) fn judged(query: &[f32], item: usize, is_relevant: bool) -> Judgement {
    let grade = if is_relevant { 1.0 } else { -1.0 };
    Judgement::graded(Query::Vector(query.to_vec()), item.to_string(), grade)
}

/// The rows of a matrix that pass one of so many.
pub(crate) fn of_share(vectors: &Array2<f32>, share: usize) -> impl Iterator<Item = usize> {
    (0..vectors.nrows()).step_by(share)
}
