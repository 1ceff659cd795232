//! Turning heads into segments, and several parts into one.
//!
//! The largest part absorbed lends its graph, the others' items are appended to it. Segments are
//! absorbed while they are at most [`ABSORB`] times as large as what is put to them, so their sizes
//! grow geometrically and their number stays logarithmic. A graph is refined as a whole when dead
//! items are cut out of it, and when the index is left alone after a good part of it was linked:
//! refining while items still come would be done again and again.

use std::sync::Arc;

use rayon::prelude::*;

use super::beam::{Edges, NONE};
use super::bias::RowSource;
use super::codes::Codes;
use super::column::Column;
use super::link::{Cancelled, EF_LINK, Graph, Watch, append, link};
use super::prune::Space;
use super::refine::{EF_REFINE, attach, bridge, medoid, reachable, refine};
use super::rows::{Room, Rows, pack_into};
use super::segment::{Parts, Segment, SegmentRows};
use super::tombstones::Tombstones;
use super::view::{HeadView, SegmentView, View};
use super::write::{Shared, lock};
use super::{Versioned, write};
use crate::plugin::Metric;

/// A segment at most this many times as large as the new items takes them in.
const ABSORB: usize = 8;
/// A segment loses its dead items when one in this many is dead.
const DEAD_SHARE: usize = 5;
/// When the index is left alone, small segments are put to the largest if they hold one item in
/// this many of its.
const SMALL_SHARE: usize = 32;
/// When the index is left alone, a graph of which one item in this many was appended is refined as
/// a whole.
const UNREFINED_SHARE: usize = 4;

/// Whether a graph that items were appended to is refined as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refining {
    NotYet,
    WhereItPays,
    Always,
}

/// A segment with so many dead items that they are to be cut out. What cannot be read cannot be
/// cut.
fn to_cut(view: &View) -> Option<&SegmentView> {
    view.segments
        .iter()
        .find(|part| part.dead * DEAD_SHARE > part.segment.len() && !part.segment.is_damaged())
}

impl Shared {
    /// Links the frozen heads (or `all`), together with the segments that are small beside them.
    pub(crate) fn link_heads(&self, all: bool, watch: Watch<'_>) -> Result<(), Cancelled> {
        let _linking = lock(&self.linking);
        if all {
            self.freeze();
        }
        let view = self.view.load_full();
        let heads: Vec<HeadView> = view
            .heads
            .iter()
            .filter(|head| head.frozen)
            .cloned()
            .collect();
        if heads.is_empty() {
            return Ok(());
        }
        let mut total: usize = heads.iter().map(|head| head.len - head.dead).sum();
        let mut by_size: Vec<&SegmentView> = view
            .segments
            .iter()
            .filter(|part| !part.segment.is_damaged())
            .collect();
        by_size.sort_by_key(|part| part.segment.len());
        let mut absorbed = Vec::new();
        for part in by_size {
            if part.segment.len() > ABSORB * total {
                break;
            }
            total += part.segment.len() - part.dead;
            absorbed.push(part.clone());
        }
        self.merge(&view, &absorbed, &heads, Refining::NotYet, watch)
    }

    /// Whether a segment has so many dead items that they are to be cut out.
    pub(crate) fn has_segment_to_cut(&self) -> bool {
        to_cut(&self.view.load()).is_some()
    }

    /// Cuts the dead items out of the first segment that has many, and refines what is left.
    pub(crate) fn cut(&self, watch: Watch<'_>) -> Result<(), Cancelled> {
        let _linking = lock(&self.linking);
        // Chosen while nobody else replaces parts: what was linked meanwhile must not come back.
        let view = self.view.load_full();
        match to_cut(&view) {
            Some(segment) => self.merge(
                &view,
                std::slice::from_ref(segment),
                &[],
                Refining::WhereItPays,
                watch,
            ),
            None => Ok(()),
        }
    }

    /// Whether small segments beside the largest are worth making one of them all, since each is
    /// searched on its own, or much of the largest was never refined.
    pub(crate) fn wants_one_segment(&self) -> bool {
        let view = self.view.load();
        let Some(largest) = view.segments.first().map(|part| &part.segment) else {
            return false;
        };
        if view.check_images().is_err() {
            return false;
        }
        let others: usize = view
            .segments
            .iter()
            .skip(1)
            .map(|part| part.segment.len())
            .sum();
        others > 0 && others * SMALL_SHARE >= largest.len()
            || largest.unrefined * UNREFINED_SHARE > largest.len()
    }

    /// Makes one segment of all, refined where that pays.
    pub(crate) fn merge_segments(&self, watch: Watch<'_>) -> Result<(), Cancelled> {
        let _linking = lock(&self.linking);
        let view = self.view.load_full();
        self.merge(&view, &view.segments, &[], Refining::WhereItPays, watch)
    }

    /// Makes one refined segment of everything.
    pub(crate) fn relink(&self, watch: Watch<'_>) -> Result<(), Cancelled> {
        let _linking = lock(&self.linking);
        self.freeze();
        let view = self.view.load_full();
        self.merge(&view, &view.segments, &view.heads, Refining::Always, watch)
    }

