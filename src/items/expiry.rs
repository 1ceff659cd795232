//! The ends of items: an item that has one is removed when it has come, before anybody reads again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::write::Changed;
use super::{Items, WriteGuard};
use crate::model::error::Result;
use crate::model::time::now_millis;
use crate::storage::Tables;

/// The ends that are to come, in milliseconds since 1970, with the slots of their items.
pub(super) struct Ends {
    ends: Mutex<BTreeSet<(i64, u32)>>,
    /// The first of them; `i64::MAX` where there is none.
    first: AtomicI64,
}

impl Ends {
    pub(super) fn open(tables: &Tables) -> Result<Self> {
        let ends: BTreeSet<(i64, u32)> = tables.ends()?.into_iter().collect();
        Ok(Self {
            first: AtomicI64::new(first(&ends)),
            ends: Mutex::new(ends),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(i64, u32)>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in ends that were stored.
    pub(super) fn add(&self, stored: impl Iterator<Item = (i64, u32)>) {
        let mut ends = self.lock();
        ends.extend(stored);
        self.first.store(first(&ends), Ordering::Release);
    }

    /// The ends that have come at a time.
    fn due(&self, now: i64) -> Vec<(i64, u32)> {
        self.lock().range(..=(now, u32::MAX)).copied().collect()
    }

    /// Forgets ends whose items are gone.
    fn remove(&self, gone: &[(i64, u32)]) {
        let mut ends = self.lock();
        for end in gone {
            ends.remove(end);
        }
        self.first.store(first(&ends), Ordering::Release);
    }
}

fn first(ends: &BTreeSet<(i64, u32)>) -> i64 {
    ends.first().map_or(i64::MAX, |(end, _)| *end)
}

impl Items {
    /// Removes the items whose end has come, durably. Gives their ids. Costs a look at the clock
    /// where there are none.
    pub(crate) fn expire(&self) -> Result<Changed> {
        let first = self.ends.first.load(Ordering::Acquire);
        if first == i64::MAX || first > now_millis() {
            return Ok(Changed::new());
        }
        let guard = self.lock();
        self.expire_at(now_millis(), &guard)
    }

    /// Takes live items, given as slots with their ids, out of what this handle shows.
    fn hide(&self, gone: &BTreeMap<u32, &str>, guard: &WriteGuard<'_>) -> Result<()> {
        let write = self.metadata.begin(guard);
        self.tables.hide_items(gone)?;
        let slots: Vec<u32> = gone.keys().copied().collect();
        self.publish(&write, &[], &slots)
    }

    fn expire_at(&self, now: i64, guard: &WriteGuard<'_>) -> Result<Changed> {
        let due = self.ends.due(now);
        let mut gone = BTreeMap::new();
        for (_, slot) in &due {
            // An item that was removed or replaced is in the slot no more.
            if let Some(id) = self.ids.get(*slot)
                && self.tables.slot(id)? == Some(*slot)
            {
                gone.insert(*slot, id);
            }
        }
        let ids = gone.values().map(|id| (*id).to_owned()).collect();
        if self.tables.is_read_only() {
            self.hide(&gone, guard)?;
        } else {
            self.remove(gone, &due, guard)?;
        }
        self.ends.remove(&due);
        Ok(ids)
    }
}
