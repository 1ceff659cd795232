//! Settings and size of a collection.

use serde::{Deserialize, Serialize};

use crate::model::error::{Error, Result};
use crate::model::{Distance, Language, MAX_DIM, UnknownName, VectorRules};
use crate::storage::{CollectionRecord, Precision};

/// A collection's settings and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Name of the collection.
    pub name: String,
    /// Dimension of its vectors.
    pub dim: usize,
    /// Its built-in distance, metric version 0.
    pub distance: Distance,
    /// Precision of its stored vectors.
    pub precision: Precision,
    /// Encoder of its texts; `None` where its vectors are given.
    pub encoder: Option<EncoderInfo>,
    /// Language of keyword search over its texts; `None` where it is off. In JSON where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Language>,
    /// Number of live items.
    pub items: u64,
}

/// The model that encoded a collection's texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EncoderInfo {
    /// Name for people.
    pub name: String,
    /// Fingerprint of model, tokenizer and pooling.
    pub fingerprint: String,
    /// Source from which it can be loaded again: `embedded` or a directory; `None` where only the
    /// program can make it.
    pub source: Option<String>,
    /// Output of the model at the source that was chosen; `None` where it follows from the model.
    pub output: Option<String>,
}

impl CollectionInfo {
    /// The settings of a catalogue entry, with the number of items. Which language keyword search
    /// has, the entry does not say.
    pub(crate) fn read(name: &str, record: &CollectionRecord, items: u64) -> Result<Self> {
        let damaged = |reason: String| Error::Damaged {
            part: format!("the catalogue's entry for collection {name}"),
            reason,
        };
        let unknown = |error: UnknownName| damaged(error.to_string());
        let dim = record.dim as usize;
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(damaged(format!(
                "the dimension {dim} is not between 1 and {MAX_DIM}"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            dim,
            distance: record.distance.parse().map_err(unknown)?,
            precision: record.precision.parse().map_err(unknown)?,
            encoder: record.encoder.clone().map(|encoder| EncoderInfo {
                name: encoder.name,
                fingerprint: encoder.fingerprint,
                source: encoder.source,
                output: encoder.output,
            }),
            keywords: None,
            items,
        })
    }

    /// The rules that its vectors follow.
    pub(crate) fn rules(&self) -> VectorRules {
        VectorRules {
            dim: self.dim,
            distance: self.distance,
        }
    }
}
