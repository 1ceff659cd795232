//! The linked graph on the shelf: written when the index has linked, read when the collection is
//! opened. It is there twice: as records of the database, and, once the index has come to rest,
//! with the vectors and ids as images, which are opened in place. Images are believed only if they
//! are whole and hold exactly the ids that the database holds; otherwise the records are read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Items;
use super::ids::{Ids, StoredIds};
use crate::error::{Error, Result};
use crate::index::{
    self, Config, Curve, Expected, Index, IndexError, RowFormat, Section, SegmentFile,
    SegmentRecord, Segments, Versioned,
};
use crate::model::Distance;
use crate::model::prepare;
use crate::persist::{Image, Images, ImagesRecord, Precision, Shelf, Stamp};

/// What of the index is on the shelf.
#[derive(Default)]
struct Saved {
    segments: Vec<u64>,
    calibrations: BTreeMap<u32, Curve>,
    images: BTreeMap<u64, Stamp>,
}

/// Keeps the shelf up to date with the index's segments and calibrations.
pub(super) struct SavedGraph {
    shelf: Arc<Shelf>,
    ids: Arc<Ids>,
    saved: Mutex<Saved>,
}

/// A segment's image as the index reads it.
#[derive(Debug)]
struct SegmentImage(Image);

impl SegmentFile for SegmentImage {
    fn section(&self, section: Section) -> &[u8] {
        self.0.part(section as usize)
    }

    fn verify(&self, section: Section, range: Range<usize>) -> bool {
        self.0.verify(section as usize, range)
    }

    fn is_damaged(&self) -> bool {
        self.0.is_damaged()
    }
}

pub(crate) fn for_index(image: Image) -> Arc<dyn SegmentFile> {
    image.is_read_here_and_there(Section::Rows as usize);
    Arc::new(SegmentImage(image))
}

/// Images keep rows as the database does, where these take less room than numbers of four bytes.
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

/// The format of a collection's images. Vectors that are normalised when they are read are kept so,
/// in four bytes a number.
fn row_format(precision: Precision, distance: Distance) -> Option<Arc<dyn RowFormat>> {
    let as_stored = precision != Precision::F32 && distance != Distance::Cosine;
    as_stored.then(|| Arc::new(AsStored(precision)) as Arc<dyn RowFormat>)
}

impl SavedGraph {
    fn new(shelf: &Arc<Shelf>, ids: &Arc<Ids>, saved: Saved) -> Arc<Self> {
        Arc::new(Self {
            shelf: Arc::clone(shelf),
            ids: Arc::clone(ids),
            saved: Mutex::new(saved),
        })
    }

    /// Runs something while the graph on the shelf does not change.
    pub(super) fn while_still<T>(&self, work: impl FnOnce() -> T) -> T {
        let _saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Brings the shelf up to date with the index's segments and calibrations, in one transaction.
    pub(super) fn save(&self, segments: &Segments<'_>) -> Result<()> {
        let (ids, curves) = (segments.ids(), segments.calibrations());
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.segments == ids && saved.calibrations == curves {
            return Ok(());
        }
        let mut writes = self.shelf.write();
        if saved.segments != ids {
            writes.retain_segments(&ids)?;
            writes.remove_images();
        }
        for id in ids.iter().filter(|id| !saved.segments.contains(id)) {
            if let Some(record) = segments.record(*id) {
                writes.put_segment(*id, &record.chunks);
            }
        }
        for (version, curve) in curves
            .iter()
            .filter(|(version, curve)| saved.calibrations.get(version) != Some(curve))
        {
            writes.put_calibration(*version, &curve.to_stored())?;
        }
        for version in saved
            .calibrations
            .keys()
            .filter(|version| !curves.contains_key(version))
        {
            writes.remove_calibration(*version);
        }
        writes.commit()?;
        (saved.segments, saved.calibrations) = (ids, curves);
        Ok(())
    }

    /// Gives the images up: the next opening reads the records.
    fn drop_files(&self) -> Result<()> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut saved.images).is_empty() {
            return Ok(());
        }
        self.shelf.drop_images()
    }

    /// Gives every segment an image, and the database the record of them. Gives the images that are
    /// new.
    fn save_files(&self, segments: &Segments<'_>) -> Result<Vec<(u64, Arc<dyn SegmentFile>)>> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.segments != segments.ids() {
            return Ok(Vec::new());
        }
        let mut slots: Vec<u32> = segments.slots().collect();
        slots.sort_unstable();
        let ids = slots
            .iter()
            .filter_map(|slot| Some((*slot, self.ids.get(*slot)?)));
        let Some(parts) = StoredIds::parts(ids) else {
            return Ok(Vec::new());
        };
        let ids = self
            .shelf
            .write_ids_image(&parts.each_ref().map(Vec::as_slice))?;
        let mut fresh = Vec::new();
        let mut images = BTreeMap::new();
        for id in saved.segments.clone() {
            let known = saved
                .images
                .get(&id)
                .copied()
                .filter(|_| segments.is_in_file(id));
            let stamp = if let Some(stamp) = known {
                stamp
            } else {
                // What a damaged image has must not get checksums that fit.
                let Some(parts) = segments.file_sections(id) else {
                    return Ok(Vec::new());
                };
                let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
                let stamp = self.shelf.write_segment_image(id, &parts)?;
                fresh.push((id, for_index(self.shelf.segment_image(id, stamp)?)));
                stamp
            };
            images.insert(id, stamp);
        }
        let record = ImagesRecord {
            ids,
            segments: images,
            unlinked_from: segments.unsealed_from(),
        };
        let mut writes = self.shelf.write();
        writes.put_images(&record, |slot| slots.binary_search(&slot).is_ok())?;
        writes.commit()?;
        self.shelf.sweep_images(Some(&record))?;
        saved.images = record.segments;
        Ok(fresh)
    }

    fn config(self: &Arc<Self>, distance: Distance, base: &Versioned) -> Config {
        let mut config = Config::new(Arc::clone(&base.metric));
        config.format = row_format(self.shelf.precision, distance);
        config.calibrations.clone_from(
            &self
                .saved
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .calibrations,
        );
        let saver = Arc::clone(self);
        config.on_change = Some(Arc::new(move |segments| {
            if let Err(error) = saver.save(segments) {
                tracing::warn!(%error, "the linked graph could not be stored; it will be linked again at the next opening");
            }
        }));
        let saver = Arc::clone(self);
        config.on_idle = Some(Arc::new(move |segments| {
            saver.save_files(segments).unwrap_or_else(|error| {
                tracing::warn!(%error, "images could not be written; the next opening reads the database");
                Vec::new()
            })
        }));
        config
    }
}

