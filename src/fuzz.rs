//! Entries for the fuzz targets of what no program can reach: the bytes of records and of stored graphs.

use crate::persist::read_any_record;

/// A record's bytes are refused, or read.
pub fn record(data: &[u8]) {
    read_any_record(data);
}

/// A stored graph's bytes are refused, or are a graph whose edges stay within it.
pub fn segment(data: &[u8]) {
    use crate::index::SegmentRecord;
    let Some((first, rest)) = data.split_first() else { return };
    let id = u64::from(*first % 4);
    // As they are, and with the checksum and number that a chunk needs to be looked into.
    let mut chunk = vec![0; 8];
    chunk.extend_from_slice(rest);
    let sum = crc32fast::hash(&chunk[4..]);
    chunk[..4].copy_from_slice(&sum.to_le_bytes());
    for chunks in [vec![rest.to_vec()], vec![chunk.clone()], vec![chunk, rest.to_vec()]] {
        let next_slot = 1000;
        if let Ok(graph) = (SegmentRecord { id, chunks }).read(next_slot) {
            let items = graph.slots.len();
            assert!(graph.slots.iter().all(|slot| *slot < next_slot));
            assert!((graph.entry as usize) < items && graph.edges.len() == items && graph.unrefined <= items);
            let inside = |edge: &u32| *edge == u32::MAX || (*edge as usize) < items;
            assert!(graph.edges.iter().all(|edges| edges.iter().all(inside)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::some_records;

    /// Mutations of valid inputs and random bytes, from a seed.
    fn drive(corpus: &[Vec<u8>], body: fn(&[u8])) {
        let count = std::env::var("AFFINIS_FUZZ_INPUTS").ok().and_then(|v| v.parse().ok()).unwrap_or(5_000);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..count {
            let mut bytes = corpus[random.usize(..corpus.len())].clone();
            for _ in 0..random.usize(..5) {
                let at = random.usize(..=bytes.len());
                match random.u8(..5) {
                    0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
                    1 if at < bytes.len() => bytes[at] = [0, 0x7f, 0x80, 0xff][random.usize(..4)],
                    2 => bytes.insert(at, random.u8(..)),
                    3 => bytes.truncate(at),
                    _ => {
                        let end = (at + random.usize(..9)).min(bytes.len());
                        bytes[at..end].fill(random.u8(..));
                    }
                }
            }
            body(&bytes);
        }
    }

    #[test]
    fn hostile_records_are_refused_or_read() {
        let records = some_records();
        assert!(records.iter().all(|bytes| read_any_record(bytes) > 0), "a valid record is read");
        drive(&records, record);
    }

    #[test]
    fn hostile_graphs_are_refused_or_stay_within_themselves() {
        // AFSG, format 1, segment 1, three items, entry 0, metric 0, unrefined 0, slots, then edges.
        let mut body = vec![1];
        body.extend(b"AFSG");
        body.extend(1_u32.to_le_bytes());
        body.extend(1_u64.to_le_bytes());
        for word in [3_u32, 0, 0, 0, 5, 6, 9] {
            body.extend(word.to_le_bytes());
        }
        body.extend([2, 2, 4, 2, 1, 2, 1, 3]);
        drive(&[body, vec![2; 64]], segment);
    }
}
