//! The side of the process that has the store open: it publishes a checkpoint and a log
//! while somebody reads.
//!
//! What is published need not outlive the process, and is not synced. It holds nothing that cannot be
//! acknowledged: with strict durability, nothing that is not durable in the database. A process that
//! was killed leaves files behind, which nobody takes for current ones, because `writer` is not
//! locked any more, and which the next process removes.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::frame::{CATALOG, Change, FrameWriter, MOST, RECORDS};
use super::{CHECKPOINT, DIR, LOG, READERS, checkpoint, open_to_lock, remove_checkpoints};
use crate::model::error::{Error, Result};
use crate::panics::catch;
use crate::storage::batch::Batch;
use crate::storage::copy::io as io_error;
use crate::storage::{Durability, Syncing, lock};

/// How often it is looked whether anybody reads.
const POLL: Duration = Duration::from_millis(100);
/// How long publishing goes on after the last reader has gone.
const LINGER: Duration = Duration::from_secs(30);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_mins(1);
/// A log that has grown to so many bytes, and to half of its checkpoint, is replaced
/// together with that.
const LOG_BYTES: u64 = 4 << 20;

/// The log of a checkpoint.
struct Log {
    name: String,
    file: File,
    bytes: u64,
    /// Commits up to this one are in the checkpoint.
    from: u64,
}

#[derive(Default)]
struct State {
    /// The published log, and that of a checkpoint that is being written.
    logs: Vec<Log>,
    /// Frames of commits that are not durable yet.
    waiting: VecDeque<(u64, Vec<u8>)>,
    /// Commits that were applied, and those that are durable.
    applied: u64,
    durable: u64,
    /// Bytes of the published checkpoint.
    checkpoint_bytes: u64,
    failed: Option<Instant>,
    is_stopped: bool,
}

struct Shared {
    dir: PathBuf,
    syncing: Arc<Syncing>,
    catalog: sled::Tree,
    records: sled::Tree,
    state: Mutex<State>,
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
        syncing: &Arc<Syncing>,
        catalog: &sled::Tree,
        records: &sled::Tree,
    ) -> Self {
        let number = *lock(&syncing.commits);
        let shared = Arc::new(Shared {
            dir: root.join(DIR),
            syncing: Arc::clone(syncing),
            catalog: catalog.clone(),
            records: records.clone(),
            state: Mutex::new(State {
                applied: number,
                durable: number,
                ..State::default()
            }),
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
            if frame.len() > MOST {
                self.shared.give_up(&mut state, &"a commit is too large");
            } else {
                state.waiting.push_back((number, frame.finish(number)));
            }
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
        let readers = match open_to_lock(&self.dir, READERS) {
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
                let failure = match catch(|| self.publish()) {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(panic) => Some(panic),
                };
                if let Some(error) = failure {
                    self.give_up(&mut self.lock(), &error);
                }
            }
        }
    }

    /// Writes a checkpoint, and removes the one before.
    fn publish(&self) -> Result<()> {
        let from = self.lock().applied;
        let name = format!("{from:016x}-{:08x}", fastrand::u32(..));
        let path = |kind: &str| self.dir.join(format!("{name}.{kind}"));
        let create = |path: &Path| File::create_new(path).map_err(io_error(path));
        let file = create(&path(LOG))?;
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
        // which is read after the checkpoint, so that both together are what was committed.
        let partial = path("partial");
        let file = create(&partial)?;
        let stop = || self.lock().is_stopped;
        let written = checkpoint::write(&file, &self.catalog, &self.records, from, &stop);
        let written = written.map_err(|source| Error::Storage {
            action: "publish its entries",
            source: source.into(),
        });
        let Some(bytes) = written? else {
            return Ok(());
        };
        // A commit that is being applied may be in the checkpoint in part, and is not in the log yet.
        let until = *lock(&self.syncing.commits);
        if self.lock().durable < until {
            let release = |reached| self.release(self.lock(), reached);
            self.syncing.sync(until, &release)?;
        }
        let mut state = self.lock();
        if state.is_stopped || !state.logs.iter().any(|log| log.name == name) {
            let _ = fs::remove_file(&partial);
            return Ok(());
        }
        fs::rename(&partial, path(CHECKPOINT)).map_err(io_error(&partial))?;
        state.logs.retain(|log| log.name == name);
        state.checkpoint_bytes = bytes;
        state.failed = None;
        remove_checkpoints(&self.dir, Some(&name));
        Ok(())
    }
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
