//! The stored form of a collection's index: written when the index has built a segment and is idle,
//! read when the collection is opened.
//!
//! Sealed segments, with the vectors of their items, are stored in segment files and nowhere else; so
//! are their ids, for a fast opening. What was calibrated is stored with the segments that it was
//! measured on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Items;
use super::encode::CollectionEncoder;
use super::ids::{Ids, StoredIds};
use super::questions::Questions;
use super::vector_files::{are_files_damaged, rescue_all_vectors};
use crate::index::{
    self, Config, Curve, Index, IndexError, RowFormat, Section, Segments, Versioned,
};
use crate::model::error::{Error, Result};
use crate::model::{Distance, VectorRules};
use crate::storage::{
    FileKind, Manifest, Precision, SegmentFile, SegmentFiles, Stamp, Tables, Transaction,
};

/// The calibrations and segment files that are stored.
#[derive(Default)]
struct Saved {
    calibrations: BTreeMap<u32, Curve>,
    /// The stamps of the segment files, by segment.
    files: BTreeMap<u64, Stamp>,
}

/// The stored graph of a collection, kept up to date with the segments and calibrations of its
/// index.
pub(super) struct SavedGraph {
    tables: Arc<Tables>,
    ids: Arc<Ids>,
    saved: Mutex<Saved>,
}

/// Proof that nobody writes items of a collection, nor its stored graph.
pub(crate) struct StillGuard<'a> {
    _items: super::WriteGuard<'a>,
    _saved: MutexGuard<'a, Saved>,
}

/// The file of a segment, as the index reads it.
#[derive(Debug)]
struct IndexedFile(SegmentFile);

impl index::SegmentFile for IndexedFile {
    fn section(&self, section: Section) -> &[u8] {
        self.0.section(section as usize)
    }

    fn verify(&self, section: Section, range: Range<usize>) -> bool {
        self.0.verify(section as usize, range)
    }

    fn is_damaged(&self) -> bool {
        self.0.is_damaged()
    }
}

/// A segment file for the index, which reads its rows at scattered places.
pub(crate) fn for_index(file: SegmentFile) -> Arc<dyn index::SegmentFile> {
    file.advise_scattered(Section::Rows as usize);
    Arc::new(IndexedFile(file))
}

/// The row format of segment files that keep vectors in the precision of the database, which takes
/// fewer bytes than `f32`.
#[derive(Debug)]
struct AsStored(Precision);

impl RowFormat for AsStored {
    fn bytes(&self, dim: usize) -> usize {
        self.0.bytes(dim)
    }

    fn encode(&self, row: &[f32]) -> Option<Vec<u8>> {
        self.0.encode_again(row)
    }

    fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        self.0.decode_into(bytes, out);
    }
}

/// The row format of a collection's segment files; `None` for `f32`. Files of cosine collections
/// keep `f32`: the numbers of vectors of unit length are not those of the precision.
pub(super) fn row_format(precision: Precision, distance: Distance) -> Option<Arc<dyn RowFormat>> {
    let as_stored = precision != Precision::F32 && distance != Distance::Cosine;
    as_stored.then(|| Arc::new(AsStored(precision)) as Arc<dyn RowFormat>)
}

impl SavedGraph {
    fn new(tables: &Arc<Tables>, ids: &Arc<Ids>, saved: Saved) -> Arc<Self> {
        Arc::new(Self {
            tables: Arc::clone(tables),
            ids: Arc::clone(ids),
            saved: Mutex::new(saved),
        })
    }

