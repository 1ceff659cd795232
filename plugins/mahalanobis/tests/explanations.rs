//! Explanations agree with what they explain: directions add up to the distance, and the influence
//! of a judgement is the change by a refit without it.

use affinis::plugin::{Examples, Graded, MetricLearner, Pair, Sample, Task};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::Random;
use ndarray::Array2;

/// Weighted judgements of queries with several results and of pairs, some of them repeated.
fn examples(d: usize, chunklets: bool, seed: u64) -> (Examples, Sample) {
    let mut random = Random(seed);
    let queries = if chunklets { 12 } else { 40 };
    let each = if chunklets { 6 } else { 2 };
    let rows = queries * (each + 1);
    let vectors = Array2::from_shape_fn((rows, d), |(_, j)| {
        (random.normal() * (1.0 + j as f64 / 4.0)) as f32
    });
    let mut graded = Vec::new();
    for query in 0..queries {
        for k in 1..=each {
            let (query, item) = (query * (each + 1), query * (each + 1) + k);
            let near = (vectors[[query, 0]] - vectors[[item, 0]]).abs() < 1.2;
            let weight = [1.0, 0.5, 2.0][random.below(3)];
            graded.push(Graded {
                query,
                item,
                grade: if near { 1.0 } else { -0.8 },
                weight,
            });
        }
    }
    graded.push(Graded {
        weight: 0.25,
        ..graded[3]
    });
    let pairs = (0..20).map(|i| {
        let (a, b) = (i, rows - 1 - i);
        Pair {
            a,
            b,
            similar: (vectors[[a, 0]] - vectors[[b, 0]]).abs() < 1.0,
            weight: 1.0,
        }
    });
    let sample = Sample {
        items: vectors.clone(),
        neighbour_differences: Array2::zeros((0, d)),
    };
    (
        Examples {
            graded,
            pairs: pairs.collect(),
            vectors,
        },
        sample,
    )
}

fn task<'a>(examples: &'a Examples, sample: &'a Sample, learner: &'a str) -> Task<'a> {
    let dim = examples.vectors.ncols();
    Task::new(dim, examples, sample)
        .with_learner(Some(learner))
        .with_seed(1)
}

