//! Documents: long texts that are stored as chunks, each an item of its own.

use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{ItemError, MAX_ID_BYTES, MAX_TEXT_BYTES, check_id};

/// The longest text of a document, in bytes of UTF-8.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// The largest number of chunks of a document.
pub const MAX_CHUNKS: usize = 100_000;
/// The largest number of bytes that the chunks of a document take, their metadata included.
pub const MAX_CHUNKS_BYTES: usize = 256 << 20;
/// The most bytes of a chunk for each of its tokens: a chunk of a megabyte without a space is none of
/// one token.
pub(crate) const BYTES_PER_TOKEN: usize = 16;
/// The largest number of tokens of a chunk; such a chunk is a text that an item can have.
pub const MAX_CHUNK_TOKENS: usize = MAX_TEXT_BYTES / BYTES_PER_TOKEN;
/// The number of tokens of a chunk where none is given and the encoder takes as many.
const DEFAULT_TOKENS: usize = 256;
/// One part of so many of a chunk is shared with the next one where no overlap is given.
const OVERLAP_PART: usize = 10;

/// The key of metadata that holds the id of the document of a chunk.
const DOCUMENT_KEY: &str = "document";
/// The key of metadata that holds the number of a chunk.
const CHUNK_KEY: &str = "chunk";
/// What stands between the id of a document and the number of a chunk.
const SEPARATOR: char = '#';
/// Number of digits of the number of a chunk in its id.
const DIGITS: usize = 6;

/// How a text is split into chunks, in tokens of the collection's encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunking {
    /// Largest number of tokens of a chunk, 1 to 65,536; 256 by default, or what the encoder takes
    /// where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Largest number of tokens that a chunk shares with the one before it, less than `tokens`; a
    /// tenth of these by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<usize>,
}

impl Chunking {
    /// Sets the largest number of tokens of a chunk.
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sets the largest number of tokens that a chunk shares with the one before it.
    pub fn overlap(mut self, tokens: usize) -> Self {
        self.overlap = Some(tokens);
        self
    }

    /// The numbers of tokens of a chunk and of the overlap, for an encoder that takes `most` tokens.
    ///
    /// # Errors
    /// The number that is out of range.
    pub(crate) fn resolve(self, most: Option<usize>) -> Result<(usize, usize), ItemError> {
        let most = most.unwrap_or(MAX_CHUNK_TOKENS).clamp(1, MAX_CHUNK_TOKENS);
        let tokens = self.tokens.unwrap_or(DEFAULT_TOKENS.min(most));
        if !(1..=most).contains(&tokens) {
            return Err(ItemError::ChunkTokens { tokens, most });
        }
        let overlap = self.overlap.unwrap_or(tokens / OVERLAP_PART);
        if overlap >= tokens {
            return Err(ItemError::ChunkOverlap { overlap, tokens });
        }
        Ok((tokens, overlap))
    }
}

/// What makes an [`Item`](crate::Item) a document: its text is split into chunks, which are stored
/// in its place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// How the text is split.
    pub chunking: Chunking,
    /// The chunks, once the document is prepared.
    pub(crate) chunks: Vec<Chunk>,
}

/// A part of the text of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// Its place in the text, in bytes.
    pub(crate) range: Range<usize>,
    pub(crate) vector: Vec<f32>,
    /// Whether the vector is that of its beginning.
    pub(crate) truncated: bool,
}

impl From<Chunking> for Document {
    fn from(chunking: Chunking) -> Self {
        Self {
            chunking,
            chunks: Vec::new(),
        }
    }
}

/// A document is written as its chunking: what was prepared of it is not.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.chunking.serialize(serializer)
    }
}

/// Reads `true` or a [`Chunking`] as a document, and `false` or null as none.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Document>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "`chunk` is true, false, or an object with `tokens` or `overlap` or both"
    )]
    enum Given {
        Whether(bool),
        How(Chunking),
    }
    let given = Option::<Given>::deserialize(deserializer)?;
    Ok(match given {
        None | Some(Given::Whether(false)) => None,
        Some(Given::Whether(true)) => Some(Document::default()),
        Some(Given::How(chunking)) => Some(chunking.into()),
    })
}

/// The id of a chunk of a document, from 1.
pub(crate) fn chunk_id(document: &str, number: usize) -> String {
    format!("{document}{SEPARATOR}{number:0DIGITS$}")
}

/// What the ids of all chunks of a document begin with.
pub(crate) fn chunk_prefix(document: &str) -> String {
    format!("{document}{SEPARATOR}")
}

