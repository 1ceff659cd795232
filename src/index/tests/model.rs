//! The index compared with a map of vectors: whatever the sequence of operations, added items are
//! found and deleted ones are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::files::files_of;
use super::{Dot, Random, add, euclid, exact, mahalanobis, params, small};
use crate::index::{Index, IndexError, SearchParams, Versioned};
use crate::model::Plan;
use crate::slot::Slot;

fn never() -> bool {
    false
}

/// Checks hits against the model: their distances are right and in order. Returns how many of the
/// exact neighbours were found, and how many there are.
fn check(
    index: &Index,
    metric: &Versioned,
    query: &[f32],
    model: &BTreeMap<u32, Vec<f32>>,
    k: usize,
    allowed: Option<&RoaringBitmap>,
    must_be_exact: bool,
) -> (usize, usize) {
    let found = index
        .search(
            metric,
            query,
            &SearchParams {
                k,
                allowed,
                ..params(k)
            },
        )
        .unwrap();
    assert!(found.complete);
    let matching = model
        .iter()
        .filter(|(slot, _)| allowed.is_none_or(|a| a.contains(**slot)));
    let expected = exact(metric, query, matching.map(|(slot, v)| (*slot, &v[..])), k);
    for hit in &found.hits {
        let vector = model.get(&hit.slot).expect("a hit is a live item");
        assert!(
            allowed.is_none_or(|a| a.contains(hit.slot)),
            "a hit passes the filter"
        );
        let distance = metric.metric.distance(query, vector);
        let error = (f64::from(hit.distance) - distance).abs();
        assert!(
            error <= 1e-4 * distance.abs() || error <= 1e-6,
            "{} is not {distance}",
            hit.distance
        );
    }
    assert!(found.hits.is_sorted_by_key(|hit| (hit.distance, hit.slot)));
    if must_be_exact {
        assert!(found.hits.len() >= expected.len());
        for (hit, (_, distance)) in found.hits.iter().zip(&expected) {
            let error = (f64::from(hit.distance) - distance).abs();
            assert!(
                error <= 1e-4 * distance.abs() || error <= 2e-6,
                "{} is not the next: {distance}",
                hit.distance
            );
        }
        for hit in &found.hits[expected.len()..] {
            assert_eq!(
                hit.distance,
                found.hits[expected.len() - 1].distance,
                "further hits tie with the last"
            );
        }
    }
    let slots: Vec<u32> = found.hits.iter().map(|hit| hit.slot).collect();
    (
        expected
            .iter()
            .filter(|(slot, _)| slots.contains(slot))
            .count(),
        expected.len(),
    )
}

