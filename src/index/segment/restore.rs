//! Sealed segments made again from their stored graphs and the vectors of the live items.

use std::sync::Arc;

use crate::index::graph::beam::NONE;
use crate::index::graph::build::Graph;
use crate::index::graph::prune::Space;
use crate::index::graph::refine::{attach, bridge};
use crate::index::layout::column::Column;
use crate::index::layout::rows::{Rows, pack_into};
use crate::index::quantizer::Codes;
use crate::index::segment::record::StoredGraph;
use crate::index::segment::rows::SegmentRows;
use crate::index::segment::sealed::{Contents, SealedSegment, SealedView};
use crate::slot::Slot;

/// A stored graph that receives the vectors of its items one by one.
pub(crate) struct Restoring {
    id: u64,
    graph: StoredGraph,
    rows: Rows,
    /// Whether the vector of each item was received.
    present: Vec<bool>,
}

impl Restoring {
    /// Begins segment `id` with its graph, for vectors of `dim` numbers.
    pub(crate) fn new(id: u64, graph: StoredGraph, dim: usize) -> Self {
        let len = graph.slots.len();
        Self {
            id,
            graph,
            rows: Rows::zeros(dim, len),
            present: vec![false; len],
        }
    }

    /// The slots of its items.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.graph.slots
    }

    /// Receives the vector of an item.
    pub(crate) fn put(&mut self, item: u32, vector: &[f32]) {
        pack_into(vector, self.rows.row_mut(item as usize));
        self.present[item as usize] = true;
    }

    /// The segment of the items whose vectors were received; `None` if there are none. The others
    /// are cut out of the graph.
    pub(crate) fn finish(mut self) -> Option<SealedView> {
        if !self.present.contains(&true) {
            return None;
        }
        if self.present.contains(&false) {
            self.cut_missing();
        }
        let Self {
            id, graph, rows, ..
        } = self;
        let unrefined = graph.unrefined.min(rows.len());
        let segment = SealedSegment::new(Contents {
            id,
            slots: Column::Held(graph.slots),
            codes: Codes::of(&rows),
            rows: SegmentRows::Held(rows),
            edges: Column::Held(graph.edges),
            entry: graph.entry,
            built_under: graph.built_under,
            unrefined,
        });
        Some(SealedView {
            segment: Arc::new(segment),
            dead: 0,
        })
    }

    /// Removes the items whose vectors were not received from the graph.
    fn cut_missing(&mut self) {
        let StoredGraph {
            slots,
            edges,
            entry,
            ..
        } = &mut self.graph;
        let remaining: Vec<u32> = (0..slots.len() as u32)
            .filter(|item| self.present[*item as usize])
            .collect();
        let mut renumbered = vec![NONE; slots.len()];
        for (new, old) in remaining.iter().enumerate() {
            renumbered[*old as usize] = new as u32;
        }
        *slots = remaining.iter().map(|old| slots[*old as usize]).collect();
        self.rows = self.rows.permuted(&remaining);
        let first = match renumbered[*entry as usize] {
            NONE => 0,
            item => item,
        };
        let space = Space::new(&self.rows);
        let mut graph = Graph::resume(&space, bridge(edges, &renumbered), first);
        attach(&space, &mut graph);
        (*edges, *entry) = (graph.edges, graph.entry);
    }
}
