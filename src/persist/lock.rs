//! One process at a time: a lock file that names its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Held as long as the store is open; the operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct StoreLock(#[expect(dead_code, reason = "keeps the file locked until it is dropped")] File);

impl StoreLock {
    /// Takes the lock at once or says who has it.
    pub(super) fn take(store: &Path) -> Result<Self> {
        let path = store.join("lock");
        let io = |source| Error::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may be between locking and writing; then its pid is just not known.
                let _ = (&mut file).take(32).read_to_string(&mut text);
                return Err(Error::Locked { path: store.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self(file))
    }
}
