//! An engine of learning in memory: a ledger of maps, and a list of items that is scanned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::learning::{
    Changes, Effort, Entry, ItemContent, Ledger, NextIds, Revision, StoredItem, Vectors,
};
use crate::model::error::{Error, Result};
use crate::model::{
    Activation, Active, ContentHash, Guidelines, JudgementId, LoggedJudgement, QueryHash,
    VersionId, VersionRecord, Versioned,
};

/// The ledger and the items of one collection.
#[derive(Default)]
pub(super) struct Memory {
    items: Vec<StoredItem>,
    state: Mutex<State>,
    /// The version that was announced last.
    served: Mutex<VersionId>,
    /// Number of texts that were encoded.
    encoded: AtomicUsize,
}

/// What a ledger keeps.
#[derive(Default)]
struct State {
    judgements: BTreeMap<JudgementId, LoggedJudgement>,
    queries: BTreeMap<QueryHash, Vec<f32>>,
    versions: BTreeMap<VersionId, VersionRecord>,
    metrics: BTreeMap<VersionId, Vec<u8>>,
    active: Active,
    next_judgement: JudgementId,
    next_version: Option<VersionId>,
    guidelines: Option<Guidelines>,
    activations: Vec<Activation>,
    /// Items whose content is another than the one that was judged.
    changed: BTreeSet<String>,
}

impl Memory {
    pub(super) fn new(items: Vec<StoredItem>) -> Self {
        Self {
            items,
            ..Self::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Number of vectors of judged texts and vectors.
    pub(super) fn queries(&self) -> usize {
        self.state().queries.len()
    }

    /// The version that was announced last.
    pub(super) fn served(&self) -> VersionId {
        *self.served.lock().unwrap()
    }

    /// Number of texts that were encoded.
    pub(super) fn encoded(&self) -> usize {
        self.encoded.load(Ordering::Relaxed)
    }

    /// Gives items another content, and the ones before theirs back. Their vectors stay.
    pub(super) fn change(&self, ids: impl IntoIterator<Item = String>) {
        self.state().changed = ids.into_iter().collect();
    }

    /// Replaces the stored bytes of a metric.
    pub(super) fn put_metric(&self, version: VersionId, bytes: Vec<u8>) {
        self.state().metrics.insert(version, bytes);
    }
}

impl Ledger for Memory {
    fn judgements(&self) -> Box<dyn Iterator<Item = Result<Entry>> + '_> {
        Box::new(self.state().judgements.clone().into_iter().map(Ok))
    }

    fn query_vector(&self, hash: QueryHash) -> Result<Option<Vec<f32>>> {
        Ok(self.state().queries.get(&hash).cloned())
    }

    fn next_ids(&self) -> Result<NextIds> {
        let state = self.state();
        Ok(NextIds {
            judgement: state.next_judgement,
            version: state.next_version.unwrap_or(VersionId(1)),
        })
    }

    fn versions(&self) -> Result<Vec<(VersionId, VersionRecord)>> {
        Ok(self.state().versions.clone().into_iter().collect())
    }

    fn version(&self, version: VersionId) -> Result<Option<VersionRecord>> {
        Ok(self.state().versions.get(&version).cloned())
    }

    fn metric(&self, version: VersionId) -> Result<Option<Vec<u8>>> {
        Ok(self.state().metrics.get(&version).cloned())
    }

    fn active(&self) -> Result<Active> {
        Ok(self.state().active.clone())
    }

    fn guidelines(&self) -> Result<Option<Guidelines>> {
        Ok(self.state().guidelines.clone())
    }

    fn activations(&self) -> Result<Vec<Activation>> {
        Ok(self.state().activations.clone())
    }

    fn commit(&self, changes: Changes) -> Result<()> {
        let mut state = self.state();
        state.queries.extend(changes.queries);
        state.judgements.extend(changes.judgements);
        for judgement in changes.removed_judgements {
            state.judgements.remove(&judgement);
        }
        for hash in changes.removed_queries {
            state.queries.remove(&hash);
        }
        state.versions.extend(changes.versions);
        state.metrics.extend(changes.metrics);
        for version in changes.removed_metrics {
            state.metrics.remove(&version);
        }
        for version in changes.removed_versions {
            state.versions.remove(&version);
            state.metrics.remove(&version);
        }
        state.active.shared = changes.active.unwrap_or(state.active.shared);
        for (user, version) in changes.active_users {
            match version {
                Some(version) => state.active.users.insert(user, version),
                None => state.active.users.remove(&user),
            };
        }
        state.next_judgement = changes.next_judgement.unwrap_or(state.next_judgement);
        state.next_version = changes.next_version.or(state.next_version);
        state.activations.extend(changes.activations);
        state.guidelines = changes.guidelines.or(state.guidelines.take());
        Ok(())
    }
}

impl Vectors for Memory {
    fn vectors(&self, ids: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        let found = |id: &&str| self.items.iter().find(|item| item.id == **id);
        let vector = |id| found(id).map(|item| item.vector.clone());
        Ok(ids.iter().map(vector).collect())
    }

    fn hashes(&self, ids: &[&str]) -> Result<Vec<Option<ContentHash>>> {
        let contents = self.contents(ids)?.into_iter();
        let changed = &self.state().changed;
        let hash = |(content, id): (Option<ItemContent>, &&str)| {
            if changed.contains(*id) {
                Some(ContentHash::of(Some("another text"), &[]))
            } else {
                Some(content?.hash)
            }
        };
        Ok(contents.zip(ids).map(hash).collect())
    }

    fn contents(&self, ids: &[&str]) -> Result<Vec<Option<ItemContent>>> {
        let vectors = self.vectors(ids)?.into_iter();
        let content = |vector: Option<Vec<f32>>| {
            let hash = ContentHash::of(None, vector.as_deref()?);
            Some(ItemContent {
                vector: vector?,
                hash,
            })
        };
        Ok(vectors.map(content).collect())
    }

    fn sample(&self, n: usize, seed: u64) -> Result<Vec<StoredItem>> {
        let mut items = self.items.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut items);
        items.truncate(n);
        Ok(items)
    }

    fn nearest(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
        _effort: Effort,
    ) -> Result<Vec<Vec<String>>> {
        let nearest = |query: &&[f32]| {
            let distance = |item: &StoredItem| metric.metric.distance(query, &item.vector);
            let mut found: Vec<(f64, &String)> = self
                .items
                .iter()
                .map(|item| (distance(item), &item.id))
                .collect();
            found.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
            let ids = found.into_iter().take(k).map(|(_, id)| id.clone());
            ids.collect()
        };
        Ok(queries.iter().map(nearest).collect())
    }

    /// Texts are vectors written out, such as `1 0 -0.5 2`.
    fn encode(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        self.encoded.fetch_add(texts.len(), Ordering::Relaxed);
        let number = |word: &str| {
            word.parse()
                .map_err(|_| Error::InvalidQuery(word.to_owned()))
        };
        texts
            .iter()
            .map(|text| {
                text.split_whitespace()
                    .map(number)
                    .collect::<Result<_>>()
                    .map(Some)
            })
            .collect()
    }

    fn revision(&self) -> Result<Revision> {
        Ok(Revision {
            items: self.items.len(),
            writes: 0,
        })
    }

    fn serve(&self, metric: &Versioned) {
        *self.served.lock().unwrap() = metric.version;
    }
}
