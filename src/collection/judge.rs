//! Taking and reading judgements.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::{Collection, Inner};
use crate::error::{Error, Result, list};
use crate::feedback::{
    Judgement, StoredJudgement, Subject, from_record, hash_text, hash_vector, to_record,
};
use crate::query::Query;

impl Collection {
    /// Stores one judgement, durably; gives its sequence number.
    ///
    /// # Errors
    /// Those of [`Self::judge_all`].
    pub fn judge(&self, judgement: Judgement) -> Result<u64> {
        Ok(self.judge_all([judgement])?.start)
    }

    /// Stores judgements, all or none, durably; gives their sequence numbers.
    ///
    /// Clicks (judgements of [`Source::Click`](crate::Source::Click) with what was shown) on an
    /// answer of the running trial count for it, and may decide it: see [`Self::start_trial`].
    ///
    /// A text that was judged is encoded once and its numbers kept, so that a refit does not wait
    /// for the encoder.
    ///
    /// # Errors
    /// [`Error::InvalidJudgement`] with its position for a grade, weight, user, vector or id that
    /// cannot be; encoder and storage errors.
    pub fn judge_all(&self, judgements: impl IntoIterator<Item = Judgement>) -> Result<Range<u64>> {
        let stored = self
            .inner
            .judge(&judgements.into_iter().collect::<Vec<_>>())?;
        self.count_for_refit((stored.end - stored.start) as usize);
        Ok(stored)
    }

    /// Every judgement, in the order they were given.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn judgements(&self) -> Result<Vec<StoredJudgement>> {
        let shelf = &self.inner.shelf;
        shelf
            .judgements()
            .map(|entry| {
                let (sequence, record) = entry?;
                Ok(StoredJudgement {
                    sequence,
                    judgement: from_record(record, |hash| shelf.judged_query(hash))?,
                })
            })
            .collect()
    }

    /// Number of judgements.
    pub fn judgement_count(&self) -> usize {
        self.inner.shelf.judgement_count()
    }
}

impl Inner {
    fn judge(&self, judgements: &[Judgement]) -> Result<Range<u64>> {
        let mut known: HashSet<&str> = HashSet::new();
        for (index, judgement) in judgements.iter().enumerate() {
            let invalid = |reason: String| Error::InvalidJudgement { index, reason };
            judgement.check().map_err(invalid)?;
            if let Subject::Graded {
                query: Query::Vector(vector),
                ..
            } = &judgement.subject
            {
                self.check_vector(vector, &|| "the query's vector".into())
                    .map_err(|e| invalid(e.to_string()))?;
            }
            for id in judgement.ids() {
                if !known.contains(id) {
                    if self.shelf.slot(id)?.is_none() {
                        return Err(invalid(format!(
                            "the collection has no item with the id {}",
                            list(&[id.to_owned()])
                        )));
                    }
                    known.insert(id);
                }
            }
        }
        let queries = self.judged_queries(judgements)?;
        let _writing = self.lock_writer();
        let first = self.shelf.next_judgement()?;
        let next = first.checked_add(judgements.len() as u64).ok_or_else(|| {
            Error::Invalid(format!(
                "collection {:?} is out of numbers for judgements",
                self.name
            ))
        })?;
        let mut writes = self.shelf.write();
        for (hash, vector) in queries {
            writes.put_query(hash, &vector)?;
        }
        for (sequence, judgement) in (first..next).zip(judgements) {
            writes.put_judgement(sequence, &to_record(judgement))?;
        }
        writes.set_next_judgement(next);
        let counted = self.count_clicks(judgements, &mut writes)?;
        match &counted.promoted {
            Some(challenger) => self.activate(writes, None, challenger)?,
            None => writes.commit()?,
        }
        self.counted(counted);
        Ok(first..next)
    }

    /// The numbers of the queries judged; those of texts that were judged before are not computed
    /// again.
    fn judged_queries(&self, judgements: &[Judgement]) -> Result<BTreeMap<[u8; 16], Vec<f32>>> {
        let mut vectors = BTreeMap::new();
        let mut texts: BTreeMap<[u8; 16], (usize, &str)> = BTreeMap::new();
        for (index, judgement) in judgements.iter().enumerate() {
            match &judgement.subject {
                Subject::Graded {
                    query: Query::Text(text),
                    ..
                } => {
                    let hash = hash_text(text);
                    match self.shelf.query(hash)? {
                        Some(vector) => drop(vectors.insert(hash, vector)),
                        None => drop(texts.entry(hash).or_insert((index, text))),
                    }
                }
                Subject::Graded {
                    query: Query::Vector(vector),
                    ..
                } => {
                    vectors.insert(hash_vector(vector), vector.clone());
                }
                _ => {}
            }
        }
        if !texts.is_empty() {
            let encoded =
                self.encode(&texts.values().map(|(_, text)| *text).collect::<Vec<_>>())?;
            for ((hash, (index, _)), row) in texts.iter().zip(encoded.vectors.rows()) {
                let (index, row) = (*index, row.to_vec());
                let what = || "the query's text, encoded,".to_owned();
                self.check_vector(&row, &what)
                    .map_err(|error| Error::InvalidJudgement {
                        index,
                        reason: error.to_string(),
                    })?;
                vectors.insert(*hash, row);
            }
        }
        Ok(vectors)
    }
}
