//! Parsers of judgements and of what belongs to them, and what reads files of lines: numbered lines,
//! JSON of a line, unpacking, and the error of an unusable input. The command line reads files by
//! them, and the service requests, so that both name a line alike.
//!
//! Every parser is a pure function from a reader to values, and needs no store. Its errors name the
//! input, the line and the reason. It never allocates by a number that the input merely claims.

pub mod check;
pub mod error;
pub mod feedback;
pub mod json;
pub mod judgements;
pub mod lines;
mod numbers;
pub mod ratings;
pub mod topics;
pub mod ubi;
mod unpack;
mod zstd;

pub use error::{InputError, Place, cut};
pub use json::{json_line, parse_error};
pub use lines::{BYTE_ORDER_MARK, Lines, MAX_LINE_BYTES};
pub use numbers::narrow;
pub use unpack::unpacked;
