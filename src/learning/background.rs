//! Background refits, which begin by themselves after a number of judgements.
//!
//! At most one runs, on a thread of its own; judgements that come meanwhile count for the next.
//! Searches and judgements never wait for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Learning, RefitReport};
use crate::model::error::{Error, Result};
use crate::priority;

/// Settings and state of the background refits of a collection.
#[derive(Debug, Default)]
pub(crate) struct Background {
    /// After how many judgements; 0 for never.
    after: AtomicUsize,
    /// The bits of the greatest share of one user; 0 for none.
    user_share: AtomicU64,
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Judgements since the last refit began.
    pending: usize,
    running: bool,
    last: Option<Result<RefitReport, Arc<Error>>>,
}

impl Background {
    /// Sets the number of judgements after which a refit begins by itself; 0 for never.
    pub(crate) fn set_refit_after(&self, after: usize) {
        self.after.store(after, Ordering::Relaxed);
    }

    /// Sets what one user's judgements may make up in refits of which nothing else is said.
    pub(crate) fn set_user_share(&self, share: f64) {
        self.user_share.store(share.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn user_share(&self) -> Option<f64> {
        Some(self.user_share.load(Ordering::Relaxed))
            .filter(|bits| *bits != 0)
            .map(f64::from_bits)
    }

    /// Waits until no refit is running.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        while state.running {
            state = self
                .idle
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so many judgements are waiting that a refit is due; they are taken as seen then.
    fn due(&self, state: &mut State) -> bool {
        let after = self.after.load(Ordering::Relaxed);
        let due = after > 0 && state.pending >= after;
        if due {
            state.pending = 0;
        }
        due
    }
}

/// Says that no refit is running any more, also when it panicked.
struct Running<'a>(&'a Background);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running = false;
        self.0.idle.notify_all();
    }
}

impl Learning {
    /// The outcome of the last refit in the background; `None` where none has ended.
    ///
    /// # Errors
    /// Those of [`Collection::background_refit`](crate::Collection::background_refit).
    pub fn background_refit(&self) -> Option<Result<RefitReport, Arc<Error>>> {
        self.background.lock().last.clone()
    }

    /// Number of judgements that no metric for everybody has been learned from yet.
    ///
    /// # Errors
    /// Those of [`Collection::unlearned`](crate::Collection::unlearned).
    pub fn unlearned(&self) -> Result<usize> {
        let learned = self.ledger.versions()?.into_iter();
        let last = learned
            .filter(|(_, record)| record.lineage.user.is_none())
            .filter_map(|(_, record)| Some(record.fit.judgements?.last))
            .max();
        let mut count = 0;
        for entry in self.ledger.judgements() {
            let (id, _) = entry?;
            count += usize::from(last.is_none_or(|last| id > last));
        }
        Ok(count)
    }

    /// Counts new judgements, and begins a refit when it is due and none is running.
    pub(super) fn count_for_refit(self: &Arc<Self>, judgements: usize) {
        let mut state = self.background.lock();
        state.pending += judgements;
        if state.running || !self.background.due(&mut state) {
            return;
        }
        state.running = true;
        drop(state);
        let learning = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("affinis-refit".to_owned())
            .spawn(move || {
                priority::lower();
                learning.refit_while_due();
            });
        if let Err(error) = spawned {
            drop(Running(&self.background));
            tracing::warn!(collection = self.name, %error, "no thread for a refit");
        }
    }

    fn refit_while_due(self: Arc<Self>) {
        let running = Running(&self.background);
        loop {
            let outcome = self.refit().until_alone().run().map_err(Arc::new);
            if let Err(error) = &outcome {
                tracing::warn!(
                    collection = self.name,
                    %error,
                    "a refit in the background failed"
                );
            }
            let mut state = running.0.lock();
            state.last = Some(outcome);
            // Nobody is left to be answered under it.
            if Arc::strong_count(&self) == 1 || !running.0.due(&mut state) {
                // While the state is held: judgements that come from here on begin the next one.
                state.running = false;
                running.0.idle.notify_all();
                std::mem::forget(running);
                return;
            }
        }
    }
}
