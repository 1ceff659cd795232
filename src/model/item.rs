//! Items, and the limits of their ids, texts, metadata and vectors.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::{self, Chunking, Document};
use super::{ContentHash, IdError, ItemError, time};

/// The longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 512;
/// The longest text, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// The largest metadata, in bytes of compact JSON.
pub const MAX_META_BYTES: usize = 64 << 10;
/// The deepest metadata, in nested arrays and objects.
pub const MAX_META_DEPTH: usize = 32;
/// The largest dimension of a vector.
pub const MAX_DIM: usize = 4096;

/// One item: an external id, and a text or a vector or both, with optional JSON metadata.
///
/// An item with a text and no vector is encoded when it is added, so its text must hold more than
/// white space, and something that the encoder knows. One with both keeps its vector as given, and its text may be empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Item {
    /// External id, 1 to 512 bytes; adding an id that exists replaces its item.
    pub id: String,
    /// Text, at most 1 MiB.
    #[serde(default)]
    pub text: Option<String>,
    /// Vector of the collection's dimension, finite numbers.
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
    /// Metadata, a JSON object of at most 64 KiB and 32 levels; null when there is none.
    #[serde(default)]
    pub meta: Value,
    /// Whether the text was longer than its encoder takes, so that the vector is that of its
    /// beginning. Set on items that are read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// When it ends: it is not found after that time, and is removed. JSON has a time in RFC 3339;
    /// items that stay have none. An [update](AddMode::Update) without one leaves it as it is.
    #[serde(
        default,
        with = "time::rfc3339_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<SystemTime>,
    /// Makes it a document: its text, of at most 64 MiB, is split into chunks, which are stored in
    /// its place. JSON has it as `"chunk"`, `true` or a [`Chunking`].
    #[serde(
        default,
        rename = "chunk",
        deserialize_with = "document::deserialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub document: Option<Document>,
}

/// What it means to add an item whose id exists, or one whose id does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AddMode {
    /// Every id must be new.
    Insert,
    /// An item whose id exists is replaced as a whole; one whose id is new is added.
    #[default]
    Upsert,
    /// Every id must exist. What the item gives changes, and the rest of the stored item stays:
    /// a text gets a new vector where the collection has an encoder, and leaves the vector alone
    /// where it has none; a vector leaves the text alone; metadata are a JSON merge patch (RFC
    /// 7396) of those that are stored, in which a key replaces the value of the same key, null
    /// removes it, and other keys stay.
    Update,
}

impl Item {
    /// The hash of its content: of its text, or else of its vector; `None` where it has neither.
    pub fn content(&self) -> Option<ContentHash> {
        match (&self.text, &self.vector) {
            (Some(text), _) => Some(ContentHash::of(Some(text), &[])),
            (None, Some(vector)) => Some(ContentHash::of(None, vector)),
            (None, None) => None,
        }
    }

    /// An item with a text, which the collection's encoder turns into its vector.
    pub fn text(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// A document: a text that may be long, which is split into chunks of whole sentences where
    /// that is possible. Each chunk is an item with the id `{id}#{number}`, the number from 1 with
    /// six digits, and with the metadata of the document, its id as `document` and the number as
    /// `chunk`. A document is replaced and deleted as a whole, by its id.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Chunking, Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// # #[cfg(feature = "embedded-model")] {
    /// let notes = store.collection("notes").encoder(affinis::encode::Onnx::embedded()?).create()?;
    /// let text = "Bees collect nectar from flowers. A ship carries cargo over the ocean.";
    /// notes.add([Item::document("a", text).with_chunking(Chunking::default().tokens(8))])?;
    /// let chunks = notes.document("a")?;
    /// assert_eq!(chunks[1].id, "a#000002");
    /// assert_eq!(chunks[1].text.as_deref(), Some("A ship carries cargo over the ocean."));
    /// assert_eq!(notes.search("honey").k(1).run()?[0].id, "a#000001");
    /// notes.delete(&["a"])?;
    /// assert!(notes.is_empty());
    /// # }
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn document(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            document: Some(Document::default()),
            ..Self::text(id, text)
        }
    }

    /// Makes it a document whose text is split in this way.
    pub fn with_chunking(mut self, chunking: Chunking) -> Self {
        self.document = Some(chunking.into());
        self
    }

    /// An item with a vector of its own.
    pub fn vector(id: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        Self {
            id: id.into(),
            vector: Some(vector.into()),
            ..Self::default()
        }
    }

    /// Adds metadata.
    pub fn with_meta(mut self, meta: Value) -> Self {
        self.meta = meta;
        self
    }

    /// When it ends, in RFC 3339; `None` where it stays.
    pub fn expires_text(&self) -> Option<String> {
        self.expires.map(|end| time::rfc3339(time::millis(end)))
    }

    /// The time of a text in RFC 3339, as JSON has the [ends](Self::expires) of items.
    ///
    /// # Errors
    /// [`ItemError::End`] for any other text.
    pub fn parse_end(text: &str) -> Result<SystemTime, ItemError> {
        let end = time::parse_rfc3339(text).and_then(time::from_millis);
        end.ok_or_else(|| ItemError::End(text.to_owned()))
    }

