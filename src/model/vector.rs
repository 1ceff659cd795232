//! The rules that vectors follow, and the form in which the index takes them.

use ndarray::Array2;

use crate::model::Distance;
use crate::model::error::{Error, Result};
use crate::sum::dot;

/// The length of a vector of unit length, whose numbers are rounded to `f32`, is within this of 1.
const UNIT_TOLERANCE: f64 = 2.5e-7;

/// The rules that vectors of one collection follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorRules {
    /// Dimension, the number of numbers in each vector.
    pub dim: usize,
    /// The built-in distance.
    pub distance: Distance,
}

impl VectorRules {
    /// Checks a vector that is to be stored or searched. `what` names it in errors.
    ///
    /// # Errors
    /// Those of [`Distance::check_vector`].
    pub fn check(self, vector: &[f32], what: &dyn Fn() -> String) -> Result<()> {
        if vector.len() != self.dim {
            return Err(Error::Dimension {
                what: what(),
                expected: self.dim,
                found: vector.len(),
            });
        }
        // Squares must stay finite in f32: distances are sums of them. In f64 they do, if the
        // numbers are finite.
        let square = dot(vector, vector);
        if !square.is_finite()
            && let Some(position) = vector.iter().position(|x| !x.is_finite())
        {
            return Err(Error::NotFinite {
                what: what(),
                position,
                value: vector[position],
            });
        }
        if square > f64::from(f32::MAX) / 1e4 {
            return Err(Error::VectorTooLong {
                what: what(),
                norm: square.sqrt(),
            });
        }
        if self.distance == Distance::Cosine && square == 0.0 {
            return Err(Error::ZeroVector { what: what() });
        }
        Ok(())
    }

    /// A vector in the form that the index takes and that is read back: of unit length in a cosine
    /// collection, unchanged in others. One that is of unit length already stays as it is, so that
    /// what was read is stored again to the bit.
    pub fn prepare(self, mut vector: Vec<f32>) -> Vec<f32> {
        if self.distance == Distance::Cosine {
            let squares = vector.iter().map(|x| f64::from(*x).powi(2));
            let norm = squares.sum::<f64>().sqrt();
            if norm > 0.0 && (norm - 1.0).abs() > UNIT_TOLERANCE {
                for x in &mut vector {
                    *x = (f64::from(*x) / norm) as f32;
                }
            }
        }
        vector
    }

    /// Checks a query's vector and prepares it.
    ///
    /// # Errors
    /// Those of [`Distance::check_vector`].
    pub fn prepare_query(self, vector: Vec<f32>) -> Result<Vec<f32>> {
        self.check(&vector, &|| "the query's vector".to_owned())?;
        Ok(self.prepare(vector))
    }
}

/// Numbers as a matrix of `numbers.len() / dim` rows, each of `dim` consecutive numbers.
pub(crate) fn rows(numbers: Vec<f32>, dim: usize) -> Result<Array2<f32>> {
    Array2::from_shape_vec((numbers.len() / dim, dim), numbers).map_err(|error| Error::Internal {
        source: Box::new(error),
    })
}
