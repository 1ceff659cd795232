//! Answers to searches.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use affinis::{Execution, Facet, GroupCount, Highlight, Hit, Hits, VersionId};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The answer to one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnswerDocument {
    /// The text or the id that was asked for; the row of a vector in a file, null for a vector in a
    /// request, an object for several queries in one.
    pub query: Value,
    /// Version of the metric that ranked the hits.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub metric: VersionId,
    /// The hits, nearest first; group by group, or in the order of diversity, where that was asked
    /// for.
    pub hits: Vec<HitDocument>,
    /// The groups of the hits, the one with the best hit first, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupDocument>>,
    /// How many items that pass the filter have each value of the fields that were asked for, by
    /// field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, FacetDocument>>))]
    pub facets: Option<Facets>,
    /// The cursor of the next page, where pages were asked for and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How the search was executed, where that was asked for: `visited`, `ef`, `micros`, `plan`.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub execution: Option<ExecutionDocument>,
    /// The answer under another metric, where a comparison was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<ComparedDocument>,
}

/// Facets by the names of their fields.
pub type Facets = BTreeMap<String, FacetDocument>;

/// A group of hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupDocument {
    /// The value that its items have; null for an item that stands alone.
    pub value: Value,
    /// Number of items of the collection that have it and pass the filter; 1 for an item that stands
    /// alone.
    pub count: u64,
}

/// How many items that pass the filter have each value of a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetDocument {
    /// The most frequent values, the most frequent first.
    pub values: Vec<FacetValueDocument>,
    /// Number of different values, those that are not listed among them.
    pub distinct: u64,
    /// Number of items without the field.
    pub missing: u64,
    /// Number of items with an object or an integer beyond 2^53 there, which is not counted.
    pub uncounted: u64,
}

/// A value of a facet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetValueDocument {
    /// The value; an element where an item has a list.
    pub value: Value,
    /// Number of items that have it.
    pub count: u64,
}

impl From<Facet> for FacetDocument {
    fn from(facet: Facet) -> Self {
        let values = facet.values.into_iter().map(|value| FacetValueDocument {
            value: value.value,
            count: value.count,
        });
        Self {
            values: values.collect(),
            distinct: facet.distinct,
            missing: facet.missing,
            uncounted: facet.uncounted,
        }
    }
}

impl From<GroupCount> for GroupDocument {
    fn from(group: GroupCount) -> Self {
        Self {
            value: group.value.unwrap_or_default(),
            count: group.count,
        }
    }
}

/// An answer that another is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComparedDocument {
    /// Version of the metric that ranked the hits.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub metric: VersionId,
    /// The hits, nearest first.
    pub hits: Vec<HitDocument>,
}

/// One hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HitDocument {
    /// Id of the item.
    pub id: String,
    /// Squared distance under the metric; smaller is nearer. Null where the item was found by the
    /// words of a text that has no vector.
    #[serde(deserialize_with = "number_or_null")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f32>))]
    pub distance: f32,
    /// Score for people; larger is better.
    pub score: f32,
    /// By how much judgements of this question and of questions like it bring the item nearer: hits
    /// are in the order of distance less memory. Not there where none is near the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f32>,
    /// Score of the text for the words of the query, by BM25; larger is better. Not there in a search
    /// by meaning only, nor where the words do not find the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword_score: Option<f32>,
    /// Rank among the hits, from 1.
    pub rank: usize,
    /// Text of the item; null where it has none or none was asked for.
    pub text: Option<String>,
    /// Metadata of the item; null where it has none or none were asked for.
    pub meta: Option<Value>,
    /// Value of the field that hits are grouped by. Not there without groups, and for an item that
    /// stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Value>,
    /// The places in its text that say why it was found, in their order, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highlights: Option<Vec<HighlightDocument>>,
    /// By how many ranks it stands higher than under the metric that the answer is compared with;
    /// null where it is not among the hits there.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub moved: Option<Option<i64>>,
}

/// A place in the text of a hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HighlightDocument {
    /// Where it begins, in bytes of UTF-8 from the beginning of the text.
    pub start: usize,
    /// Where it ends, behind its last byte.
    pub end: usize,
    /// What it shares with the query: `words` for a word or a phrase of it, `meaning` for the
    /// sentence of the text that is nearest to it.
    pub by: String,
}

impl From<Highlight> for HighlightDocument {
    fn from(highlight: Highlight) -> Self {
        Self {
            start: highlight.start,
            end: highlight.end,
            by: highlight.by.to_string(),
        }
    }
}

/// A number, or null for what is none.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN))
}

/// A field that is there, and may be null.
#[expect(clippy::option_option, reason = "see `HitDocument::moved`")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// How a search was executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionDocument {
    /// Number of distances computed.
    pub visited: usize,
    /// Width of the beam.
    pub ef: usize,
    /// Microseconds in the index.
    pub micros: u64,
    /// How the segments were searched, such as `graph`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub plan: Cow<'static, str>,
    /// Number of distances that it was expected to compute. Not in JSON, as the two below.
    #[serde(skip)]
    pub expected: Option<usize>,
    /// Number of items that pass the filter, if there is one.
    #[serde(skip)]
    pub matching: Option<usize>,
    /// Mean share of the nearest items that such searches find.
    #[serde(skip)]
    pub expected_recall: Option<f32>,
}

impl AnswerDocument {
    /// The answer to a query of this name, with its execution where that is wanted.
    pub fn new(query: Value, hits: Hits, with_execution: bool) -> Self {
        Self {
            query,
            metric: hits.metric,
            groups: hits
                .groups
                .clone()
                .map(|groups| groups.into_iter().map(GroupDocument::from).collect()),
            facets: None,
            cursor: hits.cursor.clone(),
            execution: with_execution.then(|| (&hits.execution).into()),
            hits: hits.into_iter().map(HitDocument::from).collect(),
            compared: None,
        }
    }

    /// The answer with facets, where they were asked for.
    #[must_use]
    pub fn with_facets(mut self, facets: Option<Facets>) -> Self {
        self.facets = facets;
        self
    }

    /// The answer beside that of another metric, with each hit's move.
    #[must_use]
    pub fn compared_with(mut self, other: Hits) -> Self {
        let ranks: HashMap<&str, usize> = other
            .iter()
            .map(|hit| (hit.id.as_str(), hit.rank))
            .collect();
        for hit in &mut self.hits {
            let there = ranks.get(hit.id.as_str());
            hit.moved = Some(there.map(|there| *there as i64 - hit.rank as i64));
        }
        self.compared = Some(ComparedDocument {
            metric: other.metric,
            hits: other.into_iter().map(HitDocument::from).collect(),
        });
        self
    }
}

impl From<&Execution> for ExecutionDocument {
    fn from(execution: &Execution) -> Self {
        Self {
            visited: execution.visited,
            ef: execution.ef,
            micros: execution.micros,
            plan: execution.plan.name().into(),
            expected: Some(execution.expected),
            matching: execution.matching,
            expected_recall: execution.expected_recall,
        }
    }
}

impl From<Hit> for HitDocument {
    fn from(hit: Hit) -> Self {
        Self {
            id: hit.id,
            distance: hit.distance,
            score: hit.score,
            memory: hit.memory,
            keyword_score: hit.keyword_score,
            rank: hit.rank,
            text: hit.text,
            meta: hit.meta,
            group: hit.group,
            highlights: hit
                .highlights
                .map(|places| places.into_iter().map(HighlightDocument::from).collect()),
            moved: None,
        }
    }
}
