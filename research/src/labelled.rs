//! Metrics for labelled tables: rows of numbers with a class each, to be told apart by their
//! nearest neighbours.
//!
//! 1. **Closed form** (Zadeh, Hosseini and Sra, ICML 2016): `A = (S + e I)^-1 #_t (D + e I)`, `e` a
//!    thousandth of the mean diagonal. `S` and `D` are the scatters of *all* pairs of one class and
//!    of different classes, which sums of squares give exactly, or of each row and its 5 nearest of
//!    its class and of the others.
//! 2. **Selection**: which scatters, and which `t`, by the 5-NN error in 3-fold cross-validation.
//! 3. **Hinge**: 20 steps of L-BFGS with 3 targets and 10 impostors a row, distances scaled so that
//!    the median one to a row's 5th neighbour is 2.

use affinis::{limits::MAX_DIM, plugin::LearnError};
use affinis_mahalanobis::MahalanobisMetric;
use affinis_mahalanobis::hinge::{self, Triplets};
use affinis_mahalanobis::spd::{self, GeneralizedEigen};
use affinis_testkit::Random;
use ndarray::{Array2, ArrayView2, Axis};

use crate::neighbours::{nearest, votes};
use crate::scatters::{self, Pairs};

/// Positions on the geodesic that are tried; of equally good ones the first is taken.
const POSITIONS: [f64; 6] = [0.5, 0.3, 0.7, 0.2, 0.1, 0.0];
/// Number of folds of the cross-validation.
const FOLDS: usize = 3;
/// Largest number of rows of a fold that are classified.
const MAX_CLASSIFIED: usize = 600;
/// Number of neighbours that vote.
const VOTERS: usize = 5;
/// Number of rows of the same class that each row is to be near.
const TARGETS: usize = 3;
/// Number of rows of other classes that each row is to be far from.
const IMPOSTORS: usize = 10;
/// Median distance to a row's 5th neighbour after scaling, for a margin of 1.
const MEDIAN_DISTANCE: f64 = 2.0;
/// Bound of `cond A`, wide because a table may have columns of pure noise.
const CONDITION_CAP: f64 = 1e6;

/// A metric learned by [`Labelled::fit`] and how its closed form was chosen.
#[derive(Debug, Clone)]
pub struct LabelledFit {
    /// The metric, of trace `d`.
    pub metric: MahalanobisMetric,
    /// Position on the geodesic of the closed form that it started from.
    pub t: f64,
    /// Whether its scatters were of all pairs; otherwise of nearest ones.
    pub all_pairs: bool,
}

/// Learns a metric from classes of rows.
///
/// ```
/// use affinis::plugin::Metric;
/// use affinis_research::Labelled;
/// use ndarray::Array2;
///
/// // The class is the sign of the first column; the second is noise ten times as wide.
/// let rows = Array2::from_shape_fn((60, 2), |(i, k)| {
///     let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
///     let noise = |step: usize| (i * step % 60) as f32 / 30.0 - 1.0;
///     if k == 0 { sign + 0.5 * noise(37) } else { 10.0 * noise(53) }
/// });
/// let classes: Vec<usize> = (0..60).map(|i| i % 2).collect();
/// let fit = Labelled::default().fit(rows.view(), &classes)?;
/// let a = fit.metric.matrix().expect("a Mahalanobis metric has a matrix");
/// assert!(a[[0, 0]] > 10.0 * a[[1, 1]]);
/// # Ok::<(), affinis::plugin::LearnError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labelled {
    seed: u64,
    closed_form_only: bool,
}

impl Labelled {
    /// Fixes how rows are dealt to folds; 0 unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Leaves out the steps on the hinge loss.
    pub fn closed_form_only(mut self) -> Self {
        self.closed_form_only = true;
        self
    }

