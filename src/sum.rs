//! Sums in `f64` over slices of `f32`. Eight running sums shorten the chain of additions, and their
//! order is fixed, so every machine gives the same bits.

const LANES: usize = 8;

/// `sum_i term(x_i, y_i)` over two slices of the same length.
#[inline]
pub(crate) fn sum(x: &[f32], y: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0f64; LANES];
    let ((eights_x, rest_x), (eights_y, rest_y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in eights_x.iter().zip(eights_y) {
        for lane in 0..LANES {
            sums[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(rest_x).zip(rest_y) {
        *sum += term(f64::from(*x), f64::from(*y));
    }
    sums.iter().sum()
}

/// The dot product of two vectors of the same length.
#[inline]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f64 {
    sum(x, y, |x, y| x * y)
}

/// The squared Euclidean distance between two vectors of the same length.
#[inline]
pub(crate) fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    sum(x, y, |x, y| (x - y).powi(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_counted_once() {
        for n in [0, 1, 7, 8, 9, 31, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let ones = vec![1.0; n];
            assert_eq!(dot(&x, &ones), (n * n.saturating_sub(1) / 2) as f64);
            assert_eq!(
                squared_distance(&x, &ones),
                x.iter().map(|x| f64::from(x - 1.0).powi(2)).sum::<f64>()
            );
        }
    }
}
