//! The learner `naive`, which is for study: nothing but force promotes its candidate, and that
//! candidate is the rank-one metric that its objective gives, up to the condition cap.

use std::sync::Arc;

use affinis::plugin::{Fitted, Incumbent, Metric, MetricLearner, Task, UpdateOf};
use affinis_mahalanobis::{Mahalanobis, MahalanobisMetric, spd};
use affinis_testkit::synthetic::world;
use ndarray::{Array2, ArrayView1};

const D: usize = 8;
const CAP: f64 = 16.0;

/// Fits of `naive` to simulated judgements: three of 60 queries and two of 12.
fn fits(update_of: Option<UpdateOf<'_>>, incumbent: Option<Incumbent<'_>>) -> Vec<Fitted> {
    let worlds = [(60, 1), (60, 2), (60, 3), (12, 4), (12, 5)];
    worlds
        .map(|(queries, seed)| {
            let world = world(D, queries, seed);
            let task = Task::new(D, &world.examples, &world.sample)
                .with_learner(Some("naive"))
                .with_seed(seed)
                .with_update_of(update_of)
                .with_incumbent(incumbent);
            Mahalanobis::default().fit(&task).expect("a metric")
        })
        .into()
}

/// Asserts that all eigenvalues of a metric but the largest are equal, and the largest is the cap
/// times as large.
fn assert_rank_one_up_to_the_cap(metric: &dyn Metric) {
    let matrix = metric.matrix().expect("a matrix");
    let (values, vectors) = spd::eigen(matrix.view()).expect("eigenvalues");
    let least = D as f64 / (D as f64 - 1.0 + CAP);
    assert!((values[D - 1] - CAP * least).abs() < 1e-9, "{values:?}");
    assert!(
        values[..D - 1].iter().all(|v| (v - least).abs() < 1e-9),
        "{values:?}"
    );
    let direction: ArrayView1<'_, f64> = vectors.row(D - 1);
    let outer = Array2::from_shape_fn((D, D), |(i, j)| direction[i] * direction[j]);
    let expected = outer * ((CAP - 1.0) * least) + Array2::<f64>::eye(D) * least;
    assert!((matrix - expected).iter().all(|v| v.abs() < 1e-9));
}

#[test]
fn its_candidate_is_refused_and_offered_no_shrunken_metric() {
    let shrunken = MahalanobisMetric::new(Array2::eye(D).view()).expect("a metric");
    let incumbent = Incumbent {
        metric: &shrunken,
        shrunken: true,
        report: None,
    };
    for fitted in fits(None, None)
        .into_iter()
        .chain(fits(None, Some(incumbent)))
    {
        let gate = &fitted.report.gate;
        assert!(!gate.accepted && fitted.passed().is_none() && fitted.shrunken.is_none());
        assert!(
            gate.reason
                .starts_with("not promoted: the learner `naive` is for study only"),
            "{}",
            gate.reason
        );
        // Answered questions promote nothing that is clearly worse.
        assert!(fitted.report.clearly_worse);
    }
}

#[test]
fn its_metric_is_the_rank_one_metric_up_to_the_cap() {
    let base: Arc<dyn Metric> =
        Arc::new(MahalanobisMetric::new(Array2::eye(D).view()).expect("a metric"));
    let update_of = UpdateOf {
        base: &base,
        rank: 2,
    };
    for fitted in fits(None, None)
        .into_iter()
        .chain(fits(Some(update_of), None))
    {
        assert!(!fitted.is_update);
        assert_rank_one_up_to_the_cap(&*fitted.metric);
    }
}
