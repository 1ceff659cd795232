//! The two traits that learning stands on: a [`Ledger`] keeps judgements and versions, [`Vectors`]
//! answers for the items.
//!
//! An engine implements both on what it has: the embedded store on sled and its index
//! (`items/ledger.rs`, `items/vectors.rs`), the crate `affinis-pgvector` on the tables of a
//! database. Learning knows nothing else of an engine.

use std::any::Any;
use std::fmt;

use serde::Serialize;

use crate::model::error::Result;
use crate::model::{
    Activation, Active, ContentHash, Guidelines, JudgementId, LoggedJudgement, Query, QueryHash,
    VersionId, VersionRecord, Versioned,
};
use crate::plugin::Metric;

/// An entry of the log: a judgement with its number.
pub type Entry = (JudgementId, LoggedJudgement);

/// The stored state of learning: the log of judgements, the versions, and which of them are
/// active.
///
/// Errors of every method are those of the engine, such as [`Error::Engine`](crate::Error::Engine).
#[expect(
    clippy::missing_errors_doc,
    reason = "the errors of all are named above"
)]
pub trait Ledger: Send + Sync {
    /// Waits until no other client writes, and keeps others from beginning until what is returned
    /// is dropped. All that is read meanwhile is what [`commit`](Self::commit) changes. An engine
    /// that one process has for itself needs no such lock, which is the default.
    fn lock(&self) -> Result<LedgerLock> {
        Ok(LedgerLock::none())
    }

    /// Refuses what would change anything, before work is done for it.
    fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    /// A number that is another one whenever a client, this one or another, has changed versions,
    /// their records, or which are active. Constant for an engine that one process has for itself.
    fn generation(&self) -> Result<u64> {
        Ok(0)
    }

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

    /// The guidelines for those who judge; `None` where none were set.
    fn guidelines(&self) -> Result<Option<Guidelines>>;

    /// When which version became everybody's, the oldest first: at least the newest
    /// [`MAX_ACTIVATIONS`](crate::learning::MAX_ACTIVATIONS) that were stored.
    fn activations(&self) -> Result<Vec<Activation>>;

    /// Stores changes durably, all or none. Called once at most while [`lock`](Self::lock) is held.
    fn commit(&self, changes: Changes) -> Result<()>;
}

/// A lock of a [`Ledger`] that is held until this is dropped.
pub struct LedgerLock(#[expect(dead_code, reason = "it is dropped")] Option<Box<dyn Any>>);

impl LedgerLock {
    /// The lock of a ledger that needs none.
    pub fn none() -> Self {
        Self(None)
    }

    /// A lock that is held while `guard` lives.
    pub fn new(guard: impl Any) -> Self {
        Self(Some(Box::new(guard)))
    }
}

impl fmt::Debug for LedgerLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerLock")
    }
}

/// The items of a collection, as learning sees them: vectors under string ids.
///
/// Errors of every method are those of the engine, such as [`Error::Engine`](crate::Error::Engine).
#[expect(
    clippy::missing_errors_doc,
    reason = "the errors of all are named above"
)]
pub trait Vectors: Send + Sync {
    /// The vectors of items by their ids, as they are searched; `None` for ids that are not there.
    fn vectors(&self, ids: &[&str]) -> Result<Vec<Option<Vec<f32>>>>;

    /// Hashes of the contents of items by their ids; `None` for ids that are not there.
    fn hashes(&self, ids: &[&str]) -> Result<Vec<Option<ContentHash>>>;

    /// Vectors and contents of items by their ids; `None` for ids that are not there. The two of an
    /// item belong together, also where it is replaced meanwhile.
    fn contents(&self, ids: &[&str]) -> Result<Vec<Option<ItemContent>>>;

    /// Those of some ids that are of documents and not of items, each with the chunks in order. By
    /// default there are no documents.
    fn documents(&self, ids: &[&str]) -> Result<Vec<(String, Vec<StoredItem>)>> {
        let _ = ids;
        Ok(Vec::new())
    }

    /// A uniform sample of at most `n` items without replacement, in random order. Equal
    /// collections give equal samples for equal seeds. Where there are at most `n` items, all of
    /// them; their order does not matter then.
    fn sample(&self, n: usize, seed: u64) -> Result<Vec<StoredItem>>;

    /// The `k` nearest items of each query (as it is searched) under a metric, nearest first.
    fn nearest(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
        effort: Effort,
    ) -> Result<Vec<Vec<String>>>;