    fn merge(
        &self,
        view: &View,
        segments: &[SegmentView],
        heads: &[HeadView],
        refining: Refining,
        watch: Watch<'_>,
    ) -> Result<(), Cancelled> {
        // Parts are replaced only here, while `linking` is held: all of them are in the view still.
        let active = self.active();
        let gathered = self.gather(&view.dead, segments, heads, refining == Refining::Always);
        let made = if gathered.slots.is_empty() {
            None
        } else {
            let id = self.new_part();
            let build = || gathered.build(id, &active, refining, watch);
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(self.config.threads.max(1))
                .thread_name(|i| format!("affinis-link-{i}"))
                .build();
            Some(Arc::new(match pool {
                Ok(pool) => pool.install(build)?,
                // The system gives no threads: the caller's own pool does it.
                Err(_) => build()?,
            }))
        };
        if segments.iter().any(|part| part.segment.is_damaged()) {
            // What was made of it must not be believed.
            return Err(Cancelled);
        }
        // What was measured on the old parts says little of the new ones, and must not be kept with
        // them.
        self.calibrations.clear();
        let gone = |part: u64| {
            segments.iter().any(|s| s.segment.id == part) || heads.iter().any(|h| h.head.id == part)
        };
        self.replace_parts(|view| {
            view.segments.retain(|part| !gone(part.segment.id));
            view.heads.retain(|part| !gone(part.head.id));
            if let Some(segment) = made {
                let dead = segment
                    .slots
                    .iter()
                    .filter(|slot| view.dead.contains(**slot))
                    .count();
                view.segments.push(SegmentView { segment, dead });
                view.segments
                    .sort_by_key(|part| std::cmp::Reverse(part.segment.len()));
            }
        });
        write::ask(&mut lock(&self.asked).calibrate, active);
        Ok(())
    }

    /// Copies the rows of the parts together: those of the part that lends its graph first, the
    /// others by slot.
    fn gather(
        &self,
        dead: &Tombstones,
        segments: &[SegmentView],
        heads: &[HeadView],
        anew: bool,
    ) -> Gathered {
        for part in segments {
            part.segment.rows.read_all();
        }
        let largest = segments.iter().max_by_key(|part| part.segment.len());
        let seed = largest
            .filter(|part| part.segment.len() > part.dead)
            .map(|part| &*part.segment);
        let mut gathered = Gathered::default();
        if let (Some(seed), Some(part)) = (seed, largest) {
            let cut = part.dead > 0 && (anew || part.dead * DEAD_SHARE > seed.len());
            gathered.seed(seed, |slot| cut && dead.contains(slot));
        }
        let mut others: Vec<(u32, &dyn RowAt, u32)> = Vec::new();
        for segment in segments.iter().map(|part| &*part.segment) {
            if seed.is_some_and(|seed| seed.id == segment.id) {
                continue;
            }
            let items = segment.slots.iter().enumerate();
            others.extend(items.map(|(local, slot)| (*slot, segment as &dyn RowAt, local as u32)));
        }
        for part in heads {
            let head = &*part.head;
            others.extend(
                (0..part.len as u32).map(|local| (head.slot(local), head as &dyn RowAt, local)),
            );
        }
        others.retain(|(slot, ..)| !dead.contains(*slot));
        others.sort_unstable_by_key(|(slot, ..)| *slot);
        let mut rows = Rows::with_capacity(self.dim, gathered.slots.len() + others.len());
        let mut room = Room::new();
        if let Some(seed) = seed {
            for &local in &gathered.from_seed {
                rows.push(seed.row(local, &mut room));
            }
        }
        for (slot, part, local) in others {
            gathered.slots.push(slot);
            rows.push(part.row_at(local, &mut room));
        }
        gathered.rows = Some(rows);
        gathered
    }
}

/// [`RowSource`] for parts of different kinds in one list.
trait RowAt {
    fn row_at<'a>(&'a self, local: u32, room: &'a mut Room) -> &'a [super::rows::Block];
}

impl<T: RowSource> RowAt for T {
    fn row_at<'a>(&'a self, local: u32, room: &'a mut Room) -> &'a [super::rows::Block] {
        self.row(local, room)
    }
}

/// Items of several parts, and the graph that covers the first of them.
#[derive(Debug, Default)]
struct Gathered {
    slots: Vec<u32>,
    rows: Option<Rows>,
    from_seed: Vec<u32>,
    edges: Vec<Edges>,
    entry: u32,
    linked_under: u32,
    unrefined: usize,
    cut: bool,
}

