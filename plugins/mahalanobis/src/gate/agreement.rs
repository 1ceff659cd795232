//! The evidence that judgements agree with similarity at all, which may be looked at any number of
//! times.
//!
//! A judge who tosses a coin, or says the reverse of what is meant, teaches nothing, and yet some
//! candidate looks better by chance if one looks often enough: on judgements at random, a test at
//! 95 % confidence passes one candidate in twenty *each time*. So a candidate has to pass a second
//! test, of the hypothesis that judges choose among the results of a query at random.
//!
//! Under that hypothesis the number `U` of (relevant, irrelevant) results of a query in the right
//! order of distance has the distribution of Mann and Whitney (1947), with the mean `r i / 2` and the
//! variance `r i (r + i + 1) / 12` for `r` relevant and `i` irrelevant results. The standardised `z`
//! is sub-Gaussian, `E exp(l z) <= exp(l^2 / 2)` for every `l` (`tests::is_sub_gaussian`), and queries
//! are independent. So
//!
//! `e = mean over l of exp(l sum z - n l^2 / 2)`
//!
//! over the `n` queries judged so far is a non-negative supermartingale that starts at 1: an
//! e-process. By Ville's inequality the chance that it is *ever* `1 / alpha` or more, at whatever
//! times one looks, is at most `alpha` (Ramdas et al., *Game-theoretic statistics and safe
//! anytime-valid inference*, 2023). Judges who choose against similarity make it smaller still.
//!
//! The distances are Euclid's, and those of the cross-fitted candidate, whose metrics never saw the
//! query that they measure; the mean of both processes is taken, so that either may bring the
//! evidence. Items judged as pairs are counted by fold, all similar pairs against all dissimilar
//! ones; there the figure holds for a look, and not for all looks together.

/// The values of `l` that are averaged over: from small agreement of many queries to strong
/// agreement of few.
const BETS: [f64; 5] = [0.2, 0.4, 0.7, 1.1, 1.6];

/// Greatest logarithm of an e-value, so that it stays finite.
const MOST: f64 = 100.0;

/// The standardised number of (relevant, irrelevant) results in the right order: 0 on average where
/// they are chosen at random, above 0 where relevant ones are nearer. Ties count half. `None`
/// without results of both kinds.
pub(super) fn standardised(relevant: &[f64], irrelevant: &[f64]) -> Option<f64> {
    if relevant.is_empty() || irrelevant.is_empty() {
        return None;
    }
    let mut sorted = irrelevant.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let ordered: f64 = relevant
        .iter()
        .map(|distance| {
            let up_to = sorted.partition_point(|other| other <= distance);
            let below = sorted.partition_point(|other| other < distance);
            (sorted.len() - up_to) as f64 + 0.5 * (up_to - below) as f64
        })
        .sum();
    let (r, i) = (relevant.len() as f64, irrelevant.len() as f64);
    let deviation = (r * i * (r + i + 1.0) / 12.0).sqrt();
    Some((ordered - 0.5 * r * i) / deviation)
}

/// The e-value of standardised numbers: 1 says nothing, 20 or more happens to a judge who chooses at
/// random with a chance of at most 5 %.
pub(super) fn evidence(standardised: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = standardised.fold((0.0, 0.0), |(sum, count), z| (sum + z, count + 1.0));
    let exponent = |bet: f64| bet * sum - count * bet * bet / 2.0;
    BETS.into_iter()
        .map(|bet| exponent(bet).min(MOST).exp())
        .sum::<f64>()
        / BETS.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of orders of `r` relevant and `i` irrelevant results by `U`.
    fn orders(r: usize, i: usize) -> Vec<f64> {
        if r == 0 || i == 0 {
            return vec![1.0];
        }
        let mut counts = vec![0.0; r * i + 1];
        let nearest_is_relevant = orders(r - 1, i);
        let nearest_is_irrelevant = orders(r, i - 1);
        for (u, count) in nearest_is_relevant.into_iter().enumerate() {
            counts[u + i] += count;
        }
        for (u, count) in nearest_is_irrelevant.into_iter().enumerate() {
            counts[u] += count;
        }
        counts
    }

    #[test]
    fn is_sub_gaussian() {
        for r in 1..=8 {
            for i in 1..=8 {
                let counts = orders(r, i);
                let all: f64 = counts.iter().sum();
                let deviation = ((r * i * (r + i + 1)) as f64 / 12.0).sqrt();
                for bet in BETS {
                    let mean: f64 = counts
                        .iter()
                        .enumerate()
                        .map(|(u, count)| {
                            let z = (u as f64 - (r * i) as f64 / 2.0) / deviation;
                            count / all * (bet * z).exp()
                        })
                        .sum();
                    assert!(
                        mean <= (bet * bet / 2.0).exp() + 1e-12,
                        "{r} and {i} at {bet}"
                    );
                }
            }
        }
    }

    #[test]
    fn results_in_the_right_order_are_evidence_and_those_in_the_reverse_are_none() {
        let (near, far) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
        let right = standardised(&near, &far).expect("both kinds");
        assert!((right - 4.5 / 5.25_f64.sqrt()).abs() < 1e-12);
        assert_eq!(standardised(&far, &near), Some(-right));
        assert_eq!(standardised(&[1.0, 1.0], &[1.0]), Some(0.0));
        assert_eq!(standardised(&near, &[]), None);
        assert_eq!(evidence(std::iter::empty()), 1.0);
        assert!(evidence(std::iter::repeat_n(right, 5)) > 20.0);
        assert!(evidence(std::iter::repeat_n(-right, 5)) < 0.2);
        assert!(evidence(std::iter::repeat_n(0.0, 5)) < 1.0);
    }

    #[test]
    fn a_coin_seldom_makes_evidence_however_often_one_looks() {
        let mut random = affinis_testkit::Random(3);
        let (mut found, lives) = (0, 2_000);
        for _ in 0..lives {
            let mut so_far = Vec::new();
            let mut ever = 0.0_f64;
            for _ in 0..60 {
                let (mut relevant, mut irrelevant) = (Vec::new(), Vec::new());
                for rank in 0..10 {
                    if random.next().is_multiple_of(2) {
                        relevant.push(f64::from(rank));
                    } else {
                        irrelevant.push(f64::from(rank));
                    }
                }
                so_far.extend(standardised(&relevant, &irrelevant));
                ever = ever.max(evidence(so_far.iter().copied()));
            }
            found += usize::from(ever >= 20.0);
        }
        assert!(found * 20 <= lives, "{found} of {lives}");
    }
}
