//! Checking everything that is stored of a collection.

use std::collections::HashMap;

use serde::Serialize;

use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::feedback::query_hash;

/// One thing that is wrong with what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which collection and record.
    pub part: String,
    /// What is wrong with it.
    pub message: String,
}

/// Collects problems and counts what was looked at.
struct Inspection<'a> {
    collection: &'a str,
    checked: u64,
    problems: Vec<Problem>,
}

impl Inspection<'_> {
    fn note(&mut self, part: impl std::fmt::Display, message: impl Into<String>) {
        self.problems.push(Problem { part: format!("{}: {part}", self.collection), message: message.into() });
    }

    /// Counts a record; one that cannot be read becomes a problem.
    fn look<T>(&mut self, part: impl std::fmt::Display, result: Result<T>) -> Option<T> {
        self.checked += 1;
        match result {
            Ok(value) => Some(value),
            Err(Error::Damaged { part, reason }) => {
                self.note(part, format!("damaged: {reason}"));
                None
            }
            Err(error) => {
                self.note(part, error.to_string());
                None
            }
        }
    }
}

impl Collection {
    /// Reads every record, checks its checksum, and checks that records agree with each other. Gives the number of records
    /// and what is wrong.
    pub(crate) fn verify(&self) -> (u64, Vec<Problem>) {
        let inner = &self.inner;
        let mut inspection = Inspection { collection: &inner.name, checked: 0, problems: Vec::new() };
        // Writers wait, so that records are compared as they were at one moment.
        let _still = inner.lock_writer();
        inner.verify_items(&mut inspection);
        inner.verify_judgements(&mut inspection);
        inner.verify_versions(&mut inspection);
        (inspection.checked, inspection.problems)
    }
}

impl Inner {
    fn verify_items(&self, inspection: &mut Inspection<'_>) {
        let next = inspection.look("counters", self.shelf.next_slot()).unwrap_or(u32::MAX);
        let mut slots: HashMap<u32, String> = HashMap::new();
        for entry in self.shelf.ids() {
            let Some((id, slot)) = inspection.look("ids", entry) else { continue };
            if slot >= next {
                inspection.note(format!("id {id:?}"), format!("its slot {slot} was never given out (damaged counter)"));
            }
            inspection.look(format!("item {id:?}"), self.read(slot, &id));
            if let Some(other) = slots.insert(slot, id) {
                inspection.note(format!("slot {slot}"), format!("{other:?} and another id share it (damaged)"));
            }
        }
        let mut vectors = 0_usize;
        for entry in self.shelf.vectors() {
            if let Some((slot, _)) = inspection.look("vectors", entry) {
                vectors += 1;
                if !slots.contains_key(&slot) {
                    inspection.note(format!("the vector of slot {slot}"), "no id refers to it (damaged)");
                }
            }
        }
        if vectors < slots.len() && inspection.problems.is_empty() {
            inspection.note("vectors", format!("{} of {} are missing", slots.len() - vectors, slots.len()));
        }
        if self.index.len() != slots.len() {
            let counts =
                format!("the index answers for {} items and the store holds {}", self.index.len(), slots.len());
            inspection.note("index", counts);
        }
    }

    fn verify_judgements(&self, inspection: &mut Inspection<'_>) {
        let next = inspection.look("counters", self.shelf.next_judgement()).unwrap_or(u64::MAX);
        for entry in self.shelf.judgements() {
            let Some((sequence, record)) = inspection.look("judgements", entry) else { continue };
            if sequence >= next {
                inspection.note(format!("judgement {sequence}"), "its number was never given out (damaged counter)");
            }
            let Some(hash) = query_hash(&record.query) else { continue };
            if let Some(None) = inspection.look("judged queries", self.shelf.query(hash)) {
                inspection.note(format!("judgement {sequence}"), "its query's vector is missing");
            }
        }
    }

    fn verify_versions(&self, inspection: &mut Inspection<'_>) {
        let Some(versions) = inspection.look("metric versions", self.shelf.versions()) else { return };
        let known: Vec<u32> = std::iter::once(0).chain(versions.iter().map(|(version, _)| *version)).collect();
        for (version, record) in &versions {
            if record.parent >= *version || !known.contains(&record.parent) {
                inspection
                    .note(format!("metric version {version}"), format!("its parent {} is missing", record.parent));
            }
            let readable = self.plugins.iter().any(|p| p.name() == record.plugin);
            if !record.withdrawn && readable {
                inspection.look(format!("metric version {version}"), self.decode_version(*version, record));
            }
        }
        let Some(active) = inspection.look("active metrics", self.shelf.active()) else { return };
        for (who, version) in
            std::iter::once(("everybody", active.shared)).chain(active.users.iter().map(|(u, v)| (u.as_str(), *v)))
        {
            if !known.contains(&version) {
                inspection.note("active metrics", format!("version {version}, active for {who}, is missing"));
            }
        }
    }
}
