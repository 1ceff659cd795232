//! [`Search`], the builder of searches.
//!
//! A search is answered from a [`Ranking`] or a [`WordRanking`], which gives lists of the best
//! candidates of any length: [`paging`] cuts a page out of one, [`groups`] and [`diversity`] choose
//! from one. None of them knows how candidates are found.

mod check;
mod diversity;
mod groups;
mod highlights;
mod paging;
mod range;
mod ranked;

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use super::Collection;
use crate::filter::Filter;
use crate::items::{Grouping, Matching, Ranking, SearchRequest, WordRanking, WordsOf};
use crate::keywords::meaning;
use crate::learning::Memory;
use crate::model::error::{Error, Result};
use crate::model::{
    Hits, MetricChoice, Query, QueryForm, RankBy, SearchQuery, VersionId, Versioned,
};

use groups::GroupBy;
use paging::Cursor;
pub use paging::FIRST_PAGE;
pub use range::{InRange, Within};
use ranked::{Ranked, Source};

/// The settings of a search; made by [`Collection::search`] for one query, or
/// [`Collection::search_many`] for a list of them.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Search<Q = SearchQuery> {
    collection: Collection,
    query: Q,
    k: usize,
    offset: usize,
    cursor: Option<String>,
    max_distance: Option<f32>,
    group_by: Option<GroupBy>,
    diversity: Option<f64>,
    ef: Option<usize>,
    recall: Option<f64>,
    filter: Option<Filter>,
    metric: MetricChoice,
    user: Option<String>,
    memory: bool,
    ranking: RankBy,
    hide_rejected: bool,
    include_text: bool,
    include_meta: bool,
    highlights: bool,
    cancel: Option<Cancel>,
}

/// Tells a search whether to stop.
#[derive(Clone)]
struct Cancel(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cancel")
    }
}

impl Collection {
    /// Begins a search for the items nearest to a text, a vector, a stored item, or several of them
    /// in one: a [`CombinedQuery`](crate::CombinedQuery).
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Query, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(2).open_or_create()?;
    /// points.add([Item::vector("a", [0.0, 0.0]), Item::vector("b", [1.0, 0.0]), Item::vector("c", [5.0, 5.0])])?;
    /// let hits = points.search(vec![0.1, 0.0]).k(2).run()?;
    /// assert_eq!((hits[0].id.as_str(), hits[1].id.as_str()), ("a", "b"));
    /// let hits = points.search(Query::like("a")).k(1).run()?;
    /// assert_eq!(hits[0].id, "b");
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn search(&self, query: impl Into<SearchQuery>) -> Search {
        self.searching(query.into())
    }

    /// Begins a search of many queries: their texts are encoded together, and they are answered on
    /// all processors.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(1).open_or_create()?;
    /// points.add((0..100).map(|i| Item::vector(i.to_string(), [i as f32])))?;
    /// let answers = points.search_many([vec![3.2], vec![71.9]]).k(1).run()?;
    /// assert_eq!((answers[0][0].id.as_str(), answers[1][0].id.as_str()), ("3", "72"));
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn search_many(
        &self,
        queries: impl IntoIterator<Item = impl Into<SearchQuery>>,
    ) -> Search<Vec<SearchQuery>> {
        self.searching(queries.into_iter().map(Into::into).collect())
    }

    fn searching<Q>(&self, query: Q) -> Search<Q> {
        Search {
            collection: self.clone(),
            query,
            k: 10,
            offset: 0,
            cursor: None,
            max_distance: None,
            group_by: None,
            diversity: None,
            ef: None,
            recall: None,
            filter: None,
            metric: MetricChoice::Active,
            user: None,
            memory: true,
            ranking: RankBy::Meaning,
            hide_rejected: false,
            include_text: false,
            include_meta: false,
            highlights: false,
            cancel: None,
        }
    }
}

