//! What each judgement contributes to the posterior scatters, in the direction of a gradient.

use std::collections::HashMap;
use std::hash::Hash;

use affinis::plugin::{Examples, Influences};
use ndarray::{Array1, Array2};

use super::chunklet::Chunklet;
use crate::judgements::{JudgedQuery, Judgements};
use crate::scatter;

/// Weight up to which a sum of contributions is rounding.
const NO_WEIGHT: f64 = 1e-9;
/// Trace up to which a sum of contributions is rounding.
const NO_TRACE: f64 = 1e-12;

/// One posterior scatter, `(n tr(M) + count prior) / (n + count)`, in the direction of a gradient.
pub(super) struct Side {
    /// The gradient `G` of the distance in this scatter (`d x d`).
    pub(super) gradient: Array2<f64>,
    /// `<G, prior>`.
    prior: f64,
    count: f64,
}

/// The contribution of judgements to one scatter, in the direction of a gradient `G`; contributions
/// add up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contribution {
    /// `<G, sum w zz'>`.
    pub(super) form: f64,
    /// `trace sum w zz'`.
    pub(super) trace: f64,
    pub(super) weight: f64,
    pub(super) square_weight: f64,
}

impl Contribution {
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

/// Contributions to both scatters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contributions {
    pub(super) similar: Contribution,
    pub(super) dissimilar: Contribution,
}

impl Contributions {
    fn add(&mut self, other: Self) {
        self.similar.add(other.similar);
        self.dissimilar.add(other.dissimilar);
    }

    fn without(self, other: Self) -> Self {
        Self {
            similar: self.similar.without(other.similar),
            dissimilar: self.dissimilar.without(other.dissimilar),
        }
    }
}

/// The contributions of a query: of all its judged items together, and of each, the relevant ones
/// first.
#[derive(Default)]
struct OfQuery {
    all: Contributions,
    each: Vec<Contributions>,
}

impl Side {
    pub(super) fn new(gradient: Array2<f64>, prior: &Array2<f64>, count: f64) -> Self {
        Self {
            prior: (&gradient * prior).sum(),
            count,
            gradient,
        }
    }

    /// The value `<G, posterior>` for judgements of some contribution.
    fn value(&self, judged: Contribution) -> f64 {
        if judged.weight <= NO_WEIGHT || judged.trace <= NO_TRACE {
            return self.prior;
        }
        let n = judged
            .weight
            .min(judged.weight * (judged.weight / judged.square_weight));
        let form = judged.form * self.gradient.nrows() as f64 / judged.trace;
        (n * form + self.count * self.prior) / (n + self.count)
    }

    /// The contribution of a single difference of some weight.
    fn of_difference(&self, z: &Array1<f64>, weight: f64) -> Contribution {
        Contribution {
            form: weight * z.dot(&self.gradient.dot(z)),
            trace: weight * z.dot(z),
            weight,
            square_weight: weight * weight,
        }
    }
}

/// Both posterior scatters.
pub(super) struct Posterior {
    pub(super) similar: Side,
    pub(super) dissimilar: Side,
}

impl Posterior {
    /// The influences of all judgements of a task, to first order.
    pub(super) fn influences(
        &self,
        judgements: &Judgements<'_>,
        examples: &Examples,
    ) -> Influences {
        let chunklets = scatter::as_chunklets(judgements);
        let mut total = Contributions::default();
        let mut graded: HashMap<(usize, usize), Contributions> = HashMap::new();
        for query in &judgements.queries {
            let OfQuery { all, each } = if chunklets {
                self.of_chunklet(judgements, query)
            } else {
                self.of_results(judgements, query)
            };
            total.add(all);
            let keys = query.items().map(|item| (query.row, item.row));
            graded.extend(keys.zip(each));
        }
        let mut paired: HashMap<(usize, usize), Contributions> = HashMap::new();
        for pair in &judgements.pairs {
            let z: Array1<f64> = judgements.difference(pair.a, pair.b).collect();
            let own = self.of_difference(&z, pair.weight, pair.similar);
            total.add(own);
            paired.insert(unordered(pair.a, pair.b), own);
        }

        let first = |row: usize| judgements.first_rows[row];
        let graded_statements = examples.graded.iter().map(|g| {
            let weight = f64::from(g.weight) * f64::from(g.grade);
            ((first(g.query), first(g.item)), weight)
        });
        let paired_statements = examples.pairs.iter().map(|p| {
            let weight = f64::from(p.weight);
            let weight = if p.similar { weight } else { -weight };
            (unordered(first(p.a), first(p.b)), weight)
        });
        Influences::new(
            shares(graded_statements, &self.changes(&total, graded)),
            shares(paired_statements, &self.changes(&total, paired)),
        )
    }

    /// The change of the distance by each of some contributions to a total.
    fn changes(
        &self,
        total: &Contributions,
        each: HashMap<(usize, usize), Contributions>,
    ) -> HashMap<(usize, usize), f64> {
        let change = |own: Contributions| {
            let without = total.without(own);
            self.similar.value(total.similar) - self.similar.value(without.similar)
                + self.dissimilar.value(total.dissimilar)
                - self.dissimilar.value(without.dissimilar)
        };
        let each = each.into_iter();
        each.map(|(rows, own)| (rows, change(own))).collect()
    }

    fn of_difference(&self, z: &Array1<f64>, weight: f64, similar: bool) -> Contributions {
        let mut own = Contributions::default();
        if similar {
            own.similar = self.similar.of_difference(z, weight);
        } else {
            own.dissimilar = self.dissimilar.of_difference(z, weight);
        }
        own
    }

    /// The contributions of a query that is learned from as plain differences.
    fn of_results(&self, judgements: &Judgements<'_>, query: &JudgedQuery) -> OfQuery {
        let mut of_query = OfQuery::default();
        for (i, judged) in query.items().enumerate() {
            let z: Array1<f64> = judgements.difference(judged.row, query.row).collect();
            let own = self.of_difference(&z, judged.weight, i < query.relevant.len());
            of_query.all.add(own);
            of_query.each.push(own);
        }
        of_query
    }

    /// The contributions of a query that is learned from as a chunklet. Those of a relevant item
    /// include the shift of the mean.
    fn of_chunklet(&self, judgements: &Judgements<'_>, query: &JudgedQuery) -> OfQuery {
        let chunklet = Chunklet::new(judgements, query, self);
        let all = chunklet.contributions(None, None);
        let relevant = (0..query.relevant.len()).map(|i| chunklet.contributions(Some(i), None));
        let irrelevant = (0..query.irrelevant.len()).map(|i| chunklet.contributions(None, Some(i)));
        OfQuery {
            all,
            each: relevant
                .chain(irrelevant)
                .map(|rest| all.without(rest))
                .collect(),
        }
    }
}

/// Two rows, the lesser first.
fn unordered(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// The influence of each judgement: the change by its pair of rows, dealt out to the judgements
/// that were summed for these rows in proportion to their signed weights.
fn shares<K: Hash + Eq>(
    judged: impl Iterator<Item = (K, f64)> + Clone,
    changes: &HashMap<K, f64>,
) -> Vec<f64> {
    let mut sums: HashMap<K, f64> = HashMap::new();
    for (rows, weight) in judged.clone() {
        *sums.entry(rows).or_default() += weight;
    }
    judged
        .map(
            |(rows, weight)| match (changes.get(&rows), sums.get(&rows)) {
                (Some(change), Some(sum)) if *sum != 0.0 => change * weight / sum,
                _ => 0.0,
            },
        )
        .collect()
}
