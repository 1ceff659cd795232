//! A query rewritten for a metric. Reported distances are computed here and nowhere else.

use crate::index::bias::Biases;
use crate::index::kernels::{Kernels, kernels};
use crate::index::layout::rows::{Block, RowBuffer, RowSource, pack, unpack_into};
use crate::index::nearest::order_safe;
use crate::index::versioned::Versioned;

/// A distance below this share of `|offset| + |bias|` is computed directly, since the subtraction
/// cancels too many of its digits. Above it, the rounding of the terms (a few `2^-24`) stays below
/// 1e-4 of the distance.
const CANCELLATION_SHARE: f64 = 1.0 / 256.0;

/// A query rewritten for one metric.
#[derive(Debug)]
pub(crate) struct RewrittenQuery<'a> {
    /// The metric that the query is rewritten for.
    pub(crate) metric: &'a Versioned,
    /// The query vector as given.
    pub(crate) raw: &'a [f32],
    /// The direction as padded blocks.
    pub(crate) padded: Box<[Block]>,
    /// The term that is the same for all items.
    pub(crate) offset: f32,
    direction: Vec<f32>,
    kernels: &'static Kernels,
}

impl<'a> RewrittenQuery<'a> {
    /// Rewrites `raw` for `metric`.
    pub(crate) fn new(metric: &'a Versioned, raw: &'a [f32]) -> Self {
        let rewritten = metric.metric.rewrite(raw);
        let (direction, offset) = (rewritten.direction, rewritten.offset);
        Self {
            metric,
            raw,
            padded: pack(&direction),
            offset,
            direction,
            kernels: kernels(),
        }
    }

    /// The direction, `dim` numbers.
    pub(crate) fn direction(&self) -> &[f32] {
        &self.direction
    }

    /// The estimated distance to an item: one dot product in `f32`.
    #[inline]
    pub(crate) fn estimate(&self, row: &[Block], bias: f32) -> f32 {
        order_safe(self.offset - 2.0 * (self.kernels.dot)(&self.padded, row) + bias)
    }

    /// Appends the estimated distances of the items `locals` to `out`, computing the biases that
    /// are unknown.
    pub(crate) fn estimates(
        &self,
        locals: &[u32],
        rows: &impl RowSource,
        biases: &Biases,
        buffers: &mut [RowBuffer; 4],
        out: &mut Vec<f32>,
    ) {
        biases.ensure(locals, rows, &*self.metric.metric);
        for &local in locals {
            rows.prefetch(local);
        }
        let (fours, rest) = locals.as_chunks::<4>();
        for four in fours {
            let [a, b, c, d] = &mut *buffers;
            let four_rows = [
                rows.row(four[0], a),
                rows.row(four[1], b),
                rows.row(four[2], c),
                rows.row(four[3], d),
            ];
            let dots = (self.kernels.dot4)(&self.padded, four_rows);
            out.extend(
                four.iter()
                    .zip(dots)
                    .map(|(&l, dot)| order_safe(self.offset - 2.0 * dot + biases.get(l))),
            );
        }
        for &local in rest {
            out.push(self.estimate(rows.row(local, &mut buffers[0]), biases.get(local)));
        }
    }

    /// The reported distance to an item: the same bits whichever segment and kernel found it.
    ///
    /// `scratch` receives the unpadded row if the distance has to be computed directly.
    pub(crate) fn exact(&self, row: &[Block], bias: f32, scratch: &mut Vec<f32>) -> f32 {
        let dot: f64 = (self.kernels.dot64)(&self.padded, row).iter().sum();
        let (offset, bias) = (f64::from(self.offset), f64::from(bias));
        let distance = offset - 2.0 * dot + bias;
        // The comparison fails for NaN, which is then computed directly too.
        if distance >= (offset.abs() + bias.abs()) * CANCELLATION_SHARE {
            return distance as f32;
        }
        scratch.resize(self.raw.len(), 0.0);
        unpack_into(row, scratch);
        self.metric.metric.distance(self.raw, scratch) as f32
    }
}