impl<Q> Search<Q> {
    /// Sets the largest number of hits, 1 to 10,000; 10 by default. With [groups](Self::group_by) it
    /// is the largest number of groups.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Sets the width of the beam, at least 1, instead of the one that is calibrated for a recall.
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = Some(ef);
        self
    }

    /// Sets the target recall, above 0 and at most 1, at which every item is scanned; .95 by
    /// default.
    pub fn recall(mut self, recall: f64) -> Self {
        self.recall = Some(recall);
        self
    }

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

    /// Sets whether judgements of this very question, and of questions like it, show in the answer;
    /// they do by default, under the active metric. No other metric remembers.
    pub fn memory(mut self, memory: bool) -> Self {
        self.memory = memory;
        self
    }

    /// Sets what items are ranked by; [`RankBy::Meaning`] by default.
    pub fn ranking(mut self, ranking: RankBy) -> Self {
        self.ranking = ranking;
        self
    }

    /// Ranks by the words of the query and by its meaning together. The query is a text or a stored
    /// item, whose text is taken, and the collection has
    /// [keywords](crate::CollectionBuilder::keywords). In a text quotes make a phrase of words, `+`
    /// and `-` before a word or phrase require or exclude it. How much words count is learned by
    /// refits.
    pub fn hybrid(self) -> Self {
        self.ranking(RankBy::Hybrid)
    }

    /// Ranks by the words of the query only; see [`Self::hybrid`].
    pub fn words_only(self) -> Self {
        self.ranking(RankBy::Words)
    }

    /// Leaves out items that the user called irrelevant for this very query, and that still hold
    /// what was judged; without a [user](Self::user), those of judgements that name nobody.
    pub fn hide_rejected(mut self) -> Self {
        self.hide_rejected = true;
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

    /// Stops early once `cancel` returns true; it is called every few dozen steps. The hits found
    /// by then are returned, and [`Execution::complete`](crate::Execution::complete) is false.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Cancel(Arc::new(cancel)));
        self
    }

    /// Checks the settings, loads the metric and evaluates the filter, once for all queries.
    fn prepare(&self) -> Result<Prepared> {
        self.check()?;
        let cursor = match self.cursor.as_deref() {
            None | Some(FIRST_PAGE) => None,
            Some(text) => Some(Cursor::decode(text)?),
        };
        if let Some(cursor) = &cursor {
            cursor.check_collection(self.collection.name())?;
        }
        let items = self.collection.current()?;
        let learning = self.collection.learning();
        let mut metric = learning.choose(self.metric, self.user.as_deref());
        let mut remembers = self.memory && self.metric == MetricChoice::Active;
        // A page is ranked as the pages before it, whatever is active by now.
        if let Some(cursor) = &cursor {
            let of_page = VersionId(cursor.metric);
            if !metric
                .as_ref()
                .is_ok_and(|metric| metric.version == of_page)
            {
                metric = learning.choose(MetricChoice::Version(of_page), None);
                remembers = false;
            }
        }
        let metric = metric?;
        let memory = if remembers {
            learning.memory(self.user.as_deref())
        } else {
            None
        };
        let grouping = match &self.group_by {
            Some(group_by) => Some(items.grouping(&group_by.field, self.filter.as_ref())?),
            None => None,
        };
        let matching = match (&self.filter, &grouping) {
            (None, _) => None,
            (Some(_), Some(grouping)) => Some(Matching {
                slots: grouping.eligible.clone(),
                snapshot: grouping.snapshot.clone(),
            }),
            (Some(filter), None) => Some(items.matching(filter)?),
        };
        Ok(Prepared {
            metric,
            memory,
            matching,
            grouping,
            cursor,
        })
    }

    /// The vectors of queries in the form that the index takes; texts are encoded together. `None`
    /// where the encoder knows nothing of a text and its words are searched for, and where only these
    /// are and there is no encoder.
    fn vectors(&self, queries: &[SearchQuery]) -> Result<Vec<Option<Vec<f32>>>> {
        let items = self.collection.items_handle();
        let by_words = self.ranking != RankBy::Meaning;
        // What is left of a text of operators only is not encoded.
        let meant = |text| {
            if by_words {
                Some(meaning(text)).filter(|text| !text.trim().is_empty())
            } else {
                Some(Cow::Borrowed(text))
            }
        };
        let meant: Vec<Option<Cow<'_, str>>> = queries
            .iter()
            .filter_map(SearchQuery::text)
            .map(meant)
            .collect();
        let texts: Vec<&str> = meant.iter().flatten().map(AsRef::as_ref).collect();
        let encoded = if texts.is_empty() {
            Vec::new()
        } else {
            match items.encode_queries(&texts) {
                Err(Error::NoEncoder { .. }) if self.ranking == RankBy::Words => Vec::new(),
                encoded => encoded?,
            }
        };
        let (mut meant, mut encoded) = (meant.iter(), encoded.into_iter());
        let vector = |query: &SearchQuery| {
            let Some(text) = query.text() else {
                return items.searched_vector(query).map(Some);
            };
            let is_encoded = meant.next().is_some_and(Option::is_some);
            match is_encoded.then(|| encoded.next()).flatten().flatten() {
                None if !by_words => Err(Error::unknown_text(text)),
                vector => Ok(vector),
            }
        };
        queries.iter().map(vector).collect()
    }

    /// The answer to one query with its vector.
    fn answer(
        &self,
        query: &SearchQuery,
        vector: Option<&[f32]>,
        prepared: &Prepared,
    ) -> Result<Hits> {
        let own = query.own();
        let memory = prepared.memory.as_ref();
        let moved = memory.and_then(|memory| memory.moved(vector?));
        let hidden = match query {
            _ if !self.hide_rejected => Vec::new(),
            SearchQuery::Single(query) => {
                let learning = self.collection.learning();
                learning.rejected(query, self.user.as_deref())?
            }
            SearchQuery::Combined(_) => {
                return Err(Error::InvalidQuery(
                    "several queries in one are not judged, so there is nothing rejected to hide"
                        .to_owned(),
                ));
            }
        };
        let cancel = self.cancel.as_ref();
        let request = SearchRequest {
            form: query.text().map_or(QueryForm::Any, QueryForm::of_text),
            ef: self.ef,
            recall: self.recall,
            matching: prepared.matching.as_ref(),
            own: &own,
            moved: moved.as_deref(),
            hidden: &hidden,
            include_text: self.include_text || self.highlights,
            include_meta: self.include_meta,
            cancel: cancel.map(|cancel| &*cancel.0 as &(dyn Fn() -> bool + Sync)),
        };
        let items = self.collection.items_handle();
        let metric = &prepared.metric;
        let words = match query {
            SearchQuery::Single(Query::Text(text)) => Some(WordsOf::Query(text)),
            SearchQuery::Single(Query::Item(id)) => Some(WordsOf::Item(id)),
            SearchQuery::Single(Query::Vector(_)) | SearchQuery::Combined(_) => None,
        };
        let source = match (self.ranking, words, vector) {
            (RankBy::Meaning, _, Some(vector)) => {
                Source::Meaning(Box::new(Ranking::new(items, metric, vector, request)))
            }
            (ranking, Some(words), vector) => {
                let weight = match ranking {
                    RankBy::Hybrid => {
                        Some(self.collection.learning().words_weight(metric.version)?)
                    }
                    RankBy::Meaning | RankBy::Words => None,
                };
                let asked = (words, vector);
                let ranking = WordRanking::new(items, metric, asked, request, weight)?;
                Source::Words(Box::new(ranking))
            }
            _ => {
                return Err(Error::InvalidQuery(
                    "words are searched for by one text or one stored item, and the query is neither"
                        .to_owned(),
                ));
            }
        };
        let mut ranked = Ranked {
            source,
            max_distance: self.max_distance,
        };
        let mut hits = match (&self.group_by, &prepared.grouping, self.diversity) {
            (Some(group_by), Some(grouping), _) => {
                let wanted = group_by.wanted(self.k, self.offset);
                groups::answer(&mut ranked, grouping, wanted)
            }
            (_, _, Some(diversity)) => diversity::answer(&mut ranked, self.k, diversity),
            _ if self.cursor.is_some() => {
                let digests = self.digests(query, vector.unwrap_or_default(), moved.as_deref());
                paging::next_page(&mut ranked, self.k, prepared.cursor.as_ref(), digests)
            }
            _ => paging::page(&mut ranked, self.k, self.offset),
        }?;
        if self.highlights {
            self.highlight(query, vector, prepared, &mut hits)?;
        }
        Ok(hits)
    }
}

