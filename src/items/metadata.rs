//! Evaluation of filters, facets and groups on postings, which are built from the store when a field
//! is first named, and follow every write from then on.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use roaring::RoaringBitmap;
use serde_json::Value;

use super::read::parse_meta;
use super::{Items, WriteGuard};
use crate::filter::groups::Groups;
use crate::filter::postings::{Needs, Postings};
use crate::filter::{Facet, Field, Filter, ambiguous};
use crate::index::Snapshot;
use crate::model::error::Result;

/// The slots whose metadata passes a filter, and the snapshot of the index that they are slots of.
#[derive(Clone)]
pub(crate) struct Matching {
    pub(crate) slots: RoaringBitmap,
    pub(crate) snapshot: Snapshot,
}

/// Which group of a field each item is of, and the items that a search is among. All slots are of
/// one snapshot.
pub(crate) struct Grouping {
    pub(crate) groups: Arc<Groups>,
    /// The slots that pass the filter; without one, those of all live items.
    pub(crate) eligible: RoaringBitmap,
    pub(crate) snapshot: Snapshot,
}

/// Reads the metadata of a slot.
type ReadMeta<'a> = &'a dyn Fn(u32) -> Result<Value>;

/// The postings of a collection.
#[derive(Default)]
pub(super) struct Metadata {
    /// `None` until the first filter.
    postings: RwLock<Option<Postings>>,
    /// Twice the number of writes so far, plus one from before the commit of a write until it is
    /// published: records and index may differ while it is odd.
    writes: AtomicU64,
}

/// A write between the start of its commit and its publication in the index.
pub(super) struct Unpublished<'a>(&'a AtomicU64);

impl Drop for Unpublished<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Metadata {
    /// Announces that a write is about to be committed. The result is dropped when the write is
    /// published or has failed.
    pub(super) fn begin(&self, _guard: &WriteGuard<'_>) -> Unpublished<'_> {
        self.writes.fetch_add(1, Ordering::AcqRel);
        Unpublished(&self.writes)
    }

    /// Enters a committed write into the postings, and publishes it in the index while no filter is
    /// evaluated.
    pub(super) fn update<'a, T>(
        &self,
        _write: &Unpublished<'_>,
        added: impl Iterator<Item = (u32, &'a Value)>,
        removed: &[u32],
        publish: impl FnOnce() -> T,
    ) -> T {
        let mut postings = self
            .postings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(postings) = &mut *postings {
            for (slot, meta) in added {
                postings.add(slot, meta);
            }
            for slot in removed {
                postings.remove(*slot);
            }
        }
        publish()
    }

    /// Evaluates `read`, which reads records, and says whether they belong to what is published:
    /// whether no write was between its commit and its publication meanwhile.
    fn undisturbed<T>(&self, read: impl FnOnce() -> T) -> (T, bool) {
        let before = self.writes.load(Ordering::Acquire);
        let value = read();
        let after = self.writes.load(Ordering::Acquire);
        (value, before == after && before.is_multiple_of(2))
    }
}

impl Items {
    /// The slots whose metadata passes a filter, and the snapshot of the index that they are slots
    /// of.
    pub(crate) fn matching(&self, filter: &Filter) -> Result<Matching> {
        let needs = Needs::of(Some(filter));
        self.evaluate(&needs, &|postings, read| {
            self.matching_in(postings, filter, read)
        })
    }

    /// Does the same as [`Self::matching`] while no item can be written, so that the slots are of
    /// live items.
    pub(super) fn matching_still(
        &self,
        filter: &Filter,
        guard: &WriteGuard<'_>,
    ) -> Result<Matching> {
        let needs = Needs::of(Some(filter));
        self.evaluate_still(&needs, guard, &|postings, read| {
            self.matching_in(postings, filter, read)
        })
    }

    /// The groups of the values of a field, and the items that pass a filter.
    ///
    /// # Errors
    /// Those of [`Self::matching`]; [`Error::AmbiguousField`](crate::Error::AmbiguousField) for the
    /// field.
    pub(crate) fn grouping(&self, field: &Field, filter: Option<&Filter>) -> Result<Grouping> {
        let needs = Needs {
            groups: Some(field),
            ..Needs::of(filter)
        };
        self.evaluate(&needs, &|postings, read| {
            let eligible = self.eligible(postings, filter, read)?;
            let groups = postings.groups(field);
            if let Some(slot) = groups.ambiguous_among(&eligible) {
                return Err(self.ambiguous_at(slot, field));
            }
            Ok(Grouping {
                groups,
                eligible,
                snapshot: self.index.snapshot(),
            })
        })
    }

