//! Errors of the index.

use crate::model::MAX_DIM;
use crate::slot::Slot;

/// Why the index refused a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IndexError {
    /// A dimension outside the limits.
    #[error("a dimension of {dim} is out of range; it is 1 to {MAX_DIM}")]
    DimensionLimit {
        /// The requested dimension.
        dim: usize,
    },
    /// A vector or query of another dimension.
    #[error("a vector has {found} numbers where this collection's have {expected}")]
    Dimension {
        /// The index's dimension.
        expected: usize,
        /// The vector's.
        found: usize,
    },
    /// A number that is infinite or NaN.
    #[error("number {position} of the vector is not finite")]
    NotFinite {
        /// Its position, from 0.
        position: usize,
    },
    /// A slot that was assigned before, or lies below one that was.
    #[error("slot {slot} is not above the slots assigned before; the next free slot is {next}")]
    SlotOrder {
        /// The slot.
        slot: Slot,
        /// The lowest slot that may be assigned.
        next: Slot,
    },
    /// The metric is for vectors of another dimension.
    #[error(
        "metric {version} measures {found} numbers where this collection's vectors have {expected}"
    )]
    MetricDimension {
        /// The metric's version.
        version: u32,
        /// The index's dimension.
        expected: usize,
        /// The metric's.
        found: usize,
    },
    /// The stored graph of a segment cannot be used. No items are lost: the graph is built again.
    #[error("the graph of segment {segment} is damaged: {reason}")]
    Graph {
        /// The segment.
        segment: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A row in a segment's file does not have the checksum it was written with. No items are lost:
    /// the store holds them.
    #[error("the file of segment {segment} is damaged")]
    DamagedFile {
        /// The segment.
        segment: u64,
    },
    /// The job was cancelled by its caller.
    #[error("cancelled; nothing was changed")]
    Cancelled,
}

impl From<crate::index::graph::build::Cancelled> for IndexError {
    fn from(_: crate::index::graph::build::Cancelled) -> Self {
        Self::Cancelled
    }
}
