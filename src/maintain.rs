//! What is done to a whole store: backup while it is in use; restoring, compacting and repairing
//! while it is closed.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::collection::Inner;
use crate::error::{Error, Result};
use crate::items::repair;
use crate::persist::{Database, Opening, Repairs, Shelf};
use crate::store::{Store, StoreBuilder, VerifyReport};

/// What compacting a store did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Compacted {
    /// Bytes of the database's files before.
    pub before: u64,
    /// Bytes of the database's files after.
    pub after: u64,
}

/// What a repair did.
#[must_use = "it says what was found"]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was made again from other records: nothing of it is lost.
    pub rebuilt: Vec<String>,
    /// What could not be read and was removed. It must come from a backup.
    pub lost: Vec<String>,
    /// The store as it is now.
    pub verified: VerifyReport,
}

impl Store {
    /// Writes the store to a directory that is empty or not there, as it is at one moment; the
    /// store can be used meanwhile. Writes wait until it is done, searches do not. The backup is
    /// itself a store, without what was overwritten and removed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the directory has something in it; [`Error::Damaged`] when records
    /// of the store are missing; [`Error::Io`]. No backup is there then.
    pub fn backup(&self, directory: impl AsRef<Path>) -> Result<()> {
        let open = self.lock_collections();
        let opened: Vec<Arc<Inner>> = open.values().cloned().collect();
        still(&opened, &mut || self.database().backup(directory.as_ref()))
    }
}

/// Runs something while nobody writes to any of the collections.
fn still<T>(collections: &[Arc<Inner>], work: &mut dyn FnMut() -> T) -> T {
    match collections.split_first() {
        Some((first, rest)) => first.while_still(|| still(rest, work)),
        None => work(),
    }
}

impl StoreBuilder {
    /// Puts a backup in the place of the store at `path`, which must be closed, or makes a store of
    /// it there. The backup is copied and verified first; until then, and when it is found damaged,
    /// the store stays as it is. The backup itself is only read.
    ///
    /// # Errors
    /// [`Error::NotAStore`] when `backup` holds none; [`Error::Locked`]; [`Error::Damaged`] naming
    /// the first thing that is wrong with the backup; [`Error::Io`].
    pub fn restore(self, backup: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<VerifyReport> {
        let opening = Opening {
            create: true,
            ..self.opening()
        };
        let mut report = None;
        Database::restore(backup.as_ref(), path.as_ref(), &opening, |database| {
            // A backup that was opened has images. They stay there.
            for (_, record) in database.collections()? {
                Shelf::open(Arc::clone(&database), &record)?.drop_images()?;
            }
            let found = self.over(database).verify()?;
            if let Some(problem) = found.problems.first() {
                return Err(Error::Damaged {
                    part: format!(
                        "the backup {}, in {}",
                        backup.as_ref().display(),
                        problem.part
                    ),
                    reason: problem.message.clone(),
                });
            }
            report = Some(found);
            Ok(())
        })?;
        Ok(report.unwrap_or(VerifyReport {
            checked: 0,
            problems: Vec::new(),
        }))
    }

    /// Writes the database of the store at `path`, which must be closed, anew: without what was
    /// overwritten, removed and forgotten. A crash leaves the old database or the new one.
    ///
    /// # Errors
    /// [`Error::NotAStore`]; [`Error::Locked`]; [`Error::Damaged`] when records are missing;
    /// [`Error::Io`]. The store is then as it was.
    pub fn compact(self, path: impl AsRef<Path>) -> Result<Compacted> {
        let (before, after) = Database::compact(path.as_ref(), &self.opening())?;
        Ok(Compacted { before, after })
    }

    /// Sets the store at `path`, which must be closed, right. What follows from other records (ids,
    /// counters, counts, graphs) is made again. What cannot be read is removed, and named in the
    /// report, so that the rest can be used; copy the directory first if somebody may want to look
    /// at it. Metrics of plugins that are not registered are left alone.
    ///
    /// # Errors
    /// [`Error::NotAStore`]; [`Error::Locked`]; [`Error::Damaged`] when nothing of the store can be
    /// read; storage errors.
    pub fn repair(self, path: impl AsRef<Path>) -> Result<RepairReport> {
        let opening = Opening {
            create: false,
            lenient: true,
            ..self.opening()
        };
        let database = Database::open(path.as_ref(), &opening)?;
        let Repairs {
            mut rebuilt,
            mut lost,
        } = database.mended().clone();
        let store = self.over(Arc::clone(&database));
        for (name, record) in database.collections()? {
            let shelf = Shelf::open(Arc::clone(&database), &record)?;
            let done = repair(&name, &record, &shelf, store.registered())?;
            rebuilt.extend(
                done.rebuilt
                    .into_iter()
                    .map(|what| format!("{name}: {what}")),
            );
            lost.extend(done.lost.into_iter().map(|what| format!("{name}: {what}")));
        }
        let verified = store.verify()?;
        Ok(RepairReport {
            rebuilt,
            lost,
            verified,
        })
    }
}
