//! A stand-in for arc-swap: the same orderings, and nothing is ever freed.

use std::ops::Deref;
use std::sync::Arc;

use loom::sync::atomic::{AtomicPtr, Ordering};

#[derive(Debug)]
pub(crate) struct ArcSwap<T>(AtomicPtr<Arc<T>>);

pub(crate) struct Guard<T>(T);

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(AtomicPtr::new(Box::leak(Box::new(Arc::new(value)))))
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        // SAFETY: every pointer in it came from a leaked box.
        Arc::clone(unsafe { &*self.0.load(Ordering::Acquire) })
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        Guard(self.load_full())
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        self.0.store(Box::leak(Box::new(value)), Ordering::Release);
    }
}
