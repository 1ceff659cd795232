//! The geometric mean's defining properties, on matrices both tame and ill conditioned, by every
//! backend.

use ndarray::{Array2, array};

use super::backend::{Backend, Faer};
use super::*;

/// Symmetric positive definite, eigenvalues spread geometrically from 1 down to `1 / condition`, in
/// a basis by seed.
fn spd(d: usize, condition: f64, seed: u64) -> Array2<f64> {
    let basis = orthogonal(d, seed);
    let scaled = Array2::from_shape_fn((d, d), |(i, j)| {
        basis[[i, j]] * condition.powf(-0.5 * j as f64 / (d - 1).max(1) as f64)
    });
    let mut a = scaled.dot(&scaled.t());
    symmetrise(&mut a);
    a
}

/// Eigenvectors of a symmetric matrix of pseudo-random numbers.
fn orthogonal(d: usize, seed: u64) -> Array2<f64> {
    let mut state = seed;
    let mut a = Array2::from_shape_fn((d, d), |_| {
        state = crate::fingerprints::splitmix(state);
        state as f64 / u64::MAX as f64 - 0.5
    });
    symmetrise(&mut a);
    Faer::eigen(a).unwrap().1
}

/// The largest difference, relative to the largest number of `b`.
fn error(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let scale = b.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    (a - b).iter().fold(0.0_f64, |m, v| m.max(v.abs())) / scale
}

const SIZES: [usize; 5] = [1, 2, 5, 30, 65];

#[test]
fn the_half_way_metric_carries_one_scatter_to_the_other() {
    for d in SIZES {
        let (s, target) = (spd(d, 1e3, 1), spd(d, 1e2, 2));
        let a = GeneralizedEigen::of_scatters(s.view(), target.view())
            .unwrap()
            .at(0.5);
        assert!(
            error(&a.dot(&s).dot(&a), &target) < 1e-10,
            "A S A = D, d {d}"
        );
    }
}

#[test]
fn the_ends_of_the_geodesic_are_its_ends() {
    for d in SIZES {
        let (x, y) = (spd(d, 1e4, 3), spd(d, 1e2, 4));
        for (x, y) in [(&x, &y), (&y, &x)] {
            assert!(error(&geometric_mean(x.view(), y.view(), 0.0).unwrap(), x) < 1e-11);
            assert!(error(&geometric_mean(x.view(), y.view(), 1.0).unwrap(), y) < 1e-11);
        }
        let path = GeneralizedEigen::of_scatters(x.view(), y.view()).unwrap();
        assert!(
            error(&path.at(0.0).dot(&x), &Array2::eye(d)) < 1e-9,
            "at 0 it is the inverse of the first"
        );
        assert!(error(&path.at(1.0), &y) < 1e-9);
    }
}

#[test]
fn the_mean_is_invariant_under_congruence() {
    for d in SIZES {
        let (x, y) = (spd(d, 1e2, 5), spd(d, 1e3, 6));
        let g = orthogonal(d, 7) + Array2::<f64>::eye(d) * 1.5;
        let mut congruent = [&x, &y].map(|m| g.t().dot(m).dot(&g));
        congruent.iter_mut().for_each(symmetrise);
        let [gx, gy] = congruent;
        let outside = g
            .t()
            .dot(&geometric_mean(x.view(), y.view(), 0.3).unwrap())
            .dot(&g);
        assert!(
            error(
                &geometric_mean(gx.view(), gy.view(), 0.3).unwrap(),
                &outside
            ) < 1e-9,
            "d {d}"
        );
    }
}

#[test]
fn going_back_is_going_on() {
    let (x, y) = (spd(20, 1e5, 8), spd(20, 10.0, 9));
    for t in [-0.2, 0.1, 0.5, 0.6, 1.3] {
        let there = geometric_mean(x.view(), y.view(), t).unwrap();
        let back = geometric_mean(y.view(), x.view(), 1.0 - t).unwrap();
        assert!(error(&there, &back) < 1e-11, "t {t}");
    }
}

#[test]
fn commuting_matrices_have_the_scalar_mean() {
    let mean = geometric_mean(
        array![[1.0, 0.0], [0.0, 16.0]].view(),
        array![[4.0, 0.0], [0.0, 1.0]].view(),
        0.5,
    );
    assert!(error(&mean.unwrap(), &array![[2.0, 0.0], [0.0, 4.0]]) < 1e-14);
}

