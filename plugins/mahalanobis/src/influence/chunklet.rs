//! The contributions of a chunklet, a query with its relevant results, to both scatters, with and
//! without one of its judged items.

use ndarray::{Array1, Array2, Axis};

use super::contributions::{Contribution, Contributions, Posterior};
use crate::judgements::{JudgedItem, JudgedQuery, Judgements};

/// The judged items of a chunklet in the directions of both gradients.
pub(super) struct Chunklet {
    /// Weights `w` of the relevant items.
    relevant: Array1<f64>,
    /// Weights `v` of the irrelevant items.
    irrelevant: Array1<f64>,
    /// Under the gradient in the scatter of similar pairs.
    similar: Forms,
    /// Under the gradient in the scatter of dissimilar pairs.
    dissimilar: Forms,
    /// Under the identity, for traces.
    trace: Forms,
}

/// The values of a symmetric form `G` (`d x d`) at a chunklet's judged items relative to the query;
/// `s = sum w x` over the relevant items `x`, `u = sum v y` over the irrelevant items `y`.
struct Forms {
    /// `x'Gx`.
    relevant: Array1<f64>,
    /// `y'Gy`.
    irrelevant: Array1<f64>,
    /// `x'Gs`.
    relevant_with_sum: Array1<f64>,
    /// `y'Gs`.
    irrelevant_with_sum: Array1<f64>,
    /// `x'Gu`.
    relevant_with_irrelevant: Array1<f64>,
    /// `s'Gs`.
    sum: f64,
}

/// The judged items relative to the query: `x` and `y`, a row each.
struct Differences {
    relevant: Array2<f64>,
    irrelevant: Array2<f64>,
}

impl Differences {
    /// The values of the form that maps rows `z` to `through(z) = z G`.
    fn forms(&self, query: &JudgedQuery, through: impl Fn(&Array2<f64>) -> Array2<f64>) -> Forms {
        let (gx, gy) = (through(&self.relevant), through(&self.irrelevant));
        let s = weights(&query.relevant).dot(&self.relevant);
        let u = weights(&query.irrelevant).dot(&self.irrelevant);
        let relevant_with_sum = gx.dot(&s);
        let weighted = relevant_with_sum.iter().zip(&query.relevant);
        Forms {
            sum: weighted.map(|(v, judged)| v * judged.weight).sum(),
            relevant: (&gx * &self.relevant).sum_axis(Axis(1)),
            irrelevant: (&gy * &self.irrelevant).sum_axis(Axis(1)),
            relevant_with_irrelevant: gx.dot(&u),
            irrelevant_with_sum: gy.dot(&s),
            relevant_with_sum,
        }
    }
}

/// The weights of judged items.
fn weights(judged: &[JudgedItem]) -> Array1<f64> {
    judged.iter().map(|judged| judged.weight).collect()
}

/// The differences of judged items from their query, a row each.
fn differences(
    judgements: &Judgements<'_>,
    query: &JudgedQuery,
    judged: &[JudgedItem],
) -> Array2<f64> {
    let mut rows = Array2::zeros((judged.len(), judgements.vectors.ncols()));
    for (mut row, judged) in rows.rows_mut().into_iter().zip(judged) {
        row.iter_mut()
            .zip(judgements.difference(judged.row, query.row))
            .for_each(|(to, z)| *to = z);
    }
    rows
}

impl Chunklet {
    pub(super) fn new(
        judgements: &Judgements<'_>,
        query: &JudgedQuery,
        posterior: &Posterior,
    ) -> Self {
        let items = Differences {
            relevant: differences(judgements, query, &query.relevant),
            irrelevant: differences(judgements, query, &query.irrelevant),
        };
        Self {
            relevant: weights(&query.relevant),
            irrelevant: weights(&query.irrelevant),
            similar: items.forms(query, |z| z.dot(&posterior.similar.gradient)),
            dissimilar: items.forms(query, |z| z.dot(&posterior.dissimilar.gradient)),
            trace: items.forms(query, Clone::clone),
        }
    }

