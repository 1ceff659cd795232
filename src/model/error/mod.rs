//! The error type of the crate. [`Error::kind`] classes its variants by what a caller can do.

mod kind;

use std::fmt::Write;
use std::path::PathBuf;

use crate::encode::EncodeError;
use crate::ids::{JudgementId, VersionId};
use crate::model::{Distance, ItemError, JudgementError, MAX_DIM};
use crate::plugin::LearnError;

pub use kind::ErrorKind;

/// The result type of the crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the crate. Its message names what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // Vectors.
    /// A vector of another dimension than the collection's.
    #[error("{what} has {found} numbers, but the collection holds vectors of dimension {expected}")]
    Dimension {
        /// The name of the vector in messages, such as `the query's vector`.
        what: String,
        /// Dimension of the collection.
        expected: usize,
        /// Dimension of the vector.
        found: usize,
    },
    /// A vector with NaN or an infinity.
    #[error("{what} has a number that is not finite at position {position}: {value}")]
    NotFinite {
        /// The name of the vector in messages.
        what: String,
        /// Position of the number in the vector, from 0.
        position: usize,
        /// The number.
        value: f32,
    },
    /// A zero vector in a collection in which only directions count.
    #[error(
        "{what} is a zero vector, which has no direction; a cosine collection cannot hold or search it"
    )]
    ZeroVector {
        /// The name of the vector in messages.
        what: String,
    },
    /// A vector so long that its squared distances are not finite in `f32`.
    #[error("{what} is too long ({norm:.3e}): its distances would overflow")]
    VectorTooLong {
        /// The name of the vector in messages.
        what: String,
        /// Euclidean norm of the vector.
        norm: f64,
    },

    /// A failure of the engine that keeps the items, such as a database server.
    #[error("{what}: {source}")]
    Engine {
        /// What failed, and what to do.
        what: String,
        /// The class of the error.
        kind: ErrorKind,
        /// The engine's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    // Items, queries and judgements.
    /// An item that breaks a limit; nothing of its batch was stored.
    #[error("item {id:?} (number {index} of the input) cannot be stored: {source}")]
    InvalidItem {
        /// Position of the item in the input, from 0.
        index: usize,
        /// Id of the item, cut to a readable length.
        id: String,
        /// The limit that it breaks.
        source: ItemError,
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
        /// Position of its second item, from 0.
        second: usize,
    },
    /// Items to be inserted whose ids exist; nothing was added.
    #[error(
        "collection {collection:?} has items with these ids already: {}",
        list(ids)
    )]
    IdExists {
        /// Name of the collection.
        collection: String,
        /// The ids that exist.
        ids: Vec<String>,
    },
    /// Ids that the collection does not hold.
    #[error("collection {collection:?} has no item with the id {}", list(ids))]
    UnknownId {
        /// Name of the collection.
        collection: String,
        /// The ids that it does not hold.
        ids: Vec<String>,
    },
    /// A query that cannot be answered.
    #[error("the query cannot be answered: {0}")]
    InvalidQuery(String),
    /// A query by a text that the collection's encoder can make nothing of.
    #[error(
        "the query cannot be answered: the collection's encoder knows nothing of the text {text:?}, so it has no vector"
    )]
    UnknownText {
        /// The text, cut to a readable length.
        text: String,
    },
    /// A filter that cannot be parsed.
    #[error("the filter is wrong at {at}: {reason}")]
    InvalidFilter {
        /// Path into the filter, such as `year.$gte`.
        at: String,
        /// The fault at that place.
        reason: String,
    },
    /// A field of metadata whose dots can be read in two ways in one item, as part of a key and as a
    /// path into an object.
    #[error(
        "the field {field:?} has two meanings in {}: a key with dots, and a key in an object; a filter says which by listing the keys, such as {{\"$field\": [[\"user.name\"], ..]}} or {{\"$field\": [[\"user\", \"name\"], ..]}}",
        item.as_ref().map_or_else(|| "an item".to_owned(), |id| format!("item {:?}", cut(id)))
    )]
    AmbiguousField {
        /// The field, as it was named.
        field: String,
        /// Id of the item, where it is known.
        item: Option<String>,
    },
    /// A judgement that cannot be stored; nothing of its batch was stored.
    #[error("judgement number {index} cannot be stored: {source}")]
    InvalidJudgement {
        /// Position of the judgement in the input, from 0.
        index: usize,
        /// The rule that it breaks.
        source: JudgementError,
    },

    // Settings.
    /// A name that no collection can have.
    #[error("the collection's name {name:?} {fault}")]
    InvalidName {
        /// The name.
        name: String,
        /// The fault of the name, such as `is empty`.
        fault: &'static str,
    },
    /// A setting outside its range.
    #[error("{setting} is {value}; it must be {allowed}")]
    InvalidSetting {
        /// Name of the setting, such as `the dimension`.
        setting: &'static str,
        /// The value that was given.
        value: String,
        /// The range of the setting, such as `1 to 4096`.
        allowed: String,
    },
    /// Two settings that exclude each other.
    #[error("{first} excludes {second}: {reason}")]
    ConflictingSettings {
        /// One setting.
        first: &'static str,
        /// The other setting.
        second: &'static str,
        /// The reason why they exclude each other.
        reason: &'static str,
    },
    /// A new collection with neither an encoder nor a dimension.
    #[error("collection {name:?} needs an encoder or a dimension to be made")]
    MissingDimension {
        /// Name of the collection.
        name: String,
    },
    /// An encoder and a dimension that differ.
    #[error(
        "the encoder {encoder} gives vectors of dimension {encoded}, not {given}; leave the dimension out"
    )]
    EncoderDimension {
        /// Name of the encoder.
        encoder: String,
        /// Dimension of the encoder's vectors.
        encoded: usize,
        /// The dimension that was given.
        given: usize,
    },

    // Metrics and trials.
    /// A judgement that the collection does not hold.
    #[error("collection {collection:?} has no judgement {judgement}")]
    UnknownJudgement {
        /// Name of the collection.
        collection: String,
        /// Number of the judgement.
        judgement: JudgementId,
    },
    /// A version that cannot be deleted, because something needs it.
    #[error("metric version {version} is needed: {reason}")]
    VersionNeeded {
        /// The version.
        version: VersionId,
        /// What needs it, and how that can be changed.
        reason: String,
    },
    /// A matrix of another shape than `dim x dim`.
    #[error("the matrix is {rows} x {columns}, but a metric of this collection is {dim} x {dim}")]
    MatrixShape {
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        columns: usize,
        /// Dimension of the collection.
        dim: usize,
    },
    /// The matrix of a metric that has none.
    #[error("version {version} is the built-in distance {distance:?}, which has no matrix", distance = distance.to_string())]
    NoMatrix {
        /// Number of the version.
        version: VersionId,
        /// The collection's built-in distance.
        distance: Distance,
    },
    /// A version of a history that cannot be imported; nothing of the history was imported.
    #[error("metric version {version} cannot be restored: {reason}")]
    InvalidVersion {
        /// Number of the version.
        version: VersionId,
        /// The fault of the version.
        reason: String,
    },
    /// A history whose next numbers are so large that a collection would run out of them.
    #[error(
        "the numbers of the next judgement ({next_judgement}) and version ({next_version}) leave no room for more"
    )]
    HistoryNumbers {
        /// Number of the next judgement.
        next_judgement: JudgementId,
        /// Number of the next version.
        next_version: VersionId,
    },
    /// A history for a collection that has one.
    #[error(
        "a history can be restored only where there is none: collection {collection:?} has judgements or metrics"
    )]
    HistoryExists {
        /// Name of the collection.
        collection: String,
    },
    /// A refit without judgements that teach.
    #[error(
        "there are no judgements to learn from{}; give some with `Collection::judge` first",
        of_judgements(user.as_deref(), *stale)
    )]
    NoJudgements {
        /// The user whose judgements were to be learned from; `None` for everybody's.
        user: Option<String>,
        /// Number of judgements that teach nothing, because their items hold other contents than
        /// those that were judged, or are gone.
        stale: usize,
    },
    /// A metadata field that does not tell items apart, so that no judgements follow from it.
    #[error(
        "the field {field:?} tells {groups} groups of items apart; it takes two, one of them with two items"
    )]
    TooFewGroups {
        /// Path of the field.
        field: String,
        /// Number of groups of items with equal values.
        groups: usize,
    },
    /// Texts of which none can be halved, so that no judgements follow from them.
    #[error(
        "no item has a text of four words, which could be halved, of whose first half the encoder knows something"
    )]
    TextsTooShort,
    /// A metric version that does not exist.
    #[error(
        "collection {collection:?} has no metric version {version}; `Collection::metrics` lists what it has"
    )]
    UnknownVersion {
        /// Name of the collection.
        collection: String,
        /// The number that was given.
        version: VersionId,
    },
    /// A version that was withdrawn because it had learned from judgements since forgotten, or
    /// measures the vectors of an encoder that was replaced.
    #[error(
        "metric version {0} was withdrawn: it had learned from judgements that were forgotten since, or from vectors \
         of an encoder that was replaced"
    )]
    WithdrawnVersion(VersionId),
    /// One user's version where one of everybody's is needed: for a rollback or a trial.
    #[error(
        "version {version} is {user:?}'s own, so everybody can neither go back to it nor try it; promote it for them, or end their own metric"
    )]
    PersonalVersion {
        /// Number of the version.
        version: VersionId,
        /// The user that it was learned for.
        user: String,
    },
    /// A rollback from version 0.
    #[error(
        "the active metric is version 0 (the built-in distance), which has no parent to go back to"
    )]
    NothingToRollBack,
    /// A trial of version 0.
    #[error("version 0 is what metrics are compared with; name another one")]
    BuiltInChallenger,
    /// A trial of the active version.
    #[error("version {0} is active already; there is nothing to try")]
    AlreadyActive(VersionId),
    /// A trial of a version that is being tried.
    #[error(
        "a trial of version {version} is running, with {contests} contests held; end it to begin another"
    )]
    TrialRunning {
        /// Number of the challenger.
        version: VersionId,
        /// Number of contests held so far.
        contests: usize,
    },

    // Collections.
    /// A collection of this name exists.
    #[error("collection {0:?} exists already; open it, or choose another name")]
    CollectionExists(String),
    /// No collection of this name.
    #[error("the store has no collection {name:?}; it has {}", if known.is_empty() { "none yet, create one first".to_owned() } else { list(known) })]
    CollectionMissing {
        /// The name that was given.
        name: String,
        /// Names of the collections that there are.
        known: Vec<String>,
    },
    /// A collection opened with other settings than it was created with.
    #[error(
        "collection {name:?} was made with {what} {made:?}, not {given:?}; open it without naming one, or make a new collection"
    )]
    SettingMismatch {
        /// Name of the collection.
        name: String,
        /// Name of the setting.
        what: &'static str,
        /// The collection's value.
        made: String,
        /// The value that was given.
        given: String,
    },
    /// The encoder differs from the one that encoded the collection's items.
    #[error(
        "collection {name:?} was encoded by {made}, and this is {given}: their vectors cannot be compared; open it with its own encoder, or encode its texts into a new collection"
    )]
    EncoderMismatch {
        /// Name of the collection.
        name: String,
        /// Name and fingerprint of the collection's encoder.
        made: String,
        /// Name and fingerprint of the one given.
        given: String,
    },
    /// A text for a collection that has no encoder.
    #[error("collection {name:?} cannot encode a text: {reason}")]
    NoEncoder {
        /// Name of the collection.
        name: String,
        /// The reason why it has none, and what to do.
        reason: String,
    },

    /// A collection that cannot be removed while there are handles to it.
    #[error("collection {name:?} is in use; drop its handles first")]
    InUse {
        /// Name of the collection.
        name: String,
    },
    /// A collection that cannot be given another encoder, or go back to the one before.
    #[error("the collection {name:?} is not encoded again: {reason}")]
    NotReencoded {
        /// Name of the collection.
        name: String,
        /// What stands against it.
        reason: String,
    },
    /// A store that cannot be closed while there are other handles to it or to its collections.
    #[error("the store cannot be closed yet: {}", still_open(collections, *stores))]
    StillOpen {
        /// Names of the collections that are in use, in order.
        collections: Vec<String>,
        /// Number of other handles to the store.
        stores: usize,
    },
    /// A collection or store that has used up the numbers of one kind.
    #[error("{part} is out of numbers for {what}; export and import what it holds")]
    OutOfNumbers {
        /// The collection or store.
        part: String,
        /// The kind of number, such as `judgements`.
        what: &'static str,
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
    /// A write to a store that is only read.
    #[error(
        "the store {} was opened to be read only, and nothing can be written to it; open it without `--read-only` (in Rust: without `read_only`)",
        .0.display()
    )]
    ReadOnly(PathBuf),
    /// Another process, or another handle of this one, has the store open.
    #[error("the store {} is in use by {}", path.display(), holder(*pid))]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// The holder's process id, where it is known.
        pid: Option<u32>,
    },
    /// A symbolic link where a directory was named, to something that does not exist.
    #[error(
        "{} is a symbolic link to {}, which does not exist; make that directory, or name another one",
        path.display(),
        target.display()
    )]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// The path that it names.
        target: PathBuf,
    },
    /// The directory of a backup is not empty, and holds no earlier backup of the store.
    #[error(
        "{} holds something else than an earlier backup of this store; name a directory that is empty or not there",
        .0.display()
    )]
    BackupExists(PathBuf),
    /// A path for a backup that ends in no name, such as `..`.
    #[error("a backup needs a directory's name, and {:?} has none", .0.display().to_string())]
    NoDirectoryName(PathBuf),
    /// A part of a store's database is a symbolic link. Rewriting or replacing the database would
    /// replace the link, and what was removed would stay in what it points to.
    #[error(
        "{} is a symbolic link, and what it points to would keep what was removed; move that here in place of the link (a link to the store's whole directory is followed), then try again",
        .0.display()
    )]
    SymbolicLink(PathBuf),
    /// The directory holds something else, or nothing where a store was expected.
    #[error("{} is no affinis store: {reason}", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What the directory holds.
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
        /// The operation, such as `commit a write`.
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
    /// A module refused what had been checked for it, which is a bug of affinis.
    #[error("affinis has a bug: {source}; please report it")]
    Internal {
        /// The error of the module.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// The refusal of a query by a text that the encoder can make nothing of.
    pub(crate) fn unknown_text(text: &str) -> Self {
        Self::UnknownText { text: cut(text) }
    }

    /// The refusal of a search by words in a collection without keywords.
    pub(crate) fn no_keywords(collection: &str) -> Self {
        Self::InvalidQuery(format!(
            "keyword search is off in collection {collection:?}; turn it on with a language"
        ))
    }

    /// The refusal of a dimension outside the limits.
    pub(crate) fn dimension_limit(dim: usize) -> Self {
        Self::InvalidSetting {
            setting: "the dimension",
            value: dim.to_string(),
            allowed: format!("between 1 and {MAX_DIM}"),
        }
    }
}

