//! Highlights: the places in the text of a hit that say why it was found.

use serde::{Deserialize, Serialize};

use super::names::named;

/// A place in the text of a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Highlight {
    /// Where it begins, in bytes of UTF-8 from the beginning of the text.
    pub start: usize,
    /// Where it ends, behind its last byte.
    pub end: usize,
    /// What it shares with the query.
    pub by: HighlightBy,
}

/// What a place in a text shares with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HighlightBy {
    /// Words: it is a word or a phrase of the query.
    Words,
    /// Meaning: it is the sentence of the text whose vector is nearest to that of the query.
    Meaning,
}

named!(HighlightBy, "kind of highlight", { Words => "words", Meaning => "meaning" });

impl Highlight {
    /// A place in a text, in bytes.
    pub fn new(place: std::ops::Range<usize>, by: HighlightBy) -> Self {
        Self {
            start: place.start,
            end: place.end,
            by,
        }
    }
}
