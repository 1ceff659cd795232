//! [`LowRankUpdate`]: a metric kept as an update of another one along few directions, kilobytes for a
//! person's own metric where a matrix takes `4 d^2` bytes.

mod terms;

use std::sync::{Arc, OnceLock};

use affinis::plugin::{Direction, LearnError, Metric, Rewritten};
use ndarray::{Array2, ArrayView2};

use crate::fingerprints::Fingerprints;
use crate::packed::Packed;
use crate::{codec, explain, spd};
pub(crate) use terms::{Base, Terms};

/// A learned metric `c B + sum_k weight_k w_k w_k'` that is kept as an update of another metric
/// `B`; the base is shared by all its updates.
///
/// Queries are rewritten, and items' biases computed, by the base, with `2 rank d` products more.
/// The result is the same to the bit for any batch.
#[derive(Debug)]
pub struct LowRankUpdate {
    base: Arc<dyn Metric>,
    terms: Terms,
    condition: f64,
    seen: Fingerprints,
    /// The factor that items are mapped by, made when the first ones are.
    factor: OnceLock<Option<Packed<f32>>>,
}

impl LowRankUpdate {
    pub(crate) fn new(
        base: Arc<dyn Metric>,
        terms: Terms,
        condition: f64,
        seen: Fingerprints,
    ) -> Self {
        Self {
            base,
            terms,
            condition: condition.max(1.0),
            seen,
            factor: OnceLock::new(),
        }
    }

    /// The number of directions along which it differs from `c` times its base.
    pub fn rank(&self) -> usize {
        self.terms.rank()
    }

    /// The condition number `cond A`.
    pub fn condition(&self) -> f64 {
        self.condition
    }

    pub(crate) fn base(&self) -> &dyn Metric {
        &*self.base
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(crate) fn seen(&self) -> &Fingerprints {
        &self.seen
    }
}

impl Metric for LowRankUpdate {
    fn dim(&self) -> usize {
        self.base.dim()
    }

    fn rewrite(&self, query: &[f32]) -> Rewritten {
        let Rewritten {
            mut direction,
            offset,
            ..
        } = self.base.rewrite(query);
        let scale = self.terms.scale();
        for v in &mut direction {
            *v *= scale as f32;
        }
        let products = self.terms.products(query);
        self.terms.add_to_direction(&products, &mut direction);
        let offset = scale * f64::from(offset) + self.terms.added(&products);
        Rewritten::new(direction, offset as f32)
    }

    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        self.base.biases(items, out);
        let mut row = vec![0.0; items.ncols()];
        for (item, bias) in items.rows().into_iter().zip(out) {
            row.iter_mut().zip(item).for_each(|(to, from)| *to = *from);
            let added = self.terms.added(&self.terms.products(&row));
            *bias = (self.terms.scale() * f64::from(*bias) + added) as f32;
        }
    }

    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        if x == y {
            return 0.0;
        }
        let added = self
            .terms
            .added_in_full(x.iter().zip(y).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        (self.terms.scale() * self.base.distance(x, y) + added).max(0.0)
    }

    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        let factor = self.factor.get_or_init(|| {
            let factor = spd::cholesky(self.matrix()?.view()).ok()?;
            Some(Packed::from_fn(factor.nrows(), |i, j| factor[[i, j]]).to_single())
        });
        // An update is checked to be positive definite, so the base never has to stand in for it.
        factor
            .as_ref()
            .map_or_else(|| self.base.transform(items), |factor| factor.images(items))
    }

    fn distortion(&self) -> f64 {
        self.condition.sqrt()
    }

    fn matrix(&self) -> Option<Array2<f64>> {
        self.base.matrix().map(|base| self.terms.matrix(&base))
    }

    fn encode(&self) -> Vec<u8> {
        codec::encode_update(self)
    }

    fn directions(&self, x: &[f32], y: &[f32]) -> Result<Vec<Direction>, LearnError> {
        self.matrix().map_or_else(
            || Ok(Vec::new()),
            |matrix| explain::directions(&matrix, x, y),
        )
    }
}
