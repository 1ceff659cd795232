//! The walk through metric versions, and which of them are active.

use std::collections::BTreeMap;

use super::{Chunks, State, Walk, put, remove};
use crate::model::VersionId;
use crate::storage::codec;
use crate::storage::integrity::{Edit, Place, Remedy};
use crate::storage::records::VersionRecord;
use crate::storage::tables::{ACTIVE, FORMAT, META, METRICS, NEXT_VERSION, chunk_key, split_key};

/// A metric version, put together from its chunks.
struct StoredVersion {
    number: u32,
    header: State,
    record: Option<VersionRecord>,
    metric: Chunks,
}

impl Walk<'_> {
    /// Checks the metric versions, their parents, and that the active ones can be used.
    pub(super) fn versions(&mut self) {
        let mut current: Option<StoredVersion> = None;
        // The sound versions, and those that cannot be read, which have no record here.
        let mut known: BTreeMap<u32, Option<VersionRecord>> = BTreeMap::new();
        let mut next = 1;
        let are_read = self.table(METRICS, |walk, key, value| {
            let Ok((number, chunk)) = split_key(&key) else {
                return walk.find_stray(METRICS, &key);
            };
            next = u64::from(number) + 1;
            if let Some(before) = current.take_if(|before| before.number != number) {
                walk.version(before, &mut known);
            }
            let version = current.get_or_insert_with(|| StoredVersion {
                number,
                header: State::Missing,
                record: None,
                metric: Chunks::from(1),
            });
            if chunk == 0 {
                let read = VersionRecord::decode(&value, number);
                (version.header, version.record) = walk.state(|| Place::Version(number), read);
            } else {
                version.metric.add(chunk, &value);
            }
        });
        if are_read {
            if let Some(last) = current {
                self.version(last, &mut known);
            }
            self.parents(&known);
            self.active(&known);
        }
        let read = self.tables.next_version().map(u64::from);
        self.counter(NEXT_VERSION, read, next);
    }

    /// Checks one metric version; enters it in `known` unless it is damaged.
    fn version(
        &mut self,
        version: StoredVersion,
        known: &mut BTreeMap<u32, Option<VersionRecord>>,
    ) {
        self.checked += 1;
        let number = version.number;
        let damage = match (version.header, &version.record) {
            (State::Unreadable, _) => None,
            (State::Damaged(damage), _) => Some(format!("its header: {damage}")),
            (State::Missing, _) | (State::Sound, None) => Some("its header is missing".to_owned()),
            (State::Sound, Some(record)) => self.metric(number, record, version.metric),
        };
        match damage {
            None => drop(known.insert(number, version.record)),
            Some(damage) => {
                let edits = vec![Edit::RemoveRecord {
                    table: METRICS,
                    number,
                }];
                self.find(Place::Version(number), damage, Remedy::Remove(edits));
            }
        }
    }

    /// The reason why a version's metric cannot be used, if it cannot.
    fn metric(&mut self, number: u32, record: &VersionRecord, chunks: Chunks) -> Option<String> {
        let bytes = match chunks.finish() {
            None => None,
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(damage)) => return Some(format!("its metric: {damage}")),
        };
        let name = || format!("the metric of version {number}");
        let read = bytes
            .as_deref()
            .map(|bytes| codec::unseal(FORMAT, bytes, &name))
            .transpose();
        match self.state(|| Place::Version(number), read) {
            (State::Damaged(damage), _) => Some(format!("its metric: {damage}")),
            (_, Some(metric)) => (self.checks.version)(number, record, metric),
            (_, None) => None,
        }
    }

    /// Checks that the parent of each sound version is there.
    fn parents(&mut self, known: &BTreeMap<u32, Option<VersionRecord>>) {
        for (number, record) in known {
            let Some(record) = record else {
                continue;
            };
            let parent = record.lineage.parent.0;
            if parent < *number && (parent == 0 || known.contains_key(&parent)) {
                continue;
            }
            let mut reset = record.clone();
            reset.lineage.parent = VersionId::BUILT_IN;
            let place = Place::Version(*number);
            match reset.encode() {
                Ok(header) => {
                    let edits = put(METRICS, &chunk_key(*number, 0), &header);
                    let damage = format!("its parent {parent} is missing");
                    self.find(
                        place,
                        damage,
                        Remedy::Reset(edits, "version 0 stands for it"),
                    );
                }
                Err(error) => self.find_error(place, error),
            }
        }
    }

    /// Checks that the active metrics are of versions that can be used.
    fn active(&mut self, known: &BTreeMap<u32, Option<VersionRecord>>) {
        let tables = self.tables;
        for entry in tables.prefixed(ACTIVE) {
            let (key, value) = match entry {
                Ok(entry) => entry,
                Err(error) => return self.find_error(Place::Table(tables.number, META), error),
            };
            let version = <[u8; 8]>::try_from(&*value).ok().map(u64::from_le_bytes);
            let number = version.and_then(|version| u32::try_from(version).ok());
            let is_usable = number.is_some_and(|number| match known.get(&number) {
                Some(Some(record)) => !record.withdrawn,
                Some(None) => true,
                None => number == 0,
            });
            if is_usable {
                continue;
            }
            let damage = version.map_or_else(
                || "its number has a wrong length".to_owned(),
                |version| format!("version {version} is missing or withdrawn"),
            );
            let place = Place::Active(String::from_utf8_lossy(&key).into_owned());
            let default = "the built-in distance answers now";
            self.find(place, damage, Remedy::Reset(remove(META, &key), default));
        }
    }
}
