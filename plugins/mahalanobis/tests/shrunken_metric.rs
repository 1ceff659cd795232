//! The shrunken metric, which a fit proposes where a candidate is likely but not certain to help:
//! its matrix, its base, and its report.

use std::sync::Arc;

use affinis::plugin::{Fitted, Incumbent, Metric, MetricLearner, Sample, Task, UpdateOf};
use affinis_mahalanobis::{Mahalanobis, MahalanobisMetric};
use affinis_testkit::synthetic::judged_by_four_numbers;
use ndarray::{Array1, Array2};

const D: usize = 20;
const SHARE: f64 = 1.0 / 3.0;

fn fit(queries: usize, incumbent: Option<Incumbent<'_>>, change: Option<UpdateOf<'_>>) -> Fitted {
    let (examples, sample) = (
        judged_by_four_numbers(queries, D, 0.6, 0.2),
        Sample::default(),
    );
    let task = Task::new(D, &examples, &sample)
        .with_seed(1)
        .with_incumbent(incumbent)
        .with_update_of(change);
    Mahalanobis::default().fit(&task).expect("a metric")
}

/// A metric in which the first four numbers have this weight and the others the weight 1. Below 1
/// it is better than Euclid.
fn learned(weight: f64) -> Arc<dyn Metric> {
    let diagonal = Array1::from_shape_fn(D, |i| if i < 4 { weight } else { 1.0 });
    Arc::new(MahalanobisMetric::new(Array2::from_diag(&diagonal).view()).expect("a metric"))
}

fn matrix(metric: &dyn Metric) -> Array2<f64> {
    metric.matrix().expect("a matrix")
}

/// The largest absolute difference of two matrices.
fn largest_difference(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().fold(0.0, |most, v| v.abs().max(most))
}

#[test]
fn few_queries_pass_a_shrunken_metric_and_more_the_candidate() {
    let fitted = fit(6, None, None);
    assert!(
        !fitted.report.gate.accepted,
        "six queries are too few: {}",
        fitted.report.gate.reason
    );
    let shrunken = fitted.shrunken.as_ref().expect("a shrunken metric passes");
    assert_eq!(shrunken.share, SHARE);
    let expected = Array2::<f64>::eye(D) * (1.0 - SHARE) + matrix(&*fitted.metric) * SHARE;
    assert!(largest_difference(&matrix(&*shrunken.metric), &expected) < 1e-9);
    assert!(shrunken.condition > 1.0 && shrunken.condition < fitted.report.condition);
    assert!(
        shrunken.gate.accepted
            && shrunken.gate.lower_bound.is_some_and(|b| b > 0.0)
            && shrunken.gate.held_out == 6
    );
    for words in [
        "shrunken towards Euclid",
        "80 % confidence",
        "the candidate itself is not promoted: too few",
    ] {
        assert!(
            shrunken.gate.reason.contains(words),
            "{}",
            shrunken.gate.reason
        );
    }

    let mut taken = fitted.clone();
    let offered = shrunken.metric.encode();
    taken.use_shrunken();
    assert_eq!(taken.metric.encode(), offered);
    assert_eq!(taken.report.shrinkage, Some(SHARE));
    assert!(taken.report.gate.accepted && taken.shrunken.is_none());

    assert!(
        fit(4, None, None).passed().is_none(),
        "four queries are too few for a shrunken metric, too"
    );
    let certain = fit(20, None, None);
    assert!(
        certain.report.gate.accepted && certain.shrunken.is_none(),
        "no shrunken metric where the candidate passes"
    );
}

#[test]
fn a_learned_incumbent_is_not_replaced_by_a_shrunken_metric() {
    let learned = learned(1.1);
    let incumbent = |shrunken| {
        Some(Incumbent {
            metric: &*learned,
            shrunken,
            report: None,
        })
    };
    let fitted = fit(6, incumbent(false), None);
    assert!(
        fitted.passed().is_none()
            && !fitted
                .report
                .gate
                .reason
                .contains("shrunken towards Euclid it is"),
        "{}",
        fitted.report.gate.reason
    );

    // A shrunken incumbent may be replaced by another one, shrunken towards Euclid again.
    let replacing = fit(6, incumbent(true), None);
    let shrunken = replacing
        .shrunken
        .as_ref()
        .unwrap_or_else(|| panic!("a shrunken metric passes: {}", replacing.report.gate.reason));
    let expected = Array2::<f64>::eye(D) * (1.0 - SHARE) + matrix(&*replacing.metric) * SHARE;
    assert!(largest_difference(&matrix(&*shrunken.metric), &expected) < 1e-9);
    assert!(
        shrunken.gate.reason.contains("the active shrunken metric"),
        "{}",
        shrunken.gate.reason
    );

    // Without new judgements the incumbent is the shrunken metric that would be proposed.
    let first = fit(6, None, None)
        .shrunken
        .expect("a shrunken metric passes")
        .metric;
    let again = fit(
        6,
        Some(Incumbent {
            metric: &*first,
            shrunken: true,
            report: None,
        }),
        None,
    );
    assert!(again.passed().is_none() && again.report.gate.reason.contains("is active already"));
}

#[test]
fn a_candidate_surely_better_than_euclid_replaces_a_shrunken_incumbent() {
    let (many, few) = (fit(20, None, None), fit(6, None, None));
    let shrunken = few.shrunken.expect("a shrunken metric passes").metric;
    let over = |is_shrunken| {
        fit(
            20,
            Some(Incumbent {
                metric: &*shrunken,
                shrunken: is_shrunken,
                report: None,
            }),
            None,
        )
        .report
        .gate
    };
    let (over_shrunken, over_learned) = (over(true), over(false));
    assert!(
        over_shrunken.reason.contains("95 %") && over_shrunken.reason.contains("80 %"),
        "{}",
        over_shrunken.reason
    );
    assert!(
        !over_learned.reason.contains("80 %"),
        "{}",
        over_learned.reason
    );
    assert!(over_shrunken.accepted && many.report.gate.accepted);
}

#[test]
fn a_users_low_rank_update_is_not_shrunken() {
    let base = learned(0.9);
    for rank in [0, 4] {
        for shrunken in [false, true] {
            let incumbent = Incumbent {
                metric: &*base,
                shrunken,
                report: None,
            };
            let fitted = fit(6, Some(incumbent), Some(UpdateOf { base: &base, rank }));
            assert!(fitted.passed().is_none(), "rank {rank}");
        }
    }
}