/// A collection's index as it was opened.
pub(super) struct Opened {
    pub(super) ids: Arc<Ids>,
    pub(super) graph: Arc<SavedGraph>,
    pub(super) index: Index,
}

/// Opens the index: from images where they can be used, else from the records.
pub(super) fn open(
    shelf: &Arc<Shelf>,
    dim: usize,
    distance: Distance,
    base: &Versioned,
) -> Result<Opened> {
    match shelf.images().and_then(|images| {
        images
            .map(|images| map(shelf, images, dim, distance, base))
            .transpose()
    }) {
        Ok(Some(opened)) => return Ok(opened),
        Ok(None) => {}
        Err(error @ Error::Poisoned(_)) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "images of the collection cannot be used; its records are read instead");
            shelf.drop_images()?;
        }
    }
    restore(shelf, dim, distance, base)
}

/// Opens the index from images.
fn map(
    shelf: &Arc<Shelf>,
    images: Images,
    dim: usize,
    distance: Distance,
    base: &Versioned,
) -> Result<Opened> {
    let Images {
        record,
        ids,
        segments,
        removed,
    } = images;
    let stored = StoredIds::open(ids)?;
    let segments: Vec<_> = segments
        .into_iter()
        .map(|(id, image)| (id, for_index(image)))
        .collect();
    let fresh: Vec<(u32, Vec<f32>)> = shelf
        .vectors_from(record.unlinked_from)
        .filter(|entry| {
            entry
                .as_ref()
                .map_or(true, |(slot, _)| !stored.holds(*slot))
        })
        .collect::<Result<_>>()?;
    let names: Vec<(u32, String)> = fresh
        .iter()
        .map(|(slot, _)| match shelf.item(*slot)? {
            Some(record) => Ok((*slot, record.id)),
            None => Err(Error::Damaged {
                part: format!("the record of slot {slot}"),
                reason: "it is missing".into(),
            }),
        })
        .collect::<Result<_>>()?;
    let linked = stored
        .iter()
        .filter(|(slot, _)| removed.binary_search(slot).is_err())
        .map(|(slot, id)| (id, slot));
    if !shelf.are_all_ids(linked.chain(names.iter().map(|(slot, id)| (id.as_str(), *slot)))) {
        let reason = "they hold other items than the database".to_owned();
        return Err(Error::Damaged {
            part: "the images of the collection".to_owned(),
            reason,
        });
    }
    let ids = Ids::stored(stored);
    for (slot, id) in &names {
        ids.set(*slot, id);
    }
    let ids = Arc::new(ids);
    let calibrations = calibrations(shelf)?;
    let known = segments.iter().map(|(id, _)| *id).collect();
    let graph = SavedGraph::new(
        shelf,
        &ids,
        Saved {
            segments: known,
            calibrations,
            images: record.segments,
        },
    );
    let items = fresh
        .into_iter()
        .map(|(slot, vector)| (slot, prepare(distance, vector)));
    let index = Index::open(
        dim,
        graph.config(distance, base),
        &segments,
        shelf.next_slot()?,
        &removed,
        items,
    )
    .map_err(from_index)?;
    if index.len() as u64 != shelf.id_count() {
        let reason = format!(
            "they hold {} items, and the database {}",
            index.len(),
            shelf.id_count()
        );
        return Err(Error::Damaged {
            part: "the images of the collection".to_owned(),
            reason,
        });
    }
    Ok(Opened { ids, graph, index })
}

