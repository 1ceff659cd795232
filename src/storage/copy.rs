//! Copies of databases: backup, restore and compaction.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sled::{Batch, IVec};

use super::commit_counter;
use super::digest::{DIGESTED, TableDigest};
use super::disk::{Disk, DiskOp, refuse_dangling};
use super::lock::StoreLock;
use super::segment_file::SegmentFile;
use super::sync::LogSync;
use super::table::{self, Table};
use super::tables::{META, NAMES, entry_hash};
use super::{
    CommitGuard, Database, Opening, catalog, claim, damaged, keywords, manifest, open_sled, swap,
};
use crate::model::error::{Error, Result};

/// Size of a batch of copied entries, in bytes, and their largest number: sled keeps every page that
/// a batch replaces in memory until the batch is applied.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_ENTRIES: usize = 512;
/// Page cache of a database that is only written, in bytes.
pub(super) const CACHE_BYTES: u64 = 16 << 20;

/// The file that marks a backup: the number of the store.
pub(super) const MARK: &str = "backup";

/// A tree of a copy that is being written.
struct Copy<'a> {
    to: sled::Tree,
    disk: &'a Disk,
    /// Whether the copy is not wanted any more.
    cancel: &'a dyn Fn() -> bool,
    batch: Batch,
    bytes: usize,
    entries: usize,
}

impl<'a> Copy<'a> {
    fn begin(
        sled: &sled::Db,
        name: &str,
        disk: &'a Disk,
        cancel: &'a dyn Fn() -> bool,
    ) -> Result<Self> {
        let to = disk.run(DiskOp::Write, "make a copy's tree", || sled.open_tree(name))?;
        Ok(Self {
            to,
            disk,
            cancel,
            batch: Batch::default(),
            bytes: 0,
            entries: 0,
        })
    }

