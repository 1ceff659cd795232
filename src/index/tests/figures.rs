//! Measurements, not tests: run with `cargo test --release figures -- --ignored --nocapture`.

use std::time::Instant;

use super::{add, euclid, mahalanobis, normalise, npy, params, small};
use crate::index::{Index, SearchParams, Versioned};

fn curve(index: &Index, metric: &Versioned, queries: &[Vec<f32>], truth: &[Vec<u32>]) {
    for ef in [32, 48, 64, 96, 128, 256] {
        let with = SearchParams {
            ef: Some(ef),
            ..params(10)
        };
        let start = Instant::now();
        let found: Vec<_> = queries
            .iter()
            .map(|q| index.search(metric, q, &with).unwrap())
            .collect();
        let seconds = start.elapsed().as_secs_f64();
        let per: Vec<usize> = found
            .iter()
            .zip(truth)
            .map(|(f, t)| {
                f.hits
                    .iter()
                    .take(10)
                    .filter(|h| t.contains(&h.slot))
                    .count()
            })
            .collect();
        let evaluations: usize = found.iter().map(|f| f.evaluations).sum();
        eprintln!(
            "  ef {ef}: recall {:.4}, {:.0} q/s, {} evaluations, {} below .15, plan {}",
            per.iter().sum::<usize>() as f64 / (10 * queries.len()) as f64,
            queries.len() as f64 / seconds,
            evaluations / queries.len(),
            per.iter().filter(|c| **c < 2).count(),
            found[0].plan,
        );
    }
}

fn truth(index: &Index, metric: &Versioned, queries: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let scan = SearchParams {
        ef: Some(1 << 20),
        ..params(10)
    };
    queries
        .iter()
        .map(|q| {
            index
                .search(metric, q, &scan)
                .unwrap()
                .hits
                .iter()
                .take(10)
                .map(|h| h.slot)
                .collect()
        })
        .collect()
}

fn cpu_seconds() -> f64 {
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

#[test]
#[ignore = "minutes; prints figures"]
fn figures_glove_100k() {
    let Some(mut all) = npy("ann/wink_glove_341k_x100.f16.npy") else {
        return;
    };
    normalise(&mut all);
    let step = (all.len() - 2000) / 1000;
    let queries: Vec<Vec<f32>> = (0..1000).map(|i| all.swap_remove(i * step)).collect();
    all.truncate(100_000);
    let index = Index::new(100, small(100, 1 << 17, 1 << 20)).unwrap();
    add(&index, 0, &all);
    let metric = euclid(100);
    let expected = truth(&index, &metric, &queries);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    index.seal_now(&|_| (), &|| false).unwrap();
    eprintln!(
        "build: {:.1} s, {:.1} cpu-s",
        start.elapsed().as_secs_f64(),
        cpu_seconds() - cpu
    );
    curve(&index, &metric, &queries, &expected);
    index.activate(&metric);
    index.settle();
    eprintln!(
        "calibrated: {:?}",
        index.with_segments(|s| s.calibrations())
    );
    for condition in [10.0, 100.0] {
        let learned = mahalanobis(100, condition, condition as u32);
        let expected = truth(&index, &learned, &queries);
        eprintln!("condition {condition}, old graph:");
        curve(&index, &learned, &queries, &expected);
    }
    let learned = mahalanobis(100, 100.0, 100);
    let expected = truth(&index, &learned, &queries);
    index.activate(&learned);
    index.settle();
    eprintln!(
        "calibrated: {:?}",
        index.with_segments(|s| s.calibrations())
    );
    let cpu = cpu_seconds();
    index.optimize(&|_| (), &|| false).unwrap();
    eprintln!(
        "condition 100, rebuilt in {:.1} cpu-s:",
        cpu_seconds() - cpu
    );
    curve(&index, &learned, &queries, &expected);
    index.settle();
    eprintln!(
        "calibrated: {:?}; {:?}",
        index.with_segments(|s| s.calibrations()),
        index.stats()
    );
}

#[test]
#[ignore = "minutes; prints figures"]
fn figures_growth_by_batches() {
    let Some(mut all) = npy("ann/wink_glove_341k_x100.f16.npy") else {
        return;
    };
    normalise(&mut all);
    let step = (all.len() - 2000) / 1000;
    let queries: Vec<Vec<f32>> = (0..1000).map(|i| all.swap_remove(i * step)).collect();
    all.truncate(100_000);
    let mut config = small(100, 8192, 2048);
    config.background = true;
    let index = Index::new(100, config).unwrap();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    for (i, batch) in all.chunks(1000).enumerate() {
        add(&index, i as u32 * 1000, batch);
    }
    eprintln!("added in {:.2} s", start.elapsed().as_secs_f64());
    index.settle();
    eprintln!(
        "settled in {:.1} s, {:.1} cpu-s; {:?}",
        start.elapsed().as_secs_f64(),
        cpu_seconds() - cpu,
        index.stats()
    );
    let expected = truth(&index, &euclid(100), &queries);
    curve(&index, &euclid(100), &queries, &expected);
    eprintln!("calibrated: {:?} evaluations", index.evaluations_for(0));
}
