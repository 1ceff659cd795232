//! Access to the disk: every operation on sled and on the files of a store passes through here.
//!
//! Here a test can make any operation fail ([`Faults`]), a panic inside sled becomes an error, and
//! a failure that leaves memory ahead of the disk poisons the handle.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(super) use super::faults::DiskOp;
use super::faults::{Fault, Faults, planned};
use crate::model::error::{Error, Result};
use crate::panics::catch;

/// Refuses a symbolic link to something that does not exist. The system's own words for it are that
/// the file is missing, or that it is there already.
pub(super) fn refuse_dangling(path: &Path) -> Result<()> {
    match std::fs::read_link(path) {
        Ok(target) if matches!(path.try_exists(), Ok(false)) => Err(Error::DanglingLink {
            path: path.to_owned(),
            target,
        }),
        _ => Ok(()),
    }
}

/// The disk as one open database uses it.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The database's directory, for messages.
    dir: PathBuf,
    faults: Option<Faults>,
    poison: OnceLock<String>,
}

impl Disk {
    pub(super) fn new(dir: &Path, faults: Option<Faults>) -> Self {
        Self {
            dir: dir.to_owned(),
            faults,
            poison: OnceLock::new(),
        }
    }

    /// The name of the database in messages.
    pub(super) fn name(&self) -> String {
        format!("the database in {}", self.dir.display())
    }

    pub(super) fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    fn strike(&self, op: DiskOp) -> Option<Fault> {
        self.faults.as_ref()?.strike(op)
    }

    /// Runs an operation of sled.
    ///
    /// A commit or flush that fails poisons the handle, because memory may then be ahead of the
    /// disk; so does a panic inside sled, whose state is then unknown.
    pub(super) fn run<T>(
        &self,
        op: DiskOp,
        action: &'static str,
        work: impl FnOnce() -> sled::Result<T>,
    ) -> Result<T> {
        self.check_poison()?;
        let fault = self.strike(op);
        if matches!(fault, Some(Fault::Refused | Fault::Short)) {
            return Err(self.failed(op, action, planned().into()));
        }
        match catch(work) {
            Err(_) => {
                self.poison(&format!("sled panicked when asked to {action}"));
                Err(self.unreadable())
            }
            Ok(Err(error)) => Err(self.failed(op, action, error)),
            Ok(Ok(_)) if fault.is_some() => Err(self.failed(op, action, planned().into())),
            Ok(Ok(done)) => Ok(done),
        }
    }

    /// Entries of a tree. The iterator ends after an error of sled, which would be repeated for
    /// ever.
    pub(super) fn walk(
        &self,
        action: &'static str,
        mut entries: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec)>> {
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let next = self
                .run(DiskOp::Read, action, || entries.next().transpose())
                .transpose();
            ended = !matches!(next, Some(Ok(_)));
            next
        })
    }

    fn failed(&self, op: DiskOp, action: &'static str, error: sled::Error) -> Error {
        if matches!(op, DiskOp::Commit | DiskOp::Flush) {
            self.poison(&format!("the database could not {action}: {error}"));
        }
        match error {
            sled::Error::Corruption { at, .. } => Error::Damaged {
                part: self.name(),
                reason: format!("sled found corruption while asked to {action} (at {at:?})"),
            },
            // The error that sled gives for a file of settings that it cannot read.
            sled::Error::Unsupported(_) if op == DiskOp::Read => Error::Damaged {
                part: format!("{}, its file conf", self.name()),
                reason: "sled cannot read it; a repair makes it anew from the log".into(),
            },
            error => Error::Storage {
                action,
                source: error.into(),
            },
        }
    }

    /// The error for files on which sled panicked.
    pub(super) fn unreadable(&self) -> Error {
        Error::Damaged {
            part: self.name(),
            reason: "sled cannot read its files".into(),
        }
    }

    /// Runs an operation on a file or directory.
    pub(super) fn file<T>(
        &self,
        op: DiskOp,
        path: &Path,
        work: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        match self.strike(op) {
            Some(Fault::Refused | Fault::Short) => Err(io(planned())),
            Some(Fault::Unacknowledged) => work().and_then(|_| Err(planned())).map_err(io),
            None => work().map_err(io),
        }
    }

    /// Writes bytes to a file: all of them or, where a fault is planned, the first half.
    pub(super) fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<()> {
        let done = match self.strike(DiskOp::Write) {
            None => write(bytes),
            Some(Fault::Refused) => Err(planned()),
            Some(Fault::Short) => write(&bytes[..bytes.len() / 2]).and_then(|()| Err(planned())),
            Some(Fault::Unacknowledged) => write(bytes).and_then(|()| Err(planned())),
        };
        done.map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Makes every later operation fail, because memory and disk may differ.
    pub(super) fn poison(&self, reason: &str) {
        if self.poison.set(reason.to_owned()).is_ok() {
            tracing::error!(
                reason,
                "the store's handle is poisoned: it must be opened again"
            );
        }
    }

    /// Refuses everything after a failure that left memory ahead of the disk.
    pub(super) fn check_poison(&self) -> Result<()> {
        self.poison
            .get()
            .map_or(Ok(()), |reason| Err(Error::Poisoned(reason.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (Faults, Disk) {
        let faults = Faults::new();
        (faults.clone(), Disk::new(Path::new("d"), Some(faults)))
    }

    #[test]
    fn the_planned_operation_fails_and_no_other() {
        let (faults, disk) = disk();
        faults.fail(1, Fault::Refused, Some(DiskOp::Read), false);
        let mut done = 0;
        let results: Vec<bool> = [DiskOp::Read, DiskOp::Write, DiskOp::Read, DiskOp::Read]
            .into_iter()
            .map(|op| {
                let count = || {
                    done += 1;
                    Ok(())
                };
                disk.file(op, Path::new("f"), count).is_ok()
            })
            .collect();
        assert_eq!(
            (results, done, faults.operations()),
            (vec![true, true, false, true], 3, 4)
        );
        assert!(faults.clear() && !faults.clear());
    }

    #[test]
    fn a_failed_flush_and_a_panic_poison_but_a_failed_read_does_not() {
        let (faults, disk) = disk();
        faults.fail(0, Fault::Refused, None, false);
        assert!(matches!(
            disk.run(DiskOp::Read, "read", || Ok(1)),
            Err(Error::Storage { .. })
        ));
        assert_eq!(
            disk.run(DiskOp::Read, "read", || Ok(1))
                .expect("not poisoned"),
            1
        );
        faults.fail(0, Fault::Unacknowledged, Some(DiskOp::Flush), false);
        assert!(disk.run(DiskOp::Flush, "flush", || Ok(())).is_err());
        assert!(matches!(
            disk.run(DiskOp::Read, "read", || Ok(1)),
            Err(Error::Poisoned(_))
        ));

        let (_, disk) = self::disk();
        let panicking: fn() -> sled::Result<()> = || panic!("as sled does on damaged files");
        assert!(matches!(
            disk.run(DiskOp::Read, "read", panicking),
            Err(Error::Damaged { .. })
        ));
        assert!(matches!(disk.check_poison(), Err(Error::Poisoned(_))));
    }

    #[test]
    fn a_short_write_writes_half() {
        let (faults, disk) = disk();
        faults.fail(0, Fault::Short, None, false);
        let mut file: Vec<u8> = Vec::new();
        let written = disk.write(Path::new("f"), &[1, 2, 3, 4], |bytes| {
            file.extend(bytes);
            Ok(())
        });
        assert!(written.is_err());
        assert_eq!(file, [1, 2]);
    }
}
