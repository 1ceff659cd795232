//! Which judgements teach: those that speak of what the collection holds.
//!
//! A judgement speaks of the content that was judged. When an item of it is deleted, or replaced by
//! one of another content, the judgement stays in the log and teaches nothing: all that learning
//! reads goes through [`Learning::teaching`], so it is as if the judgement had never been given.
//! When the same content comes back under the same id, it teaches again.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::{Entry, ItemContent, Learning, Revision};
use crate::model::error::Result;
use crate::model::{ContentHash, JudgementId, LoggedItem, LoggedJudgement};

/// A judgement that teaches nothing at present, because of items that no longer hold what was
/// judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StaleJudgement {
    /// Number of the judgement.
    pub judgement: JudgementId,
    /// Ids of its items that were replaced by ones of another content.
    pub changed: Vec<String>,
    /// Ids of its items that are not there.
    pub gone: Vec<String>,
}

/// Judgements of the log, without those that do not teach.
pub(super) struct Teaching {
    pub(super) judgements: Vec<Entry>,
    /// Number of judgements that were left out.
    pub(super) stale: usize,
    /// What the items that they name hold now.
    pub(super) contents: Contents,
}

/// What items hold now, by id; items that are gone are not there.
#[derive(Default)]
pub(super) struct Contents(HashMap<String, ItemContent>);

impl Contents {
    /// The vector of an item, as it is searched, where the item holds what was judged.
    pub(super) fn vector(&self, item: &LoggedItem) -> Option<&[f32]> {
        let now = self.0.get(&item.id)?;
        (now.hash == item.content).then_some(now.vector.as_slice())
    }

    /// Whether the items of a judgement hold what was judged.
    fn teaches(&self, judgement: &LoggedJudgement) -> bool {
        judgement
            .judged_items()
            .all(|item| self.vector(item).is_some())
    }
}

/// The items of a judgement that do not hold what was judged, given what they hold; `None` where it
/// teaches.
fn stale(
    judgement: JudgementId,
    logged: &LoggedJudgement,
    now: &HashMap<&str, ContentHash>,
) -> Option<StaleJudgement> {
    let mut stale = StaleJudgement {
        judgement,
        changed: Vec::new(),
        gone: Vec::new(),
    };
    for item in logged.judged_items() {
        match now.get(item.id.as_str()) {
            None => stale.gone.push(item.id.clone()),
            Some(hash) if *hash != item.content => stale.changed.push(item.id.clone()),
            Some(_) => {}
        }
    }
    (!stale.changed.is_empty() || !stale.gone.is_empty()).then_some(stale)
}

/// The distinct ids of items.
fn distinct<'a>(items: impl Iterator<Item = &'a LoggedItem>) -> Vec<&'a str> {
    let mut known = HashSet::new();
    items
        .map(|item| item.id.as_str())
        .filter(|id| known.insert(*id))
        .collect()
}

/// The number of judgements that teach nothing, as counted after so many writes of items and of
/// judgements.
#[derive(Default)]
pub(super) struct StaleCount(Mutex<Option<(Counted, usize)>>);

/// What a count depends on: the items, the number of the next judgement, and the number of
/// judgements, which tells when some were removed.
type Counted = (Revision, JudgementId, usize);

impl Learning {
    /// What the items that judgements name hold now, those that were merely shown included.
    fn contents_of(&self, judgements: &[Entry]) -> Result<Contents> {
        let named = judgements
            .iter()
            .flat_map(|(_, judgement)| judgement.judged_items().chain(&judgement.shown));
        let ids = distinct(named);
        let found = self.vectors.contents(&ids)?;
        let there = ids
            .into_iter()
            .zip(found)
            .filter_map(|(id, content)| Some((id.to_owned(), content?)));
        Ok(Contents(there.collect()))
    }

    /// The judgements that pass a choice and teach, in the order of their numbers.
    pub(super) fn teaching(&self, is_chosen: impl Fn(&Entry) -> bool) -> Result<Teaching> {
        let mut judgements = Vec::new();
        for entry in self.ledger.judgements() {
            judgements.extend(Some(entry?).filter(&is_chosen));
        }
        let contents = self.contents_of(&judgements)?;
        let all = judgements.len();
        judgements.retain(|(_, judgement)| contents.teaches(judgement));
        Ok(Teaching {
            stale: all - judgements.len(),
            judgements,
            contents,
        })
    }

    /// The judgements that pass a choice and teach, in the order of their numbers, without what
    /// their items hold.
    pub(super) fn counting(&self, is_chosen: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>> {
        let mut judgements = Vec::new();
        for entry in self.ledger.judgements() {
            judgements.extend(Some(entry?).filter(&is_chosen));
        }
        let stale: HashSet<JudgementId> = self
            .stale_among(&judgements)?
            .into_iter()
            .map(|stale| stale.judgement)
            .collect();
        judgements.retain(|(id, _)| !stale.contains(id));
        Ok(judgements)
    }

    /// The judgements that teach nothing at present, in the order of their numbers.
    ///
    /// # Errors
    /// Those of [`Collection::stale_judgements`](crate::Collection::stale_judgements).
    pub fn stale_judgements(&self) -> Result<Vec<StaleJudgement>> {
        let judgements: Vec<Entry> = self.ledger.judgements().collect::<Result<_>>()?;
        self.stale_among(&judgements)
    }

    /// The number of judgements that teach nothing at present, of those that there are. It is
    /// counted again only after a write.
    pub(crate) fn stale_count(&self, judgements: usize) -> Result<usize> {
        // Read before what is counted: a write meanwhile makes the count one of an older state.
        let at = (
            self.vectors.revision()?,
            self.ledger.next_ids()?.judgement,
            judgements,
        );
        let cached = *self.stale.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((counted, stale)) = cached
            && counted == at
        {
            return Ok(stale);
        }
        let stale = self.stale_judgements()?.len();
        *self.stale.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, stale));
        Ok(stale)
    }

    /// Those of some judgements that teach nothing at present.
    fn stale_among(&self, judgements: &[Entry]) -> Result<Vec<StaleJudgement>> {
        let named = judgements.iter().flat_map(|(_, j)| j.judged_items());
        let ids = distinct(named);
        let hashes = self.vectors.hashes(&ids)?;
        let there = ids.into_iter().zip(hashes);
        let now = there.filter_map(|(id, hash)| Some((id, hash?))).collect();
        let stale = |(id, judgement): &Entry| stale(*id, judgement, &now);
        Ok(judgements.iter().filter_map(stale).collect())
    }
}
