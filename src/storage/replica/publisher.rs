//! The side of the process that has the store open: it publishes replicas while somebody reads.
//!
//! What is published need not outlive the process, and is not synced. It holds nothing that is not
//! durable in the database. A process that was killed leaves files behind, which nobody takes for
//! current ones, because `writer` is not locked any more, and which the next process removes.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::frame::{CATALOG, Change, FrameWriter, RECORDS};
use super::{CHECKPOINT, DIR, LOG, READERS, checkpoint, remove_checkpoints};
use crate::panics::catch;
use crate::storage::batch::Batch;
use crate::storage::{Durability, lock};

/// How often it is looked whether anybody reads.
const POLL: Duration = Duration::from_millis(100);
/// How long publishing goes on after the last reader has gone.
const LINGER: Duration = Duration::from_secs(30);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(10);
/// A log that has grown to so many bytes, and to half of its replica, is replaced with a new replica.
const LOG_BYTES: u64 = 4 << 20;

/// The log of a replica.
struct Log {
    name: String,
    file: File,
    bytes: u64,
    /// Commits up to this one are in the replica.
    from: u64,
}

#[derive(Default)]
struct State {
    /// The published log, and that of a replica that is being written.
    logs: Vec<Log>,
    /// Frames of commits that are not durable yet.
    waiting: VecDeque<(u64, Vec<u8>)>,
    /// Commits that were applied, and those that are durable.
    applied: u64,
    durable: u64,
    /// Bytes of the published replica.
    checkpoint_bytes: u64,
    failed: Option<Instant>,
    is_stopped: bool,
}

struct Shared {
    dir: PathBuf,
    /// Commits so far: locked while one is applied.
    commits: Arc<Mutex<u64>>,
    catalog: sled::Tree,
    records: sled::Tree,
    state: Mutex<State>,
    /// More commits are durable, or publishing ends.
    progress: Condvar,
    /// The store is closed.
    stopped: Condvar,
}

