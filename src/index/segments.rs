//! What a store saves of one snapshot, to open the index again as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::index::bias::BiasCache;
use crate::index::calibrations::{Calibrations, Curve};
use crate::index::layout::rows::RowFormat;
use crate::index::segment::file;
use crate::index::segment::growing::GrowingView;
use crate::index::segment::sealed::SealedSegment;
use crate::index::snapshot::Snapshot;
use crate::index::versioned::BASE_VERSION;
use crate::plugin::Metric;

/// The sealed segments of a snapshot and the calibrations measured on them.
pub(crate) struct Segments<'a> {
    /// The snapshot.
    pub(crate) snapshot: &'a Snapshot,
    /// The biases of all segments.
    pub(crate) biases: &'a BiasCache,
    /// The calibrations.
    pub(crate) measured: &'a Calibrations,
    /// The built-in distance.
    pub(crate) base: &'a dyn Metric,
    /// The encoding of rows in segment files; `None` for `f32`.
    pub(crate) format: Option<&'a dyn RowFormat>,
}

impl Segments<'_> {
    /// The ids of the segments.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.snapshot
            .sealed
            .iter()
            .map(|view| view.segment.id)
            .collect()
    }

    fn find(&self, id: u64) -> Option<&SealedSegment> {
        let mut segments = self.snapshot.sealed.iter().map(|view| &*view.segment);
        segments.find(|segment| segment.id == id)
    }

    /// The calibrations, by metric version.
    pub(crate) fn calibrations(&self) -> BTreeMap<u32, Curve> {
        self.measured.all()
    }

    /// The sections of the file of a segment; `None` if there is no such segment, or it is in a
    /// damaged file itself.
    pub(crate) fn file_sections(&self, id: u64) -> Option<Vec<Cow<'_, [u8]>>> {
        let segment = self.find(id)?;
        let biases = self.biases.of(BASE_VERSION, id, segment.len());
        let items: Vec<u32> = (0..segment.len() as u32).collect();
        biases.ensure(&items, segment, self.base);
        let biases: Vec<f32> = items.iter().map(|item| biases.get(*item)).collect();
        file::sections(segment, &biases, self.format)
    }

    /// Whether a segment is in a file already.
    pub(crate) fn is_in_file(&self, id: u64) -> bool {
        self.find(id).is_some_and(SealedSegment::is_in_file)
    }

    /// The slots of all items, deleted ones included.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.snapshot
            .sealed
            .iter()
            .flat_map(|view| view.segment.slots.iter().map(|slot| slot.0))
    }

    /// The lowest slot from which on items may be in no sealed segment.
    pub(crate) fn unsealed_from(&self) -> u32 {
        let first = |view: &GrowingView| (view.len > 0).then(|| view.segment.slot(0));
        self.snapshot
            .growing
            .iter()
            .filter_map(first)
            .min()
            .unwrap_or(self.snapshot.next_slot)
            .0
    }
}
