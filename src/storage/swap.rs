//! Replacing a store's database by another one, atomically.
//!
//! ```text
//! sled        the database
//! sled.next   the new database while it is written, until it is complete and durable
//! sled.last   the previous database, until it is removed
//! ```
//!
//! The order is: rename `sled` to `sled.last`, rename `sled.next` to `sled`, remove `sled.last`. So
//! where `sled` is missing and the two others are there, a swap was interrupted and `sled.next` is
//! complete; a `sled.next` beside a `sled` may not be.

use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskOp};
use crate::model::error::{Error, Result};

pub(super) const CURRENT: &str = "sled";
pub(super) const NEXT: &str = "sled.next";
pub(super) const LAST: &str = "sled.last";

/// Whether a directory holds a store.
pub(super) fn is_store(root: &Path) -> bool {
    root.join(CURRENT).exists() || root.join(NEXT).exists() && root.join(LAST).exists()
}

/// The database of a store that nobody has open, also where a swap was interrupted, which is not
/// finished.
pub(super) fn current_of(root: &Path) -> Option<PathBuf> {
    let [current, next, last] = [CURRENT, NEXT, LAST].map(|name| root.join(name));
    if current.is_dir() {
        Some(current)
    } else if next.is_dir() && last.is_dir() {
        Some(next)
    } else {
        None
    }
}

/// Refuses databases with a symbolic link in them, or that are one: a swap would replace the link,
/// and what it points to would keep what was removed.
pub(super) fn refuse_links(root: &Path) -> Result<()> {
    [CURRENT, NEXT, LAST]
        .iter()
        .try_for_each(|name| refuse_links_in(&root.join(name)))
}

fn refuse_links_in(path: &Path) -> Result<()> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(e)),
    };
    if kind.is_symlink() {
        return Err(Error::SymbolicLink(path.to_owned()));
    }
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).map_err(io)? {
            refuse_links_in(&entry.map_err(io)?.path())?;
        }
    }
    Ok(())
}

/// Finishes or undoes a swap that a crash interrupted.
pub(super) fn finish(root: &Path, disk: &Disk) -> Result<()> {
    if !root.join(CURRENT).exists() && root.join(LAST).exists() {
        let whole = if root.join(NEXT).exists() { NEXT } else { LAST };
        rename(root, whole, CURRENT, disk)?;
    }
    remove(&root.join(NEXT), disk)?;
    remove(&root.join(LAST), disk)
}

/// Replaces the current database, which must be closed, by the next one.
pub(super) fn install(root: &Path, disk: &Disk) -> Result<()> {
    if root.join(CURRENT).exists() {
        rename(root, CURRENT, LAST, disk)?;
    }
    rename(root, NEXT, CURRENT, disk)?;
    remove(&root.join(LAST), disk)
}

fn rename(root: &Path, from: &str, to: &str, disk: &Disk) -> Result<()> {
    let from = root.join(from);
    disk.file(DiskOp::Rename, &from, || {
        std::fs::rename(&from, root.join(to))
    })?;
    sync_dir(root, disk)
}

/// Removes a directory and its contents, if it exists.
pub(super) fn remove(dir: &Path, disk: &Disk) -> Result<()> {
    if dir.exists() {
        disk.file(DiskOp::Remove, dir, || std::fs::remove_dir_all(dir))?;
    }
    Ok(())
}

/// The parent directory of a path; `.` for a bare name.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes the entries of a directory durable, where the system can.
pub(super) fn sync_dir(dir: &Path, disk: &Disk) -> Result<()> {
    if cfg!(unix) {
        disk.file(DiskOp::Sync, dir, || std::fs::File::open(dir)?.sync_all())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Fault, Faults};
    use super::*;

    /// A store's directory with databases that hold one word each.
    fn store(databases: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, word) in databases {
            std::fs::create_dir(dir.path().join(name)).expect("made");
            std::fs::write(dir.path().join(name).join("word"), word).expect("written");
        }
        dir
    }

    fn current(root: &Path) -> String {
        std::fs::read_to_string(root.join(CURRENT).join("word")).expect("a current database")
    }

    #[test]
    fn a_swap_that_stops_anywhere_leaves_the_old_or_the_new() {
        let faults = Faults::new();
        let mut stopped = 0;
        for (fault, after) in (0..8).flat_map(|n| [(Fault::Refused, n), (Fault::Unacknowledged, n)])
        {
            let dir = store(&[(CURRENT, "old"), (NEXT, "new")]);
            let root = dir.path();
            faults.fail(after, fault, None, true);
            let done = install(root, &Disk::new(root, Some(faults.clone())));
            faults.clear();
            stopped += usize::from(done.is_err());
            assert!(is_store(root), "{fault:?} {after}");
            finish(root, &Disk::new(root, None)).expect("finished");
            let word = current(root);
            assert!(
                if done.is_ok() {
                    word == "new"
                } else {
                    word == "new" || word == "old"
                },
                "{fault:?} {after}: {word}"
            );
            assert!(!root.join(NEXT).exists() && !root.join(LAST).exists());
        }
        assert!(stopped >= 8, "only {stopped} swaps were stopped");
    }

    #[test]
    fn what_was_not_installed_is_not_believed() {
        let dir = store(&[(CURRENT, "old"), (NEXT, "half")]);
        finish(dir.path(), &Disk::new(dir.path(), None)).expect("finished");
        assert_eq!(current(dir.path()), "old");
        let dir = store(&[(NEXT, "half")]);
        assert!(!is_store(dir.path()));
    }
}
