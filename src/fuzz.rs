//! Entry points of the fuzz targets for bytes that no public function reads: records and
//! segment files.

use std::sync::OnceLock;

use crate::index::{Config, Index, SearchParams, Versioned};
use crate::items::for_index;
use crate::model::Distance;
use crate::storage::{SegmentFile, read_any_record, segment_file_bytes};

/// Reads bytes as a record of each kind; they are refused or read.
pub fn record(data: &[u8]) {
    read_any_record(data);
}

/// Opens bytes as a segment file; they are refused, or opened and searched without a read beyond
/// them.
///
/// The input is taken as a whole file, and as changes of a sound one, whose checksums are then made
/// to fit. A change has four bytes: section, offset (two bytes) and value; a section byte of 250 or
/// more cuts the section at the offset.
pub fn segment_file(data: &[u8]) {
    open_and_search(data);
    let mut sections = sound_sections();
    for change in data.as_chunks::<4>().0 {
        let count = sections.len();
        let section = &mut sections[change[0] as usize % count];
        let at = u16::from_le_bytes([change[1], change[2]]) as usize;
        match section.len() {
            0 => {}
            length if change[0] >= 250 => section.truncate(at % length),
            length => section[at % length] = change[3],
        }
    }
    let sections: Vec<&[u8]> = sections.iter().map(Vec::as_slice).collect();
    open_and_search(&segment_file_bytes(&sections));
}

/// Number of items in the sound segment.
const ITEMS: u32 = 60;

/// The sections of the file of a small segment.
fn sound_sections() -> Vec<Vec<u8>> {
    static SECTIONS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let make = || {
        let vectors =
            (0..ITEMS).map(|i| (i, [f32::from(i as u16 % 7), f32::from(i as u16 % 11), 1.0]));
        let base = Distance::default().metric(3);
        let config = Config {
            background: false,
            ..Config::new(base)
        };
        let index = Index::open(3, config, &[], ITEMS, &[], vectors).expect("sound items");
        index.optimize(&|_| (), &|| false).expect("built");
        index.with_segments(|segments| {
            let sections = segments
                .file_sections(segments.ids()[0])
                .expect("a segment file");
            sections
                .into_iter()
                .map(std::borrow::Cow::into_owned)
                .collect()
        })
    };
    SECTIONS.get_or_init(make).clone()
}

fn open_and_search(bytes: &[u8]) {
    let Ok(file) = SegmentFile::in_memory(bytes) else {
        return;
    };
    let base = Distance::default().metric(3);
    let config = Config {
        background: false,
        ..Config::new(base.clone())
    };
    let header: Vec<u8> = file.section(0).to_vec();
    let id = header
        .first_chunk::<8>()
        .map_or(0, |id| u64::from_le_bytes(*id));
    let files = [(id, for_index(file))];
    let none: [(u32, [f32; 3]); 0] = [];
    let Ok(index) = Index::open(3, config, &files, ITEMS, &[3, 5], none) else {
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
                    .all(|hit| hit.slot < ITEMS && hit.slot != 3 && hit.slot != 5)
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
    fn hostile_segment_files_are_refused_or_stay_within_themselves() {
        let sections = sound_sections();
        let whole = segment_file_bytes(&sections.iter().map(Vec::as_slice).collect::<Vec<_>>());
        drive(
            "segment_file",
            segment_file,
            &[
                whole,
                vec![0; 8],
                vec![2, 0, 0, 1],
                vec![0, 8, 0, 60],
                vec![251, 9, 0, 0, 252, 9, 0, 0],
            ],
        );
    }
}
