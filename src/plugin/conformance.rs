//! Conformance: checks that a plugin's metrics and learners keep what their traits promise.
//!
//! A store runs [`check_metric`] and [`check_encoding`] on every metric that it takes in: at a
//! refit before anything is stored, at an import, and when a version is loaded for the first time
//! in a process. Authors of plugins run them, and [`check_learner`], in their tests.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use super::{LearnError, Metric, MetricLearner, Rewritten, Task};
use crate::panics::catch;
use crate::sum::dot;

/// Largest number of vectors that are rewritten as queries.
const MAX_QUERIES: usize = 16;
/// Number of items that the distance from each query is checked of, itself among them.
const ITEMS_PER_QUERY: usize = 4;
/// Allowed difference between a rewritten and a direct distance, relative to the direct one.
const RELATIVE_TOLERANCE: f64 = 1e-4;
/// Allowed difference relative to the size of the terms that cancel in a rewritten distance, which
/// are rounded to `f32`.
const ROUNDING_TOLERANCE: f64 = 1e-5;

/// Error of a check: which one failed, on which vectors, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NonConformance {
    /// The check that failed.
    pub check: Check,
    /// Rows of the vectors that it failed on, a query before an item; empty where it failed
    /// whatever the vectors.
    pub rows: Vec<usize>,
    /// What was found, and what was expected.
    pub found: String,
}

/// A promise of [`Metric`] or [`MetricLearner`] that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// The metric's dimension is that of the vectors.
    Dimension,
    /// Rewritten queries, biases, distances, transformed items and the distortion are finite, and
    /// of the right length.
    Finite,
    /// No distance is below 0, and that of a vector to itself is 0.
    Distance,
    /// `rewrite` and `biases` together give what `distance` gives.
    Rewriting,
    /// A bias has the same bits in every batch.
    Batches,
    /// What is decoded from the encoding answers with the same bits.
    Encoding,
    /// No method panics.
    Panic,
    /// A learner that the plugin does not have is refused as
    /// [`UnknownLearner`](LearnError::UnknownLearner).
    UnknownLearner,
    /// A fit that is cancelled ends with [`Cancelled`](LearnError::Cancelled).
    Cancel,
    /// The task is fitted.
    Fit,
    /// Equal tasks give equal metrics.
    Deterministic,
}

impl Check {
    /// The promise, as a clause.
    fn promise(self) -> &'static str {
        match self {
            Self::Dimension => "its dimension is that of the vectors",
            Self::Finite => "all that it gives is finite and of the right length",
            Self::Distance => "distances are not below 0, and 0 from a vector to itself",
            Self::Rewriting => "`rewrite` and `biases` give what `distance` gives",
            Self::Batches => "a bias has the same bits in every batch",
            Self::Encoding => "`decode` of `encode` answers with the same bits",
            Self::Panic => "no method panics",
            Self::UnknownLearner => "an unknown learner is refused",
            Self::Cancel => "a cancelled fit ends",
            Self::Fit => "the task is fitted",
            Self::Deterministic => "equal tasks give equal metrics",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.promise())
    }
}

impl fmt::Display for NonConformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it must hold that {}, but {}", self.check, self.found)?;
        if !self.rows.is_empty() {
            let rows: Vec<String> = self.rows.iter().map(ToString::to_string).collect();
            write!(f, " (vectors {})", rows.join(" and "))?;
        }
        Ok(())
    }
}

impl std::error::Error for NonConformance {}

/// Outcome of a check.
type Outcome = Result<(), NonConformance>;

/// An error without vectors.
fn fails(check: Check, found: impl Into<String>) -> NonConformance {
    fails_on(check, &[], found)
}

/// An error with the rows of the vectors that the check failed on.
fn fails_on(check: Check, rows: &[usize], found: impl Into<String>) -> NonConformance {
    NonConformance {
        check,
        rows: rows.to_vec(),
        found: found.into(),
    }
}

