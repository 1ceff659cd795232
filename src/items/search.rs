//! Search: from a query to a ranked list of candidates, and from candidates to hits with ids, texts
//! and metadata.

use std::time::Instant;

use roaring::RoaringBitmap;

use super::encode::Role;
use super::graph::from_index;
use super::read::parse_meta;
use super::{Items, Matching};
use crate::index::{self, SearchParams, Snapshot};
use crate::model::error::{Error, Result};
use crate::model::{
    CombinedQuery, Execution, Hit, Plan, Query, QueryForm, SearchQuery, VersionId, Versioned,
    check_text,
};
use crate::plugin::Metric;
use crate::sum::dot;

/// The parameters of a ranking besides its vector and its metric.
#[derive(Clone, Copy)]
pub(crate) struct SearchRequest<'a> {
    pub(crate) form: QueryForm,
    pub(crate) ef: Option<usize>,
    pub(crate) recall: Option<f64>,
    pub(crate) matching: Option<&'a Matching>,
    /// Ids of items that are left out because they are the query itself.
    pub(crate) own: &'a [&'a str],
    /// Ids of items that are left out.
    pub(crate) hidden: &'a [String],
    /// The query that judgements made of the given one.
    pub(crate) moved: Option<&'a [f32]>,
    pub(crate) include_text: bool,
    pub(crate) include_meta: bool,
    pub(crate) cancel: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// An item on a ranked list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// What lists are in the order of, smallest first, ties by id: the distance from the query that
    /// judgements moved.
    pub(crate) key: f32,
    pub(crate) id: &'a str,
    pub(crate) slot: u32,
}

/// The best candidates of a ranking.
pub(crate) struct Listed<'a> {
    /// The candidates, best first.
    pub(crate) candidates: Vec<Candidate<'a>>,
    /// Whether no further items are eligible, or the search was cancelled: a longer list would be
    /// no longer.
    pub(crate) is_whole: bool,
}

/// All items in the order of one query, of which lists of any length can be asked for. All of them
/// are of one snapshot.
pub(crate) struct Ranking<'a> {
    items: &'a Items,
    metric: &'a Versioned,
    vector: &'a [f32],
    request: SearchRequest<'a>,
    snapshot: Snapshot,
    /// How the lists were searched for, all of them together.
    execution: Option<Execution>,
}

impl<'a> Ranking<'a> {
    /// The items in the order of a query, whose vector has the form that the index takes.
    pub(crate) fn new(
        items: &'a Items,
        metric: &'a Versioned,
        vector: &'a [f32],
        request: SearchRequest<'a>,
    ) -> Self {
        let snapshot = request
            .matching
            .map_or_else(|| items.index.snapshot(), |m| m.snapshot.clone());
        Self {
            items,
            metric,
            vector,
            request,
            snapshot,
            execution: None,
        }
    }

    /// Takes the snapshot that slots of `among` in [`Self::best`] are of.
    pub(crate) fn take_snapshot(&mut self, snapshot: &Snapshot) {
        self.snapshot = snapshot.clone();
    }

