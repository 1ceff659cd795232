//! A small plugin: diagonal metrics, learned in closed form.
//!
//! `w_k = 1 / s_k`, scaled to the sum `d`, where `s_k` is the weighted mean of the squared
//! differences along axis `k` between queries and their relevant items, with the differences of
//! neighbours as a prior. It is the best diagonal metric where these differences are Gaussian.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use crate::plugin::{
    Comparison, Examples, FitReport, Fitted, Gate, Influences, LearnError, Metric, MetricLearner,
    PairCounts, Rewritten, ShrunkenMetric, Task,
};

/// `sum_k w_k (x_k - y_k)^2`.
#[derive(Debug, Clone, PartialEq)]
struct Diagonal {
    weights: Vec<f64>,
    /// The weights over those of the base, where it is an update.
    ratios: Option<Vec<f64>>,
}

/// The plugin. Its learners differ in what the gate says of their candidates.
#[derive(Debug)]
pub(super) struct DiagonalLearner;

impl Diagonal {
    fn new(weights: Vec<f64>) -> Arc<Self> {
        Arc::new(Self {
            weights,
            ratios: None,
        })
    }

    fn update(base: &dyn Metric, ratios: Vec<f64>) -> Result<Arc<Self>, LearnError> {
        let base = weights_of(base)?;
        let weights = base.iter().zip(&ratios).map(|(b, r)| b * r).collect();
        let ratios = Some(ratios);
        Ok(Arc::new(Self { weights, ratios }))
    }
}

impl Metric for Diagonal {
    fn dim(&self) -> usize {
        self.weights.len()
    }

    fn rewrite(&self, query: &[f32]) -> Rewritten {
        let weighted = query.iter().zip(&self.weights);
        let direction: Vec<f64> = weighted.map(|(q, w)| f64::from(*q) * w).collect();
        let products = query.iter().zip(&direction);
        let offset: f64 = products.map(|(q, d)| f64::from(*q) * d).sum();
        Rewritten::new(direction.iter().map(|d| *d as f32).collect(), offset as f32)
    }

    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        for (item, out) in items.rows().into_iter().zip(out) {
            let terms = item.iter().zip(&self.weights);
            *out = terms.map(|(x, w)| f64::from(*x).powi(2) * w).sum::<f64>() as f32;
        }
    }

    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        let differences = x.iter().zip(y).map(|(x, y)| f64::from(*x) - f64::from(*y));
        let terms = differences.zip(&self.weights);
        terms.map(|(difference, w)| difference.powi(2) * w).sum()
    }

    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        Array2::from_shape_fn(items.dim(), |(i, k)| {
            items[[i, k]] * self.weights[k].sqrt() as f32
        })
    }

    fn distortion(&self) -> f64 {
        let least = self.weights.iter().copied().fold(f64::MAX, f64::min);
        (self.weights.iter().copied().fold(0.0, f64::max) / least).sqrt()
    }

    fn matrix(&self) -> Option<Array2<f64>> {
        Some(Array2::from_diag(&ndarray::arr1(&self.weights)))
    }

    /// Whether it is an update, then the weights or ratios.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.ratios.is_some())];
        let numbers = self.ratios.as_ref().unwrap_or(&self.weights);
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }
}

