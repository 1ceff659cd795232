//! [`Ranked`]: the items in the order of one query, however they are ranked.

use roaring::RoaringBitmap;

use crate::index::Snapshot;
use crate::items::{Candidate, Listed, Ranking, WordRanking};
use crate::model::Hits;
use crate::model::error::Result;

/// What puts the items in order.
pub(super) enum Source<'a> {
    /// Their distances from the query.
    Meaning(Box<Ranking<'a>>),
    /// The words of the query, or these and its meaning.
    Words(Box<WordRanking<'a>>),
}

/// The items in the order of one query, up to a distance.
pub(super) struct Ranked<'a> {
    pub(super) source: Source<'a>,
    pub(super) max_distance: Option<f32>,
}

impl<'a> Ranked<'a> {
    /// Takes the snapshot that slots of `among` in [`Self::best`] are of.
    pub(super) fn take_snapshot(&mut self, snapshot: &Snapshot) {
        match &mut self.source {
            Source::Meaning(ranking) => ranking.take_snapshot(snapshot),
            Source::Words(ranking) => ranking.take_snapshot(snapshot),
        }
    }

    /// The best `n` candidates, see [`Ranking::best`], without those that are too far.
    pub(super) fn best(&mut self, n: usize, among: Option<&RoaringBitmap>) -> Result<Listed<'a>> {
        let mut listed = match &mut self.source {
            Source::Meaning(ranking) => ranking.best(n, among)?,
            Source::Words(ranking) => ranking.best(n, among)?,
        };
        let Some(max_distance) = self.max_distance else {
            return Ok(listed);
        };
        let (distances, is_by_distance) = match &self.source {
            Source::Meaning(ranking) => (
                ranking.distances(&listed.candidates)?,
                ranking.is_by_distance(),
            ),
            Source::Words(ranking) => (ranking.distances(&listed.candidates)?, false),
        };
        // Candidates that are not listed are farther than the last one.
        let last = distances.last();
        let is_cut = is_by_distance && last.is_some_and(|last| *last > max_distance);
        let mut distances = distances.into_iter();
        listed.candidates.retain(|_| {
            distances
                .next()
                .is_some_and(|distance| distance <= max_distance)
        });
        listed.is_whole |= is_cut;
        Ok(listed)
    }

    /// Candidates as the hits of an answer, whose ranks begin with `first`.
    pub(super) fn hits(&self, candidates: &[Candidate<'_>], first: usize) -> Result<Hits> {
        let (hits, version, execution) = match &self.source {
            Source::Meaning(ranking) => (
                ranking.hits(candidates, first)?,
                ranking.version(),
                ranking.execution(),
            ),
            Source::Words(ranking) => (
                ranking.hits(candidates, first)?,
                ranking.version(),
                ranking.execution(),
            ),
        };
        Ok(Hits::new(hits, version, execution))
    }
}
