//! Recall of the graph paths against exact answers, on real text embeddings.

use std::sync::Arc;

use ndarray::Array2;
use roaring::RoaringBitmap;

use super::{Random, add, euclid, exact, mahalanobis, npy, params, small};
use crate::index::{Config, Index, SearchParams, Versioned};
use crate::model::Plan;

/// Share of the exact ten nearest among the ten found, over rows that were left out of the index.
fn recall(
    index: &Index,
    metric: &Versioned,
    items: &[Vec<f32>],
    queries: &[Vec<f32>],
    with: &SearchParams<'_>,
) -> f64 {
    let (mut found, mut possible) = (0, 0);
    let live: Vec<u32> = (0..items.len() as u32)
        .filter(|slot| index.vector(*slot).is_some())
        .collect();
    // In the space where the metric is Euclid, exact answers cost d instead of d^2 operations an
    // item.
    let (mapped, mapped_queries) = (embedded(metric, items), embedded(metric, queries));
    for (query, mapped_query) in queries.iter().zip(&mapped_queries) {
        let matching = live
            .iter()
            .filter(|slot| with.allowed.is_none_or(|allowed| allowed.contains(**slot)));
        let matching = matching.map(|slot| (*slot, &mapped[*slot as usize][..]));
        let expected = exact(&euclid(query.len()), mapped_query, matching, 10);
        let hits = index.search(metric, query, with).unwrap().hits;
        found += expected
            .iter()
            .filter(|(slot, _)| hits.iter().any(|hit| hit.slot == *slot))
            .count();
        possible += expected.len();
    }
    found as f64 / possible as f64
}

fn embedded(metric: &Versioned, vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let matrix =
        Array2::from_shape_vec((vectors.len(), vectors[0].len()), vectors.concat()).unwrap();
    metric
        .metric
        .transform(matrix.view())
        .rows()
        .into_iter()
        .map(|row| row.to_vec())
        .collect()
}

fn sets() -> Vec<(Vec<Vec<f32>>, Vec<Vec<f32>>)> {
    [
        "text/wordnet-6000.minilm384.f16.npy",
        "text/debian-6000.minilm384.f16.npy",
    ]
    .into_iter()
    .filter_map(npy)
    .map(|mut rows| {
        let queries = (0..60).map(|i| rows.swap_remove(i * 97)).collect();
        (rows, queries)
    })
    .collect()
}

#[test]
fn defaults_reach_the_recall_target_on_text_under_any_metric() {
    for (items, queries) in sets() {
        let index = Index::new(384, Config::new(Arc::new(super::Euclid(384)))).unwrap();
        add(&index, 0, &items);
        index.settle();
        for metric in [
            euclid(384),
            mahalanobis(384, 10.0, 1),
            mahalanobis(384, 100.0, 2),
        ] {
            let reached = recall(&index, &metric, &items, &queries, &params(10));
            eprintln!("defaults, metric {}: {reached:.4}", metric.version);
            assert!(reached >= 0.95);
        }
    }
}

#[test]
fn graphs_reach_the_recall_target_on_text() {
    for (items, queries) in sets() {
        for (name, config) in [
            ("growing", small(384, 8192, 100)),
            ("sealed", small(384, 1000, 100_000)),
        ] {
            let index = Index::new(384, config).unwrap();
            for (i, batch) in items.chunks(500).enumerate() {
                add(&index, i as u32 * 500, batch);
                index.settle();
            }
            if name == "sealed" {
                index.seal_now(&|_| (), &|| false).unwrap();
                assert_eq!(index.stats().growing, 0);
            }
            for metric in [
                euclid(384),
                mahalanobis(384, 10.0, 1),
                mahalanobis(384, 100.0, 2),
            ] {
                let ef = [64, 96, 128][metric.version as usize];
                let with = SearchParams {
                    ef: Some(ef),
                    ..params(10)
                };
                let reached = recall(&index, &metric, &items, &queries, &with);
                let found = index.search(&metric, &queries[0], &with).unwrap();
                eprintln!(
                    "{name}, metric {}, ef {ef}: {reached:.4}, {} evaluations",
                    metric.version, found.evaluations
                );
                assert_eq!(found.plan, Plan::Graph);
                assert!(reached >= 0.95);
            }
        }
    }
}

#[test]
fn deletions_upserts_and_filters_keep_the_recall() {
    let Some((items, queries)) = sets().into_iter().next() else {
        return;
    };
    let index = Index::new(384, small(384, 2000, 100_000)).unwrap();
    add(&index, 0, &items);
    index.seal_now(&|_| (), &|| false).unwrap();
    let metric = euclid(384);
    let narrow = SearchParams {
        ef: Some(64),
        ..params(10)
    };
    let mut random = Random::new(8);
    for share in [0.9, 0.5, 0.2, 0.05, 0.01, 0.001] {
        let allowed: RoaringBitmap = (0..items.len() as u32)
            .filter(|_| random.uniform() < share)
            .collect();
        let with = SearchParams {
            allowed: Some(&allowed),
            ..narrow
        };
        let found = index.search(&metric, &queries[0], &with).unwrap();
        let reached = recall(&index, &metric, &items, &queries, &with);
        eprintln!(
            "filter {share}: {reached:.4} by {}, {} evaluations",
            found.plan, found.evaluations
        );
        assert!(reached >= 0.95);
        assert!(found.plan == Plan::FilterGraph || reached > 0.999);
    }
    let remove: Vec<u32> = (0..items.len() as u32)
        .filter(|_| random.below(5) == 0)
        .collect();
    index.apply(&[], &remove).unwrap();
    let reached = recall(&index, &metric, &items, &queries, &narrow);
    eprintln!("a fifth deleted: {reached:.4}");
    assert!(reached >= 0.95);
    // Upserts: every removed item comes back under a new slot.
    let again: Vec<(u32, &[f32])> = remove
        .iter()
        .enumerate()
        .map(|(i, s)| (index.next_slot() + i as u32, &items[*s as usize][..]))
        .collect();
    let mut all = items.clone();
    all.extend(again.iter().map(|(_, v)| v.to_vec()));
    index.apply(&again, &[]).unwrap();
    index.settle();
    let reached = recall(&index, &metric, &all, &queries, &narrow);
    eprintln!("and back: {reached:.4}");
    assert!(reached >= 0.95);
    index.optimize(&|_| (), &|| false).unwrap();
    let reached = recall(&index, &metric, &all, &queries, &narrow);
    eprintln!("rebuilt: {reached:.4}");
    assert!(reached >= 0.95);
    assert_eq!(index.stats().deleted, 0);
}

