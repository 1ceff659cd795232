//! Setting right what is stored of a collection, before it is opened.

use super::CollectionInfo;
use super::graph::check_files;
use super::read::parse_meta;
use super::verify::{check_segment, check_version};
use crate::error::{Error, Result};
use crate::learning::Plugins;
use crate::model::VersionId;
use crate::persist::{
    CollectionRecord, ItemRecord, Judges, QueryRecord, Repairs, Shelf, VersionRecord,
};

/// Rebuilds what follows from other records, and removes what cannot be used.
pub(crate) fn repair(
    name: &str,
    record: &CollectionRecord,
    shelf: &Shelf,
    plugins: &Plugins,
) -> Result<Repairs> {
    let CollectionInfo { dim, distance, .. } = CollectionInfo::read(name, record, 0)?;
    let reason = |error: Error| match error {
        Error::Damaged { reason, .. } => reason,
        error => error.to_string(),
    };
    // The database is what images are judged by, so it comes first.
    let mut done = shelf.repair(&Judges {
        item: &|record: &ItemRecord, slot| parse_meta(&record.meta, slot).err().map(reason),
        version: &|version, record: &VersionRecord| {
            check_version(shelf, plugins, dim, VersionId(version), record)
                .err()
                .map(reason)
        },
        segment: &check_segment,
        hash: &QueryRecord::hash,
    })?;
    let wrong = check_files(shelf, dim, distance, shelf.next_slot()?);
    if !wrong.is_empty() {
        shelf.drop_images()?;
        done.rebuilt.extend(
            wrong
                .into_iter()
                .map(|(part, reason)| format!("{part}: {reason}")),
        );
    }
    Ok(done)
}
