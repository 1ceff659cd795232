//! [`Search`]: one query, or many.

use affinis::{Filter, MetricChoice, Query, RankBy, SearchQuery};
use affinis_api::AnswerDocument;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::http::Repeat;

/// The most hits of all queries of a request together.
const MAX_HITS: usize = 100_000;
/// The most queries of a request.
const MAX_QUERIES: usize = 1_000;
/// Number of hits where none is given.
const DEFAULT_K: usize = 10;

/// A search that is to be made: of one [`SearchQuery`], or of a `Vec` of them.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Search<Q> {
    collection: Collection,
    asked: Q,
    k: usize,
    offset: usize,
    per_group: usize,
    settings: Map<String, Value>,
}

impl Collection {
    /// A search for the items nearest to a text, a vector, a stored item, or several of them in one: a
    /// [`CombinedQuery`](affinis::CombinedQuery).
    pub fn search(&self, query: impl Into<SearchQuery>) -> Search<SearchQuery> {
        Search::new(self, query.into())
    }

    /// A search for many queries, which are answered in their order.
    pub fn search_many(
        &self,
        queries: impl IntoIterator<Item = impl Into<SearchQuery>>,
    ) -> Search<Vec<SearchQuery>> {
        Search::new(self, queries.into_iter().map(Into::into).collect())
    }
}

impl<Q> Search<Q> {
    fn new(collection: &Collection, asked: Q) -> Self {
        Self {
            collection: collection.clone(),
            asked,
            k: DEFAULT_K,
            offset: 0,
            per_group: 1,
            settings: Map::new(),
        }
    }

    fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the number of hits, 1 to 10,000; 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Leaves out the first `offset` hits, or groups; `k + offset` is at most 10,000.
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self.set("offset", offset)
    }

    /// Asks for pages: `"start"` ([`FIRST_PAGE`](affinis::FIRST_PAGE)) for the first one, then the
    /// `cursor` of each answer for the page that follows it.
    pub fn cursor(self, cursor: impl Into<String>) -> Self {
        self.set("cursor", cursor.into())
    }

    /// Leaves out hits whose distance is above this one, which is in the unit of the metric.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for one that is not finite, which JSON cannot say.
    pub fn max_distance(self, distance: f32) -> Result<Self> {
        if !distance.is_finite() {
            return Err(Error::Unsupported("a distance that is not finite"));
        }
        Ok(self.set("max_distance", distance))
    }

    /// Gives at most `per_group` hits of each value of a metadata field; `k` is then the number of
    /// groups.
    pub fn group_by(mut self, field: impl Into<String>, per_group: usize) -> Self {
        self.per_group = per_group;
        self.set("group_by", field.into())
            .set("per_group", per_group)
    }

    /// Chooses hits that differ from each other: 0 changes nothing, at 1 only difference counts.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a number that is not finite, which JSON cannot say.
    pub fn diversity(self, diversity: f64) -> Result<Self> {
        if !diversity.is_finite() {
            return Err(Error::Unsupported("a diversity that is not finite"));
        }
        Ok(self.set("diversity", diversity))
    }

    /// Counts the values of metadata fields over the items that pass the filter, the most frequent
    /// `values` of each.
    pub fn facets(
        self,
        fields: impl IntoIterator<Item = impl Into<String>>,
        values: usize,
    ) -> Self {
        let fields: Vec<String> = fields.into_iter().map(Into::into).collect();
        if fields.is_empty() {
            return self;
        }
        self.set("facets", fields).set("facet_values", values)
    }

    /// Searches only items whose metadata match.
    pub fn filter(self, filter: &Filter) -> Self {
        let filter = filter.as_json().clone();
        self.set("filter", filter)
    }

    /// Asks for the places in the texts of hits that say why they were found.
    pub fn highlights(self) -> Self {
        self.set("highlights", true)
    }

    /// Sets the width of the beam, at least 1, in place of a target for the recall.
    pub fn ef(self, ef: usize) -> Self {
        self.set("ef", ef)
    }

    /// Sets the target for the recall, above 0 and at most 1; 0.95 by default.
    pub fn recall(self, recall: f64) -> Self {
        self.set("recall", recall)
    }

    /// Sets the metric that ranks; the active one by default.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a choice that this client does not know.
    pub fn metric(self, metric: MetricChoice) -> Result<Self> {
        let name = metric_name(metric)?;
        Ok(self.set("metric", name))
    }

    /// Searches for a user, whose own metric is the active one where they have one.
    pub fn user(self, user: impl Into<String>) -> Self {
        self.set("user", user.into())
    }

    /// Sets whether judgements of the question, and of questions like it, show in an answer under the
    /// active metric; they do by default.
    pub fn memory(self, memory: bool) -> Self {
        self.set("memory", memory)
    }

    /// Sets what items are ranked by: their meaning by default, the words of the query, or both.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a choice that this client does not know.
    pub fn ranking(self, ranking: RankBy) -> Result<Self> {
        match ranking {
            RankBy::Meaning => Ok(self),
            RankBy::Words => Ok(self.set("words_only", true)),
            RankBy::Hybrid => Ok(self.set("hybrid", true)),
            _ => Err(Error::Unsupported("this ranking")),
        }
    }

    /// Leaves out items that the user called irrelevant for this very query.
    pub fn hide_rejected(self) -> Self {
        self.set("hide_rejected", true)
    }

    /// Leaves texts and metadata out of the hits.
    pub fn ids_only(self) -> Self {
        self.set("include", Vec::<String>::new())
    }

    /// Has it told how the search was executed.
    pub fn explain_search(self) -> Self {
        self.set("explain_search", true)
    }

    /// Gives the answer under another metric too, with each hit's move.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a choice that this client does not know.
    pub fn compare(self, metric: MetricChoice) -> Result<Self> {
        let name = metric_name(metric)?;
        Ok(self.set("compare", name))
    }

    fn body(&self, more: Value) -> Value {
        let mut body = self.settings.clone();
        body.insert("k".to_owned(), self.k.into());
        if let Value::Object(more) = more {
            body.extend(more);
        }
        body.into()
    }
}

