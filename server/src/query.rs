//! Queries, metrics and filters as requests name them.

use affinis::{Filter, MetricChoice, Query, VersionId};
use serde::Deserialize;
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

/// One query of a search.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// A text, which the collection's encoder encodes.
    pub(crate) query: Option<String>,
    /// A vector of the collection's dimension.
    pub(crate) vector: Option<Vec<f32>>,
    /// Id of a stored item, which is left out of the answer.
    pub(crate) like: Option<String>,
}

impl Asked {
    /// The query, and its name in the answer.
    pub(crate) fn read(self) -> Result<(Query, Value), Problem> {
        match (self.query, self.vector, self.like) {
            (Some(text), None, None) => Ok((Query::from(text.as_str()), text.into())),
            (None, Some(vector), None) => Ok((vector.into(), Value::Null)),
            (None, None, Some(id)) => Ok((Query::like(id.as_str()), id.into())),
            _ => Err(Problem::invalid(
                "a query is one of `query` (a text), `vector` and `like` (an item's id)",
            )),
        }
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
