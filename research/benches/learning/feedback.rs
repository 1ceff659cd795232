//! Simulated feedback on a corpus: the users, their judgements, and what is gained from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use affinis::plugin::{Examples, Fitted, Incumbent, Metric};
use affinis_testkit::Random;
use affinis_testkit::simulation::Corpus;

/// Number of answers that are shown and judged for each query.
const SHOWN: usize = 10;
/// Number of queries that gains are measured on.
const UNSEEN: usize = 1000;

/// A kind of simulated user.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum User {
    /// R1: judges the ten answers shown, by the label.
    Shown,
    /// As [`User::Shown`], with a share of the judgements reversed.
    Flipped(f64),
    /// R2: judges random pairs of items, half of them of one label.
    Pairs,
    /// Judges the ten answers shown by the toss of a coin.
    Coin,
    /// Judges the ten answers shown by the reverse of the label.
    Reversed,
    /// As [`User::Shown`], but for a share of the queries as [`User::Reversed`].
    Hostile(f64),
}

/// A user who judges answers, with the chance that decides where that is left to chance.
struct Judge {
    user: User,
    chance: Random,
}

impl Judge {
    fn new(user: User, seed: u64) -> Self {
        Self {
            user,
            chance: Random(seed + 1000),
        }
    }

    /// The judgements of the answers to some queries under a metric.
    fn judge(
        &mut self,
        corpus: &Corpus,
        metric: Option<&dyn Metric>,
        queries: &[usize],
    ) -> Examples {
        let user = self.user;
        let mut coin = |share: f64| (self.chance.next() as f64) < share * u64::MAX as f64;
        let hostile: BTreeSet<usize> = match user {
            User::Hostile(share) => queries.iter().copied().filter(|_| coin(share)).collect(),
            _ => BTreeSet::new(),
        };
        corpus.judged(metric, queries, |query, item| {
            let same = corpus.same_label(query, item);
            match user {
                User::Shown | User::Pairs => same,
                User::Flipped(share) => same != coin(share),
                User::Coin => coin(0.5),
                User::Reversed => !same,
                User::Hostile(_) => same != hostile.contains(&query),
            }
        })
    }
}

/// One user's judgements, and the queries that their effect is measured on.
pub(crate) struct Trial<'a> {
    pub(crate) corpus: &'a Corpus,
    pub(crate) examples: Examples,
    pub(crate) unseen: Vec<usize>,
    /// P@10 by label under Euclid.
    pub(crate) before: f64,
    pub(crate) seed: u64,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(corpus: &'a Corpus, user: User, judgements: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let (queries, unseen) = corpus.queries(judgements / SHOWN, UNSEEN, &mut random);
        let mut judge = Judge::new(user, seed);
        let examples = if user == User::Pairs {
            corpus.paired(judgements, &mut random)
        } else {
            judge.judge(corpus, None, &queries)
        };
        let before = corpus.precision(None, &unseen);
        Self {
            corpus,
            examples,
            unseen,
            before,
            seed,
        }
    }

    pub(crate) fn fit(&self) -> Fitted {
        self.corpus.fit(&self.examples, None, self.seed)
    }

    /// Gain in P@10 x 1000 of a metric over Euclid.
    pub(crate) fn gain(&self, metric: &dyn Metric) -> f64 {
        1e3 * (self.corpus.precision(Some(metric), &self.unseen) - self.before)
    }
}

/// The active metric's gain over Euclid, in P@10 x 1000, after each of some refits, each after a few
/// more queries whose answers were shown under the metric that was active then and judged by a user.
pub(crate) fn rounds(
    corpus: &Corpus,
    user: User,
    rounds: usize,
    judgements: usize,
    seed: u64,
) -> Vec<f64> {
    let each = judgements / SHOWN;
    let (queries, unseen) = corpus.queries(rounds * each, UNSEEN, &mut Random(seed));
    let before = corpus.precision(None, &unseen);
    let mut judge = Judge::new(user, seed);
    let mut active: Option<Arc<dyn Metric>> = None;
    let mut is_shrunken = false;
    let mut given = Examples::default();
    let mut gain = 0.0;
    let mut gains = Vec::new();
    for asked in queries.chunks(each) {
        let judged = judge.judge(corpus, active.as_deref(), asked);
        given.vectors = judged.vectors;
        given.graded.extend(judged.graded);
        let incumbent = active.as_deref().map(|metric| Incumbent {
            metric,
            shrunken: is_shrunken,
            report: None,
        });
        let fitted = corpus.fit(&given, incumbent, seed);
        if let Some(passed) = fitted.passed() {
            (active, is_shrunken) = (Some(passed.clone()), fitted.shrunken.is_some());
            gain = 1e3 * (corpus.precision(active.as_deref(), &unseen) - before);
        }
        gains.push(gain);
    }
    gains
}
