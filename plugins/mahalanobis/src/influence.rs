//! How much each judgement changed one distance.
//!
//! The distance `z'Az` is differentiated backwards through the scale and the condition cap (module
//! `shape`), the geometric mean ([`GeneralizedEigen`]) and the posterior, down to the two sums of
//! judged differences. What leaves these sums with a judgement is then taken exactly: its pairs,
//! their weight, and the shift of its query's chunklet mean. So the only step that is linear is the
//! one through the geometric mean, where a single judgement is a small change. Where there are few
//! judgements it may be a great one: of those that weigh most the influence is computed anew, by
//! the closed form without them.
//!
//! Metrics whose learner goes on from the closed form are explained by the closed form.

use std::collections::HashMap;

use affinis::{Examples, Influences, LearnError, Task, Version};
use ndarray::{Array1, Array2, ArrayView1, Axis};

use crate::evidence::{Evidence, Judged, Query};
use crate::prior::{Prior, Priors};
use crate::scatter;
use crate::shape::shaped;
use crate::spd::{self, GeneralizedEigen};

/// The influence of every judgement of a task on the distance between two vectors under a version
/// that was learned from them; `None` for a version that was not learned by a geometric mean.
pub(crate) fn influences(
    task: &Task<'_>,
    others: Option<&Examples>,
    version: &Version,
    between: (&[f32], &[f32]),
    priors: &Priors,
) -> Result<Option<Influences>, LearnError> {
    let parameter = |name: &str| version.notes.get(name).copied();
    let (Some(similar), Some(dissimilar), Some(cap)) = (
        parameter("prior_similar"),
        parameter("prior_dissimilar"),
        parameter("condition_cap"),
    ) else {
        return Ok(None);
    };
    let evidence = Evidence::new(task.dim, task.examples)?;
    let prior = priors.of_task(task, others, &version.notes)?;
    let chunklets = scatter::as_chunklets(&evidence);
    let total = scatter::scatters(&evidence, chunklets, |_| true, |_| true);
    let s = total.similar.posterior(&prior.similar, similar);
    let d = total.dissimilar.posterior(&prior.dissimilar, dissimilar);
    let z: Array1<f64> = between
        .0
        .iter()
        .zip(between.1)
        .map(|(x, y)| f64::from(*x) - f64::from(*y))
        .collect();
    let (in_s, in_d) = if version.learner == "diagonal" {
        diagonal_gradients((&s, &d), version.t, cap, &z)?
    } else {
        let eigen = GeneralizedEigen::of_scatters(s.view(), d.view())?;
        let gradient = shape_gradient(&eigen.at(version.t), cap, &z)?;
        eigen.gradients(s.view(), version.t, gradient.view())
    };
    let sides = Sides {
        similar: Side {
            prior: (&in_s * &prior.similar).sum(),
            count: similar,
            gradient: in_s,
        },
        dissimilar: Side {
            prior: (&in_d * &prior.dissimilar).sum(),
            count: dissimilar,
            gradient: in_d,
        },
    };
    let mut influences = sides.of_judgements(&evidence, task.examples, chunklets);
    if task.examples.graded.len() + task.examples.pairs.len() <= FEW {
        let closed_form = ClosedForm {
            version,
            prior: &prior,
            counts: (similar, dissimilar),
            cap,
        };
        closed_form.correct(&mut influences, task, &z)?;
    }
    // Under a shrunken metric the distance has this share of the closed form's.
    let share = version.shrinkage.unwrap_or(1.0);
    influences
        .graded
        .iter_mut()
        .chain(&mut influences.pairs)
        .for_each(|influence| *influence *= share);
    Ok(Some(influences))
}

/// Judgements up to which the strongest influences are computed anew; of more, each is a small
/// part.
const FEW: usize = 2_000;
/// How many of these.
const STRONGEST: usize = 5;

/// What made a version's matrix of judgements.
struct ClosedForm<'a> {
    version: &'a Version,
    prior: &'a Prior,
    /// The weights of the prior, similar and dissimilar.
    counts: (f64, f64),
    cap: f64,
}

