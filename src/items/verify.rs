//! Verification of everything that is stored of a collection.

use std::sync::Arc;

use ndarray::Array2;
use serde::Serialize;

use super::graph::StillGuard;
use super::read::parse_meta;
use super::vector_files::check_files;
use super::{CollectionInfo, Items};
use crate::learning::{Plugins, base_of, damaged, decode_metric};
use crate::model::error::{Error, Result};
use crate::model::{LoggedQuery, VersionId, VersionRecord};
use crate::plugin::conformance::{self, NonConformance};
use crate::plugin::{Metric, MetricLearner, caught};
use crate::storage::{Checks, CollectionRecord, Finding, Integrity, Place, Remedy, Tables};

/// A damage that a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The collection and the record, table or file.
    pub part: String,
    /// The damage.
    pub message: String,
    /// Whether [`StoreBuilder::repair`](crate::StoreBuilder::repair) does something about it, if by
    /// removing what cannot be read; otherwise only a backup helps.
    #[serde(skip)]
    pub repairable: bool,
    /// Whether the database could not be read there.
    #[serde(skip)]
    pub(crate) of_database: bool,
}

impl Problem {
    /// A problem of a part that a repair does something about.
    pub(crate) fn new(part: String, message: String) -> Self {
        Self {
            part,
            message,
            repairable: true,
            of_database: false,
        }
    }
}

/// Most places that are named where a database cannot be read.
const MAX_PLACES: usize = 10;

/// Makes one problem of all places in which the database cannot be read: one damaged page may be met
/// wherever its entries are.
pub(crate) fn merged(problems: Vec<Problem>, database: &str) -> Vec<Problem> {
    let (unread, mut merged): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| problem.of_database);
    if let Some(first) = unread.first() {
        let mut places: Vec<&str> = unread.iter().map(|problem| problem.part.as_str()).collect();
        places.dedup();
        let more = places.len().saturating_sub(MAX_PLACES);
        places.truncate(MAX_PLACES);
        let and_more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let message = format!(
            "{}; it cannot be read at {}{and_more}",
            first.message,
            places.join(", ")
        );
        let problem = Problem {
            part: database.to_owned(),
            message,
            repairable: false,
            of_database: true,
        };
        merged.insert(0, problem);
    }
    merged
}

/// Checks every record of a collection once, and that records agree with each other. A concurrent
/// write would be reported as damage.
pub(crate) fn check(
    collection: &str,
    record: &CollectionRecord,
    tables: &Tables,
    plugins: &Plugins,
) -> Integrity {
    let dim = record.dim as usize;
    let info = CollectionInfo::read(collection, record, 0);
    let mut integrity = tables.check(&Checks {
        item: &|record, slot| parse_meta(&record.meta, slot).err().map(reason),
        version: &|version, record, metric| {
            check_version(tables, plugins, dim, VersionId(version), record, metric)
                .err()
                .map(reason)
        },
        query_hash: &LoggedQuery::hash,
        files: &|stored| match &info {
            Ok(info) => check_files(tables, info.rules(), stored),
            Err(_) => Err(Error::Damaged {
                part: "the files of vectors".to_owned(),
                reason: "without the settings they cannot be read".to_owned(),
            }),
        },
    });
    if let Err(error) = info {
        integrity.findings.push(Finding {
            place: Place::Settings,
            damage: error.to_string(),
            remedy: Remedy::None(error),
        });
    }
    integrity
}

/// An error as the reason why a record cannot be used.
fn reason(error: Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason,
        error => error.to_string(),
    }
}

/// The findings of a check as problems of a collection.
pub(crate) fn problems(collection: &str, findings: &[Finding]) -> Vec<Problem> {
    findings
        .iter()
        .map(|finding| Problem {
            part: format!("{collection}: {}", finding.place),
            message: finding.message(),
            repairable: finding.is_repairable(),
            of_database: finding.is_of_database(),
        })
        .collect()
}

/// Checks that a version's encoded metric is there, can be read, and is a metric. A version of a
/// plugin that is not registered passes: only the plugin can read it.
fn check_version(
    tables: &Tables,
    plugins: &Plugins,
    dim: usize,
    version: VersionId,
    record: &VersionRecord,
    metric: Option<&[u8]>,
) -> Result<()> {
    match (metric, record.withdrawn) {
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
                    let bytes = tables
                        .metric(base.0)?
                        .ok_or_else(|| damaged(base, "its matrix is missing".into()))?;
                    Some(decode_metric(&bytes, plugin, dim, base, None)?)
                }
                None => None,
            };
            let metric = decode_metric(bytes, plugin, dim, version, base.as_ref())?;
            check_conformance(&metric, plugin, base.as_ref(), dim)
                .map_err(|error| damaged(version, error.to_string()))?;
            check_matrix(&*metric).map_err(|reason| damaged(version, reason))
        }
    }
}

/// Checks a plugin's metric on vectors that are made up, for the check reads no items.
fn check_conformance(
    metric: &Arc<dyn Metric>,
    plugin: &Arc<dyn MetricLearner>,
    base: Option<&Arc<dyn Metric>>,
    dim: usize,
) -> Result<(), NonConformance> {
    let vectors = conformance::probes(dim);
    conformance::check_metric(&**metric, vectors.view())?;
    conformance::check_encoding(&**metric, &**plugin, base, vectors.view())
}

/// Checks that the matrix of a metric, where it has one, is finite, symmetric and positive
/// definite.
fn check_matrix(metric: &dyn Metric) -> Result<(), String> {
    let matrix = caught("matrix", || Ok(metric.matrix())).map_err(|error| error.to_string())?;
    let Some(matrix) = matrix else {
        return Ok(());
    };
    if matrix.dim() != (metric.dim(), metric.dim()) {
        return Err("its matrix is not d x d".to_owned());
    }
    if matrix.iter().any(|x| !x.is_finite()) {
        return Err("its matrix has numbers that are not finite".to_owned());
    }
    let largest = matrix.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if matrix
        .indexed_iter()
        .any(|((i, j), x)| (x - matrix[[j, i]]).abs() > 1e-12 * largest)
    {
        return Err("its matrix is not symmetric".to_owned());
    }
    if cholesky(matrix) {
        Ok(())
    } else {
        Err("its matrix is not positive definite".to_owned())
    }
}

/// Whether the symmetric matrix `A` has a Cholesky factor, that is, is positive definite. Works in
/// place on the lower triangle, by rows.
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
    /// Checks what is stored of an open collection, and that its index holds as many items. Returns
    /// the number of checks, and the problems.
    pub(crate) fn verify(
        &self,
        still: &StillGuard<'_>,
        record: &CollectionRecord,
        plugins: &Plugins,
    ) -> (u64, Vec<Problem>) {
        let integrity = check(&self.name, record, &self.tables, plugins);
        let mut problems = problems(&self.name, &integrity.findings);
        problems.extend(self.index_problem(still));
        (integrity.checked, problems)
    }

    /// Checks that the index holds as many items as are stored.
    pub(crate) fn index_problem(&self, _still: &StillGuard<'_>) -> Option<Problem> {
        let (answered, stored) = (self.index.len() as u64, self.tables.id_count());
        (answered != stored).then(|| {
            Problem::new(
                format!("{}: index", self.name),
                format!("the index answers for {answered} items and the store holds {stored}"),
            )
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