impl MetricLearner for DiagonalLearner {
    fn name(&self) -> &'static str {
        "diagonal"
    }

    fn learners(&self) -> &'static [&'static str] {
        // Of `timid` the gate lets none pass, of `shrinking` only the shrunken metric.
        &["diagonal", "timid", "shrinking"]
    }

    fn fit(&self, task: &Task<'_>) -> Result<Fitted, LearnError> {
        self.fit_personal(task, &Examples::default())
    }

    fn fit_personal(&self, task: &Task<'_>, others: &Examples) -> Result<Fitted, LearnError> {
        let learner = task.learner.unwrap_or("diagonal");
        if !self.learners().contains(&learner) {
            return Err(LearnError::UnknownLearner {
                name: learner.to_owned(),
                known: self.learners().join(", "),
            });
        }
        if (task.cancel)() {
            return Err(LearnError::Cancelled);
        }
        let weights = weights(task, others, |_| true)?;
        let metric = Diagonal::new(weights.clone());
        let mut gate = gate(task, others);
        gate.accepted &= learner == "diagonal";
        let mut fitted = Fitted::new(metric.clone(), FitReport::new(learner, gate.clone()));
        if let Some(update) = task.update_of.filter(|update| update.rank > 0) {
            let base = weights_of(&**update.base)?;
            let ratios = weights.iter().zip(&base).map(|(w, b)| w / b).collect();
            fitted.metric = Diagonal::update(&**update.base, ratios)?;
            fitted.is_update = true;
        }
        if learner == "shrinking" {
            let share = 1.0 / 3.0;
            let shrunken = weights.iter().map(|w| 1.0 - share + share * w).collect();
            gate.accepted = true;
            let shrunken = Diagonal::new(shrunken);
            let condition = shrunken.distortion().powi(2);
            fitted.shrunken = Some(ShrunkenMetric::new(shrunken, share, condition, gate));
        }
        fitted.report.condition = metric.distortion().powi(2);
        let examples = task.examples;
        let similar = examples.graded.iter().filter(|g| g.grade > 0.0).count()
            + examples.pairs.iter().filter(|p| p.similar).count();
        let all = examples.graded.len() + examples.pairs.len();
        fitted.report.pairs = PairCounts {
            similar,
            dissimilar: all - similar,
        };
        Ok(fitted)
    }

    fn decode(
        &self,
        bytes: &[u8],
        base: Option<&Arc<dyn Metric>>,
    ) -> Result<Arc<dyn Metric>, LearnError> {
        let (kind, numbers) = bytes.split_first().ok_or_else(|| damaged("no bytes"))?;
        let (numbers, rest) = numbers.as_chunks::<8>();
        let numbers: Vec<f64> = numbers.iter().map(|n| f64::from_le_bytes(*n)).collect();
        if !rest.is_empty() || numbers.iter().any(|n| !(n.is_finite() && *n > 0.0)) {
            return Err(damaged("a weight that is none"));
        }
        match (kind, base) {
            (0, _) => Ok(Diagonal::new(numbers)),
            (1, Some(base)) => Ok(Diagonal::update(&**base, numbers)?),
            _ => Err(damaged("an update without its base")),
        }
    }

    fn from_matrix(&self, matrix: ArrayView2<'_, f64>) -> Result<Arc<dyn Metric>, LearnError> {
        let wrong = |((i, j), value): ((usize, usize), &f64)| (i == j) != (*value > 0.0);
        if matrix.indexed_iter().any(wrong) {
            return Err(LearnError::NotAMetric("not a positive diagonal".to_owned()));
        }
        Ok(Diagonal::new(matrix.diag().to_vec()))
    }

    fn compare(&self, a: &dyn Metric, b: &dyn Metric) -> Result<Comparison, LearnError> {
        let (a, b) = (weights_of(a)?, weights_of(b)?);
        let mut factors: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b / a).collect();
        let squares = factors.iter().map(|factor| factor.ln().powi(2));
        let distance = squares.sum::<f64>().sqrt();
        factors.sort_by(|a, b| b.ln().abs().total_cmp(&a.ln().abs()));
        Ok(Comparison::new(distance, factors))
    }

    fn influences(
        &self,
        task: &Task<'_>,
        others: Option<&Examples>,
        _report: &FitReport,
        (x, y): (&[f32], &[f32]),
    ) -> Result<Option<Influences>, LearnError> {
        let others = others.cloned().unwrap_or_default();
        let distance = |left_out: Option<usize>| -> Result<f64, LearnError> {
            let weights = weights(task, &others, |i| Some(i) != left_out)?;
            Ok::<f64, LearnError>(Diagonal::new(weights).distance(x, y))
        };
        let whole = distance(None)?;
        let graded = 0..task.examples.graded.len();
        let graded = graded.map(|i| Ok(whole - distance(Some(i))?));
        let pairs = vec![0.0; task.examples.pairs.len()];
        Ok(Some(Influences::new(
            graded.collect::<Result<_, LearnError>>()?,
            pairs,
        )))
    }
}

