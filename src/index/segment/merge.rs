//! Merges growing and sealed segments into one sealed segment.
//!
//! The largest sealed segment contributes its graph; the items of the others are appended to it in
//! the order of their slots. Deleted items of the largest segment are cut out of its graph if they
//! are many, or if everything is rebuilt.

use rayon::prelude::*;

use crate::index::graph::beam::{Edges, NONE};
use crate::index::graph::build::{Cancelled, EF_BUILD, Graph, Monitor, append, build};
use crate::index::graph::prune::Space;
use crate::index::graph::refine::{EF_REFINE, attach, bridge, medoid, reachable, refine};
use crate::index::layout::column::Column;
use crate::index::layout::rows::{RowBuffer, RowSource, Rows, pack_into};
use crate::index::quantizer::Codes;
use crate::index::segment::growing::GrowingView;
use crate::index::segment::questions::link;
use crate::index::segment::rows::SegmentRows;
use crate::index::segment::sealed::{Contents, SealedSegment, SealedView};
use crate::index::segment::tombstones::Tombstones;
use crate::index::versioned::Versioned;
use crate::plugin::Metric;
use crate::slot::Slot;

/// The deleted items of a segment are cut out when they are more than one in this many.
const DEAD_SHARE: usize = 5;
/// A graph is refined as a whole when more than one item in this many was appended to it.
const UNREFINED_SHARE: usize = 4;
/// Share of the progress that building takes when the graph is refined afterwards.
const BUILD_PROGRESS: f32 = 0.6;
/// Items that are transformed together.
const TRANSFORMED_AT_ONCE: usize = 1024;

/// Whether the deleted items of a segment are so many that they should be cut out.
pub(crate) fn has_many_dead(view: &SealedView) -> bool {
    view.dead * DEAD_SHARE > view.segment.len()
}

/// Whether so many of `len` items were appended to a graph that it should be refined.
pub(crate) fn is_refinement_due(unrefined: usize, len: usize) -> bool {
    unrefined * UNREFINED_SHARE > len
}

/// When a merge refines the whole graph, and when it cuts deleted items out of it: by default where
/// they are many, and then the graph is always refined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refining {
    /// Not now: more items are expected.
    Never,
    /// If [`is_refinement_due`].
    WhereDue,
    /// Deleted items are cut out however few they are, and the graph is refined if they, with the
    /// appended ones, are so many that [`is_refinement_due`].
    AfterCut,
    /// In any case, and deleted items are cut out however few they are.
    Always,
}

/// The segments to merge.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Sealed segments.
    pub(crate) sealed: &'a [SealedView],
    /// Growing segments.
    pub(crate) growing: &'a [GrowingView],
    /// The deleted slots.
    pub(crate) dead: &'a Tombstones,
}

/// The items of several segments, and the graph that covers the first of them.
pub(crate) struct Gathered {
    slots: Vec<Slot>,
    rows: Rows,
    graph: ReusedGraph,
}

/// The graph of the largest segment, over its first items; empty if there is none.
#[derive(Default)]
struct ReusedGraph {
    edges: Vec<Edges>,
    entry: u32,
    built_under: u32,
    unrefined: usize,
    /// Number of deleted items that were cut out.
    cut: usize,
}

/// An item that is appended.
struct Appended<'a> {
    slot: Slot,
    source: &'a dyn RowSource,
    local: u32,
}

impl Gathered {
    /// Copies the items of all sources together, those of the largest sealed segment first, the
    /// others in the order of their slots.
    pub(crate) fn new(dim: usize, sources: Sources<'_>, refining: Refining) -> Self {
        for view in sources.sealed {
            view.segment.rows.verify_all();
        }
        let largest = sources
            .sealed
            .iter()
            .max_by_key(|view| view.segment.len())
            .filter(|view| view.segment.len() > view.dead);
        let base = largest.map(|view| &*view.segment);
        let appended = appended(sources, base);
        let mut reused = Reused::default();
        if let Some(view) = largest {
            let cuts_all = matches!(refining, Refining::Always | Refining::AfterCut);
            let cuts = view.dead > 0 && (cuts_all || has_many_dead(view));
            reused = Reused::of(&view.segment, |slot| cuts && sources.dead.contains(slot));
        }
        let mut slots = reused.slots;
        let mut rows = Rows::with_capacity(dim, slots.len() + appended.len());
        let mut buffer = RowBuffer::new();
        if let Some(base) = base {
            for &local in &reused.locals {
                rows.push(base.row(local, &mut buffer));
            }
        }
        for item in appended {
            slots.push(item.slot);
            rows.push(item.source.row(item.local, &mut buffer));
        }
        Self {
            slots,
            rows,
            graph: reused.graph,
        }
    }

