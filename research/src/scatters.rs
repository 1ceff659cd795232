//! The scatters of pairs of rows of one class, and of different classes.

use std::collections::BTreeMap;

use affinis_mahalanobis::spd;
use ndarray::{Array2, Axis};

use crate::neighbours::nearest;

/// Number of neighbours of its own class, and of other classes, that a row is paired with.
const NEIGHBOURS: usize = 5;
/// Largest number of rows whose neighbours are searched for.
const MAX_ANCHORS: usize = 1_000;
/// Number added to the diagonal, relative to the diagonal's mean.
const RIDGE: f64 = 1e-3;

/// The pairs of rows that scatters are summed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// All pairs of rows.
    All,
    /// Each row with its nearest ones of either kind.
    Nearest,
}

/// Rows by class, classes in ascending order.
pub(crate) fn by_class(classes: &[usize], of: &[usize]) -> Vec<Vec<usize>> {
    let mut members = BTreeMap::<_, Vec<usize>>::new();
    for i in of {
        members.entry(classes[*i]).or_default().push(*i);
    }
    members.into_values().collect()
}

/// The scatters (`d x d`) of similar and of dissimilar pairs among the rows `of`, scaled to a mean
/// diagonal of 1 and ridged; `None` when either is zero.
pub(crate) fn scatters(
    rows: &Array2<f32>,
    classes: &[usize],
    of: &[usize],
    pairs: Pairs,
) -> Option<(Array2<f64>, Array2<f64>)> {
    let (similar, dissimilar) = match pairs {
        Pairs::All => of_all(rows, classes, of),
        Pairs::Nearest => of_nearest(rows, classes, of),
    };
    Some((ridged(similar)?, ridged(dissimilar)?))
}

/// The scatters of all pairs. `sum (x - y)(x - y)' = n sum (x - m)(x - m)'` over all pairs of `n`
/// rows of mean `m`, so both follow from sums of squares.
fn of_all(rows: &Array2<f32>, classes: &[usize], of: &[usize]) -> (Array2<f64>, Array2<f64>) {
    let about_mean = |members: &[usize]| {
        let mut x = rows.select(Axis(0), members).mapv(f64::from);
        if let Some(mean) = x.mean_axis(Axis(0)) {
            x -= &mean;
        }
        spd::gram(&x) * members.len() as f64
    };
    let mut similar = Array2::zeros((rows.ncols(), rows.ncols()));
    for members in by_class(classes, of) {
        similar += &about_mean(&members);
    }
    let dissimilar = about_mean(of) - &similar;
    (similar, dissimilar)
}

/// The scatters of each row and its nearest rows of its class and of the others.
fn of_nearest(rows: &Array2<f32>, classes: &[usize], of: &[usize]) -> (Array2<f64>, Array2<f64>) {
    let stride = of.len().div_ceil(MAX_ANCHORS).max(1);
    let (mut similar, mut dissimilar) = (Vec::new(), Vec::new());
    for members in by_class(classes, of) {
        let others: Vec<usize> = of
            .iter()
            .copied()
            .filter(|i| classes[*i] != classes[members[0]])
            .collect();
        let anchors: Vec<usize> = members.iter().copied().step_by(stride).collect();
        let at = rows.select(Axis(0), &anchors);
        for (among, k, to) in [
            (&members, NEIGHBOURS + 1, &mut similar),
            (&others, NEIGHBOURS, &mut dissimilar),
        ] {
            for (i, near) in anchors
                .iter()
                .zip(nearest(&rows.select(Axis(0), among), &at, k))
            {
                // A row is among its own class and is no pair with itself.
                let near = near
                    .into_iter()
                    .map(|j| among[j])
                    .filter(|j| j != i)
                    .take(NEIGHBOURS);
                near.for_each(|j| to.extend((&rows.row(*i) - &rows.row(j)).mapv(f64::from)));
            }
        }
    }
    let gram = |numbers: Vec<f64>| {
        let d = rows.ncols();
        let rows = numbers.len() / d;
        Array2::from_shape_vec((rows, d), numbers)
            .map_or_else(|_| Array2::zeros((d, d)), |z| spd::gram(&z))
    };
    (gram(similar), gram(dissimilar))
}

/// A scatter divided by its mean diagonal, with the ridge added; `None` for a scatter of zero.
fn ridged(mut m: Array2<f64>) -> Option<Array2<f64>> {
    let mean = m.diag().sum() / m.nrows() as f64;
    if !(mean > 0.0 && mean.is_finite()) {
        return None;
    }
    m /= mean;
    m.diag_mut().iter_mut().for_each(|v| *v += RIDGE);
    Some(m)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_squares_give_the_scatters_of_all_pairs() {
        let rows = Array2::from_shape_fn((9, 3), |(i, k)| ((i * 5 + k * 3) as f32 * 0.7).sin());
        let classes = [0, 1, 2, 0, 1, 0, 2, 2, 2];
        let all: Vec<usize> = (0..9).collect();
        let (similar, dissimilar) = of_all(&rows, &classes, &all);
        let mut expected = [Array2::<f64>::zeros((3, 3)), Array2::zeros((3, 3))];
        for i in 0..9 {
            for j in 0..i {
                let z = (&rows.row(i) - &rows.row(j))
                    .mapv(f64::from)
                    .insert_axis(Axis(0));
                expected[usize::from(classes[i] != classes[j])] += &z.t().dot(&z);
            }
        }
        for (found, expected) in [similar, dissimilar].iter().zip(&expected) {
            assert!(
                (found - expected).iter().all(|v| v.abs() < 1e-6),
                "{found} {expected}"
            );
        }
    }
}