/// The weights that examples determine; of the graded ones those that are selected by position.
fn weights(
    task: &Task<'_>,
    others: &Examples,
    selected: impl Fn(usize) -> bool,
) -> Result<Vec<f64>, LearnError> {
    let mut sums = vec![0.0; task.dim];
    let mut count = 0.0;
    let mut add = |differences: &mut dyn Iterator<Item = f32>, weight: f64| {
        let squares = differences.map(|difference| f64::from(difference).powi(2));
        sums.iter_mut()
            .zip(squares)
            .for_each(|(sum, square)| *sum += weight * square);
        count += weight;
    };
    let neighbours = task.sample.neighbour_differences.rows().into_iter();
    let share = 1.0 / task.sample.neighbour_differences.nrows().max(1) as f64;
    neighbours.for_each(|row| add(&mut row.iter().copied(), share));
    // Somebody else's judgement counts for a tenth of one's own.
    for (examples, factor) in [(task.examples, 1.0), (others, 0.1)] {
        let mut pair = |a: usize, b: usize, weight: f32| {
            let rows = (examples.vectors.row(a), examples.vectors.row(b));
            let mut differences = rows.0.iter().zip(rows.1).map(|(a, b)| a - b);
            add(&mut differences, factor * f64::from(weight));
        };
        for (i, g) in examples.graded.iter().enumerate() {
            if g.grade > 0.0 && (factor < 1.0 || selected(i)) {
                pair(g.query, g.item, g.weight * g.grade);
            }
        }
        let similar = examples.pairs.iter().filter(|pair| pair.similar);
        similar.for_each(|p| pair(p.a, p.b, p.weight));
    }
    if count < 2.0 {
        return Err(LearnError::NotEnough("nothing is similar".to_owned()));
    }
    let inverse: Vec<f64> = sums.iter().map(|sum| count / sum.max(1e-9)).collect();
    let scale = task.dim as f64 / inverse.iter().sum::<f64>();
    Ok(inverse.into_iter().map(|weight| weight * scale).collect())
}

/// The held-out test: a third of the queries is kept apart, and the measure is the share of pairs
/// of a relevant and an irrelevant item that are in the right order.
fn gate(task: &Task<'_>, others: &Examples) -> Gate {
    let measure = "pairs in order";
    let held_out = |query: usize| query.is_multiple_of(3);
    let graded = &task.examples.graded;
    let Ok(weights) = weights(task, others, |i| !held_out(graded[i].query)) else {
        return Gate::refused(measure, "nothing is similar");
    };
    let in_order = |metric: &dyn Metric| {
        let vector = |row: usize| task.examples.vectors.row(row).to_vec();
        let distance = |q: usize, x: usize| metric.distance(&vector(q), &vector(x));
        let mut outcomes = Vec::new();
        for near in graded.iter().filter(|g| g.grade > 0.0 && held_out(g.query)) {
            let same = graded.iter().filter(|g| g.query == near.query);
            for far in same.filter(|g| g.grade < 0.0) {
                outcomes.push(distance(near.query, near.item) < distance(near.query, far.item));
            }
        }
        let right = outcomes.iter().filter(|right| **right).count();
        (!outcomes.is_empty()).then(|| right as f64 / outcomes.len() as f64)
    };
    let euclid = in_order(&*Diagonal::new(vec![1.0; task.dim]));
    let incumbent = task
        .incumbent
        .and_then(|incumbent| in_order(incumbent.metric));
    let after = in_order(&*Diagonal::new(weights));
    let before = euclid.map(|euclid| euclid.max(incumbent.unwrap_or(0.0)));
    let gain = before
        .zip(after)
        .map_or(0.0, |(before, after)| after - before);
    let mut gate = Gate::refused(measure, format!("a gain of {gain:.3}"));
    gate.accepted = gain > 0.02;
    gate.held_out = graded.iter().filter(|g| held_out(g.query)).count();
    (gate.before, gate.after, gate.lower_bound) = (before, after, Some(gain - 0.02));
    gate
}

fn weights_of(metric: &dyn Metric) -> Result<Vec<f64>, LearnError> {
    let matrix = metric.matrix();
    let matrix = matrix.ok_or_else(|| LearnError::NotAMetric("no matrix".to_owned()))?;
    Ok(matrix.diag().to_vec())
}

fn damaged(why: &str) -> LearnError {
    LearnError::Damaged(why.to_owned())
}