    /// Whether there are no items.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Builds sealed segment `id` under `metric`. A graph that is refined gets edges for the
    /// questions that `questions` makes of the items in some slots.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub(crate) fn build(
        self,
        id: u64,
        metric: &Versioned,
        refining: Refining,
        questions: &dyn Fn(&[Slot]) -> Vec<Vec<f32>>,
        monitor: Monitor<'_>,
    ) -> Result<SealedSegment, Cancelled> {
        let Self {
            mut slots,
            mut rows,
            graph: reused,
        } = self;
        let is_transformed = !metric.is_base() || metric.metric.matrix().is_none();
        let mut transformed = is_transformed.then(|| transform(&rows, &*metric.metric));
        let is_new = reused.edges.is_empty();
        if is_new {
            let entry = medoid(transformed.as_ref().unwrap_or(&rows));
            let order = insertion_order(entry, rows.len());
            slots = order.iter().map(|&i| slots[i as usize]).collect();
            rows = rows.permuted(&order);
            transformed = transformed.map(|rows| rows.permuted(&order));
        }
        let mut unrefined = reused.unrefined + slots.len() - reused.edges.len();
        let refines = match refining {
            Refining::AfterCut => {
                unrefined = (unrefined + reused.cut).min(slots.len());
                is_refinement_due(unrefined, slots.len())
            }
            _ if reused.cut > 0 => true,
            Refining::Never => false,
            Refining::WhereDue => is_refinement_due(unrefined, slots.len()),
            Refining::Always => true,
        };
        let build_share = if refines { BUILD_PROGRESS } else { 1.0 };
        let building = Monitor {
            progress: &|done| (monitor.progress)(done * build_share),
            ..monitor
        };
        let graph_rows = transformed.as_ref().unwrap_or(&rows);
        let space = Space::new(graph_rows);
        let mut built_under = reused.built_under;
        let mut graph = if is_new {
            built_under = metric.version;
            build(&space, building)?
        } else {
            let mut graph = Graph::resume(&space, reused.edges, reused.entry);
            append(&space, &mut graph, EF_BUILD, building)?;
            graph
        };
        if refines {
            let refinement = Monitor {
                progress: &|done| (monitor.progress)(build_share + done * (1.0 - build_share)),
                ..monitor
            };
            attach(&space, &mut graph);
            refine(&space, &mut graph, EF_REFINE, refinement)?;
            graph.entry = medoid(graph_rows);
            unrefined = 0;
            built_under = metric.version;
            link(
                &mut graph,
                &space,
                &rows,
                metric,
                &questions(&slots),
                monitor.cancel,
            )?;
        }
        attach(&space, &mut graph);
        let (order, edges) = breadth_first(&graph.edges, graph.entry);
        let rows = rows.permuted(&order);
        Ok(SealedSegment::new(Contents {
            id,
            slots: Column::Held(order.iter().map(|&i| slots[i as usize]).collect()),
            codes: Codes::of(&rows),
            rows: SegmentRows::Held(rows),
            edges: Column::Held(edges),
            entry: 0,
            built_under,
            unrefined,
        }))
    }
}

/// The live items of all sources but `base`, by slot.
fn appended<'a>(sources: Sources<'a>, base: Option<&SealedSegment>) -> Vec<Appended<'a>> {
    let mut items: Vec<Appended<'a>> = Vec::new();
    for segment in sources.sealed.iter().map(|view| &*view.segment) {
        if base.is_some_and(|base| base.id == segment.id) {
            continue;
        }
        let slots = segment.slots.iter().enumerate();
        items.extend(slots.map(|(local, slot)| Appended {
            slot: *slot,
            source: segment,
            local: local as u32,
        }));
    }
    for view in sources.growing {
        let segment = &*view.segment;
        items.extend((0..view.len as u32).map(|local| Appended {
            slot: segment.slot(local),
            source: segment,
            local,
        }));
    }
    items.retain(|item| !sources.dead.contains(item.slot));
    items.sort_unstable_by_key(|item| item.slot);
    items
}