    /// Counts the values of a field over the items that pass a filter.
    ///
    /// # Errors
    /// Those of [`Self::grouping`].
    pub(crate) fn facet(
        &self,
        field: &Field,
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Facet> {
        let needs = Needs {
            facet: Some(field),
            ..Needs::of(filter)
        };
        self.evaluate(&needs, &|postings, read| {
            let eligible = self.eligible(postings, filter, read)?;
            if let Some(slot) = postings.ambiguous_among(field, &eligible) {
                return Err(self.ambiguous_at(slot, field));
            }
            Ok(postings.facet(field, &eligible, limit))
        })
    }

    /// The slots that pass a filter; without one, those of all live items.
    fn eligible(
        &self,
        postings: &Postings,
        filter: Option<&Filter>,
        read: ReadMeta<'_>,
    ) -> Result<RoaringBitmap> {
        match filter {
            Some(filter) => Ok(self.matching_in(postings, filter, read)?.slots),
            None => Ok(postings.live().clone()),
        }
    }

    fn ambiguous_at(&self, slot: u32, field: &Field) -> crate::Error {
        ambiguous(field, self.ids.get(slot).map(str::to_owned))
    }

    /// Evaluates something on the postings.
    fn evaluate<T>(
        &self,
        needs: &Needs<'_>,
        on: &dyn Fn(&Postings, ReadMeta<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.try_to_evaluate(needs, on) {
            Some(evaluated) => evaluated,
            None => self.evaluate_still(needs, &self.lock(), on),
        }
    }

    /// Does the same while no item can be written.
    fn evaluate_still<T>(
        &self,
        needs: &Needs<'_>,
        _guard: &WriteGuard<'_>,
        on: &dyn Fn(&Postings, ReadMeta<'_>) -> Result<T>,
    ) -> Result<T> {
        loop {
            // No write disturbs it. A write that was not published when the lock was taken is now.
            if let Some(evaluated) = self.try_to_evaluate(needs, on) {
                return evaluated;
            }
        }
    }

    /// Evaluates something on the postings, after those that they lack are built. `None` when it
    /// read records beside a write, which need not belong to the snapshot.
    fn try_to_evaluate<T>(
        &self,
        needs: &Needs<'_>,
        on: &dyn Fn(&Postings, ReadMeta<'_>) -> Result<T>,
    ) -> Option<Result<T>> {
        if let Some(postings) = &*self
            .metadata
            .postings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            && postings.missing(needs).is_empty()
        {
            let reads_records = Cell::new(false);
            let read = |slot| {
                reads_records.set(true);
                self.metadata_of(slot)
            };
            let (found, sound) = self.metadata.undisturbed(|| on(postings, &read));
            return (sound || !reads_records.get()).then_some(found);
        }
        let mut postings = self
            .metadata
            .postings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut built = postings.take();
        let (found, sound) = self.metadata.undisturbed(|| {
            let built = self.build(&mut built, needs)?;
            on(built, &|slot| self.metadata_of(slot))
        });
        if sound && found.is_ok() {
            *postings = built;
        }
        sound.then_some(found)
    }

    fn matching_in(
        &self,
        postings: &Postings,
        filter: &Filter,
        read: ReadMeta<'_>,
    ) -> Result<Matching> {
        if let Some((slot, field)) = postings.ambiguous(filter) {
            return Err(self.ambiguous_at(slot, field));
        }
        Ok(Matching {
            slots: postings.matching(filter, read)?,
            snapshot: self.index.snapshot(),
        })
    }

    /// Builds the postings that are needed and that are not there.
    fn build<'a>(
        &self,
        postings: &'a mut Option<Postings>,
        needs: &Needs<'_>,
    ) -> Result<&'a Postings> {
        let slots = self
            .tables
            .ids()
            .map(|entry| entry.map(|(_, slot)| slot))
            .collect::<Result<RoaringBitmap>>()?;
        let postings = postings.get_or_insert_with(|| Postings::new(slots.clone()));
        let missing = postings.missing(needs);
        postings.begin(&missing);
        // Another thread may have built them while this one waited.
        if !missing.is_empty() {
            for slot in slots {
                postings.fill(slot, &self.metadata_of(slot)?, &missing);
            }
        }
        Ok(postings)
    }

    /// The metadata of an item; null where it was removed meanwhile.
    fn metadata_of(&self, slot: u32) -> Result<Value> {
        let id = self.ids.get(slot).unwrap_or_default();
        match self.record_of(id, slot)? {
            Some(record) => parse_meta(&record.meta, slot),
            None => Ok(Value::Null),
        }
    }
}
