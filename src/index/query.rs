//! A query as the parts of the index see it, and the one place where reported distances are
//! computed.

use super::Versioned;
use super::bias::{Biases, RowSource};
use super::kernels::{Kernels, kernels};
use super::rows::{Block, Room, pack, unpack_into};

/// Distances below this share of `offset + bias` have lost so many digits to cancellation that they
/// are computed directly: above it, the terms' rounding (a few `2^-24`) stays below 1e-4 of the
/// distance.
const CANCELLED: f64 = 1.0 / 256.0;

/// A query rewritten for one metric.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    /// The metric that it was rewritten for.
    pub(crate) metric: &'a Versioned,
    /// The query as given.
    pub(crate) raw: &'a [f32],
    /// The rewritten query's direction, padded.
    pub(crate) padded: Box<[Block]>,
    /// The term equal for all items.
    pub(crate) offset: f32,
    direction: Vec<f32>,
    kernels: &'static Kernels,
}

impl<'a> Query<'a> {
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

    /// The rewritten query's direction.
    pub(crate) fn direction(&self) -> &[f32] {
        &self.direction
    }

    /// The distance to an item before it is computed exactly: one dot product in f32.
    #[inline]
    pub(crate) fn estimate(&self, row: &[Block], bias: f32) -> f32 {
        order_safe(self.offset - 2.0 * (self.kernels.dot)(&self.padded, row) + bias)
    }

    /// Appends the estimates of `locals` to `out`, with biases computed where they are not known
    /// yet.
    pub(crate) fn estimates(
        &self,
        locals: &[u32],
        rows: &impl RowSource,
        biases: &Biases,
        rooms: &mut [Room; 4],
        out: &mut Vec<f32>,
    ) {
        biases.ensure(locals, rows, &*self.metric.metric);
        for &local in locals {
            rows.prefetch(local);
        }
        let (fours, rest) = locals.as_chunks::<4>();
        for four in fours {
            let [a, b, c, d] = &mut *rooms;
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
            out.push(self.estimate(rows.row(local, &mut rooms[0]), biases.get(local)));
        }
    }

    /// The distance that is reported: the same bits whichever part and kernel found the item.
    ///
    /// `scratch` is room for the unpadded row where it has to be compared directly.
    pub(crate) fn exact(&self, row: &[Block], bias: f32, scratch: &mut Vec<f32>) -> f32 {
        let dot: f64 = (self.kernels.dot64)(&self.padded, row).iter().sum();
        let (offset, bias) = (f64::from(self.offset), f64::from(bias));
        let distance = offset - 2.0 * dot + bias;
        // Written so that a distance that is no number is computed directly too.
        if distance >= (offset.abs() + bias.abs()) * CANCELLED {
            return distance as f32;
        }
        scratch.resize(self.raw.len(), 0.0);
        unpack_into(row, scratch);
        self.metric.metric.distance(self.raw, scratch) as f32
    }
}

/// Not a number counts as infinitely far.
#[inline]
pub(crate) fn order_safe(distance: f32) -> f32 {
    if distance.is_nan() {
        f32::INFINITY
    } else {
        distance
    }
}
