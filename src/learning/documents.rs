//! Judgements of documents, as judgements of their chunks.
//!
//! A document is relevant if one of its chunks is, and irrelevant if none is: it is a bag, and its
//! chunks are the instances of multiple-instance learning (Dietterich, Lathrop and Lozano-Pérez,
//! "Solving the multiple instance problem with axis-parallel rectangles", 1997). So a document that
//! is called relevant is taken for its chunk that is nearest to the query under the active metric,
//! and one that is called irrelevant for each of its chunks.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use super::{Learning, StoredItem};
use crate::model::error::{Error, Result};
use crate::model::{Judgement, JudgementError, MetricChoice, Query, Subject, Versioned, hash_text};

/// The chunks of documents, by the ids of these.
type Documents = HashMap<String, Vec<StoredItem>>;

/// Judgements in which chunks stand in the place of documents.
pub(super) struct OfChunks<'a> {
    pub(super) judgements: Cow<'a, [Judgement]>,
    /// For each of them, the position of the one that was given; `None` where all stand for
    /// themselves.
    given: Option<Vec<usize>>,
}

impl OfChunks<'_> {
    /// An error of one of the judgements, as that of the one that was given.
    pub(super) fn error_of_given(&self, error: Error) -> Error {
        match (error, &self.given) {
            (Error::InvalidJudgement { index, source }, Some(given)) => Error::InvalidJudgement {
                index: given.get(index).copied().unwrap_or(index),
                source,
            },
            (error, _) => error,
        }
    }
}

impl Learning {
    /// Judgements in which chunks stand in the place of documents. A judgement of an irrelevant
    /// document becomes one of each of its chunks, with an equal share of its weight; of what was
    /// shown beside an item, the nearest chunk of a document was.
    pub(super) fn of_chunks<'a>(&self, judgements: &'a [Judgement]) -> Result<OfChunks<'a>> {
        let documents = self.documents_among(judgements)?;
        if documents.is_empty() {
            return Ok(OfChunks {
                judgements: Cow::Borrowed(judgements),
                given: None,
            });
        }
        let mut resolved = Vec::with_capacity(judgements.len());
        let mut given = Vec::with_capacity(judgements.len());
        for (index, judgement) in judgements.iter().enumerate() {
            resolved.append(&mut self.of_chunks_of(judgement, index, &documents)?);
            given.resize(resolved.len(), index);
        }
        Ok(OfChunks {
            judgements: Cow::Owned(resolved),
            given: Some(given),
        })
    }

    /// The judgements that stand in the place of the one at a position.
    fn of_chunks_of(
        &self,
        judgement: &Judgement,
        index: usize,
        documents: &Documents,
    ) -> Result<Vec<Judgement>> {
        let Subject::Graded { query, item, grade } = &judgement.subject else {
            return Ok(vec![judgement.clone()]);
        };
        let names_one = |id: &String| documents.contains_key(id.as_str());
        if !(names_one(item) || judgement.shown.iter().any(names_one)) {
            return Ok(vec![judgement.clone()]);
        }
        let invalid = |source| Error::InvalidJudgement { index, source };
        judgement.check().map_err(invalid)?;
        let vector = self.asked_vector(query, index)?;
        let metric = self.choose(MetricChoice::Active, judgement.user.as_deref())?;
        // The chunk that is the query itself is no answer to it.
        let answers = |chunks: &[StoredItem]| -> Vec<StoredItem> {
            let others = chunks
                .iter()
                .filter(|chunk| query.item() != Some(&chunk.id));
            others.cloned().collect()
        };
        let shown = judgement.shown.iter().map(|id| {
            let chunks = documents.get(id.as_str());
            let chunk = chunks.and_then(|chunks| nearest(&metric, &vector, chunks));
            chunk.unwrap_or_else(|| id.clone())
        });
        let shown: Vec<String> = shown.collect();
        let of = |item: String, weight: f32| Judgement {
            subject: Subject::Graded {
                query: query.clone(),
                item,
                grade: *grade,
            },
            shown: shown.clone(),
            weight,
            ..judgement.clone()
        };
        let Some(chunks) = documents.get(item.as_str()) else {
            return Ok(vec![of(item.clone(), judgement.weight)]);
        };
        let chunks = answers(chunks);
        let Some(nearest) = nearest(&metric, &vector, &chunks) else {
            return Err(invalid(JudgementError::OwnAnswer(item.clone())));
        };
        if *grade > 0.0 {
            return Ok(vec![of(nearest, judgement.weight)]);
        }
        let weight = judgement.weight / chunks.len() as f32;
        let each = chunks.into_iter().map(|chunk| of(chunk.id, weight));
        Ok(each.collect())
    }

    /// The documents that are judged or shown, with their chunks.
    fn documents_among(&self, judgements: &[Judgement]) -> Result<Documents> {
        let mut ids = BTreeSet::new();
        for judgement in judgements {
            if let Subject::Graded { item, .. } = &judgement.subject {
                ids.insert(item.as_str());
                ids.extend(judgement.shown.iter().map(String::as_str));
            }
        }
        let ids: Vec<&str> = ids.into_iter().collect();
        Ok(self.vectors.documents(&ids)?.into_iter().collect())
    }

    /// The vector of what is asked, as it is searched.
    fn asked_vector(&self, query: &Query, index: usize) -> Result<Vec<f32>> {
        let invalid = |source| Error::InvalidJudgement { index, source };
        let vector = match query {
            Query::Vector(vector) => vector.clone(),
            Query::Text(text) => {
                if let Some(vector) = self.ledger.query_vector(hash_text(text))? {
                    vector
                } else {
                    let encoded = self.vectors.encode_each(&[text])?.pop();
                    let encoded = encoded
                        .transpose()
                        .map_err(|reason| invalid(JudgementError::Unencodable(reason)))?;
                    let vector = encoded.flatten();
                    vector.ok_or_else(|| invalid(JudgementError::UnknownText))?
                }
            }
            Query::Item(id) => {
                let found = self.vectors.vectors(&[id])?.pop().flatten();
                return found.ok_or_else(|| invalid(JudgementError::UnknownId(id.clone())));
            }
        };
        self.rules
            .prepare_query(vector)
            .map_err(|error| invalid(JudgementError::Vector(Box::new(error))))
    }
}

/// The id of the chunk that is nearest to a query, of equal ones the first.
fn nearest(metric: &Versioned, query: &[f32], chunks: &[StoredItem]) -> Option<String> {
    let distance = |chunk: &StoredItem| metric.metric.distance(query, &chunk.vector);
    let distances = chunks.iter().map(|chunk| (distance(chunk), &chunk.id));
    let nearest = distances.min_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, id)| id.clone())
}
