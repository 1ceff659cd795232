//! One search over all segments of a snapshot: each is scanned or walked, the candidates of all are
//! merged, and the distances of the best are computed exactly.

mod exact;
mod range;
mod report;
mod segments;

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::index::bias::{BiasCache, Biases};
use crate::index::calibrations::Schedule;
use crate::index::graph::beam::with_scratch;
use crate::index::nearest::Scored;
use crate::index::query::RewrittenQuery;
use crate::index::snapshot::{Location, Snapshot};
use crate::model::{Plan, QueryForm};
use crate::slot::Slot;

pub(crate) use exact::nearest_exactly;

/// Options of a search.
#[derive(Clone, Copy, Default)]
pub(crate) struct SearchParams<'a> {
    /// Number of hits of which the recall is promised.
    pub(crate) k: usize,
    /// Number of hits after these that are listed too, as far as the search came by them.
    pub(crate) further: usize,
    /// What is known of the query.
    pub(crate) form: QueryForm,
    /// Width of the beam; `None` takes the one calibrated for `recall`.
    pub(crate) ef: Option<usize>,
    /// Recall to aim at, above 0 and at most 1; `None` takes the default.
    pub(crate) recall: Option<f64>,
    /// Slots that may be found; `None` allows all.
    pub(crate) allowed: Option<&'a RoaringBitmap>,
    /// The snapshot to search; `None` takes the latest.
    pub(crate) at: Option<&'a Arc<Snapshot>>,
    /// Returns whether to stop; called now and then. The hits found until then are returned.
    pub(crate) cancel: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// An item that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    /// The item's slot.
    pub(crate) slot: u32,
    /// The item's distance to the query.
    pub(crate) distance: f32,
}

/// The result of a search and how it was obtained.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// Hits by distance, then by slot. There are more than asked for if further hits tie with the
    /// last.
    pub(crate) hits: Vec<Neighbour>,
    /// Number of distances computed.
    pub(crate) evaluations: usize,
    /// Number of distances that the plan was expected to compute.
    pub(crate) expected: usize,
    /// Width of the beam that was given or reached.
    pub(crate) ef: usize,
    /// The recall to be expected, where it was measured.
    pub(crate) expected_recall: Option<f32>,
    /// The checksum of the calibration that the search went by.
    pub(crate) calibration: Option<u32>,
    /// The distance of the `k`-th item, or of the tenth if that is farther, when the walk of the
    /// largest segment came to rest.
    pub(crate) rest: Option<f32>,
    /// How the segments were searched.
    pub(crate) plan: Plan,
    /// False if the search was cancelled before it was done.
    pub(crate) complete: bool,
}

/// An item found by its estimated distance.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    estimate: f32,
    slot: Slot,
    location: Location,
}

/// Cost model of walks: evaluations of a beam of width `ef` among `len` items are about
/// `EVALUATIONS_PER_EF * ef + EVALUATIONS_TO_ENTER`. Measured at 100,000 items: 9 to 14 times `ef`.
const EVALUATIONS_PER_EF: usize = 12;
const EVALUATIONS_TO_ENTER: usize = 400;
/// One evaluation of a scan, which reads rows in order, is about this much cheaper than one of a
/// walk.
const SCAN_ADVANTAGE: usize = 3;
/// A filter multiplies the evaluations of a walk by the allowed share to this power. Measured: they
/// grow a little more slowly than the share falls.
const FILTER_EXPONENT: f64 = -0.8;
/// Candidates beyond `k` whose distances are computed exactly: `k / EXTRA_SHARE + EXTRA`.
const EXTRA: usize = 40;
const EXTRA_SHARE: usize = 4;
/// The bound of an adaptive search follows at least the distance of the so many-th item.
const MIN_RANK: usize = 10;

/// The number of evaluations to be expected of a beam of width `ef` among `len` items.
fn expected_evaluations(ef: usize, len: usize) -> usize {
    (EVALUATIONS_PER_EF * ef + EVALUATIONS_TO_ENTER).min(len)
}

