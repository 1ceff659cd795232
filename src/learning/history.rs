//! History: the judgements and versions of a collection, to be carried to another collection.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::registry::{check_base, damaged};
use super::{Changes, Learning, trial};
use crate::model::error::{Error, Result};
use crate::model::{
    Activation, Guidelines, JudgementError, JudgementId, LoggedJudgement, MAX_ACTIVATIONS, Query,
    StoredJudgement, Subject, Version, VersionId, VersionRecord, hash_text, hash_vector,
};
use crate::plugin::{Metric, caught};

/// Everything a collection holds besides its settings and items.
///
/// Carried to a collection of the same settings and items it gives the same answers there, bit for
/// bit, and numbers of judgements and versions stay what they were.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct History {
    /// The judgements in their order.
    pub judgements: Vec<StoredJudgement>,
    /// The vectors of the texts that judgements ask, so that no encoder is needed to restore them.
    pub texts: BTreeMap<String, Vec<f32>>,
    /// The learned versions (version 0 is the collection's own distance), ascending.
    pub versions: Vec<StoredVersion>,
    /// The version that answers everybody.
    pub active: VersionId,
    /// The versions that answer users who have one of their own.
    pub active_users: BTreeMap<String, VersionId>,
    /// The number of the next judgement.
    pub next_judgement: JudgementId,
    /// The number of the next version.
    pub next_version: VersionId,
    /// The guidelines for those who judge; `None` where none were set.
    pub guidelines: Option<Guidelines>,
    /// When which version became everybody's, the oldest first.
    pub activations: Vec<Activation>,
}

/// A version with what its plugin keeps of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredVersion {
    /// The version.
    pub version: Version,
    /// The metric as its plugin encodes it; empty for a version that was withdrawn.
    pub metric: Vec<u8>,
}

impl StoredVersion {
    /// A version with its metric as its plugin encodes it.
    pub fn new(version: Version, metric: Vec<u8>) -> Self {
        Self { version, metric }
    }
}

impl Learning {
    /// The judgements and versions.
    ///
    /// # Errors
    /// Those of [`Collection::history`](crate::Collection::history).
    pub fn history(&self) -> Result<History> {
        let _guard = self.hold()?;
        let next = self.ledger.next_ids()?;
        let mut history = History {
            active: self.active(None),
            active_users: self.ledger.active()?.users,
            next_judgement: next.judgement,
            next_version: next.version,
            guidelines: self.ledger.guidelines()?,
            activations: self.activations()?,
            ..History::default()
        };
        for entry in self.ledger.judgements() {
            let (id, logged) = entry?;
            let vector = |hash| {
                self.ledger
                    .query_vector(hash)?
                    .ok_or_else(|| Error::Damaged {
                        part: format!("the query of judgement {id}"),
                        reason: "its vector is missing".to_owned(),
                    })
            };
            let (judgement, content) = logged.into_judgement(vector)?;
            if let Some(text) = asked_text(&judgement.subject)
                && !history.texts.contains_key(text)
            {
                history
                    .texts
                    .insert(text.to_owned(), vector(hash_text(text))?);
            }
            history.judgements.push(StoredJudgement {
                id,
                judgement,
                content,
            });
        }
        for version in self.metrics()? {
            let number = version.version;
            if number.is_built_in() {
                continue;
            }
            let metric = if version.withdrawn {
                Vec::new()
            } else {
                self.ledger
                    .metric(number)?
                    .ok_or_else(|| damaged(number, "its matrix is missing".into()))?
            };
            history.versions.push(StoredVersion { version, metric });
        }
        Ok(history)
    }

    /// Takes in the history of another collection, all or nothing.
    ///
    /// # Errors
    /// Those of [`Collection::restore`](crate::Collection::restore).
    pub fn restore(&self, history: &History) -> Result<()> {
        self.check_history(history)?;
        let _guard = self.lock()?;
        let has_judgements = self.ledger.judgements().next().transpose()?.is_some();
        if has_judgements || !self.ledger.versions()?.is_empty() {
            return Err(Error::HistoryExists {
                collection: self.name.clone(),
            });
        }
        let mut changes = Changes {
            active: Some(history.active),
            next_judgement: Some(history.next_judgement),
            next_version: Some(history.next_version),
            guidelines: history.guidelines.clone(),
            activations: history.activations.clone(),
            ..Changes::default()
        };
        let mut queries = BTreeMap::new();
        for stored in &history.judgements {
            let judgement = &stored.judgement;
            match &judgement.subject {
                Subject::Graded {
                    query: Query::Vector(vector),
                    ..
                } => drop(queries.insert(hash_vector(vector), vector.clone())),
                Subject::Graded {
                    query: Query::Text(text),
                    ..
                } => {
                    let vector = history.texts.get(text).cloned().unwrap_or_default();
                    queries.insert(hash_text(text), vector);
                }
                _ => {}
            }
            let logged = LoggedJudgement::of(judgement, &stored.content);
            changes.judgements.push((stored.id, logged));
        }
        changes.queries = queries.into_iter().collect();
        for StoredVersion { version, metric } in &history.versions {
            let number = version.version;
            let record = VersionRecord::imported(version)
                .map_err(|error| invalid_version(number, &error.to_string()))?;
            changes.versions.push((number, record));
            if !version.withdrawn {
                changes.metrics.push((number, metric.clone()));
            }
        }
        for (user, version) in &history.active_users {
            changes.set_active(Some(user), *version);
        }
        self.commit(changes)?;
        self.registry.reload(&*self.ledger)?;
        self.trials.reload(&*self.ledger)?;
        self.announce_active();
        Ok(())
    }

