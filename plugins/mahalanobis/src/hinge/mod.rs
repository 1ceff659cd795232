//! The hinge loss of triplets, and its minimisation: what belongs with an anchor must be nearer to
//! it, by a margin, than what does not.
//!
//! `sum [1 + d(i, j) - d(i, l)]_+` over anchors `i`, near `j` and far `l`, all fixed beforehand
//! (Weinberger and Saul, *Distance metric learning for large margin nearest neighbor
//! classification*, JMLR 2009, without their pull term and without their search for new impostors).
//! A triplet that is right by the margin no longer counts, which is what a loss over second moments
//! cannot do. It is minimised over `L`, `A = L'L`, from a given one, by a few steps of L-BFGS: the
//! start is a closed form, and what is left to gain is gained early.

mod lbfgs;

use affinis::plugin::LearnError;
use ndarray::{Array2, Zip};

/// Largest number of steps of L-BFGS.
pub(crate) const MAX_STEPS: usize = 20;

/// The triplets of one anchor: each row that must be near it with each that must be far from it.
#[derive(Debug, Clone, Default)]
pub struct Triplets {
    /// The anchor's row.
    pub anchor: usize,
    /// Rows that belong with the anchor, which is not among them.
    pub near: Vec<usize>,
    /// Rows that do not belong with the anchor.
    pub far: Vec<usize>,
}

/// The factor `L` (`k x d`) after 20 steps of L-BFGS from `start` on triplets of rows of `vectors`
/// (`n x d`), or fewer where the loss falls no further.
///
/// `start` is to be scaled so that the squared distances that matter are about 2, for the margin is
/// 1. `cancel` is polled before every step.
///
/// # Errors
/// [`LearnError::Cancelled`] once `cancel` returns `true`; [`LearnError::Numerical`] when a triplet
/// names a row that `vectors` does not have, or `start` has another number of columns than
/// `vectors`.
pub fn refine(
    start: Array2<f64>,
    vectors: &Array2<f64>,
    triplets: &[Triplets],
    cancel: &dyn Fn() -> bool,
) -> Result<Array2<f64>, LearnError> {
    let (rows, columns) = vectors.dim();
    let rows_of = |t: &Triplets| [&[t.anchor], &t.near[..], &t.far[..]].concat();
    if start.ncols() != columns || triplets.iter().flat_map(rows_of).any(|row| row >= rows) {
        return Err(LearnError::Numerical(format!(
            "the triplets or the map do not fit {rows} vectors of {columns} numbers"
        )));
    }
    lbfgs::minimise(|map| loss(map, vectors, triplets), start, MAX_STEPS, cancel)
}

/// The mean loss of the triplets under a map (`k x d`), and its gradient in the map.
fn loss(map: &Array2<f64>, vectors: &Array2<f64>, triplets: &[Triplets]) -> (f64, Array2<f64>) {
    let images = vectors.dot(&map.t());
    let distance = |i: usize, j: usize| {
        Zip::from(images.row(i))
            .and(images.row(j))
            .fold(0.0, |sum, a, b| sum + (a - b) * (a - b))
    };
    let count: usize = triplets.iter().map(|t| t.near.len() * t.far.len()).sum();
    let share = 1.0 / count.max(1) as f64;
    let mut total = 0.0;
    let mut by_image = Array2::<f64>::zeros(images.raw_dim());
    let mut add = |i: usize, j: usize, factor: f64| {
        for k in 0..images.ncols() {
            let by = factor * (images[[i, k]] - images[[j, k]]);
            by_image[[i, k]] += by;
            by_image[[j, k]] -= by;
        }
    };
    for Triplets { anchor, near, far } in triplets {
        let to_near: Vec<f64> = near.iter().map(|j| distance(*anchor, *j)).collect();
        let mut active_near = vec![0_u32; near.len()];
        for l in far {
            let to_far = distance(*anchor, *l);
            let mut active = 0_u32;
            for (d, count) in to_near.iter().zip(&mut active_near) {
                let excess = 1.0 + d - to_far;
                if excess > 0.0 {
                    total += excess;
                    active += 1;
                    *count += 1;
                }
            }
            if active > 0 {
                add(*anchor, *l, -2.0 * share * f64::from(active));
            }
        }
        for (j, active) in near.iter().zip(active_near).filter(|(_, n)| *n > 0) {
            add(*anchor, *j, 2.0 * share * f64::from(active));
        }
    }
    (total * share, by_image.t().dot(vectors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> (Array2<f64>, Vec<Triplets>) {
        let vectors = Array2::from_shape_fn((12, 3), |(i, k)| ((i * 7 + k * 5) as f64 * 1.3).sin());
        let of = |anchor: usize| Triplets {
            anchor,
            near: vec![(anchor + 1) % 12, (anchor + 2) % 12],
            far: vec![(anchor + 5) % 12, (anchor + 6) % 12, (anchor + 7) % 12],
        };
        (vectors, (0..12).map(of).collect())
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let (vectors, triplets) = world();
        let map = Array2::from_shape_fn((3, 3), |(i, k)| if i == k { 1.2 } else { 0.3 });
        let (_, gradient) = loss(&map, &vectors, &triplets);
        for (at, slope) in gradient.indexed_iter() {
            let moved = |by: f64| {
                let mut moved = map.clone();
                moved[at] += by;
                loss(&moved, &vectors, &triplets).0
            };
            let measured = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!(
                (measured - slope).abs() < 1e-7,
                "{at:?}: {measured}, {slope}"
            );
        }
    }

    #[test]
    fn it_descends_and_can_be_cancelled() {
        let (vectors, triplets) = world();
        let before = loss(&Array2::eye(3), &vectors, &triplets).0;
        let map = refine(Array2::eye(3), &vectors, &triplets, &|| false).unwrap();
        assert!(loss(&map, &vectors, &triplets).0 < 0.8 * before);
        let cancelled = refine(Array2::eye(3), &vectors, &triplets, &|| true);
        assert!(matches!(cancelled, Err(LearnError::Cancelled)));
        let nothing = refine(Array2::eye(3), &vectors, &[], &|| false).unwrap();
        assert_eq!(nothing, Array2::<f64>::eye(3));
    }
}
