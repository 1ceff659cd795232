//! Metric versions: which is active, promotion, rollback, comparison, import.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ndarray::{Array2, ArrayView2};

use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::index::Versioned;
use crate::metric::{Version, imported};
use crate::persist::{Active, Shelf, VersionRecord, Writes};
use crate::plugin::{Comparison, Metric, MetricLearner};
use crate::query::MetricChoice;

/// Decoded metrics that are kept at hand.
const LOADED: usize = 64;

/// The metrics of one collection in memory.
pub(super) struct Metrics {
    base: Versioned,
    active: ArcSwap<Active>,
    /// Recently used versions, the last used at the end.
    loaded: Mutex<Vec<Versioned>>,
}

impl Metrics {
    pub(super) fn open(shelf: &Shelf, base: Versioned) -> Result<Self> {
        Ok(Self {
            base,
            active: ArcSwap::from_pointee(shelf.active()?),
            loaded: Mutex::default(),
        })
    }

    /// Reads again which versions are active.
    pub(super) fn reload(&self, shelf: &Shelf) -> Result<()> {
        self.active.store(Arc::new(shelf.active()?));
        Ok(())
    }

    pub(super) fn base(&self) -> &Versioned {
        &self.base
    }

    /// The version that answers a user, or everybody.
    pub(super) fn active(&self, user: Option<&str>) -> u32 {
        let active = self.active.load();
        user.and_then(|user| active.users.get(user))
            .copied()
            .unwrap_or(active.shared)
    }

    fn is_active(&self, version: u32, user: Option<&str>) -> bool {
        let active = self.active.load();
        match user {
            Some(user) => active.users.get(user) == Some(&version),
            None => active.shared == version,
        }
    }

    fn loaded(&self, version: u32) -> Option<Versioned> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let place = loaded.iter().position(|v| v.version == version)?;
        loaded[place..].rotate_left(1);
        loaded.last().cloned()
    }

    fn keep(&self, metric: Versioned) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.len() == LOADED {
            loaded.remove(0);
        }
        loaded.push(metric);
    }

    pub(super) fn discard(&self, version: u32) {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|v| v.version != version);
    }
}

