//! A metric that is a low-rank update of another: its distances, its bytes, and what is refused.

use std::sync::Arc;

use affinis::plugin::{
    Fitted, Incumbent, LearnError, Metric, MetricLearner, Sample, Task, UpdateOf,
};
use affinis_mahalanobis::{Mahalanobis, MahalanobisMetric};
use affinis_testkit::Random;
use affinis_testkit::synthetic::judged_by_four_numbers;
use ndarray::{Array1, Array2};

const D: usize = 24;

/// A metric with random directions and a condition number of about 10.
fn base(seed: u64) -> Arc<dyn Metric> {
    let mut random = Random(seed);
    let z = Array2::from_shape_fn((3 * D, D), |_| random.normal());
    let matrix = z.t().dot(&z) / (3 * D) as f64 + Array2::<f64>::eye(D) * 0.1;
    Arc::new(MahalanobisMetric::new(matrix.view()).expect("a metric"))
}

fn fit(base: &Arc<dyn Metric>, rank: usize) -> Fitted {
    let (examples, sample) = (judged_by_four_numbers(20, D, 1.0, 0.1), Sample::default());
    Mahalanobis::default()
        .fit_personal(
            &Task::new(D, &examples, &sample)
                .with_seed(1)
                .with_incumbent(Some(Incumbent {
                    metric: &**base,
                    shrunken: false,
                    report: None,
                }))
                .with_update_of(Some(UpdateOf { base, rank })),
            &examples,
        )
        .expect("a metric")
}

fn vectors(n: usize) -> Array2<f32> {
    let mut random = Random(5);
    Array2::from_shape_fn((n, D), |_| random.normal() as f32)
}

#[test]
fn every_way_to_measure_agrees_with_the_matrix() {
    let base = base(1);
    let fitted = fit(&base, 4);
    assert!(fitted.is_update);
    assert_eq!(fitted.report.notes["rank"], 4.0);
    let metric = fitted.metric;
    let a = metric.matrix().expect("a matrix");
    assert!((a.diag().sum() - D as f64).abs() < 1e-5 * D as f64);
    let items = vectors(40);
    let mut biases = vec![0.0; 40];
    metric.biases(items.view(), &mut biases);
    let images = metric.transform(items.view());
    let query = items.row(0).to_vec();
    let rewritten = metric.rewrite(&query);
    for (i, bias) in biases.iter().enumerate().skip(1) {
        let item = items.row(i).to_vec();
        let z = Array1::from_iter(
            query
                .iter()
                .zip(&item)
                .map(|(q, x)| f64::from(*q) - f64::from(*x)),
        );
        let exact = z.dot(&a.dot(&z));
        assert!((metric.distance(&query, &item) - exact).abs() <= 1e-6 * exact);
        let dot: f64 = rewritten
            .direction
            .iter()
            .zip(&item)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        let got = f64::from(rewritten.offset) - 2.0 * dot + f64::from(*bias);
        assert!((got - exact).abs() <= 1e-4 * exact, "{got} for {exact}");
        let image = &images.row(0) - &images.row(i);
        assert!((f64::from(image.dot(&image)) - exact).abs() <= 1e-4 * exact);
        // The same bits alone and in a batch.
        let mut alone = [0.0];
        metric.biases(items.select(ndarray::Axis(0), &[i]).view(), &mut alone);
        assert_eq!(alone[0].to_bits(), bias.to_bits());
    }
    assert_eq!(metric.distance(&query, &query), 0.0);
    let parts = metric
        .directions(&query, &items.row(1).to_vec())
        .expect("directions");
    let sum: f64 = parts.iter().map(|part| part.contribution).sum();
    assert!((sum - metric.distance(&query, &items.row(1).to_vec())).abs() < 1e-5 * sum);
}

#[test]
fn a_higher_rank_is_nearer_to_the_whole_metric() {
    let base = base(1);
    let plugin = Mahalanobis::default();
    let whole = fit(&base, 0);
    assert!(!whole.is_update && !whole.report.notes.contains_key("rank"));
    let away = |rank| {
        let fitted = fit(&base, rank);
        plugin
            .compare(&*whole.metric, &*fitted.metric)
            .expect("comparable")
            .distance
    };
    let distances: Vec<f64> = [1, 4, 12, D - 1].map(away).into();
    assert!(distances.is_sorted_by(|a, b| a > b), "{distances:?}");
    assert!(
        distances[3] < 1e-4,
        "all but one direction, and the scale: {distances:?}"
    );
    assert!(
        plugin
            .compare(&*base, &*whole.metric)
            .expect("comparable")
            .distance
            > distances[0],
        "{distances:?}"
    );
    assert!(!fit(&base, D).is_update, "no smaller than a matrix");
}

#[test]
fn a_decoded_update_is_bit_equal_and_needs_its_base() {
    let (base, other) = (base(1), base(2));
    let metric = fit(&base, 4).metric;
    let bytes = metric.encode();
    assert!(
        bytes.len() < 24 + 16 + 4 * 8 + 4 * D * 4 + 20 * 8 + 5,
        "{} bytes",
        bytes.len()
    );
    let plugin = Mahalanobis::default();
    let back = plugin.decode(&bytes, Some(&base)).expect("as written");
    assert_eq!(back.encode(), bytes);
    assert_eq!(back.matrix(), metric.matrix());
    let query = vectors(1).row(0).to_vec();
    assert_eq!(back.rewrite(&query), metric.rewrite(&query));
    for wrong in [None, Some(&other)] {
        assert!(
            matches!(plugin.decode(&bytes, wrong), Err(LearnError::Damaged(why)) if why.contains("update"))
        );
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert!(
            matches!(
                plugin.decode(&damaged, Some(&base)),
                Err(LearnError::Damaged(_))
            ),
            "byte {at}"
        );
        assert!(
            matches!(
                plugin.decode(&bytes[..at], Some(&base)),
                Err(LearnError::Damaged(_))
            ),
            "cut at {at}"
        );
    }
}

#[test]
fn false_updates_are_refused_even_with_a_right_checksum() {
    let base = base(1);
    let honest = fit(&base, 4).metric.encode();
    let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = honest[..honest.len() - 4].to_vec();
        change(&mut bytes);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Mahalanobis::default().decode(&bytes, Some(&base))
    };
    assert!(sealed(&|_| {}).is_ok());
    type Lie<'a> = &'a dyn Fn(&mut Vec<u8>);
    let lies: [Lie<'_>; 9] = [
        &|b| b[24..28].copy_from_slice(&0_u32.to_le_bytes()),
        &|b| b[24..28].copy_from_slice(&(D as u32).to_le_bytes()),
        &|b| b[24..28].copy_from_slice(&u32::MAX.to_le_bytes()),
        &|b| b[28..32].copy_from_slice(&0_u32.to_le_bytes()),
        &|b| b[32..40].copy_from_slice(&(-1.0_f64).to_le_bytes()),
        &|b| b[40..48].copy_from_slice(&(-100.0_f64).to_le_bytes()),
        &|b| b[40..48].copy_from_slice(&f64::NAN.to_le_bytes()),
        &|b| b[72..76].copy_from_slice(&9.0_f32.to_le_bytes()),
        &|b| b[72..76].copy_from_slice(&f32::NAN.to_le_bytes()),
    ];
    for (i, lie) in lies.into_iter().enumerate() {
        assert!(
            matches!(sealed(lie), Err(LearnError::Damaged(_))),
            "lie {i}"
        );
    }
}
