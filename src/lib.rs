//! An embedded vector store that learns what "similar" means from the people who use it.
//!
//! - Encodes texts with an ONNX model inside the program: no server, no network, nothing to
//!   install.
//! - Keeps items durably in sled and answers from an HNSW graph; every acknowledged write is on
//!   disk.
//! - Takes judgements of its answers and refits a Mahalanobis metric from them in closed form.
//! - Answers under the new metric at once: one rewritten query and one cached number an item, on
//!   the graph that is there.
//! - Refuses a refit that does not help on held-out judgements, keeps every version, and rolls
//!   back.
//!
//! ```
//! # #[cfg(feature = "embedded-model")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("notes.affinis");
//! use affinis::{Item, Judgement, Store, encode::Onnx};
//! use serde_json::json;
//!
//! // With `affinis_mahalanobis::Mahalanobis` as a plugin it learns: `Store::builder().plugin(Mahalanobis::default())`.
//! let store = Store::builder().open(path)?;
//! let notes = store.collection("notes").encoder(Onnx::embedded()?).open_or_create()?;
//! notes.add([
//!     Item::text("a1", "how to prune apple trees").with_meta(json!({"lang": "en"})),
//!     Item::text("a2", "sharpening a kitchen knife"),
//!     Item::text("a3", "watering a vegetable garden"),
//! ])?;
//!
//! let hits = notes.search("fruit tree care").k(2).run()?;
//! assert_eq!(hits[0].id, "a1");
//!
//! notes.judge(Judgement::relevant("fruit tree care", &hits[0].id))?;
//! notes.judge(Judgement::irrelevant("fruit tree care", "a2"))?;
//! // let report = notes.refit().run()?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "embedded-model"))]
//! # fn main() {}
//! ```
//!
//! A [`Store`] is a directory of [`Collection`]s. A collection holds [`Item`]s of one dimension and
//! one [`Encoder`](encode::Encoder), the [`Judgement`]s people gave, and the [`Version`]s of its
//! metric; version 0 is the distance it was made with. Learning comes as a plugin:
//! [`Metric`](plugin::Metric) and [`MetricLearner`](plugin::MetricLearner) say what one implements.
//!
//! It is one process's store: a second one is refused. It is not a server, and it does not shard.

// docs.rs marks what needs a feature.
#![cfg_attr(docsrs, feature(doc_cfg))]
// No panic is to be reached from input or from what is on disk.
#![cfg_attr(
    not(any(test, fuzzing)),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod collection;
pub mod encode;
mod filter;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod ids;
mod index;
mod items;
pub mod json;
mod keywords;
pub mod learning;
mod model;
pub mod panics;
pub mod plugin;
pub mod priority;
mod slot;
mod storage;
mod store;
mod sum;

pub use collection::{Collection, FIRST_PAGE, InRange, Search, Within};
pub use filter::{Facet, FacetValue, Filter};
pub use items::{Added, CollectionInfo, EncoderInfo, KeywordStats, SegmentStats, Stats};
pub use model::error::{Error, ErrorKind, Result};
pub use model::{
    AddMode, Chunking, CombinedQuery, ContentHash, Distance, Document, Execution, GroupCount,
    Highlight, HighlightBy, Hit, Hits, Item, JudgedContent, Judgement, JudgementId, KindRecall,
    Language, MetricChoice, Plan, Query, QuestionKind, RankBy, SearchQuery, Source,
    StoredJudgement, Subject, Version, VersionId,
};
pub use storage::{Durability, Precision};
pub use store::{CollectionBuilder, Store, StoreBuilder};

/// The seam to an engine that keeps the items: what a database must do so that it can learn.
///
/// An engine implements [`Ledger`](engine::Ledger) (judgements, versions, which are active) and
/// [`Vectors`](engine::Vectors) (vectors and contents by id, a sample, neighbours under a metric,
/// what a version needs before it answers). [`Learning`](engine::Learning) on these two then judges,
/// refits, tries, explains and forgets as the embedded store does: from equal judgements on equal
/// items it makes equal versions, bit for bit, up to neighbours that an index misses.
///
/// Searching is the engine's own. A metric rewrites a query as
/// `d(q, x) = offset - 2 direction . x + bias(x)` ([`Metric::rewrite`](plugin::Metric::rewrite)):
/// the engine finds candidates by inner product with `direction`, or by a distance of its own, and
/// ranks them with the biases, one number an item and version.
pub mod engine {
    pub use crate::items::short_question;
    pub use crate::learning::{
        Changes, Effort, Entry, ItemContent, Learning, Ledger, LedgerLock, NextIds, Plugins,
        Revision, StoredItem, Vectors,
    };
    pub use crate::model::{
        Active, LoggedJudgement, QueryHash, VectorRules, VersionRecord, Versioned,
    };
}

/// Errors that [`Error`] carries, each of one operation.
pub mod error {
    pub use crate::model::{IdError, ItemError, JudgementError, UnknownName};
    pub use crate::store::CloseError;
}

/// Limits of what a store takes.
pub mod limits {
    pub use crate::model::{
        DEFAULT_RECALL, MAX_CHUNK_TOKENS, MAX_CHUNKS, MAX_CHUNKS_BYTES, MAX_DIM,
        MAX_DOCUMENT_BYTES, MAX_GUIDELINES_BYTES, MAX_ID_BYTES, MAX_K, MAX_META_BYTES,
        MAX_META_DEPTH, MAX_PARTS, MAX_TEXT_BYTES,
    };
}

/// Reports of checking, repairing and compacting a store.
pub mod maintenance {
    pub use crate::items::Problem;
    pub use crate::store::{Compacted, Reencode, Reencoded, RepairReport, VerifyReport};
}

/// Faults of the disk that tests inject.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    pub use crate::storage::{DiskOp, Fault, Faults};
}
