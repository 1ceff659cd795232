//! [`ChangedMetric`]: a base metric with a [`Change`] along few directions.

use std::sync::{Arc, OnceLock};

use affinis::{Direction, LearnError, Metric, Rewritten};
use ndarray::{Array2, ArrayView2};

use crate::change::Change;
use crate::packed::Packed;
use crate::seen::Seen;
use crate::{codec, explain, spd};

/// A learned metric that is kept as a change of another one; the base is shared by all its changes.
///
/// Queries are rewritten, and items' biases computed, by the base, with `2 rank d` products more.
/// The result is the same to the bit for any batch.
#[derive(Debug)]
pub struct ChangedMetric {
    base: Arc<dyn Metric>,
    change: Change,
    condition: f64,
    seen: Seen,
    /// The factor that graphs are linked by, made when one is.
    factor: OnceLock<Option<Packed<f32>>>,
}

impl ChangedMetric {
    pub(crate) fn new(base: Arc<dyn Metric>, change: Change, condition: f64, seen: Seen) -> Self {
        Self {
            base,
            change,
            condition: condition.max(1.0),
            seen,
            factor: OnceLock::new(),
        }
    }

    /// How many directions it changes.
    pub fn rank(&self) -> usize {
        self.change.weights().len()
    }

    /// `cond A`.
    pub fn condition(&self) -> f64 {
        self.condition
    }

    pub(crate) fn base(&self) -> &dyn Metric {
        &*self.base
    }

    pub(crate) fn change(&self) -> &Change {
        &self.change
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Metric for ChangedMetric {
    fn dim(&self) -> usize {
        self.base.dim()
    }

    fn rewrite(&self, query: &[f32]) -> Rewritten {
        let Rewritten {
            mut direction,
            offset,
            ..
        } = self.base.rewrite(query);
        let scale = self.change.scale();
        for v in &mut direction {
            *v *= scale as f32;
        }
        let products = self.change.products(query);
        self.change.turn(&products, &mut direction);
        let offset = scale * f64::from(offset) + self.change.added(&products);
        Rewritten::new(direction, offset as f32)
    }

    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        self.base.biases(items, out);
        let mut row = vec![0.0; items.ncols()];
        for (item, bias) in items.rows().into_iter().zip(out) {
            row.iter_mut().zip(item).for_each(|(to, from)| *to = *from);
            let added = self.change.added(&self.change.products(&row));
            *bias = (self.change.scale() * f64::from(*bias) + added) as f32;
        }
    }

    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        if x == y {
            return 0.0;
        }
        let added = self
            .change
            .added_in_full(x.iter().zip(y).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        (self.change.scale() * self.base.distance(x, y) + added).max(0.0)
    }

    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        let factor = self.factor.get_or_init(|| {
            let factor = spd::cholesky(self.matrix()?.view()).ok()?;
            Some(Packed::from_fn(factor.nrows(), |i, j| factor[[i, j]]).to_single())
        });
        // A change is checked to be positive definite, so the base never has to stand for it.
        factor
            .as_ref()
            .map_or_else(|| self.base.transform(items), |factor| factor.images(items))
    }

    fn distortion(&self) -> f64 {
        self.condition.sqrt()
    }

    fn matrix(&self) -> Option<Array2<f64>> {
        self.base.matrix().map(|base| self.change.matrix(&base))
    }

    fn encode(&self) -> Vec<u8> {
        codec::encode_change(self)
    }

    fn directions(&self, x: &[f32], y: &[f32]) -> Result<Vec<Direction>, LearnError> {
        self.matrix().map_or_else(
            || Ok(Vec::new()),
            |matrix| explain::directions(&matrix, x, y),
        )
    }
}
