//! Points of several kinds that Euclid tells apart badly, and a judge who tells them apart.

use std::path::Path;

use affinis::{Collection, Item, Judgement, MetricChoice, Query, Store};
use affinis_mahalanobis::Mahalanobis;

use super::Random;

pub(crate) const KINDS: usize = 5;

pub(crate) fn open(path: &Path) -> Store {
    Store::builder()
        .plugin(Mahalanobis::default())
        .open(path)
        .expect("a store")
}

pub(crate) fn kind(id: &str) -> usize {
    id.parse::<usize>().expect("a number") % KINDS
}

/// Points whose first two of eight coordinates tell their kind; the others are louder.
pub(crate) fn kinds(count: usize) -> Vec<Item> {
    let mut random = Random(11);
    let point = |i: usize| {
        let angle = (i % KINDS) as f32 / KINDS as f32 * std::f32::consts::TAU;
        let mut vector = random.vector(8);
        vector[0] = angle.cos() + 0.3 * vector[0];
        vector[1] = angle.sin() + 0.3 * vector[1];
        Item::vector(i.to_string(), vector)
    };
    (0..count).map(point).collect()
}

/// Judges the ten answers of each of some items, as a user or as nobody.
pub(crate) fn judge_answers(
    points: &Collection,
    queries: std::ops::Range<usize>,
    user: Option<&str>,
) {
    for query in queries.map(|q| q.to_string()) {
        let hits = points
            .search(Query::like(&query))
            .metric(MetricChoice::BuiltIn)
            .run()
            .expect("hits");
        let judged = hits.iter().map(|hit| {
            let grade = if kind(&hit.id) == kind(&query) {
                1.0
            } else {
                -1.0
            };
            let judgement = Judgement::graded(Query::like(&query), &hit.id, grade);
            user.map_or(judgement.clone(), |user| judgement.user(user))
        });
        points.judge_all(judged).expect("judged");
    }
}