    fn put(&mut self, key: impl Into<IVec>, value: IVec) -> Result<()> {
        if (self.cancel)() {
            return Err(Error::Cancelled);
        }
        let key = key.into();
        self.bytes += key.len() + value.len();
        self.entries += 1;
        self.batch.insert(key, value);
        if self.bytes > BATCH_BYTES || self.entries >= BATCH_ENTRIES {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what was put and is not written yet.
    fn write(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        (self.bytes, self.entries) = (0, 0);
        self.disk.run(DiskOp::Commit, "write a copy", || {
            self.to.apply_batch(batch)
        })
    }
}

impl Database {
    /// Writes all that is live to a new store in `target`, as it is between two commits. Commits
    /// wait meanwhile. `target` must be empty or not there, or hold an earlier backup of this store,
    /// which is replaced: of its files, those that are the same are not copied again. Once `cancel`
    /// returns true, nothing is left of the new backup, and an earlier one stays.
    pub(crate) fn backup(&self, target: &Path, cancel: &dyn Fn() -> bool) -> Result<()> {
        refuse_dangling(target)?;
        // A link to an empty directory stays, and the backup is written where it leads.
        let followed = target.is_symlink().then(|| fs::canonicalize(target));
        let followed = followed.transpose().map_err(io(target))?;
        let target = followed.as_deref().unwrap_or(target);
        let number = self.store_number()?;
        let mark = fs::read_to_string(target.join(MARK)).ok();
        if mark.is_some() && mark == number {
            return self.replace_backup(target, cancel);
        }
        if fs::read_dir(target).is_ok_and(|mut d| d.next().is_some()) || target.is_file() {
            return Err(Error::BackupExists(target.to_owned()));
        }
        let name = target
            .file_name()
            .ok_or_else(|| Error::NoDirectoryName(target.to_owned()))?;
        let parent = swap::parent_of(target);
        let mut partial = name.to_owned();
        partial.push(".partial");
        let partial = parent.join(partial);
        fs::create_dir_all(parent).map_err(io(parent))?;
        swap::remove(&partial, &self.disk)?;
        let written = self
            .disk
            .file(DiskOp::Write, &partial, || fs::create_dir(&partial))
            .and_then(|()| {
                let to = partial.join(swap::CURRENT);
                self.copy_to(&to, None, &self.hold_commits(), cancel)?;
                if let Some(number) = &number {
                    let mark = partial.join(MARK);
                    self.disk
                        .write(&mark, number.as_bytes(), |bytes| fs::write(&mark, bytes))?;
                    self.disk
                        .file(DiskOp::Sync, &mark, || fs::File::open(&mark)?.sync_all())?;
                }
                swap::sync_dir(&partial, &self.disk)?;
                self.disk
                    .file(DiskOp::Rename, target, || fs::rename(&partial, target))?;
                swap::sync_dir(parent, &self.disk)
            });
        if written.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        written
    }

    /// Replaces an earlier backup of this store.
    fn replace_backup(&self, target: &Path, cancel: &dyn Fn() -> bool) -> Result<()> {
        swap::refuse_links(target)?;
        let _lock = StoreLock::take(target, Duration::ZERO)?;
        let disk = Disk::new(target, self.disk.faults().cloned());
        swap::finish(target, &disk)?;
        let next = target.join(swap::NEXT);
        let earlier = target.join(swap::CURRENT).join(manifest::DIR);
        let written = self
            .copy_to(&next, Some(&earlier), &self.hold_commits(), cancel)
            .and_then(|()| swap::install(target, &disk));
        if written.is_err() && target.join(swap::CURRENT).exists() {
            let _ = fs::remove_dir_all(&next);
        }
        written
    }

    /// Writes all that is live to a new database, durably, while nothing is committed. Files that
    /// are the same in the directory `earlier` become links to those.
    fn copy_to(
        &self,
        dir: &Path,
        earlier: Option<&Path>,
        commits: &CommitGuard<'_>,
        cancel: &dyn Fn() -> bool,
    ) -> Result<()> {
        let opening = Opening {
            cache_bytes: CACHE_BYTES,
            ..Opening::default()
        };
        let disk = Disk::new(dir, self.disk.faults().cloned());
        let sled = open_sled(dir, &disk, &opening)?;
        let numbers: BTreeSet<u32> = self
            .collections()?
            .iter()
            .map(|(_, record)| record.number)
            .collect();
        let mut copy = Copy::begin(&sled, catalog::TREE, &disk, cancel)?;
        for entry in self.disk.walk("read its catalogue", self.catalog.iter()) {
            let (key, value) = entry?;
            if catalog::is_copied(&key, &numbers) {
                copy.put(key, value)?;
            }
        }
        copy.write()?;
        let mut copy = Copy::begin(&sled, table::TREE, &disk, cancel)?;
        for &number in &numbers {
            self.copy_tables(number, &mut copy)?;
        }
        copy.write()?;
        disk.run(DiskOp::Flush, "make a copy durable", || {
            sled.flush().map(|_| ())
        })?;
        drop(sled);
        let files = dir.join(manifest::DIR);
        disk.file(DiskOp::Write, &files, || fs::create_dir_all(&files))?;
        for &number in &numbers {
            self.copy_vector_files(number, &files, earlier, cancel)?;
        }
        swap::sync_dir(&files, &disk)?;
        let mut log_sync = LogSync::open(dir.parent().unwrap_or(dir), dir, &disk)?;
        disk.file(DiskOp::Sync, dir, || log_sync.sync())?;
        log_sync.counter.note(commits.count(), &disk)?;
        for entry in fs::read_dir(dir).map_err(io(dir))?.flatten() {
            let path = entry.path();
            if path.is_file() {
                disk.file(DiskOp::Sync, &path, || fs::File::open(&path)?.sync_all())?;
            }
        }
        swap::sync_dir(dir, &disk)
    }

    /// Copies the files that hold vectors of a collection, each of which must be sound.
    fn copy_vector_files(
        &self,
        number: u32,
        to: &Path,
        earlier: Option<&Path>,
        cancel: &dyn Fn() -> bool,
    ) -> Result<()> {
        for name in self.file_names(number)? {
            if cancel() {
                return Err(Error::Cancelled);
            }
            let (from, to) = (self.segments_dir().join(&name), to.join(&name));
            let file = SegmentFile::open(&from, None, &self.disk)?;
            if let Some(earlier) = earlier.map(|earlier| earlier.join(&name))
                && let Ok(known) = SegmentFile::open(&earlier, None, &self.disk)
                && known.has_both_headers()
                && known.is_copy_of(&file)
                && known.verify_all().is_ok()
                && fs::hard_link(&earlier, &to).is_ok()
            {
                continue;
            }
            file.verify_all()?;
            if !file.has_both_headers() {
                let reason =
                    "one of the two copies of its header is damaged; repair the store first";
                return Err(damaged(file.name(), reason));
            }
            copy_file(&from, &to, &self.disk)?;
        }
        Ok(())
    }

    /// Copies the tables of a collection, and compares all entries with the digests. The list of
    /// files of the keyword index is not copied, because they are not.
    fn copy_tables(&self, number: u32, copy: &mut Copy<'_>) -> Result<()> {
        let digests = self.digests(number)?;
        let tables: [Table; NAMES.len()] = self.tables(number);
        for (table, entries) in tables.iter().enumerate() {
            let mut found = TableDigest::default();
            for entry in self.disk.walk("read what is to be copied", entries.iter()) {
                let (key, value) = entry?;
                if table < DIGESTED {
                    found.add(entry_hash(table, &key, &value));
                }
                let is_of_keywords = table == META && key == keywords::FILES_KEY.as_bytes();
                if !is_of_keywords {
                    copy.put(entries.full(&key), value)?;
                }
            }
            if table < DIGESTED
                && let Some(reason) = found.differs(digests[table])
            {
                let name = NAMES[table];
                return Err(damaged(format!("the table {number}/{name}"), reason));
            }
        }
        Ok(())
    }

    /// Rewrites the database of a closed store without overwritten and removed entries, once
    /// `prepare`, which must not keep it open, has cut removed items out of its files. Returns its
    /// size before and after, in bytes.
    pub(crate) fn compact(
        root: &Path,
        opening: &Opening,
        prepare: impl FnOnce(Arc<Self>) -> Result<()>,
    ) -> Result<(u64, u64)> {
        swap::refuse_links(root)?;
        let held = Arc::new(claim(root, false, opening)?);
        let disk = Disk::new(root, opening.faults.clone());
        let next = root.join(swap::NEXT);
        let done = (|| {
            let database =
                Self::open_at(root, &root.join(swap::CURRENT), Arc::clone(&held), opening)?;
            let before = directory_bytes(&database.dir);
            prepare(Arc::clone(&database))?;
            database.copy_to(&next, None, &database.hold_commits(), &|| false)?;
            drop(database);
            let after = directory_bytes(&next);
            swap::install(root, &disk)?;
            Ok((before, after))
        })();
        if done.is_err() && root.join(swap::CURRENT).exists() {
            let _ = fs::remove_dir_all(&next);
        }
        done
    }

    /// Replaces the database of a closed store by that of a backup, or makes a new store of it,
    /// once `check` has accepted the copy. The backup is only read.
    pub(crate) fn restore(
        backup: &Path,
        root: &Path,
        opening: &Opening,
        check: impl FnOnce(Arc<Self>) -> Result<()>,
    ) -> Result<()> {
        let not = |reason: &str| Error::NotAStore {
            path: backup.to_owned(),
            reason: reason.to_owned(),
        };
        refuse_dangling(backup)?;
        if is_same_directory(backup, root) {
            return Err(not(
                "it is the store itself; name the directory of a backup",
            ));
        }
        let Some(from) = swap::current_of(backup) else {
            return Err(not(
                "it holds no database; name a directory that `backup` made",
            ));
        };
        swap::refuse_links(root)?;
        let _shared = StoreLock::share(backup)?;
        let held = Arc::new(claim(root, true, opening)?);
        let disk = Disk::new(root, opening.faults.clone());
        let next = root.join(swap::NEXT);
        let done = copy_files(&from, &next, &disk).and_then(|()| {
            check(Self::open_at(root, &next, Arc::clone(&held), opening)?)?;
            swap::install(root, &disk)
        });
        if done.is_err() && (root.join(swap::CURRENT).exists() || !root.join(swap::LAST).exists()) {
            let _ = fs::remove_dir_all(&next);
        }
        done
    }
}

/// The error of an operation on a file or directory.
pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}

/// Whether two paths lead to one directory.
fn is_same_directory(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Copies the files that belong to a database. A directory with any other file is refused, and no
/// link is followed.
fn copy_files(from: &Path, to: &Path, disk: &Disk) -> Result<()> {
    disk.file(DiskOp::Write, to, || fs::create_dir(to))?;
    for entry in fs::read_dir(from).map_err(io(from))? {
        let path = entry.map_err(io(from))?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let kind = fs::symlink_metadata(&path).map_err(io(&path))?.file_type();
        let target = to.join(name);
        match name {
            "blobs" if kind.is_dir() => copy_plain(&path, &target, disk, &|_| true)?,
            manifest::DIR if kind.is_dir() => copy_plain(&path, &target, disk, &|name| {
                // Those of keyword indexes are made anew.
                name.starts_with(|first: char| first.is_ascii_digit())
            })?,
            "db" | "conf" | commit_counter::NAME if kind.is_file() => {
                copy_file(&path, &target, disk)?;
            }
            name if name.starts_with("snap.") && kind.is_file() => copy_file(&path, &target, disk)?,
            _ => {
                return Err(damaged(
                    format!("{}", path.display()),
                    "no such file belongs in a backup",
                ));
            }
        }
    }
    swap::sync_dir(to, disk)
}

/// Copies those files of a directory that `takes` takes by their names. A directory with anything
/// but files is refused.
fn copy_plain(from: &Path, to: &Path, disk: &Disk, takes: &dyn Fn(&str) -> bool) -> Result<()> {
    disk.file(DiskOp::Write, to, || fs::create_dir(to))?;
    for entry in fs::read_dir(from).map_err(io(from))? {
        let entry = entry.map_err(io(from))?;
        if !entry.file_type().map_err(io(from))?.is_file() {
            return Err(damaged(
                format!("{}", entry.path().display()),
                "it is no plain file",
            ));
        }
        if takes(&entry.file_name().to_string_lossy()) {
            copy_file(&entry.path(), &to.join(entry.file_name()), disk)?;
        }
    }
    swap::sync_dir(to, disk)
}

fn copy_file(from: &Path, to: &Path, disk: &Disk) -> Result<()> {
    disk.file(DiskOp::Write, to, || fs::copy(from, to))?;
    disk.file(DiskOp::Sync, to, || fs::File::open(to)?.sync_all())
}

/// Total size of the files in a directory and below, in bytes.
pub(super) fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
