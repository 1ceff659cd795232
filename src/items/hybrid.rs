//! Rankings by words, and by words and meaning together.
//!
//! Words and meaning each rank candidates of their own. The score of an item is its closeness plus
//! its share of the words times a weight, see [`fusion`](super::fusion).
//!
//! An item that only its words find has the closeness of the last candidate by meaning.

use std::collections::HashMap;
use std::time::Instant;

use roaring::RoaringBitmap;

use super::Items;
use super::fusion::{CANDIDATES, Closeness, share_of_words};
use super::keywords::Words;
use super::search::{Candidate, Listed, Ranking, SearchRequest};
use crate::index::Snapshot;
use crate::keywords::Restriction;
use crate::model::error::{Error, Result};
use crate::model::{Execution, Hit, Plan, VersionId, Versioned};

/// What words are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WordsOf<'a> {
    /// Those that a query says, with its operators.
    Query(&'a str),
    /// Those of the text of a stored item.
    Item(&'a str),
}

/// All items that the words of a text find, and in a hybrid search those that its meaning finds, in
/// the order of their scores. The key of a candidate is minus its score.
pub(crate) struct WordRanking<'a> {
    items: &'a Items,
    version: VersionId,
    request: SearchRequest<'a>,
    words: Words,
    /// What the operators of the text restrict it to.
    restriction: Restriction,
    /// The items in the order of the text's vector; `None` where it has none.
    meaning: Option<Ranking<'a>>,
    /// The weight of the words beside closeness; `None` where only they rank.
    weight: Option<f64>,
    snapshot: Snapshot,
    /// The score of the words, and the distance, of what was listed so far.
    found: HashMap<u32, Found>,
    /// That of the first list.
    closeness: Option<Closeness>,
    micros: u64,
}

/// What is known of a candidate.
#[derive(Clone, Copy, Default)]
struct Found {
    words: Option<f32>,
    /// Distance from the query that judgements moved.
    distance: Option<f32>,
}

impl<'a> WordRanking<'a> {
    /// The items in the order of words, and of a vector where it has one and words have a weight
    /// beside it.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] where keyword search is off; [`Error::UnknownId`]; storage errors.
    pub(crate) fn new(
        items: &'a Items,
        metric: &'a Versioned,
        (words, vector): (WordsOf<'_>, Option<&'a [f32]>),
        request: SearchRequest<'a>,
        weight: Option<f64>,
    ) -> Result<Self> {
        let words = items.words(words)?;
        let snapshot = request
            .matching
            .map_or_else(|| items.index.snapshot(), |m| m.snapshot.clone());
        let mut meaning = vector.map(|vector| Ranking::new(items, metric, vector, request));
        if let Some(meaning) = &mut meaning {
            meaning.take_snapshot(&snapshot);
        }
        let restriction = if weight.is_some() && meaning.is_some() {
            words.restriction()?
        } else {
            Restriction::default()
        };
        Ok(Self {
            items,
            version: metric.version,
            request,
            words,
            restriction,
            meaning,
            weight,
            snapshot,
            found: HashMap::new(),
            closeness: None,
            micros: 0,
        })
    }

    /// Takes the snapshot that slots of `among` in [`Self::best`] are of.
    pub(crate) fn take_snapshot(&mut self, snapshot: &Snapshot) {
        self.snapshot = snapshot.clone();
        if let Some(meaning) = &mut self.meaning {
            meaning.take_snapshot(snapshot);
        }
    }

