//! The comparison of two metrics: their distance, and the directions along which they differ most.

use affinis::plugin::{Comparison, LearnError, Metric};
use ndarray::Array2;

use crate::spd::GeneralizedEigen;

/// Largest number of most changed directions that are given.
const MAX_DIRECTIONS: usize = 10;

/// The affine-invariant Riemannian distance (Bhatia 2007, chapter 6) and the largest factors
/// between two metrics.
pub(crate) fn compare(a: &dyn Metric, b: &dyn Metric) -> Result<Comparison, LearnError> {
    if a.dim() != b.dim() {
        return Err(LearnError::NotAMetric(format!(
            "metrics of dimension {} and {} cannot be compared",
            a.dim(),
            b.dim()
        )));
    }
    let (a, b) = (matrix(a)?, matrix(b)?);
    let mut factors = GeneralizedEigen::between(a.view(), b.view())?.values();
    let distance = factors.iter().map(|w| w.ln().powi(2)).sum::<f64>().sqrt();
    factors.sort_by(|x, y| y.ln().abs().total_cmp(&x.ln().abs()));
    factors.truncate(MAX_DIRECTIONS);
    Ok(Comparison::new(distance, factors))
}

/// The metric's matrix, scaled to trace `d`.
fn matrix(metric: &dyn Metric) -> Result<Array2<f64>, LearnError> {
    let Some(a) = metric.matrix() else {
        return Err(LearnError::NotAMetric(
            "a distance without a matrix cannot be compared".into(),
        ));
    };
    let trace = a.diag().sum();
    if !a.is_square() || trace <= 0.0 || a.iter().any(|v| !v.is_finite()) {
        return Err(LearnError::NotAMetric(
            "its matrix is not square and finite with a trace above 0".into(),
        ));
    }
    let factor = a.nrows() as f64 / trace;
    Ok(a * factor)
}
