//! The index against a map of vectors: whatever the sequence of operations, what is added is found
//! and what is deleted never comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use roaring::RoaringBitmap;

use super::{Dot, Random, add, euclid, exact, mahalanobis, params, small};
use crate::index::{Config, Index, IndexError, SearchParams, SegmentRecord, Segments, Versioned};

fn never() -> bool {
    false
}

/// Checks hits against the model: the right distances, in the right order; the right items but for
/// ties and rounding.
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

/// Random sequences of add, delete, upsert, link, relink, activate, reopen and search.
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
                    // Some vectors are repeated: ties and zero distances are part of life.
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
                6 => index.link_now(&|_| (), &never).unwrap(),
                7 if random.below(3) == 0 => index.relink(&|_| (), &never).unwrap(),
                7 => index.activate(&metrics[random.below(2)]),
                8 => {
                    let records: Vec<SegmentRecord> = index
                        .with_segments(|s| s.ids())
                        .into_iter()
                        .filter_map(|id| index.with_segments(|s| s.export(id)))
                        .collect();
                    let items = model.iter().map(|(slot, v)| (*slot, v.clone()));
                    let opened =
                        Index::restore(dim, config.clone(), &records, index.next_slot(), items)
                            .unwrap();
                    assert_eq!(opened.refused, []);
                    index = opened.index;
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
        // Parts this small are scanned, but for heads that have a graph.
        assert!(
            found as f64 >= 0.97 * possible as f64,
            "seed {seed}: {found} of {possible}"
        );
    }
}