impl Collection {
    /// All versions, 0 (the built-in distance) first.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn metrics(&self) -> Result<Vec<Version>> {
        let inner = &self.inner;
        let mut all = vec![Version::builtin(
            inner.distance.name(),
            inner.metrics.is_active(0, None),
        )];
        for (number, record) in inner.shelf.versions()? {
            let active = inner.metrics.is_active(number, record.user.as_deref());
            all.push(Version::read(number, record, active));
        }
        Ok(all)
    }

    /// One version.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`].
    pub fn metric(&self, version: u32) -> Result<Version> {
        let inner = &self.inner;
        if version == 0 {
            return Ok(Version::builtin(
                inner.distance.name(),
                inner.metrics.is_active(0, None),
            ));
        }
        let record = inner.version_record(version)?;
        let active = inner.metrics.is_active(version, record.user.as_deref());
        Ok(Version::read(version, record, active))
    }

    /// The version that answers a user, or everybody.
    pub fn active_metric(&self, user: Option<&str>) -> u32 {
        self.inner.metrics.active(user)
    }

    /// Makes a version the active one: for its user where it was learned for one, else for
    /// everybody. The next search is answered under it; nothing is rebuilt. A trial that is running
    /// ends when everybody's metric changes.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::WithdrawnVersion`], or [`Error::NoPlugin`] when nobody
    /// can read it.
    pub fn promote(&self, version: u32) -> Result<()> {
        let inner = &self.inner;
        let metric = inner.load(version)?;
        let _writing = inner.lock_writer();
        let user = if version == 0 {
            None
        } else {
            inner.kept_record(version)?.user
        };
        inner.make_active(inner.shelf.write(), user.as_deref(), &metric)
    }

    /// Goes back to a version of everybody's, by default to the active one's parent. Gives the
    /// version that is active now.
    ///
    /// # Errors
    /// [`Error::NothingToRollBack`] at version 0, [`Error::Invalid`] for a user's own version, and
    /// those of [`Self::promote`].
    pub fn rollback(&self, version: Option<u32>) -> Result<u32> {
        let to = match (version, self.active_metric(None)) {
            (Some(version), _) => {
                if let Some(user) = self.metric(version)?.user {
                    return Err(Error::Invalid(format!(
                        "version {version} is {user:?}'s own, and everybody cannot go back to it; promote it for them, or end \
                         their own metric"
                    )));
                }
                version
            }
            (None, 0) => return Err(Error::NothingToRollBack),
            (None, active) => self
                .inner
                .nearest_kept(self.inner.version_record(active)?.parent)?,
        };
        self.promote(to)?;
        Ok(to)
    }

    /// Ends a user's own metric: they are answered under the collection's again.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn clear_user_metric(&self, user: &str) -> Result<()> {
        let inner = &self.inner;
        let _writing = inner.lock_writer();
        let mut active = (**inner.metrics.active.load()).clone();
        if active.users.remove(user).is_some() {
            let mut writes = inner.shelf.write();
            writes.clear_active(user);
            writes.commit()?;
            inner.metrics.active.store(Arc::new(active));
        }
        Ok(())
    }

    /// How version `b` differs from version `a`.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::NoPlugin`], or when either has no matrix (the dot
    /// product).
    pub fn diff(&self, a: u32, b: u32) -> Result<Comparison> {
        let (first, second) = (self.inner.load(a)?, self.inner.load(b)?);
        let learner = self.inner.learner(None)?;
        Ok(learner.compare(&*first.metric, &*second.metric)?)
    }

    /// The matrix `A` of a version, `d x d`, symmetric.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::NoPlugin`], or [`Error::Invalid`] for the dot product,
    /// which has none.
    pub fn metric_matrix(&self, version: u32) -> Result<Array2<f64>> {
        self.inner.load(version)?.metric.matrix().ok_or_else(|| {
            Error::Invalid(format!(
                "version {version} is the built-in distance {:?}, which has no matrix",
                self.inner.distance.name()
            ))
        })
    }

    /// Takes in a matrix `A`, scaled to trace `d`, as a new version, which is not active until it
    /// is promoted. Gives its number.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another shape than `d x d`; [`Error::Learn`] when it is not symmetric
    /// positive definite; [`Error::NoPlugin`] without a plugin to keep it.
    pub fn import_metric(&self, matrix: ArrayView2<'_, f64>) -> Result<u32> {
        let inner = &self.inner;
        if matrix.dim() != (inner.dim, inner.dim) {
            let (rows, columns) = matrix.dim();
            return Err(Error::Invalid(format!(
                "the matrix is {rows} x {columns}, but a metric of this collection is {0} x {0}",
                inner.dim
            )));
        }
        let learner = inner.learner(None)?;
        let metric = learner.from_matrix(matrix)?;
        let _writing = inner.lock_writer();
        let record = imported(
            learner.name(),
            inner.metrics.active(None),
            metric.distortion().powi(2),
        );
        let mut writes = inner.shelf.write();
        let metric = inner.put_version(&mut writes, &record, metric)?;
        writes.commit()?;
        inner.metrics.keep(metric.clone());
        Ok(metric.version)
    }
}

impl Inner {
    /// Enters a new version into a transaction; the writer's lock is held.
    pub(super) fn put_version(
        &self,
        writes: &mut Writes<'_>,
        record: &VersionRecord,
        metric: Arc<dyn Metric>,
    ) -> Result<Versioned> {
        let version = self.shelf.next_version()?;
        let next = version.checked_add(1).ok_or_else(|| {
            Error::Invalid(format!(
                "collection {:?} is out of numbers for versions",
                self.name
            ))
        })?;
        writes.put_version(version, record, &metric.encode())?;
        writes.set_next_version(next);
        Ok(Versioned { version, metric })
    }

    /// Promotes a version by decision of somebody else than a trial, which thereby ends.
    pub(super) fn make_active(
        &self,
        mut writes: Writes<'_>,
        user: Option<&str>,
        metric: &Versioned,
    ) -> Result<()> {
        if user.is_none() {
            self.supersede_trial(&mut writes)?;
        }
        self.activate(writes, user, metric)?;
        if user.is_none() {
            self.clear_trial();
        }
        Ok(())
    }

