//! The side of a process that only reads: it follows what the process that writes publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sled::IVec;

use super::checkpoint::Checkpoint;
use super::copied::{LogId, copied, database_dir};
use super::frame::{self, CATALOG, Found};
use super::{CHECKPOINT, DIR, LOG, READERS, Replica, collection_of, is_written, locked};
use crate::model::error::{Error, Result};
use crate::storage::copy::io;
use crate::storage::{Opening, catalog, damaged, disk, swap};

/// The pause between two looks for a checkpoint that is being written.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a process that has the store open is given to publish its first checkpoint.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a look for news waits for a process that has just opened the store.
const NEWS: Duration = Duration::from_secs(1);

/// Reads a store that another process may have open.
#[derive(Debug)]
pub(crate) struct Follower {
    root: PathBuf,
    opening: Opening,
    /// Locked, so that the process that writes notices this one. `None` where nobody wrote yet.
    readers: Option<File>,
    current: Current,
    /// A checkpoint that was taken while items were written in parts, until they are complete.
    next: Option<Followed>,
    /// Sled's log when `current` was begun.
    log_id: LogId,
    /// Whether it was waited in vain for the process that has the store open.
    is_given_up: bool,
}

/// What is read.
#[derive(Debug)]
enum Current {
    Followed(Followed),
    /// A copy of sled's files.
    Copied(Replica),
}

/// A published checkpoint whose log is followed.
#[derive(Debug)]
struct Followed {
    name: String,
    log: File,
    /// Where the frames that were not read begin in the log.
    at: u64,
    /// Whether a checksum did not fit there at the last look.
    is_doubtful: bool,
    replica: Replica,
    /// The collections that items are being written to in parts, and the frames of those parts:
    /// they are applied together at the end.
    staged: BTreeMap<u32, Vec<Vec<u8>>>,
    /// Those of them that may have parts in the checkpoint.
    half_written: BTreeSet<u32>,
    /// The keys of records that changed since they were last taken, by collection.
    touched: Touched,
}

/// Keys of records in the tree of records, by collection.
pub(crate) type Touched = BTreeMap<u32, BTreeSet<IVec>>;

