//! What answers a search: a snapshot of heads and linked segments, under whatever metric the query
//! names.
//!
//! Fresh items go to a [`head`], which is scanned, or searched through an `hnsw_rs` graph when it
//! is large. Full heads are turned into [`segment`]s in the background by the batch [linker](link).
//! A search takes one snapshot ([`view`]), asks every part and merges; it never waits for writers
//! or the background, and nothing outside this room knows which part answered. The metric reaches
//! the index only as a rewritten query and the items' biases (see
//! [`Metric`](crate::plugin::Metric)); items are linked in the space that `Metric::embed` maps to.
//!
//! The index takes and gives vectors and bytes; it knows nothing of files, ids or text.

mod background;
mod beam;
mod best;
mod bias;
mod calibrate;
mod codes;
mod column;
mod error;
mod head;
mod image;
mod kernels;
mod link;
mod merge;
mod prune;
mod published;
mod query;
mod record;
mod refine;
mod restore;
mod rows;
mod search;
mod segment;
mod stats;
mod tombstones;
mod view;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plugin::Metric;

pub(crate) use calibrate::{Curve, TARGET};
pub(crate) use error::IndexError;
pub(crate) use image::{Expected, Image, Part, check as check_image};
pub(crate) use record::SegmentRecord;
pub(crate) use rows::RowFormat;
pub(crate) use search::{Found, SearchParams, Snapshot};
pub(crate) use stats::IndexStats;

use background::Background;
use query::Query;
use rayon::prelude::*;
use search::{PartBiases, Searcher};
use view::View;
use write::Shared;

/// Largest dimension.
pub(crate) const MAX_DIM: usize = 4096;

/// A metric and the number that names it: equal numbers mean equal metrics. Number 0 is
/// [`Config::base`].
#[derive(Debug, Clone)]
pub(crate) struct Versioned {
    /// The name.
    pub(crate) version: u32,
    /// The metric.
    pub(crate) metric: Arc<dyn Metric>,
}

