//! Forgetting: judgements go, and so does whatever was learned from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::registry::{Withdrawn, base_of};
use super::{Changes, Learning, Refit, RefitReport};
use crate::model::error::{Error, Result};
use crate::model::{JudgementId, LoggedJudgement, QueryHash, VersionId, VersionRecord};

/// Judgements that are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forget {
    /// All that a user gave, the metrics of their own, and their name.
    User(String),
    /// All that speak of an item (as query, as answer, or as shown beside one).
    Item(String),
    /// Those of these numbers, each of which there must be.
    Judgements(BTreeSet<JudgementId>),
}

/// Outcome of forgetting.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// Number of judgements removed.
    pub removed: usize,
    /// Users whose own metric was withdrawn.
    pub users: Vec<Relearned>,
    /// Versions withdrawn because they may have learned from them: their matrices are gone.
    pub withdrawn: Vec<VersionId>,
    /// The refit without them, when the active metric was withdrawn and judgements are left.
    pub refit: Option<RefitReport>,
    /// The version that is active now.
    pub active: VersionId,
}

/// Outcome for a user whose own metric was withdrawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Relearned {
    /// The user.
    pub user: String,
    /// The refit of their metric, when judgements of theirs are left.
    pub refit: Option<RefitReport>,
    /// The version that answers them now.
    pub active: VersionId,
}

/// Judgements and versions that were removed.
#[derive(Default)]
struct Removed {
    judgements: usize,
    withdrawn: Vec<VersionId>,
    /// Whether the shared metric went back to version 0.
    shared: bool,
    /// Users who went back to the shared metric.
    users: Vec<String>,
}

/// Judgements that are about to be removed.
struct Gone {
    ids: Vec<JudgementId>,
    /// Users who gave them; `None` is the program itself.
    users: BTreeSet<Option<String>>,
    /// Queries that no other judgement asks.
    queries: BTreeSet<QueryHash>,
}

impl Learning {
    /// Removes judgements, withdraws every version that may have learned from them, and refits
    /// where an active metric was among these, with its settings.
    ///
    /// # Errors
    /// Those of [`Collection::forget`](crate::Collection::forget).
    pub fn forget(self: &Arc<Self>, what: &Forget) -> Result<Forgotten> {
        let mut settings = self.settings_of_active()?;
        let removed = self.remove(what)?;
        let mut as_before = |user: Option<&str>| {
            let settings = settings.remove(&user.map(str::to_owned));
            self.refit().with(settings.unwrap_or_default())
        };
        let refit = if removed.shared {
            run_if_possible(as_before(None))?
        } else {
            None
        };
        let mut users = Vec::with_capacity(removed.users.len());
        for user in removed.users {
            let refit = run_if_possible(as_before(Some(&user)).user(&user))?;
            let active = self.active(Some(&user));
            users.push(Relearned {
                user,
                refit,
                active,
            });
        }
        Ok(Forgotten {
            removed: removed.judgements,
            users,
            withdrawn: removed.withdrawn,
            refit,
            active: self.active(None),
        })
    }

    /// Removes and withdraws, all or nothing.
    fn remove(&self, what: &Forget) -> Result<Removed> {
        let _refits = self.lock_refits();
        let guard = self.lock()?;
        let gone = self.concerned(what)?;
        let versions = self.ledger.versions()?;
        if gone.ids.is_empty() && !versions.iter().any(|(_, record)| what.names(record)) {
            return Ok(Removed::default());
        }
        let mut changes = Changes {
            removed_judgements: gone.ids.clone(),
            removed_queries: gone.queries.iter().copied().collect(),
            ..Changes::default()
        };
        let mut withdrawn = Vec::new();
        for (version, mut record) in versions {
            let base = base_of(version, &record)?;
            let updates_withdrawn = base.is_some_and(|base| withdrawn.contains(&base));
            let named = what.names(&record);
            let withdraws = gone.taught(&record) || updates_withdrawn || named;
            if withdraws && !record.withdrawn {
                record.withdrawn = true;
                changes.removed_metrics.push(version);
                withdrawn.push(version);
            } else if !named {
                continue;
            }
            if named {
                // The version stays a person's, whose name goes too.
                record.lineage.user = Some(String::new());
            }
            changes.put_version(version, record);
        }
        let trial_ends = self.forget_trial(&guard, &mut changes, &gone.ids, &withdrawn)?;
        let Withdrawn { shared, users } = self.withdraw(&guard, changes, &withdrawn)?;
        if trial_ends {
            self.clear_trial(&guard);
        }
        Ok(Removed {
            judgements: gone.ids.len(),
            withdrawn,
            shared,
            users,
        })
    }

    /// The judgements that are to be forgotten.
    fn concerned(&self, what: &Forget) -> Result<Gone> {
        let mut gone = Gone {
            ids: Vec::new(),
            users: BTreeSet::new(),
            queries: BTreeSet::new(),
        };
        let mut others = BTreeSet::new();
        for entry in self.ledger.judgements() {
            let (id, judgement) = entry?;
            let hash = judgement.query.hash();
            if what.concerns(id, &judgement) {
                gone.ids.push(id);
                gone.queries.extend(hash);
                gone.users.insert(judgement.user);
            } else {
                others.extend(hash);
            }
        }
        if let Forget::Judgements(ids) = what
            && let Some(unknown) = ids.iter().find(|id| !gone.ids.contains(id))
        {
            return Err(Error::UnknownJudgement {
                collection: self.name.clone(),
                judgement: *unknown,
            });
        }
        gone.queries.retain(|hash| !others.contains(hash));
        Ok(gone)
    }
}

/// Runs a refit; `None` where the judgements that are left determine no metric.
fn run_if_possible(refit: Refit) -> Result<Option<RefitReport>> {
    match refit.run() {
        Ok(report) => Ok(Some(report)),
        Err(Error::NoJudgements { .. } | Error::Learn(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Gone {
    /// Whether a version may have learned from one of them. A user's version learned from the
    /// user's own judgements, and from others' where these were its prior.
    fn taught(&self, record: &VersionRecord) -> bool {
        let Some(range) = record.fit.judgements else {
            return false;
        };
        let user = &record.lineage.user;
        let of_others = record.fit.judgements_of_others.is_some();
        let concerned = user.is_none() || of_others || self.users.contains(user);
        concerned && self.ids.iter().any(|id| range.contains(*id))
    }
}

impl Forget {
    fn concerns(&self, id: JudgementId, judgement: &LoggedJudgement) -> bool {
        match self {
            Self::User(user) => judgement.user.as_ref() == Some(user),
            Self::Judgements(ids) => ids.contains(&id),
            Self::Item(item) => {
                let mut named = judgement.judged_items().chain(&judgement.shown);
                named.any(|named| named.id == *item)
            }
        }
    }

    /// Whether a version is the own one of the user that is to be forgotten.
    fn names(&self, record: &VersionRecord) -> bool {
        matches!(self, Self::User(user) if record.lineage.user.as_ref() == Some(user))
    }
}