    /// Fits to rows (`n x d`, columns of comparable scale) and the class of each.
    ///
    /// # Errors
    /// [`LearnError::Numerical`] when a number is not finite or the lengths differ,
    /// [`LearnError::NotEnough`] when there are not two classes, no class has two rows, or all rows
    /// are equal.
    pub fn fit(
        &self,
        rows: ArrayView2<'_, f32>,
        classes: &[usize],
    ) -> Result<LabelledFit, LearnError> {
        check(rows, classes)?;
        let rows = rows.as_standard_layout().into_owned();
        let all: Vec<usize> = (0..rows.nrows()).collect();
        let (pairs, t) = self.select(&rows, classes);
        let factor = closed_form(&rows, classes, &all, pairs)?.factor(t);
        let factor = if self.closed_form_only {
            factor
        } else {
            refined(factor, &rows, classes)?
        };
        Ok(LabelledFit {
            metric: MahalanobisMetric::capped(spd::gram(&factor), CONDITION_CAP)?,
            t,
            all_pairs: pairs == Pairs::All,
        })
    }

    /// The scatters and the `t` of least error on held-out rows; the first of equals.
    fn select(&self, rows: &Array2<f32>, classes: &[usize]) -> (Pairs, f64) {
        let fold_of = self.deal(classes);
        let kinds = [Pairs::All, Pairs::Nearest];
        let mut errors = [[0_usize; POSITIONS.len()]; 2];
        for fold in 0..FOLDS {
            let (held_out, known): (Vec<usize>, Vec<usize>) =
                (0..rows.nrows()).partition(|i| fold_of[*i] == fold);
            let stride = held_out.len().div_ceil(MAX_CLASSIFIED).max(1);
            let split = Split {
                rows,
                classes,
                known,
                queries: held_out.into_iter().step_by(stride).collect(),
            };
            for (pairs, errors) in kinds.into_iter().zip(&mut errors) {
                for (sum, wrong) in errors.iter_mut().zip(split.errors(pairs)) {
                    *sum += wrong;
                }
            }
        }
        let settings = kinds.into_iter().zip(errors).flat_map(|(pairs, errors)| {
            let of_pairs = POSITIONS.into_iter().zip(errors);
            of_pairs.map(move |(t, errors)| (errors, pairs, t))
        });
        let best = settings.min_by_key(|(errors, ..)| *errors);
        best.map_or((Pairs::All, POSITIONS[0]), |(_, pairs, t)| (pairs, t))
    }

    /// The fold of each row, with each class spread evenly over the folds.
    fn deal(&self, classes: &[usize]) -> Vec<usize> {
        let mut order: Vec<(usize, u64, usize)> = classes
            .iter()
            .enumerate()
            .map(|(i, c)| (*c, hash(self.seed ^ hash(i as u64)), i))
            .collect();
        order.sort_unstable();
        let mut folds = vec![0; classes.len()];
        order
            .into_iter()
            .enumerate()
            .for_each(|(at, (_, _, row))| folds[row] = at % FOLDS);
        folds
    }
}

/// The finaliser of splitmix64: a bijection that scatters its input.
fn hash(value: u64) -> u64 {
    Random(value).next()
}

/// Rows that a metric is fitted to, and held-out rows that are classified by them.
struct Split<'a> {
    rows: &'a Array2<f32>,
    classes: &'a [usize],
    known: Vec<usize>,
    queries: Vec<usize>,
}

impl Split<'_> {
    /// The number of held-out rows that are classified wrongly at each of [`POSITIONS`]. All of
    /// them where the known rows have no such pairs, for all rows may lack them as well.
    fn errors(&self, pairs: Pairs) -> [usize; POSITIONS.len()] {
        let Ok(geodesic) = closed_form(self.rows, self.classes, &self.known, pairs) else {
            return [self.queries.len(); POSITIONS.len()];
        };
        POSITIONS.map(|t| self.errors_under(&geodesic.factor(t)))
    }

    /// The number of held-out rows whose nearest known rows vote for another class under the map
    /// `factor` (`k x d`).
    fn errors_under(&self, factor: &Array2<f64>) -> usize {
        let mapped = mapped(self.rows, factor);
        let near = nearest(
            &mapped.select(Axis(0), &self.known),
            &mapped.select(Axis(0), &self.queries),
            VOTERS,
        );
        let class = |i: &usize| self.classes[self.known[*i]];
        near.iter()
            .zip(&self.queries)
            .filter(|(near, row)| votes(near.iter().map(class)) != Some(self.classes[**row]))
            .count()
    }
}

