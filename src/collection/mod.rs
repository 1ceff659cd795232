//! The handle that programs hold: thin, over the items and the learning of one collection.

mod of_items;
mod of_learning;
mod search;

use std::sync::Arc;

use crate::encode::Encoder;
use crate::error::Result;
use crate::items::{self, CollectionInfo, Items, Problem};
use crate::learning::{self, Learning, Plugins};
use crate::storage::{CollectionRecord, Database};

pub use search::Search;

/// Items of one dimension and one encoder, with their index, judgements and metrics.
///
/// Handles are cheap to clone and may be used from any thread. A collection stays in memory until
/// its store and all handles are dropped.
#[derive(Clone)]
pub struct Collection {
    inner: Arc<Inner>,
}

/// The state that all handles of one collection share.
pub(crate) struct Inner {
    items: Arc<Items>,
    learning: Arc<Learning>,
}

/// Shows that nobody writes to a collection: neither items, nor judgements and versions, nor the
/// stored graph. The lock of learning is taken before that of the items.
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
    ) -> Result<Arc<Self>> {
        let items = Items::open(database, name, record, encoder)?;
        let ledger = Arc::new(items.ledger());
        let vectors = Arc::clone(&items);
        let learning = Learning::open(name, items.rules(), ledger, vectors, plugins)?;
        Ok(Arc::new(Self { items, learning }))
    }

    /// Takes an encoder, which was checked, where there is none yet.
    pub(crate) fn offer_encoder(&self, encoder: Option<Arc<dyn Encoder>>) {
        self.items.offer_encoder(encoder);
    }

    /// Waits for the writes under way, and keeps the next ones waiting.
    pub(crate) fn hold_still(&self) -> StillGuard<'_> {
        StillGuard {
            _learning: self.learning.lock(),
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

    /// Whether a refit is running, or prepared, that holds on to the collection.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.learning) > 1
    }
}

impl Collection {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// The state that the handles share.
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn items_handle(&self) -> &Items {
        &self.inner.items
    }

    pub(crate) fn learning(&self) -> &Arc<Learning> {
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
        self.inner.items.len()
    }

    /// Whether it holds no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Settings and size of the collection.
    pub fn info(&self) -> CollectionInfo {
        self.inner.items.info()
    }

    /// Waits until background work (refits, building the graph, caches of biases) that is under way
    /// is done. For measurements.
    ///
    /// # Errors
    /// When the graph cannot be stored.
    pub fn settle(&self) -> Result<()> {
        self.inner.learning.settle();
        self.inner.items.settle()
    }

    /// Sets when the collection is refitted by itself, and the largest share of one user in its
    /// refits, where something was said of them.
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
