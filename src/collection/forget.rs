//! Forgetting: judgements go, and so does what was learned from them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::refit::OTHERS;
use super::versions::base_of;
use super::{Collection, Inner, Refit, RefitReport};
use crate::error::{Error, Result};
use crate::feedback::query_hash;
use crate::persist::{JudgementRecord, QueryRecord, VersionRecord};

/// Whose judgements are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forget {
    /// All that a user gave, the metrics of their own, and their name.
    User(String),
    /// All that speak of an item (as query, as answer, or as shown beside one).
    Item(String),
}

/// What was forgotten.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// Judgements removed.
    pub removed: usize,
    /// Users whose own metric was withdrawn.
    pub users: Vec<Relearned>,
    /// Versions withdrawn because they may have learned from them: their matrices are gone.
    pub withdrawn: Vec<u32>,
    /// The refit without them, when the active metric was withdrawn and judgements are left.
    pub refit: Option<RefitReport>,
    /// The version that is active now.
    pub active: u32,
}

/// What became of a user whose own metric was withdrawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Relearned {
    /// The user.
    pub user: String,
    /// The refit of their metric, when judgements of theirs are left.
    pub refit: Option<RefitReport>,
    /// The version that answers them now.
    pub active: u32,
}

impl Collection {
    /// Removes judgements, withdraws every version that may have learned from them, and, where the
    /// active metric was among these, refits without them, with the same half-life, share of a user
    /// and rank: the metric then equals one that never saw them. The learner is chosen, and the
    /// gate decides, anew.
    ///
    /// # Errors
    /// Storage errors. When the refit fails the judgements are gone all the same, and the metric is
    /// the built-in one.
    pub fn forget(&self, what: &Forget) -> Result<Forgotten> {
        let before = self.inner.settings_of_active()?;
        let Removed {
            judgements: removed,
            withdrawn,
            reset,
            users,
        } = self.inner.forget(what)?;
        let anew = |refit: Refit| match refit.run() {
            Ok(report) => Ok(Some(report)),
            Err(Error::NoJudgements(_) | Error::Learn(_)) => Ok(None),
            Err(error) => Err(error),
        };
        let as_before = |user: Option<&str>| {
            let settings = before
                .get(&user.map(str::to_owned))
                .copied()
                .unwrap_or_default();
            self.refit().with(settings)
        };
        let refit = if reset { anew(as_before(None))? } else { None };
        let relearned = |user: String| {
            let refit = anew(as_before(Some(&user)).user(&user))?;
            Ok(Relearned {
                active: self.active_metric(Some(&user)),
                user,
                refit,
            })
        };
        let users = users.into_iter().map(relearned).collect::<Result<_>>()?;
        Ok(Forgotten {
            removed,
            users,
            withdrawn,
            refit,
            active: self.active_metric(None),
        })
    }
}

/// What went.
#[derive(Default)]
struct Removed {
    judgements: usize,
    withdrawn: Vec<u32>,
    /// The shared metric went back to version 0.
    reset: bool,
    /// Users who went back to the shared metric.
    users: Vec<String>,
}

impl Inner {
    /// Removes and withdraws in one transaction.
    fn forget(&self, what: &Forget) -> Result<Removed> {
        let _refitting = self
            .refit
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
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
        let versions = self.shelf.versions()?;
        let named = |record: &VersionRecord| matches!(what, Forget::User(user) if record.user.as_ref() == Some(user));
        if gone.is_empty() && !versions.iter().any(|(_, record)| named(record)) {
            return Ok(Removed::default());
        }
        let mut writes = self.shelf.write();
        for sequence in &gone {
            writes.remove_judgement(*sequence)?;
        }
        for hash in self.shelf.query_hashes() {
            let hash = hash?;
            if !kept_queries.contains(&hash) {
                writes.remove_query(hash)?;
            }
        }
        let mut withdrawn = Vec::new();
        for (version, mut record) in versions {
            let learned_from = record.judgements.is_some_and(|(first, last)| {
                gone.iter().any(|s| (first..=last).contains(s))
                    && (record.user.is_none()
                        || users.contains(&record.user)
                        || record.parameters.contains_key(OTHERS))
            });
            let of_withdrawn =
                base_of(version, &record.parameters)?.is_some_and(|base| withdrawn.contains(&base));
            let named = named(&record);
            if (learned_from || of_withdrawn || named) && !record.withdrawn {
                record.withdrawn = true;
                writes.remove_metric(version)?;
                withdrawn.push(version);
            } else if !named {
                continue;
            }
            if named {
                // It stays a person's, whose name goes too.
                record.user = Some(String::new());
            }
            writes.put_version_header(version, &record)?;
        }
        let trial_ends = self.forget_trial(&mut writes, &gone, &withdrawn)?;
        let (reset, users) = self.withdraw(writes, &withdrawn)?;
        if trial_ends {
            self.clear_trial();
        }
        Ok(Removed {
            judgements: gone.len(),
            withdrawn,
            reset,
            users,
        })
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
