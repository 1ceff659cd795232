//! Searching the segments of a snapshot, each by a scan or by a walk.

use std::cell::Cell;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Gathered, Searcher, expected_evaluations};
use crate::index::bias::Biases;
use crate::index::calibrations::{FIRST_SLACK, Reach};
use crate::index::graph::beam::{self, Adaptive, Score, Scratch, Stop};
use crate::index::layout::rows::{RowBuffer, RowSource};
use crate::index::nearest::{Best, Scored};
use crate::index::query::RewrittenQuery;
use crate::index::segment::growing::{GrowingQuery, GrowingSegment, GrowingView};
use crate::index::segment::sealed::{CodedScore, SealedView};
use crate::index::snapshot::Location;
use crate::slot::Slot;

/// After a scan of codes, the distances of at most one item in this many are computed exactly.
const SCANNED_SHARE: usize = 16;
/// Items of a scan between two calls of `cancel`.
const SCANNED_AT_ONCE: usize = 1024;
/// A growing segment's graph is not walked if more than one item in this many is deleted.
const GROWING_DEAD_SHARE: usize = 4;
/// A growing segment's graph is walked if it is expected to compute less than one distance in this
/// many.
const GROWING_WALK_SHARE: usize = 2;

/// Estimated distances from a query to rows, by their numbers.
struct RowScore<'a, R> {
    query: &'a RewrittenQuery<'a>,
    rows: &'a R,
    biases: &'a Biases,
    buffers: [RowBuffer; 4],
}

impl<'a, R: RowSource> RowScore<'a, R> {
    fn new(query: &'a RewrittenQuery<'a>, rows: &'a R, biases: &'a Biases) -> Self {
        Self {
            query,
            rows,
            biases,
            buffers: Default::default(),
        }
    }
}

impl<R: RowSource> Score for RowScore<'_, R> {
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>) {
        self.query
            .estimates(ids, self.rows, self.biases, &mut self.buffers, out);
    }
}

/// Whether a walk found the query's neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walked {
    /// It did, as well as the schedule asks for.
    Near,
    /// The query is so far from all items that a scan is cheaper.
    Far,
}

