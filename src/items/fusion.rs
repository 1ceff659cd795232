//! Words and meaning as one score.
//!
//! The score of an item in a hybrid search is `closeness + weight * words`, of two shares that depend
//! neither on the unit of the metric nor on the number of words:
//!
//! - *closeness* `(d_100 - d) / (d_100 - d_3)`, where `d` is its distance and `d_3` and `d_100` are
//!   those of the third and the hundredth item by meaning, or the last of fewer: 1 for the third, 0
//!   for the hundredth. The first two say little of the scale, for the query may be a stored text
//!   itself, or nearly so;
//! - *words* `w / w_1`, where `w` is its score by BM25 and `w_1` that of a text of mean length that
//!   holds every word of the query once: 1 for such a text, 0 for one that holds none.
//!
//! The weight is 2, or what judgements showed to be better, see
//! [`learning::fusion`](crate::learning).

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::Items;
use super::hybrid::{WordRanking, WordsOf};
use super::search::{Ranking, SearchRequest};
use crate::learning::{FusedQuery, HybridVectors, Shares, Vectors, WordsFound};
use crate::model::error::{Error, Result};
use crate::model::{Query, QueryForm, Versioned};
use crate::plugin::Metric;

/// The fewest candidates of each ranking, and the rank at which closeness is 0.
pub(super) const CANDIDATES: usize = 100;
/// The rank at which closeness is 1.
const NEAR: usize = 3;

/// Closeness, by the distances at which it is 1 and 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Closeness {
    near: f32,
    far: f32,
}

impl Closeness {
    /// That of a ranking with these distances, which are sorted.
    pub(super) fn of(distances: &[f32]) -> Self {
        let at = |rank: usize| distances.get(rank - 1).or(distances.last()).copied();
        let far = at(CANDIDATES).unwrap_or_default();
        // Where all from the third on are equal, the first is what differs.
        let near = at(NEAR).filter(|near| *near < far).or(at(1));
        let near = near.unwrap_or_default();
        Self { near, far }
    }

    /// The closeness of an item at a distance; 0 where all are at the same one.
    pub(super) fn at(self, distance: f32) -> f32 {
        if self.far > self.near {
            (self.far - distance) / (self.far - self.near)
        } else {
            0.0
        }
    }
}

/// The share of a score of words, beside that of a text of mean length with every word once.
pub(super) fn share_of_words(score: f32, of_average: f32) -> f32 {
    if of_average > 0.0 {
        score / of_average
    } else {
        0.0
    }
}

impl Items {
    /// A search of a query for learning: with no settings, and without the query's own item.
    fn asked<'a>(query: &Query, own: &'a [&'a str]) -> SearchRequest<'a> {
        SearchRequest {
            form: query.text().map_or(QueryForm::Any, QueryForm::of_text),
            ef: None,
            recall: None,
            matching: None,
            own,
            hidden: &[],
            moved: None,
            include_text: false,
            include_meta: false,
            cancel: None,
        }
    }

    /// The closeness of items of a query with its vector, under a metric that may not be stored yet:
    /// its scale is that of the candidates that are nearest under a stored one.
    fn closeness(
        &self,
        stored: &Versioned,
        metric: &dyn Metric,
        asked: &FusedQuery<'_>,
    ) -> Result<Vec<Option<f32>>> {
        let own: Vec<&str> = asked.query.item().map(String::as_str).into_iter().collect();
        let request = Self::asked(asked.query, &own);
        let mut ranking = Ranking::new(self, stored, asked.vector, request);
        // Half of them may be another metric's nearest.
        let near = ranking.best_and_further(NEAR, 2 * CANDIDATES - NEAR, None)?;
        let distance = |vector: &[f32]| metric.distance(asked.vector, vector) as f32;
        let mut distances = Vec::with_capacity(near.candidates.len());
        for candidate in &near.candidates {
            let vector = ranking.vector_of(candidate)?;
            distances.extend(vector.map(|vector| distance(&vector)));
        }
        distances.sort_by(f32::total_cmp);
        let closeness = Closeness::of(&distances);
        let vectors = self.vectors(&asked.items)?;
        let close = |vector: Option<Vec<f32>>| Some(closeness.at(distance(&vector?)));
        Ok(vectors.into_iter().map(close).collect())
    }

    /// The words that a query is a search for.
    fn words_asked(query: &Query) -> Result<WordsOf<'_>> {
        match query {
            Query::Text(text) => Ok(WordsOf::Query(text)),
            Query::Item(id) => Ok(WordsOf::Item(id)),
            Query::Vector(_) => Err(Error::InvalidQuery(
                "a vector has no words to search for".to_owned(),
            )),
        }
    }

