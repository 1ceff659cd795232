//! The graph of a sealed segment as bytes, in chunks of at most 64 KiB that a store keeps as
//! values.
//!
//! Each chunk is a header (its CRC-32 and its number, u32 each) and a piece of the body. The body
//! is a header, the slots (u32 each), and for every item the number of its edges (one byte) and the
//! edges as zigzag varints of the difference to the item's own number. The body's header is the
//! letters `AFSG`, the format (u32), the segment's id (u64), and the number of items, the entry,
//! the metric version and the number of unrefined items (u32 each). All numbers are little-endian.
//! The vectors are not part of the record: the store holds them already.

use crate::index::error::IndexError;
use crate::index::graph::beam::{DEGREE, Edges, NONE};
use crate::index::segment::sealed::SealedSegment;
use crate::slot::Slot;

const MAGIC: [u8; 4] = *b"AFSG";
const FORMAT: u32 = 1;
/// Most bytes of a chunk.
const CHUNK: usize = 64 * 1024;
/// Where a chunk's checksum ends; it covers everything after it.
const CHUNK_CHECKSUM_END: usize = 4;
/// Bytes of a chunk before its piece of the body.
const CHUNK_HEADER: usize = 8;
/// Bytes of the body before the slots.
const BODY_HEADER: usize = 32;
/// Least bytes of an item in the body: its slot and its number of edges.
const MIN_ITEM: usize = 5;
/// Expected bytes of an item in the body.
const TYPICAL_ITEM: usize = 64;

/// The stored graph of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentRecord {
    /// The segment's id.
    pub(crate) id: u64,
    /// The chunks, in order.
    pub(crate) chunks: Vec<Vec<u8>>,
}

/// A stored graph that was read and checked: edges and entry are numbers of items, slots are
/// distinct.
#[derive(Debug)]
pub(crate) struct StoredGraph {
    /// The slot of each item.
    pub(crate) slots: Vec<Slot>,
    /// The edges of each item.
    pub(crate) edges: Vec<Edges>,
    /// The item at which searches begin.
    pub(crate) entry: u32,
    /// Version of the metric that the graph was built under.
    pub(crate) built_under: u32,
    /// Number of items that were appended since the whole graph was refined.
    pub(crate) unrefined: usize,
}

impl SegmentRecord {
    /// Writes the graph of a segment.
    pub(crate) fn of(segment: &SealedSegment) -> Self {
        let chunks = body(segment)
            .chunks(CHUNK - CHUNK_HEADER)
            .enumerate()
            .map(|(number, piece)| chunk(number as u32, piece))
            .collect();
        Self {
            id: segment.id,
            chunks,
        }
    }

    /// Reads and checks the graph, whose slots must be below `next_slot`.
    ///
    /// # Errors
    /// [`IndexError::Graph`].
    pub(crate) fn read(&self, next_slot: u32) -> Result<StoredGraph, IndexError> {
        self.parse(next_slot).map_err(|reason| IndexError::Graph {
            segment: self.id,
            reason,
        })
    }

    fn parse(&self, next_slot: u32) -> Result<StoredGraph, String> {
        let body = self.verified_body()?;
        let mut body = Reader(&body);
        if body.bytes::<4>()? != MAGIC {
            return Err("it is not a graph".to_owned());
        }
        let format = body.word()?;
        if format != FORMAT {
            return Err(format!(
                "its format is {format}, and this version reads {FORMAT}"
            ));
        }
        if u64::from_le_bytes(body.bytes()?) != self.id {
            return Err("it is another segment's".to_owned());
        }
        let (items, entry) = (body.word()?, body.word()?);
        let (built_under, unrefined) = (body.word()?, body.word()?);
        let len = items as usize;
        // The header is not trusted: memory is allocated only for items that can be in the body.
        if body.0.len() < len.saturating_mul(MIN_ITEM) || entry >= items || unrefined > items {
            return Err(format!(
                "{items} items with entry {entry} do not fit into {} bytes",
                body.0.len()
            ));
        }
        let slots = (0..len)
            .map(|_| body.word().map(Slot))
            .collect::<Result<Vec<Slot>, String>>()?;
        if !are_distinct(&slots, Slot(next_slot)) {
            return Err("slots are repeated or were never assigned".to_owned());
        }
        let mut edges = Vec::with_capacity(len);
        for node in 0..len {
            edges.push(body.edges(node, items)?);
        }
        if !body.0.is_empty() {
            return Err(format!("{} bytes follow its end", body.0.len()));
        }
        Ok(StoredGraph {
            slots,
            edges,
            entry,
            built_under,
            unrefined: unrefined as usize,
        })
    }