/// Whether an id that begins with a [prefix](chunk_prefix) is that of a chunk of the document.
pub(crate) fn is_chunk_id(id: &str, prefix: &str) -> bool {
    let number = id.strip_prefix(prefix);
    number.is_some_and(|number| {
        number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether metadata are those of a chunk of a document.
pub(crate) fn is_chunk_of(meta: &Value, document: &str) -> bool {
    meta.get(DOCUMENT_KEY).and_then(Value::as_str) == Some(document)
}

/// The metadata of a chunk of a document with these metadata.
pub(crate) fn chunk_meta(meta: &Value, document: &str, number: usize) -> Value {
    let mut of_chunk = meta.as_object().cloned().unwrap_or_else(Map::new);
    of_chunk.insert(DOCUMENT_KEY.to_owned(), document.into());
    of_chunk.insert(CHUNK_KEY.to_owned(), number.into());
    Value::Object(of_chunk)
}

/// The metadata of a document, of those of a chunk.
pub(crate) fn document_meta(mut of_chunk: Value) -> Value {
    if let Some(meta) = of_chunk.as_object_mut() {
        meta.shift_remove(DOCUMENT_KEY);
        meta.shift_remove(CHUNK_KEY);
        if meta.is_empty() {
            return Value::Null;
        }
    }
    of_chunk
}

/// Checks what a document must be beside an item.
pub(super) fn check(
    id: &str,
    text: Option<&str>,
    has_vector: bool,
    meta: &Value,
) -> Result<(), ItemError> {
    check_document_id(id)?;
    if has_vector {
        return Err(ItemError::DocumentVector);
    }
    match text.map_or(0, str::len) {
        0..=MAX_DOCUMENT_BYTES => {}
        bytes => return Err(ItemError::DocumentTooLong { bytes }),
    }
    check_document_meta(meta)
}

/// Refuses metadata of a document with the keys that chunks have.
pub(crate) fn check_document_meta(meta: &Value) -> Result<(), ItemError> {
    match [DOCUMENT_KEY, CHUNK_KEY]
        .iter()
        .find(|key| meta.get(**key).is_some())
    {
        Some(key) => Err(ItemError::DocumentMeta { key }),
        None => Ok(()),
    }
}

fn check_document_id(id: &str) -> Result<(), ItemError> {
    check_id(id)?;
    let longer = SEPARATOR.len_utf8() + DIGITS;
    if id.len() + longer > MAX_ID_BYTES {
        return Err(ItemError::DocumentId {
            bytes: id.len(),
            most: MAX_ID_BYTES - longer,
        });
    }
    Ok(())
}

const _: () = assert!(MAX_CHUNKS < 10_usize.pow(DIGITS as u32));

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_of_chunks_sort_in_order_and_are_told_from_others() {
        let mut ids: Vec<String> = [1, 2, 10, 99_999, MAX_CHUNKS]
            .map(|n| chunk_id("a", n))
            .into();
        assert_eq!(ids[0], "a#000001");
        assert!(ids.is_sorted());
        ids.push("a#b#000001".into());
        ids.push("a#12345".into());
        ids.push("a#00000x".into());
        let prefix = chunk_prefix("a");
        let chunks: Vec<bool> = ids.iter().map(|id| is_chunk_id(id, &prefix)).collect();
        assert_eq!(chunks, [true, true, true, true, true, false, false, false]);
    }

    #[test]
    fn numbers_of_tokens_follow_the_encoder() {
        let of = |chunking: Chunking, most| chunking.resolve(most);
        assert_eq!(of(Chunking::default(), None).ok(), Some((256, 25)));
        assert_eq!(of(Chunking::default(), Some(128)).ok(), Some((128, 12)));
        assert_eq!(of(Chunking::default(), Some(512)).ok(), Some((256, 25)));
        assert_eq!(
            of(Chunking::default().tokens(300), Some(512)).ok(),
            Some((300, 30))
        );
        let bad = [
            (Chunking::default().tokens(0), None),
            (Chunking::default().tokens(513), Some(512)),
            (Chunking::default().tokens(MAX_CHUNK_TOKENS + 1), None),
            (Chunking::default().tokens(10).overlap(10), None),
            (Chunking::default().overlap(256), None),
        ];
        for (chunking, most) in bad {
            assert!(of(chunking, most).is_err(), "{chunking:?}");
        }
    }

    #[test]
    fn metadata_of_chunks_hold_those_of_the_document() {
        let meta = chunk_meta(&json!({"lang": "en"}), "a", 2);
        assert_eq!(meta, json!({"lang": "en", "document": "a", "chunk": 2}));
        assert!(is_chunk_of(&meta, "a") && !is_chunk_of(&meta, "b"));
        assert_eq!(document_meta(meta), json!({"lang": "en"}));
        assert_eq!(document_meta(chunk_meta(&Value::Null, "a", 1)), Value::Null);
    }
}
