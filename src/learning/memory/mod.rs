//! Memory of judgements: what was said of a question shows when it, or one like it, is asked again.
//!
//! A metric holds for all questions. What was said of one question moves that question: a query `q`
//! is searched as
//!
//! ```text
//! q' = q + strength * sum_j k_j (p_j - n_j) / (sum_j k_j + 0.2)
//! k_j = exp(-|q - q_j|^2 / s_j)
//! ```
//!
//! over the judged queries `q_j`, where `p_j` is the weighted mean of `q_j` and its relevant items,
//! `n_j` that of `q_j` and its irrelevant ones, and `s_j` is the width times the median squared
//! distance of `q_j` from its judged items. So the step of one query is that of Rocchio (*Relevance
//! feedback in information retrieval*, 1971), and the steps of several are averaged as by Nadaraya
//! and Watson (1964). The metric rewrites `q'` like any other query, so that graphs and biases stay
//! as they are, and nothing here depends on the metric.
//!
//! All of it is computed from the log, so that a judgement acts at once and a forgotten one not at
//! all. Width and strength are those that the last refit [found](validate) to help.

mod groups;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::examples::{Selection, Whose};
use super::explain::Influence;
use super::{Learning, Versioned};
use crate::model::error::Result;
use crate::model::{
    JudgementId, LoggedItem, MemorySettings, Query, RefitSettings, Source, query_key,
};
use groups::{Groups, Judged};

pub(super) use validate::validate;

/// Weight of a person's own judgements beside everybody's, in answers to that person.
const OWN: f64 = 3.0;
/// Largest number of people whose judgements are kept ready.
const MAX_USERS: usize = 256;

/// What is remembered for the answers to one person, or to everybody.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    settings: MemorySettings,
    everybody: Arc<Groups>,
    own: Option<Arc<Groups>>,
}

impl Memory {
    /// The query to search in the place of one (`d` numbers); `None` where nothing is remembered
    /// near it.
    pub(crate) fn moved(&self, query: &[f32]) -> Option<Vec<f32>> {
        let mut step = groups::Step::new(query.len());
        self.everybody
            .add_near(query, self.settings.width, 1.0, &mut step);
        if let Some(own) = &self.own {
            own.add_near(query, self.settings.width, OWN, &mut step);
        }
        step.apply(query, self.settings.strength)
    }
}

/// Memories in this process, made of the log when they are first asked for after a change.
#[derive(Default)]
pub(super) struct Memories {
    /// Number of changes of judgements, of versions, and of items that are judged.
    changes: AtomicU64,
    /// Memories, and the number of changes that they are made of.
    made: Mutex<Option<(u64, Made)>>,
}

/// Memories of one state of the log.
struct Made {
    /// Settings of the last refit, which weigh judgements here too.
    weighing: RefitSettings,
    /// `None` where memory is off.
    settings: Option<MemorySettings>,
    everybody: Arc<Groups>,
    users: HashMap<String, Option<Arc<Groups>>>,
    /// Ids of all items that judgements name.
    named: HashSet<String>,
    /// Explicit judgements that call an item irrelevant, by query.
    rejected: HashMap<Vec<u8>, Vec<Rejected>>,
}

/// An item that somebody called irrelevant.
struct Rejected {
    user: Option<String>,
    item: LoggedItem,
}