/// The width of the beam of which so many evaluations are to be expected.
pub(crate) fn width_of(evaluations: usize) -> usize {
    evaluations.saturating_sub(EVALUATIONS_TO_ENTER) / EVALUATIONS_PER_EF
}

/// The number of evaluations of a walk that take as long as a scan of `len` items.
pub(crate) fn evaluations_of_scan(len: usize) -> usize {
    len / SCAN_ADVANTAGE
}

/// The biases of a snapshot's segments under one metric. They stay in memory during a search even
/// if the cache evicts them.
#[derive(Debug)]
pub(crate) struct SnapshotBiases {
    sealed: Vec<Arc<Biases>>,
    growing: Vec<Arc<Biases>>,
}

impl SnapshotBiases {
    /// The biases of `snapshot` under metric `version`, in the order of its segments.
    pub(crate) fn of(snapshot: &Snapshot, cache: &BiasCache, version: u32) -> Self {
        let sealed = snapshot
            .sealed
            .iter()
            .map(|view| cache.of(version, view.segment.id, view.segment.len()))
            .collect();
        let growing = snapshot
            .growing
            .iter()
            .map(|view| cache.of(version, view.segment.id, view.segment.capacity()))
            .collect();
        Self { sealed, growing }
    }
}

/// One search on one snapshot.
pub(crate) struct Searcher<'a> {
    /// The snapshot.
    pub(crate) snapshot: &'a Snapshot,
    /// The query.
    pub(crate) query: &'a RewrittenQuery<'a>,
    /// The biases of the snapshot's segments.
    pub(crate) biases: &'a SnapshotBiases,
    /// Number of hits that the search goes far enough for.
    pub(crate) k: usize,
    /// Number of hits that are reported: `k`, or more of those that it comes by.
    pub(crate) listed: usize,
    /// Width of the beam, at least `k`. An adaptive search is expected to come to it in the mean.
    pub(crate) ef: usize,
    /// How far an adaptive search goes; `None` for one of fixed width.
    pub(crate) schedule: Option<&'a Schedule>,
    /// Whether sealed segments are walked, and scanned, on codes.
    pub(crate) coded: bool,
    /// Slots that may be found; `None` allows all.
    pub(crate) allowed: Option<&'a RoaringBitmap>,
    /// Returns whether to stop.
    pub(crate) cancel: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// Results of the segments searched so far.
#[derive(Default)]
struct Gathered {
    candidates: Vec<Candidate>,
    evaluations: usize,
    /// Whether the search was cancelled.
    cut_short: bool,
    /// Whether a graph was walked.
    walked: bool,
    /// Whether a segment was scanned after a walk.
    scanned: bool,
    /// Number of candidates whose distances are computed exactly, if it is more than
    /// [`Searcher::wanted`].
    wanted: usize,
    /// The largest width that a walk reached.
    width: usize,
    /// See [`Found::rest`].
    rest: Option<f32>,
    /// The recall to be expected of the walk of the largest segment.
    expected_recall: Option<f32>,
}

impl Gathered {
    /// Adds the items found in one segment; `locate` maps an item's number to its slot and
    /// location.
    fn add(
        &mut self,
        found: impl IntoIterator<Item = Scored>,
        locate: impl Fn(u32) -> (Slot, Location),
    ) {
        self.candidates.extend(found.into_iter().map(|scored| {
            let (slot, location) = locate(scored.id);
            Candidate {
                estimate: scored.distance,
                slot,
                location,
            }
        }));
    }
}

