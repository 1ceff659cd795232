//! Settings of a test run: environment variables, large data, and how a test says that it was
//! skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ndarray::Array2;

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

/// The vectors of an npy file of 2-D `f16` data, format version 1, in C order; `None` (with a
/// message) where the file is missing.
///
/// # Panics
/// If the file holds something else.
pub fn f16_vectors(path: &Path) -> Option<Array2<f32>> {
    let Ok(bytes) = std::fs::read(path) else {
        skipped(&format!(
            "{} is not there; set AFFINIS_DATA to the data directory",
            path.display()
        ));
        return None;
    };
    let (header, data) = bytes.split_at(10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]])));
    let header = String::from_utf8_lossy(header);
    assert!(
        bytes.starts_with(b"\x93NUMPY\x01") && header.contains("'<f2', 'fortran_order': False"),
        "{}: {header}",
        path.display()
    );
    let shape: Vec<usize> = header
        .split(['(', ')'])
        .nth(1)
        .into_iter()
        .flat_map(|shape| shape.split(','))
        .map(|number| number.trim().parse().expect("a number"))
        .collect();
    let numbers = data
        .as_chunks::<2>()
        .0
        .iter()
        .map(|bytes| half::f16::from_le_bytes(*bytes).to_f32());
    let vectors = Array2::from_shape_vec((shape[0], shape[1]), numbers.collect());
    Some(vectors.expect("as many numbers as the shape says"))
}

/// Prints why a test was skipped, in one write and on a line of its own. The line bypasses the test
/// harness, which captures what a passing test prints.
pub fn skipped(reason: &str) {
    let _ = std::io::stderr().write_all(format!("\nskipped: {reason}\n").as_bytes());
}
