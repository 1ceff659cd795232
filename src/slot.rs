//! Slots, which name the items of a collection inside the store.

use std::fmt;

/// The number that names an item inside the store. Slots are assigned in increasing order and never
/// reused: an item that is replaced gets a new slot.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    bytemuck::Pod,
    bytemuck::Zeroable,
)]
#[repr(transparent)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    /// The number that is never assigned.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The slot after this one. [`Self::NONE`] has none and is returned itself.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<u32> for Slot {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl From<Slot> for u32 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