impl ClosedForm<'_> {
    /// Puts the differences that refits without them make in the place of the strongest influences.
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
        for (at, _) in strongest.into_iter().take(STRONGEST) {
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

    /// `z'Az` of what the closed form makes of judgements.
    fn distance(
        &self,
        dim: usize,
        examples: &Examples,
        z: &Array1<f64>,
    ) -> Result<f64, LearnError> {
        let evidence = Evidence::new(dim, examples)?;
        let total = scatter::scatters(
            &evidence,
            scatter::as_chunklets(&evidence),
            |_| true,
            |_| true,
        );
        let s = total.similar.posterior(&self.prior.similar, self.counts.0);
        let d = total
            .dissimilar
            .posterior(&self.prior.dissimilar, self.counts.1);
        let matrix = if self.version.learner == "diagonal" {
            Array2::from_diag(&diagonal((&s, &d), self.version.t))
        } else {
            GeneralizedEigen::of_scatters(s.view(), d.view())?.at(self.version.t)
        };
        let image = shaped(matrix, self.cap)?.factor.dot(z);
        Ok(image.dot(&image))
    }
}

/// The diagonal of `s^(t-1) d^t`.
fn diagonal((s, d): (&Array2<f64>, &Array2<f64>), t: f64) -> Array1<f64> {
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

/// The gradients where `A` is the diagonal `s^(t-1) d^t`.
fn diagonal_gradients(
    (s, d): (&Array2<f64>, &Array2<f64>),
    t: f64,
    cap: f64,
    z: &Array1<f64>,
) -> Result<(Array2<f64>, Array2<f64>), LearnError> {
    let weights = diagonal((s, d), t);
    let (s, d) = (s.diag(), d.diag());
    let gradient = shape_gradient(&Array2::from_diag(&weights), cap, z)?;
    let common = &gradient.diag() * &weights;
    Ok((
        Array2::from_diag(&(&common * (t - 1.0) / s)),
        Array2::from_diag(&(&common * t / d)),
    ))
}

/// One scatter's side of the posterior: `(n tr(M) + count prior) / (n + count)`, seen through a
/// gradient.
struct Side {
    gradient: Array2<f64>,
    /// `<gradient, prior>`.
    prior: f64,
    count: f64,
}

/// What judgements add to a scatter, seen through a gradient; parts add up.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// `<gradient, sum w zz'>`.
    form: f64,
    /// `trace sum w zz'`.
    trace: f64,
    weight: f64,
    square_weight: f64,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.form += other.form;
        self.trace += other.trace;
        self.weight += other.weight;
        self.square_weight += other.square_weight;
    }

    fn without(self, other: Self) -> Self {
        Self {
            form: self.form - other.form,
            trace: self.trace - other.trace,
            weight: self.weight - other.weight,
            square_weight: self.square_weight - other.square_weight,
        }
    }
}

impl Side {
    /// `<gradient, posterior>` when the judgements are these.
    fn value(&self, judged: Part) -> f64 {
        // What is left of rounding when all has been taken out counts as nothing.
        if judged.weight <= 1e-9 || judged.trace <= 1e-12 {
            return self.prior;
        }
        let n = judged
            .weight
            .min(judged.weight * (judged.weight / judged.square_weight));
        let form = judged.form * self.gradient.nrows() as f64 / judged.trace;
        (n * form + self.count * self.prior) / (n + self.count)
    }

    /// A single difference of some weight.
    fn pair(&self, z: &Array1<f64>, weight: f64) -> Part {
        Part {
            form: weight * z.dot(&self.gradient.dot(z)),
            trace: weight * z.dot(z),
            weight,
            square_weight: weight * weight,
        }
    }
}

struct Sides {
    similar: Side,
    dissimilar: Side,
}

/// What one judged pair of rows has in each scatter.
type Both = (Part, Part);

