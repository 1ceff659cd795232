//! The built-in distances, and their metrics: version 0 of every collection.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::VectorRules;
use crate::model::error::Result;
use crate::model::names::named;
use crate::plugin::{Metric, Rewritten};
use crate::sum::{dot, squared_distance};

/// The built-in distance of a collection, metric version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Distance {
    /// Squared Euclidean distance.
    #[default]
    L2,
    /// Squared Euclidean distance between unit vectors, `2 - 2 cos`; vectors are stored and read
    /// with unit length.
    Cosine,
    /// Minus the dot product.
    Dot,
}

impl Distance {
    /// Checks that a collection of this distance and of dimension `dim` can hold and search a
    /// vector.
    ///
    /// # Errors
    /// [`Error::Dimension`](crate::Error::Dimension), [`Error::NotFinite`](crate::Error::NotFinite),
    /// [`Error::ZeroVector`](crate::Error::ZeroVector), or
    /// [`Error::VectorTooLong`](crate::Error::VectorTooLong) where distances would overflow.
    pub fn check_vector(self, vector: &[f32], dim: usize) -> Result<()> {
        let rules = VectorRules {
            dim,
            distance: self,
        };
        rules.check(vector, &|| "the vector".to_owned())
    }

    /// The distance as a metric over vectors of `dim` numbers.
    pub(crate) fn metric(self, dim: usize) -> Arc<dyn Metric> {
        match self {
            Self::L2 | Self::Cosine => Arc::new(Euclidean { dim }),
            Self::Dot => Arc::new(Dot { dim }),
        }
    }

    /// The score of a hit at a distance from the query; larger is better. `learned` says whether
    /// the distance was measured under a learned metric or under version 0.
    pub fn score(self, distance: f32, learned: bool) -> f32 {
        match self {
            Self::Dot if !learned => -distance,
            Self::Cosine if !learned => 1.0 - distance / 2.0,
            _ => 1.0 / (1.0 + distance.max(0.0)),
        }
    }
}

// The catalogue, the command line and JSON have the same names.
named!(Distance, "distance", { L2 => "l2", Cosine => "cosine", Dot => "dot" });

/// The squared Euclidean distance, a metric with `A = I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Euclidean {
    dim: usize,
}

/// Minus the dot product, rewritten as `-q.x = 0 - 2 (q/2).x + 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dot {
    dim: usize,
}

impl Metric for Euclidean {
    fn dim(&self) -> usize {
        self.dim
    }

    fn rewrite(&self, query: &[f32]) -> Rewritten {
        Rewritten {
            direction: query.to_vec(),
            offset: dot(query, query) as f32,
        }
    }

    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        for (row, out) in items.rows().into_iter().zip(out) {
            *out = row
                .iter()
                .map(|x| f64::from(*x) * f64::from(*x))
                .sum::<f64>() as f32;
        }
    }

    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        squared_distance(x, y)
    }

    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        items.to_owned()
    }

    fn distortion(&self) -> f64 {
        1.0
    }

    fn matrix(&self) -> Option<Array2<f64>> {
        Some(Array2::eye(self.dim))
    }

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl Metric for Dot {
    fn dim(&self) -> usize {
        self.dim
    }

    fn rewrite(&self, query: &[f32]) -> Rewritten {
        Rewritten {
            direction: query.iter().map(|x| x / 2.0).collect(),
            offset: 0.0,
        }
    }

    fn biases(&self, _items: ArrayView2<'_, f32>, out: &mut [f32]) {
        out.fill(0.0);
    }

    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        -dot(x, y)
    }

    /// Appends `sqrt(M^2 - |x|^2)` to each item, where `M` is the largest norm. The item with the
    /// largest dot product with a query, to which a zero is appended, is then the nearest by
    /// Euclidean distance (Bachrach et al., `RecSys` 2014).
    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        let squares: Vec<f64> = items
            .rows()
            .into_iter()
            .map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum())
            .collect();
        let largest = squares.iter().fold(0.0_f64, |m, s| m.max(*s));
        let mut mapped = Array2::zeros((items.nrows(), self.dim + 1));
        mapped.slice_mut(ndarray::s![.., ..self.dim]).assign(&items);
        for (last, square) in mapped.column_mut(self.dim).iter_mut().zip(&squares) {
            *last = (largest - square).max(0.0).sqrt() as f32;
        }
        mapped
    }

    fn distortion(&self) -> f64 {
        1.0
    }

    fn matrix(&self) -> Option<Array2<f64>> {
        None
    }

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn names_are_read_as_they_are_displayed() {
        for distance in [Distance::L2, Distance::Cosine, Distance::Dot] {
            assert_eq!(distance.to_string().parse::<Distance>().unwrap(), distance);
        }
        assert!("euclid".parse::<Distance>().is_err());
    }

    #[test]
    fn rewriting_equals_the_distance() {
        let items = array![[1.0_f32, -2.0, 0.5], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0]];
        let query = [0.25_f32, 1.0, -1.0];
        for metric in [Distance::L2.metric(3), Distance::Dot.metric(3)] {
            let rewritten = metric.rewrite(&query);
            let mut biases = [f32::NAN; 3];
            metric.biases(items.view(), &mut biases);
            for (row, bias) in items.rows().into_iter().zip(biases) {
                let row = row.to_vec();
                let by_rewriting = f64::from(rewritten.offset)
                    - 2.0 * dot(&rewritten.direction, &row)
                    + f64::from(bias);
                assert!((by_rewriting - metric.distance(&query, &row)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_mapping_of_dot_turns_the_largest_product_into_the_nearest() {
        let items = array![[1.0_f32, 0.0], [5.0, 5.0], [0.0, 2.0], [-4.0, 1.0]];
        let mapped = Dot { dim: 2 }.transform(items.view());
        let query = [0.3_f32, 1.0];
        let product = |i: usize| dot(&query, items.row(i).to_vec().as_slice());
        let near = |i: usize| {
            let m = mapped.row(i);
            (m[0] - query[0]).powi(2) + (m[1] - query[1]).powi(2) + m[2].powi(2)
        };
        let mut by_product = [0, 1, 2, 3];
        by_product.sort_by(|a, b| product(*b).total_cmp(&product(*a)));
        let mut by_distance = [0, 1, 2, 3];
        by_distance.sort_by(|a, b| near(*a).total_cmp(&near(*b)));
        assert_eq!(by_product, by_distance);
    }
}
