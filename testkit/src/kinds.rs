//! Points of five kinds that the Euclidean distance separates badly, and judgements by their kind.

use std::path::Path;

use affinis::{Collection, Item, Judgement, MetricChoice, Query, Store};

use crate::{Random, stores};

/// The number of kinds.
pub const KINDS: usize = 5;

/// Opens or creates a store with the Mahalanobis plugin.
pub fn open(path: &Path) -> Store {
    stores::builder().open(path).expect("a store")
}

/// A new store in a directory with a collection `points` of 1,000 points of all kinds.
pub fn store_of_kinds(path: &Path) -> (Store, Collection) {
    let store = open(path);
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    (store, points)
}

/// The kind of the point with an id.
pub fn kind(id: &str) -> usize {
    id.parse::<usize>().expect("a number") % KINDS
}

/// `count` points, ids `0`, `1`, ..., whose first two of eight coordinates tell their kind; the
/// others vary more.
pub fn kinds(count: usize) -> Vec<Item> {
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

/// Judges the ten Euclidean answers of each query in a range by their kind, as a user or without
/// one.
pub fn judge_answers(points: &Collection, queries: std::ops::Range<usize>, user: Option<&str>) {
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