/// Checks a metric on vectors (`n x d`), such as a sample of a collection's items.
///
/// - Its dimension is `d`.
/// - `rewrite`, `biases`, `distance` and `transform` give finite numbers, as many as they should,
///   and `distortion` a finite number of at least 1.
/// - Distances are not below 0, and exactly 0 from a vector to itself.
/// - The rewritten distance `s` agrees with the direct one `t`:
///   `|s - t| <= 1e-4 t + 1e-5 (|offset| + |bias| + a |q| |x|)`, where `a` is the greatest
///   `|direction| / |q|` of rewritten queries. The second term allows for the rounding of numbers
///   to `f32`, which shows where they cancel.
/// - A bias has the same bits in every batch.
///
/// A panic in a method is caught, and is an error too. It costs about `300 d^2` operations.
///
/// # Errors
/// The first check that fails, with the rows of the vectors that it failed on.
///
/// # Panics
/// None.
pub fn check_metric(metric: &dyn Metric, vectors: ArrayView2<'_, f32>) -> Outcome {
    let subject = Subject::new(metric);
    subject.guarded(|| subject.check(vectors))
}

/// Checks that a metric's encoding is decoded, by the plugin that made it, to one that rewrites
/// vectors (`n x d`) and gives their biases with the same bits. `base` is the metric that it is a
/// low-rank update of, where it is one.
///
/// A panic in a method is caught, and is an error too.
///
/// # Errors
/// [`Check::Encoding`] or [`Check::Panic`], with the row of the vector that it failed on.
pub fn check_encoding(
    metric: &dyn Metric,
    learner: &dyn MetricLearner,
    base: Option<&Arc<dyn Metric>>,
    vectors: ArrayView2<'_, f32>,
) -> Outcome {
    let subject = Subject::new(metric);
    subject.guarded(|| {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method of `dyn Metric` is not general enough in its lifetime"
        )]
        let bytes = subject.call("encode", |metric| metric.encode());
        subject.method.set("decode");
        let decoded = learner
            .decode(&bytes, base)
            .map_err(|error| fails(Check::Encoding, format!("it is not decoded: {error}")))?;
        if decoded.dim() != metric.dim() {
            let found = format!("a dimension of {} becomes {}", metric.dim(), decoded.dim());
            return Err(fails(Check::Encoding, found));
        }
        let vectors = vectors.as_standard_layout();
        let before = subject.biases(vectors.view())?;
        let after = Subject::new(&*decoded).biases(vectors.view())?;
        if let Some(row) = first_difference(&before, &after) {
            let found = format!("the bias {} becomes {}", before[row], after[row]);
            return Err(fails_on(Check::Encoding, &[row], found));
        }
        for (row, vector) in vectors.rows().into_iter().enumerate().take(MAX_QUERIES) {
            let vector = vector.to_vec();
            let before = subject.call("rewrite", |metric| metric.rewrite(&vector));
            let after = decoded.rewrite(&vector);
            if bits(&before) != bits(&after) {
                let found = "a query is rewritten to other numbers";
                return Err(fails_on(Check::Encoding, &[row], found));
            }
        }
        Ok(())
    })
}

/// Checks a plugin on a task that it can fit, and the metric that it fits on the task's vectors.
///
/// - An unknown learner is refused, and a cancelled fit ends.
/// - The task fitted twice gives metrics of equal encodings.
/// - The metric passes [`check_metric`] and [`check_encoding`], and so does the shrunken one.
///
/// A panic in a method is caught, and is an error too.
///
/// # Errors
/// The first check that fails.
pub fn check_learner(learner: &dyn MetricLearner, task: &Task<'_>) -> Outcome {
    let fit =
        |task: &Task<'_>| catch(|| learner.fit(task)).map_err(|message| panicked("fit", &message));
    let unknown = task.clone().with_learner(Some("no learner of this name"));
    match fit(&unknown)? {
        Err(LearnError::UnknownLearner { .. }) => {}
        other => return Err(fails(Check::UnknownLearner, gave(&other))),
    }
    match fit(&task.clone().with_cancel(&|| true))? {
        Err(LearnError::Cancelled) => {}
        other => return Err(fails(Check::Cancel, gave(&other))),
    }
    let fitted = fit(task)?.map_err(|error| fails(Check::Fit, error.to_string()))?;
    let again = fit(task)?.map_err(|error| fails(Check::Deterministic, error.to_string()))?;
    let vectors = task.examples.vectors.view();
    let base = task.update_of.map(|update| update.base);
    check_metric(&*fitted.metric, vectors)?;
    let base = base.filter(|_| fitted.is_update);
    check_encoding(&*fitted.metric, learner, base, vectors)?;
    if fitted.metric.encode() != again.metric.encode() {
        let found = "the task fitted twice gives two metrics";
        return Err(fails(Check::Deterministic, found));
    }
    if let Some(shrunken) = &fitted.shrunken {
        check_metric(&*shrunken.metric, vectors)?;
        check_encoding(&*shrunken.metric, learner, None, vectors)?;
    }
    Ok(())
}

