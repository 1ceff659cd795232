//! What can be wrong with what the index is given.

/// Why the index did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IndexError {
    /// A dimension outside the limits.
    #[error("a dimension of {dim} is out of range; it is 1 to 4096")]
    DimensionLimit {
        /// What was asked for.
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
    /// A number that is infinite or not a number.
    #[error("number {position} of the vector is not finite")]
    NotFinite {
        /// Its position, from 0.
        position: usize,
    },
    /// A slot that was given before or lies below one that was.
    #[error("slot {slot} is not above the slots given before; the next free slot is {next}")]
    SlotOrder {
        /// The slot.
        slot: u32,
        /// The lowest slot that may be given.
        next: u32,
    },
    /// The metric measures vectors of another dimension.
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
    /// The record of a graph cannot be used. The items are not lost: they are linked again.
    #[error("the graph of segment {segment} is damaged: {reason}; it will be linked again")]
    Graph {
        /// The segment.
        segment: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A row in a segment's image is not what was written. The items are not lost: the store has
    /// them.
    #[error("the image of segment {segment} is damaged")]
    DamagedImage {
        /// The segment.
        segment: u64,
    },
    /// The caller asked to stop.
    #[error("cancelled; nothing was changed")]
    Cancelled,
}

impl From<super::link::Cancelled> for IndexError {
    fn from(_: super::link::Cancelled) -> Self {
        Self::Cancelled
    }
}