impl Searcher<'_> {
    /// Searches all segments.
    pub(crate) fn run(&self) -> Found {
        let mut gathered = Gathered::default();
        let plan = self.search_segments(&mut gathered);
        let expected = match (plan, self.allowed) {
            (Plan::FilterScan, Some(allowed)) => allowed.len() as usize,
            (_, Some(allowed)) => self.expected_among(allowed),
            (Plan::Empty, None) => 0,
            (_, None) => self.expected(),
        };
        Found {
            hits: self.report(std::mem::take(&mut gathered.candidates), gathered.wanted),
            evaluations: gathered.evaluations,
            expected,
            ef: match self.schedule {
                Some(_) if gathered.walked => gathered.width,
                _ => self.ef,
            },
            expected_recall: match plan {
                Plan::Scan | Plan::FilterScan | Plan::Empty => Some(1.0),
                _ => gathered.expected_recall,
            },
            calibration: self.schedule.and_then(Schedule::calibration),
            rest: gathered.rest,
            plan,
            complete: !gathered.cut_short,
        }
    }

    fn search_segments(&self, gathered: &mut Gathered) -> Plan {
        if self.snapshot.live == 0 || self.k == 0 {
            return Plan::Empty;
        }
        if let Some(allowed) = self.allowed
            && self.scan_pays(allowed)
        {
            self.scan_allowed(allowed, gathered);
            return Plan::FilterScan;
        }
        with_scratch(|scratch| {
            for (at, view) in self.snapshot.sealed.iter().enumerate() {
                self.search_sealed(at, view, scratch, gathered);
            }
        });
        for (at, view) in self.snapshot.growing.iter().enumerate() {
            self.search_growing(at, view, gathered);
        }
        match (gathered.walked, self.allowed) {
            (false, _) => Plan::Scan,
            (true, None) if gathered.scanned => Plan::GraphThenScan,
            (true, None) => Plan::Graph,
            (true, Some(_)) => Plan::FilterGraph,
        }
    }

    /// The rank whose distance the bound of an adaptive search follows.
    fn rank(&self) -> usize {
        self.k.max(MIN_RANK)
    }

    /// Number of candidates whose distances are computed exactly: the rounding of estimates and
    /// codes may exchange neighbours around the `k`-th.
    fn wanted(&self) -> usize {
        (self.listed + self.listed / EXTRA_SHARE + EXTRA).max(self.ef / 2)
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(|cancel| cancel())
    }

    /// Whether the item in `slot` may be found.
    fn is_eligible(&self, slot: Slot) -> bool {
        !self.snapshot.dead.contains(slot)
            && self.allowed.is_none_or(|allowed| allowed.contains(slot.0))
    }

    /// Whether scanning the allowed items takes no more evaluations than finding them by a walk.
    fn scan_pays(&self, allowed: &RoaringBitmap) -> bool {
        allowed.len() <= self.expected_among(allowed) as u64
    }

    /// The number of evaluations to be expected of a search that finds only `allowed` slots, but
    /// walks through others.
    fn expected_among(&self, allowed: &RoaringBitmap) -> usize {
        let share = (allowed.len() as f64 / self.snapshot.live.max(1) as f64).clamp(1e-9, 1.0);
        ((self.expected() as f64 * share.powf(FILTER_EXPONENT)) as usize).min(self.snapshot.held())
    }

    /// Whether a sealed segment of `len` items is scanned rather than walked. Of an adaptive search,
    /// only the shortest walk is known before.
    fn is_scanned(&self, len: usize) -> bool {
        let ef = match self.schedule {
            Some(_) => self.rank(),
            None => self.ef,
        };
        SCAN_ADVANTAGE * expected_evaluations(ef, len) >= len
    }

    /// The number of evaluations to be expected of a search without a filter.
    fn expected(&self) -> usize {
        let of_sealed = |len: usize| {
            if self.is_scanned(len) {
                len
            } else {
                expected_evaluations(self.ef, len)
            }
        };
        let sealed = self
            .snapshot
            .sealed
            .iter()
            .map(|view| of_sealed(view.segment.len()));
        let growing = self.snapshot.growing.iter().map(|view| view.len);
        sealed.chain(growing).sum()
    }
}
