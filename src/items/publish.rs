//! Writes between their commit and their publication.
//!
//! A write is committed under the lock that orders writes, and waits for the disk without it, so
//! that one sync serves the writes of several threads. Then it is published, after all writes that
//! were committed before it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::graph::from_index;
use super::metadata::Unpublished;
use super::{Items, WriteGuard};
use crate::model::error::Result;

/// A committed item, as its publication needs it.
pub(super) struct NewItem {
    pub(super) id: String,
    pub(super) meta: Value,
    /// The vector in the form that the index takes.
    pub(super) vector: Vec<f32>,
}

/// A write that was committed.
pub(super) struct Write {
    /// The number of its commit.
    pub(super) commit: u64,
    /// The slot of its first item.
    pub(super) first: u32,
    pub(super) items: Vec<NewItem>,
    /// The slots of the items that it removed.
    pub(super) gone: Vec<u32>,
    /// The ends of its items, in milliseconds since 1970, with their slots.
    pub(super) ends: Vec<(i64, u32)>,
    pub(super) announced: Unpublished,
}

/// The committed writes that are not published yet, in the order of their commits.
#[derive(Default)]
pub(super) struct Committed(Mutex<VecDeque<Write>>);

impl Committed {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Write>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Items {
    /// Publishes a write once it is on disk. Releases the lock that orders writes while it waits.
    pub(super) fn publish(&self, write: Write, guard: WriteGuard<'_>) -> Result<()> {
        let commit = write.commit;
        self.committed.lock().push_back(write);
        drop(guard);
        self.publish_to(commit)
    }

    /// Waits until commits up to a number are on disk, and publishes them.
    fn publish_to(&self, commit: u64) -> Result<()> {
        let durable = self.tables.make_durable(commit);
        let mut committed = self.committed.lock();
        if let Err(error) = durable {
            // The handle is poisoned: none of them will be.
            committed.clear();
            return Err(error);
        }
        while committed
            .front()
            .is_some_and(|write| write.commit <= commit)
        {
            if let Some(write) = committed.pop_front() {
                self.publish_now(write)?;
            }
        }
        Ok(())
    }

    /// Publishes all writes that were committed. The lock is held, so that there are no more.
    pub(super) fn publish_all(&self, _guard: &WriteGuard<'_>) {
        let last = self.committed.lock().back().map(|write| write.commit);
        if let Some(commit) = last
            && let Err(error) = self.publish_to(commit)
        {
            tracing::warn!(%error, "writes of other threads could not be made durable");
        }
    }

    fn publish_now(&self, write: Write) -> Result<()> {
        let Write {
            first,
            items,
            gone,
            ends,
            announced,
            ..
        } = write;
        // Names first: a search that sees a slot must find its id.
        for (slot, item) in (first..).zip(&items) {
            self.ids.set(slot, &item.id);
        }
        let fresh: Vec<(u32, &[f32])> = (first..)
            .zip(items.iter().map(|item| item.vector.as_slice()))
            .collect();
        let meta = (first..).zip(items.iter().map(|item| &item.meta));
        self.metadata
            .update(&announced, meta, &gone, || self.index.apply(&fresh, &gone))
            .map_err(from_index)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        if !ends.is_empty() {
            self.ends.add(ends.into_iter());
        }
        Ok(())
    }
}