/// Told of the segments and calibrations after they changed.
pub(crate) type OnChange = dyn Fn(&Segments<'_>) + Send + Sync;

/// Asked for images of the segments when nothing else is left to do; those that it gives are used
/// from then on.
pub(crate) type OnCalm = dyn Fn(&Segments<'_>) -> Vec<(u64, Arc<dyn Image>)> + Send + Sync;

/// How an index behaves.
#[derive(Clone)]
pub(crate) struct Config {
    /// The built-in metric, version 0; its `embed` maps vectors to themselves.
    pub(crate) base: Arc<dyn Metric>,
    /// Items in a head before it is frozen and linked.
    pub(crate) head_capacity: usize,
    /// Items in a head above which it gets an `hnsw_rs` graph.
    pub(crate) graph_from: usize,
    /// Items in a head above which it is linked when it is left alone.
    pub(crate) link_from: usize,
    /// Most bytes of biases that are kept.
    pub(crate) bias_bytes: usize,
    /// Threads that linking uses.
    pub(crate) threads: usize,
    /// Whether a thread of the index's own does what is to be done; otherwise [`Index::settle`]
    /// does it.
    pub(crate) background: bool,
    /// Calibrations of an earlier session, which hold for the segments that are restored.
    pub(crate) calibrations: BTreeMap<u32, Curve>,
    /// How images keep rows; `None` for numbers of four bytes.
    pub(crate) format: Option<Arc<dyn RowFormat>>,
    /// Called after the set of segments or a calibration changed, from the thread that changed it.
    pub(crate) on_change: Option<Arc<OnChange>>,
    /// Called by the background when it has nothing else to do and the set of segments changed.
    pub(crate) on_calm: Option<Arc<OnCalm>>,
}

impl Config {
    /// The defaults.
    pub(crate) fn new(base: Arc<dyn Metric>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            base,
            head_capacity: 8192,
            graph_from: 2048,
            link_from: 1024,
            bias_bytes: 256 << 20,
            threads: threads.div_ceil(2),
            background: true,
            calibrations: BTreeMap::new(),
            format: None,
            on_change: None,
            on_calm: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("base", &self.base)
            .field("head_capacity", &self.head_capacity)
            .field("graph_from", &self.graph_from)
            .field("link_from", &self.link_from)
            .field("bias_bytes", &self.bias_bytes)
            .field("threads", &self.threads)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}

/// An index over vectors of one dimension, named by slots.
///
/// Slots are given by the caller, in increasing order, and never again. All methods take `&self`;
/// searches run at the same time as each other and as everything else.
#[derive(Debug)]
pub(crate) struct Index {
    shared: Arc<Shared>,
    background: Background,
}

impl Index {
    /// An empty index.
    ///
    /// # Errors
    /// [`IndexError::DimensionLimit`] unless `dim` is 1 to 4,096.
    #[cfg(test)]
    pub(crate) fn new(dim: usize, config: Config) -> Result<Self, IndexError> {
        if dim == 0 || dim > MAX_DIM {
            return Err(IndexError::DimensionLimit { dim });
        }
        Ok(Self::over(Arc::new(Shared::new(dim, config))))
    }

    fn over(shared: Arc<Shared>) -> Self {
        let background = Background::start(&shared);
        Self { shared, background }
    }

    /// Adds and removes items; both become visible together, in the next search.
    ///
    /// `add` is (slot, vector), slots increasing and above all slots given before. Removing a slot
    /// that is not live does nothing. An upsert is a new slot in `add` and the old one in `remove`.
    ///
    /// # Errors
    /// [`IndexError::Dimension`], [`IndexError::NotFinite`], [`IndexError::SlotOrder`]; nothing is
    /// changed then.
    pub(crate) fn apply(&self, add: &[(u32, &[f32])], remove: &[u32]) -> Result<(), IndexError> {
        self.shared.apply(add, remove)?;
        self.background.wake(&self.shared);
        Ok(())
    }

    /// The nearest items to `query` under `metric`.
    ///
    /// # Errors
    /// [`IndexError::Dimension`], [`IndexError::MetricDimension`], [`IndexError::NotFinite`].
    pub(crate) fn search(
        &self,
        metric: &Versioned,
        query: &[f32],
        params: &SearchParams<'_>,
    ) -> Result<Found, IndexError> {
        self.shared.search(metric, query, params)
    }

    /// The slots of the `k` nearest items of each of many queries, exactly.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub(crate) fn nearest_exactly(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
    ) -> Result<Vec<Vec<u32>>, IndexError> {
        self.shared.nearest_exactly(metric, queries, k)
    }

    /// The state that the next search sees.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.shared.view.load_full())
    }

    /// Makes `metric` the one that new links are made under, fills its biases and calibrates it in
    /// the background. Searches do not wait for any of it.
    pub(crate) fn activate(&self, metric: &Versioned) {
        self.shared.activate(metric);
        self.background.wake(&self.shared);
    }

    /// Waits until the background has nothing left to do. Without a background thread, does it
    /// here.
    pub(crate) fn settle(&self) {
        self.background.settle(&self.shared);
    }

    /// Links the heads that are too large to be scanned and calibrates the active metric, so that
    /// the index gives the same answers when it is opened again.
    pub(crate) fn close(&self) {
        self.shared
            .closing
            .store(true, std::sync::atomic::Ordering::Release);
        // Biases are not kept: computing more of them would be for nothing.
        write::lock(&self.shared.asked).fill.clear();
        self.settle();
    }

    /// Links all heads into segments now.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`]; the parts are then as they were.
    #[cfg(test)]
    pub(crate) fn link_now(
        &self,
        progress: &(dyn Fn(f32) + Sync),
        cancel: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), IndexError> {
        Ok(self
            .shared
            .link_heads(true, link::Watch { progress, cancel })?)
    }

    /// Makes one segment of everything that is live and refines it under the active metric.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`]; the parts are then as they were.
    pub(crate) fn relink(
        &self,
        progress: &(dyn Fn(f32) + Sync),
        cancel: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), IndexError> {
        let done = self.shared.relink(link::Watch { progress, cancel });
        self.check_images()?;
        Ok(done?)
    }

    /// Says whether a damaged row of an image was read.
    ///
    /// # Errors
    /// [`IndexError::DamagedImage`].
    pub(crate) fn check_images(&self) -> Result<(), IndexError> {
        self.shared.view.load().check_images()
    }

    /// Counts up whenever the set of segments changes.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// Shows the segments that there are now.
    pub(crate) fn with_segments<T>(&self, look: impl FnOnce(&Segments<'_>) -> T) -> T {
        look(&self.shared.segments(&self.shared.view.load()))
    }

    /// The slots of the live items, increasing.
    pub(crate) fn live_slots(&self) -> Vec<u32> {
        self.shared.view.load().live_slots()
    }

    /// Live items.
    pub(crate) fn len(&self) -> usize {
        self.shared.view.load().live
    }

    /// The lowest slot that may be given next.
    #[cfg(test)]
    pub(crate) fn next_slot(&self) -> u32 {
        self.shared.view.load().next_slot
    }

    /// The vector of a live item.
    pub(crate) fn vector(&self, slot: u32) -> Option<Vec<f32>> {
        self.shared.vector(slot)
    }

    /// The beam width that reaches the recall target under a metric, where it is calibrated.
    #[cfg(test)]
    pub(crate) fn ef_for(&self, version: u32) -> Option<usize> {
        self.shared
            .calibrations
            .get(version, TARGET)
            .map(|width| width.ef)
    }

    /// Sizes.
    pub(crate) fn stats(&self) -> IndexStats {
        self.shared.stats()
    }
}

/// What a store keeps of one state of the index, to open it again as it was.
pub(crate) struct Segments<'a> {
    view: &'a View,
    shared: &'a Shared,
}

impl Segments<'_> {
    /// Their names.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.view.segments.iter().map(|s| s.segment.id).collect()
    }

    /// The graph of one as bytes.
    pub(crate) fn export(&self, id: u64) -> Option<SegmentRecord> {
        let part = self.view.segments.iter().find(|s| s.segment.id == id)?;
        Some(SegmentRecord::of(&part.segment))
    }

    /// The measured recall of beam widths, by metric version.
    pub(crate) fn calibrations(&self) -> BTreeMap<u32, Curve> {
        self.shared.calibrations.all()
    }

    /// One as the parts of an image; `None` where there is no such segment, or a damaged image has
    /// it.
    pub(crate) fn image(&self, id: u64) -> Option<Vec<Cow<'_, [u8]>>> {
        let segment = &*self
            .view
            .segments
            .iter()
            .find(|s| s.segment.id == id)?
            .segment;
        let base = &self.shared.config.base;
        let biases = self.shared.biases.of(0, id, segment.len());
        let items: Vec<u32> = (0..segment.len() as u32).collect();
        biases.ensure(&items, segment, &**base);
        let biases: Vec<f32> = items.iter().map(|item| biases.get(*item)).collect();
        image::parts(segment, &biases, self.shared.config.format.as_deref())
    }

    /// Whether one lies in an image already.
    pub(crate) fn is_mapped(&self, id: u64) -> bool {
        self.view
            .segments
            .iter()
            .any(|s| s.segment.id == id && s.segment.is_mapped())
    }

    /// The slots that segments hold, dead ones included.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.view
            .segments
            .iter()
            .flat_map(|s| s.segment.slots.iter().copied())
    }

    /// Items in slots from here on may be in no segment.
    pub(crate) fn unlinked_from(&self) -> u32 {
        let first = |head: &view::HeadView| (head.len > 0).then(|| head.head.slot(0));
        self.view
            .heads
            .iter()
            .filter_map(first)
            .min()
            .unwrap_or(self.view.next_slot)
    }
}

