//! Segments as they lie in a file: written once, mapped, and used in place.
//!
//! The parts of an image, in order, all little-endian; each is an array that starts at a multiple
//! of 64 bytes:
//!
//! | part | array |
//! |---|---|
//! | header | id (2 words), items, dimension, entry, metric version, unrefined items, bits of a code (u32) |
//! | slots | a u32 an item |
//! | edges | 32 u32 an item; `u32::MAX` where there are fewer |
//! | ranges | the least value and the step of the codes of each number (f32): all least values, then all steps |
//! | codes | a row of codes of 4 or 8 bits an item, in order as [`CodeBlock`] says, padded with zeros to a multiple of 64 bytes |
//! | biases | an f32 an item: its bias under the built-in metric |
//! | rows | a row of f32 an item, padded with zeros to a multiple of 64 bytes; or the bytes of its [`RowFormat`], not padded |
//!
//! All but the rows are verified when the image is opened; a row is when it is first read.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use super::IndexError;
use super::beam::{Edges, NONE};
use super::codes::{CodeBlock, Codes, Width};
use super::column::Column;
use super::rows::{Block, Room, RowFormat, blocks_for, unpack_into};
use super::segment::{Parts, Segment, SegmentRows};

/// A part of an image, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Header,
    Slots,
    Edges,
    Ranges,
    Codes,
    Biases,
    Rows,
}

impl Part {
    /// In their order.
    pub(crate) const ALL: [Self; 7] = [
        Self::Header,
        Self::Slots,
        Self::Edges,
        Self::Ranges,
        Self::Codes,
        Self::Biases,
        Self::Rows,
    ];
}

/// Bytes in parts that somebody else keeps, such as a mapped file. They never change.
pub(crate) trait Image: Send + Sync + std::fmt::Debug {
    /// A part; empty if there is none.
    fn part(&self, part: Part) -> &[u8];

    /// Whether a range of a part is there and is what was written. Cheap when it was asked before.
    fn verify(&self, part: Part, range: std::ops::Range<usize>) -> bool;

    /// Whether [`Self::verify`] said no so far.
    fn is_damaged(&self) -> bool;
}

/// Words in the header.
const HEADER: usize = 8;

/// A segment as the parts of an image; `biases` are those of its items under the built-in metric.
/// `None` for what is itself in an image that is damaged.
pub(crate) fn parts<'a>(
    segment: &'a Segment,
    biases: &[f32],
    format: Option<&dyn RowFormat>,
) -> Option<Vec<Cow<'a, [u8]>>> {
    let rows = segment.rows.bytes_in(format)?;
    let (width, ranges, codes) = segment.codes.parts();
    let words = [
        segment.id as u32,
        (segment.id >> 32) as u32,
        segment.len() as u32,
        segment.rows.dim() as u32,
        segment.entry,
        segment.linked_under,
        segment.unrefined as u32,
        width.bits(),
    ];
    fn held<'a, T: bytemuck::NoUninit>(numbers: &[T]) -> Cow<'a, [u8]> {
        Cow::Owned(bytemuck::cast_slice(numbers).to_vec())
    }
    fn lent<T: bytemuck::NoUninit>(numbers: &[T]) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(numbers))
    }
    Some(vec![
        held(&words),
        lent(&segment.slots),
        lent(&segment.edges),
        held(&ranges),
        lent(codes),
        held(biases),
        rows,
    ])
}

/// What the store knows of its segments' images.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Numbers in a vector.
    pub(crate) dim: usize,
    /// Slots lie below it.
    pub(crate) next_slot: u32,
    /// How rows are kept.
    pub(crate) format: Option<&'a Arc<dyn RowFormat>>,
}

/// Opens a segment, and its items' biases under the built-in metric.
///
/// # Errors
/// [`IndexError::Graph`] when the image is damaged or says what cannot be.
pub(crate) fn open(
    id: u64,
    image: &Arc<dyn Image>,
    expected: Expected<'_>,
) -> Result<(Segment, Column<f32>), IndexError> {
    read(id, image, expected).map_err(|reason| IndexError::Graph {
        segment: id,
        reason,
    })
}

