//! One search over all parts: a plan for each, candidates merged, the best computed again for
//! reporting.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::beam::{self, Score, Scored, Scratch, with_scratch};
use super::best::Best;
use super::bias::{BiasCache, Biases, RowSource};
use super::head::HeadQuery;
use super::query::Query;
use super::rows::Room;
use super::segment::SegmentScore;
use super::view::{HeadView, Place, SegmentView, View};

/// What a search may be told.
#[derive(Clone, Copy, Default)]
pub(crate) struct SearchParams<'a> {
    /// Hits wanted.
    pub(crate) k: usize,
    /// Width of the beam; `None` takes the one calibrated for `recall`.
    pub(crate) ef: Option<usize>,
    /// Recall to aim at, above 0 and at most 1; `None` is the default target.
    pub(crate) recall: Option<f64>,
    /// Slots that may be found; `None` allows all.
    pub(crate) allowed: Option<&'a RoaringBitmap>,
    /// The state to search; `None` is the last.
    pub(crate) at: Option<&'a Snapshot>,
    /// Asked now and then whether to stop; the hits so far are returned as not complete.
    pub(crate) cancel: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// A state of the index, for searches that are to see the same one.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot(pub(super) Arc<View>);

/// A hit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    /// The item's slot.
    pub(crate) slot: u32,
    /// Its distance to the query.
    pub(crate) distance: f32,
}

/// What a search found and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// Sorted by distance, then slot. More than `k` where further hits tie with the `k`-th.
    pub(crate) hits: Vec<Neighbour>,
    /// Distances computed.
    pub(crate) evaluations: usize,
    /// Distances that it was expected to compute.
    pub(crate) expected: usize,
    /// Width of the beam.
    pub(crate) ef: usize,
    /// Which way it went: `empty`, `scan`, `filter scan`, `graph` or `filter graph`.
    pub(crate) plan: &'static str,
    /// False when it was cancelled before it was done.
    pub(crate) complete: bool,
}

/// Distances that are computed again at a time, and beyond the first `k`.
const SURE: usize = 8;

/// The `k`-th distance.
fn kth(hits: &mut [Neighbour], k: usize) -> f32 {
    hits.select_nth_unstable_by(k - 1, |a, b| a.distance.total_cmp(&b.distance))
        .1
        .distance
}

/// An item found, with what is needed to compute its distance again.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    estimate: f32,
    slot: u32,
    place: Place,
}

/// Evaluations that a beam of width `ef` needs among `len` items, roughly: measured 9 to 14 times
/// `ef` at 100,000.
pub(crate) fn expected_evaluations(ef: usize, len: usize) -> usize {
    (12 * ef + 400).min(len)
}

/// Reading rows in order is about this much faster than walking a graph, for one evaluation.
const SCAN_ADVANTAGE: usize = 3;

/// The biases of a view's parts under one metric, held so that the cache may forget them meanwhile.
#[derive(Debug)]
pub(crate) struct PartBiases {
    segments: Vec<Arc<Biases>>,
    heads: Vec<Arc<Biases>>,
}

impl PartBiases {
    /// Those of `view` under metric `version`.
    pub(crate) fn of(view: &View, cache: &BiasCache, version: u32) -> Self {
        let segments = view
            .segments
            .iter()
            .map(|s| cache.of(version, s.segment.id, s.segment.len()))
            .collect();
        let heads = view
            .heads
            .iter()
            .map(|h| cache.of(version, h.head.id, h.head.capacity()))
            .collect();
        Self { segments, heads }
    }
}

/// Distances from a query to the rows of a part, from the numbers themselves.
struct RowScore<'a, R> {
    query: &'a Query<'a>,
    rows: &'a R,
    biases: &'a Biases,
    rooms: [Room; 4],
}

impl<'a, R: RowSource> RowScore<'a, R> {
    fn new(query: &'a Query<'a>, rows: &'a R, biases: &'a Biases) -> Self {
        Self {
            query,
            rows,
            biases,
            rooms: Default::default(),
        }
    }
}

