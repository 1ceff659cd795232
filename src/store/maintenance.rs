//! Maintenance of a whole store: backup while it is in use; restore, compaction and repair while it
//! is closed.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::collection::StillGuard;
use crate::items::{CollectionInfo, check, rescue_vectors};
use crate::model::error::{Error, Result};
use crate::storage::{Database, Opening, Repairs, Tables};
use crate::store::{Store, StoreBuilder, VerifyReport};

/// The result of [`StoreBuilder::compact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Compacted {
    /// Size of the database's files before, in bytes.
    pub before: u64,
    /// Size of the database's files after, in bytes.
    pub after: u64,
}

/// The result of [`StoreBuilder::repair`].
#[must_use = "it names what was lost"]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was made again from other records, or removed because nothing refers to it: nothing of
    /// it is lost.
    pub rebuilt: Vec<String>,
    /// What could not be used and was removed. Only a backup can bring it back.
    pub lost: Vec<String>,
    /// The result of verifying the repaired store.
    pub verified: VerifyReport,
}

impl Store {
    /// Writes a backup of the store, as it is at one moment, to a directory that is empty or does
    /// not exist, or that holds an earlier backup of this store. That is replaced, and of the files of
    /// its vectors and graphs only those that are new are copied. Writes wait until it is complete,
    /// searches go on. The backup is a store itself, without overwritten and removed records; the
    /// vector of an item that was removed lately may still be in it.
    ///
    /// # Errors
    /// [`Error::BackupExists`] when the directory holds anything else; [`Error::NoDirectoryName`];
    /// [`Error::Locked`] when the earlier backup is open as a store; [`Error::Damaged`] when records
    /// of the store are missing; [`Error::Io`]. Then no backup is written, and an earlier one stays.
    pub fn backup(&self, directory: impl AsRef<Path>) -> Result<()> {
        self.backup_with(directory, || false)
    }

    /// Does the same as [`Self::backup`], and stops once `cancel` returns true.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; otherwise those of [`Self::backup`].
    pub fn backup_with(
        &self,
        directory: impl AsRef<Path>,
        cancel: impl Fn() -> bool,
    ) -> Result<()> {
        self.refresh()?;
        let open = self.lock_collections();
        let _still: Vec<StillGuard<'_>> = open.values().map(|inner| inner.hold_still()).collect();
        self.database().backup(directory.as_ref(), &cancel)
    }

    /// Cuts removed items out of the files of all collections, and closes the store.
    fn cut_removed(self) -> Result<()> {
        for (name, record) in self.database().collections()? {
            let tables = Tables::open(self.database(), &record)?;
            if tables.has_removed()? {
                let mut open = self.lock_collections();
                let collection = self.open_collection(&mut open, &name, &record, None)?;
                collection.items_handle().cut_removed()?;
            }
        }
        Ok(())
    }
}

impl StoreBuilder {
    /// Replaces the store at `path`, which must be closed, by a backup, or creates a store from it
    /// there. The backup is copied and verified first: if that fails, the store stays as it is. The
    /// backup is only read.
    ///
    /// # Errors
    /// [`Error::NotAStore`] when `backup` holds no store; [`Error::OlderFormat`];
    /// [`Error::Locked`]; [`Error::SymbolicLink`] for a store with links in its database;
    /// [`Error::Damaged`] with the first damage in the backup; [`Error::Io`].
    pub fn restore(self, backup: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<VerifyReport> {
        self.check_writable(path.as_ref())?;
        let opening = Opening {
            create: true,
            ..self.opening()
        };
        let mut report = None;
        Database::restore(backup.as_ref(), path.as_ref(), &opening, |database| {
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

    /// Rewrites the database of the store at `path`, which must be closed, without what was
    /// overwritten, removed and forgotten: no file holds any of it then. Removed items are cut out of
    /// graphs first, which takes as long as optimizing them where many were removed. A crash leaves the
    /// old database or the new one.
    ///
    /// # Errors
    /// [`Error::NotAStore`]; [`Error::Locked`]; [`Error::SymbolicLink`] for a database with links,
    /// whose targets would keep what was removed; [`Error::Damaged`] when records are missing;
    /// [`Error::Io`]. The store is then as it was.
    pub fn compact(self, path: impl AsRef<Path>) -> Result<Compacted> {
        self.check_writable(path.as_ref())?;
        let opening = self.opening();
        let (before, after) = Database::compact(path.as_ref(), &opening, |database| {
            self.over(database).cut_removed()
        })?;
        Ok(Compacted { before, after })
    }

    /// Repairs the store at `path`, which must be closed. What follows from other records (ids,
    /// counters, digests, graphs) is made again. What cannot be used is removed and named in the
    /// report, so that the rest can be used. Copy the directory first to keep the damaged records.
    /// Metrics of plugins that are not registered are left as they are.
    ///
    /// # Errors
    /// [`Error::NotAStore`]; [`Error::OlderFormat`]; [`Error::Locked`]; [`Error::Damaged`] when a
    /// whole table or the database cannot be read; [`Error::Storage`]; [`Error::Io`].
    pub fn repair(self, path: impl AsRef<Path>) -> Result<RepairReport> {
        self.check_writable(path.as_ref())?;
        let opening = Opening {
            create: false,
            lenient: true,
            ..self.opening()
        };
        let database = Database::open(path.as_ref(), &opening)?;
        let Repairs {
            mut rebuilt,
            mut lost,
        } = database.repaired().clone();
        let store = self.over(Arc::clone(&database));
        for (name, record) in database.collections()? {
            let mut tables = Tables::open(Arc::clone(&database), &record)?;
            let mut found = check(&name, &record, &tables, store.registered());
            let of_files: Vec<String> = found
                .files()
                .map(|what| format!("{name}: {what}"))
                .collect();
            if !of_files.is_empty() {
                rebuilt.extend(of_files);
                rescue_vectors(&tables, CollectionInfo::read(&name, &record, 0)?.rules())?;
                found = check(&name, &record, &tables, store.registered());
            }
            let done = tables.repair(found)?;
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
