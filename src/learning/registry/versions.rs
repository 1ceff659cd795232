//! What people do with versions: listing, promotion, rollback, deletion, comparison, import.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use crate::learning::{Changes, Learning};
use crate::model::error::{Error, Result};
use crate::model::{ActivatedBy, Activation, MAX_ACTIVATIONS, Version, VersionId, VersionRecord};
use crate::plugin::{Comparison, caught};

impl Learning {
    /// All versions, version 0 first.
    ///
    /// # Errors
    /// Those of [`Collection::metrics`](crate::Collection::metrics).
    pub fn metrics(&self) -> Result<Vec<Version>> {
        let mut all = vec![self.built_in_version()];
        for (number, record) in self.ledger.versions()? {
            all.push(self.read_version(number, record));
        }
        Ok(all)
    }

    /// One version.
    ///
    /// # Errors
    /// Those of [`Collection::metric`](crate::Collection::metric).
    pub fn metric(&self, version: VersionId) -> Result<Version> {
        if version.is_built_in() {
            return Ok(self.built_in_version());
        }
        Ok(self.read_version(version, self.version_record(version)?))
    }

    fn built_in_version(&self) -> Version {
        let active = self.registry.is_active(VersionId::BUILT_IN, None);
        Version::built_in(self.rules.distance, active)
    }

    fn read_version(&self, version: VersionId, record: VersionRecord) -> Version {
        let user = record.lineage.user.as_deref();
        let active = self.registry.is_active(version, user);
        Version::read(version, record, active)
    }

    /// When which version became everybody's, the oldest first.
    ///
    /// # Errors
    /// Those of [`Collection::activations`](crate::Collection::activations).
    pub fn activations(&self) -> Result<Vec<Activation>> {
        let mut all = self.ledger.activations()?;
        let surplus = all.len().saturating_sub(MAX_ACTIVATIONS);
        all.drain(..surplus);
        Ok(all)
    }

    /// The version that answers a user, or everybody.
    pub fn active(&self, user: Option<&str>) -> VersionId {
        self.registry.active(user)
    }

    /// Makes a version the active one, for its user or for everybody.
    ///
    /// # Errors
    /// Those of [`Collection::promote`](crate::Collection::promote).
    pub fn promote(&self, version: VersionId) -> Result<()> {
        let metric = self.load(version)?;
        let user = |version: VersionId| {
            let record = (!version.is_built_in()).then(|| self.live_record(version));
            Ok::<_, Error>(record.transpose()?.and_then(|record| record.lineage.user))
        };
        self.prepare(&metric, user(version)?.as_deref())?;
        let guard = self.lock()?;
        let user = user(version)?;
        let by = ActivatedBy::Choice;
        self.make_active(&guard, Changes::default(), user.as_deref(), &metric, by)
    }

    /// Goes back to a version of everybody's, by default to the nearest ancestor of the active one
    /// that was not withdrawn.
    ///
    /// # Errors
    /// Those of [`Collection::rollback`](crate::Collection::rollback).
    pub fn rollback(&self, version: Option<VersionId>) -> Result<VersionId> {
        let to = match (version, self.active(None)) {
            (Some(version), _) => {
                if let Some(user) = self.metric(version)?.user {
                    return Err(Error::PersonalVersion { version, user });
                }
                version
            }
            (None, VersionId::BUILT_IN) => return Err(Error::NothingToRollBack),
            (None, active) => self.nearest_live(self.version_record(active)?.lineage.parent)?,
        };
        self.promote(to)?;
        Ok(to)
    }

    /// Ends a user's own metric.
    ///
    /// # Errors
    /// Those of [`Collection::clear_user_metric`](crate::Collection::clear_user_metric).
    pub fn clear_user_metric(&self, user: &str) -> Result<()> {
        let _guard = self.lock()?;
        let mut active = (**self.registry.active.load()).clone();
        if active.users.remove(user).is_some() {
            self.commit(Changes {
                active_users: vec![(user.to_owned(), None)],
                ..Changes::default()
            })?;
            self.registry.active.store(Arc::new(active));
        }
        Ok(())
    }

