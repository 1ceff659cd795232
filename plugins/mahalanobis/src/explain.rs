//! A distance split over the metric's own directions.

use affinis::{Direction, LearnError};
use ndarray::{Array1, Array2};

use crate::spd;

/// `w_k (v_k . (x - y))^2` for every eigenvector `v_k` of `a`, the largest first.
pub(crate) fn directions(
    a: &Array2<f64>,
    x: &[f32],
    y: &[f32],
) -> Result<Vec<Direction>, LearnError> {
    let z: Array1<f64> = x
        .iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) - f64::from(*y))
        .collect();
    let (weights, vectors) = spd::eigen(a.view())?;
    let along = vectors.dot(&z);
    let mut parts: Vec<Direction> = weights
        .into_iter()
        .zip(along)
        .map(|(weight, along)| Direction::new(weight, weight * along * along, 0.0))
        .collect();
    let distance: f64 = parts.iter().map(|p| p.contribution).sum();
    for part in &mut parts {
        part.share = if distance > 0.0 {
            part.contribution / distance
        } else {
            0.0
        };
    }
    parts.sort_by(|a, b| b.contribution.total_cmp(&a.contribution));
    Ok(parts)
}