    /// Commits a transaction together with a promotion, and makes it seen; the writer's lock is
    /// held.
    pub(super) fn activate(
        &self,
        mut writes: Writes<'_>,
        user: Option<&str>,
        metric: &Versioned,
    ) -> Result<()> {
        let mut active = (**self.metrics.active.load()).clone();
        match user {
            Some(user) => {
                active.users.insert(user.to_owned(), metric.version);
            }
            None => active.shared = metric.version,
        }
        writes.set_active(user, metric.version);
        writes.commit()?;
        if self.metrics.loaded(metric.version).is_none() && metric.version > 0 {
            self.metrics.keep(metric.clone());
        }
        self.metrics.active.store(Arc::new(active));
        if user.is_none() {
            self.index.activate(metric);
        }
        Ok(())
    }

    /// Commits a transaction that withdraws versions: whoever was answered under one is answered
    /// under version 0, or under the shared metric where it was a user's own. Says whether the
    /// shared metric was among them, and whose own were.
    pub(super) fn withdraw(
        &self,
        mut writes: Writes<'_>,
        versions: &[u32],
    ) -> Result<(bool, Vec<String>)> {
        let mut active = (**self.metrics.active.load()).clone();
        let reset = versions.contains(&active.shared);
        if reset {
            active.shared = 0;
            writes.set_active(None, 0);
        }
        let mut users = Vec::new();
        active.users.retain(|user, version| {
            let keep = !versions.contains(version);
            if !keep {
                writes.clear_active(user);
                users.push(user.clone());
            }
            keep
        });
        writes.commit()?;
        self.metrics.active.store(Arc::new(active));
        for version in versions {
            self.metrics.discard(*version);
        }
        if reset {
            self.index.activate(&self.metrics.base);
        }
        Ok((reset, users))
    }

    /// Keeps a version that was just stored at hand.
    pub(super) fn keep_version(&self, metric: &Versioned) {
        self.metrics.keep(metric.clone());
    }

    /// Tells the index of the active metric when the collection is opened. One that cannot be
    /// loaded is said by the searches that need it.
    pub(super) fn announce_active(&self) {
        match self.load(self.metrics.active(None)) {
            Ok(metric) => self.index.activate(&metric),
            Err(error) => {
                tracing::warn!(collection = self.name, %error, "the active metric cannot be used")
            }
        }
    }

    /// The metric that a search asks for.
    pub(super) fn choose(&self, choice: MetricChoice, user: Option<&str>) -> Result<Versioned> {
        match choice {
            MetricChoice::Active => self.load(self.metrics.active(user)),
            MetricChoice::Euclidean => self.load(0),
            MetricChoice::Version(version) => self.load(version),
        }
    }

    /// A version, decoded.
    pub(super) fn load(&self, version: u32) -> Result<Versioned> {
        if version == 0 {
            return Ok(self.metrics.base.clone());
        }
        if let Some(metric) = self.metrics.loaded(version) {
            return Ok(metric);
        }
        let metric = self.decode_version(version, &self.kept_record(version)?)?;
        let metric = Versioned { version, metric };
        self.metrics.keep(metric.clone());
        // Whoever withdraws a version discards it after that is stored. If it was stored since we
        // read it, we may have come after the discarding.
        if let Err(error) = self.kept_record(version) {
            self.metrics.discard(version);
            return Err(error);
        }
        Ok(metric)
    }

    /// Reads a version's matrix through the plugin that wrote it.
    pub(super) fn decode_version(
        &self,
        version: u32,
        record: &VersionRecord,
    ) -> Result<Arc<dyn Metric>> {
        if record.withdrawn {
            return Err(Error::WithdrawnVersion(version));
        }
        let Ok(plugin) = self.learner_of(&record.plugin) else {
            return Err(Error::NoPlugin(format!(
                "metric version {version} was made by the plugin {:?}, which is not registered; \
                 searches can still be asked under the Euclidean metric",
                record.plugin
            )));
        };
        let base = base_of(version, &record.parameters)?
            .map(|base| self.load(base))
            .transpose()?;
        read_metric(
            &self.shelf,
            plugin,
            self.dim,
            version,
            base.map(|base| base.metric).as_ref(),
        )
    }