impl Sides {
    fn of_judgements(
        &self,
        evidence: &Evidence<'_>,
        examples: &Examples,
        chunklets: bool,
    ) -> Influences {
        let (mut total_similar, mut total_dissimilar) = (Part::default(), Part::default());
        let mut graded: HashMap<(usize, usize), Both> = HashMap::new();
        for query in &evidence.queries {
            let (all, each) = if chunklets {
                self.chunklet(evidence, query)
            } else {
                self.plain(evidence, query)
            };
            total_similar.add(all.0);
            total_dissimilar.add(all.1);
            let judged = query.relevant.iter().chain(&query.irrelevant);
            graded.extend(judged.zip(each).map(|(j, part)| ((query.row, j.row), part)));
        }
        let mut paired: HashMap<(usize, usize), Both> = HashMap::new();
        for link in &evidence.links {
            let z: Array1<f64> = evidence.difference(link.a, link.b).collect();
            let mut parts = (Part::default(), Part::default());
            if link.similar {
                parts.0 = self.similar.pair(&z, link.weight);
            } else {
                parts.1 = self.dissimilar.pair(&z, link.weight);
            }
            total_similar.add(parts.0);
            total_dissimilar.add(parts.1);
            paired.insert((link.a.min(link.b), link.a.max(link.b)), parts);
        }
        let change = |parts: &Both| {
            self.similar.value(total_similar) - self.similar.value(total_similar.without(parts.0))
                + self.dissimilar.value(total_dissimilar)
                - self.dissimilar.value(total_dissimilar.without(parts.1))
        };
        let graded: HashMap<_, f64> = graded
            .iter()
            .map(|(key, parts)| (*key, change(parts)))
            .collect();
        let paired: HashMap<_, f64> = paired
            .iter()
            .map(|(key, parts)| (*key, change(parts)))
            .collect();

        // Judgements of one pair of vectors were summed: each has its share of the sum's influence.
        let rows = first_equal_rows(&examples.vectors);
        let key = |a: usize, b: usize| (rows[a], rows[b]);
        let unordered = |a: usize, b: usize| (rows[a].min(rows[b]), rows[a].max(rows[b]));
        let signed = |similar: bool, weight: f32| {
            if similar {
                f64::from(weight)
            } else {
                -f64::from(weight)
            }
        };
        Influences::new(
            shares(
                examples.graded.iter().map(|g| {
                    (
                        key(g.query, g.item),
                        f64::from(g.weight) * f64::from(g.grade),
                    )
                }),
                &graded,
            ),
            shares(
                examples
                    .pairs
                    .iter()
                    .map(|p| (unordered(p.a, p.b), signed(p.similar, p.weight))),
                &paired,
            ),
        )
    }

    /// A query learned from as plain pairs: all its parts together, and each judged item's.
    fn plain(&self, evidence: &Evidence<'_>, query: &Query) -> (Both, Vec<Both>) {
        let mut all = (Part::default(), Part::default());
        let mut each = Vec::new();
        for (i, judged) in query.relevant.iter().chain(&query.irrelevant).enumerate() {
            let z: Array1<f64> = evidence.difference(judged.row, query.row).collect();
            let mut parts = (Part::default(), Part::default());
            if i < query.relevant.len() {
                parts.0 = self.similar.pair(&z, judged.weight);
            } else {
                parts.1 = self.dissimilar.pair(&z, judged.weight);
            }
            all.0.add(parts.0);
            all.1.add(parts.1);
            each.push(parts);
        }
        (all, each)
    }

    /// A query learned from as a chunklet. What goes with a relevant item is its own part and the
    /// shift of the mean.
    fn chunklet(&self, evidence: &Evidence<'_>, query: &Query) -> (Both, Vec<Both>) {
        let rows = |judged: &[Judged]| {
            let mut rows = Array2::zeros((judged.len(), evidence.vectors.ncols()));
            for (mut row, j) in rows.rows_mut().into_iter().zip(judged) {
                row.iter_mut()
                    .zip(evidence.difference(j.row, query.row))
                    .for_each(|(to, z)| *to = z);
            }
            rows
        };
        let (relevant, irrelevant) = (rows(&query.relevant), rows(&query.irrelevant));
        let weights = |judged: &[Judged]| judged.iter().map(|j| j.weight).collect::<Array1<f64>>();
        let chunklet = Chunklet {
            weights: (weights(&query.relevant), weights(&query.irrelevant)),
            similar: Forms::new(&relevant, &irrelevant, query, |z| {
                z.dot(&self.similar.gradient)
            }),
            dissimilar: Forms::new(&relevant, &irrelevant, query, |z| {
                z.dot(&self.dissimilar.gradient)
            }),
            plain: Forms::new(&relevant, &irrelevant, query, Clone::clone),
        };
        let all = chunklet.parts(None, None);
        let taken = |parts: Both| (all.0.without(parts.0), all.1.without(parts.1));
        let relevant = (0..query.relevant.len()).map(|i| taken(chunklet.parts(Some(i), None)));
        let irrelevant = (0..query.irrelevant.len()).map(|i| taken(chunklet.parts(None, Some(i))));
        (all, relevant.chain(irrelevant).collect())
    }
}

/// A chunklet's judged items relative to the query, seen through a symmetric form `G`; `s = sum w
/// x` over the relevant items `x`, `u = sum v y` over the irrelevant items `y`.
struct Forms {
    /// `x'Gx`, then `y'Gy`.
    own: (Array1<f64>, Array1<f64>),
    /// `x'Gs`, then `y'Gs`.
    with_sum: (Array1<f64>, Array1<f64>),
    /// `x'Gu`.
    with_other: Array1<f64>,
    /// `s'Gs`.
    sum: f64,
}

