//! Adds of several threads in one transaction.
//!
//! sled writes its log twice for a transaction, and each write and each sync takes its time whatever
//! its size. So of the threads that wait to add items one writes for all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::write::{Added, Changed, Checked};
use super::{Items, WriteGuard};
use crate::model::error::{Error, Result};
use crate::model::{AddMode, Item};

/// What an add stored, and the ids of all that it changed.
type Outcome = Result<(Added, Changed)>;

/// Items that a thread asks to add.
pub(super) struct Request {
    pub(super) mode: AddMode,
    /// The ids that were given.
    pub(super) ids: Vec<String>,
    pub(super) given: GivenItems,
    pub(super) added: Added,
}

/// The items of a request.
pub(super) enum GivenItems {
    Whole(Vec<Checked>),
    /// What an update changes; the rest of each item stays.
    Parts(Vec<Item>),
}

impl Request {
    /// The ids that were given, and those of what is stored.
    fn all_ids(&self) -> Vec<String> {
        let stored = match &self.given {
            GivenItems::Whole(items) => items.as_slice(),
            GivenItems::Parts(_) => &[],
        };
        let stored = stored.iter().map(|item| item.record.id.clone());
        self.ids.iter().cloned().chain(stored).collect()
    }
}

/// A request that can be stored.
pub(super) struct Accepted {
    pub(super) added: Added,
    pub(super) items: Vec<Checked>,
    /// The live items in whose place they are stored, by slot.
    pub(super) replaced: BTreeMap<u32, String>,
}

/// Most ids of requests that are stored in one transaction, but for those of a single one. An item
/// counts twice: its id was given, and is stored.
const COMBINED: usize = 2048;

/// The adds that wait, and the outcomes that were not fetched yet.
#[derive(Default)]
pub(super) struct Combiner {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<(u64, Request)>,
    finished: HashMap<u64, Outcome>,
    is_writing: bool,
    /// The ticket of the next add.
    next: u64,
}

impl Combiner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is asked for, by this thread or by another one. `write` is given all that waits, in
    /// the order in which it came, and gives the outcomes in the same order.
    pub(super) fn add(
        &self,
        request: Request,
        write: impl FnOnce(Vec<Request>) -> Vec<Outcome>,
    ) -> Outcome {
        let mut queue = self.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push((ticket, request));
        while queue.is_writing {
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = queue.finished.remove(&ticket) {
                return outcome;
            }
        }
        queue.is_writing = true;
        let (tickets, requests): (Vec<u64>, Vec<Request>) = queue.waiting.drain(..).unzip();
        drop(queue);
        let mut writing = Writing {
            combiner: self,
            tickets,
            outcomes: Vec::new(),
        };
        writing.outcomes = write(requests);
        drop(writing);
        let outcome = self.lock().finished.remove(&ticket);
        outcome.unwrap_or_else(|| Err(unfinished()))
    }
}

/// The thread that writes for all. When it ends, all of them have an outcome.
struct Writing<'a> {
    combiner: &'a Combiner,
    tickets: Vec<u64>,
    outcomes: Vec<Outcome>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut queue = self.combiner.lock();
        let mut outcomes = self.outcomes.drain(..);
        for ticket in &self.tickets {
            let outcome = outcomes.next().unwrap_or_else(|| Err(unfinished()));
            queue.finished.insert(*ticket, outcome);
        }
        queue.is_writing = false;
        self.combiner.changed.notify_all();
    }
}

impl Items {
    /// Adds what several threads ask for, in transactions of what goes together. Gives the outcome
    /// of each request.
    pub(super) fn add_all(&self, requests: Vec<Request>) -> Vec<Outcome> {
        let guard = self.lock();
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut group = Vec::new();
        let (mut ids, mut items) = (HashSet::new(), 0);
        for request in requests {
            let more = request.all_ids();
            let fits = items + more.len() <= COMBINED && more.iter().all(|id| !ids.contains(id));
            if !fits && !group.is_empty() {
                outcomes.extend(self.add_group(std::mem::take(&mut group), &guard));
                (ids, items) = (HashSet::new(), 0);
            }
            items += more.len();
            ids.extend(more);
            group.push(request);
        }
        outcomes.extend(self.add_group(group, &guard));
        outcomes
    }

    /// Adds what several threads ask for, which has no id in common, in one transaction.
    fn add_group(&self, group: Vec<Request>, guard: &WriteGuard<'_>) -> Vec<Outcome> {
        let mut items = Vec::new();
        let mut replaced = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(group.len());
        for request in group {
            outcomes.push(self.accept(request, items.len(), guard).map(|accepted| {
                let stored = accepted.items.iter().map(|item| item.record.id.clone());
                let gone = accepted.replaced.values().cloned();
                let changed: Changed = stored.chain(gone).collect();
                items.extend(accepted.items);
                replaced.extend(accepted.replaced);
                (accepted.added, changed)
            }));
        }
        if let Err(error) = self.store(items, &replaced, guard) {
            let reason = error.to_string();
            let mut error = Some(error);
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                let first = error.take();
                *outcome = Err(first.unwrap_or_else(|| Error::Poisoned(reason.clone())));
            }
        }
        outcomes
    }
}

/// The error of adds whose thread panicked.
fn unfinished() -> Error {
    Error::Internal {
        source: "the thread that wrote the items panicked".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn request(id: &str) -> Request {
        Request {
            mode: AddMode::Upsert,
            ids: vec![id.to_owned()],
            given: GivenItems::Parts(Vec::new()),
            added: Added::default(),
        }
    }

    #[test]
    fn each_thread_gets_its_own_outcome_and_one_writes_for_several() {
        let (combiner, writes) = (Combiner::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (combiner, writes) = (&combiner, &writes);
                scope.spawn(move || {
                    for round in 0..100 {
                        let id = format!("{thread}-{round}");
                        let outcome = combiner.add(request(&id), |requests| {
                            writes.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(std::time::Duration::from_micros(200));
                            let changed = requests.into_iter().map(|request| {
                                Ok((Added::default(), request.ids.into_iter().collect()))
                            });
                            changed.collect()
                        });
                        let (_, changed) = outcome.expect("written");
                        assert_eq!(changed.into_iter().collect::<Vec<_>>(), [id]);
                    }
                });
            }
        });
        assert!(writes.into_inner() < 800, "each was written alone");
        assert!(combiner.lock().finished.is_empty());
    }

    #[test]
    fn the_threads_of_a_write_that_panics_get_an_error_and_the_next_one_writes() {
        let combiner = Combiner::default();
        let panics = || {
            let write = |_| -> Vec<Outcome> { panic!("as planned") };
            combiner.add(request("a"), write).map(drop)
        };
        assert!(crate::panics::catch(panics).is_err());
        let one = |_| vec![Ok((Added::default(), Changed::new()))];
        combiner.add(request("b"), one).expect("written");
    }
}
