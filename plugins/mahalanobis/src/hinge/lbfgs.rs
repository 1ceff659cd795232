//! L-BFGS (Nocedal and Wright, *Numerical Optimization*, 2006, algorithm 7.5) with a backtracking
//! line search.

use std::collections::VecDeque;

use affinis::plugin::LearnError;
use ndarray::Array2;

/// Number of past steps that the curvature is estimated from.
const MEMORY: usize = 8;
/// Least share of the predicted descent that a step must reach (Armijo's condition).
const MIN_DESCENT_SHARE: f64 = 1e-4;
/// Largest number of times that a step is halved before the search ends.
const MAX_HALVINGS: usize = 20;

/// The point that at most `steps` steps of descent reach from `start`. `f` gives a point's value
/// and gradient; the value never rises.
pub(super) fn minimise(
    mut f: impl FnMut(&Array2<f64>) -> (f64, Array2<f64>),
    start: Array2<f64>,
    steps: usize,
    cancel: &dyn Fn() -> bool,
) -> Result<Array2<f64>, LearnError> {
    let mut x = start;
    let (mut value, mut gradient) = f(&x);
    let mut past: VecDeque<(Array2<f64>, Array2<f64>)> = VecDeque::new();
    for _ in 0..steps {
        if cancel() {
            return Err(LearnError::Cancelled);
        }
        let mut direction = direction(&gradient, &past);
        let mut descent = dot(&direction, &gradient);
        if descent >= 0.0 {
            past.clear();
            direction = -&gradient;
            descent = dot(&direction, &gradient);
        }
        if !descent.is_finite() || descent > -1e-16 {
            break;
        }
        // The first direction has no scale: it moves by a tenth of where it is.
        let mut length = if past.is_empty() {
            0.1 * (dot(&x, &x) / -descent).sqrt()
        } else {
            1.0
        };
        let mut found = None;
        for _ in 0..MAX_HALVINGS {
            let next = &x + &(&direction * length);
            let (v, g) = f(&next);
            if v.is_finite() && v <= value + MIN_DESCENT_SHARE * length * descent {
                found = Some((next, v, g));
                break;
            }
            length *= 0.5;
        }
        let Some((next, v, g)) = found else { break };
        let (s, y) = (&next - &x, &g - &gradient);
        if dot(&s, &y) > 1e-12 * dot(&y, &y) {
            past.push_back((s, y));
            if past.len() > MEMORY {
                past.pop_front();
            }
        }
        (x, value, gradient) = (next, v, g);
    }
    Ok(x)
}

/// `-H g` by the two loops over past steps and changes of the gradient.
fn direction(gradient: &Array2<f64>, past: &VecDeque<(Array2<f64>, Array2<f64>)>) -> Array2<f64> {
    let mut q = -gradient;
    let mut taken = Vec::with_capacity(past.len());
    for (s, y) in past.iter().rev() {
        let alpha = dot(s, &q) / dot(s, y);
        q.scaled_add(-alpha, y);
        taken.push(alpha);
    }
    if let Some((s, y)) = past.back() {
        q *= dot(s, y) / dot(y, y);
    }
    for ((s, y), alpha) in past.iter().zip(taken.into_iter().rev()) {
        let beta = dot(y, &q) / dot(s, y);
        q.scaled_add(alpha - beta, s);
    }
    q
}

fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    ndarray::Zip::from(a)
        .and(b)
        .fold(0.0, |sum, a, b| sum + a * b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_minimum_of_a_narrow_valley() {
        // Rosenbrock's function, 0 at (1, 1).
        let f = |x: &Array2<f64>| {
            let (a, b) = (x[[0, 0]], x[[0, 1]]);
            let value = (1.0 - a).powi(2) + 100.0 * (b - a * a).powi(2);
            let slope = ndarray::array![[
                -2.0 * (1.0 - a) - 400.0 * a * (b - a * a),
                200.0 * (b - a * a)
            ]];
            (value, slope)
        };
        let found = minimise(f, ndarray::array![[-1.2, 1.0]], 100, &|| false).unwrap();
        assert!(
            (found[[0, 0]] - 1.0).abs() < 1e-6 && (found[[0, 1]] - 1.0).abs() < 1e-6,
            "{found}"
        );
    }
}
