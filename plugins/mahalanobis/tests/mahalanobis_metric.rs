//! The promises of `MahalanobisMetric` that the index relies on: the rewritten query gives the
//! distance, results do not depend on the batch, and encoding is lossless.

use affinis::plugin::{LearnError, Metric, MetricLearner};
use affinis_mahalanobis::{Mahalanobis, MahalanobisMetric};
use affinis_testkit::Random;
use ndarray::{Array2, array, s};

const DIMS: [usize; 8] = [1, 2, 7, 8, 9, 31, 100, 384];

/// A metric with random directions and a condition number of about 10.
fn metric(d: usize, seed: u64) -> MahalanobisMetric {
    let mut random = Random(seed);
    let z = Array2::from_shape_fn((3 * d + 3, d), |_| random.normal());
    MahalanobisMetric::new(
        (z.t().dot(&z) / (3 * d + 3) as f64 + Array2::<f64>::eye(d) * 0.1).view(),
    )
    .unwrap()
}

/// `n` unit vectors with a common mean, like embeddings.
fn items(n: usize, d: usize, seed: u64) -> Array2<f32> {
    let mut random = Random(seed);
    let mut items = Array2::from_shape_fn((n, d), |_| (random.normal() + 0.3) as f32);
    for mut row in items.rows_mut() {
        let norm = row.dot(&row).sqrt().max(1e-6);
        row /= norm;
    }
    items
}

#[test]
fn the_rewritten_query_gives_the_distance() {
    for d in DIMS {
        let (metric, mut items) = (metric(d, 1), items(50, d, 2));
        // Near-duplicates of the query, for which the three terms cancel.
        for (i, scale) in [1e-1_f32, 1e-2, 1e-3, 0.0].into_iter().enumerate() {
            let shifted = &items.row(0) + &(&items.row(i + 5) * scale);
            items.row_mut(i + 1).assign(&shifted);
        }
        let query = items.row(0).to_vec();
        let mut biases = vec![0.0; items.nrows()];
        metric.biases(items.view(), &mut biases);
        let rewritten = metric.rewrite(&query);
        let a = metric.matrix().unwrap();
        for (item, bias) in items.rows().into_iter().zip(&biases) {
            let dot: f64 = rewritten
                .direction
                .iter()
                .zip(item)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            let got = f64::from(rewritten.offset) - 2.0 * dot + f64::from(*bias);
            let z = ndarray::Array1::from_iter(
                query
                    .iter()
                    .zip(item)
                    .map(|(q, x)| f64::from(*q) - f64::from(*x)),
            );
            let exact = z.dot(&a.dot(&z));
            assert!(
                (got - exact).abs() <= (1e-4 * exact).max(1e-6),
                "d {d}: {got} for {exact}"
            );
            let direct = metric.distance(&query, &item.to_vec());
            assert!(
                (direct - exact).abs() <= 1e-12 * exact.max(1e-12),
                "d {d}: {direct} for {exact}"
            );
        }
    }
}

#[test]
fn results_do_not_depend_on_the_batch() {
    for d in DIMS {
        let (metric, items) = (metric(d, 3), items(67, d, 4));
        let mut together = vec![0.0; 67];
        metric.biases(items.view(), &mut together);
        let images = metric.transform(items.view());
        #[expect(
            clippy::needless_range_loop,
            reason = "the row is cut by its number too"
        )]
        for n in 0..67 {
            let one = items.slice(s![n..=n, ..]);
            let mut alone = [0.0];
            metric.biases(one, &mut alone);
            assert_eq!(alone[0].to_bits(), together[n].to_bits());
            assert_eq!(metric.transform(one).row(0), images.row(n));
        }
        let every_third = items.slice(s![..;3, ..]);
        let mut some = vec![0.0; every_third.nrows()];
        metric.biases(every_third, &mut some);
        assert!(
            some.iter()
                .zip(together.iter().step_by(3))
                .all(|(a, b)| a == b),
            "strided views too"
        );
    }
}

#[test]
fn euclid_over_transformed_vectors_equals_the_metric() {
    let (metric, items) = (metric(40, 5), items(20, 40, 6));
    let images = metric.transform(items.view());
    for i in 1..20 {
        let z = &images.row(0) - &images.row(i);
        let exact = metric.distance(&items.row(0).to_vec(), &items.row(i).to_vec());
        assert!((f64::from(z.dot(&z)) - exact).abs() < 1e-5 * exact);
    }
}

