//! Repairing a collection's tables: the remedies of all findings, in one transaction.

use std::collections::BTreeMap;

use super::super::batch::Batch;
use super::super::catalog::put_digests;
use super::super::damaged;
use super::super::digest::{DIGESTED, TableDigests};
use super::super::tables::{META, Tables, entry_hash};
use super::super::{keywords, lock};
use super::{Edit, Finding, Integrity, Place, Remedy};
use crate::model::error::Result;

/// What a repair did, in words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repairs {
    /// What was made again or discarded: nothing of it is lost.
    pub(crate) rebuilt: Vec<String>,
    /// What is lost.
    pub(crate) lost: Vec<String>,
}

/// The changes of a repair: for each table and key, the new value, or `None` where the entry goes.
type Changes = BTreeMap<(usize, Vec<u8>), Option<Vec<u8>>>;

impl Tables {
    /// Applies the remedies of all findings of a [check](Self::check) in one transaction. Nothing
    /// may be written between the two.
    ///
    /// # Errors
    /// The error of a finding that has no remedy; nothing is changed then.
    pub(crate) fn repair(&mut self, integrity: Integrity) -> Result<Repairs> {
        let Integrity {
            findings, found, ..
        } = integrity;
        if findings.is_empty() {
            return Ok(Repairs::default());
        }
        let mut done = Repairs::default();
        let mut changes = Changes::new();
        let mut recounted = Vec::new();
        for Finding {
            place,
            damage,
            remedy,
        } in findings
        {
            let description = format!("{place}: {damage}");
            match remedy {
                Remedy::None(error) => return Err(error),
                Remedy::Rebuild(edits) | Remedy::Discard(edits) => {
                    self.collect(edits, &mut changes)?;
                    done.rebuilt.push(description);
                }
                Remedy::Remove(edits) => {
                    self.collect(edits, &mut changes)?;
                    done.lost.push(description);
                }
                Remedy::Reset(edits, default) => {
                    self.collect(edits, &mut changes)?;
                    done.lost.push(format!("{description}; {default}"));
                }
                // What is still wrong with files after they were made anew.
                Remedy::RescueVectors => return Err(damaged(place.to_string(), damage)),
                Remedy::Recount => {
                    if let Place::Table(_, table) = place {
                        recounted.push((table, description));
                    }
                }
            }
        }
        let digests = self.digests_after(found, &changes)?;
        self.apply(changes, digests, |before| {
            for (table, description) in recounted {
                // Where the edits brought all of a table back, they were named.
                if digests[table] == before[table] {
                    continue;
                }
                if found[table].entries <= before[table].entries {
                    done.lost.push(description);
                } else {
                    done.rebuilt.push(description);
                }
            }
        })?;
        Ok(done)
    }

    /// Adds edits to the changes, key by key.
    fn collect(&self, edits: Vec<Edit>, changes: &mut Changes) -> Result<()> {
        for edit in edits {
            match edit {
                Edit::Put { table, key, value } => {
                    changes.insert((table, key), Some(value));
                }
                Edit::Remove { table, key } => {
                    changes.insert((table, key), None);
                }
                Edit::RemoveRecord { table, number } => {
                    for key in self.chunk_keys(table, number, 0) {
                        changes.insert((table, key?.to_vec()), None);
                    }
                }
            }
        }
        Ok(())
    }

    /// The digests of the tables once the changes are made.
    fn digests_after(&self, found: TableDigests, changes: &Changes) -> Result<TableDigests> {
        let mut digests = found;
        for ((table, key), value) in changes.iter().filter(|((table, _), _)| *table < DIGESTED) {
            if let Some(old) = self.get(*table, key)? {
                digests[*table].remove(entry_hash(*table, key, &old));
            }
            if let Some(new) = value {
                digests[*table].add(entry_hash(*table, key, new));
            }
        }
        Ok(digests)
    }

    /// Commits the changes with the digests that result. `report` is given the digests as they were
    /// stored.
    fn apply(
        &self,
        changes: Changes,
        digests: TableDigests,
        report: impl FnOnce(&TableDigests),
    ) -> Result<()> {
        let mut batch = Batch::default();
        for ((table, key), value) in changes {
            let mut changes = self.table[table].changes(&mut batch);
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        // A slot that a repair takes back may be given out again, for another text.
        let mut meta = self.table[META].changes(&mut batch);
        meta.remove(keywords::FILES_KEY);
        let mut catalog = Batch::default();
        let mut stored = lock(&self.digests);
        if *stored != digests {
            put_digests(&mut catalog, self.number, &digests)?;
        }
        self.database().commit(&batch, catalog)?;
        report(&stored);
        *stored = digests;
        Ok(())
    }
}
