//! Segments: growing ones, which take new items one by one, and sealed ones, which are immutable
//! and have a graph; their files, and the deleted slots.

pub(crate) mod file;
pub(crate) mod growing;
pub(crate) mod merge;
mod questions;
pub(crate) mod rows;
pub(crate) mod sealed;
pub(crate) mod tombstones;