#[test]
fn a_decoded_metric_is_bit_equal() {
    for d in DIMS {
        let metric = metric(d, 7);
        let bytes = metric.encode();
        let back = Mahalanobis::default().decode(&bytes, None).unwrap();
        assert_eq!(back.encode(), bytes);
        assert_eq!(back.matrix(), metric.matrix());
        assert_eq!(back.distortion().to_bits(), metric.distortion().to_bits());
        let items = items(9, d, 8);
        assert_eq!(back.transform(items.view()), metric.transform(items.view()));
        let query = items.row(0).to_vec();
        assert_eq!(back.rewrite(&query), metric.rewrite(&query));
    }
}

#[test]
fn every_damaged_byte_is_noticed() {
    let bytes = metric(5, 9).encode();
    let decode = |bytes: &[u8]| Mahalanobis::default().decode(bytes, None);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert!(
            matches!(decode(&damaged), Err(LearnError::Damaged(_))),
            "byte {at}"
        );
        assert!(
            matches!(decode(&bytes[..at]), Err(LearnError::Damaged(_))),
            "cut at {at}"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(decode(&longer), Err(LearnError::Damaged(_))));
}

#[test]
fn false_headers_are_refused_even_with_a_right_checksum() {
    let honest = metric(3, 10).encode();
    let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = honest[..honest.len() - 4].to_vec();
        change(&mut bytes);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Mahalanobis::default().decode(&bytes, None)
    };
    assert!(sealed(&|_| {}).is_ok());
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let changes: [Change<'_>; 8] = [
        &|b| b[8..12].copy_from_slice(&u32::MAX.to_le_bytes()),
        &|b| b[8..12].copy_from_slice(&0_u32.to_le_bytes()),
        &|b| b[12..16].copy_from_slice(&60_000_u32.to_le_bytes()),
        &|b| b[16..24].copy_from_slice(&f64::NAN.to_le_bytes()),
        &|b| b[16..24].copy_from_slice(&0.5_f64.to_le_bytes()),
        &|b| b[24..32].copy_from_slice(&f64::INFINITY.to_le_bytes()),
        &|b| b[24..32].copy_from_slice(&(-1.0_f64).to_le_bytes()),
        &|b| b[24..32].copy_from_slice(&30.0_f64.to_le_bytes()),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        assert!(
            matches!(sealed(change), Err(LearnError::Damaged(_))),
            "change {i}"
        );
    }
}

#[test]
fn imported_matrices_are_checked_and_scaled() {
    let import = |m: Array2<f64>| Mahalanobis::default().from_matrix(m.view());
    let metric = import(array![[2e-200, 0.0], [0.0, 6e-200]]).unwrap();
    assert!(
        (metric.matrix().unwrap() - array![[0.5, 0.0], [0.0, 1.5]])
            .iter()
            .all(|v| v.abs() < 1e-15)
    );
    assert!((metric.distortion() - 3.0_f64.sqrt()).abs() < 1e-12);
    for bad in [
        array![[1.0, 2.0], [2.0, 1.0]],
        array![[1.0, 0.5], [0.0, 1.0]],
        array![[1.0, 0.0], [0.0, 0.0]],
        array![[-1.0, 0.0], [0.0, -1.0]],
        array![[1.0, 0.0], [0.0, 1e-12]],
        array![[f64::NAN]],
        array![[0.0]],
        array![[1.0, 0.0]],
        Array2::zeros((0, 0)),
    ] {
        assert!(
            matches!(import(bad.clone()), Err(LearnError::NotAMetric(_))),
            "{bad}"
        );
    }
}

#[test]
fn comparison_is_a_distance_and_gives_the_factors() {
    let plugin = Mahalanobis::default();
    let a = plugin
        .from_matrix(array![[1.0, 0.0], [0.0, 1.0]].view())
        .unwrap();
    let b = plugin
        .from_matrix(array![[0.4, 0.0], [0.0, 1.6]].view())
        .unwrap();
    let there = plugin.compare(&*a, &*b).unwrap();
    let back = plugin.compare(&*b, &*a).unwrap();
    assert!((there.distance - (0.4_f64.ln().powi(2) + 1.6_f64.ln().powi(2)).sqrt()).abs() < 1e-12);
    assert!((there.distance - back.distance).abs() < 1e-12);
    assert!((there.factors[0] - 0.4).abs() < 1e-12 && (there.factors[1] - 1.6).abs() < 1e-12);
    assert!(plugin.compare(&*a, &*a).unwrap().distance < 1e-7);
    assert!(matches!(
        plugin.compare(&*a, &metric(3, 1)),
        Err(LearnError::NotAMetric(_))
    ));
}
