//! Searching a collection in whichever engine it is.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "postgres")]
use affinis::limits::MAX_K;
use affinis::{Filter, Hits, MetricChoice, RankBy, Search, SearchQuery};

use super::{Target, TargetError};
use crate::Facets;

/// Largest number of values of a facet where none is given.
pub const DEFAULT_FACET_VALUES: usize = 10;

/// Asks whether a search is to stop early.
pub type Cancel = Arc<dyn Fn() -> bool + Send + Sync>;

/// The settings of a search.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct SearchSettings {
    /// Largest number of hits, or of groups.
    pub k: usize,
    /// Number of hits, or of groups, that are left out before those.
    pub offset: usize,
    /// Where a page begins: `start`, or the cursor of the answer before it.
    pub cursor: Option<String>,
    /// Largest distance of a hit, in the unit of the metric.
    pub max_distance: Option<f32>,
    /// Field that hits are grouped by.
    pub group_by: Option<String>,
    /// Largest number of hits of a group.
    pub per_group: usize,
    /// How much hits are to differ, from 0 to 1.
    pub diversity: Option<f64>,
    /// Fields whose values are counted over the items that pass the filter.
    pub facets: Vec<String>,
    /// Largest number of values of a facet.
    pub facet_values: usize,
    /// The metric that ranks.
    pub metric: MetricChoice,
    /// A filter that the items' metadata pass.
    pub filter: Option<Filter>,
    /// Width of the beam, or over PostgreSQL the number of candidates.
    pub ef: Option<usize>,
    /// Target for the recall.
    pub recall: Option<f64>,
    /// The user, whose own metric is the active one where they have one.
    pub user: Option<String>,
    /// Whether judgements of the question, and of questions like it, show.
    pub memory: bool,
    /// What items are ranked by.
    pub ranking: RankBy,
    /// Whether items are left out that the user called irrelevant for the question.
    pub hide_rejected: bool,
    /// Whether hits have the texts of their items.
    pub text: bool,
    /// Whether hits have the metadata of their items.
    pub meta: bool,
    /// Whether hits tell which places of their texts say why they were found.
    pub highlights: bool,
    /// Stops a search of a store early once it gives true.
    pub cancel: Option<Cancel>,
}

impl fmt::Debug for SearchSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchSettings")
            .field("k", &self.k)
            .field("metric", &self.metric)
            .finish_non_exhaustive()
    }
}

impl Default for SearchSettings {
    /// Ten hits under the active metric, with texts and metadata.
    fn default() -> Self {
        Self {
            k: 10,
            offset: 0,
            cursor: None,
            max_distance: None,
            group_by: None,
            per_group: 1,
            diversity: None,
            facets: Vec::new(),
            facet_values: DEFAULT_FACET_VALUES,
            metric: MetricChoice::Active,
            filter: None,
            ef: None,
            recall: None,
            user: None,
            memory: true,
            ranking: RankBy::Meaning,
            hide_rejected: false,
            text: true,
            meta: true,
            highlights: false,
            cancel: None,
        }
    }
}

impl SearchSettings {
    fn set<Q>(&self, mut search: Search<Q>) -> Search<Q> {
        search = search.k(self.k).metric(self.metric).memory(self.memory);
        search = search.offset(self.offset);
        if let Some(cursor) = &self.cursor {
            search = search.cursor(cursor);
        }
        if let Some(distance) = self.max_distance {
            search = search.max_distance(distance);
        }
        if let Some(field) = &self.group_by {
            search = search.group_by(field, self.per_group);
        }
        if let Some(diversity) = self.diversity {
            search = search.diversity(diversity);
        }
        search = search.ranking(self.ranking);
        if self.hide_rejected {
            search = search.hide_rejected();
        }
        if let Some(filter) = &self.filter {
            search = search.filter(filter.clone());
        }
        if let Some(ef) = self.ef {
            search = search.ef(ef);
        }
        if let Some(recall) = self.recall {
            search = search.recall(recall);
        }
        if let Some(user) = &self.user {
            search = search.user(user);
        }
        if self.text {
            search = search.include_text();
        }
        if self.meta {
            search = search.include_meta();
        }
        search = search.highlights(self.highlights);
        if let Some(cancel) = self.cancel.clone() {
            search = search.cancel(move || cancel());
        }
        search
    }
}

impl Target {
    /// The answer to a query.
    ///
    /// # Errors
    /// Those of a search; [`TargetError::Setting`] for a setting that a table does not have.
    pub fn search(
        &self,
        query: impl Into<SearchQuery>,
        settings: &SearchSettings,
    ) -> Result<Hits, TargetError> {
        match self {
            Self::Embedded(collection) => Ok(settings.set(collection.search(query)).run()?),
            #[cfg(feature = "postgres")]
            Self::Table(table) => search_table(table, query.into(), settings),
        }
    }

