//! Segments in images: used in place they answer bit for bit the same, and hostile ones are
//! refused, never followed.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Random, add, euclid, params, small};
use crate::index::{Config, Image, Index, IndexError, Part, SearchParams};

/// Parts in memory, as a mapped file has them: each begins at a multiple of 64 bytes.
#[derive(Debug, Clone)]
struct InMemory {
    parts: Vec<(Vec<Line>, usize)>,
    /// The part and the byte that are damaged.
    bad: Option<(usize, usize)>,
    damaged: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl InMemory {
    fn new(parts: &[Vec<u8>]) -> Self {
        let aligned = |part: &Vec<u8>| {
            let mut lines = vec![Line([0; 64]); part.len().div_ceil(64)];
            bytemuck::cast_slice_mut(&mut lines)[..part.len()].copy_from_slice(part);
            (lines, part.len())
        };
        Self {
            parts: parts.iter().map(aligned).collect(),
            bad: None,
            damaged: Arc::default(),
        }
    }
}

impl Image for InMemory {
    fn part(&self, part: Part) -> &[u8] {
        self.parts
            .get(part as usize)
            .map_or(&[], |(lines, len)| &bytemuck::cast_slice(lines)[..*len])
    }

    fn verify(&self, part: Part, range: Range<usize>) -> bool {
        let sound = self
            .bad
            .is_none_or(|(bad, at)| bad != part as usize || !range.contains(&at));
        if !sound {
            self.damaged.store(true, Ordering::Release);
        }
        sound
    }

    fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

fn owned(parts: Vec<Cow<'_, [u8]>>) -> Vec<Vec<u8>> {
    parts.into_iter().map(Cow::into_owned).collect()
}

/// An index whose background makes images in memory, and where they are found.
fn imaged(dim: usize, base: Config) -> (Config, Arc<Mutex<Vec<(u64, Vec<Vec<u8>>)>>>) {
    let kept = Arc::<Mutex<Vec<(u64, Vec<Vec<u8>>)>>>::default();
    let keep = Arc::clone(&kept);
    let mut config = base;
    assert_eq!(config.base.dim(), dim);
    config.on_calm = Some(Arc::new(move |segments| {
        let made: Vec<_> = segments
            .ids()
            .into_iter()
            .filter_map(|id| Some((id, owned(segments.image(id)?))))
            .collect();
        let images = made
            .iter()
            .map(|(id, parts)| (*id, Arc::new(InMemory::new(parts)) as Arc<dyn Image>))
            .collect();
        *keep.lock().unwrap() = made;
        images
    }));
    (config, kept)
}

fn filled(dim: usize, count: usize) -> (Index, Vec<Vec<f32>>, Vec<(u64, Vec<Vec<u8>>)>) {
    let mut random = Random::new(33);
    let vectors: Vec<Vec<f32>> = (0..count).map(|_| random.vector(dim)).collect();
    let (config, kept) = imaged(dim, small(dim, 500, 10_000));
    let index = Index::new(dim, config).unwrap();
    add(&index, 0, &vectors);
    index.link_now(&|_| (), &|| false).unwrap();
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
    let images: Vec<_> = made
        .iter()
        .map(|(id, parts)| (*id, Arc::new(InMemory::new(parts)) as Arc<dyn Image>))
        .collect();
    Index::open(
        dim,
        small(dim, 500, 10_000),
        &images,
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
    // It goes on from there.
    opened.relink(&|_| (), &|| false).unwrap();
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
fn hostile_images_are_refused() {
    let (_, _, made) = filled(4, 700);
    let hostile = |part: Part, change: &dyn Fn(&mut Vec<u8>)| {
        let mut made = made.clone();
        change(&mut made[0].1[part as usize]);
        open(4, &made, 700, &[], &[])
    };
    assert!(hostile(Part::Rows, &|_| ()).is_ok());
    let word = |at: usize, value: u32| {
        move |bytes: &mut Vec<u8>| bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes())
    };
    for (what, opened) in [
        ("another id", hostile(Part::Header, &word(0, 999))),
        ("more items", hostile(Part::Header, &word(2, 701))),
        ("another dimension", hostile(Part::Header, &word(3, 5))),
        (
            "an entry that is not there",
            hostile(Part::Header, &word(4, 700)),
        ),
        (
            "more unrefined than there are",
            hostile(Part::Header, &word(6, 701)),
        ),
        (
            "a slot twice",
            hostile(Part::Slots, &|bytes| bytes.copy_within(0..4, 4)),
        ),
        (
            "a slot that was never given",
            hostile(Part::Slots, &word(3, 700)),
        ),
        ("an edge to nowhere", hostile(Part::Edges, &word(0, 700))),
        (
            "an edge after the end",
            hostile(Part::Edges, &|bytes| {
                bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
            }),
        ),
        (
            "a range that is no number",
            hostile(Part::Ranges, &word(1, f32::NAN.to_bits())),
        ),
    ] {
        assert!(
            matches!(opened, Err(IndexError::Graph { .. })),
            "{what}: {opened:?}"
        );
    }
    for part in Part::ALL {
        for cut in [1, 4, 64] {
            let opened = hostile(part, &|bytes| {
                bytes.truncate(bytes.len().saturating_sub(cut))
            });
            assert!(opened.is_err(), "{part:?} without its last {cut} bytes");
        }
    }
    let mut twice = made.clone();
    twice.push(made[0].clone());
    assert!(open(4, &twice, 700, &[], &[]).is_err());
}

#[test]
fn nothing_is_believed_of_a_damaged_row() {
    let (_, vectors, made) = filled(4, 700);
    let mut image = InMemory::new(&made[0].1);
    image.bad = Some((Part::Rows as usize, 64 * 350));
    let images: Vec<(u64, Arc<dyn Image>)> = vec![(made[0].0, Arc::new(image))];
    let none: [(u32, Vec<f32>); 0] = [];
    let index = Index::open(4, small(4, 500, 10_000), &images, 700, &[], none).unwrap();
    index.check_images().unwrap();
    let exact = SearchParams {
        ef: Some(100_000),
        ..params(5)
    };
    let damaged = Err(IndexError::DamagedImage { segment: made[0].0 });
    assert_eq!(index.search(&euclid(4), &vectors[0], &exact), damaged);
    assert_eq!(
        index.search(&euclid(4), &vectors[0], &params(1)),
        damaged,
        "and not later either"
    );
    assert_eq!(
        index.relink(&|_| (), &|| false),
        Err(IndexError::DamagedImage { segment: made[0].0 })
    );
    for (part, length) in [(Part::Codes, 64), (Part::Edges, 128), (Part::Slots, 4)] {
        let mut image = InMemory::new(&made[0].1);
        image.bad = Some((part as usize, 100 * length));
        let images: Vec<(u64, Arc<dyn Image>)> = vec![(made[0].0, Arc::new(image))];
        let none: [(u32, Vec<f32>); 0] = [];
        assert!(
            Index::open(4, small(4, 500, 10_000), &images, 700, &[], none).is_err(),
            "{part:?}"
        );
    }
}
