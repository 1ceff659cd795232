//! [`CollectionBuilder`]: creating and opening collections.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use super::Store;
use crate::collection::{Collection, Inner};
use crate::encode::{Encoder, Similarity};
use crate::items::{CollectionInfo, check_encoder};
use crate::learning::{History, check_user_share};
use crate::model::error::{Error, Result};
use crate::model::{Distance, Item, Language, MAX_DIM, MAX_ID_BYTES};
use crate::storage::{CollectionRecord, Database, EncoderRecord, Precision};

/// Open collections by name.
pub(super) type Opened = HashMap<String, Arc<Inner>>;

/// A collection that is being created. When it is dropped before it was entered into the catalogue,
/// all that was stored of it is removed, even where the caller's iterator of items panics.
struct Begun<'a> {
    open: &'a mut Opened,
    database: &'a Database,
    name: &'a str,
    number: u32,
    entered: bool,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.entered {
            return;
        }
        self.open.remove(self.name);
        if let Err(error) = self.database.sweep(self.number) {
            tracing::warn!(%error, "an unfinished collection is removed at the next opening");
        }
    }
}

/// Settings of a collection that is created, or expectations of one that is opened.
///
/// A new collection needs an encoder or a dimension. An existing one is opened with the settings it
/// was created with; settings that are given here must equal them.
#[must_use = "end with `create`, `open` or `open_or_create`"]
pub struct CollectionBuilder {
    store: Store,
    name: String,
    encoder: Option<Arc<dyn Encoder>>,
    dim: Option<usize>,
    distance: Option<Distance>,
    precision: Option<Precision>,
    keywords: Option<Language>,
    refit_after: Option<usize>,
    user_share: Option<f64>,
}

impl std::fmt::Debug for CollectionBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CollectionBuilder")
            .field("name", &self.name)
            .field("dim", &self.dim)
            .finish_non_exhaustive()
    }
}

impl CollectionBuilder {
    pub(crate) fn new(store: Store, name: &str) -> Self {
        Self {
            store,
            name: name.to_owned(),
            encoder: None,
            dim: None,
            distance: None,
            precision: None,
            keywords: None,
            refit_after: None,
            user_share: None,
        }
    }

    /// Sets the encoder of its texts, from which the dimension follows.
    pub fn encoder(self, encoder: impl Encoder + 'static) -> Self {
        self.encoder_arc(Arc::new(encoder))
    }

    /// Sets the encoder of its texts, which other collections may share.
    pub fn encoder_arc(mut self, encoder: Arc<dyn Encoder>) -> Self {
        self.encoder = Some(encoder);
        self
    }

    /// Sets the dimension of its vectors, 1 to 4,096. Not needed with an encoder.
    pub fn dim(mut self, dim: usize) -> Self {
        self.dim = Some(dim);
        self
    }

    /// Sets the built-in distance. By default it is the one that the encoder's vectors are made for,
    /// and squared Euclidean where it says none.
    pub fn distance(mut self, distance: Distance) -> Self {
        self.distance = Some(distance);
        self
    }

    /// Sets the precision of stored vectors; `f32` by default.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// Turns on keyword search over the texts, in a language; off by default.
    /// [`Collection::set_keywords`] does so later.
    pub fn keywords(mut self, language: Language) -> Self {
        self.keywords = Some(language);
        self
    }

    /// Sets the number of judgements after which a refit begins by itself, in the background; 0,
    /// the default, for never. The setting holds for the open collection and is not stored.
    /// Searches never wait for a refit, one runs at a time, and none begins after the last handle
    /// is dropped. [`Collection::background_refit`] returns the outcome of the last one.
    pub fn refit_after(mut self, judgements: usize) -> Self {
        self.refit_after = Some(judgements);
        self
    }

    /// Sets the [share of one user](crate::learning::Refit::user_share) in refits that do not set it, also in
    /// those in the background and after forgetting. The setting holds for the open collection and
    /// is not stored.
    pub fn user_share(mut self, share: f64) -> Self {
        self.user_share = Some(share);
        self
    }

    /// Creates the collection.
    ///
    /// # Errors
    /// [`Error::CollectionExists`]; [`Error::InvalidName`]; [`Error::MissingDimension`],
    /// [`Error::EncoderDimension`] or [`Error::InvalidSetting`] for its settings; storage errors.
    pub fn create(self) -> Result<Collection> {
        let store = self.store.clone();
        let mut open = store.lock_collections();
        store.refresh_if_due(&mut open)?;
        if store.database().collection(&self.name)?.is_some() {
            return Err(Error::CollectionExists(self.name));
        }
        self.create_filled(&mut open, |_| Ok(()))
    }

    /// Creates the collection with items and a [`History`], as an export has them: all of it,
    /// durably, or nothing.
    ///
    /// # Errors
    /// Those of [`Self::create`], [`Collection::add`] and [`Collection::restore`]; there is no
    /// collection then.
    pub fn create_with(
        self,
        items: impl IntoIterator<Item = Item>,
        history: &History,
    ) -> Result<Collection> {
        let store = self.store.clone();
        let mut open = store.lock_collections();
        store.refresh_if_due(&mut open)?;
        if store.database().collection(&self.name)?.is_some() {
            return Err(Error::CollectionExists(self.name));
        }
        self.create_filled(&mut open, |collection| {
            collection.add(items)?;
            collection.restore(history)
        })
    }