    /// The best `n` candidates; of the slots `among`, where those are given, in place of those that
    /// pass the filter.
    pub(crate) fn best(&mut self, n: usize, among: Option<&RoaringBitmap>) -> Result<Listed<'a>> {
        self.best_and_further(n, 0, among)
    }

    /// The best `n` candidates as [`Self::best`] gives them, and up to `further` of those that the
    /// search comes by beyond.
    pub(crate) fn best_and_further(
        &mut self,
        n: usize,
        further: usize,
        among: Option<&RoaringBitmap>,
    ) -> Result<Listed<'a>> {
        let started = Instant::now();
        let request = &self.request;
        let k = n
            .saturating_add(request.own.len())
            .saturating_add(request.hidden.len());
        let allowed = among.or(request.matching.map(|m| &m.slots));
        let eligible = allowed.map_or(self.snapshot.live, |slots| slots.len() as usize);
        let params = SearchParams {
            // A list that is longer than the collection would only take more memory.
            k: k.min(self.snapshot.held().max(1)),
            further: further.min(self.snapshot.held()),
            form: request.form,
            ef: request.ef,
            recall: request.recall,
            allowed,
            at: Some(&self.snapshot),
            cancel: request.cancel,
        };
        let query = request.moved.unwrap_or(self.vector);
        let found = self
            .items
            .index
            .search(&for_index(self.metric), query, &params)
            .map_err(from_index)?;
        let mut candidates = Vec::with_capacity(found.hits.len());
        candidates.extend(found.hits.iter().filter_map(|found| {
            let id = self.items.ids.get(found.slot)?;
            let is_left_out =
                request.own.contains(&id) || request.hidden.iter().any(|hidden| hidden == id);
            (!is_left_out).then_some(Candidate {
                key: found.distance,
                id,
                slot: found.slot,
            })
        }));
        candidates
            .sort_by(|a: &Candidate<'_>, b| a.key.total_cmp(&b.key).then_with(|| a.id.cmp(b.id)));
        candidates.truncate(n.saturating_add(further));
        let is_whole = k.saturating_add(further) >= eligible || !found.complete;
        let execution = Execution {
            visited: found.evaluations,
            ef: found.ef,
            expected_recall: found.expected_recall,
            calibration: found.calibration,
            micros: started.elapsed().as_micros() as u64,
            plan: found.plan,
            expected: found.expected,
            matching: request.matching.map(|m| m.slots.len() as usize),
            complete: found.complete,
        };
        self.execution = Some(match self.execution.take() {
            None => execution,
            Some(before) => Execution {
                visited: before.visited + execution.visited,
                micros: before.micros + execution.micros,
                expected: before.expected + execution.expected,
                complete: before.complete && execution.complete,
                ..execution
            },
        });
        Ok(Listed {
            candidates,
            is_whole,
        })
    }

    /// The distances of candidates from the query itself, under the metric.
    ///
    /// # Errors
    /// When their vectors cannot be read.
    pub(crate) fn distances(&self, candidates: &[Candidate<'_>]) -> Result<Vec<f32>> {
        let Some(moved) = self.request.moved else {
            return Ok(candidates.iter().map(|candidate| candidate.key).collect());
        };
        let remembered = Remembered::new(&*self.metric.metric, self.vector, moved);
        let distances = candidates.iter().map(|candidate| {
            let vector = self.vector_of(candidate)?;
            Ok(vector.map_or(candidate.key, |item| {
                remembered.distance(&item, candidate.key)
            }))
        });
        distances.collect()
    }

    /// The vector of a candidate in the form that the index takes; `None` where the item was
    /// removed meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn vector_of(&self, candidate: &Candidate<'_>) -> Result<Option<Vec<f32>>> {
        let vector = self.items.index.vector(candidate.slot);
        if vector.is_none() {
            let checked = self.items.index.check_files();
            checked.map_err(from_index)?;
        }
        Ok(vector)
    }

    /// The metric of the ranking, and the query in the form whose distances are the keys.
    pub(crate) fn keyed_by(&self) -> (&'a dyn Metric, &'a [f32]) {
        let query = self.request.moved.unwrap_or(self.vector);
        (&*self.metric.metric, query)
    }

    /// Version of the metric of the ranking.
    pub(crate) fn version(&self) -> VersionId {
        self.metric.version
    }

    /// Whether the search is to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.request.cancel.is_some_and(|cancel| cancel())
    }

    /// Whether keys are the distances of hits: whether no judgement moves the query.
    pub(crate) fn is_by_distance(&self) -> bool {
        self.request.moved.is_none()
    }

    /// How the lists were searched for.
    pub(crate) fn execution(&self) -> Execution {
        self.execution.clone().unwrap_or_else(|| Execution {
            plan: Plan::Empty,
            ..Execution::by_engine(0, 0, 0)
        })
    }

    /// Candidates as hits, whose ranks begin with `first`.
    ///
    /// # Errors
    /// When vectors, texts or metadata cannot be read.
    pub(crate) fn hits(&self, candidates: &[Candidate<'_>], first: usize) -> Result<Vec<Hit>> {
        let learned = !self.metric.version.is_built_in();
        let remembered = self
            .request
            .moved
            .map(|moved| Remembered::new(&*self.metric.metric, self.vector, moved));
        let mut hits = Vec::with_capacity(candidates.len());
        for (candidate, rank) in candidates.iter().zip(first..) {
            let score = self.items.rules.distance.score(candidate.key, learned);
            let mut hit = Hit::new(candidate.id, candidate.key, score, rank);
            if let Some(remembered) = &remembered
                && let Some(item) = self.vector_of(candidate)?
            {
                hit.memory = Some(remembered.memory(&item));
                hit.distance = remembered.distance(&item, candidate.key);
            }
            let request = &self.request;
            self.items.fill_hit(
                &mut hit,
                candidate.slot,
                request.include_text,
                request.include_meta,
            )?;
            hits.push(hit);
        }
        Ok(hits)
    }
}

impl Items {
    /// Reads the text and the metadata of a hit, where they are wanted.
    pub(super) fn fill_hit(&self, hit: &mut Hit, slot: u32, text: bool, meta: bool) -> Result<()> {
        if !(text || meta) {
            return Ok(());
        }
        let Some(record) = self.steady(|| self.record_of(&hit.id, slot))? else {
            return Ok(());
        };
        if meta {
            hit.meta = Some(parse_meta(&record.meta, slot)?);
        }
        if text {
            hit.text = record.text;
        }
        Ok(())
    }