/// Random sequences of add, delete, upsert, seal, rebuild, activate, reopen and search.
#[test]
fn any_sequence_of_operations_answers_like_a_map() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let dim = [1, 3, 8, 17][random.below(4)];
        let config = small(dim, [40, 200][random.below(2)], [10, 1000][random.below(2)]);
        let metrics = [
            euclid(dim),
            mahalanobis(dim, 30.0, 1),
            Versioned {
                version: 9,
                metric: Arc::new(Dot(dim)),
            },
        ];
        let mut index = Index::new(dim, config.clone()).unwrap();
        let mut model: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
        let (mut found, mut possible) = (0, 0);
        for _ in 0..60 {
            let live: Vec<u32> = model.keys().copied().collect();
            match random.below(10) {
                0..=3 => {
                    let first = index.next_slot() + (random.below(4) == 0) as u32 * 3;
                    let count = random.below(60);
                    // Some vectors are repeated, for ties and zero distances.
                    let vectors: Vec<Vec<f32>> = (0..count)
                        .map(|_| match live.get(random.below(live.len() * 4 + 1)) {
                            Some(slot) => model[slot].clone(),
                            None => random.vector(dim),
                        })
                        .collect();
                    let remove: Vec<u32> = (0..random.below(5))
                        .filter_map(|_| live.get(random.below(live.len() + 1)).copied())
                        .collect();
                    let items: Vec<(u32, &[f32])> = vectors
                        .iter()
                        .enumerate()
                        .map(|(i, v)| (first + i as u32, &v[..]))
                        .collect();
                    index.apply(&items, &remove).unwrap();
                    model.extend(items.iter().map(|(slot, v)| (*slot, v.to_vec())));
                    remove.iter().for_each(|slot| drop(model.remove(slot)));
                }
                4 => {
                    let remove: Vec<u32> = live
                        .iter()
                        .copied()
                        .filter(|_| random.below(5) == 0)
                        .collect();
                    index.apply(&[], &remove).unwrap();
                    remove.iter().for_each(|slot| drop(model.remove(slot)));
                }
                5 => index.settle(),
                6 => index.seal_now(&|_| (), &never).unwrap(),
                7 if random.below(3) == 0 => index.optimize(&|_| (), &never).unwrap(),
                7 => index.activate(&metrics[random.below(2)]),
                8 => {
                    let files = files_of(&index);
                    let held: Vec<u32> = index.with_segments(|s| s.slots().collect());
                    let removed: Vec<u32> = (0..index.next_slot())
                        .filter(|slot| !model.contains_key(slot))
                        .collect();
                    let items = model.iter().filter(|(slot, _)| !held.contains(slot));
                    let items = items.map(|(slot, v)| (*slot, v.clone()));
                    let next = index.next_slot();
                    index =
                        Index::open(dim, config.clone(), &files, next, &removed, items).unwrap();
                }
                _ => {}
            }
            assert_eq!(index.len(), model.len());
            let query = random.vector(dim);
            let metric = &metrics[random.below(3)];
            let allowed: RoaringBitmap = model
                .keys()
                .copied()
                .filter(|_| random.below(3) == 0)
                .collect();
            let allowed = (random.below(2) == 0).then_some(&allowed);
            let (a, b) = check(
                &index,
                metric,
                &query,
                &model,
                1 + random.below(12),
                allowed,
                false,
            );
            found += a;
            possible += b;
        }
        for (slot, vector) in &model {
            assert_eq!(index.vector(*slot).as_ref(), Some(vector));
        }
        // Segments this small are scanned, but for growing ones that have a graph.
        assert!(
            found as f64 >= 0.97 * possible as f64,
            "seed {seed}: {found} of {possible}"
        );
    }
}

#[test]
fn scanned_answers_are_exact_and_include_all_ties() {
    let dim = 20;
    let mut random = Random::new(1);
    let index = Index::new(dim, small(dim, 300, 10_000)).unwrap();
    let mut vectors: Vec<Vec<f32>> = (0..500).map(|_| random.vector(dim)).collect();
    for i in 0..8 {
        vectors[50 * i + 7] = vectors[7].clone();
    }
    add(&index, 0, &vectors);
    index.settle();
    let model: BTreeMap<u32, Vec<f32>> = (0..).zip(vectors.iter().cloned()).collect();
    for metric in [
        euclid(dim),
        mahalanobis(dim, 100.0, 1),
        Versioned {
            version: 2,
            metric: Arc::new(Dot(dim)),
        },
    ] {
        for _ in 0..50 {
            check(&index, &metric, &random.vector(dim), &model, 10, None, true);
        }
        // A search for one of eight equal items returns all eight.
        let found = index.search(&metric, &vectors[7], &params(1)).unwrap();
        if metric.version < 2 {
            assert_eq!(
                found.hits.iter().map(|h| h.slot).collect::<Vec<_>>(),
                (0..8).map(|i| 50 * i + 7).collect::<Vec<_>>()
            );
            assert!(found.hits.iter().all(|h| h.distance == 0.0));
        }
    }
}

