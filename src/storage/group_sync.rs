//! One sync for the commits of several threads: of those that wait, one syncs for all.

use std::sync::{Condvar, Mutex, PoisonError};

use super::lock;
use crate::model::error::Result;

/// Threads that wait for commits to be durable.
#[derive(Default)]
pub(super) struct GroupSync {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Commits up to this number are durable.
    durable: u64,
    is_syncing: bool,
}

/// The thread that syncs; the next one may when it is dropped.
struct Leader<'a>(&'a GroupSync);

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_syncing = false;
        self.0.changed.notify_all();
    }
}

impl GroupSync {
    /// Waits until commits up to a number are durable. One thread at a time calls `sync`, which gives
    /// the number up to which they are then.
    pub(super) fn wait(&self, number: u64, sync: impl FnOnce() -> Result<u64>) -> Result<()> {
        let mut state = lock(&self.state);
        while state.durable < number && state.is_syncing {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.durable >= number {
            return Ok(());
        }
        state.is_syncing = true;
        drop(state);
        let leader = Leader(self);
        let durable = sync()?;
        lock(&self.state).durable = durable;
        drop(leader);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::model::error::Error;

    #[test]
    fn every_number_is_synced_before_its_wait_ends_and_several_at_once() {
        let (group, next, syncs) = (GroupSync::default(), AtomicU64::new(0), AtomicU64::new(0));
        let synced = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let number = next.fetch_add(1, Ordering::SeqCst) + 1;
                        let sync = || {
                            let reached = next.load(Ordering::SeqCst);
                            std::thread::sleep(std::time::Duration::from_micros(200));
                            syncs.fetch_add(1, Ordering::SeqCst);
                            synced.fetch_max(reached, Ordering::SeqCst);
                            Ok(reached)
                        };
                        group.wait(number, sync).expect("synced");
                        assert!(synced.load(Ordering::SeqCst) >= number);
                    }
                });
            }
        });
        assert!(syncs.into_inner() < 1600, "each was synced alone");
    }

    #[test]
    fn after_a_failure_the_next_thread_syncs() {
        let group = GroupSync::default();
        let fails = || Err(Error::Poisoned("as planned".to_owned()));
        assert!(group.wait(1, fails).is_err());
        group.wait(1, || Ok(3)).expect("synced");
        group.wait(3, fails).expect("known to be durable");
    }
}