/// What is taken over from the largest sealed segment.
#[derive(Default)]
struct Reused {
    slots: Vec<Slot>,
    /// The numbers that the items have in that segment.
    locals: Vec<u32>,
    graph: ReusedGraph,
}

impl Reused {
    /// Takes over a segment without the items whose slots are `dropped`.
    fn of(base: &SealedSegment, dropped: impl Fn(Slot) -> bool) -> Self {
        let (mut slots, mut locals) = (Vec::new(), Vec::new());
        let mut renumbered = vec![NONE; base.len()];
        for (local, slot) in base.slots.iter().enumerate() {
            if !dropped(*slot) {
                renumbered[local] = locals.len() as u32;
                locals.push(local as u32);
                slots.push(*slot);
            }
        }
        let cut = base.len() - locals.len();
        let (edges, entry) = if cut > 0 {
            let entry = match renumbered[base.entry as usize] {
                // Items are in breadth-first order, so the first that remains is nearest to the
                // old entry.
                NONE => 0,
                entry => entry,
            };
            (bridge(&base.edges, &renumbered), entry)
        } else {
            (base.edges.to_vec(), base.entry)
        };
        let graph = ReusedGraph {
            edges,
            entry,
            built_under: base.built_under,
            unrefined: base.unrefined,
            cut,
        };
        Self {
            slots,
            locals,
            graph,
        }
    }
}

/// Maps rows to the space in which `metric` is the squared Euclidean distance.
fn transform(rows: &Rows, metric: &dyn Metric) -> Rows {
    // A distance without a matrix maps items by what all of them have in common, so it must see
    // them all at once.
    let batch = if metric.matrix().is_some() {
        TRANSFORMED_AT_ONCE
    } else {
        rows.len().max(1)
    };
    let starts: Vec<usize> = (0..rows.len()).step_by(batch).collect();
    let batches: Vec<ndarray::Array2<f32>> = starts
        .into_par_iter()
        .map(|from| {
            let to = (from + batch).min(rows.len());
            let numbers = rows.unpadded(from..to);
            match ndarray::ArrayView2::from_shape((to - from, rows.dim()), &numbers) {
                Ok(items) => metric.transform(items),
                Err(_) => ndarray::Array2::zeros((to - from, rows.dim())),
            }
        })
        .collect();
    let dim = batches.first().map_or(rows.dim(), ndarray::Array2::ncols);
    let mut out = Rows::zeros(dim, rows.len());
    let items = batches.iter().flat_map(|batch| batch.rows());
    for (i, item) in items.into_iter().enumerate() {
        match item.as_slice() {
            Some(item) => pack_into(item, out.row_mut(i)),
            None => pack_into(&item.to_vec(), out.row_mut(i)),
        }
    }
    out
}

/// The entry, then all other items in an order that is independent of their slots: sorted input
/// would make batches of similar items, which cannot become each other's neighbours.
fn insertion_order(entry: u32, len: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).filter(|i| *i != entry).collect();
    order.sort_unstable_by_key(|i| (splitmix(u64::from(*i)), *i));
    order.insert(0, entry);
    order
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): a bijection that scatters its input.
fn splitmix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The nodes in breadth-first order from `entry`, unreachable ones last, and the edges in that
/// numbering.
fn breadth_first(edges: &[Edges], entry: u32) -> (Vec<u32>, Vec<Edges>) {
    let mut order = reachable(edges, entry);
    let mut number = vec![NONE; edges.len()];
    for (i, &node) in order.iter().enumerate() {
        number[node as usize] = i as u32;
    }
    for node in 0..edges.len() as u32 {
        if number[node as usize] == NONE {
            number[node as usize] = order.len() as u32;
            order.push(node);
        }
    }
    let renumber = |id: u32| {
        if id == NONE {
            NONE
        } else {
            number[id as usize]
        }
    };
    let renumbered = order
        .par_iter()
        .map(|&node| edges[node as usize].map(renumber))
        .collect();
    (order, renumbered)
}