#[test]
fn ill_conditioned_ends_keep_eight_digits() {
    // What f32 could not do at all.
    for condition in [1e8, 1e10] {
        let (x, y) = (spd(40, condition, 10), spd(40, 1e2, 11));
        let a = geometric_mean(x.view(), y.view(), 0.5).unwrap();
        // A X^-1 A = Y, by a solve with the factor of X.
        let r = cholesky(x.view()).unwrap();
        let half = dense::solve_upper_right(&r, a);
        assert!(
            error(&half.dot(&half.t()), &y) < 1e-6,
            "condition {condition:e}: {}",
            error(&half.dot(&half.t()), &y)
        );
    }
}

#[test]
fn what_is_not_positive_definite_is_refused() {
    let good = Array2::<f64>::eye(2);
    for bad in [
        array![[1.0, 2.0], [2.0, 1.0]],
        array![[0.0, 0.0], [0.0, 0.0]],
        array![[1.0, 1.0], [1.0, 1.0 - 1e-15]],
    ] {
        assert!(
            matches!(
                geometric_mean(bad.view(), good.view(), 0.5),
                Err(LearnError::NotAMetric(_))
            ),
            "{bad}"
        );
        assert!(
            matches!(
                geometric_mean(good.view(), bad.view(), 0.5),
                Err(LearnError::NotAMetric(_))
            ),
            "{bad}"
        );
    }
    let (small, wide) = (Array2::<f64>::eye(1), Array2::<f64>::zeros((2, 3)));
    assert!(geometric_mean(good.view(), small.view(), 0.5).is_err());
    assert!(geometric_mean(wide.view(), wide.view(), 0.5).is_err());
    let nan = array![[f64::NAN, 0.0], [0.0, 1.0]];
    assert!(geometric_mean(nan.view(), good.view(), 0.5).is_err());
    assert!(geometric_mean(good.view(), nan.view(), 0.5).is_err());
}

#[test]
fn factorisations_restore_their_matrix() {
    factorisations_restore::<Faer>();
    #[cfg(feature = "lapack")]
    factorisations_restore::<super::lapack::Lapack>();
}

fn factorisations_restore<F: Backend>() {
    for d in SIZES {
        let a = spd(d, 1e4, 12);
        let r = F::cholesky(a.clone()).unwrap();
        assert!(error(&gram_of_upper(&r), &a) < 1e-13);
        assert!(
            (1..d).all(|i| (0..i).all(|j| r[[i, j]] == 0.0)),
            "the factor is upper triangular"
        );
        let (values, vectors) = F::eigen(a.clone()).unwrap();
        let restored = vectors
            .t()
            .dot(&Array2::from_diag(&ndarray::Array1::from(values.clone())))
            .dot(&vectors);
        assert!(error(&restored, &a) < 1e-12);
        assert!(values.is_sorted());
        let alone = F::eigenvalues(a).unwrap();
        assert!(
            alone
                .iter()
                .zip(&values)
                .all(|(x, y)| (x - y).abs() < 1e-12)
        );
    }
}

#[cfg(feature = "lapack")]
#[test]
fn faer_and_lapack_agree() {
    use super::lapack::Lapack;
    for d in SIZES.into_iter().chain([130]) {
        let (x, y) = (spd(d, 1e4, 13), spd(d, 1e3, 14));
        for t in [0.0, 0.5, 0.6, 1.0] {
            let by_faer = GeneralizedEigen::between_with::<Faer>(x.view(), y.view())
                .unwrap()
                .at(t);
            let by_lapack = GeneralizedEigen::between_with::<Lapack>(x.view(), y.view())
                .unwrap()
                .at(t);
            assert!(error(&by_faer, &by_lapack) < 1e-9, "d {d}, t {t}");
            let by_faer = GeneralizedEigen::of_scatters_with::<Faer>(x.view(), y.view())
                .unwrap()
                .at(t);
            let by_lapack = GeneralizedEigen::of_scatters_with::<Lapack>(x.view(), y.view())
                .unwrap()
                .at(t);
            assert!(error(&by_faer, &by_lapack) < 1e-9, "scatters, d {d}, t {t}");
        }
    }
}

#[test]
fn what_is_no_symmetric_matrix_is_refused() {
    use super::{eigen, extreme_eigenvalues};
    let skew = ndarray::array![[2.0, 1.0], [0.5, 2.0]];
    let wide = ndarray::Array2::<f64>::ones((2, 3));
    for bad in [skew.view(), wide.view()] {
        let refused = |e: LearnError| matches!(e, LearnError::NotAMetric(_));
        assert!(cholesky(bad).is_err_and(refused));
        assert!(eigen(bad).is_err_and(refused));
        assert!(extreme_eigenvalues(bad).is_err_and(refused));
        assert!(GeneralizedEigen::between(bad, bad).is_err_and(refused));
        assert!(GeneralizedEigen::of_scatters(bad, bad).is_err_and(refused));
    }
}