/// Vectors (`n x d`) of a normal-like distribution, for a collection that has none to check a
/// metric on.
pub(crate) fn probes(dim: usize) -> Array2<f32> {
    let mut random = fastrand::Rng::with_seed(dim as u64);
    Array2::from_shape_fn((8, dim), |_| {
        (0..4).map(|_| random.f32() - 0.5).sum::<f32>()
    })
}

/// The outcome of a fit, in words.
fn gave(outcome: &Result<super::Fitted, LearnError>) -> String {
    match outcome {
        Ok(_) => "it gave a metric".to_owned(),
        Err(error) => format!("it gave the error: {error}"),
    }
}

fn panicked(method: &str, message: &str) -> NonConformance {
    let found = format!("`{method}` panicked: {message}");
    fails(Check::Panic, found)
}

/// The bits of a rewritten query.
fn bits(rewritten: &Rewritten) -> Vec<u32> {
    let direction = rewritten.direction.iter().map(|number| number.to_bits());
    direction.chain([rewritten.offset.to_bits()]).collect()
}

/// The first row whose bits differ.
fn first_difference(a: &[f32], b: &[f32]) -> Option<usize> {
    let mut pairs = a.iter().zip(b);
    pairs.position(|(a, b)| a.to_bits() != b.to_bits())
}

/// A metric that is checked, with the method that was called last.
struct Subject<'a> {
    metric: &'a dyn Metric,
    method: Cell<&'static str>,
}

impl<'a> Subject<'a> {
    fn new(metric: &'a dyn Metric) -> Self {
        Self {
            metric,
            method: Cell::new("dim"),
        }
    }

    /// Runs checks, of which a panic is an error.
    fn guarded(&self, checks: impl FnOnce() -> Outcome) -> Outcome {
        catch(checks).unwrap_or_else(|message| Err(panicked(self.method.get(), &message)))
    }