/// Publishes what is committed, until it is dropped.
pub(in crate::storage) struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Begins to look for readers of an open store, whose commits so far are durable.
    pub(in crate::storage) fn start(
        root: &Path,
        commits: &Arc<Mutex<u64>>,
        catalog: &sled::Tree,
        records: &sled::Tree,
    ) -> Self {
        let number = *lock(commits);
        let shared = Arc::new(Shared {
            dir: root.join(DIR),
            commits: Arc::clone(commits),
            catalog: catalog.clone(),
            records: records.clone(),
            state: Mutex::new(State {
                applied: number,
                durable: number,
                ..State::default()
            }),
            progress: Condvar::new(),
            stopped: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let spawned = std::thread::Builder::new()
            .name("affinis-publisher".to_owned())
            .spawn(move || of_thread.run());
        if let Err(error) = &spawned {
            tracing::warn!(%error, "no thread for publishing; readers in other processes will not see this one's writes");
        }
        Self {
            shared,
            thread: spawned.ok(),
        }
    }

    /// Takes in a commit that was applied. Nothing else is applied meanwhile.
    pub(in crate::storage) fn note(
        &self,
        number: u64,
        records: &Batch,
        catalog: &Batch,
        durability: Durability,
    ) {
        let mut state = self.shared.lock();
        state.applied = number;
        if !state.logs.is_empty() {
            let mut frame = FrameWriter::new();
            for (tree, batch) in [(RECORDS, records), (CATALOG, catalog)] {
                for (key, value) in batch.changes() {
                    let value = value.map(AsRef::as_ref);
                    frame.put(Change { tree, key, value });
                }
            }
            state.waiting.push_back((number, frame.finish(number)));
        }
        if durability == Durability::Relaxed {
            self.shared.release(state, number);
        }
    }

    /// Publishes the commits up to this one, which are durable.
    pub(in crate::storage) fn release(&self, number: u64) {
        self.shared.release(self.shared.lock(), number);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.progress.notify_all();
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    fn release(&self, mut state: MutexGuard<'_, State>, number: u64) {
        state.durable = state.durable.max(number);
        let mut appended = Ok(());
        while let Some((number, frame)) = state.waiting.pop_front() {
            if number > state.durable {
                state.waiting.push_front((number, frame));
                break;
            }
            for log in state.logs.iter_mut().filter(|log| log.from < number) {
                appended = appended.and_then(|()| log.file.write_all(&frame));
                log.bytes += frame.len() as u64;
            }
        }
        if let Err(error) = appended {
            self.give_up(&mut state, &error);
        }
        drop(state);
        self.progress.notify_all();
    }

    /// Stops publishing for a while.
    fn give_up(&self, state: &mut State, error: &dyn std::fmt::Display) {
        tracing::warn!(%error, "the database cannot be published; readers in other processes stay behind until it can");
        state.failed = Some(Instant::now());
        self.withdraw(state);
    }

    /// Removes what is published.
    fn withdraw(&self, state: &mut State) {
        state.logs.clear();
        state.waiting.clear();
        remove_checkpoints(&self.dir, None);
    }

    fn run(&self) {
        let readers = match open_readers(&self.dir) {
            Ok(readers) => readers,
            Err(error) => {
                tracing::warn!(%error, "readers in other processes cannot be noticed, and will not see this one's writes");
                return;
            }
        };
        let mut last_read = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            let state = self.lock();
            let waited = self
                .stopped
                .wait_timeout_while(state, pause, |state| !state.is_stopped);
            pause = POLL;
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.is_stopped {
                self.withdraw(&mut state);
                return;
            }
            let is_read = is_locked(&readers);
            if is_read {
                last_read = Instant::now();
            } else if !state.logs.is_empty() && last_read.elapsed() > LINGER {
                self.withdraw(&mut state);
            }
            let is_due = match state.logs.first() {
                None => state.failed.is_none_or(|failed| failed.elapsed() > PAUSE),
                Some(log) => log.bytes > LOG_BYTES.max(state.checkpoint_bytes / 2),
            };
            drop(state);
            if is_read && is_due {
                // sled may panic on what it reads.
                let published = catch(|| self.publish())
                    .unwrap_or_else(|_| Err(sled::Error::ReportableBug("it panicked".to_owned())));
                if let Err(error) = published {
                    self.give_up(&mut self.lock(), &error);
                }
            }
        }
    }

    /// Writes a replica, and removes the one before.
    fn publish(&self) -> sled::Result<()> {
        let from = self.lock().applied;
        let name = format!("{from:016x}-{:08x}", fastrand::u32(..));
        let path = |kind: &str| self.dir.join(format!("{name}.{kind}"));
        let file = File::create_new(path(LOG))?;
        let from = {
            let mut state = self.lock();
            let from = state.applied;
            state.logs.push(Log {
                name: name.clone(),
                file,
                bytes: 0,
                from,
            });
            from
        };
        // Entries are read while others write. Whatever was committed since stands in the log too,
        // which is read after the replica, so that both together are what was committed.
        let partial = path("partial");
        let file = File::create_new(&partial)?;
        let stop = || self.is_stopped();
        let Some(bytes) = checkpoint::write(&file, &self.catalog, &self.records, from, &stop)?
        else {
            return Ok(());
        };
        // A commit that is being applied may be in the replica in part, and is not in the log yet.
        let until = *lock(&self.commits);
        let state = self.lock();
        let waited = self.progress.wait_while(state, |state| {
            state.durable < until && !state.is_stopped && !state.logs.is_empty()
        });
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped || !state.logs.iter().any(|log| log.name == name) {
            return Ok(());
        }
        fs::rename(&partial, path(CHECKPOINT))?;
        state.logs.retain(|log| log.name == name);
        state.checkpoint_bytes = bytes;
        state.failed = None;
        remove_checkpoints(&self.dir, Some(&name));
        Ok(())
    }
}

/// Opens the file that readers lock.
fn open_readers(dir: &Path) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(READERS))
}

/// Whether another process holds a lock.
fn is_locked(file: &File) -> bool {
    match file.try_lock() {
        Ok(()) => {
            let _ = file.unlock();
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
    }
}
