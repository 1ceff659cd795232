//! A loop of searching, judging and refitting, and its effect on queries that nobody judged.
//!
//! The first two coordinates of an item depend on its kind; the other coordinates are noise of a
//! larger scale, so that Euclidean distances say little about kinds. From judgements of answers the
//! collection learns which coordinates matter.
//!
//! `cargo run --release --example feedback_loop`

use affinis::{Item, Judgement, MetricChoice, Query, Store, learning::EvalQuery};
use affinis_mahalanobis::Mahalanobis;

const DIM: usize = 12;
const KINDS: usize = 6;

/// A random number between -1 and 1; advances the seed.
fn noise(seed: &mut u64) -> f32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

fn kind(id: &str) -> usize {
    id.parse::<usize>().unwrap_or(0) % KINDS
}

/// 1 for two items of the same kind, else -1.
fn grade(query: &str, id: &str) -> f32 {
    if kind(id) == kind(query) { 1.0 } else { -1.0 }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir.path())?;
    let points = store.collection("points").dim(DIM).create()?;
    let mut seed = 1;
    points.add((0..3_000).map(|i| {
        let angle = (i % KINDS) as f32 / KINDS as f32 * std::f32::consts::TAU;
        let mut vector: Vec<f32> = (0..DIM).map(|_| noise(&mut seed)).collect();
        vector[0] = angle.cos() + 0.4 * vector[0];
        vector[1] = angle.sin() + 0.4 * vector[1];
        Item::vector(i.to_string(), vector)
    }))?;

    // Queries 2,000 to 2,199 are never judged.
    let unseen: Vec<EvalQuery> = (2_000..2_200)
        .map(|i| {
            EvalQuery::new(
                Query::like(i.to_string()),
                (0..3_000)
                    .filter(|j| *j != i && j % KINDS == i % KINDS)
                    .map(|j| j.to_string()),
            )
        })
        .collect();

    println!("round  judgements  promoted  precision@10 of unseen queries");
    for round in 0..4 {
        let precision = points.evaluate(&unseen, 10, &[MetricChoice::Active])?.rows[0]
            .precision
            .mean;
        let active = points.active_metric(None);
        println!(
            "{round:>5}  {:>10}  version {active}  {precision:.3}",
            points.judgement_count()
        );
        for query in (0..40).map(|q| (round * 40 + q).to_string()) {
            let hits = points.search(Query::like(&query)).k(10).run()?;
            points.judge_all(hits.iter().map(|hit| {
                Judgement::graded(Query::like(&query), &hit.id, grade(&query, &hit.id))
            }))?;
        }
        let report = points.refit().run()?;
        println!("       {}", report.gate.reason);
    }
    let rows = points
        .evaluate(&unseen, 10, &[MetricChoice::BuiltIn, MetricChoice::Active])?
        .rows;
    let (before, after) = (rows[0].precision.mean, rows[1].precision.mean);
    println!("Euclidean {before:.3}, learned {after:.3}");
    assert!(
        after > before,
        "judgements should improve answers to queries that nobody judged"
    );
    Ok(())
}
