//! Checking everything that is stored of a collection.

use std::collections::{BTreeSet, HashMap};

use ndarray::Array2;
use serde::Serialize;

use super::graph::check_files;
use super::read::read_item;
use super::{CollectionInfo, Items};
use crate::error::{Error, Result};
use crate::index::SegmentRecord;
use crate::learning::{Plugins, base_of, damaged, decode_metric};
use crate::model::Distance;
use crate::model::{VersionId, VersionRecord};
use crate::persist::{CollectionRecord, Shelf};
use crate::plugin::Metric;

/// One thing that is wrong with what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// Which collection and record.
    pub part: String,
    /// What is wrong with it.
    pub message: String,
}

/// What is looked at, how much so far, and what is wrong.
pub(crate) struct Inspection<'a> {
    collection: &'a str,
    dim: usize,
    shelf: &'a Shelf,
    plugins: &'a Plugins,
    pub(crate) checked: u64,
    pub(crate) problems: Vec<Problem>,
}

/// Reads every record of a collection, checks its checksum, and checks that records agree with each
/// other. Nobody may write meanwhile.
pub(crate) fn inspect<'a>(
    collection: &'a str,
    record: &CollectionRecord,
    shelf: &'a Shelf,
    plugins: &'a Plugins,
) -> Inspection<'a> {
    let dim = record.dim as usize;
    let mut inspection = Inspection {
        collection,
        dim,
        shelf,
        plugins,
        checked: 0,
        problems: Vec::new(),
    };
    let next = inspection
        .look("counters", shelf.next_slot())
        .unwrap_or(u32::MAX);
    inspection.items(next);
    inspection.judgements();
    inspection.versions();
    inspection.graph(next);
    match CollectionInfo::read(collection, record, 0) {
        Ok(info) => inspection.images(info.distance, next),
        Err(error) => inspection.note("settings", error.to_string()),
    }
    inspection
}

impl Inspection<'_> {
    pub(crate) fn note(&mut self, part: impl std::fmt::Display, message: impl Into<String>) {
        self.problems.push(Problem {
            part: format!("{}: {part}", self.collection),
            message: message.into(),
        });
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

    fn items(&mut self, next: u32) {
        let shelf = self.shelf;
        let mut slots: HashMap<u32, String> = HashMap::new();
        for entry in shelf.ids() {
            let Some((id, slot)) = self.look("ids", entry) else {
                continue;
            };
            if slot >= next {
                self.note(
                    format!("id {id:?}"),
                    format!("its slot {slot} was never given out (damaged counter)"),
                );
            }
            self.look(format!("item {id:?}"), read_item(shelf, slot, &id));
            if let Some(other) = slots.insert(slot, id) {
                self.note(
                    format!("slot {slot}"),
                    format!("{other:?} and another id share it (damaged)"),
                );
            }
        }
        for entry in shelf.vectors() {
            if let Some((slot, _)) = self.look("vectors", entry)
                && !slots.contains_key(&slot)
            {
                self.note(
                    format!("the vector of slot {slot}"),
                    "no id refers to it (damaged)",
                );
            }
        }
        for entry in shelf.item_slots() {
            if let Some(slot) = self.look("items", entry)
                && !slots.contains_key(&slot)
            {
                self.note(
                    format!("the record of slot {slot}"),
                    "no id refers to it (damaged)",
                );
            }
        }
    }

    fn judgements(&mut self) {
        let shelf = self.shelf;
        let next = self
            .look("counters", shelf.next_judgement())
            .unwrap_or(u64::MAX);
        let mut asked = BTreeSet::new();
        for entry in shelf.judgements() {
            let Some((sequence, record)) = self.look("judgements", entry) else {
                continue;
            };
            if sequence >= next {
                self.note(
                    format!("judgement {sequence}"),
                    "its number was never given out (damaged counter)",
                );
            }
            let Some(hash) = record.query.hash() else {
                continue;
            };
            asked.insert(hash);
            if let Some(None) = self.look("judged queries", shelf.query(hash)) {
                self.note(
                    format!("judgement {sequence}"),
                    "its query's vector is missing",
                );
            }
        }
        for entry in shelf.query_hashes() {
            if let Some(hash) = self.look("judged queries", entry)
                && !asked.contains(&hash)
            {
                self.note(
                    "judged queries",
                    "one is kept that no judgement asks (damaged)",
                );
            }
        }
    }

    fn versions(&mut self) {
        let shelf = self.shelf;
        let Some(versions) = self.look("metric versions", shelf.versions()) else {
            return;
        };
        let next = self
            .look("counters", shelf.next_version())
            .unwrap_or(u32::MAX);
        let known: Vec<VersionId> = std::iter::once(VersionId::BUILT_IN)
            .chain(versions.iter().map(|(version, _)| VersionId(*version)))
            .collect();
        for (version, record) in &versions {
            let version = VersionId(*version);
            let part = format!("metric version {version}");
            if version.0 >= next {
                self.note(&part, "its number was never given out (damaged counter)");
            }
            let parent = record.lineage.parent;
            if parent >= version || !known.contains(&parent) {
                self.note(&part, format!("its parent {parent} is missing"));
            }
            self.look(
                &part,
                check_version(shelf, self.plugins, self.dim, version, record),
            );
        }
        let Some(active) = self.look("active metrics", shelf.active()) else {
            return;
        };
        for (who, version) in std::iter::once(("everybody", active.shared))
            .chain(active.users.iter().map(|(u, v)| (u.as_str(), *v)))
        {
            let withdrawn = versions
                .iter()
                .any(|(number, record)| *number == version.0 && record.withdrawn);
            if !known.contains(&version) || withdrawn {
                self.note(
                    "active metrics",
                    format!("version {version}, active for {who}, is missing"),
                );
            }
        }
    }

    fn graph(&mut self, next: u32) {
        let Some(segments) = self.look("graph", self.shelf.graph()) else {
            return;
        };
        for (id, chunks) in segments {
            self.checked += 1;
            if let Some(reason) = check_segment(id, chunks, next) {
                self.note(
                    format!("graph of segment {id}"),
                    format!("damaged: {reason}; it can be rebuilt"),
                );
            }
        }
    }

    fn images(&mut self, distance: Distance, next: u32) {
        for (part, reason) in check_files(self.shelf, self.dim, distance, next) {
            self.note(part, format!("damaged: {reason}; it can be rebuilt"));
        }
    }
}

