//! Configuration of an index.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::index::calibrations::Curve;
use crate::index::layout::rows::RowFormat;
use crate::index::layout::section::SegmentFile;
use crate::index::segments::Segments;
use crate::model::Sampled;
use crate::plugin::Metric;

/// Called with the segments and calibrations after they changed.
pub(crate) type OnChange = dyn Fn(&Segments<'_>) + Send + Sync;

/// Called to write segment files when no other work is left. The files it returns, by segment id,
/// replace the segments in memory.
pub(crate) type OnIdle = dyn Fn(&Segments<'_>) -> Vec<(u64, Arc<dyn SegmentFile>)> + Send + Sync;

/// Called to make questions, in the form of queries, of what the items of some slots say. The same
/// slots have the same questions.
pub(crate) type Questions = dyn Fn(&[u32]) -> Vec<Sampled> + Send + Sync;

/// Configuration of an index.
#[derive(Clone)]
pub(crate) struct Config {
    /// The built-in distance, version 0. It transforms vectors to themselves.
    pub(crate) base: Arc<dyn Metric>,
    /// Number of items at which a growing segment is frozen and sealed.
    pub(crate) growing_capacity: usize,
    /// Number of items from which a growing segment gets an `hnsw_rs` graph.
    pub(crate) graph_from: usize,
    /// Number of items from which a growing segment is sealed when the index is idle.
    pub(crate) seal_from: usize,
    /// Most bytes of biases that are cached.
    pub(crate) bias_bytes: usize,
    /// Threads that build graphs.
    pub(crate) threads: usize,
    /// Whether a thread of the index does maintenance; otherwise
    /// [`Index::settle`](super::Index::settle) does it.
    pub(crate) background: bool,
    /// Calibrations of an earlier session, which hold for the segments that are opened.
    pub(crate) calibrations: BTreeMap<u32, Curve>,
    /// Makes the questions on which recall is measured besides vectors near the items.
    pub(crate) questions: Option<Arc<Questions>>,
    /// The encoding of rows in segment files; `None` for `f32`.
    pub(crate) format: Option<Arc<dyn RowFormat>>,
    /// Called after the set of segments or a calibration changed, by the thread that changed it.
    pub(crate) on_change: Option<Arc<OnChange>>,
    /// Called by maintenance when no other work is left and the set of segments changed.
    pub(crate) on_idle: Option<Arc<OnIdle>>,
}

impl Config {
    /// The default configuration.
    pub(crate) fn new(base: Arc<dyn Metric>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            base,
            growing_capacity: 8192,
            graph_from: 2048,
            seal_from: 1024,
            bias_bytes: 256 << 20,
            threads: threads.div_ceil(2),
            background: true,
            calibrations: BTreeMap::new(),
            questions: None,
            format: None,
            on_change: None,
            on_idle: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("base", &self.base)
            .field("growing_capacity", &self.growing_capacity)
            .field("graph_from", &self.graph_from)
            .field("seal_from", &self.seal_from)
            .field("bias_bytes", &self.bias_bytes)
            .field("threads", &self.threads)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}
