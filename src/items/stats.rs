//! Figures of a collection: sizes, segments, calibration.

use serde::Serialize;

use super::Items;
use crate::model::VersionId;
use crate::model::error::Result;

/// Figures of a collection: sizes, segments, calibration.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Number of live items.
    pub items: usize,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Number of removed or replaced items that are still nodes of the graphs of sealed segments.
    pub deleted: usize,
    /// The sealed segments of the index.
    pub segments: Vec<SegmentStats>,
    /// Number of items in growing segments, which have no graph yet.
    pub growing: usize,
    /// Number of judgements.
    pub judgements: usize,
    /// The version that answers everybody who has none of their own.
    pub active_metric: VersionId,
    /// Calibration of the beam width under the active metric, narrowest first. Empty where none was
    /// measured: in a collection that is small enough to be scanned, or before the first
    /// calibration.
    #[serde(skip)]
    pub calibration: Vec<CalibrationPoint>,
    /// Memory of the collection's index in bytes, approximately.
    pub memory_bytes: usize,
    /// Size of the files that are mapped into memory, in bytes. The system loads the pages that are
    /// used, and drops them when memory is short.
    #[serde(skip)]
    pub mapped_bytes: usize,
    /// Size of the whole store on disk, in bytes.
    pub disk_bytes: u64,
}

/// A beam width and the recall that searches reach with it, measured on items of the collection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CalibrationPoint {
    /// Width of the beam.
    pub ef: usize,
    /// Mean recall minus its standard error, 0 to 1.
    pub recall: f64,
}

/// Figures of one sealed segment of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Number of items in it, removed ones included.
    pub items: usize,
    /// Size in bytes, in memory or in a mapped file.
    pub bytes: usize,
    /// Version of the metric under which its graph was built.
    pub metric: VersionId,
}

impl Items {
    /// Figures of the collection, under the version that answers everybody.
    pub(crate) fn stats(&self, active_metric: VersionId) -> Result<Stats> {
        let index = self.index.stats();
        let curve = self
            .index
            .with_segments(|segments| segments.calibrations().remove(&active_metric.0));
        let points = curve.unwrap_or_default().points.into_iter();
        let calibration = points.map(|(ef, recall)| CalibrationPoint { ef, recall });
        let segments = index.segments.iter().map(|s| SegmentStats {
            items: s.items,
            bytes: s.bytes,
            metric: VersionId(s.metric),
        });
        Ok(Stats {
            items: self.len(),
            dim: self.rules.dim,
            deleted: index.deleted,
            segments: segments.collect(),
            growing: index.growing,
            judgements: self.tables.judgement_count(),
            active_metric,
            calibration: calibration.collect(),
            memory_bytes: index.memory_bytes + self.ids.memory_bytes(),
            mapped_bytes: index.mapped_bytes + self.ids.mapped_bytes(),
            disk_bytes: self.tables.database().disk_bytes()?,
        })
    }

    /// Number of judgements of the collection.
    pub(crate) fn judgement_count(&self) -> usize {
        self.tables.judgement_count()
    }
}
