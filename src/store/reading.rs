//! A store that is only read, and follows what another process writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Store;
use crate::collection::Inner;
use crate::model::error::{Error, Result};
use crate::storage::{CollectionRecord, Database, Follower, News};

/// How old what is read may be, by default, when a collection is opened.
const REFRESH_EVERY: Duration = Duration::from_millis(100);
/// How long a collection whose files were replaced is waited for while it is written to in parts,
/// and the pause between two tries.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);

/// What a store that is only read follows.
pub(super) struct Reading {
    /// Locked after the open collections.
    follower: Mutex<Follower>,
    refreshed: Mutex<Instant>,
    refresh_every: Duration,
}

impl Reading {
    /// Begins with what `follower` has just read.
    pub(super) fn new(follower: Follower, every: Option<Duration>) -> Self {
        Self {
            follower: Mutex::new(follower),
            refreshed: Mutex::new(Instant::now()),
            refresh_every: every.unwrap_or(REFRESH_EVERY),
        }
    }

    fn is_due(&self) -> bool {
        let refreshed = self.refreshed.lock();
        let refreshed = *refreshed.unwrap_or_else(PoisonError::into_inner);
        refreshed.elapsed() >= self.refresh_every
    }
}

impl Store {
    /// Whether the store is only read.
    pub fn is_read_only(&self) -> bool {
        self.shared.reading.is_some()
    }

    /// Reads what another process has written to a store that is [only read](Store::open_read_only).
    /// Collections that are opened from now on show it. Returns whether there was anything; `false`
    /// for a store that is not only read, which shows every write at once. Where another process has
    /// just opened the store, this waits up to a second for what it publishes.
    ///
    /// # Errors
    /// When what the other process publishes is damaged or cannot be read.
    pub fn refresh(&self) -> Result<bool> {
        self.refresh_in(&mut self.lock_collections())
    }

    /// Refreshes a store that is only read, if that is due.
    pub(super) fn refresh_if_due(&self, open: &mut HashMap<String, Arc<Inner>>) -> Result<()> {
        match &self.shared.reading {
            Some(reading) if reading.is_due() => self.refresh_in(open).map(drop),
            _ => Ok(()),
        }
    }

    /// Does what [`Self::refresh`] does. Collections that have changed are opened anew when they are
    /// next asked for.
    fn refresh_in(&self, open: &mut HashMap<String, Arc<Inner>>) -> Result<bool> {
        let Some(reading) = &self.shared.reading else {
            return Ok(false);
        };
        let mut follower = reading
            .follower
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let looked = Instant::now();
        let refreshed = follower.refresh();
        let before = self.database();
        let is_changed = !before.is_seen_by(&follower);
        if is_changed {
            let now = Database::read_only(&follower);
            let touched = follower.take_touched();
            let stays = |name: &str, inner: &Inner| -> Result<bool> {
                let Some(record) = now.collection(name)? else {
                    return Ok(false);
                };
                if Some(&record) != before.collection(name)?.as_ref() {
                    return Ok(false);
                }
                if now.has_records_of(&before, record.number) {
                    return Ok(true);
                }
                match touched.get(&record.number).and_then(News::of) {
                    Some(news) => inner.follow(&now, &record, &news),
                    None => Ok(false),
                }
            };
            open.retain(|name, inner| stays(name, inner).unwrap_or(false));
            self.shared.database.store(now);
        }
        refreshed?;
        *reading
            .refreshed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = looked;
        Ok(is_changed)
    }

    /// Opens something of a collection in the catalogue. The files of one that is only read may be
    /// replaced after the records that name them were read: then it is opened as it is now.
    pub(super) fn settled<T>(
        &self,
        open: &mut HashMap<String, Arc<Inner>>,
        name: &str,
        record: &CollectionRecord,
        mut opened: impl FnMut(Arc<Database>, &CollectionRecord) -> Result<T>,
    ) -> Result<T> {
        let mut record = record.clone();
        let begun = Instant::now();
        loop {
            let failed = match opened(self.database(), &record) {
                Err(error @ (Error::Io { .. } | Error::Damaged { .. })) => error,
                done => return done,
            };
            if self.refresh_in(open)? {
                let now = self.database().collection(name)?;
                record = now.ok_or(self.missing(name)?)?;
            } else if !self.is_staged(record.number) || begun.elapsed() > PATIENCE {
                return Err(failed);
            } else {
                // The list of files is among the changes that are held back.
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Whether another process writes to a collection in parts, which are not shown yet.
    fn is_staged(&self, number: u32) -> bool {
        self.shared.reading.as_ref().is_some_and(|reading| {
            let follower = reading.follower.lock();
            follower
                .unwrap_or_else(PoisonError::into_inner)
                .is_staged(number)
        })
    }
}