    /// Calls a method under its name.
    fn call<T>(&self, method: &'static str, call: impl FnOnce(&'a dyn Metric) -> T) -> T {
        self.method.set(method);
        call(self.metric)
    }

    /// The biases of items, all in one batch, which must be finite.
    fn biases(&self, items: ArrayView2<'_, f32>) -> Result<Vec<f32>, NonConformance> {
        let mut biases = vec![f32::NAN; items.nrows()];
        self.call("biases", |metric| metric.biases(items, &mut biases));
        match biases.iter().position(|bias| !bias.is_finite()) {
            Some(row) => {
                let found = format!("a bias is {}", biases[row]);
                Err(fails_on(Check::Finite, &[row], found))
            }
            None => Ok(biases),
        }
    }

    fn check(&self, vectors: ArrayView2<'_, f32>) -> Outcome {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method of `dyn Metric` is not general enough in its lifetime"
        )]
        let dim = self.call("dim", |metric| metric.dim());
        if dim != vectors.ncols() {
            let found = format!("it is {dim}, and they have {} numbers", vectors.ncols());
            return Err(fails(Check::Dimension, found));
        }
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method of `dyn Metric` is not general enough in its lifetime"
        )]
        let distortion = self.call("distortion", |metric| metric.distortion());
        // 1 may be missed by rounding.
        if !distortion.is_finite() || distortion < 1.0 - 1e-9 {
            return Err(fails(
                Check::Finite,
                format!("the distortion is {distortion}"),
            ));
        }
        let vectors = vectors.as_standard_layout();
        let biases = self.biases(vectors.view())?;
        self.check_batches(vectors.view(), &biases)?;
        self.check_transform(vectors.view())?;
        self.check_distances(vectors.view(), &biases)
    }

    /// Compares biases with those of items one by one, and of all in reverse order.
    fn check_batches(&self, vectors: ArrayView2<'_, f32>, biases: &[f32]) -> Outcome {
        let differs = |row: usize, bias: f32| {
            let found = format!("{} in one batch is {bias} in another", biases[row]);
            fails_on(Check::Batches, &[row], found)
        };
        for (row, bias) in biases.iter().enumerate() {
            let alone = self.biases(vectors.slice(ndarray::s![row..=row, ..]))?;
            if alone[0].to_bits() != bias.to_bits() {
                return Err(differs(row, alone[0]));
            }
        }
        let reversed = vectors.slice(ndarray::s![..;-1, ..]);
        let mut reversed = self.biases(reversed.as_standard_layout().view())?;
        reversed.reverse();
        match first_difference(biases, &reversed) {
            Some(row) => Err(differs(row, reversed[row])),
            None => Ok(()),
        }
    }

    fn check_transform(&self, vectors: ArrayView2<'_, f32>) -> Outcome {
        let some = vectors.slice(ndarray::s![..vectors.nrows().min(MAX_QUERIES), ..]);
        let transformed = self.call("transform", |metric| metric.transform(some));
        if transformed.nrows() != some.nrows() {
            let (rows, items) = (transformed.nrows(), some.nrows());
            let found = format!("`transform` of {items} items gives {rows} rows");
            return Err(fails(Check::Finite, found));
        }
        let not_finite = transformed.indexed_iter().find(|(_, x)| !x.is_finite());
        match not_finite {
            Some(((row, _), value)) => {
                let found = format!("a transformed item has a number {value}");
                Err(fails_on(Check::Finite, &[row], found))
            }
            None => Ok(()),
        }
    }

    /// Rewrites a query, whose direction and offset must be finite. `rows` names it in errors.
    fn rewrite(&self, query: &[f32], rows: &[usize]) -> Result<Rewritten, NonConformance> {
        let rewritten = self.call("rewrite", |metric| metric.rewrite(query));
        let direction = &rewritten.direction;
        if direction.len() != query.len() {
            let found = format!("a rewritten query has {} numbers", direction.len());
            return Err(fails_on(Check::Finite, rows, found));
        }
        if !rewritten.offset.is_finite() || direction.iter().any(|x| !x.is_finite()) {
            let found = "a rewritten query has a number that is not finite";
            return Err(fails_on(Check::Finite, rows, found));
        }
        Ok(rewritten)
    }

    /// Compares rewritten and direct distances from each of the first vectors to itself and to
    /// those after it.
    fn check_distances(&self, vectors: ArrayView2<'_, f32>, biases: &[f32]) -> Outcome {
        let n = vectors.nrows();
        let mut queries = Vec::new();
        for row in 0..n.min(MAX_QUERIES) {
            let vector = vectors.row(row).to_vec();
            let rewritten = self.rewrite(&vector, &[row])?;
            queries.push((vector, rewritten));
        }
        // The vectors may all lie where the metric is small, and the rounding of its numbers is not.
        let probe = probes(vectors.ncols()).row(0).to_vec();
        let rewritten = self.rewrite(&probe, &[])?;
        let growth = growth(&queries).max(growth(&[(probe, rewritten)]));
        for (query, (q, rewritten)) in queries.iter().enumerate() {
            for item in (query..query + ITEMS_PER_QUERY.min(n)).map(|item| item % n) {
                let x = vectors.row(item).to_vec();
                let rows = [query, item];
                let direct = self.direct(q, &x, &rows)?;
                let (offset, bias) = (f64::from(rewritten.offset), f64::from(biases[item]));
                let by_rewriting = offset - 2.0 * dot(&rewritten.direction, &x) + bias;
                let terms = offset.abs() + bias.abs() + growth * norm(q) * norm(&x);
                let allowed = RELATIVE_TOLERANCE * direct + ROUNDING_TOLERANCE * terms;
                if (by_rewriting - direct).abs() > allowed {
                    let found = format!("the rewritten distance is {by_rewriting}, not {direct}");
                    return Err(fails_on(Check::Rewriting, &rows, found));
                }
            }
        }
        Ok(())
    }

    /// The distance between two vectors, which must be finite and not below 0.
    fn direct(&self, q: &[f32], x: &[f32], rows: &[usize]) -> Result<f64, NonConformance> {
        let direct = self.call("distance", |metric| metric.distance(q, x));
        let found = format!("a distance is {direct}");
        if !direct.is_finite() {
            return Err(fails_on(Check::Finite, rows, found));
        }
        if direct < 0.0 || (q == x && direct != 0.0) {
            return Err(fails_on(Check::Distance, rows, found));
        }
        Ok(direct)
    }
}

/// The greatest factor `|direction| / |query|` of rewritten queries; 0 where all are zero.
fn growth(queries: &[(Vec<f32>, Rewritten)]) -> f64 {
    let factors = queries.iter().map(|(query, rewritten)| {
        let length = norm(query);
        if length > 0.0 {
            norm(&rewritten.direction) / length
        } else {
            0.0
        }
    });
    factors.fold(0.0, f64::max)
}

/// The Euclidean norm.
fn norm(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}
