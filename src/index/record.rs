//! The graph of a segment as bytes, in chunks of at most 64 KiB that a store can keep as values.
//!
//! A chunk is its CRC-32, its number, and a piece of the body. The body, all little-endian: the
//! letters `AFSG`, format 1, the segment's id (u64), items, entry, metric version, unrefined items
//! (u32 each), the slots (u32 each), and for every item the number of its edges (one byte) and the
//! edges as zigzag varints of the difference to the item's own number. Vectors are not in it: the
//! store has them already.

use super::IndexError;
use super::beam::{DEGREE, Edges, NONE};
use super::segment::Segment;

const MAGIC: [u8; 4] = *b"AFSG";
const FORMAT: u32 = 1;
const CHUNK: usize = 64 * 1024;
const HEADER: usize = 8;

/// The graph of a segment, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentRecord {
    /// The segment's name.
    pub(crate) id: u64,
    /// The chunks, in order.
    pub(crate) chunks: Vec<Vec<u8>>,
}

/// A graph as it was read and checked: edges and entry name items, slots are distinct.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) slots: Vec<u32>,
    pub(crate) edges: Vec<Edges>,
    pub(crate) entry: u32,
    pub(crate) linked_under: u32,
    pub(crate) unrefined: usize,
}

impl SegmentRecord {
    /// Writes the graph of a segment.
    pub(crate) fn of(segment: &Segment) -> Self {
        let mut body = Vec::with_capacity(40 + segment.len() * 64);
        body.extend(MAGIC);
        body.extend(FORMAT.to_le_bytes());
        body.extend(segment.id.to_le_bytes());
        for word in [
            segment.len() as u32,
            segment.entry,
            segment.linked_under,
            segment.unrefined as u32,
        ] {
            body.extend(word.to_le_bytes());
        }
        for slot in &*segment.slots {
            body.extend(slot.to_le_bytes());
        }
        for (node, edges) in segment.edges.iter().enumerate() {
            let count = edges.iter().take_while(|id| **id != NONE).count();
            body.push(count as u8);
            for &id in &edges[..count] {
                put_varint(&mut body, i64::from(id) - node as i64);
            }
        }
        let chunks = body
            .chunks(CHUNK - HEADER)
            .enumerate()
            .map(|(number, piece)| {
                let mut chunk = vec![0; 4];
                chunk.extend((number as u32).to_le_bytes());
                chunk.extend(piece);
                let sum = crc32fast::hash(&chunk[4..]);
                chunk[..4].copy_from_slice(&sum.to_le_bytes());
                chunk
            })
            .collect();
        Self {
            id: segment.id,
            chunks,
        }
    }

    /// Reads and checks a graph whose slots must lie below `next_slot`.
    pub(crate) fn read(&self, next_slot: u32) -> Result<Graph, IndexError> {
        self.parse(next_slot).map_err(|reason| IndexError::Graph {
            segment: self.id,
            reason,
        })
    }

    fn parse(&self, next_slot: u32) -> Result<Graph, String> {
        let mut body = Vec::new();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let (head, rest) = chunk
                .split_first_chunk::<4>()
                .ok_or_else(|| format!("chunk {number} has no checksum"))?;
            if crc32fast::hash(rest) != u32::from_le_bytes(*head) {
                return Err(format!("the checksum of chunk {number} does not fit"));
            }
            let mut rest = Reader(rest);
            if rest.word()? as usize != number {
                return Err(format!("chunk {number} is missing or out of order"));
            }
            body.extend_from_slice(rest.0);
        }
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
        let (items, entry, linked_under, unrefined) =
            (body.word()?, body.word()?, body.word()?, body.word()?);
        let len = items as usize;
        // A slot takes four bytes and an item's edges at least one: nothing is allocated on the
        // word of the header alone.
        if body.0.len() < len.saturating_mul(5) || entry >= items || unrefined > items {
            return Err(format!(
                "{items} items with entry {entry} do not fit into {} bytes",
                body.0.len()
            ));
        }
        let slots = (0..len)
            .map(|_| body.word())
            .collect::<Result<Vec<u32>, String>>()?;
        let mut sorted = slots.clone();
        sorted.sort_unstable();
        if sorted.last().is_some_and(|last| *last >= next_slot)
            || sorted.windows(2).any(|pair| pair[0] == pair[1])
        {
            return Err("slots are repeated or were never given".to_owned());
        }
        let mut edges = Vec::with_capacity(len);
        for node in 0..len {
            edges.push(body.edges(node, items)?);
        }
        if !body.0.is_empty() {
            return Err(format!("{} bytes follow its end", body.0.len()));
        }
        Ok(Graph {
            slots,
            edges,
            entry,
            linked_under,
            unrefined: unrefined as usize,
        })
    }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*head)
    }

    fn word(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn edges(&mut self, node: usize, items: u32) -> Result<Edges, String> {
        let [count] = self.bytes()?;
        let mut out = [NONE; DEGREE];
        let room = out
            .get_mut(..count as usize)
            .ok_or_else(|| format!("item {node} has {count} edges"))?;
        for edge in room {
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
        for shift in (0..42).step_by(7) {
            let [byte] = self.bytes()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("a number is too long".to_owned())
    }
}
