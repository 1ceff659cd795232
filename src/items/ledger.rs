//! The trait [`Ledger`] of learning, on the tables of a collection.

use std::sync::Arc;

use crate::learning::{Changes, Entry, Ledger, NextIds};
use crate::model::error::Result;
use crate::model::{
    Activation, Active, Guidelines, JudgementId, QueryHash, VersionId, VersionRecord,
    keep_activations,
};
use crate::storage::Tables;

/// The judgements and versions in the tables of one collection.
pub(crate) struct SledLedger(Arc<Tables>);

impl SledLedger {
    pub(super) fn new(tables: Arc<Tables>) -> Self {
        Self(tables)
    }
}

impl Ledger for SledLedger {
    fn check_writable(&self) -> Result<()> {
        self.0.database().check_writable()
    }

    fn generation(&self) -> Result<u64> {
        Ok(self.0.generation())
    }

    fn judgements(&self) -> Box<dyn Iterator<Item = Result<Entry>> + '_> {
        let entries = self.0.judgements();
        Box::new(entries.map(|entry| entry.map(|(number, record)| (JudgementId(number), record))))
    }

    fn query_vector(&self, hash: QueryHash) -> Result<Option<Vec<f32>>> {
        self.0.query(hash)
    }

    fn next_ids(&self) -> Result<NextIds> {
        Ok(NextIds {
            judgement: JudgementId(self.0.next_judgement()?),
            version: VersionId(self.0.next_version()?),
        })
    }

    fn versions(&self) -> Result<Vec<(VersionId, VersionRecord)>> {
        let versions = self.0.versions()?.into_iter();
        Ok(versions
            .map(|(number, record)| (VersionId(number), record))
            .collect())
    }

    fn version(&self, version: VersionId) -> Result<Option<VersionRecord>> {
        self.0.version(version.0)
    }

    fn metric(&self, version: VersionId) -> Result<Option<Vec<u8>>> {
        self.0.metric(version.0)
    }

    fn active(&self) -> Result<Active> {
        self.0.active()
    }

    fn guidelines(&self) -> Result<Option<Guidelines>> {
        self.0.guidelines()
    }

    fn activations(&self) -> Result<Vec<Activation>> {
        self.0.activations()
    }

    fn commit(&self, changes: Changes) -> Result<()> {
        let mut transaction = self.0.transaction();
        for (hash, vector) in &changes.queries {
            transaction.put_query(*hash, vector)?;
        }
        for (number, record) in &changes.judgements {
            transaction.put_judgement(number.0, record)?;
        }
        for number in &changes.removed_judgements {
            transaction.remove_judgement(number.0)?;
        }
        for hash in &changes.removed_queries {
            transaction.remove_query(*hash)?;
        }
        for (version, record) in &changes.versions {
            transaction.put_version_header(version.0, record)?;
        }
        for (version, metric) in &changes.metrics {
            transaction.put_metric(version.0, metric);
        }
        for version in &changes.removed_metrics {
            transaction.remove_metric(version.0)?;
        }
        for version in &changes.removed_versions {
            transaction.remove_version(version.0)?;
            transaction.remove_calibration(version.0);
        }
        if let Some(version) = changes.active {
            transaction.set_active(None, version.0);
        }
        for (user, version) in &changes.active_users {
            match version {
                Some(version) => transaction.set_active(Some(user), version.0),
                None => transaction.clear_active(user),
            }
        }
        if let Some(next) = changes.next_judgement {
            transaction.set_next_judgement(next.0);
        }
        if let Some(next) = changes.next_version {
            transaction.set_next_version(next.0);
        }
        if let Some(guidelines) = &changes.guidelines {
            transaction.put_guidelines(guidelines)?;
        }
        if !changes.activations.is_empty() {
            let mut kept = self.0.activations()?;
            keep_activations(&mut kept, &changes.activations);
            transaction.put_activations(&kept)?;
        }
        transaction.commit()
    }
}