/// The holder of a store's lock and what to do about it, for a message.
fn holder(pid: Option<u32>) -> String {
    const ONE: &str = "a store is opened by one process at a time";
    match pid {
        Some(pid) if pid == std::process::id() => {
            "another handle of this process; use a clone of that handle, or drop it first"
                .to_owned()
        }
        Some(pid) => format!("process {pid}; {ONE}"),
        None => format!("another process; {ONE}"),
    }
}

/// The handles that keep a store open, for a message.
/// Whose judgements there are none of, and how many there are that teach nothing.
fn of_judgements(user: Option<&str>, stale: usize) -> String {
    let mut text = user
        .map(|user| format!(" by user {user:?}"))
        .unwrap_or_default();
    if stale > 0 {
        let _ = write!(
            text,
            " ({stale} speak of items that were replaced by others or deleted since)"
        );
    }
    text
}

fn still_open(collections: &[String], stores: usize) -> String {
    let collections = (!collections.is_empty())
        .then(|| format!("there are handles to the collections {}", list(collections)));
    let stores = match stores {
        0 => None,
        1 => Some("there is another handle to the store".to_owned()),
        n => Some(format!("there are {n} other handles to the store")),
    };
    let parts: Vec<String> = collections.into_iter().chain(stores).collect();
    format!("{}; drop them first", parts.join(", and "))
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
