//! Searching, one query or many, and comparing the answers of two metrics.

use std::sync::Arc;

use affinis::{Hits, MetricChoice, SearchQuery};
use affinis_api::AnswerDocument;
use affinis_api::target::{DEFAULT_FACET_VALUES, SearchSettings, Target};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::blocking::GivenUp;
use crate::extract::{Given, Segments};
use crate::problem::Problem;
use crate::query::{Asked, Ids, MetricName, Part, choice, filter, rank_by};

/// The largest number of hits of all queries of a request together.
const MAX_HITS: usize = 100_000;

/// A search.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub(crate) struct SearchRequest {
    /// A text, which the collection's encoder encodes.
    query: Option<String>,
    /// A vector of the collection's dimension.
    vector: Option<Vec<f32>>,
    /// Id of a stored item, which is left out of the answer; or a list of ids, whose mean is
    /// searched for.
    like: Option<Ids>,
    /// Ids of stored items that hits are to be far from, beside those of `query`, `vector`, `like`
    /// and `positive` that they are to be near to: with the means `p` and `n` of the vectors of both,
    /// `p + (p - n)` is searched for.
    unlike: Option<Ids>,
    /// Further texts, vectors and items that hits are to be near to, with their weights.
    positive: Option<Vec<Part>>,
    /// Texts, vectors and items that hits are to be far from, with their weights.
    negative: Option<Vec<Part>>,
    /// Many queries, in place of one; their number times the hits of each, and those that `offset`
    /// leaves out, is at most 100,000.
    queries: Option<Vec<Asked>>,
    /// Largest number of hits, 1 to 10,000; of groups with `group_by`.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 10_000)]
    k: usize,
    /// Number of hits that are left out before those; of groups with `group_by`. `k + offset` is at
    /// most 10,000.
    #[serde(default)]
    #[schema(maximum = 9_999)]
    offset: usize,
    /// Where a page begins: `start`, or the `cursor` of the answer before it.
    cursor: Option<String>,
    /// Largest distance of a hit, in the unit of the metric.
    max_distance: Option<f32>,
    /// Field of metadata whose values group the hits.
    group_by: Option<String>,
    /// Largest number of hits of a group; 1 by default.
    #[schema(minimum = 1)]
    per_group: Option<usize>,
    /// How much hits are to differ from each other, from 0, not at all, to 1.
    #[schema(minimum = 0, maximum = 1)]
    diversity: Option<f64>,
    /// Fields of metadata whose values are counted over the items that pass the filter.
    #[serde(default)]
    facets: Vec<String>,
    /// Largest number of values of a facet, 1 to 10,000; 10 by default.
    #[schema(minimum = 1, maximum = 10_000)]
    facet_values: Option<usize>,
    /// A filter that the items' metadata match.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Width of the beam, at least 1, in place of a target for the recall.
    #[schema(minimum = 1)]
    ef: Option<usize>,
    /// Target for the recall, above 0 and at most 1; .95 by default.
    recall: Option<f64>,
    /// The metric that ranks; the active one by default.
    metric: Option<MetricName>,
    /// Whether judgements of this question and of questions like it show in an answer under the
    /// active metric; true by default.
    #[serde(default = "yes")]
    memory: bool,
    /// Whether the words of the query rank too, with its meaning; the query is a text, and the
    /// collection has keywords.
    #[serde(default)]
    hybrid: bool,
    /// Whether only the words of the query rank.
    #[serde(default)]
    words_only: bool,
    /// Whether items are left out that the user called irrelevant for this very query.
    #[serde(default)]
    hide_rejected: bool,
    /// The user, whose own metric is the active one where they have one.
    user: Option<String>,
    /// What is given of each item; text and metadata by default.
    include: Option<Vec<Include>>,
    /// Whether each hit has `highlights`, the places in its text that say why it was found: the words
    /// of the query, where the collection has keywords, and the nearest of its sentences, where it has
    /// an encoder. A search with them has at most 1,000 hits.
    #[serde(default)]
    highlights: bool,
    /// Whether it is told how the search was executed.
    #[serde(default)]
    explain_search: bool,
    /// Another metric, under which the answer is given too, with each hit's move.
    compare: Option<MetricName>,
}

fn ten() -> usize {
    10
}

fn yes() -> bool {
    true
}

/// What is given of an item.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Include {
    /// Its text.
    Text,
    /// Its metadata.
    Meta,
}

/// The answer to one query, or the answers to many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SearchResponse {
    /// The answer to one query.
    One(Box<AnswerDocument>),
    /// The answers to many, in the order of the queries.
    Many(Answers),
}

/// The answers to many queries.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answers {
    /// The answers, in the order of the queries.
    answers: Vec<AnswerDocument>,
}

/// A search that was read from a request.
struct Wanted {
    queries: Vec<SearchQuery>,
    /// Their names in the answers.
    names: Vec<Value>,
    settings: SearchSettings,
    explain_search: bool,
}

