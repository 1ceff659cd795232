//! Opening an index again: images are used as they lie; without them, stored graphs and the vectors
//! of the live items become segments without linking.
//!
//! A graph that cannot be used is refused and said so; its items go to heads, so that answers are
//! complete at once, and are linked again in the background. Dead items whose vectors the store no
//! longer has are cut out of the graph.

use std::sync::Arc;

use super::beam::NONE;
use super::codes::Codes;
use super::column::Column;
use super::image::{self, Expected, Image};
use super::prune::Space;
use super::record::Graph;
use super::refine::{attach, bridge};
use super::rows::{Rows, pack_into};
use super::segment::{Parts, Segment, SegmentRows};
use super::tombstones::Tombstones;
use super::view::{SegmentView, View};
use super::write::Shared;
use super::{Config, Index, IndexError, MAX_DIM, SegmentRecord, link};

/// An index that was opened again.
#[derive(Debug)]
pub(crate) struct Restored {
    /// The index; complete whatever was refused.
    pub(crate) index: Index,
    /// Records that could not be used, by segment, and why.
    pub(crate) refused: Vec<(u64, IndexError)>,
}

/// A segment that waits for its vectors.
struct Waiting {
    id: u64,
    graph: Graph,
    rows: Rows,
    present: Vec<bool>,
}

impl Index {
    /// Opens an index from stored graphs and live items.
    ///
    /// `items` are exactly the live items, slots increasing and below `next_slot`.
    ///
    /// # Errors
    /// [`IndexError`] when the items themselves are not what [`Index::apply`] would take. A damaged
    /// graph is no error.
    pub(crate) fn restore<V: AsRef<[f32]>>(
        dim: usize,
        config: Config,
        records: &[SegmentRecord],
        next_slot: u32,
        items: impl IntoIterator<Item = (u32, V)>,
    ) -> Result<Restored, IndexError> {
        if dim == 0 || dim > MAX_DIM {
            return Err(IndexError::DimensionLimit { dim });
        }
        let shared = Shared::new(dim, config);
        let mut refused = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();
        // Where the item of a slot goes: (slot, waiting segment, item).
        let mut homes: Vec<(u32, u32, u32)> = Vec::new();
        let mut taken = Tombstones::default();
        for record in records {
            shared.reserve_part(record.id);
            let graph = record
                .read(next_slot)
                .and_then(|graph| claim(record.id, graph, &mut taken));
            match graph {
                Ok(graph) => {
                    let at = waiting.len() as u32;
                    homes.extend(
                        graph
                            .slots
                            .iter()
                            .enumerate()
                            .map(|(item, slot)| (*slot, at, item as u32)),
                    );
                    let (rows, present) = (
                        Rows::zeros(dim, graph.slots.len()),
                        vec![false; graph.slots.len()],
                    );
                    waiting.push(Waiting {
                        id: record.id,
                        graph,
                        rows,
                        present,
                    });
                }
                Err(error) => refused.push((record.id, error)),
            }
        }
        homes.sort_unstable();
        // Slots increase, here and there.
        let mut homes = homes.into_iter().peekable();
        let mut view = View::default();
        for (slot, vector) in items {
            let vector = vector.as_ref();
            shared.check_vector(vector)?;
            if slot < view.next_slot || slot >= next_slot {
                return Err(IndexError::SlotOrder {
                    slot,
                    next: view.next_slot.min(next_slot),
                });
            }
            while homes.next_if(|home| home.0 < slot).is_some() {}
            match homes.next_if(|home| home.0 == slot) {
                Some((_, at, item)) => {
                    let home = &mut waiting[at as usize];
                    pack_into(vector, home.rows.row_mut(item as usize));
                    home.present[item as usize] = true;
                    view.dead.insert_all(view.next_slot..slot);
                    view.next_slot = slot + 1;
                    view.live += 1;
                }
                None => shared.put(&mut view, slot, vector),
            }
        }
        view.dead.insert_all(view.next_slot..next_slot);
        view.next_slot = next_slot;
        view.segments = waiting.into_iter().filter_map(Waiting::finish).collect();
        view.segments
            .sort_by_key(|part| std::cmp::Reverse(part.segment.len()));
        shared.view.update(|opened| *opened = view);
        let index = Self::over(Arc::new(shared));
        index.background.wake(&index.shared);
        Ok(Restored { index, refused })
    }
}