    /// Opens the collection.
    ///
    /// # Errors
    /// [`Error::CollectionMissing`]; [`Error::EncoderMismatch`] or [`Error::SettingMismatch`] when
    /// it was created with other settings than those given here; [`Error::Damaged`].
    pub fn open(self) -> Result<Collection> {
        let store = self.store.clone();
        let mut open = store.lock_collections();
        store.refresh_if_due(&mut open)?;
        if let Some(record) = store.database().collection(&self.name)? {
            return self.open_existing(&mut open, &record);
        }
        Err(store.missing(&self.name)?)
    }

    /// Opens the collection, or creates it where there is none.
    ///
    /// # Errors
    /// Those of [`Self::open`] and [`Self::create`].
    pub fn open_or_create(self) -> Result<Collection> {
        let store = self.store.clone();
        let mut open = store.lock_collections();
        store.refresh_if_due(&mut open)?;
        match store.database().collection(&self.name)? {
            Some(record) => self.open_existing(&mut open, &record),
            None => self.create_filled(&mut open, |_| Ok(())),
        }
    }

    /// Creates a collection and fills it before it is entered into the catalogue: a crash before
    /// that leaves nothing of it.
    fn create_filled(
        self,
        open: &mut Opened,
        fill: impl FnOnce(&Collection) -> Result<()>,
    ) -> Result<Collection> {
        check_name(&self.name)?;
        self.store.database().check_writable()?;
        let dim = match (&self.encoder, self.dim) {
            (Some(encoder), Some(dim)) if encoder.dim() != dim => {
                return Err(Error::EncoderDimension {
                    encoder: encoder.name().to_owned(),
                    encoded: encoder.dim(),
                    given: dim,
                });
            }
            (Some(encoder), _) => encoder.dim(),
            (None, Some(dim)) => dim,
            (None, None) => {
                return Err(Error::MissingDimension { name: self.name });
            }
        };
        self.user_share.map_or(Ok(()), check_user_share)?;
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(Error::dimension_limit(dim));
        }
        let encoder = self.encoder.as_ref().map(|encoder| EncoderRecord {
            name: encoder.name().to_owned(),
            fingerprint: encoder.fingerprint().to_owned(),
            source: encoder.source(),
            output: encoder.output().map(str::to_owned),
        });
        let record = CollectionRecord {
            number: 0,
            dim: dim as u32,
            distance: self.new_distance().to_string(),
            precision: self.precision.unwrap_or_default().to_string(),
            encoder,
        };
        let database = self.store.database();
        let record = database.reserve(record)?;
        let mut begun = Begun {
            open,
            database: &database,
            name: &self.name,
            number: record.number,
            entered: false,
        };
        let created = self
            .store
            .open_collection(begun.open, &self.name, &record, self.encoder)?;
        if self.keywords.is_some() {
            created.set_keywords(self.keywords)?;
        }
        fill(&created)?;
        database.enter(&self.name, &record)?;
        begun.entered = true;
        created.set_refits(self.refit_after, self.user_share);
        Ok(created)
    }

    /// The distance of a collection that is made.
    fn new_distance(&self) -> Distance {
        let made_for = || match self.encoder.as_ref()?.similarity()? {
            Similarity::Cosine => Some(Distance::Cosine),
            Similarity::Dot => Some(Distance::Dot),
            Similarity::Euclidean => Some(Distance::L2),
        };
        self.distance.or_else(made_for).unwrap_or_default()
    }

    /// Opens a collection of the catalogue, whose settings must equal those given.
    fn open_existing(self, open: &mut Opened, record: &CollectionRecord) -> Result<Collection> {
        self.user_share.map_or(Ok(()), check_user_share)?;
        let info = CollectionInfo::read(&self.name, record, 0)?;
        let mismatch = |what, made: &dyn Display, given: &dyn Display| Error::SettingMismatch {
            name: self.name.clone(),
            what,
            made: made.to_string(),
            given: given.to_string(),
        };
        if let Some(dim) = self.dim
            && dim != info.dim
        {
            return Err(mismatch("dimension", &info.dim, &dim));
        }
        if let Some(distance) = self.distance
            && distance != info.distance
        {
            return Err(mismatch("distance", &info.distance, &distance));
        }
        if let Some(precision) = self.precision
            && precision != info.precision
        {
            return Err(mismatch("precision", &info.precision, &precision));
        }
        if let Some(encoder) = &self.encoder {
            check_encoder(&self.name, info.encoder.as_ref(), &**encoder)?;
        }
        let (after, share) = (self.refit_after, self.user_share);
        let opened = self
            .store
            .open_collection(open, &self.name, record, self.encoder)?;
        if let Some(language) = self.keywords
            && opened.keywords() != Some(language)
        {
            let made = opened
                .keywords()
                .map_or_else(|| "off".to_owned(), |l| l.to_string());
            return Err(Error::SettingMismatch {
                name: self.name,
                what: "language of keywords",
                made,
                given: language.to_string(),
            });
        }
        opened.set_refits(after, share);
        Ok(opened)
    }
}

fn check_name(name: &str) -> Result<()> {
    let fault = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_ID_BYTES {
        "is longer than 512 bytes"
    } else if name.chars().any(char::is_control) {
        "has control characters"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName {
        name: name.to_owned(),
        fault,
    })
}
