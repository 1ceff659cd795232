//! The hand-over of states from writers, one at a time, to readers, who never wait.
//!
//! A writer derives the next state from the last and publishes it in one step; a reader keeps the
//! state that it took for as long as it likes. What a state refers to is written before the state
//! is published, and never changed after: a reader that took the state sees all of it. `tests/loom`
//! tries this file in every order of two writers and a reader.

use std::convert::Infallible;
use std::sync::Arc;

#[cfg(not(loom))]
use std::sync::{Mutex, PoisonError};

#[cfg(loom)]
use super::swap::{ArcSwap, Guard};
#[cfg(not(loom))]
use arc_swap::{ArcSwap, Guard};
#[cfg(loom)]
use loom::sync::Mutex;
#[cfg(loom)]
use std::sync::PoisonError;

/// A state and the right to change it.
#[derive(Debug)]
pub(crate) struct Published<T> {
    current: ArcSwap<T>,
    /// Held while a state is derived from the last and published.
    writer: Mutex<()>,
}

impl<T: Clone> Published<T> {
    pub(crate) fn new(state: T) -> Self {
        Self {
            current: ArcSwap::from_pointee(state),
            writer: Mutex::new(()),
        }
    }

    /// The last state, for a moment.
    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        self.current.load()
    }

    /// The last state, for longer.
    pub(crate) fn load_full(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Publishes what `change` makes of the last state.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        let Ok(()) = self.try_update(|state| {
            change(state);
            Ok::<(), Infallible>(())
        });
    }

    /// Publishes what `change` makes of the last state, unless it refuses: then nothing is changed.
    pub(crate) fn try_update<E>(
        &self,
        change: impl FnOnce(&mut T) -> Result<(), E>,
    ) -> Result<(), E> {
        // Whether or not a thread panicked while it held the lock: it had published nothing, or
        // all.
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = T::clone(&self.current.load());
        change(&mut next)?;
        self.current.store(Arc::new(next));
        Ok(())
    }
}
