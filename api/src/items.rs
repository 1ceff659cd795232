//! Items.

use affinis::Item;
use serde::Serialize;
use serde_json::Value;

/// An item as `get` and `list` give it.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
}

impl From<Item> for ItemDocument {
    fn from(item: Item) -> Self {
        Self {
            id: item.id,
            text: item.text,
            vector: item.vector,
            meta: item.meta,
        }
    }
}
