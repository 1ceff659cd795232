//! How a test says that it cannot run here.

use std::io::Write as _;

/// Says why, past the capturing of what tests print, in one piece and on a line of its own.
pub(crate) fn skipped(why: &str) {
    let _ = std::io::stderr().write_all(format!("\nskipped: {why}\n").as_bytes());
}
