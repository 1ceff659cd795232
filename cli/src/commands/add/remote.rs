//! Sending items to a service, part by part.

use affinis::{AddMode, Item};
use affinis_api::AddedDocument;
use affinis_client::{Error, MAX_BATCH_BYTES, MAX_BATCH_ITEMS};

use super::Stored;
use crate::failure::Failure;
use crate::input::{InputError, Parsed, Place};
use crate::output;
use crate::target::Remote;

/// Sends items in parts, each of which is stored as a whole or not at all. With `skip_bad`, items
/// that the service refuses are left out.
///
/// # Errors
/// The place of the item that the service refuses, and how many are stored already; those of the
/// connection.
pub(super) fn store(
    parsed: Parsed,
    file: &str,
    skip_bad: bool,
    mode: AddMode,
    remote: &Remote,
) -> Result<Stored, Failure> {
    let Parsed {
        items, places, bad, ..
    } = parsed;
    let bar = output::bar(items.len() as u64, "sending");
    let mut sending = Sending {
        remote,
        file,
        mode,
        skip_bad,
        stored: 0,
        added: AddedDocument::default(),
        bad,
    };
    let (mut items, mut places) = (items.as_slice(), places.as_slice());
    while !items.is_empty() {
        let length = part(items);
        sending.send(&items[..length], &places[..length])?;
        bar.inc(length as u64);
        (items, places) = (&items[length..], &places[length..]);
    }
    bar.finish_and_clear();
    let Sending { added, mut bad, .. } = sending;
    bad.sort_by_key(|error| error.place);
    if let Some(first) = bad.first()
        && added == AddedDocument::default()
    {
        let reason = format!(
            "none of its items can be used; the first is in {}: {}",
            first.place, first.reason
        );
        return Err(InputError::new(file, Place::File, reason).into());
    }
    Ok(Stored { added, bad })
}

/// The number of items of the next part, which is one request.
fn part(items: &[Item]) -> usize {
    /// Well below the size at which a request of the client is sent.
    const BYTES: usize = MAX_BATCH_BYTES / 2;
    let mut bytes = 0;
    let mut length = 0;
    for item in items.iter().take(MAX_BATCH_ITEMS) {
        let numbers = item.vector.as_ref().map_or(0, Vec::len);
        let text = item.text.as_ref().map_or(0, String::len);
        bytes += item.id.len() + text + 12 * numbers + 64;
        if !item.meta.is_null() {
            bytes += item.meta.to_string().len();
        }
        if length > 0 && bytes > BYTES {
            break;
        }
        length += 1;
    }
    length
}

/// Items on their way to a service.
struct Sending<'a> {
    remote: &'a Remote,
    file: &'a str,
    mode: AddMode,
    skip_bad: bool,
    /// Number of items that are stored.
    stored: usize,
    added: AddedDocument,
    bad: Vec<InputError>,
}

impl Sending<'_> {
    fn send(&mut self, items: &[Item], places: &[Place]) -> Result<(), Failure> {
        let collection = self.remote.collection();
        let error = match collection.add_as(self.mode, items.iter().cloned()) {
            Ok(added) => {
                self.stored += items.len();
                self.added.added += added.added;
                self.added.replaced += added.replaced;
                self.added.updated += added.updated;
                self.added.truncated.extend(added.truncated);
                return Ok(());
            }
            Err(error) => error,
        };
        if self.skip_bad && error.is("invalid-input") {
            return self.send_halves(items, places, &error);
        }
        Err(self.failed(items, places, error))
    }

    /// Finds out which items the service refuses.
    fn send_halves(
        &mut self,
        items: &[Item],
        places: &[Place],
        error: &Error,
    ) -> Result<(), Failure> {
        if let ([_], [place]) = (items, places) {
            let reason = reason(&error.to_string()).to_owned();
            self.bad.push(InputError::new(self.file, *place, reason));
            return Ok(());
        }
        let half = items.len() / 2;
        self.send(&items[..half], &places[..half])?;
        self.send(&items[half..], &places[half..])
    }

    /// The error of a part, at the item that it names.
    fn failed(&self, items: &[Item], places: &[Place], error: Error) -> Failure {
        let before = match self.stored {
            0 => String::new(),
            stored => format!("; the {stored} items before its part of the input are stored"),
        };
        let message = error.to_string();
        let named = items.iter().position(|item| {
            error.is("invalid-input") && message.starts_with(&format!("item {:?} (", item.id))
        });
        match named.and_then(|at| places.get(at)) {
            Some(place) => {
                let reason = format!("{}{before}", reason(&message));
                InputError::new(self.file, *place, reason).into()
            }
            None if self.stored > 0 => Failure::Failed(format!(
                "{message}{before}; giving the same file again sends them again"
            )),
            None => error.into(),
        }
    }
}

/// What is wrong with an item, of the message of the crate about it.
fn reason(message: &str) -> &str {
    message
        .split_once(" cannot be stored: ")
        .map_or(message, |(_, reason)| reason)
}
