//! Errors of the model's types: the rule that an id, an item, a judgement or a version breaks.

use super::{
    JudgementId, MAX_CHUNKS, MAX_CHUNKS_BYTES, MAX_DOCUMENT_BYTES, MAX_ID_BYTES, MAX_META_BYTES,
    MAX_META_DEPTH, MAX_SHOWN, MAX_TEXT_BYTES,
};
use crate::model::error::{Error, cut};

/// The rule that an id breaks. Names of users follow the same rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// An id of no bytes.
    #[error("the id is empty")]
    Empty,
    /// An id of more than [`MAX_ID_BYTES`](crate::limits::MAX_ID_BYTES).
    #[error("the id has {bytes} bytes, more than {MAX_ID_BYTES}")]
    TooLong {
        /// Length of the id, in bytes of UTF-8.
        bytes: usize,
    },
}

/// The rule that an item breaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// An id that cannot be one.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Neither a text nor a vector.
    #[error("it has neither a text nor a vector")]
    Empty,
    /// An update that gives neither a text nor a vector nor metadata.
    #[error("it gives nothing to change: no text, no vector and no metadata")]
    NoChange,
    /// A text of more than [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES).
    #[error("its text has {bytes} bytes, more than {MAX_TEXT_BYTES}")]
    TextTooLong {
        /// Length of the text, in bytes of UTF-8.
        bytes: usize,
    },
    /// A document's text of more than [`MAX_DOCUMENT_BYTES`](crate::limits::MAX_DOCUMENT_BYTES).
    #[error(
        "its text has {bytes} bytes, more than the {MAX_DOCUMENT_BYTES} of a document; divide it"
    )]
    DocumentTooLong {
        /// Length of the text, in bytes of UTF-8.
        bytes: usize,
    },
    /// An id of a document so long that the ids of its chunks would be none.
    #[error(
        "the id has {bytes} bytes, more than the {most} of a document, whose chunks have longer ones"
    )]
    DocumentId {
        /// Length of the id, in bytes of UTF-8.
        bytes: usize,
        /// The longest id of a document.
        most: usize,
    },
    /// A document with a vector.
    #[error(
        "a document has no vector, because its chunks are encoded; leave out the vector, or add it unsplit"
    )]
    DocumentVector,
    /// A document with metadata that its chunks have of their own.
    #[error("its metadata has the key {key:?}, which its chunks have of their own; rename it")]
    DocumentMeta {
        /// The key.
        key: &'static str,
    },
    /// A number of tokens of a chunk that is out of range.
    #[error("chunks of {tokens} tokens cannot be made: the collection's encoder takes 1 to {most}")]
    ChunkTokens {
        /// The number of tokens.
        tokens: usize,
        /// The largest number.
        most: usize,
    },
    /// An overlap that is no less than the chunks.
    #[error("an overlap of {overlap} tokens is not less than the {tokens} tokens of a chunk")]
    ChunkOverlap {
        /// The number of tokens that chunks share.
        overlap: usize,
        /// The number of tokens of a chunk.
        tokens: usize,
    },
    /// A document of more than [`MAX_CHUNKS`](crate::limits::MAX_CHUNKS).
    #[error("it has more than {MAX_CHUNKS} chunks; make them of more tokens, or divide it")]
    TooManyChunks,
    /// A document whose chunks take more than
    /// [`MAX_CHUNKS_BYTES`](crate::limits::MAX_CHUNKS_BYTES).
    #[error(
        "its chunks take {bytes} bytes with the metadata that each of them has, more than {MAX_CHUNKS_BYTES}; make them \
         of more tokens, or shorten the metadata"
    )]
    DocumentTooLarge {
        /// The bytes of all texts and metadata.
        bytes: usize,
    },
    /// An update of a document that gives a text or a vector as those of an item.
    #[error("it is a document; give its new text as one, so that it is split into chunks")]
    IsDocument,
    /// A text of white space only, where it has to be encoded.
    #[error("the text is empty, so there is nothing to encode")]
    BlankText,
    /// A text that the collection's encoder can make nothing of, so that it has no vector.
    #[error(
        "the collection's encoder knows nothing of its text, so it has no vector; give a vector with it, or leave it out"
    )]
    UnknownText,
    /// A text that the collection's encoder fails on.
    #[error("{0}")]
    Unencodable(String),
    /// An end that is no time.
    #[error("its end {0:?} is not a time in RFC 3339, such as 2027-01-31T12:00:00Z")]
    End(String),
    /// Metadata that is neither an object nor null.
    #[error("its metadata is not a JSON object")]
    MetaNotAnObject,
    /// Metadata of more than [`MAX_META_DEPTH`](crate::limits::MAX_META_DEPTH).
    #[error("its metadata is nested deeper than {MAX_META_DEPTH} levels")]
    MetaTooDeep,
    /// Metadata of more than [`MAX_META_BYTES`](crate::limits::MAX_META_BYTES).
    #[error("its metadata takes {bytes} bytes, more than {MAX_META_BYTES}")]
    MetaTooLong {
        /// Length of the metadata as compact JSON, in bytes.
        bytes: usize,
    },
    /// A vector that the collection cannot hold.
    #[error(transparent)]
    Vector(Box<Error>),
    /// A vector with numbers that the collection's precision cannot hold.
    #[error("{what} has numbers too large for precision {precision}")]
    Precision {
        /// The name of the vector in messages.
        what: &'static str,
        /// Name of the collection's precision.
        precision: String,
    },
}

