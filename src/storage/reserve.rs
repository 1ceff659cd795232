//! Space on the disk that is set aside, so that a store can be opened and searched when the disk is
//! full: sled writes a snapshot of its page table at an opening after writes, and fails without the
//! space for it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The file of the space, beside the lock.
pub(super) const NAME: &str = "reserve";
/// Size of the space in bytes, besides twice that of the last snapshot.
const MIN_BYTES: u64 = 256 << 10;

/// Sets the space aside, if it is not yet. Where that fails, as on a disk that is nearly full, there
/// is none.
pub(super) fn keep(root: &Path, database: &Path) {
    let path = root.join(NAME);
    let bytes = MIN_BYTES + 2 * snapshot_bytes(database);
    if fs::metadata(&path).is_ok_and(|meta| meta.len() >= bytes) {
        return;
    }
    if let Err(error) = write(&path, bytes) {
        tracing::warn!(%error, "no space could be set aside for opening the store on a full disk");
        let _ = fs::remove_file(&path);
    }
}

/// Gives the space back. Returns whether there was any.
pub(super) fn release(root: &Path) -> bool {
    fs::remove_file(root.join(NAME)).is_ok()
}

/// Writes the file, because the system keeps no space for a file that is only made long.
fn write(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    io::copy(&mut io::Read::take(io::repeat(0xa5), bytes), &mut file)?;
    file.flush()
}

fn snapshot_bytes(database: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(database) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("snap."))
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .max()
        .unwrap_or(0)
}
