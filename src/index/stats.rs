//! Sizes of an index.

use serde::Serialize;

use super::write::Shared;

/// Sizes of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct IndexStats {
    /// The linked parts.
    pub(crate) segments: Vec<SegmentStats>,
    /// Items in heads, dead ones included.
    pub(crate) head: usize,
    /// Dead items that parts still hold.
    pub(crate) deleted: usize,
    /// Bytes of memory held.
    pub(crate) memory_bytes: usize,
    /// Bytes of mapped images, of which the system keeps in memory what is used.
    pub(crate) mapped_bytes: usize,
}

/// Sizes of one linked part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SegmentStats {
    /// Items, dead ones included.
    pub(crate) items: usize,
    /// Bytes, in memory of our own or mapped.
    pub(crate) bytes: usize,
    /// The metric that it was linked under.
    pub(crate) metric: u32,
}

impl Shared {
    /// See [`Index::stats`](super::Index::stats).
    pub(crate) fn stats(&self) -> IndexStats {
        let view = self.view.load();
        let segments: Vec<SegmentStats> = view
            .segments
            .iter()
            .map(|part| SegmentStats {
                items: part.segment.len(),
                bytes: part.segment.bytes() + part.segment.mapped_bytes(),
                metric: part.segment.linked_under,
            })
            .collect();
        let linked: usize = view.segments.iter().map(|part| part.segment.bytes()).sum();
        let heads: usize = view.heads.iter().map(|h| h.head.bytes(h.len)).sum();
        IndexStats {
            head: view.heads.iter().map(|h| h.len).sum(),
            deleted: view.held() - view.live,
            memory_bytes: linked + heads + view.dead.bytes() + self.biases.bytes(),
            mapped_bytes: view
                .segments
                .iter()
                .map(|part| part.segment.mapped_bytes())
                .sum(),
            segments,
        }
    }
}