impl Follower {
    /// Reads a store.
    ///
    /// # Errors
    /// [`Error::NotAStore`]; [`Error::Locked`] where another process has it open and publishes
    /// nothing; those of opening it.
    pub(crate) fn open(root: &Path, opening: &Opening) -> Result<Self> {
        disk::refuse_dangling(root)?;
        if !swap::is_store(root) {
            return Err(Error::NotAStore {
                path: root.to_owned(),
                reason: "there is no store to read".to_owned(),
            });
        }
        let mut readers = announce(root);
        let begun = Instant::now();
        let mut found: Option<Followed> = None;
        let (current, log_id) = loop {
            if is_written(root)? {
                let is_known = |name: &str| found.as_ref().is_some_and(|it| it.name == name);
                if let Some(newer) = published(root, &is_known)? {
                    found = Some(newer);
                } else if let Some(followed) = &mut found {
                    followed.read(root)?;
                }
                if let Some(followed) = found.take_if(|followed| followed.is_whole()) {
                    break (Current::Followed(followed.begun()), LogId::of(root));
                }
                if begun.elapsed() > PATIENCE.max(opening.wait) {
                    return Err(locked(root));
                }
                std::thread::sleep(PAUSE);
                readers = announce(root);
            } else if let Some((replica, log_id)) = copied(root, opening)? {
                break (Current::Copied(replica), log_id);
            }
        };
        Ok(Self {
            root: root.to_owned(),
            opening: opening.clone(),
            readers,
            current,
            next: None,
            log_id,
            is_given_up: false,
        })
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The options that it was opened with.
    pub(in crate::storage) fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The directory of sled's files.
    pub(crate) fn database_dir(&self) -> PathBuf {
        database_dir(&self.root)
    }

    /// The database as it was at the last look.
    pub(crate) fn replica(&self) -> &Replica {
        match &self.current {
            Current::Followed(followed) => &followed.replica,
            Current::Copied(replica) => replica,
        }
    }

    /// The keys of records that changed since they were last taken, where the checkpoint is the same.
    pub(crate) fn take_touched(&mut self) -> Touched {
        match &mut self.current {
            Current::Followed(followed) => std::mem::take(&mut followed.touched),
            Current::Copied(_) => Touched::new(),
        }
    }

    /// Reads what was published since.
    ///
    /// # Errors
    /// When what is published is damaged or cannot be read. The replica has what could be read.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        // In this order: a process that is gone appends nothing more.
        let is_written = is_written(&self.root)?;
        if let Current::Followed(followed) = &mut self.current {
            followed.read(&self.root)?;
        }
        if !is_written {
            self.is_given_up = false;
            return self.look_for_commits();
        }
        let begun = Instant::now();
        loop {
            self.look_for_checkpoint()?;
            if self.is_published() {
                self.is_given_up = false;
                return Ok(());
            }
            // One that compacts the store, or restores a backup, publishes nothing for long.
            self.is_given_up |= begun.elapsed() > NEWS;
            if self.is_given_up || !super::is_written(&self.root)? {
                return Ok(());
            }
            // The file may have been made, or made again, since.
            self.readers = announce(&self.root);
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether a collection is being written to in parts, which are not shown yet.
    pub(crate) fn is_staged(&self, collection: u32) -> bool {
        match &self.current {
            Current::Followed(followed) => followed.staged.contains_key(&collection),
            Current::Copied(_) => false,
        }
    }

    /// Whether the process that has the store open publishes what is followed.
    fn is_published(&self) -> bool {
        let Current::Followed(followed) = &self.current else {
            return false;
        };
        published_name(&self.root.join(DIR)).as_ref() == Some(&followed.name) || self.next.is_some()
    }

    /// Goes on with a new checkpoint, if there is one.
    fn look_for_checkpoint(&mut self) -> Result<()> {
        let current = match &self.current {
            Current::Followed(followed) => Some(&followed.name),
            Current::Copied(_) => None,
        };
        let next = self.next.as_ref().map(|next| &next.name);
        let is_known = |name: &str| [current, next].into_iter().flatten().any(|it| it == name);
        if let Some(found) = published(&self.root, &is_known)? {
            self.next = Some(found);
        } else if let Some(next) = &mut self.next {
            next.read(&self.root)?;
        }
        if let Some(next) = self.next.take_if(|next| next.is_whole()) {
            self.current = Current::Followed(next.begun());
            self.log_id = LogId::of(&self.root);
        }
        Ok(())
    }

    /// Copies sled's files again, if a process that is gone wrote what it did not publish.
    fn look_for_commits(&mut self) -> Result<()> {
        self.next = None;
        let now = LogId::of(&self.root);
        let is_known = match &self.current {
            // What was published grew together with the file.
            Current::Followed(followed) => {
                now.commits == Some(followed.replica.number()) && now.file == self.log_id.file
            }
            Current::Copied(_) => now == self.log_id,
        };
        if !is_known && let Some((replica, log_id)) = copied(&self.root, &self.opening)? {
            (self.current, self.log_id) = (Current::Copied(replica), log_id);
        }
        Ok(())
    }
}

impl Followed {
    /// This one, as it is first shown.
    fn begun(mut self) -> Self {
        self.touched.clear();
        self
    }

    /// Whether no collection is half-written.
    fn is_whole(&self) -> bool {
        self.half_written.is_empty()
    }

    /// Applies the frames that were appended to the log.
    fn read(&mut self, root: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        self.log
            .seek(SeekFrom::Start(self.at))
            .and_then(|_| self.log.read_to_end(&mut bytes))
            .map_err(io(&root.join(DIR).join(format!("{}.{LOG}", self.name))))?;
        let mut at = 0;
        loop {
            match frame::read(&bytes, at) {
                Found::Frame(found) => {
                    at = found.changes.end;
                    self.apply(found.number, &bytes[found.changes]);
                    self.is_doubtful = false;
                }
                Found::Part => break,
                Found::Damaged if self.is_doubtful => {
                    let reason = "a checksum does not fit";
                    return Err(damaged("the published log of changes", reason));
                }
                // It may have been read while it was written, but not twice.
                Found::Damaged => {
                    self.is_doubtful = true;
                    break;
                }
            }
        }
        self.at += at as u64;
        Ok(())
    }

    /// Applies a frame, or keeps it until the write that it is a part of is complete.
    fn apply(&mut self, number: u64, changes: &[u8]) {
        let (mut collection, mut is_end) = (None, false);
        for change in frame::changes(changes) {
            if let Some(marked) = staged_mark(change.tree, change.key) {
                collection = Some(marked);
                is_end = change.value.is_none();
                if !is_end {
                    self.staged.entry(marked).or_default();
                }
            }
            collection = collection.or(collection_of(change));
        }
        if let Some(collection) = collection
            && let Some(parts) = self.staged.get_mut(&collection)
        {
            if !is_end {
                parts.push(changes.to_vec());
                return;
            }
            for part in self.staged.remove(&collection).unwrap_or_default() {
                self.apply_now(&part);
            }
            self.half_written.remove(&collection);
        }
        self.apply_now(changes);
        self.replica.number = number;
    }

    fn apply_now(&mut self, changes: &[u8]) {
        for change in frame::changes(changes) {
            self.replica.apply(change);
            if let Some(collection) = collection_of(change) {
                let touched = self.touched.entry(collection).or_default();
                touched.insert(change.key.into());
            }
        }
    }
}

/// The number of the collection whose mark of a write in parts this key is.
fn staged_mark(tree: u8, key: &[u8]) -> Option<u32> {
    (tree == CATALOG)
        .then(|| catalog::staged_number(key))
        .flatten()
}

/// Takes a shared lock of the file that tells the writer of readers. Where the file is missing or
/// cannot be locked, the writer publishes nothing on this one's account.
fn announce(root: &Path) -> Option<File> {
    let file = File::open(root.join(DIR).join(READERS)).ok()?;
    // The writer holds it only to look whether anybody else does.
    file.lock_shared().ok()?;
    Some(file)
}

/// The name of the published checkpoint: the last one, where the one before is still there.
fn published_name(dir: &Path) -> Option<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(CHECKPOINT)?.strip_suffix('.')?.to_owned())
    });
    names.max()
}

