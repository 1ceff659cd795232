//! How much of what is learned one user's judgements may make up.

use std::collections::HashMap;

use crate::model::error::{Error, Result};

/// Refuses a share that is none.
pub(crate) fn check(share: f64) -> Result<()> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(Error::InvalidSetting {
        setting: "a user's share of the judgements",
        value: share.to_string(),
        allowed: "above 0 and at most 1".to_owned(),
    })
}

/// The greatest weight that a user's judgements may have together so that nobody's make up more
/// than `share` of all. Judgements without a user are the program's own, and are not limited. Where
/// there are too few users for that, nobody weighs more than the one who weighs least.
///
/// With the `m` heaviest at the limit `c` and the rest together `r`, `c = share (m c + r)`.
fn limit(mut totals: Vec<f64>, unnamed: f64, share: f64) -> f64 {
    totals.sort_by(|a, b| b.total_cmp(a));
    let mut rest = unnamed + totals.iter().sum::<f64>();
    for (limited, total) in totals.iter().enumerate() {
        let left = 1.0 - limited as f64 * share;
        if left <= 0.0 {
            break;
        }
        let limit = share * rest / left;
        if *total <= limit {
            return limit;
        }
        rest -= total;
    }
    let left = 1.0 - totals.len() as f64 * share;
    if unnamed > 0.0 && left > 0.0 {
        return share * unnamed / left;
    }
    totals.last().copied().unwrap_or(f64::INFINITY)
}

/// What the weights of each user's judgements are multiplied by.
pub(in crate::learning) fn scales<'a>(
    weights: impl Iterator<Item = (Option<&'a str>, f32)>,
    share: f64,
) -> HashMap<Option<&'a str>, f32> {
    let mut totals: HashMap<Option<&str>, f64> = HashMap::new();
    for (user, weight) in weights {
        *totals.entry(user).or_default() += f64::from(weight);
    }
    let unnamed = totals.get(&None).copied().unwrap_or(0.0);
    // Who weighs nothing is not the one who weighs least.
    let named = totals
        .iter()
        .filter(|(user, total)| user.is_some() && **total > 0.0);
    let limit = limit(named.map(|(_, total)| *total).collect(), unnamed, share);
    let scale = |(user, total): (Option<&'a str>, f64)| match user {
        Some(_) if total > limit => (user, (limit / total) as f32),
        _ => (user, 1.0),
    };
    totals.into_iter().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_makes_up_more_than_the_share() {
        type Given<'a> = &'a [(Option<&'a str>, f32)];
        let cases: [(Given<'_>, f64, &[f32]); 7] = [
            // One of three is too heavy: 1 of (1 + 1 + 1) is a third, and of a half each may have 2
            // of 4.
            (
                &[(Some("a"), 90.0), (Some("b"), 1.0), (Some("c"), 1.0)],
                0.5,
                &[2.0, 1.0, 1.0],
            ),
            (
                &[(Some("a"), 2.0), (Some("b"), 1.0), (Some("c"), 1.0)],
                0.5,
                &[2.0, 1.0, 1.0],
            ),
            // Two at the limit: 3 of (3 + 3 + 1.5).
            (
                &[(Some("a"), 90.0), (Some("b"), 50.0), (Some("c"), 1.5)],
                0.4,
                &[3.0, 3.0, 1.5],
            ),
            // Too few for the share.
            (&[(Some("a"), 90.0), (Some("b"), 10.0)], 0.2, &[10.0, 10.0]),
            (&[(Some("a"), 90.0)], 0.2, &[90.0]),
            // Too few, and one whose judgements count for nothing.
            (
                &[(Some("a"), 90.0), (Some("b"), 10.0), (Some("c"), 0.0)],
                0.2,
                &[10.0, 10.0, 0.0],
            ),
            // The program's own are not limited, and count.
            (&[(None, 90.0), (Some("b"), 60.0)], 0.25, &[90.0, 30.0]),
        ];
        for (given, share, expected) in cases {
            let scales = scales(given.iter().copied(), share);
            let found: Vec<f32> = given
                .iter()
                .map(|(user, weight)| weight * scales[user])
                .collect();
            assert!(
                found
                    .iter()
                    .zip(expected)
                    .all(|(f, e)| (f - e).abs() < 1e-4),
                "{given:?}: {found:?}"
            );
        }
    }
}
