//! Judgements as examples for learners: which are used, their weights, and their vectors.

use std::collections::HashMap;
use std::time::Duration;

use super::content::{Contents, Teaching};
use super::weights::{sources, user_share};
use super::{Entry, Learning};
use crate::model::error::Result;
use crate::model::{
    JudgementId, JudgementRange, LoggedItem, LoggedJudgement, LoggedQuery, QueryHash,
    RefitSettings, SourceWeights, rows,
};
use crate::plugin::{Examples, Graded, Pair};

/// Users whose judgements are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    Everybody,
    Only(&'a str),
    /// Everybody but one user.
    Others(&'a str),
}

impl<'a> Whose<'a> {
    /// One user where one is named, else everybody.
    pub(super) fn only(user: Option<&'a str>) -> Self {
        user.map_or(Self::Everybody, Self::Only)
    }

    fn includes(self, user: Option<&str>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(one) => user == Some(one),
            Self::Others(one) => user != Some(one),
        }
    }
}

/// A selection of judgements with the settings that weigh them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection<'a> {
    whose: Whose<'a>,
    range: JudgementRange,
    /// Time over which a judgement's weight halves, counted back from the newest one, so that equal
    /// judgements weigh the same at any time.
    half_life: Option<Duration>,
    /// Largest share of one user's judgements.
    user_share: Option<f64>,
}

impl<'a> Selection<'a> {
    /// All judgements of some users, weighed by the settings of a refit.
    pub(super) fn of(whose: Whose<'a>, settings: &RefitSettings) -> Self {
        Self {
            whose,
            range: JudgementRange::ALL,
            half_life: settings.half_life,
            user_share: settings.user_share,
        }
    }

    /// Those of a range of numbers only.
    pub(super) fn within(mut self, range: JudgementRange) -> Self {
        self.range = range;
        self
    }

    /// The same selection of everybody else's judgements, where this one is of one user's.
    pub(super) fn of_others(self) -> Option<Self> {
        match self.whose {
            Whose::Only(user) => Some(Self {
                whose: Whose::Others(user),
                ..self
            }),
            _ => None,
        }
    }
}

/// Examples for a learner, with the judgements that they are of.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) examples: Examples,
    /// Numbers of the judgements of the graded examples. A weak negative has the number of the
    /// click that it is derived from.
    pub(super) graded: Vec<JudgementId>,
    /// Numbers of the judgements of the pairs.
    pub(super) pairs: Vec<JudgementId>,
    /// What the vectors are of, row by row.
    pub(super) subjects: Vec<Subject>,
    pub(super) weights: SourceWeights,
    /// First and last judgement that was selected and teaches, also where it only influenced the weights of
    /// others; `None` where none was selected.
    pub(super) range: Option<JudgementRange>,
    /// Number of judgements that were left out because they speak of other contents than the items
    /// hold.
    pub(super) stale: usize,
}

impl Collected {
    /// Number of examples.
    pub(super) fn len(&self) -> usize {
        self.graded.len() + self.pairs.len()
    }

    /// Whether there is no example.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Learning {
    /// Examples of everybody else's judgements, where the selection is one user's; `None` where
    /// there are none.
    pub(super) fn collect_others(&self, selection: &Selection<'_>) -> Result<Option<Collected>> {
        let Some(others) = selection.of_others() else {
            return Ok(None);
        };
        let collected = self.collect(&others)?;
        Ok((!collected.is_empty()).then_some(collected))
    }

