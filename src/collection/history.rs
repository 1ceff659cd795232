//! What a collection has learned, to be carried to another collection: its judgements and the
//! versions of its metric.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::versions::base_of;
use super::{Collection, Inner, trial};
use crate::error::{Error, Result};
use crate::feedback::{StoredJudgement, Subject, from_record, hash_text, hash_vector, to_record};
use crate::metric::{Version, record_of};
use crate::plugin::Metric;
use crate::query::Query;

/// Everything a collection holds besides its settings and items.
///
/// Carried to a collection of the same settings and items it gives the same answers there, bit for
/// bit, and numbers of judgements and versions stay what they were.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// The judgements in their order.
    pub judgements: Vec<StoredJudgement>,
    /// The vectors of the texts that judgements ask, so that no encoder is needed to restore them.
    pub texts: BTreeMap<String, Vec<f32>>,
    /// The learned versions (version 0 is the collection's own distance), ascending.
    pub versions: Vec<StoredVersion>,
    /// The version that answers everybody.
    pub active: u32,
    /// The versions that answer users who have one of their own.
    pub active_users: BTreeMap<String, u32>,
    /// The number of the next judgement.
    pub next_judgement: u64,
    /// The number of the next version.
    pub next_version: u32,
}

/// A version with what its plugin keeps of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVersion {
    /// The version.
    pub version: Version,
    /// The metric as its plugin encodes it; empty for a version that was withdrawn.
    pub metric: Vec<u8>,
}

impl Collection {
    /// The collection's judgements and versions.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn history(&self) -> Result<History> {
        let inner = &self.inner;
        let _writing = inner.lock_writer();
        let mut history = History {
            active: inner.metrics.active(None),
            active_users: inner.shelf.active()?.users,
            next_judgement: inner.shelf.next_judgement()?,
            next_version: inner.shelf.next_version()?,
            ..History::default()
        };
        let damaged = |part: String, reason: &str| Error::Damaged {
            part,
            reason: reason.to_owned(),
        };
        for entry in inner.shelf.judgements() {
            let (sequence, record) = entry?;
            let numbers = |hash| {
                let part = format!("the query of judgement {sequence}");
                inner
                    .shelf
                    .query(hash)?
                    .ok_or_else(|| damaged(part, "its vector is missing"))
            };
            let judgement = from_record(record, numbers)?;
            if let Subject::Graded {
                query: Query::Text(text),
                ..
            } = &judgement.subject
                && !history.texts.contains_key(text)
            {
                history
                    .texts
                    .insert(text.clone(), numbers(hash_text(text))?);
            }
            history.judgements.push(StoredJudgement {
                sequence,
                judgement,
            });
        }
        for (number, record) in inner.shelf.versions()? {
            let metric = inner.shelf.metric(number)?;
            let metric = match (metric, record.withdrawn) {
                (_, true) => Vec::new(),
                (Some(metric), false) => metric,
                (None, false) => {
                    return Err(damaged(
                        format!("metric version {number}"),
                        "its matrix is missing",
                    ));
                }
            };
            let active = record
                .user
                .as_deref()
                .map_or(history.active == number, |user| {
                    history.active_users.get(user) == Some(&number)
                });
            history.versions.push(StoredVersion {
                version: Version::read(number, record, active),
                metric,
            });
        }
        Ok(history)
    }

    /// Takes in the history of another collection: all of it, durably, or nothing. Judgements may
    /// speak of items that are not there (they were deleted since).
    ///
    /// # Errors
    /// [`Error::Invalid`] when this collection has judgements or versions of its own, or when the
    /// history contradicts itself; [`Error::InvalidVersion`] for a version that cannot be, or that
    /// no plugin here can read; [`Error::InvalidJudgement`].
    pub fn restore(&self, history: &History) -> Result<()> {
        let inner = &self.inner;
        inner.check_history(history)?;
        let _writing = inner.lock_writer();
        if inner.shelf.judgement_count() > 0 || !inner.shelf.versions()?.is_empty() {
            let message = "a history can be restored only where there is none: the collection has judgements or metrics";
            return Err(Error::Invalid(message.to_owned()));
        }
        let mut writes = inner.shelf.write();
        for StoredJudgement {
            sequence,
            judgement,
        } in &history.judgements
        {
            match &judgement.subject {
                Subject::Graded {
                    query: Query::Vector(vector),
                    ..
                } => {
                    writes.put_query(hash_vector(vector), vector)?;
                }
                Subject::Graded {
                    query: Query::Text(text),
                    ..
                } => {
                    let vector = history
                        .texts
                        .get(text)
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    writes.put_query(hash_text(text), vector)?;
                }
                _ => {}
            }
            writes.put_judgement(*sequence, &to_record(judgement))?;
        }
        for StoredVersion { version, metric } in &history.versions {
            let record =
                record_of(version).map_err(|reason| invalid_version(version.version, &reason))?;
            if version.withdrawn {
                writes.put_version_header(version.version, &record)?;
            } else {
                writes.put_version(version.version, &record, metric)?;
            }
        }
        for (user, version) in &history.active_users {
            writes.set_active(Some(user), *version);
        }
        writes.set_active(None, history.active);
        writes.set_next_judgement(history.next_judgement);
        writes.set_next_version(history.next_version);
        writes.commit()?;
        inner.metrics.reload(&inner.shelf)?;
        inner.trials.reload(&inner.shelf)?;
        inner.announce_active();
        Ok(())
    }
}

