//! Entries for the fuzz targets of what no program can reach: the bytes of records, of stored
//! graphs and of images.

use std::sync::OnceLock;

use crate::index::{Config, Index, SearchParams, Versioned};
use crate::items::for_index;
use crate::model::Distance;
use crate::storage::{SegmentFile, read_any_record, segment_file_bytes};

/// A record's bytes are refused, or read.
pub fn record(data: &[u8]) {
    read_any_record(data);
}

/// A stored graph's bytes are refused, or are a graph whose edges stay within it.
pub fn segment(data: &[u8]) {
    use crate::index::SegmentRecord;
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let id = u64::from(*first % 4);
    // As they are, and with the checksum and number that a chunk needs to be looked into.
    let mut chunk = vec![0; 8];
    chunk.extend_from_slice(rest);
    let sum = crc32fast::hash(&chunk[4..]);
    chunk[..4].copy_from_slice(&sum.to_le_bytes());
    for chunks in [
        vec![rest.to_vec()],
        vec![chunk.clone()],
        vec![chunk, rest.to_vec()],
    ] {
        let next_slot = 1000;
        if let Ok(graph) = (SegmentRecord { id, chunks }).read(next_slot) {
            let items = graph.slots.len();
            assert!(graph.slots.iter().all(|slot| slot.0 < next_slot));
            assert!(
                (graph.entry as usize) < items
                    && graph.edges.len() == items
                    && graph.unrefined <= items
            );
            let inside = |edge: &u32| *edge == u32::MAX || (*edge as usize) < items;
            assert!(graph.edges.iter().all(|edges| edges.iter().all(inside)));
        }
    }
}

/// An image's bytes are refused, or are opened and searched without leaving them.
///
/// Input is taken as a whole image, and as changes of a sound one (part, place, value; four bytes
/// each, and a length to cut the part to in the last), whose checksums are then made to fit.
pub fn image(data: &[u8]) {
    look_into(data);
    let mut parts = sound_parts();
    for change in data.as_chunks::<4>().0 {
        let count = parts.len();
        let part = &mut parts[change[0] as usize % count];
        let at = u16::from_le_bytes([change[1], change[2]]) as usize;
        match part.len() {
            0 => {}
            length if change[0] >= 250 => part.truncate(at % length),
            length => part[at % length] = change[3],
        }
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    look_into(&segment_file_bytes(&parts));
}

const IMAGED: u32 = 60;

/// The parts of the image of a small segment.
fn sound_parts() -> Vec<Vec<u8>> {
    static PARTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let make = || {
        let vectors =
            (0..IMAGED).map(|i| (i, [f32::from(i as u16 % 7), f32::from(i as u16 % 11), 1.0]));
        let base = Distance::default().metric(3);
        let config = Config {
            background: false,
            ..Config::new(base)
        };
        let index = Index::restore(3, config, &[], IMAGED, vectors)
            .expect("sound items")
            .index;
        index.optimize(&|_| (), &|| false).expect("linked");
        index.with_segments(|segments| {
            let parts = segments.file_sections(segments.ids()[0]).expect("an image");
            parts
                .into_iter()
                .map(std::borrow::Cow::into_owned)
                .collect()
        })
    };
    PARTS.get_or_init(make).clone()
}

fn look_into(bytes: &[u8]) {
    let Ok(image) = SegmentFile::in_memory(bytes) else {
        return;
    };
    let base = Distance::default().metric(3);
    let config = Config {
        background: false,
        ..Config::new(base.clone())
    };
    let header: Vec<u8> = image.section(0).to_vec();
    let id = header
        .first_chunk::<8>()
        .map_or(0, |id| u64::from_le_bytes(*id));
    let images = [(id, for_index(image))];
    let none: [(u32, [f32; 3]); 0] = [];
    let Ok(index) = Index::open(3, config, &images, IMAGED, &[3, 5], none) else {
        return;
    };
    let metric = Versioned {
        version: 0,
        metric: base,
    };
    for ef in [1, 8, 1000] {
        let params = SearchParams {
            k: 5,
            ef: Some(ef),
            ..SearchParams::default()
        };
        if let Ok(found) = index.search(&metric, &[1.0, 2.0, 1.0], &params) {
            assert!(
                found
                    .hits
                    .iter()
                    .all(|hit| hit.slot < IMAGED && hit.slot != 3 && hit.slot != 5)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use affinis_testkit::fuzz::drive;

    use super::*;
    use crate::storage::some_records;

    #[test]
    fn hostile_records_are_refused_or_read() {
        let records = some_records();
        assert!(
            records.iter().all(|bytes| read_any_record(bytes) > 0),
            "a valid record is read"
        );
        drive("record", record, &records);
    }

    #[test]
    fn hostile_images_are_refused_or_stay_within_themselves() {
        let parts = sound_parts();
        let whole = segment_file_bytes(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        drive(
            "image",
            image,
            &[
                whole,
                vec![0; 8],
                vec![2, 0, 0, 1],
                vec![0, 8, 0, 60],
                vec![251, 9, 0, 0, 252, 9, 0, 0],
            ],
        );
    }

    #[test]
    fn hostile_graphs_are_refused_or_stay_within_themselves() {
        // AFSG, format 1, segment 1, three items, entry 0, metric 0, unrefined 0, slots, then
        // edges.
        let mut body = vec![1];
        body.extend(b"AFSG");
        body.extend(1_u32.to_le_bytes());
        body.extend(1_u64.to_le_bytes());
        for word in [3_u32, 0, 0, 0, 5, 6, 9] {
            body.extend(word.to_le_bytes());
        }
        body.extend([2, 2, 4, 2, 1, 2, 1, 3]);
        drive("segment", segment, &[body, vec![2; 64]]);
    }
}
