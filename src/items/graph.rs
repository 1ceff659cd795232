//! The stored form of a collection's index: written when the index has built a segment, read when
//! the collection is opened.
//!
//! The graph is stored twice: as records of the database and, once the index is idle, in segment
//! files, with the vectors and ids. A collection is opened from its segment files if they are sound
//! and hold exactly the ids that the database holds, and otherwise from its records.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Items;
use super::encode::CollectionEncoder;
use super::ids::{Ids, StoredIds};
use super::questions::Questions;
use crate::index::{
    self, Config, Curve, Expected, Index, IndexError, RowFormat, Section, SegmentRecord, Segments,
    Versioned,
};
use crate::model::error::{Error, Result};
use crate::model::{Distance, VectorRules};
use crate::storage::{Manifest, Precision, SegmentFile, SegmentFiles, Stamp, Tables};

/// The segments, calibrations and segment files that are stored.
#[derive(Default)]
struct Saved {
    segments: Vec<u64>,
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
/// keep `f32`, because their vectors are normalised and differ from the stored ones.
fn row_format(precision: Precision, distance: Distance) -> Option<Arc<dyn RowFormat>> {
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

    /// Stores the segments and calibrations of the index that are not stored yet, and removes those
    /// that are gone, in one transaction.
    pub(super) fn save(&self, segments: &Segments<'_>) -> Result<()> {
        let (ids, curves) = (segments.ids(), segments.calibrations());
        let mut saved = self.lock();
        if saved.segments == ids && saved.calibrations == curves {
            return Ok(());
        }
        let mut transaction = self.tables.transaction();
        if saved.segments != ids {
            transaction.retain_segments(&ids)?;
            transaction.remove_manifest();
        }
        for id in ids.iter().filter(|id| !saved.segments.contains(id)) {
            if let Some(record) = segments.record(*id) {
                transaction.put_segment(*id, &record.chunks);
            }
        }
        for (version, curve) in curves
            .iter()
            .filter(|(version, curve)| saved.calibrations.get(version) != Some(curve))
        {
            transaction.put_calibration(*version, &curve.encode());
        }
        for version in saved
            .calibrations
            .keys()
            .filter(|version| !curves.contains_key(version))
        {
            transaction.remove_calibration(*version);
        }
        transaction.commit()?;
        (saved.segments, saved.calibrations) = (ids, curves);
        Ok(())
    }

    /// Removes the segment files: the next opening reads the records.
    fn drop_segment_files(&self) -> Result<()> {
        let mut saved = self.lock();
        if std::mem::take(&mut saved.files).is_empty() {
            return Ok(());
        }
        self.tables.drop_segment_files()
    }

    /// Writes the files of all segments that have none, and the manifest. Returns the new files by
    /// segment.
    fn save_segment_files(
        &self,
        segments: &Segments<'_>,
    ) -> Result<Vec<(u64, Arc<dyn index::SegmentFile>)>> {
        let mut saved = self.lock();
        if saved.segments != segments.ids() {
            return Ok(Vec::new());
        }
        let mut slots: Vec<u32> = segments.slots().collect();
        slots.sort_unstable();
        let ids = slots
            .iter()
            .filter_map(|slot| Some((*slot, self.ids.get(*slot)?)));
        let Some(sections) = StoredIds::sections(ids) else {
            return Ok(Vec::new());
        };
        let ids = self
            .tables
            .write_ids_file(&sections.each_ref().map(Vec::as_slice))?;
        let mut fresh = Vec::new();
        let mut files = BTreeMap::new();
        for id in saved.segments.clone() {
            let known = saved
                .files
                .get(&id)
                .copied()
                .filter(|_| segments.is_in_file(id));
            let stamp = if let Some(stamp) = known {
                stamp
            } else {
                // A damaged file must not be written again with checksums that fit its damage.
                let Some(sections) = segments.file_sections(id) else {
                    return Ok(Vec::new());
                };
                let sections: Vec<&[u8]> = sections.iter().map(AsRef::as_ref).collect();
                let stamp = self.tables.write_segment_file(id, &sections)?;
                fresh.push((id, for_index(self.tables.segment_file(id, stamp)?)));
                stamp
            };
            files.insert(id, stamp);
        }
        let manifest = Manifest {
            ids,
            segments: files,
            unsealed_from: segments.unsealed_from(),
        };
        self.tables
            .put_manifest(&manifest, |slot| slots.binary_search(&slot).is_ok())?;
        self.tables.sweep_segment_files(Some(&manifest))?;
        saved.files = manifest.segments;
        Ok(fresh)
    }

    fn config(self: &Arc<Self>, parts: Parts<'_>) -> Config {
        let mut config = Config::new(Arc::clone(&parts.base.metric));
        config.format = row_format(self.tables.precision, parts.rules.distance);
        let questions = Questions::new(parts.tables, parts.encoder, parts.rules);
        config.questions = Some(Arc::new(move |slots| questions.of(slots)));
        config.calibrations.clone_from(&self.lock().calibrations);
        let saver = Arc::clone(self);
        config.on_change = Some(Arc::new(move |segments| {
            if let Err(error) = saver.save(segments) {
                tracing::warn!(%error, "the graph could not be stored; it will be built again at the next opening");
            }
        }));
        let saver = Arc::clone(self);
        config.on_idle = Some(Arc::new(move |segments| {
            saver.save_segment_files(segments).unwrap_or_else(|error| {
                tracing::warn!(%error, "segment files could not be written; the next opening reads the records");
                Vec::new()
            })
        }));
        config
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

/// Opens the index: from segment files where they can be used, otherwise from the records.
pub(super) fn open(parts: Parts<'_>) -> Result<Opened> {
    let tables = parts.tables;
    match tables
        .segment_files()
        .and_then(|files| files.map(|files| open_files(parts, files)).transpose())
    {
        Ok(Some(opened)) => return Ok(opened),
        Ok(None) => {}
        Err(error @ Error::Poisoned(_)) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "segment files of the collection cannot be used; its records are read instead");
            tables.drop_segment_files()?;
        }
    }
    open_records(parts)
}

/// Opens the index from segment files.
fn open_files(parts: Parts<'_>, files: SegmentFiles) -> Result<Opened> {
    let Parts { tables, rules, .. } = parts;
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
    let fresh: Vec<(u32, Vec<f32>)> = tables
        .vectors_from(manifest.unsealed_from)
        .filter(|entry| {
            entry
                .as_ref()
                .map_or(true, |(slot, _)| !stored.holds(*slot))
        })
        .collect::<Result<_>>()?;
    let names: Vec<(u32, String)> = fresh
        .iter()
        .map(|(slot, _)| match tables.item(*slot)? {
            Some(record) => Ok((*slot, record.id)),
            None => Err(Error::Damaged {
                part: format!("the record of slot {slot}"),
                reason: "it is missing".into(),
            }),
        })
        .collect::<Result<_>>()?;
    let sealed = stored
        .iter()
        .filter(|(slot, _)| removed.binary_search(slot).is_err())
        .map(|(slot, id)| (id, slot));
    if !tables.are_all_ids(sealed.chain(names.iter().map(|(slot, id)| (id.as_str(), *slot)))) {
        let reason = "they hold other items than the database".to_owned();
        return Err(Error::Damaged {
            part: "the segment files of the collection".to_owned(),
            reason,
        });
    }
    let ids = Ids::stored(stored);
    for (slot, id) in &names {
        ids.set(*slot, id);
    }
    let ids = Arc::new(ids);
    let calibrations = calibrations(tables)?;
    let known = segments.iter().map(|(id, _)| *id).collect();
    let graph = SavedGraph::new(
        tables,
        &ids,
        Saved {
            segments: known,
            calibrations,
            files: manifest.segments,
        },
    );
    let items = fresh
        .into_iter()
        .map(|(slot, vector)| (slot, rules.prepare(vector)));
    let index = Index::open(
        rules.dim,
        graph.config(parts),
        &segments,
        tables.next_slot()?,
        &removed,
        items,
    )
    .map_err(from_index)?;
    if index.len() as u64 != tables.id_count() {
        let reason = format!(
            "they hold {} items, and the database {}",
            index.len(),
            tables.id_count()
        );
        return Err(Error::Damaged {
            part: "the segment files of the collection".to_owned(),
            reason,
        });
    }
    Ok(Opened { ids, graph, index })
}

/// The stored calibrations, by metric version.
fn calibrations(tables: &Tables) -> Result<BTreeMap<u32, Curve>> {
    let stored = tables.calibrations()?.into_iter();
    Ok(stored
        .filter_map(|(version, encoded)| Some((version, Curve::decode(&encoded)?)))
        .collect())
}

/// The damaged segment files of a collection, each with the damage.
pub(super) fn check_segment_files(
    tables: &Tables,
    rules: VectorRules,
    next_slot: u32,
) -> Vec<(String, String)> {
    let files = match tables.segment_files() {
        Ok(None) => return Vec::new(),
        Ok(Some(files)) => files,
        Err(error) => return vec![("the segment files".to_owned(), error.to_string())],
    };
    let format = row_format(tables.precision, rules.distance);
    let expected = Expected {
        dim: rules.dim,
        next_slot,
        format: format.as_ref(),
    };
    let mut damaged = Vec::new();
    if let Err(error) = StoredIds::open(files.ids) {
        damaged.push(("the segment file of ids".to_owned(), error.to_string()));
    }
    for (id, file) in files.segments {
        let vector = |slot| {
            tables
                .vector(slot)
                .ok()
                .flatten()
                .map(|vector| rules.prepare(vector))
        };
        if let Err(error) = index::check_segment_file(id, &for_index(file), expected, vector) {
            damaged.push((format!("the file of segment {id}"), error.to_string()));
        }
    }
    damaged
}

/// The live items, in the order of their slots.
struct Live {
    ids: Vec<(u32, String)>,
    /// Their vectors, prepared for the index.
    vectors: Vec<(u32, Vec<f32>)>,
}

/// The live items of the tables, each of which must have a vector.
fn live(tables: &Tables, rules: VectorRules) -> Result<Live> {
    let ids = || {
        tables
            .ids()
            .map(|entry| entry.map(|(id, slot)| (slot, id)))
            .collect::<Result<Vec<_>>>()
    };
    let prepared =
        |entry: Result<(u32, Vec<f32>)>| entry.map(|(slot, vector)| (slot, rules.prepare(vector)));
    let vectors = || tables.vectors().map(prepared).collect::<Result<Vec<_>>>();
    let (ids, vectors) = rayon::join(ids, vectors);
    let (mut ids, mut vectors) = (ids?, vectors?);
    ids.sort_unstable();
    let mut wanted = ids.iter().peekable();
    vectors.retain(|(slot, _)| wanted.next_if(|(next, _)| next == slot).is_some());
    match wanted.next() {
        Some((slot, id)) => Err(no_vector(*slot, id)),
        None => Ok(Live { ids, vectors }),
    }
}

fn no_vector(slot: u32, id: &str) -> Error {
    Error::Damaged {
        part: format!("the vector of item {id:?} (slot {slot})"),
        reason: "it is missing".into(),
    }
}

/// Opens the index from the records. Items that no stored graph covers are built into a segment in
/// the background.
fn open_records(parts: Parts<'_>) -> Result<Opened> {
    let Parts { tables, rules, .. } = parts;
    let live = live(tables, rules)?;
    let ids = Ids::default();
    for (slot, id) in &live.ids {
        ids.set(*slot, id);
    }
    let ids = Arc::new(ids);
    let records: Vec<SegmentRecord> = tables
        .graph()?
        .into_iter()
        .map(|(id, chunks)| SegmentRecord { id, chunks })
        .collect();
    let mut known: Vec<u64> = records.iter().map(|r| r.id).collect();
    let calibrations = calibrations(tables)?;
    let saved = Saved {
        segments: known.clone(),
        calibrations,
        files: BTreeMap::new(),
    };
    let graph = SavedGraph::new(tables, &ids, saved);
    let restored = Index::restore(
        rules.dim,
        graph.config(parts),
        &records,
        tables.next_slot()?,
        live.vectors,
    );
    let restored = restored.map_err(from_index)?;
    for (id, error) in &restored.refused {
        tracing::warn!(segment = id, %error, "a stored graph is damaged; it is built again");
        known.retain(|known| known != id);
    }
    graph.lock().segments = known;
    Ok(Opened {
        ids,
        graph,
        index: restored.index,
    })
}

impl Items {
    /// Builds all items into one graph and refines it under the active metric, without those that
    /// were removed.
    pub(crate) fn optimize(
        &self,
        progress: &(dyn Fn(f32) + Sync),
        cancel: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        self.index
            .optimize(progress, cancel)
            .map_err(|e| self.index_error(e))?;
        self.settle()
    }

