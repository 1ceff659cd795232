//! Figures about a collection.

use serde::Serialize;

use super::Items;
use crate::error::Result;
use crate::model::VersionId;

/// How large a collection is and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Live items.
    pub items: usize,
    /// Dimension.
    pub dim: usize,
    /// Removed or replaced items that linked segments still route through.
    pub deleted: usize,
    /// The linked parts of the index.
    pub segments: Vec<SegmentStats>,
    /// Items in the part of the index that is not linked yet.
    pub growing: usize,
    /// Judgements.
    pub judgements: usize,
    /// The version that answers everybody who has none of their own.
    pub active_metric: VersionId,
    /// Beam widths and the recall that they reach under the active metric, measured on the
    /// collection itself and taken less the standard error, narrowest first; empty while the
    /// collection is small enough to be scanned or is not measured yet.
    #[serde(skip)]
    pub calibration: Vec<(usize, f64)>,
    /// Bytes of memory that the collection's index takes, about.
    pub memory_bytes: usize,
    /// Bytes of files that are mapped into memory. The system keeps of them what is used, and lets
    /// go of it when memory is short.
    #[serde(skip)]
    pub mapped_bytes: usize,
    /// Bytes that the whole store takes on disk.
    pub disk_bytes: u64,
}

/// One linked part of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Items in it, deleted ones included.
    pub items: usize,
    /// Bytes, in memory or in a mapped file.
    pub bytes: usize,
    /// The version of the metric it was linked under.
    pub metric: VersionId,
}

impl Items {
    /// Figures of the collection, under the version that answers everybody.
    pub(crate) fn stats(&self, active_metric: VersionId) -> Result<Stats> {
        let index = self.index.stats();
        let curve = self
            .index
            .with_segments(|segments| segments.calibrations().remove(&active_metric.0));
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
            calibration: curve.unwrap_or_default().points,
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
