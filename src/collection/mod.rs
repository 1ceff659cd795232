//! The handle a program holds: add, get, delete, search, judge, refit.
//!
//! One file an activity; this one opens a collection and holds what they share. Writes go one way:
//! check, encode, commit to the shelf, then publish in the index. So no search sees what is not
//! durable, and none waits for a write.

mod ask;
mod background;
mod builder;
mod collect;
mod drift;
mod evaluate;
mod explain;
mod forget;
mod graph;
mod history;
mod ids;
mod interleave;
mod judge;
mod metadata;
mod neighbours;
mod read;
mod refit;
mod sample;
mod search;
mod share;
mod signals;
mod stats;
mod trial;
mod verify;
mod versions;
mod weak;
mod write;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::encode::Encoder;
use crate::error::{Error, Result};
use crate::index::{self, Index};
use crate::item::MAX_DIM;
use crate::metric::Distance;
use crate::persist::{CollectionRecord, Database, Precision, Shelf};
use crate::plugin::MetricLearner;

pub use ask::Question;
pub use builder::CollectionBuilder;
pub use drift::{Drift, Step};
pub use evaluate::{EvalQuery, Evaluation, EvaluationRow, Measure};
pub use explain::{Explain, Explanation, Influence};
pub use forget::{Forget, Forgotten, Relearned};
pub(crate) use graph::StillGuard;
#[cfg(any(test, fuzzing))]
pub(crate) use graph::for_index;
pub use history::{History, StoredVersion};
pub use neighbours::{NeighbourChange, NeighbourChanges};
pub use refit::{Refit, RefitMillis, RefitReport};
pub use search::Search;
pub use stats::{SegmentStats, Stats};
pub use trial::{Interleaved, Team, Trial, Verdict};
pub use verify::Problem;
pub(crate) use verify::{check, problems};
pub use weak::Weak;
pub use write::Added;

/// The registered plugins, in the order they were given.
pub(crate) type Plugins = Arc<[Arc<dyn MetricLearner>]>;

/// Items of one dimension and one encoder, with their index, judgements and metrics.
///
/// Handles are cheap to clone and may be used from any thread. A collection stays in memory until
/// its store and all handles are dropped.
#[derive(Clone)]
pub struct Collection {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection")
            .field("name", &self.inner.name)
            .field("dim", &self.inner.dim)
            .finish_non_exhaustive()
    }
}

/// A collection's settings and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// The dimension of its vectors.
    pub dim: usize,
    /// Its built-in distance, metric version 0.
    pub distance: Distance,
    /// How numbers are kept.
    pub precision: Precision,
    /// The encoder of its texts.
    pub encoder: Option<EncoderInfo>,
    /// Live items.
    pub items: u64,
}

/// Which model encoded a collection's texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EncoderInfo {
    /// A name for people.
    pub name: String,
    /// Identifies model, tokenizer and pooling.
    pub fingerprint: String,
    /// `embedded`, a directory, or nothing where only the program knows.
    pub source: Option<String>,
}

impl CollectionInfo {
    /// The settings of a catalogue entry, with a size to be filled in.
    pub(crate) fn read(name: &str, record: &CollectionRecord, items: u64) -> Result<Self> {
        let damaged = |what: &str, value: &str| Error::Damaged {
            part: format!("the catalogue's entry for collection {name}"),
            reason: format!("no {what} is called {value:?}"),
        };
        let dim = record.dim as usize;
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(damaged("dimension", &dim.to_string()));
        }
        Ok(Self {
            name: name.to_owned(),
            dim,
            distance: Distance::from_name(&record.distance)
                .ok_or_else(|| damaged("distance", &record.distance))?,
            precision: Precision::from_name(&record.precision)
                .ok_or_else(|| damaged("precision", &record.precision))?,
            encoder: record
                .encoder
                .clone()
                .map(|(name, fingerprint, source)| EncoderInfo {
                    name,
                    fingerprint,
                    source,
                }),
            items,
        })
    }
}

/// What every handle of one collection shares.
pub(crate) struct Inner {
    name: String,
    dim: usize,
    distance: Distance,
    precision: Precision,
    encoder_info: Option<EncoderInfo>,
    encoder: OnceLock<Arc<dyn Encoder>>,
    shelf: Arc<Shelf>,
    index: Index,
    graph: Arc<graph::SavedGraph>,
    ids: Arc<ids::Ids>,
    metadata: metadata::Metadata,
    metrics: versions::Metrics,
    trials: trial::Trials,
    background: background::Background,
    plugins: Plugins,
    /// Held from reading counters until a write is published: commits and the index see writes in
    /// one order.
    writer: Mutex<()>,
    /// Held during a refit: one at a time.
    refit: Mutex<()>,
    sample: sample::SampleCache,
    /// Writes of items so far.
    writes: AtomicU64,
}

impl Inner {
    /// Opens a collection that is in the catalogue.
    pub(crate) fn open(
        database: Arc<Database>,
        plugins: Plugins,
        name: &str,
        record: &CollectionRecord,
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<Arc<Self>> {
        let info = CollectionInfo::read(name, record, 0)?;
        let shelf = Arc::new(Shelf::open(database, record)?);
        let base = index::Versioned {
            version: 0,
            metric: info.distance.metric(info.dim),
        };
        let graph::Opened { ids, graph, index } =
            graph::open(&shelf, info.dim, info.distance, &base)?;
        let metrics = versions::Metrics::open(&shelf, base)?;
        let trials = trial::Trials::open(&shelf)?;
        let inner = Arc::new(Self {
            name: name.to_owned(),
            dim: info.dim,
            distance: info.distance,
            precision: info.precision,
            encoder_info: info.encoder,
            encoder: encoder.map_or_else(OnceLock::new, OnceLock::from),
            shelf,
            index,
            graph,
            ids,
            metadata: metadata::Metadata::default(),
            metrics,
            trials,
            background: background::Background::default(),
            plugins,
            writer: Mutex::new(()),
            refit: Mutex::new(()),
            sample: sample::SampleCache::default(),
            writes: AtomicU64::new(0),
        });
        inner.announce_active();
        Ok(inner)
    }

    /// The lock that orders writes. A writer that panicked left nothing half-done: the shelf
    /// commits whole transactions.
    fn lock_writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collection {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The dimension `d` of its vectors.
    pub fn dim(&self) -> usize {
        self.inner.dim
    }

    /// Number of live items.
    pub fn len(&self) -> usize {
        self.inner.index.len()
    }

    /// Whether it holds no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its settings and size.
    pub fn info(&self) -> CollectionInfo {
        CollectionInfo {
            name: self.inner.name.clone(),
            dim: self.inner.dim,
            distance: self.inner.distance,
            precision: self.inner.precision,
            encoder: self.inner.encoder_info.clone(),
            items: self.len() as u64,
        }
    }

    /// Waits until background work (refits, linking, caches of biases) that is under way is done.
    /// For measurements.
    ///
    /// # Errors
    /// When the linked graph cannot be stored.
    pub fn settle(&self) -> Result<()> {
        self.inner.background.settle();
        self.inner.index.settle();
        self.inner.save_graph()
    }
}

/// Vectors as the index takes them: of unit length in a cosine collection, else as they are.
fn prepare(distance: Distance, mut vector: Vec<f32>) -> Vec<f32> {
    if distance == Distance::Cosine {
        let norm = vector
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm > 0.0 {
            for x in &mut vector {
                *x = (f64::from(*x) / norm) as f32;
            }
        }
    }
    vector
}