impl Forms {
    fn new(
        relevant: &Array2<f64>,
        irrelevant: &Array2<f64>,
        query: &Query,
        through: impl Fn(&Array2<f64>) -> Array2<f64>,
    ) -> Self {
        let (gx, gy) = (through(relevant), through(irrelevant));
        let total = |rows: &Array2<f64>, judged: &[Judged]| {
            judged
                .iter()
                .map(|j| j.weight)
                .collect::<Array1<f64>>()
                .dot(rows)
        };
        let (s, u) = (
            total(relevant, &query.relevant),
            total(irrelevant, &query.irrelevant),
        );
        let with_sum = (gx.dot(&s), gy.dot(&s));
        let sum = with_sum
            .0
            .iter()
            .zip(&query.relevant)
            .map(|(v, j)| v * j.weight)
            .sum();
        Self {
            own: (
                (&gx * relevant).sum_axis(Axis(1)),
                (&gy * irrelevant).sum_axis(Axis(1)),
            ),
            with_other: gx.dot(&u),
            with_sum,
            sum,
        }
    }
}

struct Chunklet {
    weights: (Array1<f64>, Array1<f64>),
    similar: Forms,
    dissimilar: Forms,
    plain: Forms,
}

impl Chunklet {
    /// What the chunklet adds to both scatters without one of its relevant and one of its
    /// irrelevant items.
    fn parts(&self, relevant: Option<usize>, irrelevant: Option<usize>) -> Both {
        let (w, v) = (&self.weights.0, &self.weights.1);
        let gone = |of: &Array1<f64>, i: Option<usize>| i.map_or(0.0, |i| of[i]);
        let (w_gone, v_gone) = (gone(w, relevant), gone(v, irrelevant));
        let left = w.len() - usize::from(relevant.is_some());
        let weight = if left == 0 { 0.0 } else { w.sum() - w_gone };
        // The query is a member of its results' mean weight, and the mean itself where there are
        // none.
        let members = if left == 0 {
            1.0
        } else {
            weight + weight / left as f64
        };
        // s'Gs without the item.
        let square = |f: &Forms| match relevant {
            _ if left == 0 => 0.0,
            Some(i) => f.sum - 2.0 * w_gone * f.with_sum.0[i] + w_gone * w_gone * f.own.0[i],
            None => f.sum,
        };
        let similar = |f: &Forms| {
            let own = if left == 0 {
                0.0
            } else {
                w.dot(&f.own.0) - w_gone * gone(&f.own.0, relevant)
            };
            2.0 * (own - square(f) / members)
        };
        let dissimilar = |f: &Forms| {
            let own = v.dot(&f.own.1) - v_gone * gone(&f.own.1, irrelevant);
            let cross = match relevant {
                _ if left == 0 => 0.0,
                Some(i) => v.dot(&f.with_sum.1) - w_gone * f.with_other[i],
                None => v.dot(&f.with_sum.1) - v_gone * gone(&f.with_sum.1, irrelevant),
            };
            own - 2.0 * cross / members + (v.sum() - v_gone) * square(f) / (members * members)
        };
        let squares = |of: &Array1<f64>, gone: f64| of.dot(of) - gone * gone;
        (
            Part {
                form: similar(&self.similar),
                trace: similar(&self.plain),
                weight,
                square_weight: squares(w, w_gone),
            },
            Part {
                form: dissimilar(&self.dissimilar),
                trace: dissimilar(&self.plain),
                weight: v.sum() - v_gone,
                square_weight: squares(v, v_gone),
            },
        )
    }
}

/// For each row the first row of equal numbers, as [`Evidence`] names them.
fn first_equal_rows(vectors: &Array2<f32>) -> Vec<usize> {
    let mut first = HashMap::new();
    // Both zeros are one.
    let bits = |row: ArrayView1<'_, f32>| {
        row.iter()
            .map(|v| (v + 0.0).to_bits())
            .collect::<Vec<u32>>()
    };
    vectors
        .rows()
        .into_iter()
        .enumerate()
        .map(|(i, row)| *first.entry(bits(row)).or_insert(i))
        .collect()
}

/// Deals what a pair of rows did out to the judgements behind it, by what they said of it.
fn shares<K: std::hash::Hash + Eq>(
    judged: impl Iterator<Item = (K, f64)> + Clone,
    influence: &HashMap<K, f64>,
) -> Vec<f64> {
    let mut sums: HashMap<K, f64> = HashMap::new();
    for (key, said) in judged.clone() {
        *sums.entry(key).or_default() += said;
    }
    judged
        .map(|(key, said)| match (influence.get(&key), sums.get(&key)) {
            (Some(influence), Some(sum)) if *sum != 0.0 => influence * said / sum,
            _ => 0.0,
        })
        .collect()
}
