//! Making and opening collections.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use super::Store;
use crate::collection::{Collection, Inner};
use crate::encode::Encoder;
use crate::error::{Error, Result};
use crate::items::{CollectionInfo, check_encoder};
use crate::learning::{History, check_user_share};
use crate::model::Distance;
use crate::model::{Item, MAX_DIM, MAX_ID_BYTES};
use crate::storage::{CollectionRecord, Database, Precision};

/// Collections that are open, by name.
type Opened = HashMap<String, Arc<Inner>>;

/// A collection that is being made. Unless it was entered into the catalogue, nothing of it stays,
/// even where the caller's items end in a panic.
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
            tracing::warn!(%error, "what was begun of a collection is removed at the next opening");
        }
    }
}

/// Settings of a collection that is to be made, or expectations of one that is to be opened.
///
/// A new collection needs an encoder or a dimension. An existing one is opened with its own
/// settings; those that are named here must agree with them.
#[must_use = "end with `create`, `open` or `open_or_create`"]
pub struct CollectionBuilder {
    store: Store,
    name: String,
    encoder: Option<Arc<dyn Encoder>>,
    dim: Option<usize>,
    distance: Option<Distance>,
    precision: Option<Precision>,
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
            refit_after: None,
            user_share: None,
        }
    }

    /// The encoder of its texts; the dimension follows from it.
    pub fn encoder(self, encoder: impl Encoder + 'static) -> Self {
        self.encoder_arc(Arc::new(encoder))
    }

    /// The encoder of its texts, shared with others.
    pub fn encoder_arc(mut self, encoder: Arc<dyn Encoder>) -> Self {
        self.encoder = Some(encoder);
        self
    }

    /// The dimension of its vectors, 1 to 4,096, where there is no encoder.
    pub fn dim(mut self, dim: usize) -> Self {
        self.dim = Some(dim);
        self
    }

    /// The built-in distance, squared Euclidean where none is named.
    pub fn distance(mut self, distance: Distance) -> Self {
        self.distance = Some(distance);
        self
    }

    /// How numbers are kept, `f32` where nothing is said.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// Refits by itself, in the background, whenever so many judgements have been given since the
    /// last time; 0 for never, which is the default. It holds for the open collection and is not
    /// stored. Searches never wait for it, one refit runs at a time, and it ends with the last
    /// handle. [`Collection::background_refit`] says what came of it.
    pub fn refit_after(mut self, judgements: usize) -> Self {
        self.refit_after = Some(judgements);
        self
    }

    /// The [share of one user](crate::Refit::user_share) in refits of which nothing else is said,
    /// those in the background and after forgetting among them. It holds for the open collection
    /// and is not stored.
    pub fn user_share(mut self, share: f64) -> Self {
        self.user_share = Some(share);
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`Error::CollectionExists`]; [`Error::InvalidName`]; [`Error::MissingDimension`],
    /// [`Error::EncoderDimension`] or [`Error::InvalidSetting`] for its settings; storage errors.
    pub fn create(self) -> Result<Collection> {
        let store = self.store.clone();
        let mut open = store.lock_collections();
        if store.database().collection(&self.name)?.is_some() {
            return Err(Error::CollectionExists(self.name));
        }
        self.make(&mut open, |_| Ok(()))
    }

    /// Makes it with items and a [`History`], as an export has them: all of it, durably, or
    /// nothing.
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
        if store.database().collection(&self.name)?.is_some() {
            return Err(Error::CollectionExists(self.name));
        }
        self.make(&mut open, |collection| {
            collection.add(items)?;
            collection.restore(history)
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`Error::CollectionMissing`]; [`Error::EncoderMismatch`] or [`Error::SettingMismatch`] when
    /// it was made with other settings than those named here; or when what is stored is damaged.
    pub fn open(self) -> Result<Collection> {
        let store = self.store.clone();
        let mut open = store.lock_collections();
        if let Some(record) = store.database().collection(&self.name)? {
            return self.take(&mut open, &record);
        }
        Err(store.missing(&self.name)?)
    }

    /// Opens it, or makes it where there is none.
    ///
    /// # Errors
    /// Those of [`Self::open`] and [`Self::create`].
    pub fn open_or_create(self) -> Result<Collection> {
        let store = self.store.clone();
        let mut open = store.lock_collections();
        match store.database().collection(&self.name)? {
            Some(record) => self.take(&mut open, &record),
            None => self.make(&mut open, |_| Ok(())),
        }
    }

    /// Makes a collection and fills it before it is entered into the catalogue: until then a crash
    /// leaves nothing of it.
    fn make(
        self,
        open: &mut Opened,
        fill: impl FnOnce(&Collection) -> Result<()>,
    ) -> Result<Collection> {
        check_name(&self.name)?;
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
        let encoder = self
            .encoder
            .as_ref()
            .map(|e| (e.name().to_owned(), e.fingerprint().to_owned(), e.source()));
        let record = CollectionRecord {
            number: 0,
            dim: dim as u32,
            distance: self.distance.unwrap_or_default().to_string(),
            precision: self.precision.unwrap_or_default().to_string(),
            encoder,
        };
        let database = self.store.database();
        let record = database.reserve(record)?;
        let mut begun = Begun {
            open,
            database,
            name: &self.name,
            number: record.number,
            entered: false,
        };
        let made = self
            .store
            .open_collection(begun.open, &self.name, &record, self.encoder)?;
        fill(&made)?;
        database.enter(&self.name, &record)?;
        begun.entered = true;
        made.set_refits(self.refit_after, self.user_share);
        Ok(made)
    }

    fn take(self, open: &mut Opened, record: &CollectionRecord) -> Result<Collection> {
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
        self.store
            .open_collection(open, &self.name, record, self.encoder)
            .inspect(|c| c.set_refits(after, share))
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