impl Wanted {
    fn read(request: SearchRequest) -> Result<Self, Problem> {
        if request.cursor.is_some() && (request.compare.is_some() || request.queries.is_some()) {
            return Err(Problem::invalid(
                "a cursor continues one query: it does not go with `compare` or `queries`",
            ));
        }
        let one = Asked {
            query: request.query,
            vector: request.vector,
            like: request.like,
            unlike: request.unlike,
            positive: request.positive,
            negative: request.negative,
        };
        let asked = match request.queries {
            None => vec![one],
            Some(many) if one == Asked::default() => many,
            Some(_) => {
                return Err(Problem::invalid(
                    "a search has one query or `queries`, not both",
                ));
            }
        };
        if request.per_group.is_some() && request.group_by.is_none() {
            return Err(Problem::invalid("`per_group` needs `group_by`"));
        }
        if request.facet_values.is_some() && request.facets.is_empty() {
            return Err(Problem::invalid("`facet_values` needs `facets`"));
        }
        let per_group = request.per_group.unwrap_or(1);
        let each = request
            .k
            .saturating_add(request.offset)
            .saturating_mul(per_group);
        if asked.len().saturating_mul(each) > MAX_HITS {
            return Err(Problem::invalid(format!(
                "{} queries with {each} hits each ask for more than {MAX_HITS} hits",
                asked.len(),
            )));
        }
        if request.ef.is_some() && request.recall.is_some() {
            return Err(Problem::invalid("a search has `ef` or `recall`, not both"));
        }
        let ranking = rank_by(request.hybrid, request.words_only)?;
        let wants = |what| {
            let include = request.include.as_ref();
            include.is_none_or(|include| include.contains(&what))
        };
        let settings = SearchSettings {
            k: request.k,
            offset: request.offset,
            cursor: request.cursor,
            max_distance: request.max_distance,
            group_by: request.group_by,
            per_group,
            diversity: request.diversity,
            facets: request.facets,
            facet_values: request.facet_values.unwrap_or(DEFAULT_FACET_VALUES),
            metric: choice(request.metric),
            filter: filter(request.filter.as_ref())?,
            ef: request.ef,
            recall: request.recall,
            text: wants(Include::Text),
            meta: wants(Include::Meta),
            user: request.user,
            memory: request.memory,
            ranking,
            hide_rejected: request.hide_rejected,
            highlights: request.highlights,
            ..SearchSettings::default()
        };
        let read = asked.into_iter().map(Asked::read);
        let read: Vec<(SearchQuery, Value)> = read.collect::<Result<_, _>>()?;
        let (queries, names) = read.into_iter().unzip();
        Ok(Self {
            queries,
            names,
            settings,
            explain_search: request.explain_search,
        })
    }

    /// The answers to the queries.
    fn run(&self, target: &Target, settings: &SearchSettings) -> Result<Vec<Hits>, Problem> {
        match self.queries.as_slice() {
            [query] => Ok(vec![target.search(query.clone(), settings)?]),
            many => Ok(target.search_many(many.to_vec(), settings)?),
        }
    }
}

/// Finds the items nearest to a text, a vector or a stored item.
#[utoipa::path(post, path = "/v1/collections/{c}/search", tag = "search",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = SearchRequest,
    responses((status = 200, description = "The hits", body = SearchResponse)))]
pub(crate) async fn search(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(request): Given<SearchRequest>,
) -> Result<Json<SearchResponse>, Problem> {
    let many = request.queries.is_some();
    let compare = request.compare.map(MetricChoice::from);
    let mut wanted = Wanted::read(request)?;
    let (_guard, given_up) = GivenUp::new();
    wanted.settings.cancel = Some(Arc::new(given_up));
    let answers = app.on(name, move |target| {
        let found = wanted.run(target, &wanted.settings)?;
        let mut compared = match compare {
            Some(metric) => {
                let settings = SearchSettings {
                    metric,
                    ..wanted.settings.clone()
                };
                wanted.run(target, &settings)?.into_iter()
            }
            None => Vec::new().into_iter(),
        };
        let facets = target.facets(&wanted.settings)?;
        let named = wanted.names.into_iter().zip(found);
        let answers = named.map(|(name, hits)| {
            let answer = AnswerDocument::new(name, hits, wanted.explain_search);
            let answer = answer.with_facets(facets.clone());
            match compared.next() {
                Some(other) => answer.compared_with(other),
                None => answer,
            }
        });
        Ok(answers.collect::<Vec<_>>())
    });
    let mut answers = answers.await?;
    Ok(Json(match answers.pop() {
        Some(one) if !many => SearchResponse::One(Box::new(one)),
        last => {
            answers.extend(last);
            SearchResponse::Many(Answers { answers })
        }
    }))
}
