//! Slices of numbers that are either in memory or in a [`SegmentFile`].

use std::ops::Deref;
use std::sync::Arc;

use bytemuck::AnyBitPattern;

use super::section::{Section, SegmentFile};

/// An immutable slice of numbers.
#[derive(Debug, Clone)]
pub(crate) enum Column<T> {
    /// In the index's own memory.
    Held(Vec<T>),
    /// A section of a segment file, checked to be aligned and of whole numbers.
    Mapped(Arc<dyn SegmentFile>, Section),
}

impl<T: AnyBitPattern> Column<T> {
    /// The numbers of a section; `None` if it is misaligned or does not hold whole numbers.
    pub(crate) fn mapped(file: &Arc<dyn SegmentFile>, section: Section) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, T>(file.section(section)).ok()?;
        Some(Self::Mapped(Arc::clone(file), section))
    }

    /// Bytes of the index's own memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Held(numbers) => size_of_val(&**numbers),
            Self::Mapped(..) => 0,
        }
    }
}

impl<T: AnyBitPattern> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::Held(numbers) => numbers,
            // The cast succeeded when the column was made, and the bytes never change. Loops
            // should take the slice once, since this calls through the trait.
            Self::Mapped(file, section) => {
                bytemuck::try_cast_slice(file.section(*section)).unwrap_or_default()
            }
        }
    }
}
