//! Figures of a collection: sizes, segments, calibration.

use serde::{Deserialize, Serialize};

use super::Items;
use crate::model::error::Result;
use crate::model::{DEFAULT_RECALL, KindRecall, Language, VersionId};

/// Figures of a collection: sizes, segments, calibration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Number of live items.
    pub items: usize,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Number of removed or replaced items that are still nodes of the graphs of sealed segments.
    pub deleted: usize,
    /// The sealed segments of the index.
    pub segments: Vec<SegmentStats>,
    /// Number of items in growing segments, which have no graph yet.
    pub growing: usize,
    /// Number of judgements.
    pub judgements: usize,
    /// Number of judgements that teach nothing at present, because their items hold other contents
    /// than those that were judged, or are gone. In JSON where there are any.
    #[serde(default, skip_serializing_if = "is_none")]
    pub stale_judgements: usize,
    /// The version that answers everybody who has none of their own.
    pub active_metric: VersionId,
    /// The recall of searches with the default recall under the active metric, by kind of question,
    /// measured on questions that are made of the collection's items. Empty where none was measured:
    /// in a collection that is small enough to be scanned, or before the first calibration.
    pub recall: Vec<KindRecall>,
    /// Mean number of distances that those searches compute.
    #[serde(skip)]
    pub evaluations: Option<f64>,
    /// The index of keyword search. In JSON where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<KeywordStats>,
    /// Memory of the collection's index in bytes, approximately.
    pub memory_bytes: usize,
    /// Size of the files that are mapped into memory, in bytes. The system loads the pages that are
    /// used, and drops them when memory is short.
    #[serde(skip)]
    pub mapped_bytes: usize,
    /// Size of the collection on disk, in bytes: that of its segment files, and an estimate of that
    /// of its live records, from a sample.
    pub disk_bytes: u64,
    /// Size of the whole store on disk, in bytes, with all collections and with what was replaced
    /// and removed since the last [compaction](crate::StoreBuilder::compact).
    pub store_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Figures of the index of keyword search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeywordStats {
    /// The language of the texts.
    pub language: Language,
    /// Number of texts in it, some of removed items included.
    pub texts: usize,
    /// Its size in bytes. 0 before the first search by words since the collection was opened.
    pub bytes: usize,
}

/// Figures of one sealed segment of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Number of items in it, removed ones included.
    pub items: usize,
    /// Size in bytes, in memory or in a mapped file.
    pub bytes: usize,
    /// Version of the metric under which its graph was built.
    pub metric: VersionId,
}

impl Items {
    /// Figures of the collection, under the version that answers everybody, with the number of
    /// judgements that teach nothing.
    pub(crate) fn stats(&self, active_metric: VersionId, stale_judgements: usize) -> Result<Stats> {
        let index = self.index.stats();
        let curve = self
            .index
            .with_segments(|segments| segments.calibrations().remove(&active_metric.0));
        let evaluations = curve
            .as_ref()
            .and_then(|curve| curve.evaluations(DEFAULT_RECALL));
        let segments = index.segments.iter().map(|s| SegmentStats {
            items: s.items,
            bytes: s.bytes,
            metric: VersionId(s.metric),
        });
        Ok(Stats {
            items: self.len(),
            dim: self.rules.dim,
            deleted: index.deleted,
            segments: segments.collect(),
            growing: index.growing,
            judgements: self.tables.judgement_count(),
            stale_judgements,
            active_metric,
            recall: curve.map_or_else(Vec::new, |curve| curve.kinds),
            evaluations,
            keywords: self.keywords.stats(),
            memory_bytes: index.memory_bytes + self.ids.memory_bytes(),
            mapped_bytes: index.mapped_bytes + self.ids.mapped_bytes(),
            disk_bytes: self.tables.disk_bytes()?,
            store_bytes: self.tables.database().disk_bytes()?,
        })
    }

    /// Number of judgements of the collection.
    pub(crate) fn judgement_count(&self) -> usize {
        self.tables.judgement_count()
    }
}