impl<R: RowSource> Score for RowScore<'_, R> {
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>) {
        self.query
            .estimates(ids, self.rows, self.biases, &mut self.rooms, out);
    }
}

/// The `k` nearest items of each query, exactly. `None` if it was cancelled.
pub(crate) fn scan_all(
    view: &View,
    biases: &PartBiases,
    queries: &[Query<'_>],
    k: usize,
    cancel: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<Vec<Neighbour>>> {
    let searchers: Vec<Searcher<'_>> = queries
        .iter()
        .map(|query| Searcher {
            view,
            query,
            biases,
            k,
            ef: k,
            coded: false,
            allowed: None,
            cancel: Some(cancel),
        })
        .collect();
    let mut got: Vec<Gathered> = queries.iter().map(|_| Gathered::default()).collect();
    let living = |len: usize, slot: &dyn Fn(u32) -> u32| -> Vec<u32> {
        (0..len as u32)
            .filter(|&local| !view.dead.contains(slot(local)))
            .collect()
    };
    for (at, part) in view.segments.iter().enumerate() {
        let (segment, biases) = (&*part.segment, &*biases.segments[at]);
        let slot = |local: u32| segment.slots[local as usize];
        let best = best_of_all(
            &searchers,
            &living(segment.len(), &slot),
            &segment.rows.view(),
            biases,
            slot,
        )?;
        for (best, got) in best.into_iter().zip(&mut got) {
            Searcher::keep(best, |local| (slot(local), Place::Segment(at, local)), got);
        }
    }
    for (at, part) in view.heads.iter().enumerate() {
        let (head, biases) = (&*part.head, &*biases.heads[at]);
        let slot = |local: u32| head.slot(local);
        let best = best_of_all(&searchers, &living(part.len, &slot), head, biases, slot)?;
        for (best, got) in best.into_iter().zip(&mut got) {
            Searcher::keep(best, |local| (slot(local), Place::Head(at, local)), got);
        }
    }
    Some(
        searchers
            .iter()
            .zip(got)
            .map(|(searcher, got)| searcher.report(got.candidates))
            .collect(),
    )
}

/// The best of `locals` for each search: every block of rows meets all queries while it is in
/// cache.
fn best_of_all(
    searchers: &[Searcher<'_>],
    locals: &[u32],
    rows: &impl RowSource,
    biases: &Biases,
    slot: impl Fn(u32) -> u32,
) -> Option<Vec<Vec<Scored>>> {
    const STEP: usize = 128;
    let mut best: Vec<Best> = searchers
        .iter()
        .map(|searcher| Best::new(searcher.wanted(), locals.len()))
        .collect();
    let (mut estimates, mut rooms) = (Vec::with_capacity(STEP), Default::default());
    for locals in locals.chunks(STEP) {
        for (searcher, best) in searchers.iter().zip(&mut best) {
            if searcher.cancelled() {
                return None;
            }
            estimates.clear();
            searcher
                .query
                .estimates(locals, rows, biases, &mut rooms, &mut estimates);
            best.offer(locals, &estimates, &slot);
        }
    }
    Some(best.into_iter().map(Best::sorted).collect())
}

/// One search on one view.
pub(crate) struct Searcher<'a> {
    /// The snapshot.
    pub(crate) view: &'a View,
    /// The query.
    pub(crate) query: &'a Query<'a>,
    /// The biases of the view's segments and heads, in the view's order.
    pub(crate) biases: &'a PartBiases,
    /// Hits wanted.
    pub(crate) k: usize,
    /// Width of the beam, at least `k`.
    pub(crate) ef: usize,
    /// Whether segments are walked, and scanned, on codes.
    pub(crate) coded: bool,
    /// The filter.
    pub(crate) allowed: Option<&'a RoaringBitmap>,
    /// Whether to stop.
    pub(crate) cancel: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// What is gathered while the parts are searched.
#[derive(Default)]
struct Gathered {
    candidates: Vec<Candidate>,
    evaluations: usize,
    cut_short: bool,
    walked: bool,
}

impl Searcher<'_> {
    /// Searches all parts.
    pub(crate) fn run(&self) -> Found {
        let mut got = Gathered::default();
        let plan = with_scratch(|scratch| {
            if self.view.live == 0 || self.k == 0 {
                return "empty";
            }
            match self.allowed {
                Some(allowed) if self.scan_pays(allowed) => {
                    self.scan_allowed(allowed, &mut got);
                    "filter scan"
                }
                _ => {
                    for (at, part) in self.view.segments.iter().enumerate() {
                        self.segment(at, part, scratch, &mut got);
                    }
                    for (at, part) in self.view.heads.iter().enumerate() {
                        self.head(at, part, scratch, &mut got);
                    }
                    match (got.walked, self.allowed) {
                        (false, _) => "scan",
                        (true, None) => "graph",
                        (true, Some(_)) => "filter graph",
                    }
                }
            }
        });
        let Gathered {
            candidates,
            evaluations,
            cut_short,
            ..
        } = got;
        let expected = match (plan, self.allowed) {
            ("filter scan", Some(allowed)) => allowed.len() as usize,
            (_, Some(allowed)) => self.expected_among(allowed),
            ("empty", _) => 0,
            _ => self.expected(),
        };
        Found {
            hits: self.report(candidates),
            evaluations,
            expected,
            ef: self.ef,
            plan,
            complete: !cut_short,
        }
    }

    /// Candidates that are computed again: the rounding of estimates and codes may swap neighbours
    /// around the `k`-th.
    fn wanted(&self) -> usize {
        (self.k + self.k / 4 + 40).max(self.ef / 2)
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_some_and(|cancel| cancel())
    }

    fn counts(&self, slot: u32) -> bool {
        !self.view.dead.contains(slot) && self.allowed.is_none_or(|allowed| allowed.contains(slot))
    }

    /// Whether scanning the allowed items costs less than finding them with a beam, of which every
    /// evaluation costs as much.
    fn scan_pays(&self, allowed: &RoaringBitmap) -> bool {
        allowed.len() <= self.expected_among(allowed) as u64
    }

    /// Evaluations to be expected of a beam that only these items count for. It goes through what
    /// does not count as well: measured, the evaluations grow a little more slowly than the share
    /// that counts falls.
    fn expected_among(&self, allowed: &RoaringBitmap) -> usize {
        let share = (allowed.len() as f64 / self.view.live.max(1) as f64).clamp(1e-9, 1.0);
        ((self.expected() as f64 * share.powf(-0.8)) as usize).min(self.view.held())
    }

    /// Whether a segment of `len` items is scanned rather than walked.
    fn is_scanned(&self, len: usize) -> bool {
        SCAN_ADVANTAGE * expected_evaluations(self.ef, len) >= len
    }

    /// Evaluations to be expected without scanning what a filter allows.
    fn expected(&self) -> usize {
        let segment = |len: usize| {
            if self.is_scanned(len) {
                len
            } else {
                expected_evaluations(self.ef, len)
            }
        };
        self.view
            .segments
            .iter()
            .map(|s| segment(s.segment.len()))
            .sum::<usize>()
            + self.view.heads.iter().map(|h| h.len).sum::<usize>()
    }

    fn scan_allowed(&self, allowed: &RoaringBitmap, got: &mut Gathered) {
        let mut in_segments: Vec<Vec<u32>> = vec![Vec::new(); self.view.segments.len()];
        let mut in_heads: Vec<Vec<u32>> = vec![Vec::new(); self.view.heads.len()];
        for slot in allowed {
            if self.view.dead.contains(slot) {
                continue;
            }
            match self.view.locate(slot) {
                Some(Place::Segment(at, local)) => in_segments[at].push(local),
                Some(Place::Head(at, local)) => in_heads[at].push(local),
                None => {}
            }
        }
        for (at, locals) in in_segments
            .iter()
            .enumerate()
            .filter(|(_, locals)| !locals.is_empty())
        {
            let segment = &*self.view.segments[at].segment;
            let biases = &self.biases.segments[at];
            let view = segment.rows.view();
            let mut score = RowScore::new(self.query, &view, biases);
            let found = self.scan(&mut score, locals, |l| segment.slots[l as usize], got);
            Self::keep(
                found,
                |l| (segment.slots[l as usize], Place::Segment(at, l)),
                got,
            );
        }
        for (at, locals) in in_heads
            .iter()
            .enumerate()
            .filter(|(_, locals)| !locals.is_empty())
        {
            let head = &*self.view.heads[at].head;
            let biases = &self.biases.heads[at];
            let mut score = RowScore::new(self.query, head, biases);
            let found = self.scan(&mut score, locals, |l| head.slot(l), got);
            Self::keep(found, |l| (head.slot(l), Place::Head(at, l)), got);
        }
    }

    fn segment(&self, at: usize, part: &SegmentView, scratch: &mut Scratch, got: &mut Gathered) {
        let segment = &*part.segment;
        let biases = &*self.biases.segments[at];
        let slots = &*segment.slots;
        let slot = |local: u32| slots[local as usize];
        let place = |local: u32| (slot(local), Place::Segment(at, local));
        let view = segment.rows.view();
        let exact = &mut RowScore::new(self.query, &view, biases);
        if self.is_scanned(segment.len()) {
            let locals: Vec<u32> = (0..segment.len() as u32)
                .filter(|&local| self.counts(slot(local)))
                .collect();
            let found = if self.coded && self.ef < segment.len() {
                self.scan(
                    &mut SegmentScore::new(segment, self.query, biases),
                    &locals,
                    slot,
                    got,
                )
            } else {
                self.scan(exact, &locals, slot, got)
            };
            Self::keep(found, place, got);
        } else if self.coded {
            self.walk(
                part,
                &mut SegmentScore::new(segment, self.query, biases),
                place,
                scratch,
                got,
            );
        } else {
            self.walk(part, exact, place, scratch, got);
        }
    }

    /// Walks a segment's graph.
    fn walk(
        &self,
        part: &SegmentView,
        score: &mut impl Score,
        place: impl Fn(u32) -> (u32, Place),
        scratch: &mut Scratch,
        got: &mut Gathered,
    ) {
        got.walked = true;
        let (edges, entries) = (&part.segment.edges, [part.segment.entry]);
        let walk = if part.dead == 0 && self.allowed.is_none() {
            beam::search(
                edges,
                &entries,
                self.ef,
                score,
                |_| true,
                self.cancel,
                scratch,
            )
        } else {
            let counts = |local| self.counts(place(local).0);
            beam::search(
                edges,
                &entries,
                self.ef,
                score,
                counts,
                self.cancel,
                scratch,
            )
        };
        got.evaluations += walk.evaluations;
        got.cut_short |= !walk.complete;
        let mut found = std::mem::take(&mut scratch.pool);
        found.truncate(self.wanted());
        Self::keep(found.iter().copied(), place, got);
        scratch.pool = found;
    }

    fn head(&self, at: usize, part: &HeadView, scratch: &mut Scratch, got: &mut Gathered) {
        let head = &*part.head;
        let biases = &self.biases.heads[at];
        let mut covered = head.covered();
        // A filter, many dead items or a wide beam would leave the graph with too few that count.
        let graph_pays = 2 * expected_evaluations(self.ef, covered) < covered;
        if self.allowed.is_some() || part.dead * 4 > part.len || !graph_pays {
            covered = 0;
        }
        let mut locals: Vec<u32> = (covered.min(part.len) as u32..part.len as u32).collect();
        if covered > 0 {
            got.walked = true;
            let query = HeadQuery {
                direction: self.query.padded.clone(),
                offset: self.query.offset,
                metric: self.query.metric.clone(),
                biases: Arc::clone(biases),
            };
            let (found, evaluations) = head.search_graph(query, self.ef, covered);
            got.evaluations += evaluations;
            locals.extend(
                found
                    .into_iter()
                    .filter(|&local| (local as usize) < part.len),
            );
        }
        locals.retain(|&local| self.counts(head.slot(local)));
        let mut score = RowScore::new(self.query, head, biases);
        let found = self.scan(&mut score, &locals, |l| head.slot(l), got);
        Self::keep(found, |l| (head.slot(l), Place::Head(at, l)), got);
        scratch.pool.clear();
    }

    /// The best of `locals`, by estimate and slot.
    fn scan(
        &self,
        score: &mut impl Score,
        locals: &[u32],
        slot: impl Fn(u32) -> u32,
        got: &mut Gathered,
    ) -> Vec<Scored> {
        const STEP: usize = 1024;
        let mut best = Best::new(self.wanted(), locals.len());
        let mut estimates = Vec::with_capacity(STEP.min(locals.len()));
        for locals in locals.chunks(STEP) {
            if self.cancelled() {
                got.cut_short = true;
                break;
            }
            estimates.clear();
            score.score(locals, &mut estimates);
            got.evaluations += locals.len();
            best.offer(locals, &estimates, &slot);
        }
        best.sorted()
    }

    fn keep(
        found: impl IntoIterator<Item = Scored>,
        place: impl Fn(u32) -> (u32, Place),
        got: &mut Gathered,
    ) {
        got.candidates.extend(found.into_iter().map(|scored| {
            let (slot, place) = place(scored.id);
            Candidate {
                estimate: scored.distance,
                slot,
                place,
            }
        }));
    }

    /// Computes the distances of the best candidates again and sorts by them. It ends when what is
    /// left is farther by its estimates than the `k`-th found, though they were twice as wrong as
    /// any so far.
    fn report(&self, mut candidates: Vec<Candidate>) -> Vec<Neighbour> {
        candidates
            .sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate).then(a.slot.cmp(&b.slot)));
        candidates.truncate(self.wanted());
        let (mut scratch, mut room) = (Vec::new(), Room::new());
        let mut hits: Vec<Neighbour> = Vec::with_capacity(candidates.len());
        // The largest error of an estimate so far.
        let mut error = 0.0_f32;
        let mut rest = candidates.as_slice();
        while let Some(next) = rest.first() {
            if hits.len() >= self.k && next.estimate - 2.0 * error > kth(&mut hits, self.k) {
                break;
            }
            let (block, later) =
                rest.split_at(
                    rest.len()
                        .min(if hits.is_empty() { self.k + SURE } else { SURE }),
                );
            for candidate in block {
                match candidate.place {
                    Place::Segment(at, local) => self.view.segments[at].segment.prefetch(local),
                    Place::Head(at, local) => self.view.heads[at].head.prefetch(local),
                }
            }
            for candidate in block {
                let (row, bias) = match candidate.place {
                    Place::Segment(at, local) => {
                        let segment = &*self.view.segments[at].segment;
                        (
                            segment.row(local, &mut room),
                            self.biases.segments[at].get(local),
                        )
                    }
                    Place::Head(at, local) => (
                        self.view.heads[at].head.row(local, &mut room),
                        self.biases.heads[at].get(local),
                    ),
                };
                let distance = self.query.exact(row, bias, &mut scratch);
                error = error.max((distance - candidate.estimate).abs());
                hits.push(Neighbour {
                    slot: candidate.slot,
                    distance,
                });
            }
            rest = later;
        }
        hits.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.slot.cmp(&b.slot)));
        if let Some(last) = self
            .k
            .checked_sub(1)
            .and_then(|last| hits.get(last))
            .map(|hit| hit.distance)
        {
            hits.truncate(hits.partition_point(|hit| hit.distance <= last));
        }
        hits
    }
}