    /// Resolves judgements to vectors, with weak negatives derived from clicks. What speaks of other
    /// contents than the items hold is left out, before anything is weighed.
    pub(super) fn collect(&self, selection: &Selection<'_>) -> Result<Collected> {
        let Teaching {
            mut judgements,
            stale,
            contents,
        } = self.teaching(|(id, judgement)| {
            selection.range.contains(*id) && selection.whose.includes(judgement.user.as_deref())
        })?;
        let range = judgements
            .first()
            .zip(judgements.last())
            .map(|(first, last)| JudgementRange::from((first.0, last.0)));
        let weights = SourceWeights::learned(&judgements);
        let newest = judgements.iter().map(|(_, j)| j.at).max().unwrap_or(0);
        let mut skips = sources::skips(&judgements);
        skips.retain(|(_, skip)| contents.vector(&skip.item).is_some());
        judgements.extend(skips);
        let weighed = weigh(&judgements, selection, weights, newest);
        let mut vectors = Resolved::default();
        let mut collected = Collected {
            examples: Examples::default(),
            graded: Vec::new(),
            pairs: Vec::new(),
            subjects: Vec::new(),
            weights,
            range,
            stale,
        };
        for ((id, judgement), weight) in judgements.into_iter().zip(weighed) {
            let query = match &judgement.query {
                LoggedQuery::Item(item) => vectors.item(item, &contents),
                LoggedQuery::Text(_) | LoggedQuery::Vector(_) => {
                    let hash = judgement.query.hash().unwrap_or_default();
                    let read = || Ok(self.rules.prepare(self.logged_vector(hash)?));
                    Some(vectors.query(hash, read)?)
                }
            };
            let item = vectors.item(&judgement.item, &contents);
            // Learners take no weight of 0, which a source that was found worthless has.
            let (Some(query), Some(item), true) = (query, item, weight >= f32::MIN_POSITIVE) else {
                continue;
            };
            let LoggedJudgement { grade, pair, .. } = judgement;
            if pair {
                collected.examples.pairs.push(Pair {
                    a: query,
                    b: item,
                    similar: grade > 0.0,
                    weight,
                });
                collected.pairs.push(id);
            } else {
                collected.examples.graded.push(Graded {
                    query,
                    item,
                    grade,
                    weight,
                });
                collected.graded.push(id);
            }
        }
        let mut subjects: Vec<(Subject, usize)> = vectors.rows.into_iter().collect();
        subjects.sort_unstable_by_key(|(_, row)| *row);
        collected.subjects = subjects.into_iter().map(|(subject, _)| subject).collect();
        collected.examples.vectors = rows(vectors.numbers, self.rules.dim)?;
        Ok(collected)
    }
}

/// The weights of judgements: as given, by age, by source, by rank, and by the share of their user.
fn weigh(
    judgements: &[Entry],
    selection: &Selection<'_>,
    weights: SourceWeights,
    newest: i64,
) -> Vec<f32> {
    let mut weighed: Vec<f32> = judgements
        .iter()
        .map(|(_, judgement)| {
            let decay = selection.half_life.map_or(1.0, |half_life| {
                decayed(newest.saturating_sub(judgement.at), half_life)
            });
            judgement.weight
                * decay
                * weights.of(judgement.source)
                * sources::rank_weight(judgement)
        })
        .collect();
    if let (Some(share), Whose::Everybody | Whose::Others(_)) =
        (selection.user_share, selection.whose)
    {
        let users = || judgements.iter().map(|(_, j)| j.user.as_deref());
        let scales = user_share::scales(users().zip(weighed.iter().copied()), share);
        for (weight, user) in weighed.iter_mut().zip(users()) {
            *weight *= scales[&user];
        }
    }
    weighed
}

/// The share of its weight that a judgement has left after `age` milliseconds; above 0, as learners
/// require of weights.
fn decayed(age: i64, half_life: Duration) -> f32 {
    let halvings = age.max(0) as f64 / (half_life.as_secs_f64() * 1e3).max(1.0);
    (-halvings.min(60.0)).exp2() as f32
}

/// The distinct vectors that judgements speak of, one row each, in the order of their first mention.
#[derive(Default)]
struct Resolved {
    rows: HashMap<Subject, usize>,
    numbers: Vec<f32>,
}

/// What a vector is of.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A judged text or vector.
    Query(QueryHash),
    /// A stored item, by its id.
    Item(String),
}

impl Resolved {
    /// The row of an item that holds what was judged.
    fn item(&mut self, item: &LoggedItem, contents: &Contents) -> Option<usize> {
        let vector = contents.vector(item)?;
        Some(self.row(Subject::Item(item.id.clone()), vector))
    }

    /// The row of a judged text or vector.
    fn query(&mut self, hash: QueryHash, read: impl FnOnce() -> Result<Vec<f32>>) -> Result<usize> {
        match self.rows.get(&Subject::Query(hash)) {
            Some(row) => Ok(*row),
            None => Ok(self.row(Subject::Query(hash), &read()?)),
        }
    }

    fn row(&mut self, key: Subject, vector: &[f32]) -> usize {
        let next = self.rows.len();
        *self.rows.entry(key).or_insert_with(|| {
            self.numbers.extend_from_slice(vector);
            next
        })
    }
}
