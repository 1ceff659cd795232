//! Judgements as learners take them: which are used, what each weighs, and their vectors.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::sample::rows;
use super::{Inner, prepare, share, signals};
use crate::error::Result;
use crate::feedback::{Source, query_hash, source_of};
use crate::persist::{JudgementRecord, QueryRecord};
use crate::plugin::{Examples, Graded, Pair};

/// Whose judgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    Everybody,
    Only(&'a str),
    /// Everybody's but one user's.
    Besides(&'a str),
}

impl<'a> Whose<'a> {
    /// One user's where one is named, else everybody's.
    pub(super) fn only(user: Option<&'a str>) -> Self {
        user.map_or(Self::Everybody, Self::Only)
    }

    fn includes(self, user: Option<&str>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(one) => user == Some(one),
            Self::Besides(one) => user != Some(one),
        }
    }
}

/// Which judgements, and what they weigh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection<'a> {
    whose: Whose<'a>,
    /// First and last sequence number.
    range: (u64, u64),
    /// Over which a judgement's weight halves, counted back from the newest one: so equal
    /// judgements weigh the same whenever they are asked for.
    half_life: Option<Duration>,
    /// What one user's judgements may make up of all.
    user_share: Option<f64>,
}

impl<'a> Selection<'a> {
    /// All of somebody's judgements as they were given.
    pub(super) fn of(whose: Whose<'a>) -> Self {
        Self {
            whose,
            range: (0, u64::MAX),
            half_life: None,
            user_share: None,
        }
    }

    /// Only those numbered so.
    pub(super) fn within(mut self, (first, last): (u64, u64)) -> Self {
        self.range = (first, last);
        self
    }

    /// The same of everybody else, where it is one user's judgements.
    pub(super) fn of_others(self) -> Option<Self> {
        match self.whose {
            Whose::Only(user) => Some(Self {
                whose: Whose::Besides(user),
                ..self
            }),
            _ => None,
        }
    }

    pub(super) fn half_life(mut self, half_life: Option<Duration>) -> Self {
        self.half_life = half_life;
        self
    }

    pub(super) fn user_share(mut self, share: Option<f64>) -> Self {
        self.user_share = share;
        self
    }
}

/// Judgements as a learner takes them, and which they were.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) examples: Examples,
    /// Sequence numbers of the examples' graded judgements; what a click says of other answers has
    /// the click's.
    pub(super) graded: Vec<u64>,
    /// Sequence numbers of the examples' pairs.
    pub(super) pairs: Vec<u64>,
    /// What each source weighed.
    pub(super) weights: BTreeMap<Source, f32>,
    /// First and last sequence number of all judgements that had a say, in what others weigh too;
    /// `None` when there are none.
    pub(super) range: Option<(u64, u64)>,
}

impl Collected {
    /// Number of judgements.
    pub(super) fn len(&self) -> usize {
        self.graded.len() + self.pairs.len()
    }

    /// Whether there is nothing to learn from.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    /// What everybody else judged, where the selection is one user's; `None` when they judged
    /// nothing.
    pub(super) fn collect_others(&self, selection: &Selection<'_>) -> Result<Option<Collected>> {
        let Some(others) = selection.of_others() else {
            return Ok(None);
        };
        let collected = self.collect(&others)?;
        Ok((!collected.is_empty()).then_some(collected))
    }