    /// Checks a history as untrusted input.
    fn check_history(&self, history: &History) -> Result<()> {
        // At least as many numbers as are taken in are left for what comes after.
        if history.next_judgement.0 > u64::MAX / 2 || history.next_version.0 > u32::MAX / 2 {
            return Err(Error::HistoryNumbers {
                next_judgement: history.next_judgement,
                next_version: history.next_version,
            });
        }
        if let Some(guidelines) = &history.guidelines {
            guidelines.check()?;
        }
        if history.activations.len() > MAX_ACTIVATIONS {
            return Err(Error::InvalidSetting {
                setting: "the list of activations",
                value: format!("of {}", history.activations.len()),
                allowed: format!("of at most {MAX_ACTIVATIONS}"),
            });
        }
        self.check_judgements(history)?;
        let usable = self.check_versions(history)?;
        let trials = history
            .versions
            .iter()
            .filter_map(|stored| Some((stored.version.version, stored.version.trial.as_ref()?)));
        let for_everybody = |version| usable.get(&version).is_some_and(Option::is_none);
        let judgements = history.judgements.len();
        trial::check(trials, judgements, history.next_judgement, &for_everybody)
            .map_err(|(version, reason)| invalid_version(version, &reason))?;
        let users = history.active_users.iter();
        let users = users.map(|(user, version)| (Some(user.as_str()), *version));
        for (user, version) in users.chain([(None, history.active)]) {
            match usable.get(&version) {
                Some(whose) if *whose == user || whose.is_none() => {}
                _ => {
                    let reason = "it is active, but there is no such version for everybody";
                    return Err(invalid_version(version, reason));
                }
            }
        }
        Ok(())
    }

    fn check_judgements(&self, history: &History) -> Result<()> {
        let mut next = JudgementId(0);
        for (index, stored) in history.judgements.iter().enumerate() {
            let StoredJudgement {
                id,
                judgement,
                content,
            } = stored;
            let invalid = |source| Error::InvalidJudgement { index, source };
            judgement.check().map_err(invalid)?;
            if *id < next || *id >= history.next_judgement {
                return Err(invalid(JudgementError::Order(*id)));
            }
            next = JudgementId(id.0 + 1);
            let named = judgement.content(|_| None);
            if content.query.is_some() != named.query.is_some()
                || content.shown.len() != named.shown.len()
            {
                return Err(invalid(JudgementError::Content));
            }
            let (vector, what) = match &judgement.subject {
                Subject::Graded {
                    query: Query::Vector(vector),
                    ..
                } => (vector, "the query's vector"),
                Subject::Graded {
                    query: Query::Text(text),
                    ..
                } => {
                    let vector = history.texts.get(text);
                    let vector = vector.ok_or_else(|| invalid(JudgementError::NoTextVector))?;
                    (vector, "the text's vector")
                }
                _ => continue,
            };
            self.rules
                .check(vector, &|| what.to_owned())
                .map_err(|e| invalid(JudgementError::Vector(Box::new(e))))?;
        }
        Ok(())
    }

    /// Checks the versions of a history. Gives those that can answer, with their users.
    fn check_versions<'a>(
        &self,
        history: &'a History,
    ) -> Result<BTreeMap<VersionId, Option<&'a str>>> {
        let mut usable = BTreeMap::from([(VersionId::BUILT_IN, None)]);
        let mut bases: BTreeMap<VersionId, Arc<dyn Metric>> = BTreeMap::new();
        let mut next = VersionId(1);
        for stored in &history.versions {
            let version = &stored.version;
            let number = version.version;
            let parent = version.parent.unwrap_or(VersionId(u32::MAX));
            if number < next || number >= history.next_version || parent >= number {
                let reason = "its number or its parent's is out of order";
                return Err(invalid_version(number, reason));
            }
            next = VersionId(number.0 + 1);
            if version.withdrawn {
                continue;
            }
            let metric = self.check_metric(stored, &bases)?;
            if version.base.is_none() {
                bases.insert(number, metric);
            }
            usable.insert(number, version.user.as_deref());
        }
        Ok(usable)
    }

    /// Decodes the metric of a version, given the metrics that it may be an update of.
    fn check_metric(
        &self,
        stored: &StoredVersion,
        bases: &BTreeMap<VersionId, Arc<dyn Metric>>,
    ) -> Result<Arc<dyn Metric>> {
        let version = &stored.version;
        let number = version.version;
        let unreadable = |reason: String| invalid_version(number, &reason);
        let plugin = self.plugin_named(&version.plugin).map_err(|_| {
            unreadable(format!(
                "it was made by the plugin {:?}, which is not registered",
                version.plugin
            ))
        })?;
        let base = match check_base(number, version.base).map_err(|e| unreadable(e.to_string()))? {
            Some(base) => Some(bases.get(&base).ok_or_else(|| {
                unreadable(
                    "it is an update of another version, which is not there before it".into(),
                )
            })?),
            None => None,
        };
        let metric = caught("decode", || plugin.decode(&stored.metric, base))
            .map_err(|error| unreadable(error.to_string()))?;
        self.check_conformance(&metric, plugin, base)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(metric)
    }
}

/// The text that a judgement asks; `None` where it asks none.
fn asked_text(subject: &Subject) -> Option<&str> {
    match subject {
        Subject::Graded {
            query: Query::Text(text),
            ..
        } => Some(text),
        _ => None,
    }
}

fn invalid_version(version: VersionId, reason: &str) -> Error {
    Error::InvalidVersion {
        version,
        reason: reason.to_owned(),
    }
}