    /// The vectors of texts that are searched for, as the collection's encoder gives them; `None` for a text that it can
    /// make nothing of.
    fn encode(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>>;

    /// The vectors of texts as [`Self::encode`] gives them, or for each text on which the encoder
    /// fails what is wrong with it. By default such a text is the error of all.
    fn encode_each(
        &self,
        texts: &[&str],
    ) -> Result<Vec<std::result::Result<Option<Vec<f32>>, String>>> {
        Ok(self.encode(texts)?.into_iter().map(Ok).collect())
    }

    /// How many items there are, and how often they changed.
    fn revision(&self) -> Result<Revision>;

    /// Whether a version is to be [prepared](Self::prepare), once it is stored, before it answers.
    fn prepares(&self) -> bool {
        false
    }

    /// Makes ready what answers under a stored version need, such as the biases of all items.
    /// Answers are right without it, and slower.
    fn prepare(&self, metric: &Versioned) -> Result<()> {
        let _ = metric;
        Ok(())
    }

    /// Whether answers remember judgements: the engine tells of every item that changes.
    fn remembers(&self) -> bool {
        false
    }

    /// Announces the metric under which everybody is answered from now on.
    fn serve(&self, metric: &Versioned);

    /// Searches by words beside meaning; `None` where there are none.
    fn hybrid(&self) -> Option<&dyn HybridVectors> {
        None
    }
}

/// The items of a collection that is searched by words and meaning together. Its queries are texts
/// and stored items, whose texts are searched for; a vector has no words and is an error.
///
/// Errors of every method are those of the engine, such as [`Error::Engine`](crate::Error::Engine).
#[expect(
    clippy::missing_errors_doc,
    reason = "the errors of all are named above"
)]
pub trait HybridVectors: Send + Sync {
    /// The shares of items in the scores of queries, under a metric that need not be stored; its
    /// scale is that of the candidates which are nearest under one that is. `None` for ids that are
    /// not there.
    fn shares(
        &self,
        stored: &Versioned,
        metric: &dyn Metric,
        queries: &[FusedQuery<'_>],
    ) -> Result<Vec<Vec<Option<Shares>>>>;

    /// The ids of the `k` best items of each query (with its vector, as it is searched, if it has
    /// one), best first, without the query's own: by closeness and words of this weight, or by words
    /// only.
    fn ranked(
        &self,
        metric: &Versioned,
        queries: &[(&Query, Option<&[f32]>)],
        words: Option<f64>,
        k: usize,
    ) -> Result<Vec<Vec<String>>>;

    /// The words of a query that an item's text holds; none for an item that is not there.
    fn words_in(&self, query: &Query, item: &str) -> Result<Vec<WordsFound>>;
}

/// A query and items whose shares in its scores are asked for.
#[derive(Debug, Clone)]
pub struct FusedQuery<'a> {
    /// The query.
    pub query: &'a Query,
    /// Its vector, as it is searched (`d` numbers).
    pub vector: &'a [f32],
    /// Ids of the items.
    pub items: Vec<&'a str>,
}

/// The shares of an item in the score of a hybrid search: `closeness + weight * words`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    /// 1 for the third item by meaning, 0 for the hundredth, linear in the distance.
    pub closeness: f32,
    /// BM25 over that of a text of mean length that holds every word of the query once.
    pub words: f32,
}

/// A word or phrase of a query that a text holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordsFound {
    /// As the query says it, with its operator.
    pub words: String,
    /// What it adds to the text's score by BM25.
    pub score: f32,
}

/// An item's id with its vector as it is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredItem {
    /// Its id.
    pub id: String,
    /// Its vector, `d` numbers.
    pub vector: Vec<f32>,
}

/// What an item holds.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemContent {
    /// Its vector, as it is searched.
    pub vector: Vec<f32>,
    /// The hash of its text, or of its stored vector where it has no text.
    pub hash: ContentHash,
}

/// How near neighbours are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As searches without settings of their own find them.
    Served,
    /// By comparison with every item.
    Exact,
}

/// The numbers that the next judgement and the next version get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextIds {
    /// The number of the next judgement.
    pub judgement: JudgementId,
    /// The number of the next version, at least 1.
    pub version: VersionId,
}

/// The state of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Number of live items; about, where counting them takes long.
    pub items: usize,
    /// Number of writes so far, as far as they are known in this process: another number where items
    /// may have changed.
    pub writes: u64,
}

/// Changes of a [`Ledger`] that are stored together.
#[derive(Debug, Default)]
pub struct Changes {
    /// Judgements under numbers that were never used.
    pub judgements: Vec<Entry>,
    /// Judgements that go.
    pub removed_judgements: Vec<JudgementId>,
    /// Vectors of judged texts and vectors.
    pub queries: Vec<(QueryHash, Vec<f32>)>,
    /// Judged texts and vectors whose vectors go.
    pub removed_queries: Vec<QueryHash>,
    /// New versions, and versions whose record changes.
    pub versions: Vec<(VersionId, VersionRecord)>,
    /// Metrics of new versions, as their plugin encodes them.
    pub metrics: Vec<(VersionId, Vec<u8>)>,
    /// Versions whose metric goes.
    pub removed_metrics: Vec<VersionId>,
    /// Versions that go, with their metrics.
    pub removed_versions: Vec<VersionId>,
    /// The version that answers everybody.
    pub active: Option<VersionId>,
    /// Versions that answer single users; `None` ends a user's own.
    pub active_users: Vec<(String, Option<VersionId>)>,
    /// The number that the next judgement gets.
    pub next_judgement: Option<JudgementId>,
    /// The number that the next version gets.
    pub next_version: Option<VersionId>,
    /// The guidelines for those who judge, which are checked.
    pub guidelines: Option<Guidelines>,
    /// Activations that come after those that are stored.
    pub activations: Vec<Activation>,
}

impl Changes {
    /// Sets a version's record; one that was set before is replaced.
    pub fn put_version(&mut self, version: VersionId, record: VersionRecord) {
        self.versions.retain(|(of, _)| *of != version);
        self.versions.push((version, record));
    }

    /// The record that these changes give a version.
    pub fn version_mut(&mut self, version: VersionId) -> Option<&mut VersionRecord> {
        self.versions
            .iter_mut()
            .find(|(of, _)| *of == version)
            .map(|(_, record)| record)
    }

    /// Sets the version that answers a user, or everybody.
    pub fn set_active(&mut self, user: Option<&str>, version: VersionId) {
        match user {
            Some(user) => self.active_users.push((user.to_owned(), Some(version))),
            None => self.active = Some(version),
        }
    }
}