    /// Deletes a version that nothing needs. The versions that were learned from it become children
    /// of its parent.
    ///
    /// # Errors
    /// Those of [`Collection::delete_metric`](crate::Collection::delete_metric).
    pub fn delete_metric(&self, version: VersionId) -> Result<()> {
        let _refits = self.lock_refits();
        let guard = self.lock()?;
        if let Some(reason) = self.need_of(version)? {
            return Err(Error::VersionNeeded { version, reason });
        }
        let parent = self.version_record(version)?.lineage.parent;
        let mut changes = Changes {
            removed_versions: vec![version],
            ..Changes::default()
        };
        for (child, mut record) in self.ledger.versions()? {
            if record.lineage.parent == version && child != version {
                record.lineage.parent = parent;
                // Both are told of the parent that goes.
                (record.fit.moved, record.asked) = (None, None);
                changes.put_version(child, record);
            }
        }
        self.commit(changes)?;
        drop(guard);
        self.registry.discard(version);
        Ok(())
    }

    /// What needs a version, and what can be done about it; `None` where nothing does.
    fn need_of(&self, version: VersionId) -> Result<Option<String>> {
        if version.is_built_in() {
            return Ok(Some("it is the collection's own distance".to_owned()));
        }
        let active = self.registry.active.load();
        if active.shared == version {
            let reason = "it is active; promote another version or roll back first";
            return Ok(Some(reason.to_owned()));
        }
        let owner = active.users.iter().find(|(_, own)| **own == version);
        if let Some((user, _)) = owner {
            return Ok(Some(format!(
                "it is active for user {user:?}; end the user's own metric first"
            )));
        }
        if self.is_in_trial(version) {
            let reason = "it is in the running trial; end the trial first";
            return Ok(Some(reason.to_owned()));
        }
        let update = self
            .ledger
            .versions()?
            .into_iter()
            .find(|(_, record)| !record.withdrawn && record.lineage.base == Some(version));
        Ok(update.map(|(update, _)| {
            format!("metric version {update} is an update of it; delete that one first")
        }))
    }

    /// How version `b` differs from version `a`.
    ///
    /// # Errors
    /// Those of [`Collection::diff`](crate::Collection::diff).
    pub fn diff(&self, a: VersionId, b: VersionId) -> Result<Comparison> {
        let (first, second) = (self.load(a)?, self.load(b)?);
        let plugin = self.plugin_for(None)?;
        let compare = || plugin.compare(&*first.metric, &*second.metric);
        Ok(caught("compare", compare)?)
    }

    /// The matrix of a version.
    ///
    /// # Errors
    /// Those of [`Collection::metric_matrix`](crate::Collection::metric_matrix).
    pub fn metric_matrix(&self, version: VersionId) -> Result<Array2<f64>> {
        let metric = self.load(version)?.metric;
        let matrix = caught("matrix", || Ok(metric.matrix()))?;
        matrix.ok_or(Error::NoMatrix {
            version,
            distance: self.rules.distance,
        })
    }

    /// Stores a matrix as a new version, which is not active: of the named plugin, or of the first
    /// one that takes it.
    ///
    /// # Errors
    /// Those of [`Collection::import_metric`](crate::Collection::import_metric).
    pub fn import_metric(
        &self,
        matrix: ArrayView2<'_, f64>,
        plugin: Option<&str>,
    ) -> Result<VersionId> {
        let dim = self.rules.dim;
        if matrix.dim() != (dim, dim) {
            let (rows, columns) = matrix.dim();
            return Err(Error::MatrixShape { rows, columns, dim });
        }
        let (plugin, metric) = if let Some(name) = plugin {
            self.metric_of(self.plugin_named(name)?, matrix)?
        } else {
            let first = self.metric_of(self.plugin_for(None)?, matrix);
            // The first plugin's reason is told where no other takes the matrix either.
            let others = self.plugins.iter().skip(1);
            others.fold(first, |taken, plugin| {
                taken.or_else(|error| self.metric_of(plugin, matrix).map_err(|_| error))
            })?
        };
        let condition = metric.distortion().powi(2);
        let guard = self.lock()?;
        let record = VersionRecord::of_matrix(plugin.name(), self.active(None), condition);
        let mut changes = Changes::default();
        let metric = self.add_version(&guard, &mut changes, record, metric)?;
        self.commit(changes)?;
        self.registry.keep(metric.clone());
        Ok(metric.version)
    }
}
