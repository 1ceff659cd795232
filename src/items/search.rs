//! Search: from a query to hits with ids, texts and metadata.

use std::time::Instant;

use super::encode::Role;
use super::read::parse_meta;
use super::{Items, Matching};
use crate::index::{self, Found, SearchParams};
use crate::model::error::{Error, Result};
use crate::model::{Execution, Hit, Hits, Query, QueryForm, Versioned, check_text};
use crate::plugin::Metric;
use crate::sum::dot;

/// The parameters of a search besides its vector and its metric.
#[derive(Clone, Copy)]
pub(crate) struct SearchRequest<'a> {
    pub(crate) k: usize,
    pub(crate) form: QueryForm,
    pub(crate) ef: Option<usize>,
    pub(crate) recall: Option<f64>,
    pub(crate) matching: Option<&'a Matching>,
    /// The id of an item that is left out because it is the query itself.
    pub(crate) own: Option<&'a str>,
    /// The query that judgements made of the given one.
    pub(crate) moved: Option<&'a [f32]>,
    /// Ids of items that are left out.
    pub(crate) hidden: &'a [String],
    pub(crate) include_text: bool,
    pub(crate) include_meta: bool,
    pub(crate) cancel: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// A hit with the slot of its item.
struct NamedHit {
    hit: Hit,
    slot: u32,
}

impl Items {
    /// The hits of a query under a metric. The vector has the form that the index takes.
    pub(crate) fn search(
        &self,
        metric: &Versioned,
        vector: &[f32],
        request: SearchRequest<'_>,
    ) -> Result<Hits> {
        let started = Instant::now();
        let params = SearchParams {
            k: request.k + usize::from(request.own.is_some()) + request.hidden.len(),
            form: request.form,
            ef: request.ef,
            recall: request.recall,
            allowed: request.matching.map(|m| &m.slots),
            at: request.matching.map(|m| &m.snapshot),
            cancel: request.cancel,
        };
        let found = self
            .index
            .search(&for_index(metric), request.moved.unwrap_or(vector), &params)
            .map_err(|e| self.index_error(e))?;
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
        let mut hits = self.name_hits(metric, &found, &request);
        if let Some(moved) = request.moved {
            let remembered = Remembered::new(&*metric.metric, vector, moved);
            for named in &mut hits {
                self.split_distance(named, &remembered)?;
            }
        }
        if request.include_text || request.include_meta {
            for named in &mut hits {
                self.fill_hit(named, &request)?;
            }
        }
        Ok(Hits {
            hits: hits.into_iter().map(|named| named.hit).collect(),
            metric: metric.version,
            execution,
        })
    }

    /// Splits the distance of a hit from the moved query into that from the query itself and what
    /// judgements add.
    fn split_distance(&self, named: &mut NamedHit, remembered: &Remembered<'_>) -> Result<()> {
        let NamedHit { hit, slot } = named;
        let Some(item) = self.index.vector(*slot) else {
            // The hit was found, so it is the file that cannot be read.
            return self.index.check_files().map_err(|e| self.index_error(e));
        };
        hit.memory = Some(remembered.memory(&item));
        hit.distance = remembered.distance(&item, hit.distance);
        Ok(())
    }

    /// Reads the text and the metadata of a hit, where the request includes them.
    fn fill_hit(&self, named: &mut NamedHit, request: &SearchRequest<'_>) -> Result<()> {
        let NamedHit { hit, slot } = named;
        let Some(record) = self.steady(|| self.record_of(&hit.id, *slot))? else {
            return Ok(());
        };
        if request.include_meta {
            hit.meta = Some(parse_meta(&record.meta, *slot)?);
        }
        if request.include_text {
            hit.text = record.text;
        }
        Ok(())
    }

    /// The vector of a query in the form that the index takes.
    pub(crate) fn query_vector(&self, query: &Query) -> Result<Vec<f32>> {
        match query {
            Query::Text(text) => Ok(self.encode_queries(&[text])?.pop().unwrap_or_default()),
            Query::Vector(vector) => self.rules.prepare_query(vector.clone()),
            Query::Item(id) => {
                let slot = self.slots_of(&[id])?;
                if let Some(vector) = slot.first().and_then(|slot| self.index.vector(*slot)) {
                    return Ok(vector);
                }
                self.index.check_files().map_err(|e| self.index_error(e))?;
                // The item was replaced or removed after its slot was read.
                Err(Error::UnknownId {
                    collection: self.name.clone(),
                    ids: vec![id.clone()],
                })
            }
        }
    }

    /// The vectors of texts in the form that the index takes.
    pub(crate) fn encode_queries(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        for text in texts {
            check_text(text).map_err(|error| Error::InvalidQuery(error.to_string()))?;
        }
        let encoded = self.encode(texts, Role::Query)?.into_iter().zip(texts);
        encoded
            .map(|(encoded, text)| {
                let vector = encoded.vector.ok_or_else(|| Error::unknown_text(text))?;
                self.rules.prepare_query(vector)
            })
            .collect()
    }

    /// The first `k` hits with the ids of their slots, ties in the order of ids.
    fn name_hits(
        &self,
        metric: &Versioned,
        found: &Found,
        request: &SearchRequest<'_>,
    ) -> Vec<NamedHit> {
        let mut named: Vec<(f32, &str, u32)> = Vec::with_capacity(found.hits.len());
        let names = found.hits.iter().filter_map(|n| {
            let id = self.ids.get(n.slot)?;
            Some((n.distance, id, n.slot))
        });
        let is_left_out =
            |id: &str| Some(id) == request.own || request.hidden.iter().any(|hidden| hidden == id);
        named.extend(names.filter(|(_, id, _)| !is_left_out(id)));
        named.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let learned = !metric.version.is_built_in();
        named
            .into_iter()
            .take(request.k)
            .enumerate()
            .map(|(i, (distance, id, slot))| NamedHit {
                hit: Hit {
                    id: id.to_owned(),
                    distance,
                    score: self.rules.distance.score(distance, learned),
                    memory: None,
                    rank: i + 1,
                    text: None,
                    meta: None,
                },
                slot,
            })
            .collect()
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
