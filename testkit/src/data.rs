//! Settings of a test run: environment variables, large data, and how a test says that it was
//! skipped.

use std::io::Write as _;
use std::path::PathBuf;

/// The number in an environment variable, or `default` where it is not set to one.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// The directory of large data that is not in the repository: `AFFINIS_DATA`, or `../shared/data`
/// beside the repository.
pub fn data_dir() -> PathBuf {
    std::env::var_os("AFFINIS_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    )
}

/// Prints why a test was skipped, in one write and on a line of its own. The line bypasses the test
/// harness, which captures what a passing test prints.
pub fn skipped(reason: &str) {
    let _ = std::io::stderr().write_all(format!("\nskipped: {reason}\n").as_bytes());
}
