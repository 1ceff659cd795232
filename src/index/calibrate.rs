//! Calibration: measures on the collection itself which beam width reaches a recall.
//!
//! Items would be too easy as queries, since the walk leads straight to them. The sample queries
//! are items moved by as much as their nearest neighbour is away: every other one along the
//! difference of two of its neighbours, which keeps it among the items, the rest towards a distant
//! item, which takes it between them. (On 100,000 word vectors the first kind is found a little too
//! easily, the second too rarely; real queries lie between.) They are searched for with growing
//! beams, and the results compared with the exact neighbours. The recall of each beam is recorded
//! less its standard error, since a sample can be lucky; a search takes the narrowest beam that
//! reaches its recall.

use crate::index::calibrations::{Curve, MAX_MEASURED_RECALL};
use crate::index::quantizer::are_codes_walked;
use crate::index::query::RewrittenQuery;
use crate::index::search::{Neighbour, Searcher, SnapshotBiases, nearest_exactly};
use crate::index::shared::{Shared, lock};
use crate::index::snapshot::Snapshot;
use crate::index::versioned::Versioned;
use crate::model::DEFAULT_RECALL;
use crate::slot::Slot;
use crate::sum::squared_distance;

/// Sample queries.
const QUERIES: usize = 200;
/// Neighbours by which recall is measured.
const K: usize = 10;
/// The beam widths that are measured, until one reaches [`MAX_MEASURED_RECALL`].
const WIDTHS: [usize; 13] = [32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024];
/// If walks on codes need a beam of at least this width, walks on vectors are measured too.
const COARSE_CODES_FROM: usize = 384;
/// A walk on vectors takes about this many times as long as one of the same width on codes.
const VECTORS_COST: usize = 3;
/// How far a query is moved towards a distant item at most, as a share of the way.
const MAX_SHARE_TO_DISTANT: f64 = 0.5;

/// Beam width for an uncalibrated metric up to the default recall, if the graph's order is right.
const UNCALIBRATED_EF: usize = 128;
/// An uncalibrated search beyond the default recall takes a beam this many times as wide.
const HIGH_RECALL_FACTOR: usize = 4;

/// A safe beam width until the metric is calibrated. It grows with the metric's distortion, which
/// bounds how far the order of the graph can be wrong under the metric.
pub(crate) fn uncalibrated(snapshot: &Snapshot, metric: &Versioned, recall: f64) -> usize {
    let width = if recall > DEFAULT_RECALL {
        HIGH_RECALL_FACTOR * UNCALIBRATED_EF
    } else {
        UNCALIBRATED_EF
    };
    // The graphs of growing segments are built under version 0, whatever metric is active.
    let is_native = metric.is_base()
        || snapshot
            .sealed
            .iter()
            .all(|view| view.segment.built_under == metric.version);
    if is_native {
        return width;
    }
    match metric.metric.distortion() {
        c if c <= 1.5 => width,
        c if c <= 4.0 => 2 * width,
        _ => 4 * width,
    }
}

/// The searches of one calibration.
struct Calibration<'a> {
    snapshot: &'a Snapshot,
    biases: &'a SnapshotBiases,
    metric: &'a Versioned,
    cancel: &'a (dyn Fn() -> bool + Sync),
}

impl Calibration<'_> {
    /// The slots that a search with a beam of width `ef` finds.
    fn find(&self, query: &RewrittenQuery<'_>, ef: usize, coded: bool) -> Vec<Slot> {
        let searcher = Searcher {
            snapshot: self.snapshot,
            query,
            biases: self.biases,
            k: K,
            ef,
            coded,
            allowed: None,
            cancel: Some(self.cancel),
        };
        searcher
            .run()
            .hits
            .iter()
            .map(|hit| Slot(hit.slot))
            .collect()
    }

    /// The curve of walks on codes, or on vectors if codes lead walks astray or vectors are
    /// cheaper. `None` if it was cancelled.
    fn measure(&self, sample: &[Vec<f32>], coded: bool) -> Option<Curve> {
        let queries: Vec<RewrittenQuery<'_>> = sample
            .iter()
            .map(|vector| RewrittenQuery::new(self.metric, vector))
            .collect();
        let exact = nearest_exactly(self.snapshot, self.biases, &queries, K, self.cancel)?;
        if !coded {
            let mut curve = self.curve(&queries, &exact, false)?;
            // Where codes are never walked, curves need not say so.
            curve.on_vectors = false;
            return Some(curve);
        }
        let by_codes = self.curve(&queries, &exact, true)?;
        let codes_ef = by_codes.narrowest(DEFAULT_RECALL);
        if codes_ef.is_some_and(|ef| ef < COARSE_CODES_FROM) {
            return Some(by_codes);
        }
        let by_vectors = self.curve(&queries, &exact, false)?;
        let vectors_ef = by_vectors.narrowest(DEFAULT_RECALL);
        let are_vectors_better = codes_ef.is_none_or(|codes_ef| {
            vectors_ef.is_some_and(|vectors_ef| VECTORS_COST * vectors_ef <= codes_ef)
        });
        Some(if are_vectors_better {
            by_vectors
        } else {
            by_codes
        })
    }

    /// The recall of growing beams; `None` if it was cancelled.
    fn curve(
        &self,
        queries: &[RewrittenQuery<'_>],
        exact: &[Vec<Neighbour>],
        coded: bool,
    ) -> Option<Curve> {
        let mut points = Vec::new();
        for ef in WIDTHS {
            let recalls: Vec<f64> = queries
                .iter()
                .zip(exact)
                .map(|(query, exact)| share_found(exact, &self.find(query, ef, coded)))
                .collect();
            if (self.cancel)() {
                return None;
            }
            let reached = less_standard_error(&recalls);
            points.push((ef, reached));
            if reached >= MAX_MEASURED_RECALL {
                break;
            }
        }
        Some(Curve {
            on_vectors: !coded,
            points,
        })
    }
}