    /// Sets when it ends.
    pub fn expiring_at(mut self, end: SystemTime) -> Self {
        self.expires = Some(end);
        self
    }

    /// Adds a text to an item that has a vector.
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Adds a vector to an item that has a text; the text is then not encoded.
    pub fn with_vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
        self
    }

    /// Checks all that every collection requires of an item: the limits of its id, text and
    /// metadata, and a text or a vector. [`Collection::check`](crate::Collection::check) checks
    /// the vector too.
    ///
    /// # Errors
    /// The rule that the item breaks.
    pub fn check(&self) -> Result<(), ItemError> {
        self.check_for(AddMode::Upsert)
    }

    /// Checks the same as [`Self::check`] for an item that is added in a mode: an update needs
    /// anything that changes, not a text or a vector.
    ///
    /// # Errors
    /// The rule that the item breaks.
    pub fn check_for(&self, mode: AddMode) -> Result<(), ItemError> {
        self.check_limits(mode)?;
        self.compact_meta().map(drop)
    }

    /// The metadata as compact JSON, an empty string for null.
    pub(crate) fn compact_meta(&self) -> Result<String, ItemError> {
        let meta = if self.meta.is_null() {
            String::new()
        } else {
            self.meta.to_string()
        };
        match meta.len() {
            0..=MAX_META_BYTES => Ok(meta),
            bytes => Err(ItemError::MetaTooLong { bytes }),
        }
    }

    /// Checks everything but the vector and the length of the metadata.
    pub(crate) fn check_limits(&self, mode: AddMode) -> Result<(), ItemError> {
        check_id(&self.id)?;
        match (&self.text, &self.vector) {
            (None, None) if mode != AddMode::Update => return Err(ItemError::Empty),
            (None, None) if self.meta.is_null() && self.expires.is_none() => {
                return Err(ItemError::NoChange);
            }
            (Some(text), None) if self.document.is_some() => check_text(text)?,
            (Some(text), _) if text.len() > MAX_TEXT_BYTES => {
                let bytes = text.len();
                return Err(ItemError::TextTooLong { bytes });
            }
            (Some(text), None) => check_text(text)?,
            _ => {}
        }
        if !(self.meta.is_null() || self.meta.is_object()) {
            return Err(ItemError::MetaNotAnObject);
        }
        if depth(&self.meta, MAX_META_DEPTH + 1) > MAX_META_DEPTH {
            return Err(ItemError::MetaTooDeep);
        }
        match &self.document {
            Some(_) => {
                let (text, has_vector) = (self.text.as_deref(), self.vector.is_some());
                document::check(&self.id, text, has_vector, &self.meta)
            }
            None => Ok(()),
        }
    }
}

/// Checks the id of an item or the name of a user.
pub(crate) fn check_id(id: &str) -> Result<(), IdError> {
    match id.len() {
        0 => Err(IdError::Empty),
        1..=MAX_ID_BYTES => Ok(()),
        bytes => Err(IdError::TooLong { bytes }),
    }
}

/// Refuses a text that an encoder could make nothing of: one of white space only.
pub(crate) fn check_text(text: &str) -> Result<(), ItemError> {
    if text.trim().is_empty() {
        return Err(ItemError::BlankText);
    }
    Ok(())
}

/// Number of levels of nesting, counted up to `most`, so that a hostile value costs no stack.
pub(crate) fn depth(value: &Value, most: usize) -> usize {
    if most == 0 {
        return 0;
    }
    let inner: &mut dyn Iterator<Item = &Value> = match value {
        Value::Array(values) => &mut values.iter(),
        Value::Object(map) => &mut map.values(),
        _ => return 0,
    };
    1 + inner.map(|v| depth(v, most - 1)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn depth_counts_levels_and_stops() {
        assert_eq!(depth(&json!(1), 40), 0);
        assert_eq!(depth(&json!({"a": [1, {"b": 2}]}), 40), 3);
        let mut deep = json!(0);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert_eq!(depth(&deep, 33), 33);
    }

    #[test]
    fn limits_are_inclusive() {
        assert!(check_id(&"x".repeat(512)).is_ok());
        assert!(check_id(&"x".repeat(513)).is_err());
        assert!(check_id("").is_err());
        assert!(Item::text("a", "x".repeat(MAX_TEXT_BYTES)).check().is_ok());
        assert!(
            Item::text("a", "x".repeat(MAX_TEXT_BYTES + 1))
                .check()
                .is_err()
        );
        assert!(
            Item {
                id: "a".into(),
                ..Item::default()
            }
            .check()
            .is_err()
        );
    }
    #[test]
    fn a_text_that_would_be_encoded_must_say_something() {
        for text in ["", " ", "\t\n", "\u{2003}"] {
            let error = Item::text("a", text).check().expect_err("a refusal");
            assert!(error.to_string().contains("the text is empty"), "{error}");
            let with_vector = Item::text("a", text).with_vector(vec![1.0]);
            assert!(with_vector.check().is_ok());
        }
    }
}
