//! Segment records: a stored graph is read back bit for bit, and hostile bytes are refused, never
//! followed.

use super::{Random, add, euclid, params, small};
use crate::index::{Index, IndexError, SearchParams, SegmentRecord};
use crate::model::Plan;

fn sealed(dim: usize, count: usize) -> (Index, Vec<Vec<f32>>, Vec<SegmentRecord>) {
    let mut random = Random::new(21);
    let vectors: Vec<Vec<f32>> = (0..count).map(|_| random.vector(dim)).collect();
    let index = Index::new(dim, small(dim, 500, 10_000)).unwrap();
    add(&index, 0, &vectors);
    index.seal_now(&|_| (), &|| false).unwrap();
    let records = index
        .with_segments(|s| s.ids())
        .into_iter()
        .filter_map(|id| index.with_segments(|s| s.record(id)))
        .collect();
    (index, vectors, records)
}

fn items(vectors: &[Vec<f32>]) -> impl Iterator<Item = (u32, &[f32])> {
    (0..).zip(vectors.iter().map(Vec::as_slice))
}

#[test]
fn a_restored_index_answers_bit_for_bit_the_same_without_building_graphs() {
    let (index, vectors, records) = sealed(12, 3000);
    assert!(
        records
            .iter()
            .flat_map(|r| &r.chunks)
            .all(|chunk| chunk.len() <= 64 * 1024)
    );
    assert!(records[0].chunks.len() > 1);
    let opened =
        Index::restore(12, small(12, 500, 10_000), &records, 3000, items(&vectors)).unwrap();
    assert_eq!(opened.refused, []);
    assert_eq!(
        opened.index.with_segments(|s| s.ids()),
        index.with_segments(|s| s.ids())
    );
    assert_eq!(opened.index.stats().growing, 0);
    let again: Vec<SegmentRecord> = opened
        .index
        .with_segments(|s| s.ids())
        .into_iter()
        .filter_map(|id| opened.index.with_segments(|s| s.record(id)))
        .collect();
    assert_eq!(again, records);
    let mut random = Random::new(5);
    for _ in 0..50 {
        let query = random.vector(12);
        let narrow = SearchParams {
            ef: Some(20),
            ..params(5)
        };
        let (a, b) = (
            index.search(&euclid(12), &query, &narrow),
            opened.index.search(&euclid(12), &query, &narrow),
        );
        assert_eq!(a, b);
        assert_eq!(a.unwrap().plan, Plan::Graph);
    }
}

#[test]
fn missing_items_are_cut_out_of_the_graph() {
    let (_, vectors, records) = sealed(12, 3000);
    let living: Vec<(u32, &[f32])> = items(&vectors).filter(|(slot, _)| slot % 3 != 0).collect();
    let opened = Index::restore(
        12,
        small(12, 500, 10_000),
        &records,
        3000,
        living.iter().copied(),
    )
    .unwrap();
    assert_eq!(opened.refused, []);
    let index = opened.index;
    assert_eq!(
        (index.len(), index.stats().deleted, index.stats().growing),
        (2000, 0, 0)
    );
    let mut found = 0;
    for (slot, vector) in &living {
        let hits = index
            .search(
                &euclid(12),
                vector,
                &SearchParams {
                    ef: Some(48),
                    ..params(1)
                },
            )
            .unwrap()
            .hits;
        assert!(hits.iter().all(|hit| hit.slot % 3 != 0));
        found += usize::from(hits.iter().any(|hit| hit.slot == *slot));
    }
    assert!(found > 1980, "{found} of 2000 find themselves");
}

#[test]
fn damaged_graphs_are_refused_and_their_items_still_answer() {
    let (_, vectors, records) = sealed(4, 700);
    let record = &records[0];
    let mut random = Random::new(9);
    let open = |record: SegmentRecord, next_slot: u32| {
        let opened = Index::restore(
            4,
            small(4, 500, 10_000),
            &[record],
            next_slot,
            items(&vectors),
        )
        .unwrap();
        assert_eq!(opened.index.len(), 700);
        let found = opened
            .index
            .search(&euclid(4), &vectors[33], &params(3))
            .unwrap();
        assert_eq!(found.hits[0].slot, 33);
        opened.refused
    };
    // The checksum detects any flipped bit.
    for _ in 0..50 {
        let mut bad = record.clone();
        let at = random.below(bad.chunks[0].len());
        bad.chunks[0][at] ^= 1 << random.below(8);
        assert!(matches!(
            open(bad, 700)[..],
            [(_, IndexError::Graph { .. })]
        ));
    }
    // Bytes with a right checksum are checked all the same: nothing panics, nothing out of range is
    // accepted.
    for _ in 0..3000 {
        let mut bad = record.clone();
        let chunk = &mut bad.chunks[0];
        for _ in 0..=random.below(3) {
            let within = if random.below(2) == 0 {
                60
            } else {
                chunk.len() - 4
            };
            let at = 4 + random.below(within);
            chunk[at] = random.next() as u8;
        }
        match random.below(6) {
            0 => chunk.truncate(4 + random.below(chunk.len() - 4)),
            1 => chunk.extend([0; 3]),
            _ => {}
        }
        let sum = crc32fast::hash(&chunk[4..]);
        chunk[..4].copy_from_slice(&sum.to_le_bytes());
        open(bad, 700);
    }
    for bad in [
        Vec::new(),
        vec![Vec::new()],
        vec![vec![1, 2, 3]],
        vec![vec![0; 8]],
    ] {
        assert_eq!(open(SegmentRecord { id: 7, chunks: bad }, 700).len(), 1);
    }
    let (_, _, many) = sealed(4, 9000);
    let mut swapped = many[0].clone();
    assert!(swapped.chunks.len() > 2);
    swapped.chunks.swap(0, 1);
    assert_eq!(open(swapped, 9000).len(), 1);
}

#[test]
fn of_two_graphs_with_one_item_only_one_is_used() {
    let (_, vectors, mut records) = sealed(4, 700);
    let mut twin = records[0].clone();
    twin.id += 1000;
    let body = &mut twin.chunks[0];
    body[16..24].copy_from_slice(&twin.id.to_le_bytes());
    let sum = crc32fast::hash(&body[4..]);
    body[..4].copy_from_slice(&sum.to_le_bytes());
    records.push(twin);
    let opened = Index::restore(4, small(4, 500, 10_000), &records, 700, items(&vectors)).unwrap();
    assert!(
        matches!(&opened.refused[..], [(_, IndexError::Graph { reason, .. })] if reason.contains("another segment"))
    );
    assert_eq!(opened.index.len(), 700);
    // Slots that were never assigned are refused too.
    let opened = Index::restore(
        4,
        small(4, 500, 10_000),
        &records[..1],
        600,
        items(&vectors[..600]),
    )
    .unwrap();
    assert_eq!(opened.refused.len(), 1);
    assert_eq!(opened.index.len(), 600);
}