#[test]
fn scanned_answers_are_exact_and_ties_are_all_there() {
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
        // One of eight equal items in k asks for all eight.
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
fn the_same_bits_whichever_part_finds_an_item() {
    let dim = 33;
    let mut random = Random::new(4);
    let vectors: Vec<Vec<f32>> = (0..3000).map(|_| random.vector(dim)).collect();
    let metric = mahalanobis(dim, 50.0, 3);
    let (scanned, graphed, linked) = (
        Index::new(dim, small(dim, 4000, 10_000)).unwrap(),
        Index::new(dim, small(dim, 4000, 10)).unwrap(),
        Index::new(dim, small(dim, 700, 10)).unwrap(),
    );
    for index in [&scanned, &graphed, &linked] {
        add(index, 0, &vectors);
        index.settle();
    }
    assert!(linked.stats().segments.len() == 1 && graphed.stats().segments.is_empty());
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
            by_slot(&linked, &query),
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
        (plan(&scanned), plan(&graphed), plan(&linked)),
        ("scan", "graph", "graph")
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
        IndexError::SlotOrder { slot: 9, next: 10 }
    );
    assert_eq!(
        refused(&[(4, &[0.0; 3])]),
        IndexError::SlotOrder { slot: 4, next: 6 }
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
    assert_eq!((found.hits.len(), found.plan), (0, "empty"));
    index.apply(&[], &[5, 5, 77, u32::MAX]).unwrap();
    assert_eq!(index.len(), 0);
}

#[test]
fn numbers_at_the_edge_of_f32_do_not_break_it() {
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

/// Every answer is right for some state: an item that was there before the search began and stayed
/// is found, and one that was removed before it began is not. Pairs move together, so both or
/// neither of a pair are seen.
#[test]
fn searches_during_changes_see_whole_states() {
    let dim = 8;
    let mut random = Random::new(2);
    let mut config = small(dim, 256, 64);
    config.background = true;
    let index = Index::new(dim, config).unwrap();
    let base: Vec<Vec<f32>> = (0..400).map(|_| random.vector(dim)).collect();
    add(&index, 0, &base);
    let done = AtomicBool::new(false);
    let generation = AtomicU32::new(0);
    let far = |step: u32, side: f32| -> Vec<f32> {
        let mut v = vec![100.0; dim];
        v[0] += side;
        v[1] += (step % 10) as f32;
        v
    };
    std::thread::scope(|scope| {
        for t in 0..2 {
            let (index, done, base, generation) = (&index, &done, &base, &generation);
            scope.spawn(move || {
                let mut random = Random::new(100 + t);
                let metrics = [euclid(dim), mahalanobis(dim, 20.0, 1)];
                while !done.load(Ordering::Acquire) {
                    let at = random.below(base.len());
                    let found = index
                        .search(&metrics[at % 2], &base[at], &params(3))
                        .unwrap();
                    assert!(
                        found
                            .hits
                            .iter()
                            .any(|h| h.slot == at as u32 && h.distance == 0.0),
                        "item {at}"
                    );
                    let before = generation.load(Ordering::Acquire);
                    let found = index.search(&metrics[0], &[100.0; 8], &params(3)).unwrap();
                    let near: Vec<u32> = found
                        .hits
                        .iter()
                        .filter(|h| h.distance < 200.0)
                        .map(|h| h.slot)
                        .collect();
                    if before > 0 {
                        assert_eq!(near.len(), 2, "a pair is replaced at once: {found:?}");
                        assert_eq!(near[0] / 2, near[1] / 2);
                    }
                }
            });
        }
        let mut last: Option<u32> = None;
        let mut slot = 400;
        for step in 0..1500u32 {
            let pair = [far(step, 1.0), far(step, -1.0)];
            let mut items: Vec<(u32, &[f32])> = vec![(slot, &pair[0]), (slot + 1, &pair[1])];
            let filler = vec![-50.0 - (step % 7) as f32; dim];
            if step % 3 == 0 {
                items.extend([(slot + 2, &filler[..]), (slot + 3, &filler[..])]);
            }
            let remove: Vec<u32> = last.iter().flat_map(|&s| [s, s + 1]).collect();
            index.apply(&items, &remove).unwrap();
            generation.store(step + 1, Ordering::Release);
            last = Some(slot);
            slot += if step % 3 == 0 { 4 } else { 2 };
        }
        index.settle();
        done.store(true, Ordering::Release);
    });
    assert!(!index.stats().segments.is_empty());
    assert_eq!(index.len(), 400 + 2 + 1000);
}

#[test]
fn a_cancelled_search_says_so_and_a_cancelled_link_changes_nothing() {
    let dim = 8;
    let mut random = Random::new(6);
    let index = Index::new(dim, small(dim, 2000, 10_000)).unwrap();
    let vectors: Vec<Vec<f32>> = (0..5000).map(|_| random.vector(dim)).collect();
    add(&index, 0, &vectors);
    let found = index
        .search(
            &euclid(dim),
            &vectors[0],
            &SearchParams {
                cancel: Some(&|| true),
                ..params(3)
            },
        )
        .unwrap();
    assert!(!found.complete);
    let before = (index.generation(), index.stats());
    assert_eq!(
        index.link_now(&|_| (), &|| true),
        Err(IndexError::Cancelled)
    );
    assert_eq!(index.relink(&|_| (), &|| true), Err(IndexError::Cancelled));
    assert_eq!(before, (index.generation(), index.stats()));
    let shares = std::sync::Mutex::new(Vec::new());
    index
        .relink(&|share| shares.lock().unwrap().push(share), &never)
        .unwrap();
    let shares = shares.into_inner().unwrap();
    assert!(shares.is_sorted() && shares.last() == Some(&1.0));
    assert_eq!((index.stats().head, index.stats().segments.len()), (0, 1));
}

#[test]
fn the_graph_is_the_same_whatever_the_number_of_threads() {
    let dim = 16;
    let mut random = Random::new(12);
    let vectors: Vec<Vec<f32>> = (0..3000).map(|_| random.vector(dim)).collect();
    let graphs = [1, 2, 5].map(|threads| {
        let index = Index::new(
            dim,
            Config {
                threads,
                ..small(dim, 1000, 10_000)
            },
        )
        .unwrap();
        index.activate(&mahalanobis(dim, 20.0, 1));
        add(&index, 0, &vectors[..2500]);
        index.link_now(&|_| (), &never).unwrap();
        index.apply(&[], &(0..600).collect::<Vec<u32>>()).unwrap();
        // Appended to what is there, the dead cut out, and refined.
        add(&index, 2500, &vectors[2500..]);
        index.relink(&|_| (), &never).unwrap();
        let ids = index.with_segments(|s| s.ids());
        assert_eq!(ids.len(), 1);
        index.with_segments(|s| s.export(ids[0])).unwrap().chunks
    });
    assert!(graphs[0] == graphs[1] && graphs[0] == graphs[2]);
}

#[test]
fn however_often_parts_are_merged_the_metric_is_measured_once() {
    let dim = 12;
    let told = Arc::new(AtomicUsize::new(0));
    let mut config = small(dim, 500, 10_000);
    config.on_change = Some(Arc::new({
        let told = Arc::clone(&told);
        move |_: &Segments<'_>| {
            told.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let index = Index::new(dim, config).unwrap();
    let mut random = Random::new(22);
    for batch in 0..5 {
        let vectors: Vec<Vec<f32>> = (0..300).map(|_| random.vector(dim)).collect();
        add(&index, batch * 300, &vectors);
        index.link_now(&|_| (), &never).unwrap();
    }
    index.activate(&euclid(dim));
    let before = told.load(Ordering::Relaxed);
    index.settle();
    assert_eq!(
        told.load(Ordering::Relaxed) - before,
        2,
        "told of one graph refined and of one calibration"
    );
}

/// Each slot that is linked, as often as it is.
fn linked_slots(index: &Index) -> Vec<u32> {
    let mut slots: Vec<u32> = index.with_segments(|segments| segments.slots().collect());
    slots.sort_unstable();
    slots
}

#[test]
fn a_cut_that_waited_for_a_relink_brings_nothing_back() {
    let dim = 8;
    let mut random = Random::new(23);
    let index = Index::new(dim, small(dim, 10_000, 10_000)).unwrap();
    let vectors: Vec<Vec<f32>> = (0..4000).map(|_| random.vector(dim)).collect();
    add(&index, 0, &vectors);
    index.link_now(&|_| (), &never).unwrap();
    index
        .apply(
            &[],
            &(0..4000).filter(|slot| slot % 2 == 0).collect::<Vec<_>>(),
        )
        .unwrap();
    let began = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let relinked = AtomicBool::new(false);
        let progress = |_: f32| {
            if !relinked.swap(true, Ordering::AcqRel) {
                began.wait();
                // Long enough for the other thread to see dead items, and to wait.
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        };
        scope.spawn(|| {
            began.wait();
            index.settle();
        });
        index.relink(&progress, &never).unwrap();
    });
    assert_eq!(
        linked_slots(&index),
        (0..4000).filter(|slot| slot % 2 == 1).collect::<Vec<_>>()
    );
}

#[test]
fn an_index_that_is_left_alone_puts_itself_in_order() {
    let dim = 8;
    let mut random = Random::new(24);
    let index = Index::new(
        dim,
        Config {
            link_from: 1000,
            background: true,
            ..small(dim, 10_000, 10_000)
        },
    )
    .unwrap();
    let until = |done: &dyn Fn() -> bool| {
        (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            done()
        })
    };
    // The thread finds nothing to do, and sleeps.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let vectors: Vec<Vec<f32>> = (0..1500).map(|_| random.vector(dim)).collect();
    add(&index, 0, &vectors);
    assert!(
        until(&|| linked_slots(&index).len() == 1500),
        "a large head is linked"
    );
    index.apply(&[], &(0..700).collect::<Vec<_>>()).unwrap();
    assert!(
        until(&|| linked_slots(&index).len() == 800),
        "dead items are cut out"
    );
}

#[test]
fn items_among_many_dead_slots_are_measured_as_well() {
    let dim = 8;
    let mut random = Random::new(25);
    let index = Index::new(dim, small(dim, 10_000, 10_000)).unwrap();
    let vectors: Vec<Vec<f32>> = (0..3000).map(|_| random.vector(dim)).collect();
    let late = 3_000_000_000;
    add(&index, late, &vectors);
    index.link_now(&|_| (), &never).unwrap();
    index.settle();
    assert_eq!(index.live_slots(), (late..late + 3000).collect::<Vec<_>>());
    let curve = index.with_segments(|segments| segments.calibrations());
    assert!(
        curve[&0].last().is_some_and(|(_, recall)| *recall > 0.9),
        "{curve:?}"
    );
}