    /// The best `n` candidates; of the slots `among`, where those are given, in place of those that
    /// pass the filter.
    pub(crate) fn best(&mut self, n: usize, among: Option<&RoaringBitmap>) -> Result<Listed<'a>> {
        let started = Instant::now();
        let allowed = among.or(self.request.matching.map(|m| &m.slots));
        let count = n.max(CANDIDATES);
        let left_out = self.request.hidden.len() + self.request.own.len();
        let listed = count.saturating_add(left_out);
        let snapshot = &self.snapshot;
        let words = self.words.find(listed, &|slot| {
            snapshot.is_live(slot.into()) && allowed.is_none_or(|allowed| allowed.contains(slot))
        })?;
        let mut is_whole = words.best.len() < listed;
        let mut found: HashMap<u32, Found> = HashMap::new();
        for word in &words.best {
            found.entry(word.slot).or_default().words = Some(word.score);
        }
        let mut farthest = 0.0;
        if let Some(meaning) = self.meaning.as_mut().filter(|_| self.weight.is_some()) {
            let restricted = restricted(&self.restriction, allowed, snapshot);
            let among = restricted.as_ref().or(among);
            // Those after the first few are for the scale, and for items that words bring up.
            let near = meaning.best_and_further(n, count - n, among)?;
            let keys: Vec<f32> = near.candidates.iter().map(|near| near.key).collect();
            farthest = keys.last().copied().unwrap_or_default();
            self.closeness.get_or_insert_with(|| Closeness::of(&keys));
            for near in &near.candidates {
                found.entry(near.slot).or_default().distance = Some(near.key);
            }
            is_whole &= near.is_whole;
        }
        let (closeness, of_average) = (self.closeness.unwrap_or_default(), words.of_average);
        let named = found.iter().filter_map(|(slot, found)| {
            let id = self.items.ids.get(*slot)?;
            let score = match self.weight {
                Some(weight) => {
                    let close = closeness.at(found.distance.unwrap_or(farthest));
                    let words = share_of_words(found.words.unwrap_or(0.0), of_average);
                    close + weight as f32 * words
                }
                None => found.words?,
            };
            let request = &self.request;
            let is_left_out =
                request.own.contains(&id) || request.hidden.iter().any(|hidden| hidden == id);
            (!is_left_out).then_some(Candidate {
                key: -score,
                id,
                slot: *slot,
            })
        });
        let mut candidates: Vec<Candidate<'a>> = named.collect();
        candidates.sort_by(|a, b| a.key.total_cmp(&b.key).then_with(|| a.id.cmp(b.id)));
        is_whole &= candidates.len() <= n;
        candidates.truncate(n);
        self.found.extend(found);
        self.micros += started.elapsed().as_micros() as u64;
        Ok(Listed {
            candidates,
            is_whole,
        })
    }

    /// Candidates with the distances from the query that judgements moved as keys.
    fn by_meaning<'c>(
        &self,
        meaning: &Ranking<'a>,
        candidates: &[Candidate<'c>],
    ) -> Result<Vec<Candidate<'c>>> {
        let (metric, query) = meaning.keyed_by();
        let keyed = candidates.iter().map(|candidate| {
            let known = self.found.get(&candidate.slot);
            let key = match known.and_then(|known| known.distance) {
                Some(distance) => distance,
                None => match meaning.vector_of(candidate)? {
                    Some(item) => metric.distance(query, &item) as f32,
                    // The item was removed meanwhile.
                    None => f32::NAN,
                },
            };
            Ok(Candidate { key, ..*candidate })
        });
        keyed.collect()
    }

    /// The distances of candidates from the query itself, under the metric.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] where the text has no vector; when vectors cannot be read.
    pub(crate) fn distances(&self, candidates: &[Candidate<'_>]) -> Result<Vec<f32>> {
        match &self.meaning {
            Some(meaning) => meaning.distances(&self.by_meaning(meaning, candidates)?),
            None => Err(Error::InvalidQuery(
                "nothing is known of the text but its words, so there is no distance that could be limited"
                    .to_owned(),
            )),
        }
    }

    /// Version of the metric of the distances.
    pub(crate) fn version(&self) -> VersionId {
        self.version
    }

    /// How the lists were searched for: as those for the meaning, if it ranks too.
    pub(crate) fn execution(&self) -> Execution {
        let meaning = self.meaning.as_ref().filter(|_| self.weight.is_some());
        let mut execution = meaning.map_or_else(
            || Execution {
                plan: Plan::Words,
                matching: self.request.matching.map(|m| m.slots.len() as usize),
                ..Execution::by_engine(0, 0, 0)
            },
            Ranking::execution,
        );
        execution.micros = self.micros;
        execution
    }

    /// Candidates as hits, whose ranks begin with `first`.
    ///
    /// # Errors
    /// When vectors, texts or metadata cannot be read.
    pub(crate) fn hits(&self, candidates: &[Candidate<'_>], first: usize) -> Result<Vec<Hit>> {
        let mut hits = if let Some(meaning) = &self.meaning {
            meaning.hits(&self.by_meaning(meaning, candidates)?, first)?
        } else {
            let named = candidates.iter().zip(first..).map(|(candidate, rank)| {
                let mut hit = Hit::new(candidate.id, f32::NAN, 0.0, rank);
                let (text, meta) = (self.request.include_text, self.request.include_meta);
                self.items.fill_hit(&mut hit, candidate.slot, text, meta)?;
                Ok(hit)
            });
            named.collect::<Result<_>>()?
        };
        for (hit, candidate) in hits.iter_mut().zip(candidates) {
            hit.score = -candidate.key;
            hit.keyword_score = self
                .found
                .get(&candidate.slot)
                .and_then(|found| found.words);
        }
        Ok(hits)
    }
}

/// The slots that a restriction leaves of those that are allowed; `None` where that is all of them.
fn restricted(
    restriction: &Restriction,
    allowed: Option<&RoaringBitmap>,
    snapshot: &Snapshot,
) -> Option<RoaringBitmap> {
    let Restriction { required, excluded } = restriction;
    let restricted = match (required, allowed) {
        (Some(required), Some(allowed)) => required & allowed,
        (Some(required), None) => {
            let live = required
                .iter()
                .filter(|slot| snapshot.is_live((*slot).into()));
            live.collect()
        }
        (None, _) if excluded.is_empty() => return None,
        (None, Some(allowed)) => allowed.clone(),
        (None, None) => snapshot.live_slots().iter().map(|slot| slot.0).collect(),
    };
    Some(restricted - excluded)
}
