//! The two traits that learning stands on: a [`Ledger`] keeps judgements and versions, [`Vectors`]
//! answers for the items.
//!
//! An engine implements both on what it has: the embedded store on sled and its index
//! (`items/ledger.rs`, `items/vectors.rs`), another one on its own tables. Learning knows nothing
//! else of an engine.

use crate::model::error::Result;
use crate::model::{
    Active, ContentHash, JudgementId, LoggedJudgement, QueryHash, VersionId, VersionRecord,
    Versioned,
};

/// An entry of the log: a judgement with its number.
pub(crate) type Entry = (JudgementId, LoggedJudgement);

/// The stored state of learning: the log of judgements, the versions, and which of them are
/// active.
pub(crate) trait Ledger: Send + Sync {
    /// All judgements in the order of their numbers.
    fn judgements(&self) -> Box<dyn Iterator<Item = Result<Entry>> + '_>;

    /// The vector of a judged text or vector, as it was given or encoded.
    fn query_vector(&self, hash: QueryHash) -> Result<Option<Vec<f32>>>;

    /// The numbers that the next judgement and the next version get.
    fn next_ids(&self) -> Result<NextIds>;

    /// All versions in the order of their numbers.
    fn versions(&self) -> Result<Vec<(VersionId, VersionRecord)>>;

    /// One version.
    fn version(&self, version: VersionId) -> Result<Option<VersionRecord>>;

    /// The metric of a version, as its plugin encoded it.
    fn metric(&self, version: VersionId) -> Result<Option<Vec<u8>>>;

    /// The active versions.
    fn active(&self) -> Result<Active>;

    /// Stores changes durably, all or none.
    fn commit(&self, changes: Changes) -> Result<()>;
}

/// The items of a collection, as learning sees them: vectors under string ids.
pub(crate) trait Vectors: Send + Sync {
    /// The vectors of items by their ids, as they are searched; `None` for ids that are not there.
    fn vectors(&self, ids: &[&str]) -> Result<Vec<Option<Vec<f32>>>>;

    /// Hashes of the contents of items by their ids; `None` for ids that are not there.
    fn hashes(&self, ids: &[&str]) -> Result<Vec<Option<ContentHash>>>;

    /// Vectors and contents of items by their ids; `None` for ids that are not there. The two of an
    /// item belong together, also where it is replaced meanwhile.
    fn contents(&self, ids: &[&str]) -> Result<Vec<Option<ItemContent>>>;

    /// A uniform sample of at most `n` items without replacement, in random order. Equal
    /// collections give equal samples for equal seeds.
    fn sample(&self, n: usize, seed: u64) -> Result<Vec<StoredItem>>;

    /// The `k` nearest items of each query (as it is searched) under a metric, nearest first.
    fn nearest(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
        effort: Effort,
    ) -> Result<Vec<Vec<String>>>;

    /// The vectors of texts, as the collection's encoder gives them; `None` for a text that it can
    /// make nothing of.
    fn encode(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>>;

    /// How many items there are, and how often they changed.
    fn revision(&self) -> Revision;

    /// Announces the metric under which everybody is answered from now on.
    fn serve(&self, metric: &Versioned);
}

/// An item's id with its vector as it is searched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredItem {
    pub(crate) id: String,
    pub(crate) vector: Vec<f32>,
}

/// What an item holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ItemContent {
    /// Its vector, as it is searched.
    pub(crate) vector: Vec<f32>,
    /// The hash of its text, or of its stored vector where it has no text.
    pub(crate) hash: ContentHash,
}

/// How near neighbours are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As searches without settings of their own find them.
    Served,
    /// By comparison with every item.
    Exact,
}

/// The numbers that the next judgement and the next version get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextIds {
    pub(crate) judgement: JudgementId,
    /// At least 1.
    pub(crate) version: VersionId,
}

/// The state of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Number of live items.
    pub(crate) items: usize,
    /// Number of writes so far in this process.
    pub(crate) writes: u64,
}

/// Changes of a [`Ledger`] that are stored together.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Judgements under numbers that were never used.
    pub(crate) judgements: Vec<Entry>,
    pub(crate) removed_judgements: Vec<JudgementId>,
    /// Vectors of judged texts and vectors.
    pub(crate) queries: Vec<(QueryHash, Vec<f32>)>,
    pub(crate) removed_queries: Vec<QueryHash>,
    /// New versions, and versions whose record changes.
    pub(crate) versions: Vec<(VersionId, VersionRecord)>,
    /// Metrics of new versions, as their plugin encodes them.
    pub(crate) metrics: Vec<(VersionId, Vec<u8>)>,
    /// Versions whose metric goes.
    pub(crate) removed_metrics: Vec<VersionId>,
    /// Versions that go, with their metrics.
    pub(crate) removed_versions: Vec<VersionId>,
    /// The version that answers everybody.
    pub(crate) active: Option<VersionId>,
    /// Versions that answer single users; `None` ends a user's own.
    pub(crate) active_users: Vec<(String, Option<VersionId>)>,
    pub(crate) next_judgement: Option<JudgementId>,
    pub(crate) next_version: Option<VersionId>,
}

impl Changes {
    /// Sets a version's record; one that was set before is replaced.
    pub(crate) fn put_version(&mut self, version: VersionId, record: VersionRecord) {
        self.versions.retain(|(of, _)| *of != version);
        self.versions.push((version, record));
    }

    /// The record that these changes give a version.
    pub(crate) fn version_mut(&mut self, version: VersionId) -> Option<&mut VersionRecord> {
        self.versions
            .iter_mut()
            .find(|(of, _)| *of == version)
            .map(|(_, record)| record)
    }

    /// Sets the version that answers a user, or everybody.
    pub(crate) fn set_active(&mut self, user: Option<&str>, version: VersionId) {
        match user {
            Some(user) => self.active_users.push((user.to_owned(), Some(version))),
            None => self.active = Some(version),
        }
    }
}
