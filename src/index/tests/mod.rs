//! Tests of the whole index, and what the tests of its modules share.

#![allow(
    clippy::cast_lossless,
    clippy::needless_for_each,
    clippy::redundant_closure_for_method_calls,
    clippy::type_complexity,
    reason = "clarity of tests"
)]

mod background;
mod figures;
mod files;
mod model;
mod recall;

use std::sync::Arc;

use affinis_testkit::synthetic::orthonormalise;
use affinis_testkit::{data_dir, f16_vectors};
use ndarray::{Array2, ArrayView2};

use super::{Config, Index, SearchParams, Versioned};
use crate::plugin::{Metric, Rewritten};

/// Squared Euclidean distance.
#[derive(Debug)]
pub(crate) struct Euclid(pub(crate) usize);

impl Metric for Euclid {
    fn dim(&self) -> usize {
        self.0
    }
    fn rewrite(&self, query: &[f32]) -> Rewritten {
        Rewritten {
            direction: query.to_vec(),
            offset: dot(query, query) as f32,
        }
    }
    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        for (item, bias) in items.rows().into_iter().zip(out) {
            *bias = item.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() as f32;
        }
    }
    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum()
    }
    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        items.to_owned()
    }
    fn distortion(&self) -> f64 {
        1.0
    }
    fn matrix(&self) -> Option<Array2<f64>> {
        Some(Array2::eye(self.0))
    }
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Minus the dot product, a distance that is not a metric.
#[derive(Debug)]
pub(crate) struct Dot(pub(crate) usize);

impl Metric for Dot {
    fn dim(&self) -> usize {
        self.0
    }
    fn rewrite(&self, query: &[f32]) -> Rewritten {
        Rewritten {
            direction: query.iter().map(|x| x / 2.0).collect(),
            offset: 0.0,
        }
    }
    fn biases(&self, _: ArrayView2<'_, f32>, out: &mut [f32]) {
        out.fill(0.0);
    }
    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        -dot(x, y)
    }
    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        items.to_owned()
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

/// `(x-y)' A (x-y)` with `A = L' L`.
#[derive(Debug)]
pub(crate) struct Mahalanobis {
    factor: Array2<f64>,
    matrix: Array2<f64>,
    condition: f64,
}

impl Mahalanobis {
    /// A matrix with the given condition number, logarithmically spaced eigenvalues and random
    /// eigenvectors.
    pub(crate) fn random(dim: usize, condition: f64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut basis = Array2::from_shape_fn((dim, dim), |_| f64::from(random.normal()));
        orthonormalise(&mut basis);
        let mut values: Vec<f64> = (0..dim)
            .map(|i| condition.powf(i as f64 / (dim.max(2) - 1) as f64))
            .collect();
        let trace: f64 = values.iter().sum();
        values.iter_mut().for_each(|v| *v *= dim as f64 / trace);
        let factor = Array2::from_shape_fn((dim, dim), |(i, j)| values[i].sqrt() * basis[(i, j)]);
        let matrix = factor.t().dot(&factor);
        Self {
            factor,
            matrix,
            condition,
        }
    }
}

impl Metric for Mahalanobis {
    fn dim(&self) -> usize {
        self.matrix.nrows()
    }
    fn rewrite(&self, query: &[f32]) -> Rewritten {
        let q = ndarray::Array1::from_iter(query.iter().map(|x| f64::from(*x)));
        let direction = self.matrix.dot(&q);
        Rewritten {
            offset: direction.dot(&q) as f32,
            direction: direction.iter().map(|x| *x as f32).collect(),
        }
    }
    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        for (item, bias) in items.rows().into_iter().zip(out) {
            let mapped = self.factor.dot(&item.mapv(f64::from));
            *bias = mapped.dot(&mapped) as f32;
        }
    }
    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        let z =
            ndarray::Array1::from_iter(x.iter().zip(y).map(|(x, y)| f64::from(*x) - f64::from(*y)));
        let mapped = self.factor.dot(&z);
        mapped.dot(&mapped)
    }
    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        items.dot(&self.factor.t().mapv(|x| x as f32))
    }
    fn distortion(&self) -> f64 {
        self.condition.sqrt()
    }
    fn matrix(&self) -> Option<Array2<f64>> {
        Some(self.matrix.clone())
    }
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum()
}

pub(crate) fn euclid(dim: usize) -> Versioned {
    Versioned {
        version: 0,
        metric: Arc::new(Euclid(dim)),
    }
}

pub(crate) fn mahalanobis(dim: usize, condition: f64, version: u32) -> Versioned {
    Versioned {
        version,
        metric: Arc::new(Mahalanobis::random(dim, condition, 11)),
    }
}

/// A configuration with small segments, so that every path is taken, and without a maintenance
/// thread.
pub(crate) fn small(dim: usize, growing_capacity: usize, graph_from: usize) -> Config {
    Config {
        growing_capacity,
        graph_from,
        seal_from: usize::MAX,
        background: false,
        ..Config::new(Arc::new(Euclid(dim)))
    }
}

pub(crate) fn params(k: usize) -> SearchParams<'static> {
    SearchParams {
        k,
        ..SearchParams::default()
    }
}

/// Adds `vectors` in the slots from `first` on.
pub(crate) fn add(index: &Index, first: u32, vectors: &[Vec<f32>]) {
    let items: Vec<(u32, &[f32])> = vectors
        .iter()
        .enumerate()
        .map(|(i, v)| (first + i as u32, &v[..]))
        .collect();
    index.apply(&items, &[]).unwrap();
}

/// The `k` nearest of (slot, vector), computed directly.
pub(crate) fn exact<'a>(
    metric: &Versioned,
    query: &[f32],
    items: impl Iterator<Item = (u32, &'a [f32])>,
    k: usize,
) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> = items
        .map(|(slot, x)| (slot, metric.metric.distance(query, x)))
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// The vectors of a file of the large data, where it is there.
pub(crate) fn npy(path: &str) -> Option<Vec<Vec<f32>>> {
    let vectors = f16_vectors(&data_dir().join(path))?;
    Some(vectors.outer_iter().map(|row| row.to_vec()).collect())
}

pub(crate) fn normalise(vectors: &mut [Vec<f32>]) {
    for vector in vectors {
        let norm = dot(vector, vector).sqrt() as f32;
        vector.iter_mut().for_each(|x| *x /= norm);
    }
}

/// A small generator of random numbers (xorshift*), so that tests are the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
    }

    pub(crate) fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}
