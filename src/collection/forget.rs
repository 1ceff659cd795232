//! Forgetting: judgements go, and so does what was learned from them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Collection, Inner, RefitReport};
use crate::error::{Error, Result};
use crate::feedback::query_hash;
use crate::persist::{JudgementRecord, QueryRecord};

/// Whose judgements are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forget {
    /// All that a user gave.
    User(String),
    /// All that speak of an item (as query, as answer, or as shown beside one).
    Item(String),
}

/// What was forgotten.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forgotten {
    /// Judgements removed.
    pub removed: usize,
    /// Versions withdrawn because they may have learned from them: their matrices are gone.
    pub withdrawn: Vec<u32>,
    /// The refit without them, when the active metric was withdrawn and judgements are left.
    pub refit: Option<RefitReport>,
    /// The version that is active now.
    pub active: u32,
}

impl Collection {
    /// Removes judgements, withdraws every version that may have learned from them, and, where the active metric was among
    /// these, refits without them: the metric then equals one that never saw them.
    ///
    /// # Errors
    /// Storage errors. When the refit fails the judgements are gone all the same, and the metric is Euclidean.
    pub fn forget(&self, what: &Forget) -> Result<Forgotten> {
        let (removed, withdrawn, reset) = self.inner.forget(what)?;
        let refit = match reset.then(|| self.refit().run()) {
            Some(Ok(report)) => Some(report),
            None | Some(Err(Error::NoJudgements(_) | Error::Learn(_))) => None,
            Some(Err(error)) => return Err(error),
        };
        Ok(Forgotten { removed, withdrawn, refit, active: self.active_metric(None) })
    }
}

impl Inner {
    /// Removes and withdraws in one transaction; says whether the shared metric went back to version 0.
    fn forget(&self, what: &Forget) -> Result<(usize, Vec<u32>, bool)> {
        let _refitting = self.refit.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _writing = self.lock_writer();
        let mut gone = Vec::new();
        let mut users = BTreeSet::new();
        let mut kept_queries = BTreeSet::new();
        for entry in self.shelf.judgements() {
            let (sequence, record) = entry?;
            if what.concerns(&record) {
                gone.push(sequence);
                users.insert(record.user);
            } else {
                kept_queries.extend(query_hash(&record.query));
            }
        }
        if gone.is_empty() {
            return Ok((0, Vec::new(), false));
        }
        let mut writes = self.shelf.write();
        for sequence in &gone {
            writes.remove_judgement(*sequence);
        }
        for hash in self.shelf.query_hashes() {
            let hash = hash?;
            if !kept_queries.contains(&hash) {
                writes.remove_query(hash);
            }
        }
        let mut withdrawn = Vec::new();
        for (version, mut record) in self.shelf.versions()? {
            let learned_from = record.judgements.is_some_and(|(first, last)| {
                gone.iter().any(|s| (first..=last).contains(s))
                    && (record.user.is_none() || users.contains(&record.user))
            });
            if learned_from && !record.withdrawn {
                record.withdrawn = true;
                writes.put_version_header(version, &record)?;
                writes.remove_metric(version)?;
                withdrawn.push(version);
            }
        }
        let trial_ends = self.forget_trial(&mut writes, &gone, &withdrawn)?;
        let reset = self.withdraw(writes, &withdrawn)?;
        if trial_ends {
            self.clear_trial();
        }
        Ok((gone.len(), withdrawn, reset))
    }
}

impl Forget {
    fn concerns(&self, record: &JudgementRecord) -> bool {
        match self {
            Self::User(user) => record.user.as_ref() == Some(user),
            Self::Item(item) => {
                record.item == *item
                    || record.shown.contains(item)
                    || matches!(&record.query, QueryRecord::Item(query) if query == item)
            }
        }
    }
}