    /// The vector of what is searched for, in the form that the index takes.
    pub(crate) fn searched_vector(&self, query: &SearchQuery) -> Result<Vec<f32>> {
        match query {
            SearchQuery::Single(query) => self.query_vector(query),
            SearchQuery::Combined(combined) => self.combined_vector(combined),
        }
    }

    /// The vector of queries in one, see [`CombinedQuery`].
    fn combined_vector(&self, combined: &CombinedQuery) -> Result<Vec<f32>> {
        combined.check()?;
        let vectors = combined.parts().map(|part| self.query_vector(&part.query));
        let vectors: Vec<Vec<f32>> = vectors.collect::<Result<_>>()?;
        let vector = combined.combine(&vectors, self.rules.dim);
        self.rules
            .prepare_query(vector)
            .map_err(|error| match error {
                Error::ZeroVector { .. } => Error::InvalidQuery(
                    "the examples cancel each other out: nothing is left to search for".to_owned(),
                ),
                error => error,
            })
    }

    /// The vector of a query in the form that the index takes.
    pub(crate) fn query_vector(&self, query: &Query) -> Result<Vec<f32>> {
        match query {
            Query::Text(text) => {
                let vector = self.encode_queries(&[text])?.pop().flatten();
                vector.ok_or_else(|| Error::unknown_text(text))
            }
            Query::Vector(vector) => self.rules.prepare_query(vector.clone()),
            Query::Item(id) => {
                let slot = self.slots_of(&[id])?;
                if let Some(vector) = slot.first().and_then(|slot| self.index.vector(*slot)) {
                    return Ok(vector);
                }
                self.index.check_files().map_err(from_index)?;
                // The item was replaced or removed after its slot was read.
                Err(Error::UnknownId {
                    collection: self.name.clone(),
                    ids: vec![id.clone()],
                })
            }
        }
    }

    /// The vectors of texts in the form that the index takes; `None` for those of which the encoder
    /// knows nothing.
    pub(crate) fn encode_queries(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        for text in texts {
            check_text(text).map_err(|error| Error::InvalidQuery(error.to_string()))?;
        }
        let encoded = self.encode(texts, Role::Query)?.into_iter();
        let prepared = encoded.map(|encoded| {
            let vector = encoded.vector;
            vector.map(|v| self.rules.prepare_query(v)).transpose()
        });
        prepared.collect()
    }
}

/// A query and the one that judgements made of it, rewritten for a metric: their distances from an
/// item differ by `c - 2 t . x`, with `t` the difference of the directions.
struct Remembered<'a> {
    metric: &'a dyn Metric,
    query: &'a [f32],
    /// The direction of the moved query less that of the query.
    toward: Vec<f32>,
    /// `t . q`.
    at_query: f64,
    /// The offset of the query less that of the moved query.
    offset: f64,
    /// Size of the terms of a distance, below a share of which it is computed directly.
    size: f64,
}

/// A distance that is below this share of its terms is computed directly.
const CANCELLATION_SHARE: f64 = 1.0 / 256.0;

impl<'a> Remembered<'a> {
    fn new(metric: &'a dyn Metric, query: &'a [f32], moved: &[f32]) -> Self {
        let (before, after) = (metric.rewrite(query), metric.rewrite(moved));
        let numbers = after.direction.iter().zip(&before.direction);
        let toward: Vec<f32> = numbers.map(|(after, before)| after - before).collect();
        Self {
            metric,
            query,
            at_query: dot(&toward, query),
            toward,
            offset: f64::from(before.offset) - f64::from(after.offset),
            size: f64::from(before.offset).abs() + f64::from(after.offset).abs(),
        }
    }

    /// What judgements add for an item, as [`Hit::memory`] has it.
    fn memory(&self, item: &[f32]) -> f32 {
        (2.0 * (dot(&self.toward, item) - self.at_query)) as f32
    }

    /// The distance of an item from the query, given that from the moved one.
    fn distance(&self, item: &[f32], moved: f32) -> f32 {
        let along = 2.0 * dot(&self.toward, item);
        let distance = f64::from(moved) + self.offset + along;
        if distance >= (self.size + along.abs()) * CANCELLATION_SHARE {
            return distance as f32;
        }
        self.metric.distance(self.query, item) as f32
    }
}

/// A metric in the form that the index takes.
pub(super) fn for_index(metric: &Versioned) -> index::Versioned {
    index::Versioned {
        version: metric.version.0,
        metric: std::sync::Arc::clone(&metric.metric),
    }
}
