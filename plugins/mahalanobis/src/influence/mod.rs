//! The influence of each judgement on one distance.
//!
//! The distance `z'Az` is differentiated backwards through the scale and the condition cap (module
//! `shape`), the geometric mean ([`GeneralizedEigen`]) and the posterior, down to the two sums of
//! judged differences. What a judgement contributes to these sums is then taken exactly: its pairs,
//! their weight, and the shift of its query's chunklet mean (module `contributions`). So only the
//! geometric mean is linearised, to which a single judgement is a small change. Where there are few
//! judgements it may be a large one: the strongest influences are then computed by the closed form
//! without the judgement.
//!
//! Metrics whose learner goes on from the closed form are explained by the closed form.

mod chunklet;
mod contributions;

use affinis::plugin::{Examples, FitReport, Influences, LearnError, Task};
use ndarray::{Array1, Array2, ArrayView1, Axis};

use crate::judgements::Judgements;
use crate::prior::{Prior, Priors};
use crate::scatter;
use crate::shape::shaped;
use crate::spd::{self, GeneralizedEigen};
use contributions::{Posterior, Side};

/// The influence of every judgement of a task on the distance between two vectors under a version
/// that was learned from them; `None` for a version that was not learned by a geometric mean.
pub(crate) fn influences(
    task: &Task<'_>,
    others: Option<&Examples>,
    report: &FitReport,
    between: (&[f32], &[f32]),
    priors: &Priors,
) -> Result<Option<Influences>, LearnError> {
    let note = |name: &str| report.notes.get(name).copied();
    let (Some(similar), Some(dissimilar), Some(cap)) = (
        note("prior_similar"),
        note("prior_dissimilar"),
        note("condition_cap"),
    ) else {
        return Ok(None);
    };
    let judgements = Judgements::new(task.dim, task.examples)?;
    let prior = priors.of_task(task, others, &report.notes)?;
    let total = scatter::of_all(&judgements);
    let s = total.similar.posterior(&prior.similar, similar);
    let d = total.dissimilar.posterior(&prior.dissimilar, dissimilar);
    let z = difference(between.0, between.1);
    let gradients = if report.learner == "diagonal" {
        diagonal_gradients(&s, &d, report.t, cap, &z)?
    } else {
        let eigen = GeneralizedEigen::of_scatters(s.view(), d.view())?;
        let gradient = shape_gradient(&eigen.at(report.t), cap, &z)?;
        let (similar, dissimilar) = eigen.gradients(s.view(), report.t, gradient.view());
        Gradients {
            similar,
            dissimilar,
        }
    };
    let posterior = Posterior {
        similar: Side::new(gradients.similar, &prior.similar, similar),
        dissimilar: Side::new(gradients.dissimilar, &prior.dissimilar, dissimilar),
    };
    let mut influences = posterior.influences(&judgements, task.examples);
    if task.examples.graded.len() + task.examples.pairs.len() <= MAX_CORRECTED_JUDGEMENTS {
        let closed_form = ClosedForm {
            report,
            prior: &prior,
            similar_count: similar,
            dissimilar_count: dissimilar,
            cap,
        };
        closed_form.correct(&mut influences, task, &z)?;
    }
    // Under a shrunken metric the distance has this share of the closed form's.
    let share = report.shrinkage.unwrap_or(1.0);
    influences
        .graded
        .iter_mut()
        .chain(&mut influences.pairs)
        .for_each(|influence| *influence *= share);
    Ok(Some(influences))
}

/// Largest number of judgements of which the strongest influences are corrected; among more, each
/// is a small change.
const MAX_CORRECTED_JUDGEMENTS: usize = 2_000;
/// Number of strongest influences that are corrected.
const CORRECTED: usize = 5;

/// The closed form by which a version's matrix was made of its judgements.
struct ClosedForm<'a> {
    report: &'a FitReport,
    prior: &'a Prior,
    /// Numbers of judged pairs that the prior stands for.
    similar_count: f64,
    dissimilar_count: f64,
    cap: f64,
}

