//! Queries, metrics and filters as requests name them.

use affinis::{CombinedQuery, Filter, MetricChoice, Query, RankBy, SearchQuery, VersionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::Problem;

/// A metric: `"active"`, `"euclidean"` or the number of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a metric is \"active\", \"euclidean\" or a version's number"
)]
pub(crate) enum MetricName {
    /// A metric by its name.
    Named(NamedMetric),
    /// A version by its number.
    Version(u32),
}

/// A metric by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NamedMetric {
    /// The one that answers the user, or everybody.
    Active,
    /// The collection's built-in distance, version 0.
    Euclidean,
}

impl From<MetricName> for MetricChoice {
    fn from(name: MetricName) -> Self {
        match name {
            MetricName::Named(NamedMetric::Active) => Self::Active,
            MetricName::Named(NamedMetric::Euclidean) => Self::BuiltIn,
            MetricName::Version(number) => Self::Version(VersionId(number)),
        }
    }
}

/// The metric of a request; the active one where it names none.
pub(crate) fn choice(name: Option<MetricName>) -> MetricChoice {
    name.map_or(MetricChoice::Active, Into::into)
}

/// What `hybrid` and `words_only` rank by.
pub(crate) fn rank_by(hybrid: bool, words_only: bool) -> Result<RankBy, Problem> {
    match (hybrid, words_only) {
        (false, false) => Ok(RankBy::Meaning),
        (true, false) => Ok(RankBy::Hybrid),
        (false, true) => Ok(RankBy::Words),
        (true, true) => Err(Problem::invalid(
            "answers are ranked by `hybrid` or `words_only`, not both",
        )),
    }
}

/// One query of a search: one of `query`, `vector` and `like`; or several in one, which have a list
/// of `like`, or `unlike`, `positive` or `negative`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// A text, which the collection's encoder encodes.
    pub(crate) query: Option<String>,
    /// A vector of the collection's dimension.
    pub(crate) vector: Option<Vec<f32>>,
    /// Id of a stored item, which is left out of the answer; or a list of ids, whose mean is
    /// searched for.
    pub(crate) like: Option<Ids>,
    /// Ids of stored items that hits are to be far from.
    pub(crate) unlike: Option<Ids>,
    /// Further texts, vectors and items that hits are to be near to, with their weights.
    pub(crate) positive: Option<Vec<Part>>,
    /// Texts, vectors and items that hits are to be far from, with their weights.
    pub(crate) negative: Option<Vec<Part>>,
}

/// An id, or a list of ids.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "an item's id or a list of ids is expected")]
pub(crate) enum Ids {
    /// One id.
    One(String),
    /// A list of ids.
    Many(Vec<String>),
}

/// A part of several queries in one: one of `query`, `vector` and `like`.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// A text, which the collection's encoder encodes.
    query: Option<String>,
    /// A vector of the collection's dimension.
    vector: Option<Vec<f32>>,
    /// Id of a stored item, which is left out of the answer.
    like: Option<String>,
    /// Weight among the parts of its side, above 0.
    #[serde(default = "one")]
    weight: f32,
}

fn one() -> f32 {
    1.0
}

impl Ids {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

impl Asked {
    /// The query, and its name in the answer.
    pub(crate) fn read(self) -> Result<(SearchQuery, Value), Problem> {
        let has_examples =
            self.unlike.is_some() || self.positive.is_some() || self.negative.is_some();
        let like = match (has_examples, &self.like) {
            (false, None) => None,
            (false, Some(Ids::One(id))) => Some(id.clone()),
            _ => return self.combined(),
        };
        let (query, name) = single(self.query, self.vector, like)?;
        Ok((query.into(), name))
    }

    /// Several queries in one. Their name has what can be named of them.
    fn combined(self) -> Result<(SearchQuery, Value), Problem> {
        let mut name = serde_json::Map::new();
        let mut combined = CombinedQuery::new();
        if let Some(text) = self.query {
            name.insert("query".to_owned(), text.as_str().into());
            combined = combined.positive(text, 1.0);
        }
        if let Some(vector) = self.vector {
            name.insert("vector".to_owned(), Value::Null);
            combined = combined.positive(vector, 1.0);
        }
        if let Some(ids) = self.like {
            let ids = ids.list();
            name.insert("like".to_owned(), ids.clone().into());
            combined = ids.into_iter().fold(combined, CombinedQuery::like);
        }
        if let Some(ids) = self.unlike {
            let ids = ids.list();
            name.insert("unlike".to_owned(), ids.clone().into());
            combined = ids.into_iter().fold(combined, CombinedQuery::unlike);
        }
        for (side, parts) in [("positive", self.positive), ("negative", self.negative)] {
            let Some(parts) = parts else {
                continue;
            };
            let mut names = Vec::with_capacity(parts.len());
            for part in parts {
                let weight = part.weight;
                let (query, name) = single(part.query, part.vector, part.like)?;
                names.push(name);
                combined = if side == "positive" {
                    combined.positive(query, weight)
                } else {
                    combined.negative(query, weight)
                };
            }
            name.insert(side.to_owned(), names.into());
        }
        combined.check()?;
        Ok((combined.into(), name.into()))
    }
}

/// A single query, and its name in the answer.
pub(crate) fn single(
    query: Option<String>,
    vector: Option<Vec<f32>>,
    like: Option<String>,
) -> Result<(Query, Value), Problem> {
    match (query, vector, like) {
        (Some(text), None, None) => Ok((text.as_str().into(), text.into())),
        (None, Some(vector), None) => Ok((vector.into(), Value::Null)),
        (None, None, Some(id)) => Ok((Query::like(id.as_str()), id.into())),
        _ => Err(Problem::invalid(
            "a query is one of `query` (a text), `vector` and `like` (an item's id)",
        )),
    }
}

/// The query of a judgement or of an evaluation.
pub(crate) fn judged(
    query: Option<String>,
    query_id: Option<String>,
    query_vector: Option<Vec<f32>>,
) -> Result<Query, Problem> {
    match (query, query_id, query_vector) {
        (Some(text), None, None) => Ok(text.into()),
        (None, Some(id), None) => Ok(Query::like(id)),
        (None, None, Some(vector)) => Ok(vector.into()),
        _ => Err(Problem::invalid(
            "a query is one of `query` (a text), `query_id` (an item's id) and `query_vector`",
        )),
    }
}

/// The filter of a request.
pub(crate) fn filter(given: Option<&Value>) -> Result<Option<Filter>, Problem> {
    Ok(given.map(Filter::from_json).transpose()?)
}
