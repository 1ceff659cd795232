//! Opening an index again: from segment files, which are used in place, or from stored graphs and
//! the vectors of the live items, which become sealed segments without building graphs.
//!
//! A stored graph that cannot be used is refused and reported. Its items go to growing segments, so
//! that answers are complete at once, and their graph is built again in the background. Deleted
//! items whose vectors the store no longer holds are cut out of the graph.

use std::sync::Arc;

use crate::index::config::Config;
use crate::index::error::IndexError;
use crate::index::layout::section::SegmentFile;
use crate::index::segment::file::{self, Expected};
use crate::index::segment::record::{SegmentRecord, StoredGraph};
use crate::index::segment::restore::Restoring;
use crate::index::segment::sealed::SealedView;
use crate::index::segment::tombstones::Tombstones;
use crate::index::shared::Shared;
use crate::index::snapshot::Snapshot;
use crate::index::versioned::BASE_VERSION;
use crate::slot::Slot;

/// Stored graphs that were refused, by segment, and why.
pub(crate) type Refused = Vec<(u64, IndexError)>;

/// An item of a stored graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct StoredItem {
    slot: Slot,
    /// Position of its segment among those that are restored.
    segment: u32,
    item: u32,
}

impl Shared {
    /// See [`Index::restore`](super::Index::restore).
    pub(crate) fn restore<V: AsRef<[f32]>>(
        dim: usize,
        config: Config,
        records: &[SegmentRecord],
        next_slot: u32,
        items: impl IntoIterator<Item = (u32, V)>,
    ) -> Result<(Self, Refused), IndexError> {
        Self::check_dimension(dim)?;
        let next_slot = Slot(next_slot);
        let shared = Self::new(dim, config);
        let (mut restoring, refused) = shared.read_graphs(records, next_slot);
        // The items of stored graphs and the live items are merged by slot.
        let mut stored = stored_items(&restoring).into_iter().peekable();
        let mut snapshot = Snapshot::default();
        for (slot, vector) in items {
            let (slot, vector) = (Slot(slot), vector.as_ref());
            shared.check_vector(vector)?;
            if slot < snapshot.next_slot || slot >= next_slot {
                return Err(IndexError::SlotOrder {
                    slot,
                    next: snapshot.next_slot.min(next_slot),
                });
            }
            while stored.next_if(|stored| stored.slot < slot).is_some() {}
            match stored.next_if(|stored| stored.slot == slot) {
                Some(stored) => {
                    restoring[stored.segment as usize].put(stored.item, vector);
                    snapshot.dead.insert_all(snapshot.next_slot..slot);
                    snapshot.next_slot = slot.next();
                    snapshot.live += 1;
                }
                None => shared.put(&mut snapshot, slot, vector),
            }
        }
        snapshot.dead.insert_all(snapshot.next_slot..next_slot);
        snapshot.next_slot = next_slot;
        snapshot.sealed = restoring
            .into_iter()
            .filter_map(Restoring::finish)
            .collect();
        snapshot.sort_sealed();
        shared.snapshot.update(|opened| *opened = snapshot);
        Ok((shared, refused))
    }

    /// Reads the stored graphs. Refuses those that are damaged or share a slot with another.
    fn read_graphs(&self, records: &[SegmentRecord], next_slot: Slot) -> (Vec<Restoring>, Refused) {
        let (mut restoring, mut refused) = (Vec::new(), Refused::new());
        let mut claimed = Tombstones::default();
        for record in records {
            self.reserve_segment_id(record.id);
            let graph = record
                .read(next_slot.0)
                .and_then(|graph| claim(record.id, graph, &mut claimed));
            match graph {
                Ok(graph) => restoring.push(Restoring::new(record.id, graph, self.dim)),
                Err(error) => refused.push((record.id, error)),
            }
        }
        (restoring, refused)
    }

