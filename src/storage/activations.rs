//! The record of the activations of a collection, under one key of the table `meta`.
//!
//! It is shorter than a chunk, because only the newest are kept.

use super::codec;
use super::tables::{META, Tables};
use super::transaction::Transaction;
use crate::model::Activation;
use crate::model::error::Result;

pub(super) const KEY: &str = "activations";
const FORMAT: u8 = 1;

impl Tables {
    /// When which version became everybody's, the oldest first.
    pub(crate) fn activations(&self) -> Result<Vec<Activation>> {
        let bytes = self.get(META, KEY.as_bytes())?;
        let part = || "the activations".to_owned();
        let read = bytes.map(|bytes| codec::decode(FORMAT, &bytes, &part));
        Ok(read.transpose()?.unwrap_or_default())
    }
}

impl Transaction<'_> {
    /// Sets the activations.
    pub(crate) fn put_activations(&mut self, activations: &[Activation]) -> Result<()> {
        let encoded = codec::encode(FORMAT, &activations)?;
        self.batch(META).insert(KEY.as_bytes(), encoded);
        Ok(())
    }
}