#[test]
fn many_deleted_items_are_cut_out_and_a_distant_metric_gets_its_own_graph() {
    let mut random = Random::new(31);
    let centres: Vec<Vec<f32>> = (0..60).map(|_| random.vector(24)).collect();
    let vectors: Vec<Vec<f32>> = (0..6000)
        .map(|i| {
            random
                .vector(24)
                .iter()
                .zip(&centres[i % 60])
                .map(|(x, c)| 0.4 * x + c)
                .collect()
        })
        .collect();
    let index = Index::new(24, small(24, 8192, 1 << 20)).unwrap();
    add(&index, 0, &vectors);
    index.seal_now(&|_| (), &|| false).unwrap();
    index.settle();
    let before = index.evaluations_for(0).unwrap();
    let dead: Vec<u32> = (0..6000).filter(|slot| slot % 4 == 0).collect();
    index.apply(&[], &dead).unwrap();
    assert_eq!(index.stats().deleted, 1500);
    index.settle();
    assert_eq!((index.stats().deleted, index.len()), (0, 4500));
    assert!(index.evaluations_for(0).unwrap() <= 4.0 * before);

    let distant = mahalanobis(24, 1e6, 9);
    index.activate(&distant);
    index.settle();
    let distances = index.evaluations_for(9).unwrap();
    let built_under = index.stats().segments[0].metric;
    // Either the old graph serves the metric, or it was rebuilt.
    let old = index.evaluations_for(0);
    assert!(
        built_under == 9 || old.is_some_and(|old| distances < 2.0 * old),
        "built under {built_under}, {distances} against {old:?}"
    );
    assert_eq!(built_under, 9, "condition 1e6 is far enough");
}

/// Points in a subspace of few dimensions lie nearer to each other than codes can resolve.
#[test]
fn the_recall_target_is_reached_where_codes_are_too_coarse() {
    for (dim, filled) in [(1, 1), (2, 2), (3, 3), (64, 2)] {
        let mut random = Random::new(11);
        let basis: Vec<Vec<f32>> = (0..filled).map(|_| random.vector(dim)).collect();
        let mut point = || {
            let along: Vec<f32> = (0..filled).map(|_| random.uniform() as f32).collect();
            let number = |j: usize| along.iter().zip(&basis).map(|(a, b)| a * b[j]).sum();
            (0..dim).map(number).collect::<Vec<f32>>()
        };
        let items: Vec<Vec<f32>> = (0..8_000).map(|_| point()).collect();
        let queries: Vec<Vec<f32>> = (0..60).map(|_| point()).collect();
        let index = Index::new(dim, Config::new(Arc::new(super::Euclid(dim)))).unwrap();
        add(&index, 0, &items);
        index.settle();
        let visited = index
            .search(&euclid(dim), &queries[0], &params(10))
            .unwrap()
            .evaluations;
        let reached = recall(&index, &euclid(dim), &items, &queries, &params(10));
        eprintln!("{filled} of {dim} dimensions: {reached:.4}, {visited} visited");
        assert!(reached >= 0.95, "{filled} of {dim}: {reached}");
        assert!(visited < 4_000, "{filled} of {dim}: {visited} visited");
    }
}

#[test]
fn an_item_with_a_number_beyond_its_codes_is_found() {
    const DIM: usize = 128;
    const RARE: f32 = 8.0;
    let mut random = Random::new(21);
    let mut items: Vec<Vec<f32>> = (0..2_000).map(|_| random.vector(DIM)).collect();
    // One item in fifty has one large number, each in another place: the codes do not cover it.
    let rare: Vec<(u32, usize)> = (0..40).map(|i| (50 * i + 49, 3 * i as usize)).collect();
    for (slot, at) in &rare {
        items[*slot as usize][*at] = RARE;
    }
    let index = Index::new(DIM, small(DIM, 1 << 12, 1 << 14)).unwrap();
    add(&index, 0, &items);
    index.settle();
    let mut near = 0;
    for (slot, at) in rare {
        let mut query = vec![0.0; DIM];
        query[at] = RARE;
        let all = items.iter().enumerate();
        let all = all.map(|(i, item)| (i as u32, &item[..]));
        let nearest = exact(&euclid(DIM), &query, all, 100);
        if nearest.iter().any(|(other, _)| *other == slot) {
            near += 1;
            let hits = index.search(&euclid(DIM), &query, &params(100)).unwrap();
            assert!(hits.hits.iter().any(|hit| hit.slot == slot), "{slot}");
        }
    }
    assert!(near > 30, "{near}");
}
