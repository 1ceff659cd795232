//! [`Collection`], the handle of programs to the items and the learning of one collection.

mod of_items;
mod of_learning;
mod search;

use std::path::PathBuf;
use std::sync::Arc;

use crate::encode::Encoder;
use crate::items::{self, CollectionInfo, Items, Problem};
use crate::learning::{self, Learning, Plugins};
use crate::model::error::Result;
use crate::storage::{CollectionRecord, Database, News};

pub use search::{FIRST_PAGE, InRange, Search, Within};

/// A collection of items of one dimension, with their index, the judgements and the metrics.
///
/// A handle is cheap to clone and can be used from any thread. An open collection stays in memory
/// until its store and all handles to it are dropped.
#[derive(Clone)]
pub struct Collection {
    inner: Arc<Inner>,
}

/// The state that all handles of one collection share.
pub(crate) struct Inner {
    items: Arc<Items>,
    learning: Arc<Learning>,
}

/// Proof that nobody writes to a collection: neither items, nor judgements and versions, nor the
/// stored graph. The lock of learning is taken before the lock of the items.
pub(crate) struct StillGuard<'a> {
    _learning: learning::WriteGuard<'a>,
    items: items::StillGuard<'a>,
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection")
            .field("name", &self.name())
            .field("dim", &self.dim())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Opens a collection that is in the catalogue.
    pub(crate) fn open(
        database: Arc<Database>,
        plugins: Plugins,
        name: &str,
        record: &CollectionRecord,
        encoder: Option<Arc<dyn Encoder>>,
        models: &[PathBuf],
    ) -> Result<Arc<Self>> {
        let items = Items::open(database, name, record, encoder, models)?;
        let ledger = Arc::new(items.ledger());
        let vectors = Arc::clone(&items);
        let learning = Learning::open(name, items.rules(), ledger, vectors, plugins)?;
        Ok(Arc::new(Self { items, learning }))
    }

    /// Shows what another process wrote to a store that is only read; see [`Items::follow`].
    pub(crate) fn follow(
        &self,
        now: &Arc<Database>,
        record: &CollectionRecord,
        news: &News,
    ) -> Result<bool> {
        let follows = self.items.follow(now, record, news)?;
        if follows {
            self.learning.follow(news.is_of_learning)?;
        }
        Ok(follows)
    }

    /// Sets the encoder, which was checked, if there is none yet.
    pub(crate) fn offer_encoder(&self, encoder: Option<Arc<dyn Encoder>>) {
        self.items.offer_encoder(encoder);
    }

    /// Waits until the current writes are done; the next ones wait while the guard lives.
    pub(crate) fn hold_still(&self) -> StillGuard<'_> {
        StillGuard {
            _learning: self.learning.lock_process(),
            items: self.items.hold_still(),
        }
    }

    /// Checks what is stored of the collection, and that its index holds as many items. Writes wait
    /// meanwhile. Returns the number of checks, and the problems.
    pub(crate) fn verify(&self, record: &CollectionRecord) -> (u64, Vec<Problem>) {
        let still = self.hold_still();
        self.items
            .verify(&still.items, record, self.learning.plugins())
    }

    /// Checks that the index holds as many items as are stored. Writes wait meanwhile.
    pub(crate) fn verify_index(&self) -> Option<Problem> {
        self.items.index_problem(&self.hold_still().items)
    }

    /// Whether a refit or another builder of learning holds the collection.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.learning) > 1
    }
}

impl Collection {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// The state that all handles share.
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn items_handle(&self) -> &Items {
        &self.inner.items
    }

    /// The items, of which those whose end has come are removed before.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub(crate) fn current(&self) -> Result<&Items> {
        let gone = self.inner.items.expire()?;
        if !gone.is_empty() {
            let gone = gone.iter().map(String::as_str);
            self.inner.learning.items_changed(gone);
        }
        Ok(&self.inner.items)
    }

    /// Refuses what would write to a store that is only read, before work is done for it.
    fn check_writable(&self) -> Result<()> {
        self.inner.items.check_writable()
    }

    /// The items as by [`Self::current`]; those that cannot be removed stay, and that is reported.
    pub(crate) fn current_or_stale(&self) -> &Items {
        self.current().unwrap_or_else(|error| {
            tracing::error!(collection = self.name(), %error, "items whose end has come cannot be removed");
            &self.inner.items
        })
    }

    /// Its learning: the methods of this type on judgements and versions, as every engine has them.
    pub fn learning(&self) -> &Arc<Learning> {
        self.current_or_stale();
        &self.inner.learning
    }

    /// Name of the collection.
    pub fn name(&self) -> &str {
        self.inner.items.name()
    }

    /// Dimension `d` of its vectors.
    pub fn dim(&self) -> usize {
        self.inner.items.rules().dim
    }

    /// Number of live items.
    pub fn len(&self) -> usize {
        self.current_or_stale().len()
    }

    /// Whether it holds no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Settings and size of the collection.
    pub fn info(&self) -> CollectionInfo {
        self.current_or_stale().info()
    }

    /// Waits until the current background work (refits, building of graphs, caches of biases) is
    /// done. For measurements.
    ///
    /// # Errors
    /// When the graph cannot be stored.
    pub fn settle(&self) -> Result<()> {
        self.inner.learning.settle();
        self.current()?.settle()
    }

    /// Sets the number of judgements after which a refit begins by itself, and the largest share of
    /// one user in refits; `None` leaves a setting as it is.
    pub(crate) fn set_refits(&self, after: Option<usize>, user_share: Option<f64>) {
        let background = self.inner.learning.background();
        if let Some(judgements) = after {
            background.set_refit_after(judgements);
        }
        if let Some(share) = user_share {
            background.set_user_share(share);
        }
    }
}
