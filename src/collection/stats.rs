//! Figures about a collection.

use serde::Serialize;

use super::Collection;
use crate::error::Result;

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
    pub head: usize,
    /// Judgements.
    pub judgements: usize,
    /// The version that answers everybody who has none of their own.
    pub active_metric: u32,
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
    pub metric: u32,
}

impl Collection {
    /// Figures about it.
    ///
    /// # Errors
    /// When the store cannot be measured.
    pub fn stats(&self) -> Result<Stats> {
        let inner = &self.inner;
        let index = inner.index.stats();
        let active_metric = self.active_metric(None);
        let curve = inner
            .index
            .with_segments(|segments| segments.calibrations().remove(&active_metric));
        Ok(Stats {
            items: self.len(),
            dim: inner.dim,
            deleted: index.deleted,
            segments: index
                .segments
                .iter()
                .map(|s| SegmentStats {
                    items: s.items,
                    bytes: s.bytes,
                    metric: s.metric,
                })
                .collect(),
            head: index.head,
            judgements: self.judgement_count(),
            active_metric,
            calibration: curve.unwrap_or_default().points,
            memory_bytes: index.memory_bytes + inner.ids.memory_bytes(),
            mapped_bytes: index.mapped_bytes + inner.ids.mapped_bytes(),
            disk_bytes: inner.shelf.database().disk_bytes()?,
        })
    }
}
