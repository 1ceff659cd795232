//! Numbers that are either held or lie in an [`Image`]: what is read of a segment need not know
//! which.

use std::ops::Deref;
use std::sync::Arc;

use bytemuck::AnyBitPattern;

use super::image::{Image, Part};

/// A slice of numbers, never changed.
#[derive(Debug, Clone)]
pub(crate) enum Column<T> {
    /// In memory of our own.
    Held(Vec<T>),
    /// A part of an image, which was seen to be such a slice.
    Mapped(Arc<dyn Image>, Part),
}

impl<T: AnyBitPattern> Column<T> {
    /// A part of an image; `None` if it is no slice of such numbers.
    pub(crate) fn mapped(image: &Arc<dyn Image>, part: Part) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, T>(image.part(part)).ok()?;
        Some(Self::Mapped(Arc::clone(image), part))
    }

    /// Bytes of memory of our own.
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
            // It does not fail: it did not when the column was made. Loops take the slice out once.
            Self::Mapped(image, part) => {
                bytemuck::try_cast_slice(image.part(*part)).unwrap_or_default()
            }
        }
    }
}
