//! The walk through a collection's tables that finds damage.

mod items;
mod judgements;
mod versions;

use sled::IVec;

use super::super::digest::{DIGESTED, TableDigests};
use super::super::tables::{CHUNK, META, REMOVED, Tables, entry_hash};
use super::super::{activations, guidelines, keywords, lock};
use super::{Checks, Edit, Finding, Integrity, Place, Remedy};
use crate::model::error::{Error, Result};

impl Tables {
    /// Reads every record once, and checks its checksum, that records agree with each other, and
    /// that the tables hold what was stored. Nobody may write meanwhile.
    pub(crate) fn check(&self, checks: &Checks<'_>) -> Integrity {
        let mut walk = Walk {
            tables: self,
            checks,
            checked: 0,
            findings: Vec::new(),
            found: TableDigests::default(),
        };
        walk.items();
        walk.judgements();
        walk.versions();
        walk.removed();
        walk.guidelines();
        walk.keywords();
        walk.activations();
        Integrity {
            checked: walk.checked,
            findings: walk.findings,
            found: walk.found,
        }
    }
}

struct Walk<'a> {
    tables: &'a Tables,
    checks: &'a Checks<'a>,
    checked: u64,
    findings: Vec<Finding>,
    /// Of the tables that were walked through so far.
    found: TableDigests,
}

/// What is known of a record.
#[derive(Debug, Default)]
enum State {
    #[default]
    Missing,
    Sound,
    Damaged(String),
    /// It cannot be read, but it is not damaged: there is a finding already.
    Unreadable,
}

/// A record that is put together from its chunks, in the order of their keys.
struct Chunks {
    bytes: Vec<u8>,
    first: u16,
    next: u32,
    /// Whether the last chunk was seen.
    is_complete: bool,
}

impl Chunks {
    fn from(first: u16) -> Self {
        Self {
            bytes: Vec::new(),
            first,
            next: u32::from(first),
            is_complete: false,
        }
    }

    /// Adds a chunk. Chunks after a gap or after the last one are ignored.
    fn add(&mut self, chunk: u16, value: &[u8]) {
        if !self.is_complete && u32::from(chunk) == self.next {
            self.bytes.extend_from_slice(value);
            self.next += 1;
            self.is_complete = value.len() != CHUNK;
        }
    }

    /// The record's bytes, or the reason why there are none; `None` where it has no first chunk.
    fn finish(self) -> Option<Result<Vec<u8>, String>> {
        if self.next == u32::from(self.first) {
            None
        } else if self.is_complete {
            Some(Ok(self.bytes))
        } else {
            Some(Err("a part of it is missing".to_owned()))
        }
    }
}

fn remove(table: usize, key: &[u8]) -> Vec<Edit> {
    vec![Edit::Remove {
        table,
        key: key.to_vec(),
    }]
}

fn put(table: usize, key: &[u8], value: &[u8]) -> Vec<Edit> {
    vec![Edit::Put {
        table,
        key: key.to_vec(),
        value: value.to_vec(),
    }]
}

impl<'a> Walk<'a> {
    fn find(&mut self, place: Place, damage: impl Into<String>, remedy: Remedy) {
        self.findings.push(Finding {
            place,
            damage: damage.into(),
            remedy,
        });
    }

    /// Notes an error that is not the damage of one record. That a poisoned handle reads nothing is
    /// no news once something was found that could not be read.
    fn find_error(&mut self, place: Place, error: Error) {
        let known = self.findings.iter().any(Finding::is_of_database);
        if matches!(error, Error::Poisoned(_)) && known {
            return;
        }
        let damage = match &error {
            Error::Damaged { reason, .. } => reason.clone(),
            error => error.to_string(),
        };
        self.find(place, damage, Remedy::None(error));
    }

    /// An entry whose key no record has.
    fn find_stray(&mut self, table: usize, key: &[u8]) {
        let place = Place::Table(self.tables.number, table);
        let damage = "the key of an entry is malformed";
        self.find(place, damage, Remedy::Discard(remove(table, key)));
    }

