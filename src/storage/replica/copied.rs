//! A replica where nobody has the store open: of a copy of sled's files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkpoint::{self, Checkpoint};
use super::{Replica, is_locked, is_written, locked};
use crate::model::error::Result;
use crate::storage::copy::io;
use crate::storage::{Database, Opening, commit_counter, copy, disk, manifest, swap};

/// How often a copy of sled's files is begun again because they changed.
const TRIES: usize = 10;
/// The pause before it is.
const PAUSE: Duration = Duration::from_millis(10);

/// The directory of a store's database.
pub(super) fn database_dir(root: &Path) -> PathBuf {
    swap::current_of(root).unwrap_or_else(|| root.join(swap::CURRENT))
}

/// What tells whether sled's files have changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogId {
    /// Number of durable commits.
    pub(super) commits: Option<u64>,
    /// A number by which the log is known from another file of its name.
    pub(super) file: Option<u64>,
    /// Length of the log in bytes.
    length: Option<u64>,
}

impl LogId {
    pub(super) fn of(root: &Path) -> Self {
        let dir = database_dir(root);
        let bytes = fs::read(dir.join(commit_counter::NAME)).unwrap_or_default();
        let log = fs::metadata(dir.join("db")).ok();
        Self {
            commits: commit_counter::count_in(&bytes),
            file: log.as_ref().and_then(file_id),
            length: log.map(|log| log.len()),
        }
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems may not tell")]
fn file_id(metadata: &fs::Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::ino(metadata))
}

#[cfg(not(unix))]
fn file_id(metadata: &fs::Metadata) -> Option<u64> {
    let made = metadata.created().ok()?;
    let since = made.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_nanos() as u64)
}

/// Makes a replica of a copy of sled's files, which nobody has open; `None` where somebody opened
/// them meanwhile.
pub(super) fn copied(root: &Path, opening: &Opening) -> Result<Option<(Replica, LogId)>> {
    for _ in 0..TRIES {
        let before = LogId::of(root);
        let copy = tempfile::Builder::new()
            .prefix("affinis-reader-")
            .tempdir()
            .map_err(io(&std::env::temp_dir()))?;
        let to = copy.path().join(swap::CURRENT);
        let Some(from) = swap::current_of(root) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let done = copy_sled(&from, &to);
        if is_written(root)? {
            return Ok(None);
        }
        if is_locked(&root.join("lock"))? {
            // By a process that readers cannot see.
            return Err(locked(root));
        }
        if LogId::of(root) != before {
            std::thread::sleep(PAUSE);
            continue;
        }
        done?;
        return replica_of(copy.path(), opening).map(|replica| Some((replica, before)));
    }
    Err(locked(root))
}

fn copy_sled(from: &Path, to: &Path) -> Result<()> {
    let copy_all = |from: &Path, to: &Path| -> Result<()> {
        fs::create_dir_all(to).map_err(io(to))?;
        for entry in fs::read_dir(from).map_err(io(from))? {
            let path = entry.map_err(io(from))?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_file() {
                // Without its mode: a copy of a file that is only read must be written to.
                File::open(&path)
                    .and_then(|mut from| {
                        std::io::copy(&mut from, &mut File::create_new(to.join(name))?)
                    })
                    .map_err(io(&path))?;
            }
        }
        Ok(())
    };
    copy_all(from, to)?;
    let blobs = from.join("blobs");
    if blobs.is_dir() {
        copy_all(&blobs, &to.join("blobs"))?;
    }
    let files = to.join(manifest::DIR);
    fs::create_dir_all(&files).map_err(io(&files))
}

/// The replica of a copy, which is opened, tidied and left.
fn replica_of(copy: &Path, opening: &Opening) -> Result<Replica> {
    let opening = Opening {
        create: false,
        cache_bytes: copy::CACHE_BYTES,
        ..opening.clone()
    };
    let database = Database::open_alone(copy, &opening)?;
    let mut file = tempfile::tempfile().map_err(io(&std::env::temp_dir()))?;
    database.write_checkpoint(&mut file)?;
    Checkpoint::open(&file).map(Replica::new)
}

impl Database {
    /// Writes the checkpoint of a database that nobody else uses.
    fn write_checkpoint(&self, file: &mut File) -> Result<()> {
        let sled = self.sled()?;
        let number = self.hold_commits().count();
        self.disk
            .run(disk::DiskOp::Read, "copy its entries", || {
                checkpoint::write(&mut *file, &sled.catalog, &sled.records, number, &|| false)
            })
            .map(drop)
    }
}
