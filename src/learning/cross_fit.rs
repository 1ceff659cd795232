//! Choices by cross-fitting: made on one half of the queries and scored on the other, both ways.
//!
//! A query is scored by the area under the ROC curve of its results: the share of pairs of a
//! relevant and an irrelevant one that are ordered rightly. It weighs `sqrt(r i / (r + i))` by their
//! numbers.

/// Least number of queries with both kinds of results.
pub(super) const MIN_QUERIES: usize = 8;
/// Standard errors of a bound with 95 % confidence.
pub(super) const CONFIDENCE_95: f64 = 1.64;
/// Standard errors of a bound with 99 % confidence.
pub(super) const CONFIDENCE_99: f64 = 2.33;

/// Gains of one choice, one a scored query.
pub(super) struct Tried<C> {
    pub(super) choice: C,
    pub(super) gains: Vec<f64>,
}

/// A weighted mean with its standard error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean {
    pub(super) mean: f64,
    error: f64,
}

impl Mean {
    /// Of gains with their weights; an infinite error where there are fewer than two.
    pub(super) fn of(gains: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let total: f64 = gains.clone().map(|(_, weight)| weight).sum();
        let mean = gains
            .clone()
            .map(|(gain, weight)| gain * weight)
            .sum::<f64>()
            / total.max(f64::MIN_POSITIVE);
        let squares = gains
            .clone()
            .map(|(gain, weight)| (weight * (gain - mean)).powi(2));
        let n = gains.count() as f64;
        let error = if n < 2.0 {
            f64::INFINITY
        } else {
            (squares.sum::<f64>() * n / (n - 1.0)).sqrt() / total
        };
        Self { mean, error }
    }

    /// The mean less this many standard errors.
    pub(super) fn lower(self, standard_errors: f64) -> f64 {
        self.mean - standard_errors * self.error
    }

    /// The mean plus this many standard errors.
    pub(super) fn upper(self, standard_errors: f64) -> f64 {
        self.mean + standard_errors * self.error
    }
}

/// How a choice is made: the first whose mean gain is that of the best one, or less by at most this
/// many of its standard errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slack(pub(super) f64);

/// The choice on all queries.
pub(super) fn best<'a, C>(
    tried: &'a [Tried<C>],
    weights: &[f64],
    slack: Slack,
) -> Option<&'a Tried<C>> {
    best_of(tried, weights, slack, &|_| true)
}

/// The mean gain of what is chosen on the other half of the queries.
pub(super) fn gain<C>(tried: &[Tried<C>], weights: &[f64], slack: Slack) -> Mean {
    let mut cross_fitted: Vec<(f64, f64)> = Vec::with_capacity(weights.len());
    for half in [0, 1] {
        if let Some(best) = best_of(tried, weights, slack, &|at| at % 2 != half) {
            cross_fitted.extend(weighed(best, weights, &|at| at % 2 == half));
        }
    }
    Mean::of(cross_fitted.into_iter())
}

fn best_of<'a, C>(
    tried: &'a [Tried<C>],
    weights: &[f64],
    Slack(slack): Slack,
    takes: &dyn Fn(usize) -> bool,
) -> Option<&'a Tried<C>> {
    let mean = |tried: &Tried<C>| Mean::of(weighed(tried, weights, takes));
    let means: Vec<Mean> = tried.iter().map(mean).collect();
    let best = means.iter().max_by(|a, b| a.mean.total_cmp(&b.mean))?;
    let least = if slack > 0.0 {
        best.lower(slack)
    } else {
        best.mean
    };
    let mut good = tried.iter().zip(&means).filter(|(_, of)| of.mean >= least);
    good.next().map(|(tried, _)| tried)
}

/// Gains and weights of the queries that are taken.
fn weighed<'a, C>(
    tried: &'a Tried<C>,
    weights: &'a [f64],
    takes: &'a dyn Fn(usize) -> bool,
) -> impl Iterator<Item = (f64, f64)> + Clone + 'a {
    let gains = tried.gains.iter().zip(weights).enumerate();
    let taken = gains.filter(move |(at, _)| takes(*at));
    taken.map(|(_, (gain, weight))| (*gain, *weight))
}

/// The area under the ROC curve of results by a key that is smaller for better ones, each with
/// whether it is relevant.
pub(super) fn area(results: &[(f64, bool)]) -> f64 {
    let of_kind = |kind: bool| {
        let of_kind = results.iter().filter(move |(_, is)| *is == kind);
        of_kind.map(|(key, _)| *key)
    };
    let (mut right, mut pairs) = (0.0, 0.0);
    for relevant in of_kind(true) {
        for irrelevant in of_kind(false) {
            pairs += 1.0;
            right += match relevant.partial_cmp(&irrelevant) {
                Some(std::cmp::Ordering::Less) => 1.0,
                Some(std::cmp::Ordering::Equal) => 0.5,
                _ => 0.0,
            };
        }
    }
    right / f64::max(pairs, 1.0)
}

/// `sqrt(r i / (r + i))` of the numbers of relevant and irrelevant results; 0 where either is
/// missing.
pub(super) fn contrast_weight(results: impl Iterator<Item = bool> + Clone) -> f64 {
    let relevant = results.clone().filter(|is| *is).count() as f64;
    let irrelevant = results.count() as f64 - relevant;
    (relevant * irrelevant / (relevant + irrelevant).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        let results = [(1.0, true), (2.0, false), (3.0, true), (3.0, false)];
        assert_eq!(area(&results), 2.5 / 4.0);
        assert_eq!(area(&[(1.0, true)]), 0.0);
    }

    #[test]
    fn a_choice_is_scored_on_queries_that_did_not_make_it() {
        // One choice helps the even queries, another the odd ones: chosen on one half, each harms the other.
        let gains =
            |even: f64, odd: f64| (0..20).map(move |at| if at % 2 == 0 { even } else { odd });
        let tried = |choice, gains: Vec<f64>| Tried { choice, gains };
        let weights = vec![1.0; 20];
        let choices = [
            tried("even", gains(1.0, -0.5).collect()),
            tried("odd", gains(-0.5, 1.0).collect()),
        ];
        assert_eq!(gain(&choices, &weights, Slack(0.0)).mean, -0.5);
        let better = [
            tried("none", vec![0.0; 20]),
            tried("both", gains(0.5, 0.4).collect()),
        ];
        let found = gain(&better, &weights, Slack(0.0));
        assert!((found.mean - 0.45).abs() < 1e-12 && found.lower(CONFIDENCE_95) > 0.4);
        assert_eq!(
            best(&better, &weights, Slack(0.0)).map(|best| best.choice),
            Some("both")
        );
    }
}