    /// The state of a record that was read, and its value where it is sound.
    fn state<T>(&mut self, place: impl FnOnce() -> Place, read: Result<T>) -> (State, Option<T>) {
        match read {
            Ok(value) => (State::Sound, Some(value)),
            Err(Error::Damaged { reason, .. }) => (State::Damaged(reason), None),
            Err(error) => {
                self.find_error(place(), error);
                (State::Unreadable, None)
            }
        }
    }

    /// Visits all entries of a table and compares it with its digest. Gives whether all of it could
    /// be read: an error ends the walk through the table, and is one finding.
    fn table(&mut self, table: usize, mut visit: impl FnMut(&mut Self, IVec, IVec)) -> bool {
        let tables: &'a Tables = self.tables;
        let place = Place::Table(tables.number, table);
        for entry in tables.raw(table) {
            match entry {
                Ok((key, value)) => {
                    if table < DIGESTED {
                        self.found[table].add(entry_hash(table, &key, &value));
                    }
                    visit(self, key, value);
                }
                Err(error) => {
                    self.find_error(place, error);
                    return false;
                }
            }
        }
        if table < DIGESTED {
            self.checked += 1;
            let stored = lock(&tables.digests)[table];
            if let Some(damage) = self.found[table].differs(stored) {
                self.find(place, damage, Remedy::Recount);
            }
        }
        true
    }

    /// Checks that a counter is above all numbers that were given out. Gives the first number that
    /// was not.
    fn counter(&mut self, name: &'static str, read: Result<u64>, least: u64) -> u64 {
        let damage = match read {
            Ok(found) if found >= least => return found,
            Ok(found) => format!("it is {found}, and numbers below {least} are in use"),
            Err(Error::Damaged { part, reason }) if part != self.tables.database().name() => reason,
            Err(error) => {
                self.find_error(Place::Counter(name), error);
                return least;
            }
        };
        let edits = put(META, name.as_bytes(), &least.to_le_bytes());
        self.find(Place::Counter(name), damage, Remedy::Rebuild(edits));
        least
    }

    /// Checks that the list of removed slots can be read.
    fn removed(&mut self) {
        self.table(REMOVED, |walk, key, _| {
            if key.len() != size_of::<u32>() {
                walk.find_stray(REMOVED, &key);
            }
        });
    }

    /// Checks that the guidelines can be read.
    fn guidelines(&mut self) {
        let read = self.tables.guidelines();
        self.checked += u64::from(!matches!(read, Ok(None)));
        if let (State::Damaged(damage), _) = self.state(|| Place::Guidelines, read) {
            let edits = remove(META, guidelines::KEY.as_bytes());
            let default = "there is no text now, and the scale has four grades";
            self.find(Place::Guidelines, damage, Remedy::Reset(edits, default));
        }
    }

    /// Checks that the activations can be read.
    fn activations(&mut self) {
        let read = self.tables.activations().map(Some);
        self.checked += u64::from(!matches!(&read, Ok(Some(all)) if all.is_empty()));
        if let (State::Damaged(damage), _) = self.state(|| Place::Activations, read) {
            let edits = remove(META, activations::KEY.as_bytes());
            let default = "nobody knows when which version was promoted before";
            self.find(Place::Activations, damage, Remedy::Reset(edits, default));
        }
    }

    /// Checks that the language of keywords can be read.
    fn keywords(&mut self) {
        let read = self.tables.keywords();
        self.checked += u64::from(!matches!(read, Ok(None)));
        if let (State::Damaged(damage), _) = self.state(|| Place::Keywords, read) {
            let edits = [keywords::KEY, keywords::FILES_KEY]
                .iter()
                .flat_map(|key| remove(META, key.as_bytes()))
                .collect();
            let default = "keyword search is off now";
            self.find(Place::Keywords, damage, Remedy::Reset(edits, default));
        }
    }
}
