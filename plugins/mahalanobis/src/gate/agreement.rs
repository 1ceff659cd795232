//! The evidence that judgements agree with similarity at all, which may be looked at any number of
//! times.
//!
//! A judge who tosses a coin, or says the reverse of what is meant, teaches nothing, and yet some
//! candidate looks better by chance if one looks often enough: on judgements at random, a test at
//! 95 % confidence passes one candidate in twenty *each time*. So a candidate has to pass a second
//! test, of the hypothesis that judges choose among the results of a query at random.
//!
//! Under that hypothesis the `r` relevant ones among the `n` results of a query are any `r` of them,
//! each choice as likely as the other. So for any scores `s` of the results that do not depend on
//! the choice, and any `l`, the ratio
//!
//! `exp(l T) / E exp(l T)`, `T = sum of s over the relevant results`,
//!
//! has the mean 1. Scores are distances below the query's mean, scaled to give `T` a variance of 1
//! where a query's distances vary as those of all queries do. `E exp(l T)` is the mean over all
//! choices, computed exactly: the elementary symmetric polynomial of `exp(l s)` of degree `r` over the
//! number of choices. Queries are independent, so
//!
//! `e = mean over l of the product over queries of these ratios`
//!
//! over the queries judged so far is a non-negative martingale that starts at 1: an e-process. By
//! Ville's inequality the chance that it is *ever* `1 / alpha` or more, at whatever times one looks, is
//! at most `alpha` (Ramdas et al., *Game-theoretic statistics and safe anytime-valid inference*, 2023).
//! Judges who choose against similarity make it smaller still.
//!
//! The distances are Euclid's, and those of the cross-fitted candidate, whose metrics never saw the
//! query that they measure; the mean of both processes is taken, so that either may bring the
//! evidence. Items judged as pairs are counted by fold, all similar pairs against all dissimilar
//! ones; there the figure holds for a look, and not for all looks together.

use super::comparison::Kind;

/// The values of `l` that are averaged over: from small agreement of many queries to strong
/// agreement of few.
const BETS: [f64; 5] = [0.2, 0.4, 0.7, 1.1, 1.6];

/// Greatest logarithm of an e-value, so that it stays finite.
const MOST: f64 = 100.0;

/// Largest number of steps by which the mean over all choices is computed for one query.
const MOST_STEPS: usize = 1 << 20;

/// The logarithms of the ratios of one query, one for each of [`BETS`].
type Ratios = [f64; BETS.len()];

/// The evidence of all judged queries, and that of all judged pairs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    pub(super) queries: f64,
    pub(super) pairs: f64,
}

impl Evidence {
    /// The mean of two processes, which is one too.
    pub(super) fn mean(self, other: Self) -> Self {
        Self {
            queries: 0.5 * (self.queries + other.queries),
            pairs: 0.5 * (self.pairs + other.pairs),
        }
    }

    pub(super) fn of(self, kind: Kind) -> f64 {
        match kind {
            Kind::Queries => self.queries,
            Kind::Pairs => self.pairs,
        }
    }
}

/// Squared distances of one query's results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Results<'a> {
    pub(super) relevant: &'a [f64],
    pub(super) irrelevant: &'a [f64],
}

/// How distances of one query vary.
struct Spread {
    mean: f64,
    /// The mean of their sizes, above 0.
    size: f64,
    /// Their variance in units of the square of their size.
    variance: f64,
}

impl Results<'_> {
    fn count(self) -> usize {
        self.relevant.len() + self.irrelevant.len()
    }

    /// `None` where all distances are 0.
    fn spread(self) -> Option<Spread> {
        let all = || self.relevant.iter().chain(self.irrelevant).copied();
        let n = self.count() as f64;
        let mean = all().sum::<f64>() / n;
        let size = all().map(f64::abs).sum::<f64>() / n;
        let variance = all().map(|d| (d - mean).powi(2)).sum::<f64>() / n;
        (size > 0.0).then(|| Spread {
            mean,
            size,
            variance: variance / (size * size),
        })
    }

    /// The logarithms of the ratios, where the mean variance of all queries is `pooled`. `None`
    /// without results of both kinds, and where their distances are equal.
    fn ratios(self, spread: &Spread, pooled: f64) -> Option<Ratios> {
        if self.relevant.is_empty() || self.irrelevant.is_empty() {
            return None;
        }
        let deviation = (0.5 * (spread.variance + pooled)).sqrt() * spread.size;
        if deviation <= 0.0 {
            return None;
        }
        let (r, i) = (self.relevant.len() as f64, self.irrelevant.len() as f64);
        // The variance of a sum of `r` of `n` numbers drawn without replacement.
        let of_sum = (r * i / (r + i - 1.0)).sqrt();
        let score = |distance: &f64| (spread.mean - distance) / (deviation * of_sum);
        let all = self.relevant.iter().chain(self.irrelevant);
        let mut scores: Vec<f64> = all.map(score).collect();
        let sum: f64 = scores[..self.relevant.len()].iter().sum();
        // The scores sum to 0, so those that are left out say the same with the other sign.
        let degree = self.relevant.len().min(self.irrelevant.len());
        if degree < self.relevant.len() {
            for score in &mut scores {
                *score = -*score;
            }
        }
        Some(BETS.map(|bet| bet * sum - log_mean_of_choices(bet, &scores, degree)))
    }
}

/// `ln E exp(l T)` over all choices of a number of scores.
fn log_mean_of_choices(bet: f64, scores: &[f64], degree: usize) -> f64 {
    if degree * scores.len() > MOST_STEPS {
        return hoeffding(bet, scores, degree);
    }
    let mut means = vec![0.0; degree + 1];
    means[0] = 1.0;
    for (seen, score) in scores.iter().enumerate() {
        let (x, m) = ((bet * score).exp(), seen as f64 + 1.0);
        // The mean over the choices of `k` among `m`: without the last one, or with it.
        for k in (1..=degree.min(seen + 1)).rev() {
            let with = k as f64 / m;
            means[k] = (1.0 - with) * means[k] + with * x * means[k - 1];
        }
    }
    means[degree].ln()
}