    /// An error of the index as one of the crate. On a damaged segment file, all files are removed.
    pub(super) fn index_error(&self, error: IndexError) -> Error {
        if let IndexError::DamagedFile { segment } = error
            && let Err(error) = self.graph.drop_segment_files()
        {
            tracing::warn!(segment, %error, "a damaged segment file could not be removed");
        }
        from_index(error)
    }

    /// Waits until the current write is done; the next ones wait while the guard lives.
    pub(crate) fn hold_still(&self) -> StillGuard<'_> {
        StillGuard {
            _items: self.lock(),
            _saved: self.graph.lock(),
        }
    }

    /// Stores the graph as it is now.
    pub(super) fn save_graph(&self) -> Result<()> {
        self.index
            .with_segments(|segments| self.graph.save(segments))
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        // A large growing segment is sealed and stored for the next opening. If that fails, it is
        // sealed after the next opening.
        self.index.close();
        let has_no_segments = self
            .index
            .with_segments(|segments| segments.ids().is_empty());
        let saved = self.save_graph().and_then(|()| {
            if has_no_segments {
                self.tables.forget_removed(|_| true)
            } else {
                Ok(())
            }
        });
        if let Err(error) = saved {
            tracing::warn!(%error, "the graph could not be stored on closing");
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
        IndexError::DamagedFile { segment } => Error::Damaged {
            part: format!("the file of segment {segment}"),
            reason: "a checksum does not fit; open the store again: the file is written again from the database"
                .to_owned(),
        },
        error => Error::Internal {
            source: Box::new(error),
        },
    }
}