/// Opens the published checkpoint, if there is one and it is not known.
fn published(root: &Path, is_known: &dyn Fn(&str) -> bool) -> Result<Option<Followed>> {
    let dir = root.join(DIR);
    if let Some(name) = published_name(&dir).filter(|name| !is_known(name)) {
        let path = |kind: &str| dir.join(format!("{name}.{kind}"));
        let opened = File::open(path(LOG)).and_then(|log| Ok((log, File::open(path(CHECKPOINT))?)));
        let (log, file) = match opened {
            Ok(opened) => opened,
            // It was replaced meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path(CHECKPOINT))(error)),
        };
        let replica = Replica::new(Checkpoint::open(&file)?);
        catalog::check_format(&replica.catalog(), &disk::Disk::new(root, None))?;
        let staged = replica
            .catalog()
            .scan_prefix(catalog::STAGED.as_bytes())
            .flatten()
            .filter_map(|(key, _)| Some((catalog::staged_number(&key)?, Vec::new())));
        let mut followed = Followed {
            name: name.clone(),
            log,
            at: 0,
            is_doubtful: false,
            staged: staged.collect(),
            replica,
            half_written: BTreeSet::new(),
            touched: Touched::new(),
        };
        followed.read(root)?;
        // Parts that were written while the checkpoint was may be in it too.
        followed.half_written = followed.staged.keys().copied().collect();
        return Ok(Some(followed));
    }
    Ok(None)
}