/// The rule that a judgement breaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgementError {
    /// A grade outside -1 to 1.
    #[error("the grade {0} is outside [-1, 1]")]
    Grade(f32),
    /// A query by a text of white space only.
    #[error("the text is empty, so there is nothing to encode")]
    BlankText,
    /// A query by a text that the collection's encoder fails on.
    #[error("{0}")]
    Unencodable(String),
    /// A query by a text that the collection's encoder can make nothing of.
    #[error(
        "the collection's encoder knows nothing of the query's text, so it has no vector; leave it out"
    )]
    UnknownText,
    /// A query by the item that is judged.
    #[error("the query and the item are the same item {0:?}")]
    OwnAnswer(String),
    /// A pair of an item and itself.
    #[error("both items are {0:?}")]
    OwnPair(String),
    /// A weight that is not above 0 and finite.
    #[error("the weight {0} is not a number above 0")]
    Weight(f32),
    /// A user's name that cannot be one.
    #[error("{}", .0.to_string().replace("the id", "the user"))]
    User(IdError),
    /// More than 10,000 ids beside the judged item.
    #[error("{count} ids are given as shown, more than {MAX_SHOWN}")]
    TooManyShown {
        /// Number of ids.
        count: usize,
    },
    /// A query's vector that the collection cannot search.
    #[error(transparent)]
    Vector(Box<Error>),
    /// The id of an item that the collection does not hold.
    #[error("the collection has no item with the id {:?}", cut(.0))]
    UnknownId(String),
    /// A judgement of a history whose number is not above that of the one before it, or not below
    /// that of the next one.
    #[error("its number {0} is out of order")]
    Order(JudgementId),
    /// A judgement of a history without the contents of exactly the items that it names.
    #[error("the contents are not those of the items that it names")]
    Content,
    /// A judgement of a history that asks a text without a vector.
    #[error("its text has no vector")]
    NoTextVector,
}

/// The rule that a version breaks which another store exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VersionError {
    /// A version without the time at which it was made.
    #[error("the time of its making is missing")]
    NoTime,
    /// A version with NaN or an infinity among its figures.
    #[error("it has a number that is not finite")]
    NotFinite,
    /// A version whose memory has a width or a strength out of range.
    #[error("its memory has a width or a strength that is not above 0 and at most 10")]
    Memory,
    /// A version whose weight of words is out of range.
    #[error("its weight of words in hybrid searches is not between 0 and 100")]
    Fusion,
}
