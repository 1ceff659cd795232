//! Refits by themselves, after so many judgements, on a thread of their own.
//!
//! At most one runs, and judgements that come meanwhile are counted for the next. Searches and
//! judgements never wait for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Collection, RefitReport};
use crate::error::Result;

/// When a collection is refitted by itself, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Background {
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
    last: Option<std::result::Result<RefitReport, String>>,
}

impl Background {
    pub(super) fn set(&self, after: usize) {
        self.after.store(after, Ordering::Relaxed);
    }

    /// Sets what one user's judgements may make up in refits of which nothing else is said.
    pub(super) fn set_user_share(&self, share: f64) {
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

impl Collection {
    /// What the last refit in the background came to; `None` where none has ended. See
    /// [`CollectionBuilder::refit_after`](super::CollectionBuilder::refit_after).
    pub fn background_refit(&self) -> Option<std::result::Result<RefitReport, String>> {
        self.inner.background.lock().last.clone()
    }

    /// Number of judgements that no metric for everybody has been learned from yet.
    ///
    /// # Errors
    /// Storage errors.
    pub fn unlearned(&self) -> Result<usize> {
        let shelf = &self.inner.shelf;
        let shared = shelf
            .versions()?
            .into_iter()
            .filter(|(_, record)| record.user.is_none());
        let seen = shared
            .filter_map(|(_, record)| record.judgements.map(|(_, last)| last))
            .max();
        let mut count = 0;
        for entry in shelf.judgements() {
            count += usize::from(
                seen.is_none_or(|last| entry.as_ref().is_ok_and(|(sequence, _)| *sequence > last)),
            );
            entry?;
        }
        Ok(count)
    }

    /// Counts new judgements, and begins a refit when it is due and none is running.
    pub(super) fn count_for_refit(&self, judgements: usize) {
        let background = &self.inner.background;
        let mut state = background.lock();
        state.pending += judgements;
        if state.running || !background.due(&mut state) {
            return;
        }
        state.running = true;
        drop(state);
        let collection = self.clone();
        let spawned = std::thread::Builder::new()
            .name("affinis-refit".to_owned())
            .spawn(move || collection.refit_while_due());
        if let Err(error) = spawned {
            drop(Running(background));
            tracing::warn!(collection = self.name(), %error, "no thread for a refit");
        }
    }

    fn refit_while_due(self) {
        let running = Running(&self.inner.background);
        loop {
            let outcome = self.refit().until_alone().run().map_err(|e| e.to_string());
            if let Err(error) = &outcome {
                tracing::warn!(
                    collection = self.name(),
                    error,
                    "a refit in the background failed"
                );
            }
            let mut state = running.0.lock();
            state.last = Some(outcome);
            // Nobody is left to be answered under it.
            if Arc::strong_count(&self.inner) == 1 || !running.0.due(&mut state) {
                // While the state is held: judgements that come from here on begin the next one.
                state.running = false;
                running.0.idle.notify_all();
                std::mem::forget(running);
                return;
            }
        }
    }
}
