//! Pooling of the token vectors of a text to one vector: mean, first token or maximum over the
//! tokens that are not padding, then division by the Euclidean norm where the model is configured
//! so.

use ndarray::{ArrayView2, ArrayViewD, ArrayViewMut1, Axis, Ix2, Ix3};

/// The reduction of the token vectors of a text to one vector.
///
/// The names are those of sentence-transformers' `1_Pooling/config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean of the vectors of all tokens.
    Mean,
    /// The vector of the first token (`[CLS]`).
    Cls,
    /// The maximum of each coordinate over all tokens.
    Max,
}

impl Pooling {
    /// Name in the fingerprint.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Max => "max",
        }
    }

    /// Reduces `tokens` (`s x d`) to `out` (`d`), over the positions whose `mask` (`s`) is not 0.
    fn reduce(self, tokens: &ArrayView2<'_, f32>, mask: &[i64], mut out: ArrayViewMut1<'_, f32>) {
        let mut unpadded = tokens
            .rows()
            .into_iter()
            .zip(mask)
            .filter(|(_, m)| **m != 0)
            .map(|(row, _)| row);
        match self {
            Self::Cls => {
                if let Some(first) = unpadded.next() {
                    out.assign(&first);
                }
            }
            Self::Mean => {
                let mut count = 0.0_f32;
                for row in unpadded {
                    out += &row;
                    count += 1.0;
                }
                if count > 0.0 {
                    out /= count;
                }
            }
            Self::Max => {
                if let Some(first) = unpadded.next() {
                    out.assign(&first);
                    // `f32::max` would drop NaN, and the vector of a damaged model would be finite.
                    unpadded.for_each(|row| {
                        out.zip_mut_with(&row, |a, b| {
                            if *b > *a || b.is_nan() {
                                *a = *b;
                            }
                        });
                    });
                }
            }
        }
    }
}

/// Writes the vectors of a batch to `rows`, one for each text.
///
/// `output` is the output of the model: token vectors, `b x s x d`, or pooled vectors, `b x d`.
/// `mask` is `b x s`. Returns `false` when the output has another shape, or one that does not fit
/// the batch and the rows.
pub(super) fn pool<'a>(
    output: &ArrayViewD<'_, f32>,
    mask: &ArrayView2<'_, i64>,
    pooling: Pooling,
    normalise: bool,
    rows: impl ExactSizeIterator<Item = ArrayViewMut1<'a, f32>>,
) -> bool {
    let (b, s) = mask.dim();
    // A batch may have rows of padding.
    if rows.len() > b || output.shape().first() != Some(&b) {
        return false;
    }
    for (i, mut row) in rows.enumerate() {
        let item = output.index_axis(Axis(0), i);
        if let Ok(vector) = item.view().into_dimensionality::<ndarray::Ix1>() {
            if vector.len() != row.len() {
                return false;
            }
            row.assign(&vector);
        } else if let Ok(tokens) = item.into_dimensionality::<Ix2>() {
            if tokens.dim() != (s, row.len()) {
                return false;
            }
            let Some(mask) = mask.row(i).to_slice() else {
                return false;
            };
            row.fill(0.0);
            pooling.reduce(&tokens, mask, row.view_mut());
        } else {
            return false;
        }
        if normalise {
            // As in torch.nn.functional.normalize, a zero vector stays zero.
            let norm = row
                .iter()
                .map(|x| f64::from(*x) * f64::from(*x))
                .sum::<f64>()
                .sqrt()
                .max(1e-12);
            row.mapv_inplace(|x| (f64::from(x) / norm) as f32);
        }
    }
    true
}

/// The dimension of the vectors in an output; `None` for a shape that has none.
pub(super) fn dim_of(output: &ArrayViewD<'_, f32>) -> Option<usize> {
    let dim = match output.view().into_dimensionality::<Ix3>() {
        Ok(tokens) => tokens.dim().2,
        Err(_) => output.view().into_dimensionality::<Ix2>().ok()?.ncols(),
    };
    (dim > 0).then_some(dim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    fn pooled(pooling: Pooling, normalise: bool) -> Array2<f32> {
        let tokens = array![
            [[3.0, -1.0], [1.0, -5.0], [100.0, 100.0]],
            [[0.0, 2.0], [7.0, 7.0], [7.0, 7.0]]
        ]
        .into_dyn();
        let mask = array![[1, 1, 0], [1, 0, 0]];
        let mut out = Array2::zeros((2, 2));
        assert!(pool(
            &tokens.view(),
            &mask.view(),
            pooling,
            normalise,
            out.rows_mut().into_iter()
        ));
        out
    }

    #[test]
    fn padding_never_enters_a_vector() {
        assert_eq!(
            pooled(Pooling::Mean, false),
            array![[2.0, -3.0], [0.0, 2.0]]
        );
        assert_eq!(pooled(Pooling::Cls, false), array![[3.0, -1.0], [0.0, 2.0]]);
        assert_eq!(pooled(Pooling::Max, false), array![[3.0, -1.0], [0.0, 2.0]]);
    }

    #[test]
    fn normalised_rows_have_length_one() {
        for row in pooled(Pooling::Mean, true).rows() {
            assert!((row.dot(&row) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_nan_token_survives_every_pooling() {
        let tokens = array![[[1.0, f32::NAN], [2.0, 2.0]]].into_dyn();
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Max] {
            let mut out = Array2::zeros((1, 2));
            assert!(pool(
                &tokens.view(),
                &array![[1, 1]].view(),
                pooling,
                false,
                out.rows_mut().into_iter()
            ));
            assert!(out[[0, 1]].is_nan(), "{pooling:?}");
        }
    }

    #[test]
    fn shapes_that_disagree_are_refused() {
        let mask = array![[1, 1]];
        for shape in [
            vec![1, 3, 2],
            vec![1, 2, 3],
            vec![2, 2, 2],
            vec![1, 3],
            vec![1],
            vec![1, 2, 2, 1],
        ] {
            let output = ndarray::ArrayD::<f32>::zeros(shape.clone());
            let mut out = Array2::zeros((1, 2));
            let fits = pool(
                &output.view(),
                &mask.view(),
                Pooling::Mean,
                true,
                out.rows_mut().into_iter(),
            );
            assert!(!fits, "{shape:?}");
        }
    }
}