fn invalid_version(version: u32, reason: &str) -> Error {
    Error::InvalidVersion {
        version,
        reason: reason.to_owned(),
    }
}

impl Inner {
    /// Checks a history as if nobody of us had written it.
    fn check_history(&self, history: &History) -> Result<()> {
        // As many as are taken in can be given again before the numbers end.
        if history.next_judgement > u64::MAX / 2 || history.next_version > u32::MAX / 2 {
            return Err(Error::Invalid(format!(
                "the numbers of the next judgement ({}) and version ({}) leave no room for more",
                history.next_judgement, history.next_version
            )));
        }
        let mut next = 0;
        for (
            index,
            StoredJudgement {
                sequence,
                judgement,
            },
        ) in history.judgements.iter().enumerate()
        {
            let invalid = |reason: String| Error::InvalidJudgement { index, reason };
            judgement.check().map_err(invalid)?;
            if *sequence < next || *sequence >= history.next_judgement {
                return Err(invalid(format!("its number {sequence} is out of order")));
            }
            next = sequence + 1;
            match &judgement.subject {
                Subject::Graded {
                    query: Query::Vector(vector),
                    ..
                } => {
                    self.check_vector(vector, &|| "the query's vector".into())
                        .map_err(|e| invalid(e.to_string()))?;
                }
                Subject::Graded {
                    query: Query::Text(text),
                    ..
                } => {
                    let vector = history
                        .texts
                        .get(text)
                        .ok_or_else(|| invalid("its text has no vector".into()))?;
                    self.check_vector(vector, &|| "the text's vector".into())
                        .map_err(|e| invalid(e.to_string()))?;
                }
                _ => {}
            }
        }
        let mut usable: BTreeMap<u32, Option<&str>> = BTreeMap::from([(0, None)]);
        let mut bases: BTreeMap<u32, Arc<dyn Metric>> = BTreeMap::new();
        let mut next = 1;
        for StoredVersion { version, metric } in &history.versions {
            let number = version.version;
            let parent = version.parent.unwrap_or(u32::MAX);
            if number < next || number >= history.next_version || parent >= number {
                return Err(invalid_version(
                    number,
                    "its number or its parent's is out of order",
                ));
            }
            next = number + 1;
            if !version.withdrawn {
                let plugin = self
                    .plugins
                    .iter()
                    .find(|p| p.name() == version.plugin)
                    .ok_or_else(|| {
                        let reason = format!(
                            "it was made by the plugin {:?}, which is not registered",
                            version.plugin
                        );
                        invalid_version(number, &reason)
                    })?;
                let unreadable = |error: Error| invalid_version(number, &error.to_string());
                let base = match base_of(number, &version.parameters).map_err(unreadable)? {
                    Some(base) => Some(bases.get(&base).ok_or_else(|| {
                        invalid_version(
                            number,
                            "it is a change of another version, which is not there before it",
                        )
                    })?),
                    None => None,
                };
                let metric = plugin
                    .decode(metric, base)
                    .map_err(|error| invalid_version(number, &error.to_string()))?;
                if metric.dim() != self.dim {
                    return Err(invalid_version(
                        number,
                        "its dimension is not the collection's",
                    ));
                }
                if base.is_none() {
                    bases.insert(number, metric);
                }
                usable.insert(number, version.user.as_deref());
            }
        }
        let trials = history
            .versions
            .iter()
            .map(|stored| (stored.version.version, &stored.version.parameters));
        let for_everybody = |version: u32| usable.get(&version).is_some_and(Option::is_none);
        trial::check(
            trials,
            history.judgements.len(),
            history.next_judgement,
            &for_everybody,
        )
        .map_err(|(version, reason)| invalid_version(version, &reason))?;
        let users = history
            .active_users
            .iter()
            .map(|(user, version)| (Some(user.as_str()), *version));
        for (user, version) in users.chain([(None, history.active)]) {
            match usable.get(&version) {
                Some(whose) if *whose == user || whose.is_none() => {}
                _ => {
                    return Err(invalid_version(
                        version,
                        "it is active, but there is no such version for everybody",
                    ));
                }
            }
        }
        Ok(())
    }
}
