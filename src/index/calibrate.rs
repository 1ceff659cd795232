//! Recall as a promise: the beam width that reaches the recall target, measured on the collection
//! itself.
//!
//! What is asked is rarely an item, so items would be too easy as queries: the beam walks straight
//! to them. The queries are items moved as far as their nearest neighbour is: every other one along
//! the difference of two of its neighbours, which keeps it among the items, the rest towards an
//! item far off, which takes it between them. (On 100,000 word vectors the first kind is found a
//! little too well, the second too badly; real queries lie between.) They are searched for with
//! growing beams and compared with the exact answer. The recall of each beam is kept, less its
//! standard error, since a sample can be lucky; a search takes the narrowest beam that reaches the
//! recall it wants.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::codes;
use super::query::Query;
use super::search::{PartBiases, Searcher, scan_all};
use super::write::{Shared, lock};
use super::{Versioned, view::View};

/// Recall that the default beam width is to reach.
pub(crate) const TARGET: f64 = 0.95;
const QUERIES: usize = 200;
const K: usize = 10;
const WIDTHS: [usize; 13] = [32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024];

/// Recall beyond which no wider beam is measured.
const ENOUGH: f64 = 0.995;

/// Codes that need a beam so wide may be too coarse: walks on the numbers are measured as well.
const WIDE: usize = 384;
/// A walk on numbers takes about so many times as long as one on codes that is as wide.
const NUMBERS_COST: usize = 3;

/// The recall that beam widths reach, but for bad luck, narrowest first. Where codes lead astray,
/// width 0 stands before the others, which are then of walks on the numbers themselves.
pub(crate) type Curve = Vec<(usize, f64)>;

const ON_NUMBERS: (usize, f64) = (0, 0.0);

/// How wide a beam is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Width {
    pub(crate) ef: usize,
    /// Whether walks on codes reach the recall.
    pub(crate) coded: bool,
}

/// Curves by metric version.
#[derive(Debug, Default)]
pub(crate) struct Calibrations(Mutex<BTreeMap<u32, Curve>>);

impl Calibrations {
    /// The width for a metric and a recall, if it was measured.
    pub(crate) fn get(&self, version: u32, recall: f64) -> Option<Width> {
        let curves = lock(&self.0);
        let curve = curves.get(&version)?;
        let reaches = |recall| narrowest(curve, recall);
        // Beyond what was measured: four times the widest.
        let ef = reaches(recall).or_else(|| curve.last().map(|(ef, _)| ef.saturating_mul(4)))?;
        Some(Width {
            ef,
            coded: curve.first() != Some(&ON_NUMBERS) && reaches(recall.min(ENOUGH)).is_some(),
        })
    }

    /// Starts with what an earlier session measured.
    pub(crate) fn new(known: BTreeMap<u32, Curve>) -> Self {
        Self(Mutex::new(known))
    }

    /// Whether a metric was measured.
    pub(crate) fn knows(&self, version: u32) -> bool {
        lock(&self.0).contains_key(&version)
    }

    /// Everything that was measured.
    pub(crate) fn all(&self) -> BTreeMap<u32, Curve> {
        lock(&self.0).clone()
    }

    /// Forgets everything that was measured.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    fn set(&self, version: u32, curve: Curve) {
        lock(&self.0).insert(version, curve);
    }
}

/// A width to be safe with until the metric is calibrated, from how far the graph's order can be
/// wrong under it.
pub(crate) fn uncalibrated(view: &View, metric: &Versioned, recall: f64) -> usize {
    let width = if recall > TARGET { 4 } else { 1 };
    // Heads are linked under version 0, whatever is active.
    if metric.version == 0
        || view
            .segments
            .iter()
            .all(|part| part.segment.linked_under == metric.version)
    {
        return 128 * width;
    }
    match metric.metric.distortion() {
        c if c <= 1.5 => 128 * width,
        c if c <= 4.0 => 256 * width,
        _ => 512 * width,
    }
}

