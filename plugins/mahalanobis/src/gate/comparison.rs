//! Paired comparisons of two metrics by the scores of the same held-out queries or pairs.

use super::held_out::Scores;
use crate::judgements::Judgements;

/// A level of confidence, with the number of queries that it asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Least number of queries with both kinds of results.
    pub(crate) min_queries: usize,
    /// Standard errors that the bounds lie from the mean gain.
    pub(crate) standard_errors: f64,
    /// One-sided confidence of these bounds, in per cent.
    pub(crate) confidence: u32,
    /// Least evidence that the judgements agree with similarity ([`super::agreement`]).
    pub(crate) evidence: f64,
}

/// The level at which a candidate passes.
pub(crate) const CANDIDATE: Level = Level {
    min_queries: 8,
    standard_errors: 1.64,
    confidence: 95,
    evidence: 10.0,
};
/// The level at which a shrunken metric passes: one standard error, which is 81 % by Student's
/// distribution for five queries and 84 % for many.
pub(crate) const SHRUNKEN: Level = Level {
    min_queries: 5,
    standard_errors: 1.0,
    confidence: 80,
    evidence: 1.5,
};
/// Least number of pairs of each kind where queries are too few.
pub(crate) const MIN_PAIRS: usize = 10;

/// Differences of two scores up to this are rounding.
const ROUNDING: f64 = 1e-9;

/// The kind of judgement that a comparison rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Queries,
    Pairs,
}

impl Kind {
    /// The measure of [`Gate::measure`](affinis::plugin::Gate::measure).
    pub(crate) fn measure(self) -> &'static str {
        match self {
            Self::Queries => {
                "separation of irrelevant from relevant results of held-out queries, in standard deviations of distance"
            }
            Self::Pairs => "area under the ROC curve of held-out pairs",
        }
    }
}

/// The outcome of a paired comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    /// Mean score under the first metric.
    pub(crate) before: f64,
    /// Mean score under the second.
    pub(crate) after: f64,
    pub(crate) gain: f64,
    /// The gain's standard error.
    pub(crate) error: f64,
    pub(crate) level: Level,
    /// Number of queries or pairs.
    pub(crate) count: usize,
}

impl Comparison {
    /// The gain's lower confidence bound.
    pub(crate) fn lower(&self) -> f64 {
        self.gain - self.level.standard_errors * self.error
    }

    /// The gain's upper confidence bound.
    pub(crate) fn upper(&self) -> f64 {
        self.gain + self.level.standard_errors * self.error
    }
}

/// Two metrics to be compared, by their scores on the same judgements.
#[derive(Clone, Copy)]
pub(crate) struct Paired<'a> {
    pub(crate) judgements: &'a Judgements<'a>,
    pub(crate) before: &'a Scores,
    pub(crate) after: &'a Scores,
}

impl Paired<'_> {
    /// The comparison on all judgements of a kind; `None` when they are too few.
    pub(crate) fn compare(self, level: Level, kind: Kind) -> Option<Comparison> {
        self.compare_on(level, kind, &|_| true)
    }

    /// The comparison on the judgements of a kind whose fingerprints `include` admits; `None` when
    /// they are too few.
    pub(crate) fn compare_on(
        self,
        level: Level,
        kind: Kind,
        include: &dyn Fn(u64) -> bool,
    ) -> Option<Comparison> {
        let (samples, least) = match kind {
            Kind::Queries => (vec![self.queries(include)], level.min_queries),
            Kind::Pairs => {
                let of_kind = [true, false].map(|similar| self.pairs(similar, include));
                (of_kind.into(), MIN_PAIRS)
            }
        };
        if samples.iter().any(|sample| sample.len() < least) {
            return None;
        }
        Some(compared(level, &samples))
    }

    /// The scores of the queries that `include` admits.
    fn queries(self, include: &dyn Fn(u64) -> bool) -> Vec<PairedScores> {
        let queries = self.judgements.queries.iter().enumerate();
        queries
            .filter(|(_, query)| include(query.fingerprint))
            .filter_map(|(i, _)| {
                let (before, after) = (self.before.separations[i]?, self.after.separations[i]?);
                Some(PairedScores::new(before, after, self.before.weights[i]))
            })
            .collect()
    }

    /// The scores of the similar or the dissimilar pairs that `include` admits.
    fn pairs(self, similar: bool, include: &dyn Fn(u64) -> bool) -> Vec<PairedScores> {
        let pairs = self.judgements.pairs.iter().enumerate();
        pairs
            .filter(|(_, pair)| pair.similar == similar && include(pair.fingerprint))
            .filter_map(|(i, _)| {
                let (before, after) = (self.before.placements[i]?, self.after.placements[i]?);
                Some(PairedScores::new(before, after, 1.0))
            })
            .collect()
    }
}

/// One query's or pair's scores under both metrics.
struct PairedScores {
    before: f64,
    after: f64,
    weight: f64,
}

impl PairedScores {
    /// Scores that differ by rounding only are equal.
    fn new(before: f64, after: f64, weight: f64) -> Self {
        let is_equal = (after - before).abs() <= ROUNDING;
        Self {
            before,
            after: if is_equal { before } else { after },
            weight,
        }
    }
}

/// The comparison of one sample of queries, or of two samples of pairs.
fn compared(level: Level, samples: &[Vec<PairedScores>]) -> Comparison {
    // Both kinds of pairs have the same mean placement within a fold; their variances add (`DeLong`
    // et al., 1988).
    let count = samples.len() as f64;
    let (mut mean_before, mut mean_after, mut square_error) = (0.0, 0.0, 0.0);
    for sample in samples {
        let n = sample.len() as f64;
        let total: f64 = sample.iter().map(|s| s.weight).sum();
        let mean = |value: &dyn Fn(&PairedScores) -> f64| {
            sample.iter().map(|s| s.weight * value(s)).sum::<f64>() / total
        };
        let (b, a) = (mean(&|s| s.before), mean(&|s| s.after));
        let squares: f64 = sample
            .iter()
            .map(|s| (s.weight * (s.after - s.before - (a - b))).powi(2))
            .sum();
        mean_before += b / count;
        mean_after += a / count;
        square_error += squares / (total * total) * (n / (n - 1.0));
    }
    Comparison {
        before: mean_before,
        after: mean_after,
        gain: mean_after - mean_before,
        error: square_error.sqrt(),
        level,
        count: samples.iter().map(Vec::len).sum(),
    }
}
