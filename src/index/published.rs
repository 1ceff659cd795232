//! A value that writers replace, one at a time, and readers load without waiting.
//!
//! A writer derives the next value from the last and publishes it in one step; a reader holds the
//! value that it loaded for as long as it needs. Whatever a value refers to is written before the
//! value is published and never changes afterwards, so a reader sees all of it. `tests/loom` checks
//! this file under every interleaving of two writers and a reader.

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

/// A published value and the lock of its writers.
#[derive(Debug)]
pub(crate) struct Published<T> {
    current: ArcSwap<T>,
    /// Held while the next value is derived and published.
    writer: Mutex<()>,
}

impl<T: Clone> Published<T> {
    pub(crate) fn new(state: T) -> Self {
        Self {
            current: ArcSwap::from_pointee(state),
            writer: Mutex::new(()),
        }
    }

    /// The current value, borrowed for a short time.
    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        self.current.load()
    }

    /// The current value, shared.
    pub(crate) fn load_full(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Publishes the current value as changed by `change`.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        let Ok(()) = self.try_update(|state| {
            change(state);
            Ok::<(), Infallible>(())
        });
    }

    /// Publishes the current value as changed by `change`, unless `change` fails: then nothing is
    /// changed.
    ///
    /// # Errors
    /// The error of `change`.
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