/// An upper bound of `ln E exp(l T)`: that of Hoeffding (1963) for independent draws, which holds
/// without replacement too.
fn hoeffding(bet: f64, scores: &[f64], degree: usize) -> f64 {
    let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    degree as f64 * (bet * (most - least)).powi(2) / 8.0
}

/// The e-value of some queries: 1 says nothing, 20 or more happens to a judge who chooses at random
/// with a chance of at most 5 %.
pub(super) fn of_queries(queries: &[Results<'_>]) -> f64 {
    let spreads: Vec<(Results<'_>, Spread)> = queries
        .iter()
        .filter_map(|results| Some((*results, results.spread()?)))
        .collect();
    let variances = spreads.iter().map(|(_, spread)| spread.variance);
    let pooled = variances.sum::<f64>() / spreads.len().max(1) as f64;
    let ratios = spreads.iter();
    of_ratios(ratios.filter_map(|(results, spread)| results.ratios(spread, pooled)))
}

/// The e-value of folds of pairs, each measured by a metric of its own.
pub(super) fn of_folds<'a>(folds: impl Iterator<Item = Results<'a>>) -> f64 {
    of_ratios(folds.filter_map(|pairs| {
        let spread = pairs.spread()?;
        pairs.ratios(&spread, spread.variance)
    }))
}

fn of_ratios(queries: impl Iterator<Item = Ratios>) -> f64 {
    let mut sums = [0.0; BETS.len()];
    for ratios in queries {
        for (sum, ratio) in sums.iter_mut().zip(ratios) {
            *sum += ratio;
        }
    }
    sums.map(|sum| sum.min(MOST).exp()).iter().sum::<f64>() / BETS.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratios(relevant: &[f64], irrelevant: &[f64]) -> Option<Ratios> {
        let results = Results {
            relevant,
            irrelevant,
        };
        let spread = results.spread()?;
        results.ratios(&spread, spread.variance)
    }

    /// All choices of `r` of some numbers, with the numbers that are left.
    fn choices(numbers: &[f64], r: usize) -> Vec<(Vec<f64>, Vec<f64>)> {
        let is_chosen = |set: usize, at: usize| set >> at & 1 == 1;
        (0..1 << numbers.len())
            .map(|set: usize| {
                let of = |chosen| {
                    let numbers = numbers.iter().enumerate();
                    let of = numbers.filter(move |(at, _)| is_chosen(set, *at) == chosen);
                    of.map(|(_, number)| *number).collect::<Vec<_>>()
                };
                (of(true), of(false))
            })
            .filter(|(chosen, _)| chosen.len() == r)
            .collect()
    }

    #[test]
    fn the_mean_ratio_over_all_choices_is_one() {
        let distances = [0.2, 0.9, 1.0, 1.7, 2.2, 4.0, 4.0];
        for r in 1..distances.len() {
            let all: Vec<Ratios> = choices(&distances, r)
                .iter()
                .map(|(relevant, irrelevant)| ratios(relevant, irrelevant).expect("both kinds"))
                .collect();
            for bet in 0..BETS.len() {
                let sum: f64 = all.iter().map(|ratios| ratios[bet].exp()).sum();
                let mean = sum / all.len() as f64;
                assert!((mean - 1.0).abs() < 1e-9, "{mean} for {r} of 7 at {bet}");
            }
        }
    }

    #[test]
    fn the_bound_for_many_results_is_one() {
        let scores = [-1.5, -0.5, 0.0, 0.5, 1.5];
        for bet in BETS {
            let exact = log_mean_of_choices(bet, &scores, 2);
            assert!(exact <= hoeffding(bet, &scores, 2) + 1e-12);
        }
    }

    #[test]
    fn results_in_the_right_order_are_evidence_and_those_in_the_reverse_are_none() {
        let (near, far) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
        let right = ratios(&near, &far).expect("both kinds");
        let reverse = ratios(&far, &near).expect("both kinds");
        let of = |ratios: &Ratios, times: usize| of_ratios(std::iter::repeat_n(*ratios, times));
        assert!((of(&right, 0) - 1.0).abs() < 1e-12);
        assert!(of(&right, 5) > 20.0 && of(&reverse, 5) < 0.2);
        assert!(of(&right, 100_000).is_finite());
        assert_eq!(ratios(&near, &[]), None);
        assert_eq!(ratios(&[1.0, 1.0], &[1.0]), None);
        assert_eq!(ratios(&[0.0], &[0.0]), None);
    }

    #[test]
    fn a_coin_seldom_makes_evidence_however_often_one_looks() {
        let mut random = affinis_testkit::Random(3);
        let (mut found, lives) = (0, 1_000);
        for _ in 0..lives {
            let mut so_far = Vec::new();
            let mut ever = 0.0_f64;
            for _ in 0..60 {
                let (mut relevant, mut irrelevant) = (Vec::new(), Vec::new());
                for rank in 1..=10 {
                    let distance = f64::from(rank).sqrt();
                    if random.next().is_multiple_of(2) {
                        relevant.push(distance);
                    } else {
                        irrelevant.push(distance);
                    }
                }
                so_far.extend(ratios(&relevant, &irrelevant));
                ever = ever.max(of_ratios(so_far.iter().copied()));
            }
            found += usize::from(ever >= 20.0);
        }
        assert!(found * 20 <= lives, "{found} of {lives}");
    }
}