/// The stored calibrations, by metric version.
fn calibrations(shelf: &Shelf) -> Result<BTreeMap<u32, Curve>> {
    let stored = shelf.calibrations()?.into_iter();
    Ok(stored
        .map(|(version, points)| (version, Curve::from_stored(points)))
        .collect())
}

/// What is wrong with the images, part by part.
pub(super) fn check_files(
    shelf: &Shelf,
    dim: usize,
    distance: Distance,
    next_slot: u32,
) -> Vec<(String, String)> {
    let images = match shelf.images() {
        Ok(None) => return Vec::new(),
        Ok(Some(images)) => images,
        Err(error) => return vec![("images".to_owned(), error.to_string())],
    };
    let format = row_format(shelf.precision, distance);
    let expected = Expected {
        dim,
        next_slot,
        format: format.as_ref(),
    };
    let mut wrong = Vec::new();
    if let Err(error) = StoredIds::open(images.ids) {
        wrong.push(("the image of ids".to_owned(), error.to_string()));
    }
    for (id, image) in images.segments {
        let vector = |slot| {
            shelf
                .vector(slot)
                .ok()
                .flatten()
                .map(|vector| prepare(distance, vector))
        };
        if let Err(error) = index::check_segment_file(id, &for_index(image), expected, vector) {
            wrong.push((format!("the image of segment {id}"), error.to_string()));
        }
    }
    wrong
}

/// The live slots, in their order.
struct Live {
    ids: Vec<(u32, String)>,
    /// The vectors as the index takes them, one a slot.
    vectors: Vec<(u32, Vec<f32>)>,
}

/// Reads the live slots; each must have a vector.
fn live(shelf: &Shelf, distance: Distance) -> Result<Live> {
    let ids = || {
        shelf
            .ids()
            .map(|entry| entry.map(|(id, slot)| (slot, id)))
            .collect::<Result<Vec<_>>>()
    };
    let prepared = |entry: Result<(u32, Vec<f32>)>| {
        entry.map(|(slot, vector)| (slot, prepare(distance, vector)))
    };
    let vectors = || shelf.vectors().map(prepared).collect::<Result<Vec<_>>>();
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

/// Opens the index with the stored graph; what the graph does not cover is linked again in the
/// background.
fn restore(shelf: &Arc<Shelf>, dim: usize, distance: Distance, base: &Versioned) -> Result<Opened> {
    let live = live(shelf, distance)?;
    let ids = Ids::default();
    for (slot, id) in &live.ids {
        ids.set(*slot, id);
    }
    let ids = Arc::new(ids);
    let records: Vec<SegmentRecord> = shelf
        .graph()?
        .into_iter()
        .map(|(id, chunks)| SegmentRecord { id, chunks })
        .collect();
    let mut known: Vec<u64> = records.iter().map(|r| r.id).collect();
    let calibrations = calibrations(shelf)?;
    let saved = Saved {
        segments: known.clone(),
        calibrations,
        images: BTreeMap::new(),
    };
    let graph = SavedGraph::new(shelf, &ids, saved);
    let restored = Index::restore(
        dim,
        graph.config(distance, base),
        &records,
        shelf.next_slot()?,
        live.vectors,
    );
    let restored = restored.map_err(from_index)?;
    for (id, error) in &restored.refused {
        tracing::warn!(segment = id, %error, "a stored segment is damaged; its items are linked again");
        known.retain(|known| known != id);
    }
    graph
        .saved
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .segments = known;
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

    /// The index's errors as the crate's. A damaged image is given up.
    pub(super) fn index_error(&self, error: IndexError) -> Error {
        if let IndexError::DamagedFile { segment } = error
            && let Err(error) = self.graph.drop_files()
        {
            tracing::warn!(segment, %error, "a damaged image could not be removed");
        }
        from_index(error)
    }

    /// Stores the graph as it is now.
    pub(super) fn save_graph(&self) -> Result<()> {
        self.index
            .with_segments(|segments| self.graph.save(segments))
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        // A large head is linked and kept for the next opening; failing that, it is linked again
        // then.
        self.index.close();
        let nothing_linked = self
            .index
            .with_segments(|segments| segments.ids().is_empty());
        let saved = self.save_graph().and_then(|()| {
            if nothing_linked {
                self.shelf.forget_removed()
            } else {
                Ok(())
            }
        });
        if let Err(error) = saved {
            tracing::warn!(%error, "the linked graph could not be stored on closing");
        }
    }
}

/// The index's errors as the crate's.
pub(super) fn from_index(error: IndexError) -> Error {
    match error {
        IndexError::Cancelled => Error::Cancelled,
        IndexError::DamagedFile { segment } => Error::Damaged {
            part: format!("the image of segment {segment}"),
            reason: "a checksum does not fit; open the store again: the image is made anew from the database"
                .to_owned(),
        },
        error => Error::Invalid(error.to_string()),
    }
}
