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

mod neighbours;
mod scatters;

use affinis::LearnError;
use ndarray::{Array2, ArrayView2, Axis};

use crate::evidence::mix;
use crate::hinge::{self, Triplets};
use crate::metric::MahalanobisMetric;
use crate::spd::{self, GeneralizedEigen};
use neighbours::{nearest, votes};
use scatters::Pairs;

/// Positions on the geodesic that are tried.
const POSITIONS: [f64; 6] = [0.5, 0.3, 0.7, 0.2, 0.1, 0.0];
/// Folds of the cross-validation.
const FOLDS: usize = 3;
/// Rows of a fold that are classified, at most.
const ASKED: usize = 600;
/// Neighbours that vote.
const VOTERS: usize = 5;
/// Rows of the same class that each row is to be near.
const TARGETS: usize = 3;
/// Rows of other classes that each row is to be far from.
const IMPOSTORS: usize = 10;
/// Distances to a row's 5th neighbour, for a margin of 1.
const REACH: f64 = 2.0;
/// Bounds `cond A`: tables may have columns that say nothing at all.
const CONDITION_CAP: f64 = 1e6;

/// What [`Labelled::fit`] found.
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
/// use affinis::Metric;
/// use affinis_mahalanobis::Labelled;
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
/// # Ok::<(), affinis::LearnError>(())
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
            on_hinge(factor, &rows, classes)?
        };
        let shaped = crate::shape::shaped(spd::gram(&factor), CONDITION_CAP)?;
        let metric = MahalanobisMetric::from_factor(&shaped.factor, shaped.condition);
        Ok(LabelledFit {
            metric,
            t,
            all_pairs: pairs == Pairs::All,
        })
    }

    /// The scatters and the `t` of least error on held-out rows; the first of equals.
    fn select(&self, rows: &Array2<f32>, classes: &[usize]) -> (Pairs, f64) {
        let fold_of = self.deal(classes);
        let mut errors = [[0_usize; POSITIONS.len()]; 2];
        for fold in 0..FOLDS {
            let (asked, known): (Vec<usize>, Vec<usize>) =
                (0..rows.nrows()).partition(|i| fold_of[*i] == fold);
            let stride = asked.len().div_ceil(ASKED).max(1);
            let asked: Vec<usize> = asked.into_iter().step_by(stride).collect();
            for (pairs, errors) in [Pairs::All, Pairs::Nearest].into_iter().zip(&mut errors) {
                let Ok(geodesic) = closed_form(rows, classes, &known, pairs) else {
                    // The fold lacks what these scatters need, and all rows may lack it as well.
                    for wrong in errors {
                        *wrong += asked.len();
                    }
                    continue;
                };
                for (t, wrong) in POSITIONS.into_iter().zip(errors) {
                    let images = rows.dot(&geodesic.factor(t).mapv(|v| v as f32).t());
                    let near = nearest(
                        &images.select(Axis(0), &known),
                        &images.select(Axis(0), &asked),
                        VOTERS,
                    );
                    let of = |i: &usize| classes[known[*i]];
                    *wrong += near
                        .iter()
                        .zip(&asked)
                        .filter(|(n, q)| votes(n.iter().map(of)) != Some(classes[**q]))
                        .count();
                }
            }
        }
        let all = [Pairs::All, Pairs::Nearest].into_iter().zip(errors);
        let each = all.flat_map(|(pairs, errors)| {
            POSITIONS
                .into_iter()
                .zip(errors)
                .map(move |(t, e)| (e, pairs, t))
        });
        let best = each.min_by_key(|(e, ..)| *e);
        best.map_or((Pairs::All, POSITIONS[0]), |(_, pairs, t)| (pairs, t))
    }

    /// Which fold each row is in, each class spread evenly.
    fn deal(&self, classes: &[usize]) -> Vec<usize> {
        let mut order: Vec<(usize, u64, usize)> = classes
            .iter()
            .enumerate()
            .map(|(i, c)| (*c, mix(self.seed ^ mix(i as u64)), i))
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

/// The geodesic between the scatters of some rows.
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

/// The steps on the hinge loss.
fn on_hinge(
    factor: Array2<f64>,
    rows: &Array2<f32>,
    classes: &[usize],
) -> Result<Array2<f64>, LearnError> {
    let images = rows.dot(&factor.mapv(|v| v as f32).t());
    let mut triplets: Vec<Triplets> = (0..rows.nrows())
        .map(|anchor| Triplets {
            anchor,
            ..Triplets::default()
        })
        .collect();
    let mut reaches = Vec::with_capacity(rows.nrows());
    let by_class = scatters::by_class(classes, &(0..rows.nrows()).collect::<Vec<_>>());
    for members in &by_class {
        let others: Vec<usize> = (0..rows.nrows())
            .filter(|i| classes[*i] != classes[members[0]])
            .collect();
        let own = images.select(Axis(0), members);
        // Each row is its own nearest, or as near as any that comes before it.
        let near = nearest(&own, &own, TARGETS + 1);
        let far = nearest(&images.select(Axis(0), &others), &own, IMPOSTORS);
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
    let distance = |i: usize, j: usize| {
        let pairs = images
            .row(i)
            .into_iter()
            .zip(images.row(j))
            .map(|(a, b)| f64::from(a - b).powi(2));
        pairs.sum::<f64>()
    };
    for t in &triplets {
        // The 5th neighbour is found among the targets and the impostors, which hold all near ones
        // of either kind.
        let mut all: Vec<f64> = t
            .near
            .iter()
            .chain(&t.far)
            .map(|j| distance(t.anchor, *j))
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        reaches.extend(all.get(VOTERS - 1).or(all.last()));
    }
    reaches.sort_unstable_by(f64::total_cmp);
    let median = reaches.get(reaches.len() / 2).copied().unwrap_or(0.0);
    if median <= 0.0 {
        return Ok(factor);
    }
    triplets.retain(|t| !t.near.is_empty() && !t.far.is_empty());
    hinge::refine(
        factor * (REACH / median).sqrt(),
        &rows.mapv(f64::from),
        &triplets,
        &|| false,
    )
}

fn check(rows: ArrayView2<'_, f32>, classes: &[usize]) -> Result<(), LearnError> {
    let (n, d) = rows.dim();
    if n != classes.len() || d == 0 || d > crate::metric::MAX_DIM {
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
