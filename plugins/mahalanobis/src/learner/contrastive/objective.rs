//! The contrastive loss of one anchor's positive against its negatives, and the loss's gradient.
//!
//! With `r_i = e^{(s_i - s+) / T}` for the similarities `s_i` of `K` negatives and `s+` of the
//! positive, the loss is `ln(1 + K g)`. `InfoNCE` (van den Oord et al., 2018) takes `g = mean_i
//! r_i`. **Debiased** (Chuang et al., 2020), since a share `tau+` of unlabelled negatives is
//! positive: `g = max{ (mean_i r_i - tau+) / (1 - tau+), e^{(s_min - s+) / T} }`, where `s_min` is
//! the least value of a similarity: -1, for similarities here are cosines. **Hard
//! negatives** (Robinson et al., 2021): the mean weighs negative `i` by `e^{beta s_i}`. `beta = 0`
//! is the debiased loss, `tau+ = 0` too is `InfoNCE`.

/// The least value of a cosine.
const MIN_COSINE: f64 = -1.0;

/// The loss's constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Objective {
    /// `T`.
    pub(crate) temperature: f64,
    /// `tau+`: the share of positives among unlabelled negatives; below 1.
    pub(crate) positive_share: f64,
    /// `beta`: how much harder negatives outweigh easier ones.
    pub(crate) hardness: f64,
}

impl Objective {
    /// The loss of one anchor. Similarities of negatives in `negatives` are replaced by the loss's
    /// derivatives by them; the derivative by the positive's similarity is returned beside the
    /// loss.
    pub(crate) fn loss(self, positive: f64, negatives: &mut [f64]) -> (f64, f64) {
        if negatives.is_empty() {
            return (0.0, 0.0);
        }
        let k = negatives.len() as f64;
        let (t, tau) = (self.temperature, self.positive_share);
        let ratio = |s: f64| ((s - positive) / t).exp();
        let weight = |s: f64| (self.hardness * s).exp();
        let (mut mean, mut total) = (0.0, 0.0);
        for s in negatives.iter() {
            mean += weight(*s) * ratio(*s);
            total += weight(*s);
        }
        mean /= total;
        let debiased = (mean - tau) / (1.0 - tau);
        let floor = ratio(MIN_COSINE);
        if debiased <= floor {
            let x = k * floor;
            negatives.fill(0.0);
            return (x.ln_1p(), -x / t / (1.0 + x));
        }
        let x = k * debiased;
        let by_mean = k / (1.0 - tau) / (1.0 + x);
        for s in negatives {
            let (w, r) = (weight(*s) / total, ratio(*s));
            *s = by_mean * w * (r / t + self.hardness * (r - mean));
        }
        (x.ln_1p(), -by_mean * mean / t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEGATIVES: [f64; 5] = [0.9, 0.3, -0.2, 0.55, 0.31];

    fn loss(objective: Objective, positive: f64, negatives: &[f64]) -> f64 {
        objective.loss(positive, &mut negatives.to_vec()).0
    }

    #[test]
    fn without_hardness_it_is_debiased_and_without_share_info_nce() {
        let (t, tau, s) = (0.3, 0.1, 0.6_f64);
        let e = |s: f64| (s / t).exp();
        let mean = NEGATIVES.iter().map(|s| e(*s)).sum::<f64>() / 5.0;
        let debiased = ((mean - tau * e(s)) / (1.0 - tau)).max(e(-1.0));
        let as_published = -(e(s) / (e(s) + 5.0 * debiased)).ln();
        let objective = Objective {
            temperature: t,
            positive_share: tau,
            hardness: 0.0,
        };
        assert!((loss(objective, s, &NEGATIVES) - as_published).abs() < 1e-12);

        let info_nce = -(e(s) / (e(s) + NEGATIVES.iter().map(|s| e(*s)).sum::<f64>())).ln();
        let objective = Objective {
            positive_share: 0.0,
            ..objective
        };
        assert!((loss(objective, s, &NEGATIVES) - info_nce).abs() < 1e-12);
        let harder = Objective {
            hardness: 2.0,
            ..objective
        };
        assert!(
            loss(harder, s, &NEGATIVES) > info_nce,
            "the hardest negatives weigh more"
        );
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let h = 1e-6;
        for (tau, beta, s) in [
            (0.0, 0.0, 0.4),
            (0.1, 0.0, 0.4),
            (0.1, 3.0, -0.1),
            (0.6, 1.0, 0.9),
        ] {
            let objective = Objective {
                temperature: 0.3,
                positive_share: tau,
                hardness: beta,
            };
            let mut slopes = NEGATIVES;
            let (_, by_positive) = objective.loss(s, &mut slopes);
            let measured = (loss(objective, s + h, &NEGATIVES)
                - loss(objective, s - h, &NEGATIVES))
                / (2.0 * h);
            assert!(
                (measured - by_positive).abs() < 1e-7,
                "{tau}, {beta}: {measured}, {by_positive}"
            );
            for (i, slope) in slopes.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut moved = NEGATIVES;
                    moved[i] += by;
                    loss(objective, s, &moved)
                };
                let measured = (moved(h) - moved(-h)) / (2.0 * h);
                assert!(
                    (measured - slope).abs() < 1e-7,
                    "{tau}, {beta}, {i}: {measured}, {slope}"
                );
            }
        }
    }

    #[test]
    fn nothing_to_contrast_with_costs_nothing() {
        let objective = Objective {
            temperature: 0.3,
            positive_share: 0.02,
            hardness: 1.0,
        };
        assert_eq!(objective.loss(0.5, &mut []), (0.0, 0.0));
    }
}
