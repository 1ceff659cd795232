//! Metrics of two users with different notions of similarity, on one collection with one graph.
//!
//! Coordinates 0 and 1 of an item are its colour, coordinates 2 and 3 its shape. One user judges by
//! colour, the other by shape. Each gets a metric of their own; all other users keep the shared
//! one.
//!
//! `cargo run --release --example several_users`

use affinis::{Item, Judgement, Query, Store};
use affinis_mahalanobis::Mahalanobis;

const KINDS: usize = 5;

/// A random number between -1 and 1; advances the seed.
fn noise(seed: &mut u64) -> f32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

fn colour(id: &str) -> usize {
    id.parse::<usize>().unwrap_or(0) % KINDS
}

fn shape(id: &str) -> usize {
    id.parse::<usize>().unwrap_or(0) / KINDS % KINDS
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir.path())?;
    let things = store.collection("things").dim(8).create()?;
    let mut seed = 1;
    things.add((0..2_000).map(|i| {
        let turn = |kind: usize| kind as f32 / KINDS as f32 * std::f32::consts::TAU;
        let (colour, shape) = (turn(i % KINDS), turn(i / KINDS % KINDS));
        let centre = [
            colour.cos(),
            colour.sin(),
            shape.cos(),
            shape.sin(),
            0.0,
            0.0,
            0.0,
            0.0,
        ];
        Item::vector(i.to_string(), centre.map(|c| c + 0.5 * noise(&mut seed)))
    }))?;

    type Notion = fn(&str) -> usize;
    let users: [(&str, Notion); 2] = [("painter", colour), ("carpenter", shape)];
    for (user, notion) in users {
        for query in (0..60).map(|q| q.to_string()) {
            let hits = things.search(Query::like(&query)).k(10).run()?;
            things.judge_all(hits.iter().map(|hit| {
                let grade = if notion(&hit.id) == notion(&query) {
                    1.0
                } else {
                    -1.0
                };
                Judgement::graded(Query::like(&query), &hit.id, grade).user(user)
            }))?;
        }
        let report = things.refit().user(user).run()?;
        println!(
            "{user}: version {:?}, promoted: {}",
            report.version, report.promoted
        );
    }

    // The share of ten answers that agree with the user's notion, over queries that nobody judged.
    for (user, notion) in users {
        let share = |asking: Option<&str>| -> affinis::Result<f64> {
            let mut right = 0;
            for query in (1_500..1_600).map(|q| q.to_string()) {
                let mut search = things.search(Query::like(&query)).k(10);
                if let Some(asking) = asking {
                    search = search.user(asking);
                }
                right += search
                    .run()?
                    .iter()
                    .filter(|hit| notion(&hit.id) == notion(&query))
                    .count();
            }
            Ok(f64::from(u32::try_from(right).unwrap_or(u32::MAX)) / 1_000.0)
        };
        let (own, shared) = (share(Some(user))?, share(None)?);
        println!(
            "{user}: {:.0} % of answers fit under their own metric, {:.0} % under the shared one",
            own * 1e2,
            shared * 1e2
        );
        assert!(own > shared);
    }
    Ok(())
}