impl Gathered {
    fn seed(&mut self, seed: &Segment, dropped: impl Fn(u32) -> bool) {
        let mut alive = vec![NONE; seed.len()];
        for (local, slot) in seed.slots.iter().enumerate() {
            if !dropped(*slot) {
                alive[local] = self.from_seed.len() as u32;
                self.from_seed.push(local as u32);
                self.slots.push(*slot);
            }
        }
        self.linked_under = seed.linked_under;
        self.unrefined = seed.unrefined;
        self.cut = self.from_seed.len() < seed.len();
        if self.cut {
            self.edges = bridge(&seed.edges, &alive);
            // Items are in breadth-first order: the first living one is nearest to the old entry.
            self.entry = if alive[seed.entry as usize] == NONE {
                0
            } else {
                alive[seed.entry as usize]
            };
        } else {
            self.edges = seed.edges.to_vec();
            self.entry = seed.entry;
        }
    }

    fn build(
        self,
        id: u64,
        metric: &Versioned,
        refining: Refining,
        watch: Watch<'_>,
    ) -> Result<Segment, Cancelled> {
        let Self {
            mut slots,
            rows,
            edges,
            entry,
            mut linked_under,
            mut unrefined,
            cut,
            ..
        } = self;
        let Some(mut rows) = rows else {
            return Err(Cancelled);
        };
        let maps = metric.version != 0 || metric.metric.matrix().is_none();
        let mut embedded = maps.then(|| embed(&rows, &*metric.metric));
        let fresh = edges.is_empty();
        let mut graph;
        if fresh {
            let order = insertion_order(medoid(embedded.as_ref().unwrap_or(&rows)), rows.len());
            slots = order.iter().map(|&i| slots[i as usize]).collect();
            rows = rows.permuted(&order);
            embedded = embedded.map(|e| e.permuted(&order));
        }
        let space = Space::new(embedded.as_ref().unwrap_or(&rows));
        unrefined += slots.len() - edges.len();
        let refining = cut
            || match refining {
                Refining::NotYet => false,
                Refining::WhereItPays => unrefined * UNREFINED_SHARE > slots.len(),
                Refining::Always => true,
            };
        let share = if refining { 0.6 } else { 1.0 };
        let first = Watch {
            progress: &|done| (watch.progress)(done * share),
            ..watch
        };
        if fresh {
            graph = link(&space, first)?;
            linked_under = metric.version;
        } else {
            graph = Graph::resume(&space, edges, entry);
            append(&space, &mut graph, EF_LINK, first)?;
        }
        if refining {
            let second = Watch {
                progress: &|done| (watch.progress)(share + done * (1.0 - share)),
                ..watch
            };
            attach(&space, &mut graph);
            refine(&space, &mut graph, EF_REFINE, second)?;
            graph.entry = medoid(embedded.as_ref().unwrap_or(&rows));
            unrefined = 0;
            linked_under = metric.version;
        }
        attach(&space, &mut graph);
        let entry = graph.entry;
        let (order, edges) = breadth_first(&graph.edges, entry);
        let slots = Column::Held(order.iter().map(|&i| slots[i as usize]).collect());
        let rows = rows.permuted(&order);
        let (codes, rows, edges) = (
            Codes::of(&rows),
            SegmentRows::Held(rows),
            Column::Held(edges),
        );
        Ok(Segment::new(Parts {
            id,
            slots,
            rows,
            codes,
            edges,
            entry: 0,
            linked_under,
            unrefined,
        }))
    }
}

/// The rows in the space where `metric` is squared Euclid.
fn embed(rows: &Rows, metric: &dyn Metric) -> Rows {
    // A distance that is no metric maps items by what they have in common, so it must see them all
    // at once.
    let step = if metric.matrix().is_some() {
        1024
    } else {
        rows.len().max(1)
    };
    let starts: Vec<usize> = (0..rows.len()).step_by(step).collect();
    let pieces: Vec<ndarray::Array2<f32>> = starts
        .into_par_iter()
        .map(|from| {
            let to = (from + step).min(rows.len());
            let numbers = rows.unpadded(from..to);
            match ndarray::ArrayView2::from_shape((to - from, rows.dim()), &numbers) {
                Ok(items) => metric.embed(items),
                Err(_) => ndarray::Array2::zeros((to - from, rows.dim())),
            }
        })
        .collect();
    let dim = pieces.first().map_or(rows.dim(), ndarray::Array2::ncols);
    let mut out = Rows::zeros(dim, rows.len());
    let items = pieces.iter().flat_map(|piece| piece.rows());
    for (i, item) in items.into_iter().enumerate() {
        match item.as_slice() {
            Some(item) => pack_into(item, out.row_mut(i)),
            None => pack_into(&item.to_vec(), out.row_mut(i)),
        }
    }
    out
}

/// The entry, then all others in an order that has nothing to do with how they came: sorted input
/// would make batches of one topic, whose items cannot see each other.
fn insertion_order(entry: u32, len: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).filter(|i| *i != entry).collect();
    let key = |i: &u32| {
        // splitmix64's finalizer
        let mut z = u64::from(*i).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    order.sort_unstable_by_key(|i| (key(i), *i));
    order.insert(0, entry);
    order
}

/// The nodes in breadth-first order from `entry`, unreachable ones last, and the edges renumbered
/// to it.
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
