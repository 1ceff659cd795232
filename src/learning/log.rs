//! The log of judgements: taking them in and reading them back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Changes, Learning};
use crate::model::error::{Error, Result};
use crate::model::{
    ActivatedBy, ContentHash, JudgedContent, Judgement, JudgementError, JudgementId,
    LoggedJudgement, Query, QueryHash, StoredJudgement, Subject, hash_text, hash_vector,
};

impl Learning {
    /// Stores judgements, all or none, durably. Gives their numbers; one of an irrelevant document
    /// is stored as one of each of its chunks.
    ///
    /// # Errors
    /// Those of [`Collection::judge_all`](crate::Collection::judge_all).
    pub fn judge(self: &Arc<Self>, judgements: &[Judgement]) -> Result<Vec<JudgementId>> {
        let ids = self.store_judgements(judgements)?;
        self.count_for_refit(ids.len());
        Ok(ids)
    }

    /// Stores judgements, and counts those that are clicks in the running trial.
    fn store_judgements(&self, judgements: &[Judgement]) -> Result<Vec<JudgementId>> {
        let of_chunks = self.of_chunks(judgements)?;
        let judgements = &*of_chunks.judgements;
        let of_given = |error| of_chunks.error_of_given(error);
        let contents = self.check(judgements).map_err(of_given)?;
        let queries = self.judged_vectors(judgements).map_err(of_given)?;
        let guard = self.lock()?;
        let first = self.ledger.next_ids()?.judgement;
        let next = first
            .after(judgements.len())
            .ok_or_else(|| Error::OutOfNumbers {
                part: format!("collection {:?}", self.name),
                what: "judgements",
            })?;
        let ids: Vec<JudgementId> = (first.0..next.0).map(JudgementId).collect();
        let mut changes = Changes {
            judgements: ids
                .iter()
                .copied()
                .zip(judgements.iter().zip(&contents))
                .map(|(id, (judgement, content))| (id, LoggedJudgement::of(judgement, content)))
                .collect(),
            queries: queries.into_iter().collect(),
            next_judgement: Some(next),
            ..Changes::default()
        };
        let counted = self.count_clicks(&guard, judgements, &mut changes)?;
        match &counted.promoted {
            Some(challenger) => {
                self.activate(&guard, changes, None, challenger, ActivatedBy::Trial)?;
            }
            None => self.commit(changes)?,
        }
        self.publish_count(&guard, counted);
        Ok(ids)
    }

    /// Every judgement, in the order of their numbers.
    ///
    /// # Errors
    /// Those of [`Collection::judgements`](crate::Collection::judgements).
    pub fn judgements(&self) -> Result<Vec<StoredJudgement>> {
        self.ledger
            .judgements()
            .map(|entry| {
                let (id, logged) = entry?;
                let (judgement, content) =
                    logged.into_judgement(|hash| self.logged_vector(hash))?;
                Ok(StoredJudgement {
                    id,
                    judgement,
                    content,
                })
            })
            .collect()
    }

    /// The vector of a judged text or vector that the log must hold.
    pub(super) fn logged_vector(&self, hash: QueryHash) -> Result<Vec<f32>> {
        self.ledger
            .query_vector(hash)?
            .ok_or_else(|| Error::Damaged {
                part: "a judged query".to_owned(),
                reason: "its vector is missing".to_owned(),
            })
    }

    /// Checks judgements by themselves, and that the items they name are there. Gives what these
    /// hold.
    fn check(&self, judgements: &[Judgement]) -> Result<Vec<JudgedContent>> {
        let mut known: HashMap<&str, ContentHash> = HashMap::new();
        let mut contents = Vec::with_capacity(judgements.len());
        for (index, judgement) in judgements.iter().enumerate() {
            let invalid = |source| Error::InvalidJudgement { index, source };
            judgement.check().map_err(invalid)?;
            if let Subject::Graded {
                query: Query::Vector(vector),
                ..
            } = &judgement.subject
            {
                self.rules
                    .check(vector, &|| "the query's vector".into())
                    .map_err(|e| invalid(JudgementError::Vector(Box::new(e))))?;
            }
            let mut fresh: Vec<&str> = judgement.ids().collect();
            fresh.retain(|id| !known.contains_key(id));
            let found = self.vectors.hashes(&fresh)?;
            for (id, hash) in fresh.into_iter().zip(found) {
                let unknown = || invalid(JudgementError::UnknownId(id.to_owned()));
                known.insert(id, hash.ok_or_else(unknown)?);
            }
            contents.push(judgement.content(|id| known.get(id).copied()));
        }
        Ok(contents)
    }

    /// The vectors of the texts and vectors that judgements ask. Texts that were judged before are
    /// not encoded again.
    fn judged_vectors(&self, judgements: &[Judgement]) -> Result<BTreeMap<QueryHash, Vec<f32>>> {
        let mut vectors = BTreeMap::new();
        let mut texts: BTreeMap<QueryHash, (usize, &str)> = BTreeMap::new();
        for (index, judgement) in judgements.iter().enumerate() {
            let Subject::Graded { query, .. } = &judgement.subject else {
                continue;
            };
            match query {
                Query::Text(text) => {
                    let hash = hash_text(text);
                    match self.ledger.query_vector(hash)? {
                        Some(vector) => drop(vectors.insert(hash, vector)),
                        None => drop(texts.entry(hash).or_insert((index, text))),
                    }
                }
                Query::Vector(vector) => drop(vectors.insert(hash_vector(vector), vector.clone())),
                Query::Item(_) => {}
            }
        }
        if !texts.is_empty() {
            let asked: Vec<&str> = texts.values().map(|(_, text)| *text).collect();
            let encoded = self.vectors.encode_each(&asked)?;
            for ((hash, (index, _)), vector) in texts.into_iter().zip(encoded) {
                let invalid = |source| Error::InvalidJudgement { index, source };
                let vector =
                    vector.map_err(|reason| invalid(JudgementError::Unencodable(reason)))?;
                let vector = vector.ok_or_else(|| invalid(JudgementError::UnknownText))?;
                self.rules
                    .check(&vector, &|| "the query's text, encoded,".to_owned())
                    .map_err(|error| invalid(JudgementError::Vector(Box::new(error))))?;
                vectors.insert(hash, vector);
            }
        }
        Ok(vectors)
    }
}
