//! Interleaving of two rankings for a [trial](super::trial), and the evidence of its outcomes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// The metric of a trial that an answer was drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Team {
    /// The version that was active.
    Champion,
    /// The version on trial.
    Challenger,
}

/// Draws `k` ids from two rankings in turn; in each round a coin says which one begins.
pub(super) fn draft(
    champion: &[String],
    challenger: &[String],
    k: usize,
    coin: u64,
) -> Vec<(String, Team)> {
    let mut coins = fastrand::Rng::with_seed(coin);
    let mut chosen: HashSet<&str> = HashSet::new();
    let mut drafted = Vec::with_capacity(k);
    let mut rankings = [champion.iter(), challenger.iter()];
    while drafted.len() < k {
        let first = usize::from(coins.bool());
        let before = drafted.len();
        for side in [first, 1 - first] {
            if let Some(id) = rankings[side].find(|id| !chosen.contains(id.as_str()))
                && drafted.len() < k
            {
                chosen.insert(id);
                let team = [Team::Champion, Team::Challenger][side];
                drafted.push((id.clone(), team));
            }
        }
        if drafted.len() == before {
            break;
        }
    }
    drafted
}

/// The evidence of won and lost contests that the winner of most is better:
/// `2 * 2^n * integral_{1/2}^1 p^w (1 - p)^l dp = sum_{i <= w} C(n + 1, i) / ((n + 1) C(n, w))`.
pub(super) fn evidence(wins: u64, losses: u64) -> f64 {
    let (n, losses) = (wins as f64 + losses as f64, losses as f64);
    // Each binomial as a multiple of C(n, w), from the greatest index down: C(n + 1, w) / C(n, w) =
    // (n + 1) / (l + 1).
    let mut term = 1.0 / (losses + 1.0);
    let mut sum = term;
    for i in (1..=wins).rev() {
        let ratio = i as f64 / (n + 2.0 - i as f64);
        term *= ratio;
        sum += term;
        // What follows is smaller still, or cannot be told from infinite.
        if !sum.is_finite() || ratio < 1.0 && term < sum * f64::EPSILON / n {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_the_mixture_of_likelihood_ratios() {
        assert_eq!(evidence(0, 0), 1.0);
        // Counts that nobody counted end too.
        assert_eq!(evidence(u64::MAX, 0), f64::INFINITY);
        assert!(evidence(0, u64::MAX) < 1e-15);
        assert!(evidence(3_000_000_000, 3_000_000_000) < 1e-3);
        for (w, l) in [(1, 0), (0, 1), (5, 2), (30, 40), (60, 20)] {
            let steps = 200_000;
            let integral: f64 = (0..steps)
                .map(|i| 0.5 + 0.5 * (f64::from(i) + 0.5) / f64::from(steps))
                .map(|p| f64::from(w) * (2.0 * p).ln() + f64::from(l) * (2.0 * (1.0 - p)).ln())
                .map(|log| log.exp() / f64::from(steps))
                .sum();
            let found = evidence(w as u64, l as u64);
            assert!(
                (found - integral).abs() < 1e-4 * integral,
                "{w} and {l}: {found} for {integral}"
            );
        }
        assert!(evidence(100_000, 0).is_finite() || evidence(100_000, 0) == f64::INFINITY);
    }

    #[test]
    fn a_fair_coin_is_rarely_decided_and_a_loaded_one_soon() {
        let mut random = fastrand::Rng::with_seed(4);
        let mut run = |rate: f64| {
            let (mut wins, mut losses) = (0, 0);
            for _ in 0..500 {
                let won = u64::from(random.f64() < rate);
                wins += won;
                losses += 1 - won;
                if evidence(wins, losses) >= 20.0 {
                    return (true, wins + losses);
                }
            }
            (false, wins + losses)
        };
        let wrong = (0..1000).filter(|_| run(0.5).0).count();
        assert!(wrong <= 50, "alpha is .05: {wrong} of 1,000");
        let right: Vec<u64> = (0..200)
            .map(|_| run(0.65))
            .filter(|r| r.0)
            .map(|r| r.1)
            .collect();
        assert!(right.len() > 190, "{}", right.len());
    }

    #[test]
    fn both_metrics_draw_equally_and_no_item_twice() {
        let names = |ids: &mut dyn Iterator<Item = u32>| -> Vec<String> {
            ids.map(|id| id.to_string()).collect()
        };
        let (a, b) = (names(&mut (0..20)), names(&mut (10..30).rev()));
        let mut first = 0;
        for coin in 0..400 {
            let drafted = draft(&a, &b, 10, coin);
            let distinct: HashSet<&String> = drafted.iter().map(|d| &d.0).collect();
            assert_eq!((drafted.len(), distinct.len()), (10, 10));
            assert_eq!(drafted.iter().filter(|d| d.1 == Team::Champion).count(), 5);
            first += usize::from(drafted[0].1 == Team::Champion);
            assert_eq!(drafted, draft(&a, &b, 10, coin));
        }
        assert!((150..250).contains(&first), "{first}");
        assert_eq!(
            draft(
                &names(&mut [1, 2].into_iter()),
                &names(&mut [2, 1].into_iter()),
                10,
                3
            )
            .len(),
            2,
            "both lists end"
        );
        assert_eq!(
            draft(&[], &["5".to_owned()], 3, 0),
            [("5".to_owned(), Team::Challenger)]
        );
    }
}
