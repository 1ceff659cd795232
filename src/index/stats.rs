//! Sizes of an index.

use serde::Serialize;

use crate::index::shared::Shared;

/// Sizes of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct IndexStats {
    /// The sealed segments.
    pub(crate) segments: Vec<SegmentStats>,
    /// Items in growing segments, deleted ones included.
    pub(crate) growing: usize,
    /// Deleted items that segments still hold.
    pub(crate) deleted: usize,
    /// Bytes held in memory.
    pub(crate) memory_bytes: usize,
    /// Bytes of mapped segment files. The system keeps the pages that are used in memory.
    pub(crate) mapped_bytes: usize,
}

/// Sizes of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SegmentStats {
    /// Items, deleted ones included.
    pub(crate) items: usize,
    /// Bytes, in memory or mapped.
    pub(crate) bytes: usize,
    /// Version of the metric that its graph was built under.
    pub(crate) metric: u32,
}

impl Shared {
    /// See [`Index::stats`](super::Index::stats).
    pub(crate) fn stats(&self) -> IndexStats {
        let snapshot = self.snapshot.load();
        let sealed = || snapshot.sealed.iter().map(|view| &view.segment);
        let segments: Vec<SegmentStats> = sealed()
            .map(|segment| SegmentStats {
                items: segment.len(),
                bytes: segment.bytes() + segment.mapped_bytes(),
                metric: segment.built_under,
            })
            .collect();
        let sealed_bytes: usize = sealed().map(|segment| segment.bytes()).sum();
        let growing_bytes: usize = snapshot
            .growing
            .iter()
            .map(|view| view.segment.bytes(view.len))
            .sum();
        IndexStats {
            growing: snapshot.growing.iter().map(|view| view.len).sum(),
            deleted: snapshot.held() - snapshot.live,
            memory_bytes: sealed_bytes
                + growing_bytes
                + snapshot.dead.bytes()
                + self.biases.bytes(),
            mapped_bytes: sealed().map(|segment| segment.mapped_bytes()).sum(),
            segments,
        }
    }
}