impl Shared {
    /// Measures the width for a metric. Does nothing while no part is large enough for a graph.
    pub(crate) fn calibrate(&self, metric: &Versioned, cancel: &(dyn Fn() -> bool + Sync)) {
        // What is measured must be what is there when it is noted.
        let _linking = lock(&self.linking);
        let view = self.view.load_full();
        if self.check_metric(metric).is_err() || view.segments.is_empty() {
            return;
        }
        let biases = PartBiases::of(&view, &self.biases, metric.version);
        let find = |query: &Query<'_>, ef: usize, coded: bool| -> Vec<u32> {
            let (view, biases) = (&view, &biases);
            let searcher = Searcher {
                view,
                query,
                biases,
                k: K,
                ef,
                coded,
                allowed: None,
                cancel: Some(cancel),
            };
            searcher.run().hits.iter().map(|hit| hit.slot).collect()
        };
        let coded = codes::are_walked(self.dim);
        let strangers = self.sample(&view, |vector| {
            find(&Query::new(metric, vector), WIDTHS[0], coded)
        });
        let queries: Vec<Query<'_>> = strangers
            .iter()
            .map(|vector| Query::new(metric, vector))
            .collect();
        let Some(exact) = scan_all(&view, &biases, &queries, K, cancel) else {
            return;
        };
        let measure = |coded: bool, curve: &mut Curve| {
            for ef in WIDTHS {
                let recalls: Vec<f64> = queries
                    .iter()
                    .zip(&exact)
                    .map(|(query, exact)| {
                        let found = find(query, ef, coded);
                        let found = exact.iter().filter(|hit| found.contains(&hit.slot)).count();
                        found as f64 / exact.len().max(1) as f64
                    })
                    .collect();
                if cancel() {
                    return false;
                }
                let reached = less_standard_error(&recalls);
                curve.push((ef, reached));
                if reached >= ENOUGH {
                    break;
                }
            }
            true
        };
        let mut curve = Curve::new();
        let mut measured = measure(coded, &mut curve);
        if measured && coded && narrowest(&curve, TARGET).is_none_or(|ef| ef >= WIDE) {
            let mut on_numbers = vec![ON_NUMBERS];
            measured = measure(false, &mut on_numbers);
            let cheaper =
                |coded| narrowest(&on_numbers, TARGET).is_some_and(|ef| NUMBERS_COST * ef <= coded);
            if narrowest(&curve, TARGET).is_none_or(cheaper) {
                curve = on_numbers;
            }
        }
        if !measured {
            return;
        }
        self.calibrations.set(metric.version, curve);
    }

    /// Strangers to the items of the view, always the same ones for the same items: half of them
    /// among an item's neighbours, half on the way to an item far off.
    fn sample(&self, view: &View, find: impl Fn(&[f32]) -> Vec<u32>) -> Vec<Vec<f32>> {
        let live = view.live_slots();
        let step = (live.len() / (2 * QUERIES)).max(1);
        let slots = live.iter().skip(step / 2).step_by(step).take(2 * QUERIES);
        let found: Vec<(u32, Vec<f32>)> = slots
            .filter_map(|slot| Some((*slot, self.vector(*slot)?)))
            .collect();
        let (pairs, _) = found.as_chunks::<2>();
        let stranger = |(i, [(slot, x), (_, far)]): (usize, &[(u32, Vec<f32>); 2])| {
            let near: Vec<Vec<f32>> = find(x)
                .into_iter()
                .filter(|other| other != slot)
                .filter_map(|other| self.vector(other))
                .collect();
            let (Some(first), Some(last)) = (near.first(), near.last()) else {
                return x.clone();
            };
            let (from, to, most) = if i % 2 == 0 {
                (first, last, 1.0)
            } else {
                (x, far, 0.5)
            };
            let way = (square(x, first) / square(from, to)).sqrt();
            let way = if way.is_finite() {
                way.min(most) as f32
            } else {
                0.0
            };
            x.iter()
                .zip(from.iter().zip(to))
                .map(|(x, (a, b))| x + way * (b - a))
                .collect()
        };
        pairs.iter().enumerate().map(stranger).collect()
    }
}

/// The narrowest beam that reaches a recall.
fn narrowest(curve: &Curve, recall: f64) -> Option<usize> {
    curve
        .iter()
        .find(|(_, found)| *found >= recall)
        .map(|(ef, _)| *ef)
}

/// A mean, less its standard error.
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

/// Squared Euclidean distance.
fn square(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}