/// Why a stored graph cannot be used, if it cannot.
pub(super) fn check_segment(id: u64, chunks: Vec<Vec<u8>>, next_slot: u32) -> Option<String> {
    SegmentRecord { id, chunks }
        .read(next_slot)
        .err()
        .map(|error| error.to_string())
}

/// Checks that a version's metric is there, can be read, and is one. A version of a plugin that is
/// not registered is passed over: nobody here can read it.
pub(super) fn check_version(
    shelf: &Shelf,
    plugins: &Plugins,
    dim: usize,
    version: VersionId,
    record: &VersionRecord,
) -> Result<()> {
    match (shelf.metric(version.0)?, record.withdrawn) {
        (None, true) => Ok(()),
        (Some(_), true) => Err(damaged(
            version,
            "it was withdrawn, and its matrix is still there".into(),
        )),
        (None, false) => Err(damaged(version, "its matrix is missing".into())),
        (Some(bytes), false) => {
            let Some(plugin) = plugins.iter().find(|p| p.name() == record.lineage.plugin) else {
                return Ok(());
            };
            let base = match base_of(version, record)? {
                Some(base) => {
                    let bytes = shelf.metric(base.0)?;
                    let bytes =
                        bytes.ok_or_else(|| damaged(base, "its matrix is missing".into()))?;
                    Some(decode_metric(&bytes, plugin, dim, base, None)?)
                }
                None => None,
            };
            let metric = decode_metric(&bytes, plugin, dim, version, base.as_ref())?;
            check_metric(&*metric).map_err(|reason| damaged(version, reason.to_owned()))
        }
    }
}

/// Whether a matrix is finite, symmetric and positive definite.
fn check_metric(metric: &dyn Metric) -> Result<(), &'static str> {
    let Some(matrix) = metric.matrix() else {
        return Ok(());
    };
    if matrix.iter().any(|x| !x.is_finite()) {
        return Err("its matrix has numbers that are not finite");
    }
    let largest = matrix.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if matrix
        .indexed_iter()
        .any(|((i, j), x)| (x - matrix[[j, i]]).abs() > 1e-12 * largest)
    {
        return Err("its matrix is not symmetric");
    }
    if cholesky(matrix) {
        Ok(())
    } else {
        Err("its matrix is not positive definite")
    }
}

/// Whether `A` has a Cholesky factor: whether it is positive definite. Works in place on the lower
/// triangle, by rows.
fn cholesky(mut a: Array2<f64>) -> bool {
    for i in 0..a.nrows() {
        for j in 0..=i {
            let products: f64 = (0..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
            let rest = a[[i, j]] - products;
            if i == j {
                if rest <= 0.0 || rest.is_nan() {
                    return false;
                }
                a[[i, i]] = rest.sqrt();
            } else {
                a[[i, j]] = rest / a[[j, j]];
            }
        }
    }
    true
}

impl Items {
    /// Checks what is stored of an open collection, while writers and the graph's saving wait, and
    /// the number of items that its index answers for.
    pub(crate) fn verify(
        &self,
        record: &CollectionRecord,
        plugins: &Plugins,
    ) -> (u64, Vec<Problem>) {
        self.while_still(|| {
            let mut inspection = inspect(&self.name, record, &self.shelf, plugins);
            let stored = self.shelf.id_count();
            if self.index.len() as u64 != stored {
                let counts = format!(
                    "the index answers for {} items and the store holds {stored}",
                    self.index.len()
                );
                inspection.note("index", counts);
            }
            (inspection.checked, inspection.problems)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn only_positive_definite_matrices_have_a_factor() {
        assert!(cholesky(array![[2.0, 1.0], [1.0, 2.0]]));
        assert!(cholesky(Array2::eye(5)));
        for bad in [
            array![[1.0, 2.0], [2.0, 1.0]],
            array![[0.0, 0.0], [0.0, 1.0]],
            array![[f64::NAN, 0.0], [0.0, 1.0]],
        ] {
            assert!(!cholesky(bad.clone()), "{bad}");
        }
    }
}
