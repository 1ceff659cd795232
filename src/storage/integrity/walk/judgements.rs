//! The walk through judgements and the vectors of their queries.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, Walk, remove};
use crate::model::error::Result;
use crate::storage::integrity::{Place, Remedy};
use crate::storage::precision::Precision;
use crate::storage::records::JudgementRecord;
use crate::storage::tables::{JUDGEMENTS, NEXT_JUDGEMENT, QUERIES};

impl Walk<'_> {
    /// Checks the judgements, and that each query's vector is there and is asked by one.
    pub(super) fn judgements(&mut self) {
        let tables = self.tables;
        let mut queries = BTreeMap::new();
        let queries_are_read = self.table(QUERIES, |walk, key, value| {
            let Ok(hash) = <[u8; 16]>::try_from(&*key) else {
                return walk.find_stray(QUERIES, &key);
            };
            walk.checked += 1;
            let name = || "a judged query".to_owned();
            let read = tables.read_vector(&value, Precision::F32, &name);
            let (state, _) = walk.state(|| Place::Query, read);
            queries.insert(hash, state);
        });
        let mut asked = BTreeSet::new();
        let mut next = 0;
        let are_read = self.table(JUDGEMENTS, |walk, key, value| {
            let Ok(sequence) = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes) else {
                return walk.find_stray(JUDGEMENTS, &key);
            };
            next = sequence.saturating_add(1);
            let damage = match walk.judgement(sequence, &value) {
                Ok(None) => None,
                Ok(Some(hash)) => match queries.get(&hash) {
                    _ if !queries_are_read => None,
                    Some(State::Damaged(damage)) => Some(format!("its query's vector: {damage}")),
                    None | Some(State::Missing) => Some("its query's vector is missing".to_owned()),
                    Some(State::Sound | State::Unreadable) => {
                        asked.insert(hash);
                        None
                    }
                },
                Err(damage) => Some(damage),
            };
            if let Some(damage) = damage {
                let edits = remove(JUDGEMENTS, &key);
                walk.find(Place::Judgement(sequence), damage, Remedy::Remove(edits));
            }
        });
        if are_read {
            for hash in queries.keys().filter(|hash| !asked.contains(*hash)) {
                let damage = "no judgement asks it";
                let edits = remove(QUERIES, hash);
                self.find(Place::Query, damage, Remedy::Discard(edits));
            }
        }
        self.counter(NEXT_JUDGEMENT, tables.next_judgement(), next);
    }

    /// Reads a judgement. Gives the key of its query's vector, if it has one, or the damage.
    fn judgement(&mut self, sequence: u64, value: &[u8]) -> Result<Option<[u8; 16]>, String> {
        self.checked += 1;
        let read = JudgementRecord::decode(value, sequence);
        let (state, record) = self.state(|| Place::Judgement(sequence), read);
        if let State::Damaged(damage) = state {
            return Err(damage);
        }
        let hash = record.and_then(|record| (self.checks.query_hash)(&record.query));
        self.checked += u64::from(hash.is_some());
        Ok(hash)
    }
}
