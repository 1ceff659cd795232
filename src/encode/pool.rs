//! Pooling of the token vectors of a text to one vector, over the tokens that are not padding, then
//! division by the Euclidean norm where the model is configured so.

use ndarray::{Array1, ArrayView2, ArrayViewD, ArrayViewMut1, Axis, Ix2, Ix3};

/// The reduction of the token vectors of a text to one vector.
///
/// The names and formulas are those of sentence-transformers' `1_Pooling/config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean of the vectors of all tokens.
    Mean,
    /// The vector of the first token (`[CLS]`).
    Cls,
    /// The maximum of each coordinate over all tokens.
    Max,
    /// The sum of the vectors of all tokens, divided by the root of their number.
    MeanSqrtLen,
    /// The mean of the vectors of all tokens, weighted by their positions, the first being 1.
    WeightedMean,
    /// The vector of the last token.
    LastToken,
}

impl Pooling {
    /// Name in the fingerprint.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Max => "max",
            Self::MeanSqrtLen => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
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
            Self::LastToken => {
                if let Some(last) = unpadded.next_back() {
                    out.assign(&last);
                }
            }
            Self::Mean | Self::MeanSqrtLen | Self::WeightedMean => {
                let (mut count, mut weights) = (0.0_f32, 0.0_f32);
                for row in unpadded {
                    count += 1.0;
                    let weight = if self == Self::WeightedMean {
                        count
                    } else {
                        1.0
                    };
                    out.scaled_add(weight, &row);
                    weights += weight;
                }
                if self == Self::MeanSqrtLen {
                    weights = weights.sqrt();
                }
                if count > 0.0 {
                    out /= weights;
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
/// `mask` is `b x s`. Token vectors are reduced in each of the ways of `pooling`, one after the
/// other in a row. A row may be shorter than the vector, and takes its beginning after it was
/// normalised. Returns `false` when the output has another shape, or one that does not fit the batch
/// and the rows.
pub(super) fn pool<'a>(
    output: &ArrayViewD<'_, f32>,
    mask: &ArrayView2<'_, i64>,
    pooling: &[Pooling],
    normalise: bool,
    rows: impl ExactSizeIterator<Item = ArrayViewMut1<'a, f32>>,
) -> bool {
    let (b, s) = mask.dim();
    // A batch may have rows of padding.
    if rows.len() > b || output.shape().first() != Some(&b) {
        return false;
    }
    let Some(width) = dim_of(output, pooling.len()) else {
        return false;
    };
    let mut row = Array1::<f32>::zeros(width);
    for (i, mut out) in rows.enumerate() {
        let item = output.index_axis(Axis(0), i);
        if out.len() > width {
            return false;
        }
        if let Ok(vector) = item.view().into_dimensionality::<ndarray::Ix1>() {
            row.assign(&vector);
        } else if let Ok(tokens) = item.into_dimensionality::<Ix2>() {
            let Some(mask) = mask.row(i).to_slice().filter(|_| tokens.nrows() == s) else {
                return false;
            };
            row.fill(0.0);
            let parts = row.axis_chunks_iter_mut(Axis(0), tokens.ncols());
            for (pooling, part) in pooling.iter().zip(parts) {
                pooling.reduce(&tokens, mask, part);
            }
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
        let kept = out.len();
        out.assign(&row.slice(ndarray::s![..kept]));
    }
    true
}

/// The dimension of the vectors in an output, of which token vectors are reduced in so many ways;
/// `None` for a shape that has none.
pub(super) fn dim_of(output: &ArrayViewD<'_, f32>, ways: usize) -> Option<usize> {
    let dim = match output.view().into_dimensionality::<Ix3>() {
        Ok(tokens) => tokens.dim().2 * ways,
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
            &[pooling],
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
        let last = array![[1.0, -5.0], [0.0, 2.0]];
        assert_eq!(pooled(Pooling::LastToken, false), last);
        let weighted = array![[5.0 / 3.0, -11.0 / 3.0], [0.0, 2.0]];
        assert_eq!(pooled(Pooling::WeightedMean, false), weighted);
        let root = 2.0_f32.sqrt();
        let by_root = array![[4.0 / root, -6.0 / root], [0.0, 2.0]];
        assert_eq!(pooled(Pooling::MeanSqrtLen, false), by_root);
    }

    #[test]
    fn several_ways_stand_one_after_the_other_and_a_short_row_is_the_beginning() {
        let tokens = array![[[3.0, -1.0], [1.0, -5.0]]].into_dyn();
        let (mask, ways) = (array![[1, 1]], [Pooling::Cls, Pooling::Mean]);
        for wanted in [vec![3.0, -1.0, 2.0, -3.0], vec![3.0, -1.0, 2.0]] {
            let mut out = Array2::zeros((1, wanted.len()));
            let rows = out.rows_mut().into_iter();
            assert!(pool(&tokens.view(), &mask.view(), &ways, false, rows));
            assert_eq!(out.row(0).to_vec(), wanted);
        }
        let mut out = Array2::zeros((1, 5));
        let rows = out.rows_mut().into_iter();
        assert!(!pool(&tokens.view(), &mask.view(), &ways, false, rows));
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
                &[pooling],
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
            vec![1, 2, 1],
            vec![2, 2, 2],
            vec![1, 1],
            vec![1],
            vec![1, 2, 2, 1],
        ] {
            let output = ndarray::ArrayD::<f32>::zeros(shape.clone());
            let mut out = Array2::zeros((1, 2));
            let fits = pool(
                &output.view(),
                &mask.view(),
                &[Pooling::Mean],
                true,
                out.rows_mut().into_iter(),
            );
            assert!(!fits, "{shape:?}");
        }
    }
}
