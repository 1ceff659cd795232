//! The registry of metric versions: which is active, how it changes, and what is kept in memory.

mod versions;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ndarray::ArrayView2;

use super::{Changes, Learning, Ledger, WriteGuard, sample};
use crate::model::error::{Error, Result};
use crate::model::{
    ActivatedBy, Activation, Active, MetricChoice, VectorRules, VersionId, VersionRecord,
    Versioned, rows,
};
use crate::plugin::{LearnError, Metric, MetricLearner, caught, conformance};

/// Largest number of decoded metrics in memory.
const MAX_LOADED: usize = 64;
/// Largest number of items that a metric is checked on.
const MAX_CHECKED: usize = 64;

/// The metrics of one collection in memory.
pub(super) struct Registry {
    /// Version 0, the built-in distance.
    built_in: Versioned,
    active: ArcSwap<Active>,
    /// Recently used versions, the last used at the end.
    loaded: Mutex<Vec<Versioned>>,
    /// Versions whose metric was checked in this process.
    checked: Mutex<HashSet<VersionId>>,
}

/// A metric, and the plugin that made it of a matrix.
type Taken<'a> = (&'a Arc<dyn MetricLearner>, Arc<dyn Metric>);

impl Registry {
    pub(super) fn open(ledger: &dyn Ledger, rules: VectorRules) -> Result<Self> {
        Ok(Self {
            built_in: Versioned {
                version: VersionId::BUILT_IN,
                metric: rules.distance.metric(rules.dim),
            },
            active: ArcSwap::from_pointee(ledger.active()?),
            loaded: Mutex::default(),
            checked: Mutex::default(),
        })
    }

    /// Reads again which versions are active, and discards those that are gone or withdrawn.
    pub(super) fn reload(&self, ledger: &dyn Ledger) -> Result<()> {
        let versions = ledger.versions()?.into_iter();
        let live = versions.filter(|(_, record)| !record.withdrawn);
        let live: HashSet<VersionId> = live.map(|(version, _)| version).collect();
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|metric| live.contains(&metric.version));
        self.active.store(Arc::new(ledger.active()?));
        Ok(())
    }

    /// Version 0, the built-in distance.
    pub(super) fn built_in(&self) -> &Versioned {
        &self.built_in
    }

    /// The version that answers a user, or everybody.
    pub(super) fn active(&self, user: Option<&str>) -> VersionId {
        let active = self.active.load();
        user.and_then(|user| active.users.get(user))
            .copied()
            .unwrap_or(active.shared)
    }

    /// Whether a version answers its user, or everybody where it is nobody's own.
    fn is_active(&self, version: VersionId, user: Option<&str>) -> bool {
        let active = self.active.load();
        match user {
            Some(user) => active.users.get(user) == Some(&version),
            None => active.shared == version,
        }
    }

    fn loaded(&self, version: VersionId) -> Option<Versioned> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let place = loaded.iter().position(|v| v.version == version)?;
        loaded[place..].rotate_left(1);
        loaded.last().cloned()
    }

    /// Whether a version's metric is still to be checked in this process.
    fn is_unchecked(&self, version: VersionId) -> bool {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        !checked.contains(&version)
    }

    /// Keeps a metric that was checked.
    fn keep(&self, metric: Versioned) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.insert(metric.version);
        drop(checked);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.len() == MAX_LOADED {
            loaded.remove(0);
        }
        loaded.push(metric);
    }

    fn discard(&self, version: VersionId) {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|v| v.version != version);
    }
}

/// Whose answers changed when versions were withdrawn.
pub(super) struct Withdrawn {
    /// Whether the shared metric went back to version 0.
    pub(super) shared: bool,
    /// Users who went back to the shared metric.
    pub(super) users: Vec<String>,
}

