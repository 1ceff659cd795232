//! [`Search`]: one query, or many.

use affinis::{Filter, MetricChoice, Query};
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

/// A search that is to be made: of one [`Query`], or of a `Vec` of them.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Search<Q> {
    collection: Collection,
    asked: Q,
    k: usize,
    settings: Map<String, Value>,
}

impl Collection {
    /// A search for the items nearest to a text, a vector or a stored item.
    pub fn search(&self, query: impl Into<Query>) -> Search<Query> {
        Search::new(self, query.into())
    }

    /// A search for many queries, which are answered in their order.
    pub fn search_many(
        &self,
        queries: impl IntoIterator<Item = impl Into<Query>>,
    ) -> Search<Vec<Query>> {
        Search::new(self, queries.into_iter().map(Into::into).collect())
    }
}

impl<Q> Search<Q> {
    fn new(collection: &Collection, asked: Q) -> Self {
        Self {
            collection: collection.clone(),
            asked,
            k: DEFAULT_K,
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

    /// Searches only items whose metadata match.
    pub fn filter(self, filter: &Filter) -> Self {
        let filter = filter.as_json().clone();
        self.set("filter", filter)
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

impl Search<Query> {
    /// The answer.
    ///
    /// # Errors
    /// A problem `invalid-input` for a query or a setting that breaks a rule, `not-found` for an
    /// unknown item or version.
    pub fn run(&self) -> Result<AnswerDocument> {
        let body = self.body(query(&self.asked)?);
        let path = self.collection.path("search");
        self.collection.http().post(&path, &body, Repeat::Read)
    }
}

impl Search<Vec<Query>> {
    /// The answers, in the order of the queries. Many of them are asked for in several requests.
    ///
    /// # Errors
    /// As for one query; none is answered then.
    pub fn run(&self) -> Result<Vec<AnswerDocument>> {
        #[derive(Deserialize)]
        struct Answers {
            answers: Vec<AnswerDocument>,
        }
        let most = (MAX_HITS / self.k.max(1)).clamp(1, MAX_QUERIES);
        let path = self.collection.path("search");
        let mut answers = Vec::with_capacity(self.asked.len());
        for asked in self.asked.chunks(most) {
            let queries: Vec<Value> = asked.iter().map(query).collect::<Result<_>>()?;
            let body = self.body(json!({ "queries": queries }));
            let some: Answers = self.collection.http().post(&path, &body, Repeat::Read)?;
            answers.extend(some.answers);
        }
        Ok(answers)
    }
}

/// The query of a search, as fields.
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
