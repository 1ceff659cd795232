//! The options by which the fields of an input become items.

use std::time::Duration;

use affinis::{AddMode, Chunking};
use serde_json::Value;

/// The options by which the fields of an input become items; by default as [`Columns`] says, and
/// each item whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// What the items are for: an update may give parts of items.
    pub mode: AddMode,
    /// The columns of a table, or the fields of JSON objects.
    pub columns: Columns,
    /// What stands before the number that is the id of an item without one.
    pub id_prefix: String,
    /// Whether fields of JSON objects that have no meaning are refused, instead of being metadata.
    pub strict: bool,
    /// How texts are split into chunks; `None` where items are stored whole.
    pub chunking: Option<Chunking>,
    /// How long items stay that say no end of their own; `None` where they do for good.
    pub expires_in: Option<Duration>,
    /// The byte between the fields of csv; a comma by default.
    pub delimiter: Option<u8>,
}

/// The columns, or fields of JSON objects, that hold the parts of an item. What is not named here
/// is known by its own name: `id`, `text` and `vector`; all other columns are metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The column of ids.
    pub id: Option<String>,
    /// The columns that make the text, in this order, with a space between them.
    pub text: Vec<String>,
    /// The columns of which each holds a number of the vector, or the one that holds all of them.
    pub vector: Vec<String>,
    /// The columns of the metadata; `None` for all that have no other use.
    pub meta: Option<Vec<String>>,
    /// The column of the names of image files, which is also part of the metadata.
    pub image: Option<String>,
    /// The column of the times at which items end.
    pub expires: Option<String>,
}

impl Columns {
    /// Whether any column is named.
    pub fn is_named(&self) -> bool {
        *self != Self::default()
    }
}

impl Columns {
    /// The name of the file with the image of an item, by its metadata.
    pub fn image_of<'a>(&self, meta: &'a Value) -> Option<&'a str> {
        let name = meta.get(self.image.as_ref()?)?.as_str()?;
        (!name.is_empty()).then_some(name)
    }
}

/// What stands between the parts of a text.
const JOINT: &str = " ";

/// The text of several parts; `None` where all are empty.
pub(super) fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> Option<String> {
    let parts: Vec<&str> = parts.filter(|part| !part.trim().is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(JOINT))
}