/// The geodesic between the scatters of the rows `of`.
fn closed_form(
    rows: &Array2<f32>,
    classes: &[usize],
    of: &[usize],
    pairs: Pairs,
) -> Result<GeneralizedEigen, LearnError> {
    let (similar, dissimilar) = scatters::scatters(rows, classes, of, pairs).ok_or_else(|| {
        LearnError::NotEnough(
            "rows of one class, or of different ones, do not differ at all".into(),
        )
    })?;
    GeneralizedEigen::of_scatters(similar.view(), dissimilar.view())
}

/// The rows mapped by `factor` (`k x d`), in f32.
fn mapped(rows: &Array2<f32>, factor: &Array2<f64>) -> Array2<f32> {
    rows.dot(&factor.mapv(|v| v as f32).t())
}

/// The factor refined on the hinge loss of each row's targets and impostors.
fn refined(
    factor: Array2<f64>,
    rows: &Array2<f32>,
    classes: &[usize],
) -> Result<Array2<f64>, LearnError> {
    let mapped = mapped(rows, &factor);
    let mut triplets = triplets(&mapped, classes);
    let median = median_distance(&mapped, &triplets);
    if median <= 0.0 {
        return Ok(factor);
    }
    triplets.retain(|t| !t.near.is_empty() && !t.far.is_empty());
    hinge::refine(
        factor * (MEDIAN_DISTANCE / median).sqrt(),
        &rows.mapv(f64::from),
        &triplets,
        &|| false,
    )
}

/// Each row with its targets and its impostors, nearest first.
fn triplets(mapped: &Array2<f32>, classes: &[usize]) -> Vec<Triplets> {
    let all: Vec<usize> = (0..mapped.nrows()).collect();
    let mut triplets: Vec<Triplets> = all
        .iter()
        .map(|anchor| Triplets {
            anchor: *anchor,
            ..Triplets::default()
        })
        .collect();
    for members in &scatters::by_class(classes, &all) {
        let is_other = |i: &usize| classes[*i] != classes[members[0]];
        let others: Vec<usize> = all.iter().copied().filter(is_other).collect();
        let own = mapped.select(Axis(0), members);
        // Each row is its own nearest, or as near as any that comes before it.
        let near = nearest(&own, &own, TARGETS + 1);
        let far = nearest(&mapped.select(Axis(0), &others), &own, IMPOSTORS);
        for ((i, near), far) in members.iter().zip(near).zip(far) {
            let t = &mut triplets[*i];
            t.near = near
                .into_iter()
                .map(|j| members[j])
                .filter(|j| j != i)
                .take(TARGETS)
                .collect();
            t.far = far.into_iter().map(|j| others[j]).collect();
        }
    }
    triplets
}

/// The median squared distance of rows to their 5th neighbour, which is among a row's targets and
/// impostors, for these are all near rows of either kind.
fn median_distance(mapped: &Array2<f32>, triplets: &[Triplets]) -> f64 {
    let distance = |i: usize, j: usize| {
        let numbers = mapped.row(i).into_iter().zip(mapped.row(j));
        numbers.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let mut distances = Vec::with_capacity(triplets.len());
    for t in triplets {
        let neighbours = t.near.iter().chain(&t.far);
        let mut all: Vec<f64> = neighbours.map(|j| distance(t.anchor, *j)).collect();
        all.sort_unstable_by(f64::total_cmp);
        distances.extend(all.get(VOTERS - 1).or(all.last()));
    }
    distances.sort_unstable_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied().unwrap_or(0.0)
}

fn check(rows: ArrayView2<'_, f32>, classes: &[usize]) -> Result<(), LearnError> {
    let (n, d) = rows.dim();
    if n != classes.len() || d == 0 || d > MAX_DIM {
        let m = classes.len();
        return Err(LearnError::Numerical(format!(
            "{n} rows of {d} numbers with {m} classes; each row needs one"
        )));
    }
    if let Some(((i, k), v)) = rows.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(LearnError::Numerical(format!("row {i}, column {k} is {v}")));
    }
    let mut counts = std::collections::BTreeMap::<_, usize>::new();
    for class in classes {
        *counts.entry(*class).or_default() += 1;
    }
    if counts.len() < 2 || counts.values().all(|n| *n < 2) {
        return Err(LearnError::NotEnough(format!(
            "{n} rows of {} classes: a metric needs two classes, and two rows of one of them",
            counts.len()
        )));
    }
    Ok(())
}
