//! Descent on the loss of batches by Adam (Kingma and Ba, 2015).

use affinis::plugin::LearnError;
use ndarray::{Array2, Axis, NdFloat, s};

use super::batch::{Batch, Pool, Random};
use super::objective::Objective;

/// Bounds of the number of anchors in a batch, which is a quarter of all.
const BATCH_ANCHORS: std::ops::RangeInclusive<usize> = 32..=64;
/// Largest number of steps, however many judgements there are.
const MAX_STEPS: usize = 2_000;
/// Number of steps after which cancellation is polled.
const STEPS_PER_POLL: usize = 10;

/// Length and rate of a descent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Least number of steps.
    pub(crate) steps: usize,
    /// Least number of passes over the anchors.
    pub(crate) passes: usize,
    pub(crate) rate: f64,
    /// The objective at the last step; its hardness grows from 0 in proportion to the steps done.
    pub(crate) objective: Objective,
}

/// The map (`k x k`) that the descent reaches from the identity, for `coordinates` (`n x k`, a row
/// for each of the pool's vectors).
pub(crate) fn descend(
    pool: &Pool,
    coordinates: &Array2<f32>,
    course: Course,
    seed: u64,
    cancel: &dyn Fn() -> bool,
) -> Result<Array2<f32>, LearnError> {
    let k = coordinates.ncols();
    let mut map = Array2::eye(k);
    let (mut first, mut second) = (Array2::<f32>::zeros((k, k)), Array2::<f32>::zeros((k, k)));
    let mut random = Random::new(seed);
    let mut order: Vec<usize> = Vec::new();
    let size = (pool.anchors() / 4)
        .clamp(*BATCH_ANCHORS.start(), *BATCH_ANCHORS.end())
        .min(pool.anchors());
    let steps = course
        .steps
        .max(course.passes * pool.anchors() / size)
        .min(MAX_STEPS);
    for step in 0..steps {
        if step % STEPS_PER_POLL == 0 && cancel() {
            return Err(LearnError::Cancelled);
        }
        // No anchor is drawn twice in a pass. The few that fill no batch at its end are skipped.
        if order.len() < size {
            order = (0..pool.anchors()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, random.below(i + 1));
            }
        }
        let batch = pool.draw(&order.split_off(order.len() - size), &mut random);
        let x = coordinates.select(Axis(0), &batch.rows);
        let hardness = course.objective.hardness * step as f64 / steps as f64;
        let (_, gradient) = slope(
            &map,
            &x,
            &batch,
            Objective {
                hardness,
                ..course.objective
            },
        );

        let (b1, b2) = (0.9_f32, 0.999_f32);
        let done = step as i32 + 1;
        let rate = (course.rate * (1.0 - f64::from(b2).powi(done)).sqrt()
            / (1.0 - f64::from(b1).powi(done))) as f32;
        ndarray::Zip::from(&mut map)
            .and(&mut first)
            .and(&mut second)
            .and(&gradient)
            .for_each(|m, f, s, g| {
                *f = b1 * *f + (1.0 - b1) * g;
                *s = b2 * *s + (1.0 - b2) * g * g;
                *m -= rate * *f / (s.sqrt() + 1e-8);
            });
    }
    Ok(map)
}

/// The mean loss of a batch under a map (`k x k`) of its rows `x`, and its gradient in the map.
fn slope<T: NdFloat>(
    map: &Array2<T>,
    x: &Array2<T>,
    batch: &Batch,
    objective: Objective,
) -> (f64, Array2<T>) {
    let number = |v: f64| T::from(v).unwrap_or_else(T::zero);
    let mut z = x.dot(&map.t());
    let mut norms = Vec::with_capacity(z.nrows());
    for mut row in z.rows_mut() {
        let norm = row.dot(&row).sqrt().max(T::min_positive_value().sqrt());
        row.mapv_inplace(|v| v / norm);
        norms.push(norm);
    }
    let (anchors, others) = (
        z.slice(s![..batch.anchors, ..]),
        z.slice(s![batch.anchors.., ..]),
    );
    let mut similarities = anchors.dot(&others.t());
    let mut loss = 0.0;
    let share = 1.0 / batch.anchors as f64;
    let mut negatives = Vec::with_capacity(others.nrows());
    for (i, (mut row, is_negative)) in similarities
        .rows_mut()
        .into_iter()
        .zip(batch.negative.rows())
        .enumerate()
    {
        negatives.clear();
        negatives.extend(
            row.iter()
                .zip(is_negative)
                .filter(|(_, n)| **n)
                .map(|(s, _)| s.to_f64().unwrap_or(0.0)),
        );
        let (own, by_positive) = objective.loss(row[i].to_f64().unwrap_or(0.0), &mut negatives);
        loss += own * share;
        let mut slopes = negatives.iter();
        for (s, n) in row.iter_mut().zip(is_negative) {
            *s = if *n {
                number(slopes.next().unwrap_or(&0.0) * share)
            } else {
                T::zero()
            };
        }
        row[i] += number(by_positive * share);
    }
    let mut gradient = Array2::zeros(z.raw_dim());
    gradient
        .slice_mut(s![..batch.anchors, ..])
        .assign(&similarities.dot(&others));
    gradient
        .slice_mut(s![batch.anchors.., ..])
        .assign(&similarities.t().dot(&anchors));
    // Through the normalisation, whose derivative along the unit vector is 0.
    for ((mut g, u), norm) in gradient.rows_mut().into_iter().zip(z.rows()).zip(norms) {
        let along = g.dot(&u);
        g.zip_mut_with(&u, |g, u| *g = (*g - along * *u) / norm);
    }
    (loss, gradient.t().dot(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut random = Random::new(3);
        let mut number = || random.below(2001) as f64 / 1000.0 - 1.0;
        let (anchors, k) = (4, 5);
        let x = Array2::from_shape_fn((15, k), |_| number());
        let map = Array2::from_shape_fn((k, k), |(i, j)| {
            f64::from(u8::from(i == j)) + 0.3 * number()
        });
        let negative =
            Array2::from_shape_fn((anchors, 11), |(i, j)| i != j && (j < 8 || j % 4 == i));
        let batch = Batch {
            rows: (0..15).collect(),
            anchors,
            negative,
        };
        for (tau, beta) in [(0.0, 0.0), (0.05, 0.0), (0.05, 2.0)] {
            let objective = Objective {
                temperature: 0.3,
                positive_share: tau,
                hardness: beta,
            };
            let (_, gradient) = slope(&map, &x, &batch, objective);
            for ((i, j), slope_at) in gradient.indexed_iter() {
                let moved = |by: f64| {
                    let mut moved = map.clone();
                    moved[[i, j]] += by;
                    slope(&moved, &x, &batch, objective).0
                };
                let measured = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (measured - slope_at).abs() < 1e-8,
                    "{tau}, {beta}, {i}, {j}: {measured}, {slope_at}"
                );
            }
            let single = slope(
                &map.mapv(|v| v as f32),
                &x.mapv(|v| v as f32),
                &batch,
                objective,
            )
            .1;
            assert!(
                single
                    .iter()
                    .zip(&gradient)
                    .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5)
            );
        }
    }
}