    /// Counts of the values of the fields that the settings ask for, by field; `None` where they ask
    /// for none.
    ///
    /// # Errors
    /// Those of [`affinis::Collection::facet`]; [`TargetError::Setting`] for a table.
    pub fn facets(&self, settings: &SearchSettings) -> Result<Option<Facets>, TargetError> {
        if settings.facets.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Embedded(collection) => {
                let filter = settings.filter.as_ref();
                let facets = settings.facets.iter().map(|field| {
                    let facet = collection.facet(field, filter, settings.facet_values)?;
                    Ok((field.clone(), facet.into()))
                });
                facets.collect::<Result<Facets, TargetError>>().map(Some)
            }
            #[cfg(feature = "postgres")]
            Self::Table(_) => Err(TargetError::Setting(not_on_a_table("`facets` (`--facet`)"))),
        }
    }

    /// The answers to queries, in their order. In a store they are searched for together.
    ///
    /// # Errors
    /// Those of [`Self::search`].
    pub fn search_many(
        &self,
        queries: Vec<SearchQuery>,
        settings: &SearchSettings,
    ) -> Result<Vec<Hits>, TargetError> {
        match self {
            Self::Embedded(collection) => {
                Ok(settings.set(collection.search_many(queries)).run()?)
            }
            #[cfg(feature = "postgres")]
            Self::Table(table) => {
                let answers = queries
                    .into_iter()
                    .map(|query| search_table(table, query, settings));
                answers.collect()
            }
        }
    }
}

/// The answer of a table. An offset and a largest distance are cut out of its hits.
#[cfg(feature = "postgres")]
fn search_table(
    table: &affinis_pgvector::Table,
    query: SearchQuery,
    settings: &SearchSettings,
) -> Result<Hits, TargetError> {
    if settings.recall.is_some() {
        return Err(TargetError::Setting(
            "over PostgreSQL the number of candidates is measured for a recall of 0.95; `ef` (`--ef N`) sets it"
                .to_owned(),
        ));
    }
    let only_in_a_store = [
        (
            "`hide_rejected` (`--hide-rejected`)",
            settings.hide_rejected,
        ),
        ("`cursor` (`--cursor`)", settings.cursor.is_some()),
        ("`group_by` (`--group-by`)", settings.group_by.is_some()),
        ("`diversity` (`--diversity`)", settings.diversity.is_some()),
        ("`highlights` (`--highlights`)", settings.highlights),
        ("`hybrid` (`--hybrid`)", settings.ranking == RankBy::Hybrid),
        (
            "`words_only` (`--words-only`)",
            settings.ranking == RankBy::Words,
        ),
    ];
    if let Some((name, _)) = only_in_a_store.iter().find(|(_, is_set)| *is_set) {
        return Err(TargetError::Setting(not_on_a_table(name)));
    }
    let SearchQuery::Single(query) = query else {
        return Err(TargetError::Setting(not_on_a_table(
            "several queries in one (`unlike`, `--unlike`, more than one `--like`)",
        )));
    };
    let invalid = |reason| Err(affinis::Error::InvalidQuery(reason).into());
    let (k, offset) = (settings.k, settings.offset);
    if offset > 0 && k.saturating_add(offset) > MAX_K {
        return invalid(format!(
            "k is {k} and the offset {offset}: together they are at most {MAX_K}"
        ));
    }
    if let Some(distance) = settings.max_distance
        && !distance.is_finite()
    {
        return invalid(format!(
            "the largest distance {distance} is not a finite number"
        ));
    }
    let mut search = table
        .search(query)
        .k(k.saturating_add(offset))
        .metric(settings.metric);
    if settings.text {
        search = search.include_text();
    }
    if settings.meta {
        search = search.include_meta();
    }
    if let Some(filter) = &settings.filter {
        search = search.filter(filter.clone());
    }
    if let Some(ef) = settings.ef {
        search = search.candidates(ef);
    }
    if let Some(user) = &settings.user {
        search = search.user(user);
    }
    let mut hits = search.run()?;
    hits.hits.drain(..offset.min(hits.hits.len()));
    if let Some(distance) = settings.max_distance {
        hits.hits.retain(|hit| hit.distance <= distance);
    }
    Ok(hits)
}

/// The refusal of a setting that a table does not have.
#[cfg(feature = "postgres")]
fn not_on_a_table(name: &str) -> String {
    format!("{name} works in a store, and not yet on a table of PostgreSQL")
}
