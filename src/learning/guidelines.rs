//! Guidelines for those who judge.

use super::{Changes, Learning};
use crate::model::Guidelines;
use crate::model::error::Result;

impl Learning {
    /// The guidelines for those who judge; the default where none were set.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn guidelines(&self) -> Result<Guidelines> {
        Ok(self.ledger.guidelines()?.unwrap_or_default())
    }

    /// Sets the guidelines, durably. Judgements that were given before keep their grades.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) for a text or a scale that breaks a
    /// rule; those of the engine.
    pub fn set_guidelines(&self, guidelines: &Guidelines) -> Result<()> {
        guidelines.check()?;
        let _guard = self.lock()?;
        self.commit(Changes {
            guidelines: Some(guidelines.clone()),
            ..Changes::default()
        })
    }
}
