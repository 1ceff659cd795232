//! What several test programs share.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod kinds;

use affinis::{EncodeError, Encoded, Encoder, Item};
use ndarray::Array2;

/// Numbers from a seed (`SplitMix64`), so that a test sees the same data everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Between -1 and 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(crate) fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.unit()).collect()
    }
}

/// Items `p0`, `p1`, ... with random vectors.
pub(crate) fn items(count: usize, dim: usize, seed: u64) -> Vec<Item> {
    let mut random = Random(seed);
    (0..count)
        .map(|i| Item::vector(format!("p{i}"), random.vector(dim)))
        .collect()
}

/// An encoder that counts words by their hash: small, exact, and different for different seeds.
#[derive(Clone)]
pub(crate) struct WordCounts {
    pub(crate) dim: usize,
    pub(crate) fingerprint: String,
}

impl WordCounts {
    pub(crate) fn new(dim: usize, fingerprint: &str) -> Self {
        Self {
            dim,
            fingerprint: fingerprint.to_owned(),
        }
    }
}

impl Encoder for WordCounts {
    fn dim(&self) -> usize {
        self.dim
    }

    fn name(&self) -> &'static str {
        "word-counts"
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        let mut vectors = Array2::zeros((texts.len(), self.dim));
        for (mut row, text) in vectors.rows_mut().into_iter().zip(texts) {
            for word in text.split_whitespace() {
                let hash = word.bytes().fold(14_695_981_039_346_656_037_u64, |h, b| {
                    (h ^ u64::from(b)).wrapping_mul(1_099_511_628_211)
                });
                row[(hash % self.dim as u64) as usize] += 1.0;
            }
        }
        Ok(Encoded {
            truncated: texts.iter().map(|t| t.len() > 100).collect(),
            vectors,
        })
    }
}

/// Exact answers in f64: ids with their distances, nearest first, ties by id.
pub(crate) fn exact(
    items: &[Item],
    k: usize,
    distance: impl Fn(&[f32]) -> f64,
) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = items
        .iter()
        .map(|item| {
            (
                item.id.clone(),
                distance(item.vector.as_deref().expect("a vector")),
            )
        })
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

pub(crate) fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum()
}

pub(crate) fn l2(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}

pub(crate) fn cosine(x: &[f32], y: &[f32]) -> f64 {
    2.0 - 2.0 * dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
}