/// What all queries of one search share.
struct Prepared {
    metric: Versioned,
    memory: Option<Memory>,
    matching: Option<Matching>,
    grouping: Option<Grouping>,
    cursor: Option<Cursor>,
}

impl Search {
    /// Runs the search. An empty collection has no hits.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for settings out of range or that do not go together, for a cursor
    /// that is not of this search, and for a combination of queries that is none;
    /// [`Error::UnknownText`] for a text of which the encoder knows nothing; [`Error::UnknownId`] for
    /// a query by id; [`Error::AmbiguousField`] for the filter or the groups;
    /// [`Error::Dimension`], [`Error::NotFinite`], [`Error::ZeroVector`] for a vector;
    /// [`Error::UnknownVersion`], [`Error::WithdrawnVersion`] or [`Error::NoPlugin`] for the metric;
    /// encoder and storage errors.
    pub fn run(self) -> Result<Hits> {
        let prepared = self.prepare()?;
        let mut vectors = self.vectors(std::slice::from_ref(&self.query))?;
        let vector = vectors.pop().flatten();
        self.answer(&self.query, vector.as_deref(), &prepared)
    }
}

impl Search<Vec<SearchQuery>> {
    /// Runs the searches. The answers are in the order of the queries.
    ///
    /// # Errors
    /// Those of a search of one query; [`Error::InvalidQuery`] for a cursor, which continues one
    /// query. An error of any query is the error of all.
    pub fn run(self) -> Result<Vec<Hits>> {
        if self.cursor.is_some() {
            return Err(Error::InvalidQuery(
                "a cursor continues one query; search for one at a time".to_owned(),
            ));
        }
        let prepared = self.prepare()?;
        let vectors = self.vectors(&self.query)?;
        self.query
            .par_iter()
            .zip(&vectors)
            .map(|(query, vector)| self.answer(query, vector.as_deref(), &prepared))
            .collect()
    }
}
