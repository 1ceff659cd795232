//! The built-in distances.

mod builtin;

pub use builtin::Distance;