impl Shared {
    /// See [`Index::nearest_exactly`].
    fn nearest_exactly(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
    ) -> Result<Vec<Vec<u32>>, IndexError> {
        // So many queries meet a block of rows while it is in the cache.
        const TOGETHER: usize = 32;
        queries
            .iter()
            .try_for_each(|query| self.check_vector(query))?;
        self.check_metric(metric)?;
        let view = self.view.load_full();
        let biases = PartBiases::of(&view, &self.biases, metric.version);
        let found: Vec<Vec<Vec<u32>>> = queries
            .par_chunks(TOGETHER)
            .map(|queries| {
                let queries: Vec<Query<'_>> = queries
                    .iter()
                    .map(|query| Query::new(metric, query))
                    .collect();
                let found =
                    search::scan_all(&view, &biases, &queries, k, &|| false).unwrap_or_default();
                found
                    .into_iter()
                    .map(|hits| hits.iter().map(|hit| hit.slot).collect())
                    .collect()
            })
            .collect();
        view.check_images()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// See [`Index::search`].
    fn search(
        &self,
        metric: &Versioned,
        query: &[f32],
        params: &SearchParams<'_>,
    ) -> Result<Found, IndexError> {
        self.check_vector(query)?;
        self.check_metric(metric)?;
        let view = params
            .at
            .map_or_else(|| self.view.load_full(), |snapshot| Arc::clone(&snapshot.0));
        let recall = params.recall.unwrap_or(TARGET);
        let measured = self.calibrations.get(metric.version, recall);
        let ef = match params.ef {
            Some(ef) => ef,
            // Only a scan finds everything.
            None if recall >= 1.0 => view.held().max(1),
            None => measured.map_or_else(
                || calibrate::uncalibrated(&view, metric, recall),
                |width| width.ef,
            ),
        };
        let query = Query::new(metric, query);
        let biases = PartBiases::of(&view, &self.biases, metric.version);
        let searcher = Searcher {
            view: &view,
            query: &query,
            biases: &biases,
            k: params.k,
            // A wider beam than there are items finds no more.
            ef: ef.max(params.k).min(view.held()).max(1),
            coded: codes::are_walked(self.dim) && measured.is_none_or(|width| width.coded),
            allowed: params.allowed,
            cancel: params.cancel,
        };
        let found = searcher.run();
        view.check_images()?;
        Ok(found)
    }
}