impl ClosedForm<'_> {
    /// Replaces the strongest influences by the difference that the closed form makes without the
    /// judgement.
    fn correct(
        &self,
        influences: &mut Influences,
        task: &Task<'_>,
        z: &Array1<f64>,
    ) -> Result<(), LearnError> {
        let graded = influences.graded.len();
        let all = influences
            .graded
            .iter()
            .chain(&influences.pairs)
            .map(|influence| influence.abs())
            .enumerate();
        let mut strongest: Vec<(usize, f64)> =
            all.filter(|(_, influence)| *influence > 0.0).collect();
        strongest.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let whole = self.distance(task.dim, task.examples, z)?;
        for (at, _) in strongest.into_iter().take(CORRECTED) {
            if (task.cancel)() {
                return Err(LearnError::Cancelled);
            }
            let mut without = task.examples.clone();
            if at < graded {
                without.graded.remove(at);
            } else {
                without.pairs.remove(at - graded);
            }
            let influence = whole - self.distance(task.dim, &without, z)?;
            match at.checked_sub(graded) {
                None => influences.graded[at] = influence,
                Some(at) => influences.pairs[at] = influence,
            }
        }
        Ok(())
    }

    /// The distance `z'Az` under the metric that the closed form makes of some judgements.
    fn distance(
        &self,
        dim: usize,
        examples: &Examples,
        z: &Array1<f64>,
    ) -> Result<f64, LearnError> {
        let total = scatter::of_all(&Judgements::new(dim, examples)?);
        let s = total
            .similar
            .posterior(&self.prior.similar, self.similar_count);
        let d = total
            .dissimilar
            .posterior(&self.prior.dissimilar, self.dissimilar_count);
        let matrix = if self.report.learner == "diagonal" {
            Array2::from_diag(&diagonal(&s, &d, self.report.t))
        } else {
            GeneralizedEigen::of_scatters(s.view(), d.view())?.at(self.report.t)
        };
        let image = shaped(matrix, self.cap)?.factor.dot(z);
        Ok(image.dot(&image))
    }
}

/// The diagonal (`d` numbers) of `s^(t-1) d^t`.
fn diagonal(s: &Array2<f64>, d: &Array2<f64>, t: f64) -> Array1<f64> {
    s.diag()
        .iter()
        .zip(&d.diag())
        .map(|(s, d)| s.powf(t - 1.0) * d.powf(t))
        .collect()
}

/// The gradient in `M` of `z'Az`, where `A` is `M` scaled to trace `d` with its condition number
/// capped.
fn shape_gradient(m: &Array2<f64>, cap: f64, z: &Array1<f64>) -> Result<Array2<f64>, LearnError> {
    let d = z.len() as f64;
    let trace = m.diag().sum();
    let a = m * (d / trace);
    let (values, vectors) = spd::eigen(a.view())?;
    let (Some(&least), Some(&greatest)) = (values.first(), values.last()) else {
        return Err(LearnError::Numerical(
            "a metric without directions has no gradient".into(),
        ));
    };
    let outer = |v: ArrayView1<'_, f64>| {
        let column = v.insert_axis(Axis(1));
        column.dot(&column.t())
    };
    let mut gradient = outer(z.view());
    if greatest > cap * least {
        // A = c (a + e I) with e = (greatest - cap least) / (cap - 1) and c = d / trace(a + e I).
        let lift = (greatest - cap * least) / (cap - 1.0);
        let scale = d / (d + lift * d);
        let uncapped = z.dot(&a.dot(z)) + lift * z.dot(z);
        let by_lift = scale * z.dot(z) - scale * scale * uncapped;
        let extremes = outer(vectors.row(values.len() - 1)) - outer(vectors.row(0)) * cap;
        gradient = gradient * scale + extremes * (by_lift / (cap - 1.0));
        gradient
            .diag_mut()
            .iter_mut()
            .for_each(|v| *v -= scale * scale * uncapped / d);
    }
    let along = (&gradient * &a).sum() / d;
    gradient.diag_mut().iter_mut().for_each(|v| *v -= along);
    Ok(gradient * (d / trace))
}

/// The gradients of a distance in the two posterior scatters, `d x d` each.
struct Gradients {
    similar: Array2<f64>,
    dissimilar: Array2<f64>,
}

/// The gradients where `A` is the diagonal `s^(t-1) d^t`.
fn diagonal_gradients(
    s: &Array2<f64>,
    d: &Array2<f64>,
    t: f64,
    cap: f64,
    z: &Array1<f64>,
) -> Result<Gradients, LearnError> {
    let weights = diagonal(s, d, t);
    let (s, d) = (s.diag(), d.diag());
    let gradient = shape_gradient(&Array2::from_diag(&weights), cap, z)?;
    let common = &gradient.diag() * &weights;
    Ok(Gradients {
        similar: Array2::from_diag(&(&common * (t - 1.0) / s)),
        dissimilar: Array2::from_diag(&(&common * t / d)),
    })
}

/// The difference `x - y` in f64.
fn difference(x: &[f32], y: &[f32]) -> Array1<f64> {
    let numbers = x.iter().zip(y);
    numbers
        .map(|(x, y)| f64::from(*x) - f64::from(*y))
        .collect()
}