impl Learning {
    /// The metric that a plugin makes of a matrix, with the plugin.
    fn metric_of<'a>(
        &self,
        plugin: &'a Arc<dyn MetricLearner>,
        matrix: ArrayView2<'_, f64>,
    ) -> Result<Taken<'a>> {
        let metric = caught("from_matrix", || plugin.from_matrix(matrix))?;
        self.check_conformance(&metric, plugin, None)?;
        Ok((plugin, metric))
    }

    /// Adds a new version to the changes of an operation, under the next number.
    pub(super) fn add_version(
        &self,
        _guard: &WriteGuard<'_>,
        changes: &mut Changes,
        record: VersionRecord,
        metric: Arc<dyn Metric>,
    ) -> Result<Versioned> {
        let version = self.ledger.next_ids()?.version;
        let next = version.next().ok_or_else(|| Error::OutOfNumbers {
            part: format!("collection {:?}", self.name),
            what: "versions",
        })?;
        changes.put_version(version, record);
        changes.metrics.push((version, metric.encode()));
        changes.next_version = Some(next);
        Ok(Versioned { version, metric })
    }

    /// Makes ready what answers under a stored version need, where it is to answer everybody.
    pub(super) fn prepare(&self, metric: &Versioned, user: Option<&str>) -> Result<()> {
        if user.is_none() && !metric.version.is_built_in() && self.vectors.prepares() {
            self.vectors.prepare(metric)?;
        }
        Ok(())
    }

    /// Stores changes together with a promotion that somebody else than a trial decided. A trial
    /// that is running ends where everybody's metric changes.
    pub(super) fn make_active(
        &self,
        guard: &WriteGuard<'_>,
        mut changes: Changes,
        user: Option<&str>,
        metric: &Versioned,
        by: ActivatedBy,
    ) -> Result<()> {
        if user.is_none() {
            self.supersede_trial(guard, &mut changes)?;
        }
        self.activate(guard, changes, user, metric, by)?;
        if user.is_none() {
            self.clear_trial(guard);
        }
        Ok(())
    }

    /// Stores changes together with a promotion, and answers under it.
    pub(super) fn activate(
        &self,
        _guard: &WriteGuard<'_>,
        mut changes: Changes,
        user: Option<&str>,
        metric: &Versioned,
        by: ActivatedBy,
    ) -> Result<()> {
        let mut active = (**self.registry.active.load()).clone();
        if let Some(user) = user {
            active.users.insert(user.to_owned(), metric.version);
        } else {
            let new = Activation::now(&active, metric.version, by);
            changes.activations.extend(new);
            active.shared = metric.version;
        }
        changes.set_active(user, metric.version);
        self.commit(changes)?;
        if !metric.version.is_built_in() && self.registry.loaded(metric.version).is_none() {
            self.registry.keep(metric.clone());
        }
        self.registry.active.store(Arc::new(active));
        if user.is_none() {
            self.vectors.serve(metric);
        }
        Ok(())
    }

    /// Stores changes that withdraw versions. Whoever was answered under one is answered under
    /// version 0 from then on, or under the shared metric where it was a user's own.
    pub(super) fn withdraw(
        &self,
        _guard: &WriteGuard<'_>,
        mut changes: Changes,
        versions: &[VersionId],
    ) -> Result<Withdrawn> {
        let mut active = (**self.registry.active.load()).clone();
        let shared = versions.contains(&active.shared);
        if shared {
            let by = ActivatedBy::Withdrawal;
            let new = Activation::now(&active, VersionId::BUILT_IN, by);
            changes.activations.extend(new);
            active.shared = VersionId::BUILT_IN;
            changes.set_active(None, VersionId::BUILT_IN);
        }
        let mut users = Vec::new();
        active.users.retain(|user, version| {
            let stays = !versions.contains(version);
            if !stays {
                changes.active_users.push((user.clone(), None));
                users.push(user.clone());
            }
            stays
        });
        self.commit(changes)?;
        self.registry.active.store(Arc::new(active));
        for version in versions {
            self.registry.discard(*version);
        }
        if shared {
            self.vectors.serve(&self.registry.built_in);
        }
        Ok(Withdrawn { shared, users })
    }

    /// Keeps a version that was just stored in memory.
    pub(super) fn keep_version(&self, metric: &Versioned) {
        self.registry.keep(metric.clone());
    }

    /// Announces the active metric. A search that needs one that cannot be loaded says why.
    pub(super) fn announce_active(&self) {
        match self.load(self.active(None)) {
            Ok(metric) => self.vectors.serve(&metric),
            Err(error) => {
                tracing::warn!(collection = self.name, %error, "the active metric cannot be used");
            }
        }
    }

    /// The metric that a search names.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::WithdrawnVersion`], or [`Error::NoPlugin`] when nobody
    /// can read it; those of the engine.
    pub fn choose(&self, choice: MetricChoice, user: Option<&str>) -> Result<Versioned> {
        match choice {
            MetricChoice::Active => self.load(self.active(user)),
            MetricChoice::BuiltIn => self.load(VersionId::BUILT_IN),
            MetricChoice::Version(version) => self.load(version),
        }
    }

    /// A version with its decoded metric.
    pub(super) fn load(&self, version: VersionId) -> Result<Versioned> {
        if version.is_built_in() {
            return Ok(self.registry.built_in.clone());
        }
        if let Some(metric) = self.registry.loaded(version) {
            return Ok(metric);
        }
        let metric = self.decode_version(version, &self.live_record(version)?)?;
        let metric = Versioned { version, metric };
        self.registry.keep(metric.clone());
        // Whoever withdraws a version discards it after that is stored. If it was stored since we
        // read it, we may have come after the discarding.
        if let Err(error) = self.live_record(version) {
            self.registry.discard(version);
            return Err(error);
        }
        Ok(metric)
    }

    /// Reads a version's matrix through the plugin that wrote it.
    fn decode_version(
        &self,
        version: VersionId,
        record: &VersionRecord,
    ) -> Result<Arc<dyn Metric>> {
        if record.withdrawn {
            return Err(Error::WithdrawnVersion(version));
        }
        let Ok(plugin) = self.plugin_named(&record.lineage.plugin) else {
            return Err(Error::NoPlugin(format!(
                "metric version {version} was made by the plugin {:?}, which is not registered; \
                 searches can still be asked under the built-in distance",
                record.lineage.plugin
            )));
        };
        let base = base_of(version, record)?
            .map(|base| self.load(base))
            .transpose()?;
        let bytes = self
            .ledger
            .metric(version)?
            .ok_or_else(|| damaged(version, "its matrix is missing".into()))?;
        let base = base.as_ref().map(|base| &base.metric);
        let metric = decode_metric(&bytes, plugin, self.rules.dim, version, base)?;
        if self.registry.is_unchecked(version) {
            self.check_conformance(&metric, plugin, base)
                .map_err(|error| damaged(version, error.to_string()))?;
        }
        Ok(metric)
    }

    /// Checks a plugin's metric on a sample of the items, or on vectors made up where there are no
    /// items. `base` is the metric that it is an update of, where it is one.
    pub(super) fn check_conformance(
        &self,
        metric: &Arc<dyn Metric>,
        plugin: &Arc<dyn MetricLearner>,
        base: Option<&Arc<dyn Metric>>,
    ) -> Result<()> {
        let items = self.sample_items(MAX_CHECKED, sample::SEED)?;
        let vectors = if items.is_empty() {
            conformance::probes(self.rules.dim)
        } else {
            let numbers = items.into_iter().flat_map(|item| item.vector);
            rows(numbers.collect(), self.rules.dim)?
        };
        conformance::check_metric(&**metric, vectors.view())
            .and_then(|()| conformance::check_encoding(&**metric, &**plugin, base, vectors.view()))
            .map_err(|error| LearnError::from(error).into())
    }

    /// The base of a user's candidate: everybody's metric, where it is learned, a metric on its
    /// own, and of the same plugin.
    pub(super) fn base_for_users(&self, plugin: &str) -> Result<Option<Versioned>> {
        let shared = self.active(None);
        if shared.is_built_in() {
            return Ok(None);
        }
        let record = self.version_record(shared)?;
        let fits = record.lineage.plugin == plugin && base_of(shared, &record)?.is_none();
        fits.then(|| self.load(shared)).transpose()
    }

    /// The record of a version that was not withdrawn.
    pub(super) fn live_record(&self, version: VersionId) -> Result<VersionRecord> {
        let record = self.version_record(version)?;
        if record.withdrawn {
            Err(Error::WithdrawnVersion(version))
        } else {
            Ok(record)
        }
    }

    /// The record of a version.
    pub(super) fn version_record(&self, version: VersionId) -> Result<VersionRecord> {
        self.ledger
            .version(version)?
            .ok_or_else(|| Error::UnknownVersion {
                collection: self.name.clone(),
                version,
            })
    }

    /// The nearest version at or above a parent that was not withdrawn.
    fn nearest_live(&self, mut version: VersionId) -> Result<VersionId> {
        while !version.is_built_in() {
            let record = self.version_record(version)?;
            // A parent is older than its child, so this ends whatever the records say.
            if !record.withdrawn || record.lineage.parent >= version {
                break;
            }
            version = record.lineage.parent;
        }
        Ok(version)
    }

    /// The plugin of this name.
    pub(super) fn plugin_named(&self, plugin: &str) -> Result<&Arc<dyn MetricLearner>> {
        self.plugins
            .iter()
            .find(|p| p.name() == plugin)
            .ok_or_else(|| Error::NoPlugin(format!("the plugin {plugin:?} is not registered")))
    }

    /// The plugin that has a learner of this name; the first plugin where none is named.
    pub(super) fn plugin_for(&self, learner: Option<&str>) -> Result<&Arc<dyn MetricLearner>> {
        let Some(first) = self.plugins.first() else {
            return Err(Error::NoPlugin(
                "learning a metric needs a plugin, and none is registered".into(),
            ));
        };
        // An unknown name goes to the first plugin, whose refusal lists what it knows.
        let named = learner.and_then(|name| {
            self.plugins
                .iter()
                .find(|plugin| plugin.learners().contains(&name))
        });
        Ok(named.unwrap_or(first))
    }
}