impl Shared {
    /// Calibrates a metric. Does nothing while there is no sealed segment.
    pub(crate) fn calibrate(&self, metric: &Versioned, cancel: &(dyn Fn() -> bool + Sync)) {
        // The segments must not change until the measurement is recorded.
        let _building = lock(&self.building);
        let snapshot = self.snapshot.load_full();
        if self.check_metric(metric).is_err() || snapshot.sealed.is_empty() {
            return;
        }
        let calibration = Calibration {
            snapshot: &snapshot,
            biases: &SnapshotBiases::of(&snapshot, &self.biases, metric.version),
            metric,
            cancel,
        };
        let coded = are_codes_walked(self.dim);
        let sample = self.sample_queries(&snapshot, |vector| {
            calibration.find(&RewrittenQuery::new(metric, vector), WIDTHS[0], coded)
        });
        if let Some(curve) = calibration.measure(&sample, coded) {
            self.calibrations.set(metric.version, curve);
        }
    }

    /// Sample queries near the items of a snapshot, always the same for the same items; `find`
    /// returns the slots of a vector's neighbours.
    fn sample_queries(
        &self,
        snapshot: &Snapshot,
        find: impl Fn(&[f32]) -> Vec<Slot>,
    ) -> Vec<Vec<f32>> {
        let live = snapshot.live_slots();
        let stride = (live.len() / (2 * QUERIES)).max(1);
        let slots = live
            .iter()
            .skip(stride / 2)
            .step_by(stride)
            .take(2 * QUERIES);
        let items: Vec<SampleItem> = slots
            .filter_map(|slot| {
                Some(SampleItem {
                    slot: *slot,
                    vector: self.vector(*slot)?,
                })
            })
            .collect();
        let (pairs, _) = items.as_chunks::<2>();
        let queries = pairs.iter().enumerate().map(|(i, [item, distant])| {
            let others = find(&item.vector)
                .into_iter()
                .filter(|slot| *slot != item.slot);
            let neighbours: Vec<Vec<f32>> = others.filter_map(|slot| self.vector(slot)).collect();
            sample_query(i, &item.vector, &neighbours, &distant.vector)
        });
        queries.collect()
    }
}

/// An item from which a sample query is made.
struct SampleItem {
    slot: Slot,
    vector: Vec<f32>,
}

/// Query `i`: `x` moved by as much as its nearest neighbour is away, in the direction between two of
/// its neighbours if `i` is even, else towards `distant`. `x` itself if it has no neighbours.
fn sample_query(i: usize, x: &[f32], neighbours: &[Vec<f32>], distant: &[f32]) -> Vec<f32> {
    let (Some(first), Some(last)) = (neighbours.first(), neighbours.last()) else {
        return x.to_vec();
    };
    let squared_length = squared_distance(x, first);
    let (direction, max_share) = if i.is_multiple_of(2) {
        (
            Towards {
                from: first,
                to: last,
            },
            1.0,
        )
    } else {
        let direction = Towards {
            from: x,
            to: distant,
        };
        (direction, MAX_SHARE_TO_DISTANT)
    };
    moved(x, squared_length, direction, max_share)
}

/// The direction from one vector to another.
struct Towards<'a> {
    from: &'a [f32],
    to: &'a [f32],
}

/// `x` moved in a direction by the square root of `squared_length`, but at most by `max_share` of
/// the difference that defines the direction.
fn moved(x: &[f32], squared_length: f64, direction: Towards<'_>, max_share: f64) -> Vec<f32> {
    let Towards { from, to } = direction;
    let share = (squared_length / squared_distance(from, to)).sqrt();
    let share = if share.is_finite() {
        share.min(max_share) as f32
    } else {
        0.0
    };
    x.iter()
        .zip(from.iter().zip(to))
        .map(|(x, (from, to))| x + share * (to - from))
        .collect()
}

/// The share of the exact neighbours that was found.
fn share_found(exact: &[Neighbour], found: &[Slot]) -> f64 {
    let count = exact
        .iter()
        .filter(|neighbour| found.contains(&Slot(neighbour.slot)))
        .count();
    count as f64 / exact.len().max(1) as f64
}

/// The mean of values, less its standard error.
fn less_standard_error(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (n - 1.0).max(1.0);
    mean - (variance / n).sqrt()
}