impl Index {
    /// Opens an index from the images of its segments, which hold every item but `items`.
    ///
    /// `removed` are the slots of theirs that are not live any more, among others. `items` are the
    /// live items in no segment, slots increasing and below `next_slot`; those that are in a
    /// segment are passed over.
    ///
    /// # Errors
    /// [`IndexError`] when an image is damaged, when two have the same slot, or when an item is not
    /// what [`Index::apply`] would take.
    pub(crate) fn open<V: AsRef<[f32]>>(
        dim: usize,
        config: Config,
        images: &[(u64, Arc<dyn Image>)],
        next_slot: u32,
        removed: &[u32],
        items: impl IntoIterator<Item = (u32, V)>,
    ) -> Result<Self, IndexError> {
        let shared = Shared::new(dim, config);
        let mut view = View::default();
        let (mut placed, mut gone) = (Tombstones::default(), Tombstones::default());
        let expected = Expected {
            dim,
            next_slot,
            format: shared.config.format.as_ref(),
        };
        for (id, image) in images {
            shared.reserve_part(*id);
            let (segment, biases) = image::open(*id, image, expected)?;
            for slot in &*segment.slots {
                if !placed.insert(*slot) {
                    return Err(IndexError::Graph {
                        segment: *id,
                        reason: format!("slot {slot} is in two segments"),
                    });
                }
            }
            shared.biases.of(0, *id, segment.len()).set_all(&biases);
            view.segments.push(SegmentView {
                segment: Arc::new(segment),
                dead: 0,
            });
        }
        for slot in removed {
            gone.insert(*slot);
        }
        let mut fresh = Vec::new();
        for (slot, vector) in items {
            shared.check_vector(vector.as_ref())?;
            if slot >= next_slot {
                return Err(IndexError::SlotOrder {
                    slot,
                    next: next_slot,
                });
            }
            if placed.insert(slot) {
                fresh.push((slot, vector));
            }
        }
        for part in &mut view.segments {
            part.dead = part
                .segment
                .slots
                .iter()
                .filter(|slot| gone.contains(**slot))
                .count();
            view.live += part.segment.len() - part.dead;
        }
        view.dead = Tombstones::of_all_but(next_slot, &placed, &gone);
        for (slot, vector) in &fresh {
            view.next_slot = *slot;
            shared.put(&mut view, *slot, vector.as_ref());
        }
        view.next_slot = next_slot;
        view.segments
            .sort_by_key(|part| std::cmp::Reverse(part.segment.len()));
        shared.view.update(|opened| *opened = view);
        shared.is_imaged();
        let index = Self::over(Arc::new(shared));
        index.background.wake(&index.shared);
        Ok(index)
    }
}

/// Takes the slots of a graph, unless another segment has one of them.
fn claim(id: u64, graph: Graph, taken: &mut Tombstones) -> Result<Graph, IndexError> {
    if let Some(slot) = graph.slots.iter().find(|slot| taken.contains(**slot)) {
        return Err(IndexError::Graph {
            segment: id,
            reason: format!("slot {slot} is in another segment too"),
        });
    }
    for slot in &graph.slots {
        taken.insert(*slot);
    }
    Ok(graph)
}

impl Waiting {
    /// The segment of the items that came; `None` if none did.
    fn finish(self) -> Option<SegmentView> {
        let Self {
            id,
            graph,
            rows,
            present,
        } = self;
        let Graph {
            mut slots,
            mut edges,
            mut entry,
            linked_under,
            unrefined,
        } = graph;
        let mut all = rows;
        if !present.iter().all(|present| *present) {
            let order: Vec<u32> = (0..slots.len() as u32)
                .filter(|item| present[*item as usize])
                .collect();
            let mut alive = vec![NONE; slots.len()];
            for (new, old) in order.iter().enumerate() {
                alive[*old as usize] = new as u32;
            }
            if order.is_empty() {
                return None;
            }
            slots = order.iter().map(|old| slots[*old as usize]).collect();
            all = all.permuted(&order);
            entry = if alive[entry as usize] == NONE {
                0
            } else {
                alive[entry as usize]
            };
            let space = Space::new(&all);
            let mut graph = link::Graph::resume(&space, bridge(&edges, &alive), entry);
            attach(&space, &mut graph);
            (edges, entry) = (graph.edges, graph.entry);
        }
        let unrefined = unrefined.min(all.len());
        let (slots, edges, codes) = (Column::Held(slots), Column::Held(edges), Codes::of(&all));
        let parts = Parts {
            id,
            slots,
            rows: SegmentRows::Held(all),
            codes,
            edges,
            entry,
            linked_under,
            unrefined,
        };
        Some(SegmentView {
            segment: Arc::new(Segment::new(parts)),
            dead: 0,
        })
    }
}
