//! The records of the database, with the format number of each.
//!
//! Postcard is not self-describing, so the order of fields is the format: whoever changes a struct
//! here raises its format number, and the store's in the catalogue.

use serde::{Deserialize, Serialize};

use super::codec;
use crate::model::error::Result;
use crate::model::{JudgementId, VersionId};
pub(crate) use crate::model::{
    LoggedJudgement as JudgementRecord, LoggedQuery as QueryRecord, VersionRecord,
};

/// The settings of a collection, in the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CollectionRecord {
    /// The number in the keys of its records, which is never reused.
    pub(crate) number: u32,
    pub(crate) dim: u32,
    /// The name of its [`Distance`](crate::Distance).
    pub(crate) distance: String,
    /// The name of its [`Precision`](crate::Precision).
    pub(crate) precision: String,
    pub(crate) encoder: Option<EncoderRecord>,
}

/// The encoder of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EncoderRecord {
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    /// Where it is loaded from, and the output of the model there that was chosen.
    pub(crate) source: Option<String>,
    pub(crate) output: Option<String>,
}

/// An item without its vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ItemRecord {
    pub(crate) id: String,
    pub(crate) text: Option<String>,
    /// Compact JSON; empty for null.
    pub(crate) meta: String,
    pub(crate) truncated: bool,
    /// When it ends, in milliseconds since 1970; `None` where it stays.
    pub(crate) expires: Option<i64>,
}

/// Gives each record `encode` and `decode` with its one format number and its name in messages.
macro_rules! sealed {
    ($($record:ty, $format:literal, $what:literal);* $(;)?) => {$(
        impl $record {
            pub(super) fn encode(&self) -> Result<Vec<u8>> {
                codec::encode($format, self)
            }

            pub(super) fn decode(bytes: &[u8], key: impl std::fmt::Display) -> Result<Self> {
                codec::decode($format, bytes, &|| format!(concat!($what, " {}"), key))
            }
        }
    )*};
}

sealed! {
    CollectionRecord, 2, "the catalogue's entry for collection";
    ItemRecord, 2, "the record of slot";
    JudgementRecord, 2, "judgement";
    VersionRecord, 4, "metric version";
}

impl JudgementRecord {
    /// The judgement as bytes with a checksum, for an engine to store.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) where it cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.encode()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `number` names the judgement in errors.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged), and
    /// [`Error::NewerFormat`](crate::Error::NewerFormat) or
    /// [`Error::OlderFormat`](crate::Error::OlderFormat) for bytes of another version of affinis.
    pub fn from_bytes(bytes: &[u8], number: JudgementId) -> Result<Self> {
        Self::decode(bytes, number)
    }
}

impl VersionRecord {
    /// The record as bytes with a checksum, for an engine to store.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) where it cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.encode()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `number` names the version in errors.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged), and
    /// [`Error::NewerFormat`](crate::Error::NewerFormat) or
    /// [`Error::OlderFormat`](crate::Error::OlderFormat) for bytes of another version of affinis.
    pub fn from_bytes(bytes: &[u8], number: VersionId) -> Result<Self> {
        Self::decode(bytes, number)
    }

    /// Whether it was withdrawn, because judgements that it had learned from were forgotten.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// The user that it was learned for; `None` for everybody.
    pub fn user(&self) -> Option<&str> {
        self.lineage.user.as_deref()
    }
}

/// Reads bytes as each kind of record, as a fuzz target; gives how many kinds they were.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any_record(bytes: &[u8]) -> usize {
    // As they are, and sealed, so that a mutation gets past the checksum.
    let kinds = |bytes: &[u8]| {
        usize::from(CollectionRecord::decode(bytes, "").is_ok())
            + usize::from(ItemRecord::decode(bytes, "").is_ok())
            + usize::from(JudgementRecord::decode(bytes, "").is_ok())
            + usize::from(VersionRecord::decode(bytes, "").is_ok())
    };
    let payload = bytes.get(5..).unwrap_or_default();
    kinds(bytes) + kinds(&codec::seal(1, payload)) + kinds(&codec::seal(2, payload))
}

/// A record of each kind.
#[cfg(test)]
pub(crate) fn some_records() -> Vec<Vec<u8>> {
    use crate::model::{ContentHash, LoggedItem, Source};
    use crate::plugin::{FitReport, Gate};

    let report = FitReport::new("l", Gate::refused("nDCG@10", "it helps"));
    let version = VersionRecord::learned(&report, "p", crate::model::VersionId(1));
    let named = |id: &str| LoggedItem {
        id: id.into(),
        content: ContentHash::of(Some(id), &[]),
    };
    let judgement = JudgementRecord {
        query: QueryRecord::Vector([7; 16]),
        item: named("i"),
        grade: 0.5,
        pair: false,
        weight: 1.0,
        source: Source::Explicit,
        user: None,
        at: 1,
        shown: vec![named("a"), named("b")],
    };
    let item = ItemRecord {
        id: "i".into(),
        text: Some("t".into()),
        meta: "{}".into(),
        truncated: false,
        expires: None,
    };
    let collection = CollectionRecord {
        number: 1,
        dim: 3,
        distance: "l2".into(),
        precision: "f32".into(),
        encoder: Some(EncoderRecord {
            name: "e".into(),
            fingerprint: "f".into(),
            source: None,
            output: Some("o".into()),
        }),
    };
    [
        collection.encode(),
        item.encode(),
        judgement.encode(),
        version.encode(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
