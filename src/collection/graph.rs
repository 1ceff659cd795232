//! The linked graph on the shelf: written when the index has linked, read when the collection is opened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Collection, Inner, prepare};
use crate::error::{Error, Result};
use crate::index::{Config, Curve, Index, IndexError, SegmentRecord, Segments, Versioned};
use crate::metric::Distance;
use crate::persist::Shelf;

/// Which segments and calibrations of the index are on the shelf.
pub(super) struct SavedGraph {
    shelf: Arc<Shelf>,
    saved: Mutex<(Vec<u64>, BTreeMap<u32, Curve>)>,
}

impl SavedGraph {
    pub(super) fn new(shelf: Arc<Shelf>) -> Self {
        Self { shelf, saved: Mutex::default() }
    }

    /// Runs something while the graph on the shelf does not change.
    pub(super) fn while_still<T>(&self, work: impl FnOnce() -> T) -> T {
        let _saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Brings the shelf up to date with the index's segments and calibrations, in one transaction.
    pub(super) fn save(&self, segments: &Segments<'_>) -> Result<()> {
        let (ids, curves) = (segments.ids(), segments.calibrations());
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.0 == ids && saved.1 == curves {
            return Ok(());
        }
        let mut writes = self.shelf.write();
        if saved.0 != ids {
            writes.retain_segments(&ids)?;
        }
        for id in ids.iter().filter(|id| !saved.0.contains(id)) {
            if let Some(record) = segments.export(*id) {
                writes.put_segment(*id, &record.chunks);
            }
        }
        for (version, curve) in curves.iter().filter(|(version, curve)| saved.1.get(version) != Some(curve)) {
            writes.put_calibration(*version, curve)?;
        }
        for version in saved.1.keys().filter(|version| !curves.contains_key(version)) {
            writes.remove_calibration(*version);
        }
        writes.commit()?;
        *saved = (ids, curves);
        Ok(())
    }
}

/// The live slots, in their order.
pub(super) struct Live {
    pub(super) ids: Vec<(u32, String)>,
    /// The vectors as the index takes them, one a slot.
    pub(super) vectors: Vec<(u32, Vec<f32>)>,
}

/// Reads the live slots; each must have a vector.
pub(super) fn live(shelf: &Shelf, distance: Distance) -> Result<Live> {
    let ids = || shelf.ids().map(|entry| entry.map(|(id, slot)| (slot, id))).collect::<Result<Vec<_>>>();
    let prepared = |entry: Result<(u32, Vec<f32>)>| entry.map(|(slot, vector)| (slot, prepare(distance, vector)));
    let vectors = || shelf.vectors().map(prepared).collect::<Result<Vec<_>>>();
    let (ids, vectors) = rayon::join(ids, vectors);
    let (mut ids, mut vectors) = (ids?, vectors?);
    ids.sort_unstable();
    let mut wanted = ids.iter().peekable();
    vectors.retain(|(slot, _)| wanted.next_if(|(next, _)| next == slot).is_some());
    match wanted.next() {
        Some((slot, id)) => Err(no_vector(*slot, id)),
        None => Ok(Live { ids, vectors }),
    }
}

fn no_vector(slot: u32, id: &str) -> Error {
    Error::Damaged { part: format!("the vector of item {id:?} (slot {slot})"), reason: "it is missing".into() }
}

/// Opens the index with the stored graph; what the graph does not cover is linked again in the background.
pub(super) fn restore(
    graph: &Arc<SavedGraph>,
    dim: usize,
    base: &Versioned,
    next_slot: u32,
    vectors: Vec<(u32, Vec<f32>)>,
) -> Result<Index> {
    let records: Vec<SegmentRecord> =
        graph.shelf.graph()?.into_iter().map(|(id, chunks)| SegmentRecord { id, chunks }).collect();
    let stored: Vec<u64> = records.iter().map(|r| r.id).collect();
    let mut config = Config::new(Arc::clone(&base.metric));
    let curves = graph.shelf.calibrations()?;
    config.calibrations.clone_from(&curves);
    let saver = Arc::clone(graph);
    config.on_change = Some(Arc::new(move |segments| {
        if let Err(error) = saver.save(segments) {
            tracing::warn!(%error, "the linked graph could not be stored; it will be linked again at the next opening");
        }
    }));
    let restored = Index::restore(dim, config, &records, next_slot, vectors).map_err(from_index)?;
    for (id, error) in &restored.refused {
        tracing::warn!(segment = id, %error, "a stored segment is damaged; its items are linked again");
    }
    let refused: Vec<u64> = restored.refused.iter().map(|(id, _)| *id).collect();
    let usable = stored.into_iter().filter(|id| !refused.contains(id)).collect();
    *graph.saved.lock().unwrap_or_else(PoisonError::into_inner) = (usable, curves);
    Ok(restored.index)
}

impl Collection {
    /// Links all items into one graph and refines it under the active metric, without those that were removed. Searches
    /// and writes go on meanwhile. The background does what is needed without being asked; this does all of it now.
    ///
    /// # Errors
    /// When the graph cannot be stored.
    pub fn relink(&self) -> Result<()> {
        self.relink_with(|_| (), || false)
    }

    /// The same, telling `progress` the share that is done, 0 to 1, and asking `cancel` now and then whether to stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; the graph is then what it was. Otherwise when the graph cannot be stored.
    pub fn relink_with(&self, progress: impl Fn(f32) + Sync, cancel: impl Fn() -> bool + Sync) -> Result<()> {
        self.inner.index.relink(&progress, &cancel).map_err(from_index)?;
        self.inner.index.settle();
        self.inner.save_graph()
    }
}

impl Inner {
    /// Stores the graph as it is now.
    pub(super) fn save_graph(&self) -> Result<()> {
        self.index.with_segments(|segments| self.graph.save(segments))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A large head is linked and kept for the next opening; failing that, it is linked again then.
        self.index.close();
        if let Err(error) = self.save_graph() {
            tracing::warn!(%error, "the linked graph could not be stored on closing");
        }
    }
}

/// The index's errors as the crate's.
pub(super) fn from_index(error: IndexError) -> Error {
    match error {
        IndexError::Cancelled => Error::Cancelled,
        error => Error::Invalid(error.to_string()),
    }
}