impl Memories {
    fn lock(&self) -> MutexGuard<'_, Option<(u64, Made)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that what they are made of changed.
    pub(super) fn outdate(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Learning {
    /// Says that items were written or removed, after that is stored.
    pub(crate) fn items_changed<'a>(&self, mut ids: impl Iterator<Item = &'a str>) {
        // While memories are made, nobody waits to know which items they are of.
        let concerns = match self.memories.made.try_lock() {
            Ok(made) => made
                .as_ref()
                .is_some_and(|(_, made)| ids.any(|id| made.named.contains(id))),
            Err(_) => true,
        };
        if concerns {
            self.memories.outdate();
        }
    }

    /// Says that items were removed, nobody knows which, after that is stored.
    pub(crate) fn some_items_changed(&self) {
        self.memories.outdate();
    }

    /// What is remembered for the answers to a user, or to everybody; `None` where that is nothing.
    ///
    /// A log that cannot be read is reported, and answers are given without it.
    pub(crate) fn memory(&self, user: Option<&str>) -> Option<Memory> {
        self.read_memory(user).unwrap_or_else(|error| {
            tracing::warn!(
                collection = self.name,
                %error,
                "judgements are not remembered in answers: they cannot be read"
            );
            None
        })
    }

    fn read_memory(&self, user: Option<&str>) -> Result<Option<Memory>> {
        if !self.vectors.remembers() {
            return Ok(None);
        }
        self.with_memories(|made| {
            let Some(settings) = made.settings else {
                return Ok(None);
            };
            let own = match user {
                Some(user) => self.own_memory(made, user)?,
                None => None,
            };
            let is_empty = made.everybody.is_empty() && own.is_none();
            Ok((!is_empty).then(|| Memory {
                settings,
                everybody: Arc::clone(&made.everybody),
                own,
            }))
        })
    }

    /// Ids of the items that a user called irrelevant for this very query, and that hold what was
    /// judged. Without a user, those of judgements that name nobody.
    pub(crate) fn rejected(&self, query: &Query, user: Option<&str>) -> Result<Vec<String>> {
        let key = query_key(query);
        let named: Vec<LoggedItem> = self.with_memories(|made| {
            let said = made.rejected.get(&key).into_iter().flatten();
            let own = said.filter(|rejected| rejected.user.as_deref() == user);
            Ok(own.map(|rejected| rejected.item.clone()).collect())
        })?;
        let ids: Vec<&str> = named.iter().map(|item| item.id.as_str()).collect();
        let hashes = self.vectors.hashes(&ids)?;
        let held = named.iter().zip(hashes);
        Ok(held
            .filter(|(item, hash)| *hash == Some(item.content))
            .map(|(item, _)| item.id.clone())
            .collect())
    }

    /// The judgements that move a query, with the change that each makes to the distance of an item
    /// beside that of an item equal to the query, the strongest first. Below 0: nearer.
    pub(super) fn remembered(
        &self,
        metric: &Versioned,
        query: &[f32],
        item: &[f32],
        user: Option<&str>,
    ) -> Result<Vec<Influence>> {
        let found = self.with_memories(|made| Ok((made.settings, made.weighing.clone())))?;
        let (Some(settings), weighing) = found else {
            return Ok(Vec::new());
        };
        let direction = |vector: &[f32]| metric.metric.rewrite(vector).direction;
        let toward: Vec<f32> = direction(item)
            .iter()
            .zip(direction(query))
            .map(|(item, query)| item - query)
            .collect();
        let everybody = Selection::of(Whose::Everybody, &weighing);
        let own = user.map(|user| Selection::of(Whose::Only(user), &weighing));
        let mut parts: HashMap<JudgementId, f64> = HashMap::new();
        let mut total = groups::REST;
        for (selection, weight) in [(Some(everybody), 1.0), (own, OWN)] {
            let Some(selection) = selection else { continue };
            let collected = self.collect(&selection)?;
            let judged = Judged::of(&collected);
            for (group, kernel) in judged.groups().near(query, settings.width) {
                total += weight * kernel;
                for (judgement, part) in judged.parts(group, &toward) {
                    *parts.entry(judgement).or_default() += weight * kernel * part;
                }
            }
        }
        let scale = -2.0 * settings.strength / total;
        let mut influences: Vec<Influence> = parts
            .into_iter()
            .map(|(judgement, part)| Influence {
                judgement,
                influence: scale * part,
            })
            .collect();
        Influence::sort(&mut influences);
        Ok(influences)
    }

    /// Calls `read` with the memories of the log as it is, which are made where they are older.
    fn with_memories<T>(&self, read: impl FnOnce(&mut Made) -> Result<T>) -> Result<T> {
        let mut kept = self.memories.lock();
        // Read before what they are made of: a change meanwhile makes them older than the next one.
        let now = self.memories.changes.load(Ordering::Acquire);
        let made = match kept.take() {
            Some((of, made)) if of == now => made,
            _ => self.make_memories()?,
        };
        let (_, made) = kept.insert((now, made));
        read(made)
    }

    fn make_memories(&self) -> Result<Made> {
        let (weighing, settings) = self.memory_settings()?;
        let (mut named, mut rejected) = (HashSet::new(), HashMap::new());
        for entry in self.ledger.judgements() {
            let (_, judgement) = entry?;
            let ids = judgement.judged_items().map(|item| &item.id);
            named.extend(ids.cloned());
            if judgement.pair || judgement.source != Source::Explicit {
                continue;
            }
            let said: &mut Vec<Rejected> = rejected.entry(judgement.query.key()).or_default();
            // The last word counts.
            said.retain(|before| before.user != judgement.user || before.item != judgement.item);
            if judgement.grade < 0.0 {
                said.push(Rejected {
                    user: judgement.user,
                    item: judgement.item,
                });
            }
        }
        let everybody = match settings {
            Some(_) => {
                let everybody = Selection::of(Whose::Everybody, &weighing);
                Judged::of(&self.collect(&everybody)?).into_groups()
            }
            None => Groups::default(),
        };
        Ok(Made {
            everybody: Arc::new(everybody),
            weighing,
            settings,
            users: HashMap::new(),
            named,
            rejected,
        })
    }

    /// The groups of a user's own judgements; `None` where there are none.
    fn own_memory(&self, made: &mut Made, user: &str) -> Result<Option<Arc<Groups>>> {
        if let Some(own) = made.users.get(user) {
            return Ok(own.clone());
        }
        let own = self.collect(&Selection::of(Whose::Only(user), &made.weighing))?;
        let own = Judged::of(&own).into_groups();
        let own = (!own.is_empty()).then(|| Arc::new(own));
        if made.users.len() == MAX_USERS {
            made.users.clear();
        }
        made.users.insert(user.to_owned(), own.clone());
        Ok(own)
    }

    /// The settings of everybody's last refit whose version was not withdrawn: how judgements weigh,
    /// and how they are remembered. Before the first one, those by default.
    fn memory_settings(&self) -> Result<(RefitSettings, Option<MemorySettings>)> {
        let versions = self.ledger.versions()?.into_iter().rev();
        let of_everybody = versions
            .map(|(_, record)| record)
            .filter(|record| !record.withdrawn && record.is_of(None));
        for record in of_everybody {
            if let Some(memory) = record.memory {
                return Ok((record.settings, memory.settings));
            }
        }
        let by_default = RefitSettings {
            user_share: self.background.user_share(),
            ..RefitSettings::default()
        };
        Ok((by_default, Some(MemorySettings::default())))
    }
}
