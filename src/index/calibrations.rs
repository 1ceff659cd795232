//! Measured recall of beam widths, by metric version.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Recall at which a measurement ends: no wider beam is tried.
pub(crate) const MAX_MEASURED_RECALL: f64 = 0.995;
/// A recall that no measured beam reaches takes this many times the widest one.
const BEYOND_MEASURED: usize = 4;

/// The recall that beam widths reach under one metric, less the standard error, narrowest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Curve {
    /// Whether the walks were on vectors, since codes lead walks astray.
    pub(crate) on_vectors: bool,
    /// Beam width and recall, 0 to 1.
    pub(crate) points: Vec<(usize, f64)>,
}

impl Curve {
    /// The first point of the stored form of a curve whose walks were on vectors.
    const ON_VECTORS: (usize, f64) = (0, 0.0);

    /// Reads the stored form: the points, after a point of width 0 if walks were on vectors.
    pub(crate) fn from_stored(mut points: Vec<(usize, f64)>) -> Self {
        let on_vectors = points.first() == Some(&Self::ON_VECTORS);
        if on_vectors {
            points.remove(0);
        }
        Self { on_vectors, points }
    }

    /// The stored form; see [`Self::from_stored`].
    pub(crate) fn to_stored(&self) -> Vec<(usize, f64)> {
        let marker = self.on_vectors.then_some(Self::ON_VECTORS);
        marker.into_iter().chain(self.points.clone()).collect()
    }

    /// The width of the narrowest beam that reaches `recall`.
    pub(crate) fn narrowest(&self, recall: f64) -> Option<usize> {
        self.points
            .iter()
            .find(|(_, reached)| *reached >= recall)
            .map(|(ef, _)| *ef)
    }

    /// The beam for a recall; `None` if nothing was measured.
    fn beam(&self, recall: f64) -> Option<Beam> {
        let (widest, _) = self.points.last()?;
        let ef = self
            .narrowest(recall)
            .unwrap_or(widest.saturating_mul(BEYOND_MEASURED));
        let reaches = self.narrowest(recall.min(MAX_MEASURED_RECALL)).is_some();
        Some(Beam {
            ef,
            coded: !self.on_vectors && reaches,
        })
    }
}

/// How segments are to be walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beam {
    /// Width of the beam.
    pub(crate) ef: usize,
    /// Whether walks on codes reach the recall.
    pub(crate) coded: bool,
}

/// Curves by metric version.
#[derive(Debug, Default)]
pub(crate) struct Calibrations(Mutex<BTreeMap<u32, Curve>>);

impl Calibrations {
    /// Begins with the curves of an earlier session.
    pub(crate) fn new(known: BTreeMap<u32, Curve>) -> Self {
        Self(Mutex::new(known))
    }

    /// The beam for a metric and a recall, if the metric was measured.
    pub(crate) fn beam(&self, version: u32, recall: f64) -> Option<Beam> {
        self.curves().get(&version)?.beam(recall)
    }

    /// Whether a metric was measured.
    pub(crate) fn contains(&self, version: u32) -> bool {
        self.curves().contains_key(&version)
    }

    /// All curves.
    pub(crate) fn all(&self) -> BTreeMap<u32, Curve> {
        self.curves().clone()
    }

    /// Drops all curves.
    pub(crate) fn clear(&self) {
        self.curves().clear();
    }

    /// Sets the curve of a metric.
    pub(crate) fn set(&self, version: u32, curve: Curve) {
        self.curves().insert(version, curve);
    }

    fn curves(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Curve>> {
        // Curves are whole whenever the lock is free, even if a thread panicked with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_read_as_it_was_stored() {
        for on_vectors in [false, true] {
            for points in [vec![], vec![(32, 0.5)], vec![(32, 0.5), (48, 0.97)]] {
                let curve = Curve { on_vectors, points };
                assert_eq!(Curve::from_stored(curve.to_stored()), curve);
            }
        }
    }
}
