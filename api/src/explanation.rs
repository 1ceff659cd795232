//! Explanations of the ranks of items.

use affinis::learning::{ByWords, Explanation, Influence};
use affinis::{JudgementId, VersionId};
use serde::{Deserialize, Serialize};

/// One direction of a metric in an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DirectionDocument {
    /// Factor of the squared length along it, an eigenvalue of the matrix.
    pub weight: f64,
    /// Its part of the distance.
    pub contribution: f64,
    /// That part as a share of the distance, 0 to 1.
    pub share: f64,
}

/// How a judgement changed a distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InfluenceDocument {
    /// Number of the judgement.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub judgement: JudgementId,
    /// Change of the distance; below 0 it brought the item nearer.
    pub influence: f64,
}

/// A word or phrase of the query that the item's text holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundWordsDocument {
    /// As the query says it, with its operator.
    pub words: String,
    /// What it adds to the keyword score.
    pub score: f32,
}

/// An item's place by words, and by words and meaning together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ByWordsDocument {
    /// Rank by words only, from 1; null beyond 1,000.
    pub rank: Option<usize>,
    /// Rank in a hybrid search, from 1; null beyond 1,000.
    pub hybrid_rank: Option<usize>,
    /// Its closeness in a hybrid search: 1 for the third item by meaning, 0 for the hundredth.
    pub closeness: f32,
    /// Its share of the words: the keyword score over that of a text of mean length with every word
    /// once.
    pub share: f32,
    /// Weight of that share beside closeness.
    pub weight: f64,
    /// The words and phrases that its text holds, those that count most first.
    pub found: Vec<FoundWordsDocument>,
}

impl From<&ByWords> for ByWordsDocument {
    fn from(by_words: &ByWords) -> Self {
        let found = by_words.found.iter().map(|found| FoundWordsDocument {
            words: found.words.clone(),
            score: found.score,
        });
        Self {
            rank: by_words.rank,
            hybrid_rank: by_words.hybrid_rank,
            closeness: by_words.shares.closeness,
            share: by_words.shares.words,
            weight: by_words.weight,
            found: found.collect(),
        }
    }
}

/// Why an item is at its rank for a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplanationDocument {
    /// Squared distance under the metric.
    pub distance: f64,
    /// Squared Euclidean distance.
    pub euclidean: f64,
    /// The distance split over the metric's directions, the largest part first.
    pub directions: Vec<DirectionDocument>,
    /// Influences of the judgements, the strongest first.
    pub judgements: Vec<InfluenceDocument>,
    /// The judgements of this question and of questions like it that move the query, with their
    /// influences beside an item equal to the query, the strongest first.
    pub memory: Vec<InfluenceDocument>,
    /// Version of the metric that is explained.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub metric: VersionId,
    /// Rank under it, from 1; null beyond 1,000.
    pub rank: Option<usize>,
    /// Rank under the built-in distance; null beyond 1,000.
    pub euclidean_rank: Option<usize>,
    /// Its place by words, where the collection has keywords and the query words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<ByWordsDocument>,
    /// Number of judgements whose influence is not known, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<usize>,
}

impl From<&Explanation> for ExplanationDocument {
    fn from(why: &Explanation) -> Self {
        let directions = why.directions.iter().map(|direction| DirectionDocument {
            weight: direction.weight,
            contribution: direction.contribution,
            share: direction.share,
        });
        let influences = |influences: &[Influence]| {
            let influences = influences.iter().map(|influence| InfluenceDocument {
                judgement: influence.judgement,
                influence: influence.influence,
            });
            influences.collect()
        };
        Self {
            distance: why.distance,
            euclidean: why.euclidean,
            directions: directions.collect(),
            judgements: influences(&why.judgements),
            memory: influences(&why.memory),
            metric: why.metric,
            rank: why.rank,
            euclidean_rank: why.euclidean_rank,
            words: why.words.as_ref().map(Into::into),
            stale: (why.stale > 0).then_some(why.stale),
        }
    }
}
