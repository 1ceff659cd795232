//! [`Within`], the builder of range searches.

use super::super::Collection;
use super::Cancel;
use crate::filter::Filter;
use crate::items;
use crate::model::error::{Error, Result};
use crate::model::{Hit, MetricChoice, SearchQuery, VersionId, Versioned};

/// The settings of a range search; made by [`Collection::within`].
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Within {
    collection: Collection,
    query: SearchQuery,
    distance: f32,
    filter: Option<Filter>,
    metric: MetricChoice,
    user: Option<String>,
    include_text: bool,
    include_meta: bool,
    cancel: Option<Cancel>,
}

/// The hits of a range search, nearest first, ties by id; an iterator that reads texts and metadata
/// as it goes. It has the items of the moment of the search: of one that is removed meanwhile, text
/// and metadata are missing.
#[derive(Debug)]
pub struct InRange {
    collection: Collection,
    metric: Versioned,
    found: std::vec::IntoIter<items::InRange>,
    rank: usize,
    include_text: bool,
    include_meta: bool,
}

impl Collection {
    /// Begins a search for all items whose distance from a query is at most `distance`, in the unit
    /// of the metric. Unlike [`Self::search`] it is exact, and has no limit: it computes the
    /// distance of every item that passes the filter, and keeps eight bytes for each hit.
    /// Judgements do not move the query; they take part through the metric only.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(1).open_or_create()?;
    /// points.add((0..100).map(|i| Item::vector(i.to_string(), [i as f32])))?;
    /// // Distances are squared.
    /// let near = points.within(vec![50.2], 4.0).run()?;
    /// let ids: Vec<String> = near.map(|hit| Ok(hit?.id)).collect::<affinis::Result<_>>()?;
    /// assert_eq!(ids, ["50", "51", "49", "52"]);
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn within(&self, query: impl Into<SearchQuery>, distance: f32) -> Within {
        Within {
            collection: self.clone(),
            query: query.into(),
            distance,
            filter: None,
            metric: MetricChoice::Active,
            user: None,
            include_text: false,
            include_meta: false,
            cancel: None,
        }
    }
}

impl Within {
    /// Restricts the hits to items whose metadata passes a filter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Sets the metric; the active one by default.
    pub fn metric(mut self, metric: MetricChoice) -> Self {
        self.metric = metric;
        self
    }

    /// Sets the user, whose own metric is the active one where they have one.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Includes the texts of the hits.
    pub fn include_text(mut self) -> Self {
        self.include_text = true;
        self
    }

    /// Includes the metadata of the hits.
    pub fn include_meta(mut self) -> Self {
        self.include_meta = true;
        self
    }

    /// Stops once `cancel` returns true; it is called every thousand items. Then the search is an
    /// error, because it would not be exact.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Cancel(std::sync::Arc::new(cancel)));
        self
    }

    /// Runs the search.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for a distance that is not finite; [`Error::Cancelled`]; those of
    /// [`Search::run`](crate::Search::run) for query, filter and metric.
    pub fn run(self) -> Result<InRange> {
        if !self.distance.is_finite() {
            return Err(Error::InvalidQuery(format!(
                "the distance {} is not a finite number",
                self.distance
            )));
        }
        let items = self.collection.current()?;
        let learning = self.collection.learning();
        let metric = learning.choose(self.metric, self.user.as_deref())?;
        let matching = self.filter.as_ref().map(|filter| items.matching(filter));
        let matching = matching.transpose()?;
        let vector = items.searched_vector(&self.query)?;
        let cancel = self.cancel.as_ref();
        let found = items.within(
            &metric,
            &vector,
            self.distance,
            matching.as_ref(),
            &self.query.own(),
            cancel.map(|cancel| &*cancel.0 as &(dyn Fn() -> bool + Sync)),
        )?;
        let found = found.ok_or(Error::Cancelled)?;
        Ok(InRange {
            collection: self.collection,
            metric,
            found: found.into_iter(),
            rank: 0,
            include_text: self.include_text,
            include_meta: self.include_meta,
        })
    }
}

impl InRange {
    /// Version of the metric that ranked the hits.
    pub fn metric(&self) -> VersionId {
        self.metric.version
    }
}

impl Iterator for InRange {
    type Item = Result<Hit>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.found.next()?;
        self.rank += 1;
        let items = self.collection.items_handle();
        let (text, meta) = (self.include_text, self.include_meta);
        Some(items.hit_in_range(&self.metric, found, self.rank, text, meta))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.found.size_hint()
    }
}

impl ExactSizeIterator for InRange {}