    /// See [`Index::open`](super::Index::open).
    pub(crate) fn open<V: AsRef<[f32]>>(
        dim: usize,
        config: Config,
        files: &[(u64, Arc<dyn SegmentFile>)],
        next_slot: u32,
        removed: &[u32],
        items: impl IntoIterator<Item = (u32, V)>,
    ) -> Result<Self, IndexError> {
        let shared = Self::new(dim, config);
        let mut snapshot = Snapshot::default();
        let mut placed = shared.open_files(files, next_slot, &mut snapshot)?;
        let mut removed_slots = Tombstones::default();
        for slot in removed {
            removed_slots.insert(Slot(*slot));
        }
        let mut fresh = Vec::new();
        for (slot, vector) in items {
            let slot = Slot(slot);
            shared.check_vector(vector.as_ref())?;
            if slot >= Slot(next_slot) {
                return Err(IndexError::SlotOrder {
                    slot,
                    next: Slot(next_slot),
                });
            }
            if placed.insert(slot) {
                fresh.push((slot, vector));
            }
        }
        for view in &mut snapshot.sealed {
            view.dead = count_dead(&view.segment.slots, &removed_slots);
            snapshot.live += view.segment.len() - view.dead;
        }
        snapshot.dead = Tombstones::of_all_but(Slot(next_slot), &placed, &removed_slots);
        for (slot, vector) in &fresh {
            snapshot.next_slot = *slot;
            shared.put(&mut snapshot, *slot, vector.as_ref());
        }
        snapshot.next_slot = Slot(next_slot);
        snapshot.sort_sealed();
        shared.snapshot.update(|opened| *opened = snapshot);
        shared.mark_filed();
        Ok(shared)
    }

    /// Adds the segments of files to a snapshot, and returns their slots.
    fn open_files(
        &self,
        files: &[(u64, Arc<dyn SegmentFile>)],
        next_slot: u32,
        snapshot: &mut Snapshot,
    ) -> Result<Tombstones, IndexError> {
        let expected = Expected {
            dim: self.dim,
            next_slot,
            format: self.config.format.as_ref(),
        };
        let mut placed = Tombstones::default();
        for (id, file) in files {
            self.reserve_segment_id(*id);
            let (segment, biases) = file::open(*id, file, expected)?;
            for slot in &*segment.slots {
                if !placed.insert(*slot) {
                    return Err(IndexError::Graph {
                        segment: *id,
                        reason: format!("slot {slot} is in two segments"),
                    });
                }
            }
            let cached = self.biases.of(BASE_VERSION, *id, segment.len());
            cached.set_all(&biases);
            snapshot.sealed.push(SealedView {
                segment: Arc::new(segment),
                dead: 0,
            });
        }
        Ok(placed)
    }
}

/// The number of `slots` that are dead.
pub(crate) fn count_dead(slots: &[Slot], dead: &Tombstones) -> usize {
    slots.iter().filter(|slot| dead.contains(**slot)).count()
}

/// The items of all stored graphs, by slot.
fn stored_items(restoring: &[Restoring]) -> Vec<StoredItem> {
    let of_segment = |(segment, restoring): (usize, &Restoring)| {
        let slots = restoring.slots().iter().enumerate();
        let items = slots.map(|(item, slot)| StoredItem {
            slot: *slot,
            segment: segment as u32,
            item: item as u32,
        });
        items.collect::<Vec<_>>()
    };
    let mut items: Vec<StoredItem> = restoring.iter().enumerate().flat_map(of_segment).collect();
    items.sort_unstable();
    items
}

/// Claims the slots of a graph, unless another segment has one of them.
fn claim(id: u64, graph: StoredGraph, claimed: &mut Tombstones) -> Result<StoredGraph, IndexError> {
    if let Some(slot) = graph.slots.iter().find(|slot| claimed.contains(**slot)) {
        return Err(IndexError::Graph {
            segment: id,
            reason: format!("slot {slot} is in another segment too"),
        });
    }
    for slot in &graph.slots {
        claimed.insert(*slot);
    }
    Ok(graph)
}
