//! Sending items to a service, which stores all of them or none.

use affinis::{AddMode, Item};
use affinis_api::{AddedAllDocument, AddedDocument};
use affinis_client::{Error, MAX_BATCH_BYTES, MAX_BATCH_ITEMS};

use super::Stored;
use crate::failure::Failure;
use crate::input::{InputError, Parsed, Place};
use crate::output;
use crate::target::{Remote, wait};

/// Sends items. With `skip_bad`, those that the service refuses are left out.
///
/// # Errors
/// The place of the item that the service refuses; those of the connection.
pub(super) fn store(
    parsed: Parsed,
    file: &str,
    skip_bad: bool,
    mode: AddMode,
    remote: &Remote,
) -> Result<Stored, Failure> {
    let Parsed {
        items,
        places,
        mut bad,
        ..
    } = parsed;
    let added = if fits_a_request(&items) && !skip_bad {
        let added = remote.collection().add_as(mode, items.iter().cloned());
        let added = added.map_err(|error| refused(error.into(), file, &items, &places))?;
        AddedAllDocument {
            added,
            skipped: Vec::new(),
        }
    } else {
        send_all(file, skip_bad, mode, remote, &items, &places)?
    };
    for skipped in added.skipped {
        // Each item was sent as a line.
        let at = usize::try_from(skipped.line).unwrap_or(0).wrapping_sub(1);
        let place = places.get(at).copied().unwrap_or(Place::File);
        bad.push(InputError::new(file, place, skipped.reason));
    }
    bad.sort_by_key(|error| error.place);
    if let Some(first) = bad.first()
        && added.added == AddedDocument::default()
    {
        let reason = format!(
            "none of its {} items can be used; the first is in {}: {}",
            bad.len(),
            first.place,
            first.reason
        );
        return Err(InputError::new(file, Place::File, reason).into());
    }
    Ok(Stored {
        added: added.added,
        bad,
    })
}

/// Whether the client sends items as one request, which is repeated where it is not answered.
fn fits_a_request(items: &[Item]) -> bool {
    /// Well below the size at which a request of the client is sent.
    const BYTES: usize = MAX_BATCH_BYTES / 2;
    if items.len() > MAX_BATCH_ITEMS {
        return false;
    }
    let bytes = items.iter().map(|item| {
        let numbers = item.vector.as_ref().map_or(0, Vec::len);
        let text = item.text.as_ref().map_or(0, String::len);
        let meta = match &item.meta {
            meta if meta.is_null() => 0,
            meta => meta.to_string().len(),
        };
        item.id.len() + text + 12 * numbers + meta + 64
    });
    bytes.sum::<usize>() <= BYTES
}

/// Sends items as a file.
fn send_all(
    file: &str,
    skip_bad: bool,
    mode: AddMode,
    remote: &Remote,
    items: &[Item],
    places: &[Place],
) -> Result<AddedAllDocument, Failure> {
    const STEPS: u64 = 100;
    let bar = output::bar(items.len() as u64, "sending");
    let sent = items.iter().cloned().inspect(|_| bar.inc(1));
    let adding = remote.collection().add_all(sent);
    let begun = adding.mode(mode).skip_bad(skip_bad).begin();
    bar.finish_and_clear();
    let bar = output::bar(STEPS, "encoding");
    let added = wait(&begun?, |share| {
        bar.set_position((share * STEPS as f32) as u64);
    });
    bar.finish_and_clear();
    added.map_err(|failure| refused(failure, file, items, places))
}

/// An error of the service, at the item that it names.
fn refused(failure: Failure, file: &str, items: &[Item], places: &[Place]) -> Failure {
    let Failure::Service(error) = &failure else {
        return failure;
    };
    match named(error, items).and_then(|at| places.get(at)) {
        Some(place) => {
            let message = error.to_string();
            InputError::new(file, *place, reason(&message)).into()
        }
        None => failure,
    }
}

/// The position of the item that an error is about.
fn named(error: &Error, items: &[Item]) -> Option<usize> {
    if !error.is("invalid-input") {
        return None;
    }
    let message = error.to_string();
    let about = |item: &Item| message.starts_with(&format!("item {:?} (", item.id));
    items.iter().position(about)
}

/// What is wrong with an item, of the message of the crate about it.
fn reason(message: &str) -> &str {
    message
        .split_once(" cannot be stored: ")
        .map_or(message, |(_, reason)| reason)
}
