//! A fit gives a sound metric or a clear refusal whatever the judgements are, and the same for the
//! same task.

use std::sync::atomic::{AtomicUsize, Ordering};

use affinis::plugin::{
    Examples, Fitted, Graded, Incumbent, LearnError, Metric, MetricLearner, Pair, Sample, Task,
};
use affinis_mahalanobis::{Mahalanobis, MahalanobisMetric};
use affinis_testkit::Random;
use affinis_testkit::synthetic::{pairs_of, world};
use ndarray::{Array2, Axis};

/// The learners that are meant for use, all but `naive`.
const LEARNERS: [&str; 5] = ["gmml", "diagonal", "low-rank", "contrastive", "hinge"];

fn fit_with(
    examples: &Examples,
    sample: &Sample,
    learner: Option<&str>,
    incumbent: Option<&dyn Metric>,
) -> Result<Fitted, LearnError> {
    let dim = examples.vectors.ncols();
    let incumbent = incumbent.map(|metric| Incumbent {
        metric,
        shrunken: false,
        report: None,
    });
    let task = Task::new(dim, examples, sample)
        .with_learner(learner)
        .with_seed(5)
        .with_incumbent(incumbent);
    Mahalanobis::default().fit(&task)
}

fn fit(examples: &Examples, sample: &Sample) -> Result<Fitted, LearnError> {
    fit_with(examples, sample, None, None)
}

