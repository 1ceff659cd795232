//! Items.

use affinis::{Added, Item};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An item as `get` and `list` give it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ItemDocument {
    /// Id of the item.
    pub id: String,
    /// Its text; null where it has none.
    pub text: Option<String>,
    /// Its vector; null where it was not asked for.
    pub vector: Option<Vec<f32>>,
    /// Its metadata, an object; null where it has none.
    pub meta: Value,
    /// True where the text is longer than the encoder takes, so that the vector covers only its
    /// beginning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// When it ends, RFC 3339; not there where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl From<Item> for ItemDocument {
    fn from(item: Item) -> Self {
        Self {
            expires: item.expires_text(),
            id: item.id,
            text: item.text,
            vector: item.vector,
            meta: item.meta,
            truncated: item.truncated,
        }
    }
}

impl From<ItemDocument> for Item {
    fn from(document: ItemDocument) -> Self {
        Self {
            id: document.id,
            text: document.text,
            vector: document.vector,
            meta: document.meta,
            truncated: document.truncated,
            // What is no time was not written by this crate, and the item has no end that it means.
            expires: document.expires.and_then(|end| Self::parse_end(&end).ok()),
            document: None,
        }
    }
}

/// What became of items that were added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddedDocument {
    /// Items and documents with new ids.
    pub added: usize,
    /// Items and documents whose ids existed.
    pub replaced: usize,
    /// Items and documents of which a part was changed.
    pub updated: usize,
    /// Chunks of documents that were stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub chunks: usize,
    /// Ids of items and chunks whose text was longer than the encoder takes.
    pub truncated: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl From<Added> for AddedDocument {
    fn from(added: Added) -> Self {
        Self {
            added: added.added,
            replaced: added.replaced,
            updated: added.updated,
            chunks: added.chunks,
            truncated: added.truncated,
        }
    }
}

/// What became of the items of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedAllDocument {
    /// What became of those that are stored.
    #[serde(flatten)]
    pub added: AddedDocument,
    /// Those that were left out, by their lines.
    pub skipped: Vec<SkippedDocument>,
}

/// A line of a file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedDocument {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A page of items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ItemsDocument {
    /// The items, in the order of their ids.
    pub items: Vec<ItemDocument>,
    /// The `after` of the next page; null at the end.
    pub next: Option<String>,
}