    /// Resolves judgements to vectors, with what clicks say of the answers above them. Those whose
    /// items are gone say nothing any more and are passed over.
    pub(super) fn collect(&self, selection: &Selection<'_>) -> Result<Collected> {
        let (first, last) = selection.range;
        let mut judgements = Vec::new();
        for entry in self.shelf.judgements() {
            let (sequence, record) = entry?;
            if (first..=last).contains(&sequence)
                && selection.whose.includes(record.user.as_deref())
            {
                judgements.push((sequence, record));
            }
        }
        let range = judgements
            .first()
            .zip(judgements.last())
            .map(|(first, last)| (first.0, last.0));
        let weights = signals::source_weights(&judgements);
        let newest = judgements.iter().map(|(_, r)| r.at).max().unwrap_or(0);
        let skipped = signals::skips(&judgements);
        judgements.extend(skipped);
        let mut weighed = Vec::with_capacity(judgements.len());
        for (_, record) in &judgements {
            let decay = selection
                .half_life
                .map_or(1.0, |time| decayed(newest.saturating_sub(record.at), time));
            let source = weights
                .get(&source_of(record.source))
                .copied()
                .unwrap_or(1.0);
            weighed.push(record.weight * decay * source * signals::place_weight(record));
        }
        if let (Some(share), Whose::Everybody | Whose::Besides(_)) =
            (selection.user_share, selection.whose)
        {
            let users = || judgements.iter().map(|(_, record)| record.user.as_deref());
            let scales = share::scales(users().zip(weighed.iter().copied()), share);
            weighed
                .iter_mut()
                .zip(users())
                .for_each(|(weight, user)| *weight *= scales[&user]);
        }
        let mut rows_of = Rows {
            inner: self,
            known: HashMap::new(),
            numbers: Vec::new(),
        };
        let mut collected = Collected {
            range,
            ..Collected::default()
        };
        for ((sequence, record), weight) in judgements.into_iter().zip(weighed) {
            let (Some(query), Some(item)) = (rows_of.query(&record)?, rows_of.item(&record.item)?)
            else {
                continue;
            };
            // A source that was found to be worthless weighs nothing, and learners take no weight
            // of 0.
            if weight < f32::MIN_POSITIVE {
                continue;
            }
            let JudgementRecord { grade, pair, .. } = record;
            let examples = &mut collected.examples;
            if pair {
                examples.pairs.push(Pair {
                    a: query,
                    b: item,
                    similar: grade > 0.0,
                    weight,
                });
                collected.pairs.push(sequence);
            } else {
                examples.graded.push(Graded {
                    query,
                    item,
                    grade,
                    weight,
                });
                collected.graded.push(sequence);
            }
        }
        collected.examples.vectors = rows(rows_of.numbers, self.dim)?;
        collected.weights = weights;
        Ok(collected)
    }
}

/// The share of its weight that a judgement has left after so many milliseconds; never nothing, so
/// that the weight stays one that learners take.
fn decayed(age: i64, half_life: Duration) -> f32 {
    let halvings = age.max(0) as f64 / (half_life.as_secs_f64() * 1e3).max(1.0);
    (-halvings.min(60.0)).exp2() as f32
}

/// Gives each distinct vector one row.
struct Rows<'a> {
    inner: &'a Inner,
    known: HashMap<Key, Option<usize>>,
    numbers: Vec<f32>,
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Query([u8; 16]),
    Item(String),
}

impl Rows<'_> {
    fn query(&mut self, record: &JudgementRecord) -> Result<Option<usize>> {
        if let QueryRecord::Item(id) = &record.query {
            return self.item(id);
        }
        let Some(hash) = query_hash(&record.query) else {
            return Ok(None);
        };
        self.row(Key::Query(hash), |inner| {
            Ok(Some(prepare(
                inner.distance,
                inner.shelf.judged_query(hash)?,
            )))
        })
    }

    fn item(&mut self, id: &str) -> Result<Option<usize>> {
        self.row(Key::Item(id.to_owned()), |inner| {
            Ok(inner
                .shelf
                .slot(id)?
                .and_then(|slot| inner.index.vector(slot)))
        })
    }

    fn row(
        &mut self,
        key: Key,
        read: impl FnOnce(&Inner) -> Result<Option<Vec<f32>>>,
    ) -> Result<Option<usize>> {
        if let Some(row) = self.known.get(&key) {
            return Ok(*row);
        }
        let row = read(self.inner)?.map(|vector| {
            self.numbers.extend(vector);
            self.numbers.len() / self.inner.dim - 1
        });
        self.known.insert(key, row);
        Ok(row)
    }
}
