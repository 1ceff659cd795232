//! Settings and size of a collection.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Distance;
use crate::model::MAX_DIM;
use crate::storage::{CollectionRecord, Precision};

/// A collection's settings and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// The dimension of its vectors.
    pub dim: usize,
    /// Its built-in distance, metric version 0.
    pub distance: Distance,
    /// How numbers are kept.
    pub precision: Precision,
    /// The encoder of its texts.
    pub encoder: Option<EncoderInfo>,
    /// Live items.
    pub items: u64,
}

/// Which model encoded a collection's texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EncoderInfo {
    /// A name for people.
    pub name: String,
    /// Identifies model, tokenizer and pooling.
    pub fingerprint: String,
    /// `embedded`, a directory, or nothing where only the program knows.
    pub source: Option<String>,
}

impl CollectionInfo {
    /// The settings of a catalogue entry, with a size to be filled in.
    pub(crate) fn read(name: &str, record: &CollectionRecord, items: u64) -> Result<Self> {
        let damaged = |what: &str, value: &str| Error::Damaged {
            part: format!("the catalogue's entry for collection {name}"),
            reason: format!("no {what} is called {value:?}"),
        };
        let dim = record.dim as usize;
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(damaged("dimension", &dim.to_string()));
        }
        Ok(Self {
            name: name.to_owned(),
            dim,
            distance: Distance::from_name(&record.distance)
                .ok_or_else(|| damaged("distance", &record.distance))?,
            precision: Precision::from_name(&record.precision)
                .ok_or_else(|| damaged("precision", &record.precision))?,
            encoder: record
                .encoder
                .clone()
                .map(|(name, fingerprint, source)| EncoderInfo {
                    name,
                    fingerprint,
                    source,
                }),
            items,
        })
    }
}