impl Searcher<'_> {
    /// Scans the `allowed` items of all segments.
    pub(super) fn scan_allowed(&self, allowed: &RoaringBitmap, gathered: &mut Gathered) {
        let mut in_sealed: Vec<Vec<u32>> = vec![Vec::new(); self.snapshot.sealed.len()];
        let mut in_growing: Vec<Vec<u32>> = vec![Vec::new(); self.snapshot.growing.len()];
        for slot in allowed.iter().map(Slot) {
            if self.snapshot.dead.contains(slot) {
                continue;
            }
            match self.snapshot.locate(slot) {
                Some(Location::Sealed(at, local)) => in_sealed[at].push(local),
                Some(Location::Growing(at, local)) => in_growing[at].push(local),
                None => {}
            }
        }
        let is_used = |(_, locals): &(usize, &Vec<u32>)| !locals.is_empty();
        for (at, locals) in in_sealed.iter().enumerate().filter(is_used) {
            let segment = &*self.snapshot.sealed[at].segment;
            let slot = |local: u32| segment.slots[local as usize];
            let rows = segment.rows.view();
            let mut score = RowScore::new(self.query, &rows, &self.biases.sealed[at]);
            let found = self.scan(&mut score, locals, slot, gathered);
            gathered.add(found, |local| (slot(local), Location::Sealed(at, local)));
        }
        for (at, locals) in in_growing.iter().enumerate().filter(is_used) {
            let segment = &*self.snapshot.growing[at].segment;
            let slot = |local: u32| segment.slot(local);
            let mut score = RowScore::new(self.query, segment, &self.biases.growing[at]);
            let found = self.scan(&mut score, locals, slot, gathered);
            gathered.add(found, |local| (slot(local), Location::Growing(at, local)));
        }
    }

    /// Scans or walks the sealed segment at position `at`.
    pub(super) fn search_sealed(
        &self,
        at: usize,
        view: &SealedView,
        scratch: &mut Scratch,
        gathered: &mut Gathered,
    ) {
        let segment = &*view.segment;
        let biases = &*self.biases.sealed[at];
        let slots = &*segment.slots;
        let locate = |local: u32| (slots[local as usize], Location::Sealed(at, local));
        let rows = segment.rows.view();
        let exact = &mut RowScore::new(self.query, &rows, biases);
        let is_far = if self.is_scanned(segment.len()) {
            true
        } else if self.coded {
            let coded = &mut CodedScore::new(segment, self.query, biases);
            self.walk(view, coded, locate, scratch, gathered) == Walked::Far
        } else {
            self.walk(view, exact, locate, scratch, gathered) == Walked::Far
        };
        if !is_far {
            return;
        }
        let slot = |local: u32| slots[local as usize];
        let locals: Vec<u32> = (0..segment.len() as u32)
            .filter(|&local| self.is_eligible(slot(local)))
            .collect();
        let found = if self.coded && self.ef < segment.len() {
            // Codes exchange neighbours of queries that are equally far from many items.
            gathered.wanted = gathered.wanted.max(segment.len() / SCANNED_SHARE);
            let coded = &mut CodedScore::new(segment, self.query, biases);
            self.scan(coded, &locals, slot, gathered)
        } else {
            self.scan(exact, &locals, slot, gathered)
        };
        gathered.add(found, locate);
    }

    /// Walks the graph of a sealed segment. What it found is not gathered if the query is far from
    /// all items, so that they are to be scanned.
    fn walk(
        &self,
        view: &SealedView,
        score: &mut impl Score,
        locate: impl Fn(u32) -> (Slot, Location),
        scratch: &mut Scratch,
        gathered: &mut Gathered,
    ) -> Walked {
        // The segments come in the order of their sizes.
        let is_largest = !gathered.walked;
        gathered.walked = true;
        let (edges, entries) = (&view.segment.edges, [view.segment.entry]);
        let (walked, rest) = (Cell::new(Walked::Near), Cell::new(None));
        let widen = |distance: f32| {
            let (reach, recall) = self.schedule?.reach(distance);
            rest.set(Some((distance, recall)));
            match reach {
                Reach::Slack(slack) => (slack > FIRST_SLACK).then_some(slack),
                Reach::Scan => {
                    walked.set(Walked::Far);
                    None
                }
            }
        };
        let stop = match self.schedule {
            None => Stop::Width(self.ef),
            Some(_) => Stop::Adaptive(Adaptive {
                rank: self.rank(),
                slack: FIRST_SLACK,
                widen: &widen,
            }),
        };
        let cancel = self.cancel;
        let walk = if view.dead == 0 && self.allowed.is_none() {
            beam::search(edges, &entries, stop, score, |_| true, cancel, scratch)
        } else {
            let eligible = |local| self.is_eligible(locate(local).0);
            beam::search(edges, &entries, stop, score, eligible, cancel, scratch)
        };
        gathered.evaluations += walk.evaluations;
        gathered.cut_short |= !walk.complete;
        gathered.width = gathered.width.max(walk.width);
        if is_largest && let Some((distance, recall)) = rest.get() {
            (gathered.rest, gathered.expected_recall) = (Some(distance), recall);
        }
        if walked.get() == Walked::Far && walk.complete {
            gathered.scanned = true;
            return Walked::Far;
        }
        // Codes exchange more neighbours where more of them are equally far.
        let wanted = self.wanted().max(walk.width / 2);
        gathered.wanted = gathered.wanted.max(wanted);
        let found = &scratch.pool[..scratch.pool.len().min(wanted)];
        gathered.add(found.iter().copied(), locate);
        Walked::Near
    }

    /// Scans the growing segment at position `at`, or walks its graph and scans the items that the
    /// graph does not hold.
    pub(super) fn search_growing(&self, at: usize, view: &GrowingView, gathered: &mut Gathered) {
        let segment = &*view.segment;
        let slot = |local: u32| segment.slot(local);
        let biases = &self.biases.growing[at];
        let mut covered = segment.covered();
        // With a filter, many deleted items or a wide beam, the walk would find too few eligible
        // items or take too long.
        let walk_pays = GROWING_WALK_SHARE * expected_evaluations(self.ef, covered) < covered;
        if self.allowed.is_some() || view.dead * GROWING_DEAD_SHARE > view.len || !walk_pays {
            covered = 0;
        }
        let mut locals: Vec<u32> = (covered.min(view.len) as u32..view.len as u32).collect();
        if covered > 0 {
            gathered.walked = true;
            let query = GrowingQuery {
                direction: self.query.padded.clone(),
                offset: self.query.offset,
                metric: self.query.metric.clone(),
                biases: Arc::clone(biases),
            };
            let (found, evaluations) = segment.search_graph(query, self.ef, covered);
            gathered.evaluations += evaluations;
            gathered.width = gathered.width.max(self.ef);
            if self.is_too_narrow(&found, segment, biases) {
                gathered.scanned = true;
                locals.extend(0..covered.min(view.len) as u32);
            } else {
                let is_visible = |local: &u32| (*local as usize) < view.len;
                locals.extend(found.into_iter().filter(is_visible));
            }
        }
        locals.retain(|&local| self.is_eligible(slot(local)));
        let mut score = RowScore::new(self.query, segment, biases);
        let found = self.scan(&mut score, &locals, slot, gathered);
        gathered.add(found, |local| (slot(local), Location::Growing(at, local)));
    }

    /// Whether the items that a walk of fixed width found, nearest first, do not go as far as the
    /// schedule asks for.
    fn is_too_narrow(&self, found: &[u32], segment: &GrowingSegment, biases: &Biases) -> bool {
        let (Some(schedule), Some(ranked), Some(last)) =
            (self.schedule, found.get(self.rank() - 1), found.last())
        else {
            return false;
        };
        let mut buffer = RowBuffer::new();
        let mut distance = |local: u32| {
            let row = segment.row(local, &mut buffer);
            self.query.estimate(row, biases.get(local))
        };
        let ranked = distance(*ranked);
        match schedule.reach(ranked).0 {
            Reach::Slack(slack) => distance(*last) < beam::bound(ranked, slack),
            Reach::Scan => true,
        }
    }

    /// The best of the items `locals`, by estimate and slot.
    fn scan(
        &self,
        score: &mut impl Score,
        locals: &[u32],
        slot: impl Fn(u32) -> Slot,
        gathered: &mut Gathered,
    ) -> Vec<Scored> {
        let wanted = self.wanted().max(gathered.wanted);
        let mut best = Best::new(wanted, locals.len());
        let mut estimates = Vec::with_capacity(SCANNED_AT_ONCE.min(locals.len()));
        for locals in locals.chunks(SCANNED_AT_ONCE) {
            if self.is_cancelled() {
                gathered.cut_short = true;
                break;
            }
            estimates.clear();
            score.score(locals, &mut estimates);
            gathered.evaluations += locals.len();
            best.offer(locals, &estimates, &|local| slot(local).0);
        }
        best.sorted()
    }
}