#[test]
fn distances_have_the_same_bits_whichever_segment_finds_an_item() {
    let dim = 33;
    let mut random = Random::new(4);
    let vectors: Vec<Vec<f32>> = (0..3000).map(|_| random.vector(dim)).collect();
    let metric = mahalanobis(dim, 50.0, 3);
    let (scanned, graphed, sealed) = (
        Index::new(dim, small(dim, 4000, 10_000)).unwrap(),
        Index::new(dim, small(dim, 4000, 10)).unwrap(),
        Index::new(dim, small(dim, 700, 10)).unwrap(),
    );
    for index in [&scanned, &graphed, &sealed] {
        add(index, 0, &vectors);
        index.settle();
    }
    assert!(sealed.stats().segments.len() == 1 && graphed.stats().segments.is_empty());
    let by_slot = |index: &Index, query: &[f32]| -> BTreeMap<u32, u32> {
        let found = index
            .search(
                &metric,
                query,
                &SearchParams {
                    ef: Some(30),
                    ..params(10)
                },
            )
            .unwrap();
        found
            .hits
            .iter()
            .map(|h| (h.slot, h.distance.to_bits()))
            .collect()
    };
    for _ in 0..40 {
        let query = random.vector(dim);
        let all = [
            by_slot(&scanned, &query),
            by_slot(&graphed, &query),
            by_slot(&sealed, &query),
        ];
        for (slot, bits) in &all[0] {
            assert!(
                all.iter()
                    .all(|other| other.get(slot).is_none_or(|b| b == bits))
            );
        }
    }
    let plan = |index: &Index| {
        index
            .search(
                &metric,
                &vectors[0],
                &SearchParams {
                    ef: Some(30),
                    ..params(5)
                },
            )
            .unwrap()
            .plan
    };
    assert_eq!(
        (plan(&scanned), plan(&graphed), plan(&sealed)),
        (Plan::Scan, Plan::Graph, Plan::Graph)
    );
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let index = Index::new(3, small(3, 10, 10)).unwrap();
    add(&index, 5, &[vec![1.0, 2.0, 3.0]]);
    let refused = |items: &[(u32, &[f32])]| index.apply(items, &[5]).unwrap_err();
    assert_eq!(
        refused(&[(9, &[0.0; 3]), (10, &[0.0; 2])]),
        IndexError::Dimension {
            expected: 3,
            found: 2
        }
    );
    assert_eq!(
        refused(&[(9, &[0.0; 3]), (10, &[0.0, f32::NAN, 0.0])]),
        IndexError::NotFinite { position: 1 }
    );
    assert_eq!(
        refused(&[(9, &[0.0; 3]), (9, &[0.0; 3])]),
        IndexError::SlotOrder {
            slot: Slot(9),
            next: Slot(10)
        }
    );
    assert_eq!(
        refused(&[(4, &[0.0; 3])]),
        IndexError::SlotOrder {
            slot: Slot(4),
            next: Slot(6)
        }
    );
    assert_eq!((index.len(), index.next_slot()), (1, 6));
    assert!(index.search(&euclid(3), &[1.0], &params(1)).is_err());
    assert!(
        index
            .search(&euclid(3), &[f32::INFINITY, 0.0, 0.0], &params(1))
            .is_err()
    );
    assert!(index.search(&euclid(4), &[0.0; 3], &params(1)).is_err());
    assert!(Index::new(0, small(1, 1, 1)).is_err() && Index::new(4097, small(1, 1, 1)).is_err());
    let empty = Index::new(3, small(3, 10, 10)).unwrap();
    let found = empty.search(&euclid(3), &[0.0; 3], &params(10)).unwrap();
    assert_eq!((found.hits.len(), found.plan), (0, Plan::Empty));
    index.apply(&[], &[5, 5, 77, u32::MAX]).unwrap();
    assert_eq!(index.len(), 0);
}

#[test]
fn numbers_at_the_limits_of_f32_are_searched() {
    let index = Index::new(2, small(2, 8, 2)).unwrap();
    let vectors: Vec<Vec<f32>> = (0..40)
        .map(|i| vec![f32::MAX * (i % 3 - 1) as f32, 1e-40 * i as f32])
        .collect();
    add(&index, 0, &vectors);
    index.settle();
    for metric in [
        euclid(2),
        mahalanobis(2, 10.0, 1),
        Versioned {
            version: 2,
            metric: Arc::new(Dot(2)),
        },
    ] {
        let found = index
            .search(
                &metric,
                &[f32::MAX, f32::MIN],
                &SearchParams {
                    ef: Some(5),
                    ..params(5)
                },
            )
            .unwrap();
        assert!(found.hits.len() >= 5);
    }
}
