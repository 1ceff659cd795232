//! The sections of a segment file, and the trait through which the index reads them.

use std::ops::Range;

/// A section of a segment file. Its number is its position in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Header,
    Slots,
    Edges,
    Ranges,
    Codes,
    Outliers,
    Biases,
    Rows,
}

impl Section {
    /// All sections, in the order of the file.
    pub(crate) const ALL: [Self; 8] = [
        Self::Header,
        Self::Slots,
        Self::Edges,
        Self::Ranges,
        Self::Codes,
        Self::Outliers,
        Self::Biases,
        Self::Rows,
    ];
}

/// The bytes of a segment file, such as a mapped one. They never change.
pub(crate) trait SegmentFile: Send + Sync + std::fmt::Debug {
    /// The bytes of a section; empty if the file has no such section.
    fn section(&self, section: Section) -> &[u8];

    /// Verifies the checksums over a byte range of a section; false if the range is missing or
    /// damaged. A range that was verified before costs little.
    fn verify(&self, section: Section, range: Range<usize>) -> bool;

    /// Whether [`Self::verify`] has found damage so far.
    fn is_damaged(&self) -> bool;
}