fn read(
    id: u64,
    image: &Arc<dyn Image>,
    expected: Expected<'_>,
) -> Result<(Segment, Column<f32>), String> {
    let Expected {
        dim,
        next_slot,
        format,
    } = expected;
    if cfg!(target_endian = "big") {
        return Err("images are used on little-endian machines only".to_owned());
    }
    const STEP: usize = 1 << 20;
    let ranges = Part::ALL[..Part::Rows as usize].iter().flat_map(|part| {
        let len = image.part(*part).len();
        (0..len)
            .step_by(STEP)
            .map(move |from| (*part, from..len.min(from + STEP)))
    });
    let sound = ranges
        .collect::<Vec<_>>()
        .into_par_iter()
        .all(|(part, range)| image.verify(part, range));
    if !sound {
        return Err("a checksum of its image does not fit".to_owned());
    }
    let short = || "its image's parts do not fit together".to_owned();
    let header: Column<u32> = Column::mapped(image, Part::Header).ok_or_else(short)?;
    let &[
        low,
        high,
        items,
        dimension,
        entry,
        linked_under,
        unrefined,
        bits,
    ] = &*header
    else {
        return Err(short());
    };
    debug_assert_eq!(header.len(), HEADER);
    if u64::from(low) | u64::from(high) << 32 != id {
        return Err("it is another segment's image".to_owned());
    }
    let len = items as usize;
    let slots: Column<u32> = Column::mapped(image, Part::Slots)
        .filter(|slots| slots.len() == len)
        .ok_or_else(short)?;
    let edges: Column<Edges> = Column::mapped(image, Part::Edges)
        .filter(|edges| edges.len() == len)
        .ok_or_else(short)?;
    let ranges: Column<f32> = Column::mapped(image, Part::Ranges)
        .filter(|r| r.len() == 2 * dim)
        .ok_or_else(short)?;
    let width = Width::of_bits(bits).ok_or_else(short)?;
    let codes: Column<CodeBlock> = Column::mapped(image, Part::Codes)
        .filter(|codes| codes.len() == len * width.blocks(dim))
        .ok_or_else(short)?;
    let biases: Column<f32> = Column::mapped(image, Part::Biases)
        .filter(|b| b.len() == len)
        .ok_or_else(short)?;
    let rows = match format {
        None => {
            let rows: Column<Block> = Column::mapped(image, Part::Rows)
                .filter(|rows| rows.len() == len * blocks_for(dim))
                .ok_or_else(short)?;
            SegmentRows::Mapped {
                image: Arc::clone(image),
                rows,
                dim,
            }
        }
        Some(format) if image.part(Part::Rows).len() == len * format.bytes(dim) => {
            SegmentRows::Packed {
                image: Arc::clone(image),
                format: Arc::clone(format),
                len,
                dim,
            }
        }
        Some(_) => return Err(short()),
    };
    if dimension as usize != dim
        || entry >= items
        || unrefined > items
        || ranges.iter().any(|x| !x.is_finite())
    {
        return Err(short());
    }
    let leads_nowhere = |edges: &Edges| {
        let used = edges.iter().take_while(|id| **id != NONE).count();
        edges[..used].iter().any(|id| *id >= items) || edges[used..].iter().any(|id| *id != NONE)
    };
    if edges.par_iter().with_min_len(4096).any(leads_nowhere) {
        return Err("an edge leads nowhere".to_owned());
    }
    let codes = Codes::mapped(width, &ranges, codes);
    let parts = Parts {
        id,
        slots,
        rows,
        codes,
        edges,
        entry,
        linked_under,
        unrefined: unrefined as usize,
    };
    let segment = Segment::new(parts);
    if !segment.has_distinct_slots(next_slot) {
        return Err("slots are repeated or were never given".to_owned());
    }
    Ok((segment, biases))
}

/// Checks all of an image, and its rows against the vectors that the store has; `None` for slots
/// that it has not.
///
/// # Errors
/// [`IndexError::Graph`] says what is wrong.
pub(crate) fn check(
    id: u64,
    image: &Arc<dyn Image>,
    expected: Expected<'_>,
    mut vector: impl FnMut(u32) -> Option<Vec<f32>>,
) -> Result<(), IndexError> {
    let (segment, _) = open(id, image, expected)?;
    let wrong = |reason: String| {
        Err(IndexError::Graph {
            segment: id,
            reason,
        })
    };
    if !image.verify(Part::Rows, 0..image.part(Part::Rows).len()) {
        return wrong("a checksum of its rows does not fit".to_owned());
    }
    let (mut row, mut room) = (vec![0.0; expected.dim], Room::new());
    for (item, slot) in segment.slots.iter().enumerate() {
        unpack_into(segment.rows.row(item as u32, &mut room), &mut row);
        if vector(*slot).is_some_and(|vector| vector != row) {
            return wrong(format!(
                "its vector of slot {slot} is another than the store's"
            ));
        }
    }
    Ok(())
}