    /// The shares of items in the score of a query.
    fn shares_of(
        &self,
        stored: &Versioned,
        metric: &dyn Metric,
        asked: &FusedQuery<'_>,
    ) -> Result<Vec<Option<Shares>>> {
        let words = self.words(Self::words_asked(asked.query)?)?;
        let slot = |id: &&str| self.tables.slot(id);
        let slots: Vec<Option<u32>> = asked.items.iter().map(slot).collect::<Result<_>>()?;
        let wanted: HashSet<u32> = slots.iter().flatten().copied().collect();
        let found = words.find(wanted.len(), &|slot| wanted.contains(&slot))?;
        let scores: HashMap<u32, f32> = found
            .best
            .iter()
            .map(|found| (found.slot, found.score))
            .collect();
        let closeness = self.closeness(stored, metric, asked)?;
        let shares = slots.iter().zip(closeness).map(|(slot, closeness)| {
            let score = scores.get(&(*slot)?).copied().unwrap_or(0.0);
            Some(Shares {
                closeness: closeness?,
                words: share_of_words(score, found.of_average),
            })
        });
        Ok(shares.collect())
    }
}

impl HybridVectors for Items {
    fn shares(
        &self,
        stored: &Versioned,
        metric: &dyn Metric,
        queries: &[FusedQuery<'_>],
    ) -> Result<Vec<Vec<Option<Shares>>>> {
        let queries = queries.par_iter();
        queries
            .map(|asked| self.shares_of(stored, metric, asked))
            .collect()
    }

    fn ranked(
        &self,
        metric: &Versioned,
        queries: &[(&Query, Option<&[f32]>)],
        words: Option<f64>,
        k: usize,
    ) -> Result<Vec<Vec<String>>> {
        let ranked = |(query, vector): &(&Query, Option<&[f32]>)| {
            let own: Vec<&str> = query.item().map(String::as_str).into_iter().collect();
            let asked = (Self::words_asked(query)?, *vector);
            let request = Self::asked(query, &own);
            let mut ranking = WordRanking::new(self, metric, asked, request, words)?;
            let listed = ranking.best(k, None)?;
            let ids = listed.candidates.iter();
            Ok(ids.map(|candidate| candidate.id.to_owned()).collect())
        };
        queries.par_iter().map(ranked).collect()
    }

    fn words_in(&self, query: &Query, item: &str) -> Result<Vec<WordsFound>> {
        let Some(slot) = self.tables.slot(item)? else {
            return Ok(Vec::new());
        };
        self.words(Self::words_asked(query)?)?.scores_in(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closeness_falls_from_the_third_to_the_hundredth() {
        let distances: Vec<f32> = (0..200).map(|at| at as f32).collect();
        let closeness = Closeness::of(&distances);
        assert_eq!((closeness.at(2.0), closeness.at(99.0)), (1.0, 0.0));
        assert!(closeness.at(0.0) > 1.0 && closeness.at(150.0) < 0.0);
        let few = Closeness::of(&[1.0, 3.0]);
        assert_eq!((few.at(1.0), few.at(3.0)), (1.0, 0.0));
        let tied = Closeness::of(&[0.0, 5.0, 5.0, 5.0]);
        assert_eq!((tied.at(0.0), tied.at(5.0)), (1.0, 0.0));
        for distances in [&[][..], &[2.0], &[2.0, 2.0, 2.0]] {
            assert_eq!(Closeness::of(distances).at(2.0), 0.0);
        }
    }

    #[test]
    fn words_that_nothing_could_hold_have_no_share() {
        assert_eq!(share_of_words(3.0, 2.0), 1.5);
        assert_eq!(share_of_words(0.0, 0.0), 0.0);
    }
}
