//! The results of the demo, as JSON.

use affinis::{Collection, Hits, learning::Evaluation};
use affinis_api::RefitDocument;
use serde::Serialize;
use serde_json::Value;

use super::K;
use super::corpus::{Corpus, Question};
use crate::failure::Failure;

/// All results.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) items: usize,
    pub(super) dim: usize,
    pub(super) encoder: String,
    pub(super) categories: usize,
    pub(super) disk_bytes: u64,
    pub(super) queries: Vec<Asked>,
    pub(super) judged: Judged,
    pub(super) refit: RefitDocument,
    pub(super) evaluation: Evaluation,
    pub(super) remembered: Remembered,
    pub(super) named: Named,
    pub(super) reopened: Same,
    pub(super) millis: Value,
}

/// Sizes of the collection.
pub(super) struct Sizes {
    pub(super) items: usize,
    pub(super) dim: usize,
    pub(super) encoder: String,
    pub(super) categories: usize,
    pub(super) disk_bytes: u64,
}

impl Sizes {
    pub(super) fn of(collection: &Collection, corpus: &Corpus) -> Result<Self, Failure> {
        Ok(Self {
            items: collection.len(),
            dim: collection.dim(),
            encoder: collection
                .info()
                .encoder
                .map(|e| e.name)
                .unwrap_or_default(),
            categories: corpus.categories(),
            disk_bytes: collection.stats()?.store_bytes,
        })
    }
}

/// Precision@10 of judged queries that are asked again, by the active metric alone and with memory.
#[derive(Serialize)]
pub(super) struct Remembered {
    pub(super) queries: usize,
    /// Of the answers by the metric.
    pub(super) metric: f64,
    /// Of the answers by the metric and memory.
    pub(super) memory: f64,
    /// Of the first ten answers by the metric that were not judged.
    pub(super) metric_of_new: f64,
    /// Of the first ten answers by the metric and memory that were not judged.
    pub(super) memory_of_new: f64,
}

/// A name, and the ranks of the text that holds it; `None` beyond the hundredth.
#[derive(Serialize)]
pub(super) struct Named {
    pub(super) query: &'static str,
    pub(super) text: Option<String>,
    pub(super) by_meaning: Option<usize>,
    pub(super) hybrid: Option<usize>,
}

/// A question and its answers before and after the refit.
#[derive(Serialize)]
pub(super) struct Asked {
    query: &'static str,
    wanted: &'static str,
    euclidean: Vec<Answer>,
    learned: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    id: String,
    distance: f32,
    label: &'static str,
    text: &'static str,
    wanted: bool,
    /// Its rank before the refit, if it was among the first 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<usize>,
}

impl Asked {
    pub(super) fn of(question: &Question, before: &Hits, after: &Hits, corpus: &Corpus) -> Self {
        let answers = |hits: &Hits, before: Option<&Hits>| {
            let hits = hits.iter().take(K);
            hits.filter_map(|hit| {
                let gloss = corpus.gloss(&hit.id)?;
                Some(Answer {
                    id: hit.id.clone(),
                    distance: hit.distance,
                    label: gloss.label,
                    text: gloss.text,
                    wanted: gloss.label == question.wanted,
                    was: before.and_then(|before| rank_of(&hit.id, before)),
                })
            })
            .collect()
        };
        Self {
            query: question.text,
            wanted: question.wanted,
            euclidean: answers(before, None),
            learned: answers(after, Some(before)),
        }
    }
}

/// Rank of an item in an answer, from 1.
pub(super) fn rank_of(id: &str, hits: &Hits) -> Option<usize> {
    hits.iter().find(|hit| hit.id == id).map(|hit| hit.rank)
}

/// Numbers of judged queries and judgements.
#[derive(Serialize)]
pub(super) struct Judged {
    pub(super) queries: usize,
    pub(super) judgements: usize,
    pub(super) relevant: usize,
    /// Mean time of a query in the index, in microseconds.
    #[serde(skip)]
    pub(super) micros: f64,
}

/// Comparison of answers before and after the store was closed and opened again.
#[derive(Serialize)]
pub(super) struct Same {
    pub(super) queries: usize,
    pub(super) answers: usize,
    pub(super) equal_queries: usize,
    pub(super) all_equal: bool,
    pub(super) micros_euclidean: f64,
    pub(super) micros_learned: f64,
}
