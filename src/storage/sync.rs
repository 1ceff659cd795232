//! Syncing sled's files, so that what it has flushed survives a power failure.
//!
//! On Linux sled ends a flush with `sync_file_range`, which makes neither the file's length nor the
//! drive's cache durable, and it never syncs the files that it writes large values to. So both are
//! synced here before the [commit counter](super::commit_counter) is raised.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::commit_counter::CommitCounter;
use super::disk::{Disk, DiskOp};
use super::swap::{parent_of, sync_dir};
use crate::model::error::Result;

/// sled's log.
const LOG: &str = "db";
/// The directory in which sled puts values that are too large for its log.
const BLOBS: &str = "blobs";

/// The files of a database that must be synced.
#[derive(Debug)]
pub(super) struct LogSync {
    log: File,
    blobs: PathBuf,
    /// Lengths of the files of large values when they were last synced, by name.
    synced: HashMap<OsString, u64>,
    pub(super) counter: CommitCounter,
}

impl LogSync {
    /// Opens the files of a database that sled has open. The directory entries of a new database
    /// are made durable, up to that of the store's directory `root`.
    pub(super) fn open(root: &Path, dir: &Path, disk: &Disk) -> Result<Self> {
        let path = dir.join(LOG);
        let log = disk.file(DiskOp::Read, &path, || {
            OpenOptions::new().write(true).open(&path)
        })?;
        let counter = CommitCounter::open(dir, disk)?;
        if counter.count().is_none() {
            let conf = dir.join("conf");
            disk.file(DiskOp::Sync, &conf, || {
                OpenOptions::new().write(true).open(&conf)?.sync_all()
            })?;
            sync_dir(dir, disk)?;
            sync_dir(root, disk)?;
            sync_dir(parent_of(root), disk)?;
        }
        Ok(Self {
            log,
            blobs: dir.join(BLOBS),
            synced: HashMap::new(),
            counter,
        })
    }

    /// Makes what sled has flushed durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        // Large values first: on opening, sled ends its log before the first one that is missing.
        self.sync_blobs()?;
        self.log.sync_data()
    }

    /// Syncs the files of large values that are new or whose length changed. Returns their number.
    fn sync_blobs(&mut self) -> io::Result<usize> {
        let mut there = HashMap::new();
        let mut written = 0;
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            // sled removes files in the background.
            let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
            let bytes = match entry.metadata() {
                Err(e) if gone(&e) => continue,
                meta => meta?.len(),
            };
            let name = entry.file_name();
            if self.synced.get(&name) != Some(&bytes) {
                match OpenOptions::new()
                    .write(true)
                    .open(entry.path())
                    .and_then(|file| file.sync_all())
                {
                    Err(e) if gone(&e) => continue,
                    done => done?,
                }
                written += 1;
            }
            there.insert(name, bytes);
        }
        self.synced = there;
        if written > 0 && cfg!(unix) {
            File::open(&self.blobs)?.sync_all()?;
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_are_synced_once_and_again_when_they_grew() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path();
        fs::create_dir(dir.join(BLOBS)).expect("made");
        for name in [LOG, "conf", "blobs/10", "blobs/20"] {
            fs::write(dir.join(name), b"ab").expect("written");
        }
        let mut log_sync = LogSync::open(dir, dir, &Disk::new(dir, None)).expect("opened");
        assert_eq!(
            [2, 0],
            [(); 2].map(|()| log_sync.sync_blobs().expect("synced"))
        );
        fs::write(dir.join("blobs/10"), b"abc").expect("written");
        fs::write(dir.join("blobs/30"), b"").expect("written");
        fs::remove_file(dir.join("blobs/20")).expect("removed");
        assert_eq!(
            [2, 0],
            [(); 2].map(|()| log_sync.sync_blobs().expect("synced"))
        );
        fs::remove_dir_all(dir.join(BLOBS)).expect("removed");
        assert!(log_sync.sync().is_err());
    }

    /// sled's files have the names that this module expects, and values of this length leave the
    /// log.
    #[test]
    fn the_files_are_where_sled_has_them() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path();
        let sled = sled::Config::default()
            .path(dir)
            .flush_every_ms(None)
            .open()
            .expect("opened");
        let mut log_sync = LogSync::open(dir, dir, &Disk::new(dir, None)).expect("opened");
        assert_eq!(log_sync.sync_blobs().expect("synced"), 0);
        sled.insert("large", vec![7; 1 << 20]).expect("inserted");
        sled.flush().expect("flushed");
        assert!(log_sync.sync_blobs().expect("synced") > 0);
    }
}