impl Search<SearchQuery> {
    /// The answer.
    ///
    /// # Errors
    /// A problem `invalid-input` for a query or a setting that breaks a rule, `not-found` for an
    /// unknown item or version.
    pub fn run(&self) -> Result<AnswerDocument> {
        let body = self.body(searched(&self.asked)?);
        let path = self.collection.path("search");
        self.collection.http().post(&path, &body, Repeat::Read)
    }
}

impl Search<Vec<SearchQuery>> {
    /// The answers, in the order of the queries. Many of them are asked for in several requests.
    ///
    /// # Errors
    /// As for one query; none is answered then.
    pub fn run(&self) -> Result<Vec<AnswerDocument>> {
        #[derive(Deserialize)]
        struct Answers {
            answers: Vec<AnswerDocument>,
        }
        let each = self.k.saturating_add(self.offset);
        let each = each.saturating_mul(self.per_group).max(1);
        let most = (MAX_HITS / each).clamp(1, MAX_QUERIES);
        let path = self.collection.path("search");
        let mut answers = Vec::with_capacity(self.asked.len());
        for asked in self.asked.chunks(most) {
            let queries: Vec<Value> = asked.iter().map(searched).collect::<Result<_>>()?;
            let body = self.body(json!({ "queries": queries }));
            let some: Answers = self.collection.http().post(&path, &body, Repeat::Read)?;
            answers.extend(some.answers);
        }
        Ok(answers)
    }
}

/// What is searched for, as fields.
fn searched(asked: &SearchQuery) -> Result<Value> {
    match asked {
        SearchQuery::Single(one) => query(one),
        SearchQuery::Combined(combined) => {
            let part = |(part, weight): (&Query, f32)| {
                if !weight.is_finite() {
                    return Err(Error::Unsupported("a weight that is not finite"));
                }
                let mut fields = query(part)?;
                fields["weight"] = weight.into();
                Ok(fields)
            };
            let positive: Vec<Value> = combined.positives().map(part).collect::<Result<_>>()?;
            let negative: Vec<Value> = combined.negatives().map(part).collect::<Result<_>>()?;
            Ok(json!({ "positive": positive, "negative": negative }))
        }
        _ => Err(Error::Unsupported("this kind of query")),
    }
}

/// A single query, as fields.
pub(crate) fn query(query: &Query) -> Result<Value> {
    Ok(match query {
        Query::Text(text) => json!({ "query": text }),
        Query::Vector(vector) => json!({ "vector": vector }),
        Query::Item(id) => json!({ "like": id }),
        _ => return Err(Error::Unsupported("this kind of query")),
    })
}

/// The query of a judgement, as fields.
pub(crate) fn judged(query: &Query) -> Result<Value> {
    Ok(match query {
        Query::Text(text) => json!({ "query": text }),
        Query::Vector(vector) => json!({ "query_vector": vector }),
        Query::Item(id) => json!({ "query_id": id }),
        _ => return Err(Error::Unsupported("this kind of query")),
    })
}

/// A metric as requests name it.
pub(crate) fn metric_name(metric: MetricChoice) -> Result<Value> {
    Ok(match metric {
        MetricChoice::Active => "active".into(),
        MetricChoice::BuiltIn => "euclidean".into(),
        MetricChoice::Version(version) => version.0.into(),
        _ => return Err(Error::Unsupported("this choice of a metric")),
    })
}
