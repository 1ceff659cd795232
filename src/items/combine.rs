//! Adds of several threads in one transaction.
//!
//! sled writes its log twice for a transaction, and each write and each sync takes its time whatever
//! its size. So of the threads that wait to add items one writes for all.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::write::{Added, Changed, Request};
use crate::model::error::{Error, Result};

/// What an add stored, and the ids of all that it changed.
type Outcome = Result<(Added, Changed)>;

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

/// The error of adds whose thread panicked.
fn unfinished() -> Error {
    Error::Internal {
        source: "the thread that wrote the items panicked".into(),
    }
}
