//! The record of the guidelines of a collection, under one key of the table `meta`.
//!
//! It is shorter than a chunk, because the guidelines are.

use super::codec;
use super::tables::{META, Tables};
use super::transaction::Transaction;
use crate::model::Guidelines;
use crate::model::error::Result;

pub(super) const KEY: &str = "guidelines";
const FORMAT: u8 = 1;

impl Tables {
    /// The guidelines; `None` where none were set.
    pub(crate) fn guidelines(&self) -> Result<Option<Guidelines>> {
        let bytes = self.get(META, KEY.as_bytes())?;
        let part = || "the guidelines".to_owned();
        bytes
            .map(|bytes| codec::decode(FORMAT, &bytes, &part))
            .transpose()
    }
}

impl Transaction<'_> {
    /// Sets the guidelines.
    pub(crate) fn put_guidelines(&mut self, guidelines: &Guidelines) -> Result<()> {
        let encoded = codec::encode(FORMAT, guidelines)?;
        self.batch(META).insert(KEY.as_bytes(), encoded);
        Ok(())
    }
}