/// Spearman's rank correlation.
fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |v: &[f64]| {
        let mut order: Vec<usize> = (0..v.len()).collect();
        order.sort_by(|i, j| v[*i].total_cmp(&v[*j]));
        let mut ranks = vec![0.0; v.len()];
        order
            .into_iter()
            .enumerate()
            .for_each(|(rank, i)| ranks[i] = rank as f64);
        ranks
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| {
        x.iter()
            .zip(y)
            .map(|(x, y)| (x - mean) * (y - mean))
            .sum::<f64>()
    };
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

#[test]
fn influences_agree_with_refits_without_each_judgement() {
    for (cap, learner, chunklets) in [
        (1e6, "gmml", true),
        (1e6, "gmml", false),
        (1.5, "gmml", true),
        (1e6, "diagonal", true),
        (1.5, "diagonal", false),
    ] {
        let (examples, sample) = examples(6, chunklets, 3);
        let plugin = Mahalanobis::default().condition_cap(cap);
        let fit = |examples: &Examples| plugin.fit(&task(examples, &sample, learner)).unwrap();
        let fitted = fit(&examples);
        assert!(
            cap > 2.0 || (fitted.report.condition - cap).abs() < 1e-9,
            "the cap is at work"
        );
        let (x, y) = (
            examples.vectors.row(0).to_vec(),
            examples.vectors.row(9).to_vec(),
        );
        let found = plugin
            .influences(
                &task(&examples, &sample, learner),
                None,
                &fitted.report,
                (&x, &y),
            )
            .unwrap()
            .expect("a geometric mean can be differentiated");
        assert_eq!(
            (found.graded.len(), found.pairs.len()),
            (examples.graded.len(), examples.pairs.len())
        );
        let distance = fitted.metric.distance(&x, &y);
        let (mut said, mut true_change) = (Vec::new(), Vec::new());
        // The repeated judgement, with weights 1 to 8, is left to the next test.
        for i in (0..examples.graded.len() - 1).filter(|i| *i != 3) {
            let mut without = examples.clone();
            without.graded.remove(i);
            said.push(found.graded[i]);
            true_change.push(distance - fit(&without).metric.distance(&x, &y));
        }
        for i in 0..examples.pairs.len() {
            let mut without = examples.clone();
            without.pairs.remove(i);
            said.push(found.pairs[i]);
            true_change.push(distance - fit(&without).metric.distance(&x, &y));
        }
        let correlation = rank_correlation(&said, &true_change);
        let error = said
            .iter()
            .zip(&true_change)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f64>()
            .sqrt();
        let size = true_change.iter().map(|v| v * v).sum::<f64>().sqrt();
        let what = format!(
            "cap {cap}, {learner}, chunklets {chunklets}: rank correlation {correlation}, error {error} of {size}"
        );
        assert!(size > 1e-3 * distance, "{what}");
        assert!(correlation > 0.99 && error < 0.05 * size, "{what}");
    }
}

/// Where a judgement is a large part of all, the derivative underestimates its influence.
#[test]
fn the_strongest_influences_agree_with_refits_without_them() {
    let (mut examples, sample) = examples(40, true, 5);
    examples.graded.truncate(30);
    examples.pairs.clear();
    for learner in ["gmml", "diagonal"] {
        let plugin = Mahalanobis::default();
        let fit = |examples: &Examples| plugin.fit(&task(examples, &sample, learner)).unwrap();
        let fitted = fit(&examples);
        let (x, y) = (
            examples.vectors.row(0).to_vec(),
            examples.vectors.row(2).to_vec(),
        );
        let found = plugin
            .influences(
                &task(&examples, &sample, learner),
                None,
                &fitted.report,
                (&x, &y),
            )
            .unwrap()
            .expect("a geometric mean");
        let mut order: Vec<usize> = (0..examples.graded.len()).collect();
        order.sort_by(|a, b| found.graded[*b].abs().total_cmp(&found.graded[*a].abs()));
        for i in order.into_iter().take(3) {
            let mut without = examples.clone();
            without.graded.remove(i);
            let change = fitted.metric.distance(&x, &y) - fit(&without).metric.distance(&x, &y);
            let said = found.graded[i];
            assert!(
                (said - change).abs() < 1e-6 * change.abs().max(1e-3),
                "{learner}, {i}: {said} for {change}"
            );
        }
    }
}

#[test]
fn judgements_of_one_pair_share_its_influence() {
    let (examples, sample) = examples(5, true, 8);
    let plugin = Mahalanobis::default();
    let fitted = plugin.fit(&task(&examples, &sample, "gmml")).unwrap();
    let (x, y) = (
        examples.vectors.row(1).to_vec(),
        examples.vectors.row(10).to_vec(),
    );
    let found = plugin
        .influences(
            &task(&examples, &sample, "gmml"),
            None,
            &fitted.report,
            (&x, &y),
        )
        .unwrap()
        .unwrap();
    let (first, twice) = (found.graded[3], *found.graded.last().unwrap());
    let ratio = f64::from(examples.graded[3].weight) / 0.25;
    assert!(
        (first - ratio * twice).abs() < 1e-9 * first.abs(),
        "{first} and {twice}"
    );

    // A shrunken metric moves a distance by its share of what the candidate would.
    let mut shrunken = fitted.report.clone();
    shrunken.shrinkage = Some(0.25);
    let of_shrunken = plugin
        .influences(&task(&examples, &sample, "gmml"), None, &shrunken, (&x, &y))
        .unwrap()
        .unwrap();
    assert!(
        found
            .graded
            .iter()
            .zip(&of_shrunken.graded)
            .all(|(whole, part)| (0.25 * whole - part).abs() < 1e-12)
    );
}

#[test]
fn an_imported_metric_has_no_influences() {
    let (examples, sample) = examples(4, true, 2);
    let task = task(&examples, &sample, "gmml");
    let mut report = Mahalanobis::default().fit(&task).unwrap().report;
    report.notes.clear();
    let between: (&[f32], &[f32]) = (&[0.0; 4], &[1.0; 4]);
    let found = Mahalanobis::default().influences(&task, None, &report, between);
    assert_eq!(found.unwrap(), None);
}

#[test]
fn directions_add_up_to_the_distance() {
    for d in [1, 2, 7, 40] {
        let (examples, sample) = examples(d, true, 5);
        let fitted = Mahalanobis::default()
            .fit(&task(&examples, &sample, "gmml"))
            .unwrap();
        let (x, y) = (
            examples.vectors.row(2).to_vec(),
            examples.vectors.row(5).to_vec(),
        );
        let directions = fitted.metric.directions(&x, &y).unwrap();
        let distance = fitted.metric.distance(&x, &y);
        let euclidean: f64 = x
            .iter()
            .zip(&y)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum();
        let sum = |of: &dyn Fn(&affinis::plugin::Direction) -> f64| {
            directions.iter().map(of).sum::<f64>()
        };
        assert_eq!(directions.len(), d);
        assert!((sum(&|p| p.contribution) - distance).abs() < 1e-9 * distance);
        assert!((sum(&|p| p.contribution / p.weight) - euclidean).abs() < 1e-9 * euclidean);
        assert!((sum(&|p| p.share) - 1.0).abs() < 1e-9);
        assert!(directions.is_sorted_by(|a, b| a.contribution >= b.contribution));
        let same = fitted.metric.directions(&x, &x).unwrap();
        assert!(same.iter().all(|p| p.contribution == 0.0 && p.share == 0.0));
    }
}
