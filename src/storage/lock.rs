//! The lock file of a store, which names the process that holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::replica;
use crate::model::error::{Error, Result};

/// The pause between two tries to take a lock that another process holds.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long a lock is waited for in any case: a process that only reads may look at it.
const LOOK: Duration = Duration::from_millis(40);

/// The lock of a store, held as long as the store is open. The operating system releases it when
/// the process ends, in whatever way.
#[derive(Debug)]
pub(super) struct StoreLock(
    #[expect(dead_code, reason = "keeps the files locked until it is dropped")] Vec<File>,
);

/// The process id in the lock file. The holder may have locked the file and not written to it yet,
/// so an empty file is read again for a moment.
fn holder(file: &mut File) -> Option<u32> {
    for _ in 0..20 {
        let mut text = String::new();
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(32).read_to_string(&mut text));
        match text.trim().parse() {
            Ok(pid) if read.is_ok() => return Some(pid),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    None
}

/// Takes the exclusive lock of a file, which is tried again after a pause until a time has passed.
pub(super) fn lock_within(
    file: &File,
    wait: Duration,
    pause: Duration,
) -> std::result::Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < wait => {
                std::thread::sleep(pause.min(wait));
            }
            done => return done,
        }
    }
}

impl StoreLock {
    /// Takes the lock, for which it waits so long, or fails with its holder.
    pub(super) fn take(store: &Path, wait: Duration) -> Result<Self> {
        let path = store.join("lock");
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match lock_within(&file, wait.max(LOOK), RETRY_PAUSE) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    path: store.to_owned(),
                    pid: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // The process id only helps others to find the holder, so that it cannot be written, as on a
        // full disk, is no reason to refuse.
        let noted = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::warn!(%error, "the process id could not be written to the lock file");
        }
        // Readers look at this file and not at the first, so that they are in nobody's way.
        let mut files = vec![file];
        match replica::lock_writer(store) {
            Ok(file) => files.push(file),
            Err(error) => {
                tracing::warn!(%error, "readers in other processes cannot see that the store is open");
            }
        }
        Ok(Self(files))
    }

    /// The process that has a store open, where it is known.
    pub(super) fn holder_of(store: &Path) -> Option<u32> {
        holder(&mut File::open(store.join("lock")).ok()?)
    }

    /// Takes a shared lock of a backup, so that it cannot be opened as a store while it is read.
    /// The backup is not changed. `None` where it has no lock file, because it was never opened.
    pub(super) fn share(backup: &Path) -> Result<Option<Self>> {
        let path = backup.join("lock");
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Self(vec![file]))),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: backup.to_owned(),
                pid: holder(&mut file),
            }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}
