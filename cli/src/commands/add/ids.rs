//! Ids that exist already, or do not exist yet, before anything is encoded.

use affinis::AddMode;

use super::first_few;
use crate::failure::Failure;
use crate::input::{InputError, Parsed, Place};
use crate::target::Target;

/// Refuses ids that the input does not give and that exist: the number of a row would replace an
/// item that has nothing to do with it.
pub(super) fn refuse_numbers_in_use(
    file: &str,
    numbered: &[String],
    collection: &Target,
) -> Result<(), Failure> {
    if numbered.is_empty() {
        return Ok(());
    }
    let taken = collection.existing(numbered)?;
    if taken.is_empty() {
        return Ok(());
    }
    let taken: Vec<String> = numbered
        .iter()
        .filter(|id| taken.contains(id.as_str()))
        .cloned()
        .collect();
    Err(InputError::new(
        file,
        Place::File,
        format!(
            "its items have no ids, and their numbers are ids of other items already ({}); nothing was added. Give them \
             ids: --id-column COLUMN (csv, tsv, JSON), --ids FILE (npy), or --id-prefix PREFIX to put something before \
             the numbers",
            first_few(&taken)
        ),
    )
    .into())
}

/// Refuses ids that exist in an insert, and those that do not in an update, at the places where
/// they stand.
pub(super) fn check(
    mut parsed: Parsed,
    file: &str,
    skip_bad: bool,
    mode: AddMode,
    collection: &Target,
) -> Result<Parsed, Failure> {
    if !matches!(mode, AddMode::Insert | AddMode::Update) {
        return Ok(parsed);
    }
    let ids: Vec<String> = parsed.items.iter().map(|item| item.id.clone()).collect();
    let known = collection.existing(&ids)?;
    let fitting = |item: &affinis::Item| match (mode, known.contains(item.id.as_str())) {
        (AddMode::Insert, true) => Err(format!(
            "the id {:?} exists already; --mode upsert replaces its item, --mode update changes it",
            item.id
        )),
        (AddMode::Update, false) => Err(format!(
            "there is no item {:?} to update; --mode upsert adds it",
            item.id
        )),
        _ => Ok(()),
    };
    let items = std::mem::take(&mut parsed.items)
        .into_iter()
        .map(Ok)
        .collect();
    Ok(parsed.pass(file, skip_bad, items, fitting)?)
}
