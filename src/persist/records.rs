//! The records themselves: what each holds, and its format number.
//!
//! Postcard is not self-describing, so the order of fields is the format: whoever changes a struct
//! here raises its format number, and the store's in the catalogue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::codec;
use crate::error::Result;

/// One collection's settings, in the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CollectionRecord {
    /// Names its trees; never used again after the collection is dropped.
    pub(crate) number: u32,
    pub(crate) dim: u32,
    /// [`Distance`](crate::Distance) by its name.
    pub(crate) distance: String,
    /// [`Precision`](crate::Precision) by its name.
    pub(crate) precision: String,
    /// Name, fingerprint and source of the encoder.
    pub(crate) encoder: Option<(String, String, Option<String>)>,
}

/// An item without its vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ItemRecord {
    pub(crate) id: String,
    pub(crate) text: Option<String>,
    /// Compact JSON; empty for null.
    pub(crate) meta: String,
    pub(crate) truncated: bool,
}

/// What a judgement's query was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum QueryRecord {
    /// A text, whose vector is in the queries tree under the hash of the text.
    Text(String),
    /// A vector, in the queries tree under this hash of its numbers.
    Vector([u8; 16]),
    /// A stored item.
    Item(String),
}

/// One judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JudgementRecord {
    pub(crate) query: QueryRecord,
    pub(crate) item: String,
    pub(crate) grade: f32,
    /// An (item, item) judgement: `query` is an item and neither of the two was the question.
    pub(crate) pair: bool,
    pub(crate) weight: f32,
    pub(crate) source: u8,
    pub(crate) user: Option<String>,
    /// Milliseconds since 1970 in UTC.
    pub(crate) at: i64,
    pub(crate) shown: Vec<String>,
}

/// A metric version without its matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub(crate) parent: u32,
    pub(crate) user: Option<String>,
    pub(crate) plugin: String,
    pub(crate) learner: String,
    /// Milliseconds since 1970 in UTC.
    pub(crate) created: i64,
    pub(crate) condition: f64,
    pub(crate) similar: u64,
    pub(crate) dissimilar: u64,
    pub(crate) lambda: f64,
    pub(crate) t: f64,
    pub(crate) parameters: BTreeMap<String, f64>,
    /// First and last sequence number of the judgements it learned from.
    pub(crate) judgements: Option<(u64, u64)>,
    pub(crate) gate: Option<GateRecord>,
    /// Set when judgements it had learned from were forgotten; its matrix is gone.
    pub(crate) withdrawn: bool,
}

/// The gate's verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GateRecord {
    pub(crate) accepted: bool,
    pub(crate) measure: String,
    pub(crate) before: Option<f64>,
    pub(crate) after: Option<f64>,
    pub(crate) lower_bound: Option<f64>,
    pub(crate) held_out: u64,
    pub(crate) reason: String,
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
    CollectionRecord, 1, "the catalogue's entry for collection";
    ItemRecord, 1, "the record of slot";
    JudgementRecord, 1, "judgement";
    VersionRecord, 1, "metric version";
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
    kinds(bytes) + kinds(&codec::seal(1, bytes.get(5..).unwrap_or_default()))
}

/// A record of each kind.
#[cfg(test)]
pub(crate) fn some_records() -> Vec<Vec<u8>> {
    let gate = GateRecord {
        accepted: true,
        measure: "nDCG@10".into(),
        before: Some(0.5),
        after: Some(0.75),
        lower_bound: None,
        held_out: 9,
        reason: "it helps".into(),
    };
    let version = VersionRecord {
        parent: 1,
        user: Some("ann".into()),
        plugin: "p".into(),
        learner: "l".into(),
        created: 1,
        condition: 2.0,
        similar: 3,
        dissimilar: 4,
        lambda: 0.5,
        t: 0.5,
        parameters: BTreeMap::from([("x".to_owned(), 1.0)]),
        judgements: Some((0, 9)),
        gate: Some(gate),
        withdrawn: false,
    };
    let judgement = JudgementRecord {
        query: QueryRecord::Vector([7; 16]),
        item: "i".into(),
        grade: 0.5,
        pair: false,
        weight: 1.0,
        source: 0,
        user: None,
        at: 1,
        shown: vec!["a".into(), "b".into()],
    };
    let item = ItemRecord {
        id: "i".into(),
        text: Some("t".into()),
        meta: "{}".into(),
        truncated: false,
    };
    let collection = CollectionRecord {
        number: 1,
        dim: 3,
        distance: "l2".into(),
        precision: "f32".into(),
        encoder: Some(("e".into(), "f".into(), None)),
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