    /// Joins the chunks, whose checksums and numbers must be right.
    fn verified_body(&self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let (checksum, rest) = chunk
                .split_first_chunk::<CHUNK_CHECKSUM_END>()
                .ok_or_else(|| format!("chunk {number} has no checksum"))?;
            if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
                return Err(format!("the checksum of chunk {number} does not fit"));
            }
            let mut rest = Reader(rest);
            if rest.word()? as usize != number {
                return Err(format!("chunk {number} is missing or out of order"));
            }
            body.extend_from_slice(rest.0);
        }
        Ok(body)
    }
}

fn body(segment: &SealedSegment) -> Vec<u8> {
    let mut body = Vec::with_capacity(BODY_HEADER + segment.len() * TYPICAL_ITEM);
    body.extend(MAGIC);
    body.extend(FORMAT.to_le_bytes());
    body.extend(segment.id.to_le_bytes());
    for word in [
        segment.len() as u32,
        segment.entry,
        segment.built_under,
        segment.unrefined as u32,
    ] {
        body.extend(word.to_le_bytes());
    }
    debug_assert_eq!(body.len(), BODY_HEADER);
    for slot in &*segment.slots {
        body.extend(slot.0.to_le_bytes());
    }
    for (node, edges) in segment.edges.iter().enumerate() {
        let count = edges.iter().take_while(|id| **id != NONE).count();
        body.push(count as u8);
        for &id in &edges[..count] {
            put_varint(&mut body, i64::from(id) - node as i64);
        }
    }
    body
}

fn chunk(number: u32, piece: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0; CHUNK_CHECKSUM_END];
    chunk.extend(number.to_le_bytes());
    chunk.extend(piece);
    let checksum = crc32fast::hash(&chunk[CHUNK_CHECKSUM_END..]);
    chunk[..CHUNK_CHECKSUM_END].copy_from_slice(&checksum.to_le_bytes());
    chunk
}

/// Whether slots are distinct and below `next_slot`.
fn are_distinct(slots: &[Slot], next_slot: Slot) -> bool {
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    sorted.last().is_none_or(|last| *last < next_slot)
        && sorted.windows(2).all(|pair| pair[0] != pair[1])
}

/// Most bits of a varint: a difference of two `u32` takes 33.
const MAX_VARINT_BITS: usize = 42;

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The bytes that are left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*first)
    }

    fn word(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn edges(&mut self, node: usize, items: u32) -> Result<Edges, String> {
        let [count] = self.bytes()?;
        let mut out = [NONE; DEGREE];
        let used = out
            .get_mut(..count as usize)
            .ok_or_else(|| format!("item {node} has {count} edges"))?;
        for edge in used {
            let target = (node as i64).checked_add(self.varint()?);
            *edge = target
                .and_then(|target| u32::try_from(target).ok())
                .filter(|target| *target < items)
                .ok_or_else(|| format!("an edge of item {node} leads nowhere"))?;
        }
        Ok(out)
    }

    fn varint(&mut self) -> Result<i64, String> {
        let mut value = 0u64;
        for shift in (0..MAX_VARINT_BITS).step_by(7) {
            let [byte] = self.bytes()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("a number is too long".to_owned())
    }
}
