//! What a judgement speaks of: the content of an item as it was when it was judged.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::logged::{hash_text, hash_vector};

/// A hash of an item's content: of its text where it has one, otherwise of its stored vector.
///
/// An item that is encoded anew keeps its content, and so does one of which only the metadata
/// changes. In JSON it is 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 16]);

impl ContentHash {
    /// The content of an item that was gone when nobody had noted it yet. No item has it.
    pub(crate) const UNKNOWN: Self = Self([0; 16]);

    /// The content of an item with this text, if it has one, and this vector.
    pub fn of(text: Option<&str>, vector: &[f32]) -> Self {
        Self(match text {
            Some(text) => hash_text(text),
            None => hash_vector(vector),
        })
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Ok(Self(Deserialize::deserialize(deserializer)?));
        }
        let text = String::deserialize(deserializer)?;
        let is_hash = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = is_hash.then(|| u128::from_str_radix(&text, 16).ok());
        let number = number.flatten().ok_or_else(|| {
            D::Error::custom(format!(
                "the hash of a content is {text:?}, not 32 hexadecimal digits"
            ))
        })?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// The contents of the items that a judgement names, as they were when it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedContent {
    /// Of the query, where that is a stored item, or of the first item of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<ContentHash>,
    /// Of the judged item, or of the second item of a pair.
    pub item: ContentHash,
    /// Of the items that were shown beside it, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<ContentHash>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_content_where_there_is_one() {
        let of = ContentHash::of;
        assert_eq!(of(Some("a"), &[1.0]), of(Some("a"), &[2.0]));
        assert_ne!(of(Some("a"), &[1.0]), of(Some("b"), &[1.0]));
        assert_ne!(of(None, &[1.0]), of(None, &[2.0]));
        assert_ne!(of(Some(""), &[]), of(None, &[]));
    }

    #[test]
    fn a_hash_is_read_back_from_json_and_nothing_else_is() {
        let hash = ContentHash::of(Some("a"), &[]);
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json.len(), 34);
        assert_eq!(serde_json::from_str::<ContentHash>(&json).unwrap(), hash);
        for wrong in ["\"\"", "\"+0000000000000000000000000000000\"", "7", "\"é\""] {
            assert!(
                serde_json::from_str::<ContentHash>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
