//! The items of a collection over storage, index and encoder: writing, reading, search and checks.
//!
//! A write is checked, encoded, committed to storage, and then published in the index. So a search
//! sees only durable writes, and never waits for one. [`SledLedger`] and [`Items`] implement the
//! two traits that [learning](crate::learning) needs.

mod combine;
mod documents;
mod encode;
mod expiry;
mod follow;
mod fusion;
mod graph;
mod highlights;
mod hybrid;
mod ids;
mod info;
mod keywords;
mod ledger;
mod metadata;
mod publish;
mod questions;
mod range;
mod read;
mod search;
mod stats;
mod update;
mod vector_files;
mod vectors;
mod verify;
mod write;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::encode::Encoder;
use crate::index::{self, Index};
use crate::model::VectorRules;
use crate::model::error::Result;
use crate::storage::{CollectionRecord, Database, Precision, Tables};

pub(crate) use encode::check_encoder;
pub(crate) use graph::StillGuard;
#[cfg(any(test, fuzzing))]
pub(crate) use graph::for_index;
pub(crate) use hybrid::{WordRanking, WordsOf};
pub use info::{CollectionInfo, EncoderInfo};
pub(crate) use ledger::SledLedger;
pub(crate) use metadata::{Grouping, Matching};
pub use questions::short_question;
pub(crate) use range::InRange;
pub(crate) use search::{Candidate, Listed, Ranking, SearchRequest};
pub use stats::{KeywordStats, SegmentStats, Stats};
pub(crate) use vector_files::rescue_vectors;
pub use verify::Problem;
pub(crate) use verify::{check, merged, problems};
pub use write::Added;

/// The items of one open collection.
pub(crate) struct Items {
    name: String,
    rules: VectorRules,
    precision: Precision,
    encoder: Arc<encode::CollectionEncoder>,
    tables: Arc<Tables>,
    index: Index,
    graph: Arc<graph::SavedGraph>,
    ids: Arc<ids::Ids>,
    metadata: metadata::Metadata,
    keywords: keywords::Keywords,
    ends: expiry::Ends,
    /// Orders writes: held from reading a counter until the write is published, so that storage and
    /// index see writes in one order.
    writer: Mutex<()>,
    combiner: combine::Combiner,
    /// Number of writes so far.
    writes: AtomicU64,
}

/// Proof that the lock that orders writes of items is held.
pub(crate) struct WriteGuard<'a> {
    _lock: MutexGuard<'a, ()>,
}

impl Items {
    /// Opens the items of a collection that is in the catalogue.
    pub(crate) fn open(
        database: Arc<Database>,
        name: &str,
        record: &CollectionRecord,
        encoder: Option<Arc<dyn Encoder>>,
        models: &[PathBuf],
    ) -> Result<Arc<Self>> {
        let info = CollectionInfo::read(name, record, 0)?;
        let rules = info.rules();
        let root = database.root();
        let encoder = encode::CollectionEncoder::new(name, info.encoder, encoder, root, models);
        let encoder = Arc::new(encoder);
        let tables = Arc::new(Tables::open(database, record)?);
        let base = index::Versioned {
            version: 0,
            metric: info.distance.metric(info.dim),
        };
        let parts = graph::Parts {
            tables: &tables,
            encoder: &encoder,
            rules,
            base: &base,
        };
        let graph::Opened { ids, graph, index } = graph::open(parts)?;
        let keywords = keywords::Keywords::open(&tables)?;
        let ends = expiry::Ends::open(&tables)?;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            rules,
            precision: info.precision,
            encoder,
            tables,
            index,
            graph,
            ids,
            metadata: metadata::Metadata::default(),
            keywords,
            ends,
            writer: Mutex::new(()),
            combiner: combine::Combiner::default(),
            writes: AtomicU64::new(0),
        }))
    }

    /// The collection's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The rules that its vectors follow.
    pub(crate) fn rules(&self) -> VectorRules {
        self.rules
    }

    /// Number of live items.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The ledger of learning on the same tables.
    pub(crate) fn ledger(&self) -> SledLedger {
        SledLedger::new(Arc::clone(&self.tables))
    }

    /// Settings and size.
    pub(crate) fn info(&self) -> CollectionInfo {
        CollectionInfo {
            name: self.name.clone(),
            dim: self.rules.dim,
            distance: self.rules.distance,
            precision: self.precision,
            encoder: self.encoder.info.clone(),
            keywords: self.keywords(),
            items: self.len() as u64,
        }
    }

    /// Waits until background work of the index is done, and stores its graph.
    pub(crate) fn settle(&self) -> Result<()> {
        self.index.settle();
        if self.tables.is_read_only() {
            return Ok(());
        }
        self.save_graph()?;
        self.keywords.settle(self.index.next_slot())
    }

    /// Refuses writes to a store that is only read.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.tables.database().check_writable()
    }

    /// Takes the lock that orders writes. A writer that panicked left nothing half-done, because
    /// storage commits whole transactions.
    fn lock(&self) -> WriteGuard<'_> {
        WriteGuard {
            _lock: self.writer.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
