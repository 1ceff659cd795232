//! Maintenance beside searches and writes: sealing, merging, rebuilding and calibration.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::{Random, add, euclid, mahalanobis, params, small};
use crate::index::{Config, Index, IndexError, SearchParams, Section, Segments};

fn never() -> bool {
    false
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
fn a_cancelled_search_is_incomplete_and_a_cancelled_build_changes_nothing() {
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
        index.seal_now(&|_| (), &|| true),
        Err(IndexError::Cancelled)
    );
    assert_eq!(
        index.optimize(&|_| (), &|| true),
        Err(IndexError::Cancelled)
    );
    assert_eq!(before, (index.generation(), index.stats()));
    let shares = std::sync::Mutex::new(Vec::new());
    index
        .optimize(&|share| shares.lock().unwrap().push(share), &never)
        .unwrap();
    let shares = shares.into_inner().unwrap();
    assert!(shares.is_sorted() && shares.last() == Some(&1.0));
    assert_eq!(
        (index.stats().growing, index.stats().segments.len()),
        (0, 1)
    );
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
        index.seal_now(&|_| (), &never).unwrap();
        index.apply(&[], &(0..600).collect::<Vec<u32>>()).unwrap();
        // Items are appended, deleted ones cut out, and the graph is refined.
        add(&index, 2500, &vectors[2500..]);
        index.optimize(&|_| (), &never).unwrap();
        let ids = index.with_segments(|s| s.ids());
        assert_eq!(ids.len(), 1);
        let sections = index.with_segments(|s| {
            let sections = s.file_sections(ids[0]).unwrap().into_iter();
            sections.map(Cow::into_owned).collect::<Vec<_>>()
        });
        [Section::Slots, Section::Edges].map(|section| sections[section as usize].clone())
    });
    assert!(graphs[0] == graphs[1] && graphs[0] == graphs[2]);
}

#[test]
fn however_often_segments_are_merged_the_metric_is_measured_once() {
    let dim = 12;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut config = small(dim, 500, 10_000);
    config.on_change = Some(Arc::new({
        let calls = Arc::clone(&calls);
        move |_: &Segments<'_>| {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let index = Index::new(dim, config).unwrap();
    let mut random = Random::new(22);
    for batch in 0..5 {
        let vectors: Vec<Vec<f32>> = (0..300).map(|_| random.vector(dim)).collect();
        add(&index, batch * 300, &vectors);
        index.seal_now(&|_| (), &never).unwrap();
    }
    index.activate(&euclid(dim));
    let before = calls.load(Ordering::Relaxed);
    index.settle();
    assert_eq!(
        calls.load(Ordering::Relaxed) - before,
        2,
        "notified of one refined graph and one calibration"
    );
}

/// The slots of all sealed segments, with duplicates.
fn sealed_slots(index: &Index) -> Vec<u32> {
    let mut slots: Vec<u32> = index.with_segments(|segments| segments.slots().collect());
    slots.sort_unstable();
    slots
}

#[test]
fn a_cut_that_waited_for_a_rebuild_restores_no_deleted_item() {
    let dim = 8;
    let mut random = Random::new(23);
    let index = Index::new(dim, small(dim, 10_000, 10_000)).unwrap();
    let vectors: Vec<Vec<f32>> = (0..4000).map(|_| random.vector(dim)).collect();
    add(&index, 0, &vectors);
    index.seal_now(&|_| (), &never).unwrap();
    index
        .apply(
            &[],
            &(0..4000).filter(|slot| slot % 2 == 0).collect::<Vec<_>>(),
        )
        .unwrap();
    let began = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let began_rebuild = AtomicBool::new(false);
        let progress = |_: f32| {
            if !began_rebuild.swap(true, Ordering::AcqRel) {
                began.wait();
                // Long enough for the other thread to see deleted items and to wait.
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        };
        scope.spawn(|| {
            began.wait();
            index.settle();
        });
        index.optimize(&progress, &never).unwrap();
    });
    assert_eq!(
        sealed_slots(&index),
        (0..4000).filter(|slot| slot % 2 == 1).collect::<Vec<_>>()
    );
}

#[test]
fn an_idle_index_seals_and_cuts_its_segments() {
    let dim = 8;
    let mut random = Random::new(24);
    let index = Index::new(
        dim,
        Config {
            seal_from: 1000,
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
    // The thread finds no work and sleeps.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let vectors: Vec<Vec<f32>> = (0..1500).map(|_| random.vector(dim)).collect();
    add(&index, 0, &vectors);
    assert!(
        until(&|| sealed_slots(&index).len() == 1500),
        "a large growing segment is sealed"
    );
    index.apply(&[], &(0..700).collect::<Vec<_>>()).unwrap();
    assert!(
        until(&|| sealed_slots(&index).len() == 800),
        "deleted items are cut out"
    );
}

#[test]
fn items_among_many_dead_slots_are_calibrated() {
    let dim = 8;
    let mut random = Random::new(25);
    let index = Index::new(dim, small(dim, 10_000, 10_000)).unwrap();
    let vectors: Vec<Vec<f32>> = (0..3000).map(|_| random.vector(dim)).collect();
    let late = 3_000_000_000;
    add(&index, late, &vectors);
    index.seal_now(&|_| (), &never).unwrap();
    index.settle();
    assert_eq!(index.live_slots(), (late..late + 3000).collect::<Vec<_>>());
    let curve = index.with_segments(|segments| segments.calibrations());
    assert!(
        !curve[&0].kinds.is_empty() && curve[&0].kinds.iter().all(|kind| kind.recall > 0.9),
        "{curve:?}"
    );
}