    /// What a user's candidate is kept as a change of: everybody's metric, where it is learned, on
    /// its own, and by the same plugin.
    pub(super) fn base_for_users(&self, plugin: &str) -> Result<Option<Versioned>> {
        let shared = self.metrics.active(None);
        if shared == 0 {
            return Ok(None);
        }
        let record = self.version_record(shared)?;
        let fits = record.plugin == plugin && base_of(shared, &record.parameters)?.is_none();
        fits.then(|| self.load(shared)).transpose()
    }

    /// The record of a version that was not withdrawn.
    pub(super) fn kept_record(&self, version: u32) -> Result<VersionRecord> {
        let record = self.version_record(version)?;
        if record.withdrawn {
            Err(Error::WithdrawnVersion(version))
        } else {
            Ok(record)
        }
    }

    pub(super) fn version_record(&self, version: u32) -> Result<VersionRecord> {
        self.shelf
            .version(version)?
            .ok_or_else(|| Error::UnknownVersion {
                collection: self.name.clone(),
                version,
            })
    }

    /// The nearest version at or above a parent that was not withdrawn.
    pub(super) fn nearest_kept(&self, mut version: u32) -> Result<u32> {
        while version != 0 {
            let record = self.version_record(version)?;
            // A parent is older than its child, so this ends whatever the records say.
            if !record.withdrawn || record.parent >= version {
                break;
            }
            version = record.parent;
        }
        Ok(version)
    }

    /// The plugin of this name.
    pub(super) fn learner_of(&self, plugin: &str) -> Result<&Arc<dyn MetricLearner>> {
        self.plugins
            .iter()
            .find(|p| p.name() == plugin)
            .ok_or_else(|| Error::NoPlugin(format!("the plugin {plugin:?} is not registered")))
    }

    /// The plugin that has a learner of this name; the first plugin where none is named.
    pub(super) fn learner(&self, name: Option<&str>) -> Result<&Arc<dyn MetricLearner>> {
        let Some(first) = self.plugins.first() else {
            return Err(Error::NoPlugin(
                "learning a metric needs a plugin, and none is registered".into(),
            ));
        };
        // An unknown name goes to the first plugin, whose refusal lists what it knows.
        Ok(name
            .and_then(|name| self.plugins.iter().find(|p| p.learners().contains(&name)))
            .unwrap_or(first))
    }
}

/// The name under which a version says of which one it is a change.
pub(super) const BASE: &str = "base_version";

/// The version that another one is a change of, which is always an older one.
pub(super) fn base_of(version: u32, parameters: &BTreeMap<String, f64>) -> Result<Option<u32>> {
    let Some(base) = parameters.get(BASE).copied() else {
        return Ok(None);
    };
    if base >= 1.0 && base < f64::from(version) && base.fract() == 0.0 {
        return Ok(Some(base as u32));
    }
    Err(damaged(
        version,
        format!("it is said to be a change of version {base}, which is none before it"),
    ))
}

/// That a version is not what was stored.
pub(super) fn damaged(version: u32, reason: String) -> Error {
    Error::Damaged {
        part: format!("metric version {version}"),
        reason,
    }
}

/// Reads a version's matrix as its plugin wrote it, given the metric that it is a change of, if it
/// is one.
pub(super) fn read_metric(
    shelf: &Shelf,
    plugin: &Arc<dyn MetricLearner>,
    dim: usize,
    version: u32,
    base: Option<&Arc<dyn Metric>>,
) -> Result<Arc<dyn Metric>> {
    let bytes = shelf
        .metric(version)?
        .ok_or_else(|| damaged(version, "its matrix is missing".into()))?;
    decode_metric(&bytes, plugin, dim, version, base)
}

/// The same of bytes that were read.
pub(super) fn decode_metric(
    bytes: &[u8],
    plugin: &Arc<dyn MetricLearner>,
    dim: usize,
    version: u32,
    base: Option<&Arc<dyn Metric>>,
) -> Result<Arc<dyn Metric>> {
    let metric = plugin
        .decode(bytes, base)
        .map_err(|e| damaged(version, e.to_string()))?;
    if metric.dim() != dim {
        return Err(damaged(
            version,
            format!("its dimension is {}, not {dim}", metric.dim()),
        ));
    }
    Ok(metric)
}
