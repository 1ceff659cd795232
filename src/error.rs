//! The error type of the crate, in three classes by who must act: the caller, the operator of the
//! machine, or the developers of affinis.

use std::fmt::Write;
use std::path::PathBuf;

use crate::encode::EncodeError;
use crate::ids::VersionId;
use crate::plugin::LearnError;

/// The result type of the crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the crate. Its message names what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller's input.
    /// A vector of another dimension than the collection's.
    #[error("{what} has {found} numbers, but the collection's dimension is {expected}")]
    Dimension {
        /// Which vector.
        what: String,
        /// The collection's dimension.
        expected: usize,
        /// The vector's.
        found: usize,
    },
    /// NaN or an infinity.
    #[error("{what} has a number that is not finite at position {position}: {value}")]
    NotFinite {
        /// Which vector.
        what: String,
        /// Where in it, from 0.
        position: usize,
        /// The number.
        value: f32,
    },
    /// A zero vector where only its direction counts.
    #[error(
        "{what} is a zero vector, which has no direction; a cosine collection cannot hold or search it"
    )]
    ZeroVector {
        /// Which vector.
        what: String,
    },
    /// An item that breaks a limit.
    #[error("item {id:?} (number {index} of the input) cannot be stored: {reason}")]
    InvalidItem {
        /// Its position in the input, from 0.
        index: usize,
        /// Its id, cut to a readable length.
        id: String,
        /// Which limit and how.
        reason: String,
    },
    /// An id that occurs twice in one input.
    #[error(
        "id {id:?} stands twice in one input: items number {first} and {second}; keep one of them"
    )]
    DuplicateId {
        /// The id.
        id: String,
        /// Position of its first item, from 0.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// Ids that the collection does not hold.
    #[error("collection {collection:?} has no item with the id {}", list(ids))]
    UnknownId {
        /// The collection's name.
        collection: String,
        /// The ids.
        ids: Vec<String>,
    },
    /// A query that cannot be answered.
    #[error("the query cannot be answered: {0}")]
    InvalidQuery(String),
    /// A filter that cannot be parsed.
    #[error("the filter is wrong at {at}: {reason}")]
    InvalidFilter {
        /// Path into the filter, such as `year.$gte`.
        at: String,
        /// What is wrong there.
        reason: String,
    },
    /// A judgement that cannot be used; nothing of its batch was stored.
    #[error("judgement number {index} cannot be stored: {reason}")]
    InvalidJudgement {
        /// Its position in the input, from 0.
        index: usize,
        /// Why.
        reason: String,
    },
    /// A version of a history that cannot be imported; nothing of the history was imported.
    #[error("metric version {version} cannot be restored: {reason}")]
    InvalidVersion {
        /// Its number.
        version: VersionId,
        /// Why.
        reason: String,
    },
    /// A refit without judgements.
    #[error("there are no judgements to learn from{0}; give some with `Collection::judge` first")]
    NoJudgements(String),
    /// A metric version that does not exist.
    #[error(
        "collection {collection:?} has no metric version {version}; `Collection::metrics` lists what it has"
    )]
    UnknownVersion {
        /// The collection's name.
        collection: String,
        /// The number asked for.
        version: VersionId,
    },
    /// A version that was withdrawn because it had learned from judgements since forgotten.
    #[error(
        "metric version {0} was withdrawn: it had learned from judgements that were forgotten since"
    )]
    WithdrawnVersion(VersionId),
    /// A rollback from version 0.
    #[error(
        "the active metric is version 0 (the built-in distance), which has no parent to go back to"
    )]
    NothingToRollBack,
    /// A matrix that cannot be a metric of this collection, or another request that cannot be
    /// fulfilled.
    #[error("{0}")]
    Invalid(String),

    // Collections.
    /// A collection of this name exists.
    #[error("collection {0:?} exists already; open it, or choose another name")]
    CollectionExists(String),
    /// No collection of this name.
    #[error("the store has no collection {name:?}; it has {}", if known.is_empty() { "none yet, create one first".to_owned() } else { list(known) })]
    CollectionMissing {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A collection opened with other settings than it was created with.
    #[error(
        "collection {name:?} was made with {what} {made:?}, not {given:?}; open it without naming one, or make a new collection"
    )]
    SettingMismatch {
        /// The collection's name.
        name: String,
        /// Which setting.
        what: &'static str,
        /// The collection's.
        made: String,
        /// The caller's.
        given: String,
    },
    /// The encoder differs from the one that encoded the collection's items.
    #[error(
        "collection {name:?} was encoded by {made}, and this is {given}: their vectors cannot be compared; open it with its own encoder, or encode its texts into a new collection"
    )]
    EncoderMismatch {
        /// The collection's name.
        name: String,
        /// Name and fingerprint of the collection's encoder.
        made: String,
        /// Name and fingerprint of the one given.
        given: String,
    },
    /// A text for a collection that has no encoder.
    #[error("collection {name:?} cannot encode a text: {reason}")]
    NoEncoder {
        /// The collection's name.
        name: String,
        /// Why there is none, and what to do.
        reason: String,
    },

    // Plugins.
    /// No registered plugin can do what was asked.
    #[error("{0}; register the plugin with `Store::builder().plugin(..)`")]
    NoPlugin(String),
    /// The learner refused or failed; the active metric is unchanged.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The encoder failed.
    #[error(transparent)]
    Encode(#[from] EncodeError),

    // The environment.
    /// Another process, or another handle of this one, has the store open.
    #[error("the store {} is in use by {}; a store is opened by one process at a time", path.display(), pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}")))]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// The holder's process id, where it is known.
        pid: Option<u32>,
    },
    /// The directory holds something else, or nothing where a store was expected.
    #[error("{} is no affinis store: {reason}", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A store or record that an earlier affinis wrote, in a format that this one does not read.
    #[error(
        "{part} was written by an earlier affinis (format {found}, and this one reads {known}); export its collections with that version and import them here"
    )]
    OlderFormat {
        /// The store or record.
        part: String,
        /// Its format number.
        found: u32,
        /// The format number that this version reads.
        known: u32,
    },
    /// A store or record that a later affinis wrote.
    #[error("{part} has format {found}, and this affinis reads up to {known}; use a newer affinis")]
    NewerFormat {
        /// The store or record.
        part: String,
        /// Its format number.
        found: u32,
        /// The format number that this version reads.
        known: u32,
    },
    /// Stored bytes that differ from what was written.
    #[error(
        "{part} is damaged: {reason}; `Store::verify` lists all damage, and `StoreBuilder::repair` rebuilds what can be rebuilt; the rest must come from a backup"
    )]
    Damaged {
        /// The record, table or file.
        part: String,
        /// The damage.
        reason: String,
    },
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The database failed to read or write.
    #[error("the database could not {action}: {source}")]
    Storage {
        /// What it was asked to do, such as `commit a write`.
        action: &'static str,
        /// The database's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An earlier write could not be made durable, or the database panicked. The handle then
    /// neither reads nor writes the database, because memory may be ahead of the disk. Searches
    /// that need neither texts nor metadata are answered from what was acknowledged.
    #[error(
        "after an earlier failure ({0}) it is unknown what is on disk, so this handle neither writes nor reads; close the store and open it again: everything acknowledged is there"
    )]
    Poisoned(String),
    /// The caller cancelled the operation.
    #[error("cancelled")]
    Cancelled,
}

/// The first few of a list of names, for messages.
pub(crate) fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|n| format!("{:?}", cut(n)))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

/// A text cut to what fits in a message.
pub(crate) fn cut(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain("...".chars()).collect()
}
