//! Exact distances and answers, computed in `f64` by a scan, and random items to compare them on.

use affinis::Item;

use crate::Random;

/// `count` items `p0`, `p1`, ... with random vectors of `dim` numbers.
pub fn items(count: usize, dim: usize, seed: u64) -> Vec<Item> {
    let mut random = Random(seed);
    (0..count)
        .map(|i| Item::vector(format!("p{i}"), random.vector(dim)))
        .collect()
}

/// The ids and distances of the `k` nearest items, nearest first, ties by id.
pub fn exact(items: &[Item], k: usize, distance: impl Fn(&[f32]) -> f64) -> Vec<(String, f64)> {
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

/// The dot product.
pub fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum()
}

/// The squared Euclidean distance.
pub fn l2(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}

/// The squared Euclidean distance of the normalised vectors, `2 - 2 cos(x, y)`.
pub fn cosine(x: &[f32], y: &[f32]) -> f64 {
    2.0 - 2.0 * dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
}