    /// Locks the stored graph: it is not written while the guard lives.
    fn lock(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the calibrations of the index, if the segments that they were measured on are stored.
    pub(super) fn save(&self, segments: &Segments<'_>) -> Result<()> {
        let mut saved = self.lock();
        let curves = segments.calibrations();
        if saved.calibrations == curves || !saved.has(&segments.ids()) {
            return Ok(());
        }
        let mut transaction = self.tables.transaction();
        saved.put_calibrations(&curves, &mut transaction);
        transaction.commit()?;
        saved.calibrations = curves;
        Ok(())
    }

    /// Writes the files of all segments that have none, and the manifest. Returns the new files by
    /// segment.
    pub(super) fn save_segments(
        &self,
        segments: &Segments<'_>,
    ) -> Result<Vec<(u64, Arc<dyn index::SegmentFile>)>> {
        let mut saved = self.lock();
        let (mut files, mut fresh) = (BTreeMap::new(), Vec::new());
        for id in segments.ids() {
            let known = saved.files.get(&id).copied();
            let stamp = if let Some(stamp) = known.filter(|_| segments.is_in_file(id)) {
                stamp
            } else {
                // A damaged file must not be written again with checksums that fit its damage.
                let Some(sections) = segments.file_sections(id) else {
                    return Ok(Vec::new());
                };
                let sections: Vec<&[u8]> = sections.iter().map(AsRef::as_ref).collect();
                let (stamp, file) = self.tables.write_segment_file(id, &sections)?;
                fresh.push((id, for_index(file)));
                stamp
            };
            files.insert(id, stamp);
        }
        let unsealed_from = segments.unsealed_from();
        if files == saved.files && !self.tables.has_row_file_below(unsealed_from)? {
            return Ok(Vec::new());
        }
        let mut slots: Vec<u32> = segments.slots().collect();
        slots.sort_unstable();
        let manifest = if files.is_empty() {
            None
        } else {
            let ids = slots
                .iter()
                .filter_map(|slot| Some((*slot, self.ids.get(*slot)?)));
            let Some(sections) = StoredIds::sections(ids) else {
                return Ok(Vec::new());
            };
            let ids = self
                .tables
                .write_ids_file(&sections.each_ref().map(Vec::as_slice))?;
            Some(Manifest {
                ids,
                segments: files.clone(),
                unsealed_from,
            })
        };
        let curves = segments.calibrations();
        let holds = |slot| slots.binary_search(&slot).is_ok();
        self.tables
            .put_manifest(manifest.as_ref(), unsealed_from, holds, |transaction| {
                saved.put_calibrations(&curves, transaction);
            })?;
        (saved.files, saved.calibrations) = (files, curves);
        Ok(fresh)
    }

    fn config(self: &Arc<Self>, parts: Parts<'_>) -> Config {
        let mut config = Config::new(Arc::clone(&parts.base.metric));
        config.format = row_format(self.tables.precision, parts.rules.distance);
        let questions = Questions::new(parts.tables, parts.encoder, parts.rules);
        config.questions = Some(Arc::new(move |slots| questions.of(slots)));
        config.calibrations.clone_from(&self.lock().calibrations);
        if self.tables.is_read_only() {
            return config;
        }
        let saver = Arc::clone(self);
        config.on_change = Some(Arc::new(move |segments| {
            if let Err(error) = saver.save(segments) {
                tracing::warn!(%error, "the calibrations could not be stored; they will be measured again at the next opening");
            }
        }));
        let saver = Arc::clone(self);
        config.on_idle = Some(Arc::new(move |segments| {
            saver.save_segments(segments).unwrap_or_else(|error| {
                tracing::warn!(%error, "segment files could not be written; what was stored before stays");
                Vec::new()
            })
        }));
        config
    }
}

impl Saved {
    /// Whether just these segments have files.
    fn has(&self, segments: &[u64]) -> bool {
        let mut segments = segments.to_vec();
        segments.sort_unstable();
        self.files.keys().eq(&segments)
    }

    /// Puts the calibrations that are not stored yet, and removes those that are gone.
    fn put_calibrations(&self, curves: &BTreeMap<u32, Curve>, transaction: &mut Transaction<'_>) {
        for (version, curve) in curves {
            if self.calibrations.get(version) != Some(curve) {
                transaction.put_calibration(*version, &curve.encode());
            }
        }
        for version in self.calibrations.keys() {
            if !curves.contains_key(version) {
                transaction.remove_calibration(*version);
            }
        }
    }
}

/// The open index of a collection.
pub(super) struct Opened {
    pub(super) ids: Arc<Ids>,
    pub(super) graph: Arc<SavedGraph>,
    pub(super) index: Index,
}

/// What an index is opened of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) tables: &'a Arc<Tables>,
    pub(super) encoder: &'a Arc<CollectionEncoder>,
    pub(super) rules: VectorRules,
    /// The built-in distance.
    pub(super) base: &'a Versioned,
}

