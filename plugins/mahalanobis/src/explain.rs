//! The split of a distance over the metric's eigenvectors.

use affinis::plugin::{Direction, LearnError};
use ndarray::{Array1, Array2};

use crate::spd;

/// The contributions `w_k (v_k . (x - y))^2` of all eigenvectors `v_k` of `a` to the distance, the
/// largest first.
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
    let mut directions: Vec<Direction> = weights
        .into_iter()
        .zip(along)
        .map(|(weight, along)| Direction::new(weight, weight * along * along, 0.0))
        .collect();
    let distance: f64 = directions.iter().map(|d| d.contribution).sum();
    for direction in &mut directions {
        direction.share = if distance > 0.0 {
            direction.contribution / distance
        } else {
            0.0
        };
    }
    directions.sort_by(|a, b| b.contribution.total_cmp(&a.contribution));
    Ok(directions)
}