    /// The contributions of the chunklet without one of its relevant and one of its irrelevant
    /// items.
    pub(super) fn contributions(
        &self,
        relevant: Option<usize>,
        irrelevant: Option<usize>,
    ) -> Contributions {
        let rest = Rest::new(self, relevant, irrelevant);
        let squares = |of: &Array1<f64>, removed: f64| of.dot(of) - removed * removed;
        Contributions {
            similar: Contribution {
                form: rest.similar(&self.similar),
                trace: rest.similar(&self.trace),
                weight: rest.weight,
                square_weight: squares(&self.relevant, rest.relevant_weight),
            },
            dissimilar: Contribution {
                form: rest.dissimilar(&self.dissimilar),
                trace: rest.dissimilar(&self.trace),
                weight: self.irrelevant.sum() - rest.irrelevant_weight,
                square_weight: squares(&self.irrelevant, rest.irrelevant_weight),
            },
        }
    }
}

/// A chunklet without one of its relevant and one of its irrelevant items.
struct Rest<'a> {
    chunklet: &'a Chunklet,
    /// The removed relevant item and its weight.
    relevant: Option<usize>,
    relevant_weight: f64,
    /// The removed irrelevant item and its weight.
    irrelevant: Option<usize>,
    irrelevant_weight: f64,
    /// Whether no relevant item is left.
    is_empty: bool,
    /// The weight of the relevant items that are left.
    weight: f64,
    /// The weight of all members: of these items and of the query.
    members: f64,
}

/// The number of an item, 0 without one.
fn at(of: &Array1<f64>, item: Option<usize>) -> f64 {
    item.map_or(0.0, |i| of[i])
}

impl<'a> Rest<'a> {
    fn new(chunklet: &'a Chunklet, relevant: Option<usize>, irrelevant: Option<usize>) -> Self {
        let weights = &chunklet.relevant;
        let relevant_weight = at(weights, relevant);
        let left = weights.len() - usize::from(relevant.is_some());
        let is_empty = left == 0;
        let weight = if is_empty {
            0.0
        } else {
            weights.sum() - relevant_weight
        };
        Self {
            chunklet,
            relevant,
            relevant_weight,
            irrelevant,
            irrelevant_weight: at(&chunklet.irrelevant, irrelevant),
            is_empty,
            weight,
            // The query is a member of its results' mean weight, and the mean itself where there
            // are none.
            members: if is_empty {
                1.0
            } else {
                weight + weight / left as f64
            },
        }
    }

    /// `s'Gs` without the removed relevant item.
    fn square(&self, f: &Forms) -> f64 {
        let w = self.relevant_weight;
        match self.relevant {
            _ if self.is_empty => 0.0,
            Some(i) => f.sum - 2.0 * w * f.relevant_with_sum[i] + w * w * f.relevant[i],
            None => f.sum,
        }
    }

    /// The value of the form at the scatter of similar pairs.
    fn similar(&self, f: &Forms) -> f64 {
        let own = if self.is_empty {
            0.0
        } else {
            self.chunklet.relevant.dot(&f.relevant)
                - self.relevant_weight * at(&f.relevant, self.relevant)
        };
        2.0 * (own - self.square(f) / self.members)
    }

    /// The value of the form at the scatter of dissimilar pairs.
    fn dissimilar(&self, f: &Forms) -> f64 {
        let v = &self.chunklet.irrelevant;
        let own =
            v.dot(&f.irrelevant) - self.irrelevant_weight * at(&f.irrelevant, self.irrelevant);
        let cross = match self.relevant {
            _ if self.is_empty => 0.0,
            Some(i) => {
                v.dot(&f.irrelevant_with_sum) - self.relevant_weight * f.relevant_with_irrelevant[i]
            }
            None => {
                v.dot(&f.irrelevant_with_sum)
                    - self.irrelevant_weight * at(&f.irrelevant_with_sum, self.irrelevant)
            }
        };
        own - 2.0 * cross / self.members
            + (v.sum() - self.irrelevant_weight) * self.square(f) / (self.members * self.members)
    }
}