/// Opens the index. Where its files cannot be used, but all vectors can be read, they are taken out
/// of the files, and the graph is built again.
///
/// # Errors
/// [`Error::Damaged`] when a vector cannot be read.
pub(super) fn open(parts: Parts<'_>) -> Result<Opened> {
    let tables = parts.tables;
    let opened = tables.segment_files().and_then(|files| match files {
        Some(files) => open_files(parts, files),
        None => open_records(parts),
    });
    let error = match opened {
        Err(error @ (Error::Damaged { .. } | Error::Io { .. })) if !tables.is_read_only() => error,
        opened => return opened,
    };
    let is_of_files = matches!(&error, Error::Damaged { part, .. } if part == FILES)
        || are_files_damaged(tables, parts.rules)?;
    if !is_of_files || !rescue_all_vectors(tables, parts.rules)? {
        return Err(error);
    }
    tracing::warn!(%error, "files of the collection are damaged; its vectors were taken out of them, and its graph is built again");
    open_records(parts)
}

/// The segment files in errors.
const FILES: &str = "the segment files of the collection";

/// Opens the index from segment files and the vectors that are in none.
fn open_files(parts: Parts<'_>, files: SegmentFiles) -> Result<Opened> {
    let tables = parts.tables;
    let SegmentFiles {
        manifest,
        ids,
        segments,
        removed,
    } = files;
    let stored = StoredIds::open(ids)?;
    let segments: Vec<_> = segments
        .into_iter()
        .map(|(id, file)| (id, for_index(file)))
        .collect();
    let mut fresh = tables.fresh_vectors(manifest.unsealed_from)?;
    fresh.retain(|(slot, _)| !stored.holds(*slot));
    let names = names_of(tables, fresh.iter().map(|(slot, _)| *slot))?;
    let sealed = stored
        .iter()
        .filter(|(slot, _)| removed.binary_search(slot).is_err())
        .map(|(slot, id)| (id, slot));
    if !tables.are_all_ids(sealed.chain(names.iter().map(|(slot, id)| (id.as_str(), *slot)))) {
        let reason = "they hold other items than the database".to_owned();
        return Err(Error::Damaged {
            part: FILES.to_owned(),
            reason,
        });
    }
    let ids = Ids::stored(stored);
    for (slot, id) in &names {
        ids.set(*slot, id);
    }
    let opened = open_index(parts, ids, manifest.segments, &segments, &removed, fresh)?;
    let (held, stored) = (opened.index.len() as u64, tables.id_count());
    if held != stored {
        let reason = format!("they hold {held} items, and the database {stored}");
        return Err(Error::Damaged {
            part: FILES.to_owned(),
            reason,
        });
    }
    Ok(opened)
}

/// The ids of some slots, of their records; or, where one cannot be read, of the table of ids.
fn names_of(tables: &Tables, slots: impl Iterator<Item = u32>) -> Result<Vec<(u32, String)>> {
    let mut names = Vec::new();
    let mut by_slot: Option<HashMap<u32, String>> = None;
    for slot in slots {
        let name = match tables.item(slot) {
            Ok(Some(record)) => Some(record.id),
            Ok(None) | Err(Error::Damaged { .. }) => {
                if by_slot.is_none() {
                    let ids = tables.ids().map(|entry| entry.map(|(id, slot)| (slot, id)));
                    by_slot = Some(ids.collect::<Result<_>>()?);
                }
                by_slot.as_mut().and_then(|ids| ids.remove(&slot))
            }
            Err(error) => return Err(error),
        };
        let name = name.ok_or_else(|| Error::Damaged {
            part: format!("the record of slot {slot}"),
            reason: "it is missing".into(),
        })?;
        names.push((slot, name));
    }
    Ok(names)
}

/// Opens the index of segments, and of live items that are in none, in the order of their slots.
fn open_index(
    parts: Parts<'_>,
    ids: Ids,
    stamps: BTreeMap<u64, Stamp>,
    segments: &[(u64, Arc<dyn index::SegmentFile>)],
    removed: &[u32],
    fresh: Vec<(u32, Vec<f32>)>,
) -> Result<Opened> {
    let Parts { tables, rules, .. } = parts;
    // All files that are named were opened, and nobody writes one yet.
    tables.sweep_files()?;
    let ids = Arc::new(ids);
    let saved = Saved {
        calibrations: calibrations(tables)?,
        files: stamps,
    };
    let graph = SavedGraph::new(tables, &ids, saved);
    let items = fresh
        .into_iter()
        .map(|(slot, vector)| (slot, rules.prepare(vector)));
    let (config, next_slot) = (graph.config(parts), tables.next_slot()?);
    let index = Index::open(rules.dim, config, segments, next_slot, removed, items);
    let index = index.map_err(from_index)?;
    Ok(Opened { ids, graph, index })
}

