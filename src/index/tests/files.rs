//! Segment files: segments in files answer bit for bit as those in memory, and hostile files are
//! refused, never followed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Random, add, euclid, params, small};
use crate::index::layout::section::{Section, SegmentFile};
use crate::index::{Config, Expected, Index, IndexError, SearchParams, stored_rows};

/// A segment file in memory, whose sections begin at multiples of 64 bytes like those of a mapped
/// file.
#[derive(Debug, Clone)]
struct InMemory {
    /// The lines of each section, and its length in bytes.
    sections: Vec<(Vec<Line>, usize)>,
    /// The section and the byte that are damaged.
    bad: Option<(usize, usize)>,
    damaged: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl InMemory {
    fn new(sections: &[Vec<u8>]) -> Self {
        let aligned = |section: &Vec<u8>| {
            let mut lines = vec![Line([0; 64]); section.len().div_ceil(64)];
            bytemuck::cast_slice_mut(&mut lines)[..section.len()].copy_from_slice(section);
            (lines, section.len())
        };
        Self {
            sections: sections.iter().map(aligned).collect(),
            bad: None,
            damaged: Arc::default(),
        }
    }
}

impl SegmentFile for InMemory {
    fn section(&self, section: Section) -> &[u8] {
        self.sections
            .get(section as usize)
            .map_or(&[], |(lines, len)| &bytemuck::cast_slice(lines)[..*len])
    }

    fn verify(&self, section: Section, range: Range<usize>) -> bool {
        let sound = self
            .bad
            .is_none_or(|(bad, at)| bad != section as usize || !range.contains(&at));
        if !sound {
            self.damaged.store(true, Ordering::Release);
        }
        sound
    }

    fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

/// The files of the segments of an index.
pub(super) fn files_of(index: &Index) -> Vec<(u64, Arc<dyn SegmentFile>)> {
    index.with_segments(|segments| {
        let file = |id| {
            let sections = owned(segments.file_sections(id).unwrap());
            (
                id,
                Arc::new(InMemory::new(&sections)) as Arc<dyn SegmentFile>,
            )
        };
        segments.ids().into_iter().map(file).collect()
    })
}

fn owned(sections: Vec<Cow<'_, [u8]>>) -> Vec<Vec<u8>> {
    sections.into_iter().map(Cow::into_owned).collect()
}

/// A configuration with which maintenance makes segment files in memory, and those files.
fn with_files(dim: usize, base: Config) -> (Config, Arc<Mutex<Vec<(u64, Vec<Vec<u8>>)>>>) {
    let kept = Arc::<Mutex<Vec<(u64, Vec<Vec<u8>>)>>>::default();
    let keep = Arc::clone(&kept);
    let mut config = base;
    assert_eq!(config.base.dim(), dim);
    config.on_idle = Some(Arc::new(move |segments| {
        let made: Vec<_> = segments
            .ids()
            .into_iter()
            .filter_map(|id| Some((id, owned(segments.file_sections(id)?))))
            .collect();
        let files = made
            .iter()
            .map(|(id, sections)| {
                (
                    *id,
                    Arc::new(InMemory::new(sections)) as Arc<dyn SegmentFile>,
                )
            })
            .collect();
        *keep.lock().unwrap() = made;
        files
    }));
    (config, kept)
}

fn filled(dim: usize, count: usize) -> (Index, Vec<Vec<f32>>, Vec<(u64, Vec<Vec<u8>>)>) {
    let mut random = Random::new(33);
    let vectors: Vec<Vec<f32>> = (0..count).map(|_| random.vector(dim)).collect();
    let (config, kept) = with_files(dim, small(dim, 500, 10_000));
    let index = Index::new(dim, config).unwrap();
    add(&index, 0, &vectors);
    index.seal_now(&|_| (), &|| false).unwrap();
    index.settle();
    let made = kept.lock().unwrap().clone();
    assert!(!made.is_empty());
    (index, vectors, made)
}

fn open(
    dim: usize,
    made: &[(u64, Vec<Vec<u8>>)],
    next_slot: u32,
    removed: &[u32],
    items: &[(u32, Vec<f32>)],
) -> Result<Index, IndexError> {
    let files: Vec<_> = made
        .iter()
        .map(|(id, sections)| {
            (
                *id,
                Arc::new(InMemory::new(sections)) as Arc<dyn SegmentFile>,
            )
        })
        .collect();
    Index::open(
        dim,
        small(dim, 500, 10_000),
        &files,
        next_slot,
        removed,
        items.iter().map(|(s, v)| (*s, v)),
    )
}

fn same_answers(a: &Index, b: &Index, dim: usize) {
    let mut random = Random::new(5);
    for _ in 0..50 {
        let query = random.vector(dim);
        for ef in [20, 100_000] {
            let how = SearchParams {
                ef: Some(ef),
                ..params(5)
            };
            assert_eq!(
                a.search(&euclid(dim), &query, &how),
                b.search(&euclid(dim), &query, &how)
            );
        }
    }
}

#[test]
fn an_opened_index_answers_bit_for_bit_the_same_after_removals_and_fresh_items() {
    let (index, _, made) = filled(12, 3000);
    assert_eq!(
        index.stats().memory_bytes,
        open(12, &made, 3000, &[], &[])
            .unwrap()
            .stats()
            .memory_bytes
    );
    let removed: Vec<u32> = (0..3000).filter(|slot| slot % 7 == 0).collect();
    index.apply(&[], &removed).unwrap();
    let mut random = Random::new(6);
    let fresh: Vec<(u32, Vec<f32>)> = [3000, 3001, 3005]
        .map(|slot| (slot, random.vector(12)))
        .into();
    for (slot, vector) in &fresh {
        index.apply(&[(*slot, vector)], &[]).unwrap();
    }
    let opened = open(12, &made, 3006, &removed, &fresh).unwrap();
    assert_eq!(
        (opened.len(), opened.stats().deleted),
        (index.len(), index.stats().deleted)
    );
    assert!(opened.stats().mapped_bytes > 3000 * 64);
    same_answers(&index, &opened, 12);
    assert_eq!(opened.live_slots(), index.live_slots());
    assert_eq!(opened.vector(3005), index.vector(3005));
    assert_eq!((opened.vector(7), opened.vector(3002)), (None, None));
    // The opened index can be changed as any other.
    opened.optimize(&|_| (), &|| false).unwrap();
    assert_eq!(
        (
            opened.len(),
            opened.stats().deleted,
            opened.stats().mapped_bytes
        ),
        (index.len(), 0, 0)
    );
}

#[test]
fn deleted_items_are_cut_out_of_sealed_and_growing_segments() {
    let (index, vectors, _) = filled(12, 3000);
    let fresh: Vec<Vec<f32>> = vectors[..20]
        .iter()
        .map(|v| v.iter().map(|x| -x).collect())
        .collect();
    add(&index, 3000, &fresh);
    let gone: Vec<u32> = (0..3020).filter(|slot| slot % 3 == 0).collect();
    index.apply(&[], &gone).unwrap();
    index.cut_deleted().unwrap();
    let stats = index.stats();
    assert_eq!((index.len(), stats.deleted, stats.growing), (2013, 0, 0));
    index.with_segments(|segments| assert!(segments.slots().all(|slot| slot % 3 != 0)));
    let mut found = 0;
    for (slot, vector) in (0_u32..).zip(&vectors).filter(|(slot, _)| slot % 3 != 0) {
        let how = SearchParams {
            ef: Some(48),
            ..params(1)
        };
        let hits = index.search(&euclid(12), vector, &how).unwrap().hits;
        found += usize::from(hits.iter().any(|hit| hit.slot == slot));
    }
    assert!(found > 1980, "{found} of 2000 find themselves");
    index.apply(&[], &(0..3020).collect::<Vec<u32>>()).unwrap();
    index.cut_deleted().unwrap();
    assert!(index.with_segments(|segments| segments.ids()).is_empty());
}

#[test]
fn the_rows_of_a_file_are_read_one_by_one() {
    let (_, vectors, made) = filled(12, 3000);
    let expected = Expected {
        dim: 12,
        next_slot: 3000,
        format: None,
    };
    let read = |bad| {
        let mut rows = BTreeMap::new();
        for (_, sections) in &made {
            let mut file = InMemory::new(sections);
            file.bad = bad;
            let file: Arc<dyn SegmentFile> = Arc::new(file);
            rows.extend(stored_rows(&file, expected).unwrap());
        }
        rows
    };
    let sound = read(None);
    assert!(
        (0..)
            .zip(&vectors)
            .all(|(slot, vector)| sound[&slot].as_ref() == Some(vector))
    );
    let one_bad = read(Some((Section::Rows as usize, 64 * 350)));
    let bad: Vec<u32> = one_bad
        .iter()
        .filter(|(_, row)| row.is_none())
        .map(|(slot, _)| *slot)
        .collect();
    assert_eq!((one_bad.len(), bad.len()), (3000, made.len()));
    let no_slot = read(Some((Section::Slots as usize, 4 * 350)));
    assert_eq!(no_slot.len(), 3000 - made.len());
    let mut short = InMemory::new(&made[0].1);
    short.sections[Section::Rows as usize].1 -= 1;
    let short: Arc<dyn SegmentFile> = Arc::new(short);
    assert!(stored_rows(&short, expected).is_err());
}

#[test]
fn hostile_files_are_refused() {
    let (_, _, made) = filled(4, 700);
    let hostile = |section: Section, change: &dyn Fn(&mut Vec<u8>)| {
        let mut made = made.clone();
        change(&mut made[0].1[section as usize]);
        open(4, &made, 700, &[], &[])
    };
    assert!(hostile(Section::Rows, &|_| ()).is_ok());
    let word = |at: usize, value: u32| {
        move |bytes: &mut Vec<u8>| bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes())
    };
    for (what, opened) in [
        ("another id", hostile(Section::Header, &word(0, 999))),
        ("more items", hostile(Section::Header, &word(2, 701))),
        ("another dimension", hostile(Section::Header, &word(3, 5))),
        (
            "an entry that is not there",
            hostile(Section::Header, &word(4, 700)),
        ),
        (
            "more unrefined than there are",
            hostile(Section::Header, &word(6, 701)),
        ),
        (
            "a slot twice",
            hostile(Section::Slots, &|bytes| bytes.copy_within(0..4, 4)),
        ),
        (
            "a slot that was never assigned",
            hostile(Section::Slots, &word(3, 700)),
        ),
        ("an edge to nowhere", hostile(Section::Edges, &word(0, 700))),
        (
            "an edge after the end",
            hostile(Section::Edges, &|bytes| {
                bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
            }),
        ),
        (
            "a range that is not a number",
            hostile(Section::Ranges, &word(1, f32::NAN.to_bits())),
        ),
    ] {
        assert!(
            matches!(opened, Err(IndexError::Graph { .. })),
            "{what}: {opened:?}"
        );
    }
    for section in Section::ALL {
        for cut in [1, 4, 64] {
            let opened = hostile(section, &|bytes| {
                bytes.truncate(bytes.len().saturating_sub(cut));
            });
            assert!(opened.is_err(), "{section:?} without its last {cut} bytes");
        }
    }
    let mut twice = made.clone();
    twice.push(made[0].clone());
    assert!(open(4, &twice, 700, &[], &[]).is_err());
}

#[test]
fn no_result_is_taken_from_a_damaged_row() {
    let (_, vectors, made) = filled(4, 700);
    let mut file = InMemory::new(&made[0].1);
    file.bad = Some((Section::Rows as usize, 64 * 350));
    let files: Vec<(u64, Arc<dyn SegmentFile>)> = vec![(made[0].0, Arc::new(file))];
    let none: [(u32, Vec<f32>); 0] = [];
    let index = Index::open(4, small(4, 500, 10_000), &files, 700, &[], none).unwrap();
    index.check_files().unwrap();
    let exact = SearchParams {
        ef: Some(100_000),
        ..params(5)
    };
    let damaged = Err(IndexError::DamagedFile { segment: made[0].0 });
    assert_eq!(index.search(&euclid(4), &vectors[0], &exact), damaged);
    assert_eq!(
        index.search(&euclid(4), &vectors[0], &params(1)),
        damaged,
        "and not later either"
    );
    assert_eq!(
        index.optimize(&|_| (), &|| false),
        Err(IndexError::DamagedFile { segment: made[0].0 })
    );
    for (section, length) in [
        (Section::Codes, 64),
        (Section::Edges, 128),
        (Section::Slots, 4),
    ] {
        let mut file = InMemory::new(&made[0].1);
        file.bad = Some((section as usize, 100 * length));
        let files: Vec<(u64, Arc<dyn SegmentFile>)> = vec![(made[0].0, Arc::new(file))];
        let none: [(u32, Vec<f32>); 0] = [];
        assert!(
            Index::open(4, small(4, 500, 10_000), &files, 700, &[], none).is_err(),
            "{section:?}"
        );
    }
}
