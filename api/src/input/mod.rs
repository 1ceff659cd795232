//! What reads files of lines: the error of an unusable input, numbered lines, JSON of a line, and
//! unpacking. The command line and the service read by it, so that both name a line alike.

mod error;
mod json;
mod lines;
mod numbers;
mod unpack;
mod zstd;

pub use error::{InputError, Place, cut};
pub use json::{json_line, parse_error};
pub use lines::{BYTE_ORDER_MARK, Lines, MAX_LINE_BYTES};
pub use numbers::narrow;
pub use unpack::unpacked;