/// The stored calibrations, by metric version.
fn calibrations(tables: &Tables) -> Result<BTreeMap<u32, Curve>> {
    let stored = tables.calibrations()?.into_iter();
    Ok(stored
        .filter_map(|(version, encoded)| Some((version, Curve::decode(&encoded)?)))
        .collect())
}

/// Opens the index of a collection without segment files. Its items are built into segments in the
/// background.
fn open_records(parts: Parts<'_>) -> Result<Opened> {
    let tables = parts.tables;
    let stored = tables.ids().map(|entry| entry.map(|(id, slot)| (slot, id)));
    let mut live = stored.collect::<Result<Vec<(u32, String)>>>()?;
    live.sort_unstable();
    let mut vectors = tables.fresh_vectors(0)?;
    let mut wanted = live.iter().peekable();
    vectors.retain(|(slot, _)| wanted.next_if(|(next, _)| next == slot).is_some());
    if let Some((slot, id)) = wanted.next() {
        return Err(Error::Damaged {
            part: format!("the vector of item {id:?} (slot {slot})"),
            reason: "it is missing".into(),
        });
    }
    let ids = Ids::default();
    for (slot, id) in &live {
        ids.set(*slot, id);
    }
    open_index(parts, ids, BTreeMap::new(), &[], &[], vectors)
}

impl Items {
    /// Builds all items into one graph and refines it under the active metric, without those that
    /// were removed.
    pub(crate) fn optimize(
        &self,
        progress: &(dyn Fn(f32) + Sync),
        cancel: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        self.index.optimize(progress, cancel).map_err(from_index)?;
        self.settle()
    }

    /// Cuts removed items out of all files.
    pub(crate) fn cut_removed(&self) -> Result<()> {
        if !self.tables.has_removed()? {
            return Ok(());
        }
        self.index.cut_deleted().map_err(from_index)?;
        self.settle()?;
        // What could not be written in the background is written here, or says why not.
        self.index.with_segments(|segments| {
            self.graph.save_segments(segments)?;
            let slots: BTreeSet<u32> = segments.slots().collect();
            let end = segments.unsealed_from();
            self.tables
                .forget_removed_below(end, |slot| slots.contains(&slot))
        })?;
        if self.tables.has_removed()? {
            return Err(Error::Damaged {
                part: FILES.to_owned(),
                reason: "removed items could not be cut out of them".to_owned(),
            });
        }
        Ok(())
    }

    /// Waits until the current write is done; the next ones wait while the guard lives.
    pub(crate) fn hold_still(&self) -> StillGuard<'_> {
        StillGuard {
            _items: self.lock(),
            _saved: self.graph.lock(),
        }
    }

    /// Stores what was measured on the graph.
    pub(super) fn save_graph(&self) -> Result<()> {
        if self.tables.is_read_only() {
            return Ok(());
        }
        self.index
            .with_segments(|segments| self.graph.save(segments))
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        if self.tables.is_read_only() {
            return;
        }
        // A large growing segment is sealed and stored for the next opening. If that fails, it is
        // sealed after the next opening.
        self.index.close();
        if let Err(error) = self.save_graph() {
            tracing::warn!(%error, "the calibrations could not be stored on closing");
        }
        if let Err(error) = self.tables.forget_removed_without_files() {
            tracing::warn!(%error, "the list of removed items could not be cleared on closing");
        }
        if let Err(error) = self.keywords.close(self.index.next_slot()) {
            tracing::warn!(%error, "the keyword index could not be stored on closing");
        }
    }
}

/// An error of the index as one of the crate.
pub(super) fn from_index(error: IndexError) -> Error {
    match error {
        IndexError::Cancelled => Error::Cancelled,
        IndexError::Graph { segment, reason } => Error::Damaged {
            part: FileKind::Segment(segment).to_string(),
            reason,
        },
        IndexError::DamagedFile { segment } => Error::Damaged {
            part: FileKind::Segment(segment).to_string(),
            reason: "a checksum does not fit; close the store and repair it (`affinis verify --repair`), which keeps what can be read"
                .to_owned(),
        },
        error => Error::Internal {
            source: Box::new(error),
        },
    }
}
