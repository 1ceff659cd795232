//! Which images a collection has, and what the database must add to them.
//!
//! One record names the images of all linked segments and of their items' ids. It goes when the
//! segments change, and comes again when all of them have images. Together with the items from
//! `unlinked_from` on, and without the slots in the tree `removed`, they are the collection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::disk::DiskOp;
use super::image::{self, Image, Stamp};
use super::shelf::{FORMAT, IDS, META, REMOVED, Shelf, entry_hash, read_be};
use super::tally::Count;
use super::writes::Writes;
use super::{codec, lock};
use crate::error::Result;

/// Where images are, beside sled's files.
pub(super) const DIR: &str = "images";
/// The key of the record in the tree `meta`.
pub(super) const RECORD: &str = "images";

/// The images of a state of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImagesRecord {
    /// Of the ids of the segments' items.
    pub(crate) ids: Stamp,
    /// Of the segments.
    pub(crate) segments: BTreeMap<u64, Stamp>,
    /// Items in slots from here on may be in no segment.
    pub(crate) unlinked_from: u32,
}

/// Images that were opened.
pub(crate) struct Images {
    pub(crate) record: ImagesRecord,
    pub(crate) ids: Image,
    pub(crate) segments: Vec<(u64, Image)>,
    /// Slots whose items were removed, increasing. Those that were in a segment then are all here.
    pub(crate) removed: Vec<u32>,
}

/// The file of an image of ids. Each has a name of its own: the record may yet name the one before.
fn ids_name(stamp: Stamp) -> String {
    format!("ids-{:08x}", stamp.header())
}

impl Shelf {
    fn image_path(&self, name: &str) -> PathBuf {
        self.database()
            .images_dir()
            .join(format!("{}-{name}", self.number))
    }

    /// Opens the images that the database names; `None` where it names none.
    ///
    /// # Errors
    /// When one is missing or damaged. The database can do without.
    pub(crate) fn images(&self) -> Result<Option<Images>> {
        let Some(bytes) = self.get(META, RECORD.as_bytes())? else {
            return Ok(None);
        };
        let record: ImagesRecord =
            codec::decode(FORMAT, &bytes, &|| "the record of images".to_owned())?;
        let ids = self.open_image(&ids_name(record.ids), record.ids)?;
        let segment = |(id, stamp): (&u64, &Stamp)| Ok((*id, self.segment_image(*id, *stamp)?));
        let segments = record.segments.iter().map(segment).collect::<Result<_>>()?;
        let removed = self.removed().collect::<Result<_>>()?;
        Ok(Some(Images {
            record,
            ids,
            segments,
            removed,
        }))
    }

    fn removed(&self) -> impl Iterator<Item = Result<u32>> {
        self.raw(REMOVED)
            .map(|entry| read_be(&entry?.0, "the tree of removed slots"))
    }

    fn open_image(&self, name: &str, stamp: Stamp) -> Result<Image> {
        Image::open(&self.image_path(name), stamp, &self.database().disk)
    }

    fn write_image(&self, name: impl Fn(Stamp) -> String, parts: &[&[u8]]) -> Result<Stamp> {
        let dir = self.database().images_dir();
        self.database()
            .disk
            .file(DiskOp::Write, &dir, || std::fs::create_dir_all(&dir))?;
        image::write(
            |stamp| self.image_path(&name(stamp)),
            parts,
            &self.database().disk,
        )
    }

    /// Opens a segment's image.
    pub(crate) fn segment_image(&self, segment: u64, stamp: Stamp) -> Result<Image> {
        self.open_image(&segment.to_string(), stamp)
    }

    /// Writes a segment's image. It counts once a record names it.
    pub(crate) fn write_segment_image(&self, segment: u64, parts: &[&[u8]]) -> Result<Stamp> {
        self.write_image(|_| segment.to_string(), parts)
    }

    /// Writes the image of the segments' ids. It counts once a record names it.
    pub(crate) fn write_ids_image(&self, parts: &[&[u8]]) -> Result<Stamp> {
        self.write_image(ids_name, parts)
    }

    /// Removes the files of images that the record does not name.
    pub(crate) fn sweep_images(&self, record: Option<&ImagesRecord>) -> Result<()> {
        let names = record.into_iter().flat_map(|record| {
            let segments = record.segments.keys().map(u64::to_string);
            segments.chain([ids_name(record.ids)])
        });
        let keep: Vec<PathBuf> = names.map(|name| self.image_path(&name)).collect();
        let database = self.database();
        image::sweep(
            &database.images_dir(),
            &format!("{}-", self.number),
            &keep,
            &database.disk,
        )
    }

    /// Does without images from now on: the next opening reads the database.
    pub(crate) fn drop_images(&self) -> Result<()> {
        let mut writes = self.write();
        writes.remove_images();
        writes.commit()?;
        self.sweep_images(None)
    }

    /// Forgets which slots were removed, where no segment has one.
    pub(crate) fn forget_removed(&self) -> Result<()> {
        if self.removed().next().is_none() {
            return Ok(());
        }
        let mut writes = self.write();
        writes.forget_removed()?;
        writes.commit()
    }

    /// Whether these are exactly the ids that are stored, with their slots.
    pub(crate) fn are_all_ids<'a>(&self, ids: impl Iterator<Item = (&'a str, u32)>) -> bool {
        let mut found = Count::default();
        for (id, slot) in ids {
            found.add(entry_hash(IDS, id.as_bytes(), &slot.to_be_bytes()));
        }
        found == lock(&self.tally)[IDS]
    }
}

impl Writes<'_> {
    /// Names the images of the graph as it is stored. `holds` says whether a segment has a slot:
    /// only such slots, and those that may yet get into one, are remembered as removed.
    pub(crate) fn put_images(
        &mut self,
        record: &ImagesRecord,
        holds: impl Fn(u32) -> bool,
    ) -> Result<()> {
        let shelf = self.shelf();
        for slot in shelf.removed() {
            let slot = slot?;
            if slot < record.unlinked_from && !holds(slot) {
                self.batch(REMOVED).remove(&slot.to_be_bytes());
            }
        }
        self.batch(META)
            .insert(RECORD, codec::encode(FORMAT, record)?);
        Ok(())
    }

    /// The graph is about to change: the images are not its own any more.
    pub(crate) fn remove_images(&mut self) {
        self.batch(META).remove(RECORD);
    }
}
