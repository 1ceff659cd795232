//! The derivative of the weighted geometric mean in both of its ends.
//!
//! In the basis in which both ends are diagonal it is a product by elements with divided
//! differences (Daleckii and Krein 1965; Bhatia, *Matrix Analysis*, 1997, theorem V.3.3). With
//! `S^-1 = TT'` and `D = T diag(w) T'`: `d(S^-1 #_t D) = T [ F o (T^-1 dD T^-T) - H o (T' dS T) ]
//! T'`, where `F` has the divided differences of `x^t` at `w`, and `H_ij = (w_i^(t-1) - w_j^(t-1))
//! / (w_i^-1 - w_j^-1)`: the geometric mean keeps its form under congruence, so it is enough to
//! know it at `(I, diag(w))`.

use ndarray::{Array2, ArrayView2};

use super::GeneralizedEigen;

impl GeneralizedEigen {
    /// The gradients of `<g, s^-1 #_t d>` in `s` and in `d`, for the geodesic that
    /// [`GeneralizedEigen::of_scatters`] made of `s` and `d`; `g` is symmetric.
    pub(crate) fn gradients(
        &self,
        s: ArrayView2<'_, f64>,
        t: f64,
        g: ArrayView2<'_, f64>,
    ) -> (Array2<f64>, Array2<f64>) {
        // The rows of the basis are T'; T^-1 = T'S.
        let basis = &self.basis;
        let inverse = basis.dot(&s);
        let inner = basis.dot(&g).dot(&basis.t());
        let logs: Vec<f64> = self.values.iter().map(|w| w.ln()).collect();
        let weighted = |of: &dyn Fn(f64, f64) -> f64| {
            Array2::from_shape_fn(inner.dim(), |(i, j)| {
                inner[[i, j]] * of(0.5 * (logs[i] + logs[j]), 0.5 * (logs[i] - logs[j]))
            })
        };
        // With w = e^a: (e^ta - e^tb) / (e^a - e^b) = e^((t-1) mean) sinh(t half) / sinh(half),
        // which does not cancel.
        let far = weighted(&|mean, half| ((t - 1.0) * mean).exp() * sinh_ratio(t, half));
        let near = weighted(&|mean, half| -(t * mean).exp() * sinh_ratio(1.0 - t, half));
        (
            basis.t().dot(&near).dot(basis),
            inverse.t().dot(&far).dot(&inverse),
        )
    }
}

/// `sinh(t x) / sinh(x)`, which is `t` at 0.
fn sinh_ratio(t: f64, x: f64) -> f64 {
    if x.abs() < 1e-6 {
        t
    } else {
        (t * x).sinh() / x.sinh()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use crate::spd::GeneralizedEigen;

    fn wave(d: usize, phase: f64) -> Array2<f64> {
        let z = Array2::from_shape_fn((2 * d, d), |(i, j)| {
            (phase + 1.7 * i as f64 + 0.6 * (i * j) as f64).sin()
        });
        z.t().dot(&z) / d as f64 + Array2::<f64>::eye(d) * 0.2
    }

    #[test]
    fn gradients_agree_with_differences() {
        let d = 6;
        let (s, far) = (wave(d, 0.1), wave(d, 0.9));
        let (ds, dd, g) = (wave(d, 2.0), wave(d, 3.1), wave(d, 4.2));
        for t in [0.0, 0.3, 0.5, 0.6, 1.0] {
            let value = |e: f64, f: f64| -> f64 {
                let (s, far) = (&s + &(&ds * e), &far + &(&dd * f));
                (GeneralizedEigen::of_scatters(s.view(), far.view())
                    .unwrap()
                    .at(t)
                    * &g)
                    .sum()
            };
            let eigen = GeneralizedEigen::of_scatters(s.view(), far.view()).unwrap();
            let (in_s, in_d) = eigen.gradients(s.view(), t, g.view());
            let h = 1e-5;
            for (gradient, direction, difference) in [
                (in_s, &ds, (value(h, 0.0) - value(-h, 0.0)) / (2.0 * h)),
                (in_d, &dd, (value(0.0, h) - value(0.0, -h)) / (2.0 * h)),
            ] {
                let exact = (gradient * direction).sum();
                assert!(
                    (exact - difference).abs() < 1e-6 * (1.0 + exact.abs()),
                    "t {t}: {exact} for {difference}"
                );
            }
        }
    }
}