/// The version that another one is a low-rank update of, which is always an older one.
pub(crate) fn base_of(version: VersionId, record: &VersionRecord) -> Result<Option<VersionId>> {
    check_base(version, record.lineage.base)
}

/// Checks that the base of a version is an older learned version.
pub(super) fn check_base(version: VersionId, base: Option<VersionId>) -> Result<Option<VersionId>> {
    match base {
        Some(base) if base.is_built_in() || base >= version => Err(damaged(
            version,
            format!("its base, version {base}, is no learned version before it"),
        )),
        base => Ok(base),
    }
}

/// The error for a version that is not what was stored.
pub(crate) fn damaged(version: VersionId, reason: String) -> Error {
    Error::Damaged {
        part: format!("metric version {version}"),
        reason,
    }
}

/// Decodes a version's metric by its plugin, given the metric that it is an update of, if it is
/// one.
pub(crate) fn decode_metric(
    bytes: &[u8],
    plugin: &Arc<dyn MetricLearner>,
    dim: usize,
    version: VersionId,
    base: Option<&Arc<dyn Metric>>,
) -> Result<Arc<dyn Metric>> {
    let metric = caught("decode", || plugin.decode(bytes, base))
        .map_err(|e| damaged(version, e.to_string()))?;
    let found = caught("dim", || Ok(metric.dim())).map_err(|e| damaged(version, e.to_string()))?;
    if found != dim {
        return Err(damaged(
            version,
            format!("its dimension is {found}, not {dim}"),
        ));
    }
    Ok(metric)
}
