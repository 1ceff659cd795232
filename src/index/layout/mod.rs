//! How vectors, codes and other columns lie in memory and in segment files. The lowest layer of the
//! index: it imports no other.

pub(crate) mod codes;
pub(crate) mod column;
pub(crate) mod rows;
pub(crate) mod section;