/// Asserts that the metrics of a fit may be served: finite, positive definite, trace `d`, condition
/// within the cap.
fn assert_sound(fitted: &Fitted, what: &str) {
    let shrunken = fitted
        .shrunken
        .as_ref()
        .map(|shrunken| (&shrunken.metric, shrunken.condition, &shrunken.gate));
    for (metric, condition, gate) in
        shrunken
            .into_iter()
            .chain([(&fitted.metric, fitted.report.condition, &fitted.report.gate)])
    {
        let a = metric.matrix().unwrap();
        let d = a.nrows() as f64;
        assert!(a.iter().all(|v| v.is_finite()), "{what}");
        assert!(
            (a.diag().sum() - d).abs() < 1e-9 * d,
            "{what}: trace {}",
            a.diag().sum()
        );
        let again = MahalanobisMetric::new(a.view()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(
            again.condition() <= 16.0 + 1e-6,
            "{what}: condition {}",
            again.condition()
        );
        assert!(
            (again.condition() - condition).abs() < 1e-6 * again.condition(),
            "{what}"
        );
        assert!(!gate.reason.is_empty());
        for number in [gate.before, gate.after, gate.lower_bound]
            .into_iter()
            .flatten()
        {
            assert!(number.is_finite(), "{what}: {gate:?}");
        }
    }
}

#[test]
fn coordinates_that_decide_are_learned_and_the_metric_passes() {
    let world = world(8, 60, 1);
    for (what, examples) in [
        ("graded", world.examples.clone()),
        ("pairs", pairs_of(&world)),
    ] {
        for learner in LEARNERS {
            let fitted = fit_with(&examples, &world.sample, Some(learner), None).unwrap();
            assert_sound(&fitted, learner);
            let gate = &fitted.report.gate;
            assert!(gate.accepted, "{what}, {learner}: {}", gate.reason);
            assert!(gate.after > gate.before);
            let a = fitted.metric.matrix().unwrap();
            let (first, second) = (
                a.diag().iter().take(4).sum::<f64>(),
                a.diag().iter().skip(4).sum::<f64>(),
            );
            assert!(
                first > 1.2 * second,
                "{what}, {learner}: {first} against {second}"
            );
        }
    }
}

#[test]
fn the_order_of_judgements_and_rows_does_not_matter() {
    let world = world(6, 40, 2);
    let mut mixed = world.examples.clone();
    mixed.pairs = pairs_of(&world).pairs.split_off(200);
    let first = fit(&mixed, &world.sample).unwrap();
    let mut random = Random(9);
    let rows = random.choose(mixed.vectors.nrows(), mixed.vectors.nrows());
    let at = |row: usize| rows.iter().position(|r| *r == row).unwrap();
    let mut shuffled = Examples {
        vectors: mixed.vectors.select(Axis(0), &rows),
        graded: random
            .choose(mixed.graded.len(), mixed.graded.len())
            .into_iter()
            .map(|i| mixed.graded[i])
            .collect(),
        pairs: mixed.pairs.iter().rev().copied().collect(),
    };
    for g in &mut shuffled.graded {
        (g.query, g.item) = (at(g.query), at(g.item));
    }
    for p in &mut shuffled.pairs {
        (p.a, p.b) = (at(p.b), at(p.a));
    }
    let second = fit(&shuffled, &world.sample).unwrap();
    let change = first.metric.matrix().unwrap() - second.metric.matrix().unwrap();
    assert!(change.iter().all(|v| v.abs() < 1e-10));
    assert_eq!(first.report.gate.held_out, second.report.gate.held_out);
    assert!(
        (first.report.gate.lower_bound.unwrap() - second.report.gate.lower_bound.unwrap()).abs()
            < 1e-9
    );
}

#[test]
fn the_same_task_gives_the_same_bits() {
    let world = world(5, 30, 3);
    for learner in LEARNERS {
        let [a, b] = [(), ()]
            .map(|()| fit_with(&world.examples, &world.sample, Some(learner), None).unwrap());
        assert_eq!(a.metric.encode(), b.metric.encode(), "{learner}");
        assert_eq!(a.report.gate, b.report.gate, "{learner}");
    }
}

#[test]
fn the_seed_determines_what_is_sampled() {
    let world = world(5, 30, 3);
    let under = |seed: u64| {
        let (examples, sample) = (&world.examples, &world.sample);
        let learner = Some("contrastive");
        let task = Task::new(5, examples, sample)
            .with_learner(learner)
            .with_seed(seed);
        Mahalanobis::default().fit(&task).unwrap().metric.encode()
    };
    assert_ne!(under(1), under(2));
}

#[test]
fn the_naive_objective_learns_one_direction_only() {
    let world = world(8, 60, 1);
    let of = |learner: &str| fit_with(&world.examples, &world.sample, Some(learner), None).unwrap();
    let (naive, sound) = (of("naive"), of("gmml"));
    assert_sound(&naive, "naive");
    // Only the cap on the condition number keeps it from rank one.
    assert!(
        (naive.report.condition - 16.0).abs() < 1e-6,
        "{}",
        naive.report.condition
    );
    let trace_of_square: f64 = naive.metric.matrix().unwrap().iter().map(|v| v * v).sum();
    let (d, cap) = (8.0, 16.0);
    let unit = d / (d - 1.0 + cap);
    let rank_one_capped = unit * unit * (d - 1.0 + cap * cap);
    assert!(
        (trace_of_square - rank_one_capped).abs() < 1e-6,
        "all eigenvalues but one are equal"
    );
    assert!(naive.report.gate.after < sound.report.gate.after);
}

#[test]
fn the_report_names_the_learner_that_was_used() {
    let world = world(8, 60, 1);
    let fitted = fit(&world.examples, &world.sample).unwrap();
    let refined = fitted.report.notes.contains_key("refining_steps");
    assert_eq!(
        refined,
        fitted.report.learner == "contrastive",
        "{:?}",
        fitted.report
    );
    assert!(["gmml", "contrastive"].contains(&&*fitted.report.learner));
    assert_eq!(fitted.report.notes["variants_tried"], 5.0);
    let few = world.examples.graded[..160].to_vec();
    let few = Examples {
        vectors: world.examples.vectors.clone(),
        graded: few,
        pairs: Vec::new(),
    };
    let fitted = fit(&few, &world.sample).unwrap();
    assert_eq!(
        fitted.report.notes["variants_tried"], 2.0,
        "too little to choose by between near variants"
    );
}

#[test]
fn one_sided_and_tiny_judgements_give_a_sound_metric_that_is_not_promoted() {
    let world = world(7, 20, 4);
    let only = |keep: &dyn Fn(&Graded) -> bool| {
        let mut examples = world.examples.clone();
        examples.graded.retain(keep);
        examples
    };
    let cases = [
        ("only similar", only(&|g| g.grade > 0.0)),
        ("only dissimilar", only(&|g| g.grade < 0.0)),
        ("one query", only(&|g| g.query == 0)),
        ("one item for everyone", only(&|g| g.item == 1)),
        ("one judgement", only(&|g| g.query == 0 && g.item == 1)),
    ];
    for (what, examples) in cases {
        for learner in LEARNERS {
            for sample in [&world.sample, &Sample::default()] {
                let fitted = fit_with(&examples, sample, Some(learner), None).unwrap();
                assert_sound(&fitted, what);
                assert!(
                    fitted.passed().is_none(),
                    "{what}: {}",
                    fitted.report.gate.reason
                );
                assert!(fitted.report.gate.before.is_none());
            }
        }
    }
}

#[test]
fn degenerate_vectors_give_a_sound_metric() {
    let world = world(9, 20, 5);
    let with = |change: &dyn Fn(&mut Array2<f32>)| {
        let mut examples = world.examples.clone();
        change(&mut examples.vectors);
        let sample = Sample {
            items: examples.vectors.clone(),
            neighbour_differences: examples.vectors.clone(),
        };
        (examples, sample)
    };
    type Change<'a> = &'a dyn Fn(&mut Array2<f32>);
    let cases: [(&str, Change<'_>); 5] = [
        ("rank one", &|v| {
            v.rows_mut().into_iter().for_each(|mut r| {
                let x = r[0];
                r.fill(x);
            });
        }),
        ("a constant coordinate", &|v| v.column_mut(3).fill(2.0)),
        ("huge", &|v| *v *= 1e18),
        ("tiny", &|v| *v *= 1e-18),
        ("most are equal", &|v| {
            v.rows_mut()
                .into_iter()
                .skip(30)
                .for_each(|mut r| r.fill(0.5));
        }),
    ];
    for (what, change) in cases {
        let (examples, sample) = with(change);
        for learner in LEARNERS {
            let fitted = fit_with(&examples, &sample, Some(learner), None);
            assert_sound(
                &fitted.unwrap_or_else(|e| panic!("{what}, {learner}: {e}")),
                what,
            );
        }
    }
    let (equal, sample) = with(&|v| v.fill(0.25));
    assert!(
        matches!(fit(&equal, &sample), Err(LearnError::NotEnough(_))),
        "equal vectors say nothing"
    );
}

#[test]
fn one_dimension_is_euclid_and_is_not_promoted() {
    let world = world(1, 20, 6);
    for learner in LEARNERS {
        let fitted = fit_with(&world.examples, &world.sample, Some(learner), None).unwrap();
        assert_sound(&fitted, "d = 1");
        assert!(
            fitted.passed().is_none(),
            "{learner}: there is nothing to gain"
        );
    }
}

#[test]
fn more_dimensions_than_judgements_give_a_sound_metric() {
    let world = world(250, 4, 7);
    for learner in LEARNERS {
        let fitted = fit_with(&world.examples, &Sample::default(), Some(learner), None).unwrap();
        assert_sound(&fitted, learner);
    }
}

#[test]
fn contradictory_judgements_cancel_and_duplicates_add_up() {
    let world = world(4, 12, 8);
    let mut contradictory = world.examples.clone();
    let opposite = world.examples.graded.iter().map(|g| Graded {
        grade: -g.grade,
        ..*g
    });
    contradictory.graded.extend(opposite);
    assert!(matches!(
        fit(&contradictory, &world.sample),
        Err(LearnError::NotEnough(_))
    ));

    let mut repeated = world.examples.clone();
    repeated
        .graded
        .extend(world.examples.graded.iter().copied());
    let mut heavier = world.examples.clone();
    heavier.graded.iter_mut().for_each(|g| g.weight = 2.0);
    let [repeated, heavier] = [repeated, heavier].map(|e| fit(&e, &world.sample).unwrap());
    assert_eq!(repeated.metric.encode(), heavier.metric.encode());
    assert_eq!(repeated.report.pairs, heavier.report.pairs);

    let itself = Examples {
        vectors: world.examples.vectors.clone(),
        graded: vec![Graded {
            query: 0,
            item: 0,
            grade: 1.0,
            weight: 1.0,
        }],
        pairs: vec![Pair {
            a: 3,
            b: 3,
            similar: false,
            weight: 1.0,
        }],
    };
    assert!(matches!(
        fit(&itself, &world.sample),
        Err(LearnError::NotEnough(_))
    ));
    let nothing = Examples {
        vectors: Array2::zeros((0, 4)),
        ..Examples::default()
    };
    assert!(matches!(
        fit(&nothing, &world.sample),
        Err(LearnError::NotEnough(_))
    ));
}

#[test]
fn no_single_weight_outweighs_the_prior() {
    let world = world(5, 20, 9);
    for extreme in [f32::MIN_POSITIVE, f32::MAX] {
        let mut examples = world.examples.clone();
        examples.graded[0].weight = extreme;
        assert_sound(
            &fit(&examples, &world.sample).unwrap(),
            "one extreme weight",
        );
        examples.graded.iter_mut().for_each(|g| g.weight = extreme);
        assert_sound(
            &fit(&examples, &world.sample).unwrap(),
            "all extreme weights",
        );
    }
    let mut one_loud = world.examples.clone();
    one_loud.graded[0].weight = f32::MAX;
    let fitted = fit(&one_loud, &world.sample).unwrap();
    let counted = fitted.report.notes["effective_similar"];
    assert!(
        counted < 1.5,
        "one judgement counts as one pair, not {counted}"
    );
}

#[test]
fn malformed_tasks_are_refused() {
    let world = world(3, 10, 10);
    let refused = |change: &dyn Fn(&mut Examples, &mut Sample)| {
        let (mut examples, mut sample) = (world.examples.clone(), world.sample.clone());
        change(&mut examples, &mut sample);
        matches!(fit(&examples, &sample), Err(LearnError::Numerical(_)))
    };
    assert!(!refused(&|_, _| {}));
    assert!(refused(&|e, _| e.vectors[[4, 1]] = f32::NAN));
    assert!(refused(&|e, _| e.graded[0].item = 10_000));
    assert!(refused(&|e, _| e.graded[0].grade = 1.5));
    assert!(refused(&|e, _| e.graded[0].weight = 0.0));
    assert!(refused(&|e, _| e.graded[0].weight = f32::INFINITY));
    assert!(refused(&|e, _| e.pairs.push(Pair {
        a: 0,
        b: 10_000,
        similar: true,
        weight: 1.0
    })));
    assert!(refused(&|_, s| s.items[[0, 0]] = f32::INFINITY));
    assert!(refused(&|_, s| s.items = Array2::zeros((4, 2))));
    let unknown = fit_with(&world.examples, &world.sample, Some("oracle"), None);
    assert!(matches!(unknown, Err(LearnError::UnknownLearner { .. })));
    let other = MahalanobisMetric::new(Array2::eye(4).view()).unwrap();
    assert!(fit_with(&world.examples, &world.sample, None, Some(&other)).is_err());
}

#[test]
fn a_fit_can_be_cancelled_at_every_step() {
    let world = world(4, 45, 11);
    let (examples, sample) = (&world.examples, &world.sample);
    let mut steps = 0;
    for allowed in 0.. {
        let asked = AtomicUsize::new(0);
        let cancel = || asked.fetch_add(1, Ordering::Relaxed) >= allowed;
        let task = Task::new(4, examples, sample)
            .with_seed(1)
            .with_cancel(&cancel);
        match Mahalanobis::default().fit(&task) {
            Err(LearnError::Cancelled) => steps = allowed + 1,
            Ok(_) => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(steps > 20, "it was asked {steps} times only");
}

#[test]
fn a_better_incumbent_is_kept() {
    let world = world(8, 60, 12);
    let half = |first: bool| {
        let mut examples = world.examples.clone();
        examples.graded.retain(|g| (g.query < 30 * 9) == first);
        examples
    };
    // The metric by which the examples were judged.
    let truth = Array2::from_diag(&ndarray::Array1::from_shape_fn(8, |k| {
        if k < 4 { 1.0 } else { 1e-6 }
    }));
    let truth = MahalanobisMetric::new(truth.view()).unwrap();
    let fitted = fit_with(&half(false), &world.sample, None, Some(&truth)).unwrap();
    let gate = &fitted.report.gate;
    assert!(
        fitted.passed().is_none() && gate.after < gate.before,
        "{}",
        gate.reason
    );
    assert!(
        gate.reason.contains("Euclid") && gate.reason.contains("active metric"),
        "{}",
        gate.reason
    );

    // A metric that weighs the other coordinates is replaced.
    let backwards = Array2::from_diag(&ndarray::Array1::from_shape_fn(8, |k| {
        if k < 4 { 1.0 } else { 16.0 }
    }));
    let backwards = MahalanobisMetric::new(backwards.view()).unwrap();
    let fitted = fit_with(&half(false), &world.sample, None, Some(&backwards)).unwrap();
    assert!(fitted.report.gate.accepted, "{}", fitted.report.gate.reason);
}

#[test]
fn the_incumbent_is_tested_on_judgements_it_has_not_seen() {
    let world = world(8, 60, 13);
    let mut first = world.examples.clone();
    first.graded.retain(|g| g.query < 40 * 9);
    let incumbent = fit(&first, &world.sample).unwrap();
    let decoded = Mahalanobis::default()
        .decode(&incumbent.metric.encode(), None)
        .unwrap();
    let fitted = fit_with(&world.examples, &world.sample, None, Some(&*decoded)).unwrap();
    assert_eq!(
        fitted.report.gate.held_out, 20,
        "{}",
        fitted.report.gate.reason
    );
    let again = fit_with(&first, &world.sample, None, Some(&*decoded)).unwrap();
    assert_eq!(
        again.report.gate.held_out, 40,
        "nothing is new to it: {}",
        again.report.gate.reason
    );
    assert!(
        again.passed().is_none(),
        "the same judgements do not promote the same metric again"
    );
}
