//! The vectors in the files of a collection, read one by one: to check them, and to take them out of
//! files that are damaged.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::graph::{for_index, from_index, row_format};
use super::ids::StoredIds;
use crate::index::{self, Expected, RowFormat, check_segment_file};
use crate::model::VectorRules;
use crate::model::error::{Error, Result};
use crate::storage::{FileKind, FileVectors, SegmentFile, Tables};

/// The reader of the files of a collection.
struct Reader<'a> {
    tables: &'a Tables,
    rules: VectorRules,
    format: Option<Arc<dyn RowFormat>>,
}

impl<'a> Reader<'a> {
    fn new(tables: &'a Tables, rules: VectorRules) -> Self {
        Self {
            tables,
            rules,
            format: row_format(tables.precision, rules.distance),
        }
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            dim: self.rules.dim,
            // The counter of slots may be damaged itself.
            next_slot: u32::MAX,
            format: self.format.as_ref(),
        }
    }

    /// Passes every vector of a file to `visit`, with its slot, or `None` for a damaged one. Gives
    /// the damage of the file.
    fn read(
        &self,
        kind: FileKind,
        file: SegmentFile,
        visit: &mut dyn FnMut(u32, Option<Vec<f32>>) -> Result<()>,
    ) -> Result<Option<String>> {
        let has_both_headers = file.has_both_headers();
        let damage = match kind {
            FileKind::Rows(first) => {
                for (slot, vector) in self.tables.rows_of(first, &file) {
                    visit(slot, vector)?;
                }
                file.is_damaged()
                    .then(|| "a checksum does not fit".to_owned())
            }
            FileKind::Segment(id) => {
                let file = for_index(file);
                match index::stored_rows(&file, self.expected()) {
                    Ok(rows) => {
                        for (slot, vector) in rows {
                            visit(slot, vector)?;
                        }
                        let checked = check_segment_file(id, &file, self.expected());
                        checked.err().map(|error| reason(from_index(error)))
                    }
                    Err(damage) => Some(damage),
                }
            }
        };
        let headers = || "one of the two copies of its header is damaged".to_owned();
        Ok(damage.or_else(|| (!has_both_headers).then(headers)))
    }
}

fn reason(error: Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason,
        error => error.to_string(),
    }
}

/// The file, or its damage. That a file cannot be read for another reason says nothing of what is in
/// it.
fn or_damage(file: Result<SegmentFile>) -> Result<std::result::Result<SegmentFile, String>> {
    use std::io::ErrorKind::{InvalidInput, NotFound};
    match file {
        Ok(file) => Ok(Ok(file)),
        Err(error @ Error::Damaged { .. }) => Ok(Err(reason(error))),
        // An empty file cannot be mapped.
        Err(Error::Io { path, source }) if matches!(source.kind(), NotFound | InvalidInput) => {
            Ok(Err(format!("{}: {source}", path.display())))
        }
        Err(error) => Err(error),
    }
}

/// Checks the files of a collection, of which `stored` are the slots in which something is stored.
pub(super) fn check_files(
    tables: &Tables,
    rules: VectorRules,
    stored: &RoaringBitmap,
) -> Result<FileVectors> {
    let reader = Reader::new(tables, rules);
    let listed = tables.vector_files()?;
    let mut found = FileVectors::default();
    if let Some(damage) = listed.damage {
        let name = "the records that name the files of vectors".to_owned();
        found.problems.push((name, damage));
    }
    if let Some(Err(error)) = listed.ids.map(|file| file.and_then(StoredIds::open)) {
        let name = "the file of ids".to_owned();
        found.problems.push((name, reason(error)));
    }
    for (kind, file) in listed.files {
        let file = match or_damage(file)? {
            Ok(file) => file,
            Err(damage) => {
                found.problems.push((kind.to_string(), damage));
                continue;
            }
        };
        let damage = reader.read(kind, file, &mut |slot, vector| {
            found.end = found.end.max(slot.saturating_add(1));
            if vector.is_some() {
                found.sound.insert(slot);
            } else if stored.contains(slot) {
                let damage = format!("a checksum of {kind} does not fit");
                found.damaged.insert(slot, damage);
            }
            Ok(())
        })?;
        if let Some(damage) = damage {
            found.problems.push((kind.to_string(), damage));
        }
    }
    Ok(found)
}

/// Takes the vectors of live items out of the files of a collection into its table of vectors, and
/// removes the files. What cannot be read is lost.
pub(crate) fn rescue_vectors(tables: &Tables, rules: VectorRules) -> Result<()> {
    // The ids may be damaged themselves.
    let stored = tables.item_slots()?;
    tables.move_to_table(|put| readable(tables, rules, &stored, put))
}

/// Does the same if every vector of a live item can be read; otherwise changes nothing, and gives
/// `false`.
pub(super) fn rescue_all_vectors(tables: &Tables, rules: VectorRules) -> Result<bool> {
    let live: RoaringBitmap = tables
        .ids()
        .map(|entry| Ok(entry?.1))
        .collect::<Result<_>>()?;
    let mut missing = &live - &tables.table_slots();
    readable(tables, rules, &live, &mut |slot, _| {
        missing.remove(slot);
        Ok(())
    })?;
    if !missing.is_empty() {
        return Ok(false);
    }
    tables.move_to_table(|put| readable(tables, rules, &live, put))?;
    Ok(true)
}

/// Whether a file of a collection, or a record that names one, is damaged.
pub(super) fn are_files_damaged(tables: &Tables, rules: VectorRules) -> Result<bool> {
    let found = check_files(tables, rules, &RoaringBitmap::new())?;
    Ok(!found.problems.is_empty())
}

/// Passes the vectors of some slots that files hold and that can be read to `visit`, each once: those
/// of files that a record names come first.
fn readable(
    tables: &Tables,
    rules: VectorRules,
    slots: &RoaringBitmap,
    visit: &mut dyn FnMut(u32, &[f32]) -> Result<()>,
) -> Result<()> {
    let reader = Reader::new(tables, rules);
    let mut seen = RoaringBitmap::new();
    for (kind, file) in tables.vector_files()?.files {
        let Ok(file) = or_damage(file)? else {
            continue;
        };
        reader.read(kind, file, &mut |slot, vector| match vector
            .filter(|_| slots.contains(slot) && seen.insert(slot))
        {
            Some(vector) => visit(slot, &vector),
            None => Ok(()),
        })?;
    }
    Ok(())
}
