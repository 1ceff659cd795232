//! Judgements, refits, questions, explanations, evaluations.

use std::time::Duration;

use affinis::learning::{EvalQuery, Evaluation, Forget};
use affinis::{Judgement, JudgementId, MetricChoice, Query, RankBy};
use affinis_api::{
    ExplanationDocument, ForgottenDocument, JudgedDocument, JudgementDocument, JudgementsDocument,
    OpenQuestionDocument, RefitDocument,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::http::{Repeat, encoded};
use crate::jobs::Job;
use crate::pages::Pages;
use crate::search::{judged, metric_name, query};

/// Judgements of a page.
const PAGE: usize = 1_000;
const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// An answer that was shown, and what was chosen of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The query.
    pub query: Query,
    /// Ids of the items that were shown, in their order.
    pub shown: Vec<String>,
    /// Ids of those that were chosen.
    pub clicked: Vec<String>,
    /// The user, where they have a name.
    pub user: Option<String>,
}

impl Collection {
    /// Stores judgements, all or none, in one request, which has at most 32 MiB.
    ///
    /// # Errors
    /// A problem `not-found` for an item that is not there, `invalid-input` for a judgement that
    /// breaks a rule, `forbidden` for one of another user than that of the token.
    pub fn judge(&self, judgements: &[Judgement]) -> Result<JudgedDocument> {
        let body = json!({ "judgements": judgements });
        self.http()
            .post(&self.path("judgements"), &body, Repeat::Keyed)
    }

    /// A list of the judgements, in the order of their numbers.
    pub fn judgements(&self) -> JudgementsOf {
        JudgementsOf {
            collection: self.clone(),
            after: None,
            parameters: Vec::new(),
        }
    }

    /// Withdraws a judgement, as if it had never been given.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown number, `forbidden` for that of another user.
    pub fn withdraw(&self, judgement: JudgementId) -> Result<ForgottenDocument> {
        self.http()
            .delete(&self.path(&format!("judgements/{judgement}")))
    }

    /// Stores what was chosen of answers, as judgements of source click.
    ///
    /// # Errors
    /// Those of [`judge`](Self::judge); a problem `invalid-input` for a choice that was not shown.
    pub fn signals(&self, signals: &[Signal]) -> Result<JudgedDocument> {
        let sent = signals.iter().map(|signal| -> Result<Value> {
            let mut sent = judged(&signal.query)?;
            sent["shown"] = json!(signal.shown);
            sent["clicked"] = json!(signal.clicked);
            if let Some(user) = &signal.user {
                sent["user"] = json!(user);
            }
            Ok(sent)
        });
        let sent: Vec<Value> = sent.collect::<Result<_>>()?;
        let body = json!({ "signals": sent });
        self.http()
            .post(&self.path("signals"), &body, Repeat::Keyed)
    }

    /// The questions of the last refit with [`Refit::ask`] that nobody answered yet.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub fn questions(&self) -> Result<Vec<OpenQuestionDocument>> {
        #[derive(Deserialize)]
        struct Questions {
            questions: Vec<OpenQuestionDocument>,
        }
        let open: Questions = self.http().get(&self.path("ask"))?;
        Ok(open.questions)
    }

    /// Answers questions: with judgements of their stored items as queries, and their items.
    ///
    /// # Errors
    /// A problem `conflict` for an answer to no open question; those of [`judge`](Self::judge).
    pub fn answer(&self, answers: &[Judgement]) -> Result<JudgedDocument> {
        let body = json!({ "answers": answers });
        self.http().post(&self.path("ask"), &body, Repeat::Keyed)
    }

    /// A refit that is to begin.
    pub fn refit(&self) -> Refit {
        Refit {
            collection: self.clone(),
            settings: RefitSettings::default(),
        }
    }

    /// Removes the judgements of a user, of an item, or of numbers, and learns anew without them.
    /// Judgements of numbers are withdrawn one by one; the outcome is that of the last, with all
    /// that were removed and withdrawn.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown number.
    pub fn forget(&self, what: &Forget) -> Result<ForgottenDocument> {
        let body = match what {
            Forget::User(user) => json!({ "user": user }),
            Forget::Item(item) => json!({ "item": item }),
            Forget::Judgements(numbers) => {
                let mut all: Option<ForgottenDocument> = None;
                for number in numbers {
                    let mut one = self.withdraw(*number)?;
                    if let Some(before) = all.take() {
                        one.removed += before.removed;
                        one.withdrawn.splice(..0, before.withdrawn);
                        one.refit = one.refit.or(before.refit);
                        one.users.splice(..0, before.users);
                    }
                    all = Some(one);
                }
                return all.ok_or(Error::Unsupported("a withdrawal of no judgement"));
            }
            _ => return Err(Error::Unsupported("this kind of forgetting")),
        };
        self.http().post(&self.path("forget"), &body, Repeat::Keyed)
    }

    /// An explanation of an item's rank for a query, which is to be made.
    pub fn explain(&self, asked: impl Into<Query>, item: impl Into<String>) -> Explain {
        Explain {
            collection: self.clone(),
            query: asked.into(),
            item: item.into(),
            settings: Map::new(),
        }
    }

    /// An evaluation on at most 10,000 queries whose relevant items are known, which is to be made.
    pub fn evaluate(&self, queries: Vec<EvalQuery>) -> Evaluate {
        Evaluate {
            collection: self.clone(),
            queries,
            settings: Map::new(),
            threshold: None,
        }
    }
}

/// A list of judgements that is to be read.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct JudgementsOf {
    collection: Collection,
    after: Option<String>,
    parameters: Vec<(&'static str, String)>,
}

impl JudgementsOf {
    /// Lists the judgements behind this number.
    pub fn after(mut self, number: JudgementId) -> Self {
        self.after = Some(number.to_string());
        self
    }

    /// Lists those of a user.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.parameters.push(("user", user.into()));
        self
    }

    /// Lists those of a query, a text.
    pub fn query(mut self, text: impl Into<String>) -> Self {
        self.parameters.push(("query", text.into()));
        self
    }

    /// Lists those that judge an item.
    pub fn item(mut self, id: impl Into<String>) -> Self {
        self.parameters.push(("item", id.into()));
        self
    }

    /// The judgements. Each page is read when it is needed.
    pub fn run(self) -> Pages<JudgementDocument> {
        let Self {
            collection,
            after,
            parameters,
        } = self;
        let mut fixed = format!("judgements?limit={PAGE}");
        for (name, value) in parameters {
            fixed = format!("{fixed}&{name}={}", encoded(&value));
        }
        Pages::new(after, move |after| {
            let mut path = collection.path(&fixed);
            if let Some(after) = after {
                path = format!("{path}&after={after}");
            }
            let page: JudgementsDocument = collection.http().get(&path)?;
            let next = page.next.map(|next| next.to_string());
            Ok((page.judgements, next))
        })
    }
}

/// A refit that is to begin.
#[must_use = "end with `begin` or `run`"]
#[derive(Debug, Clone)]
pub struct Refit {
    collection: Collection,
    settings: RefitSettings,
}

#[derive(Debug, Clone, Default, Serialize)]
struct RefitSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learner: Option<String>,
    dry_run: bool,
    force: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    half_life_days: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

impl Refit {
    /// Learns a metric for a user.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.user = Some(user.into());
        self
    }

    /// Sets the learner; by default the plugin chooses.
    pub fn learner(mut self, learner: impl Into<String>) -> Self {
        self.settings.learner = Some(learner.into());
        self
    }

    /// Learns and tests, and stores nothing.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.settings.dry_run = dry_run;
        self
    }

    /// Promotes whatever the gate says.
    pub fn force(mut self, force: bool) -> Self {
        self.settings.force = force;
        self
    }

    /// Asks this many questions, 2 to 1,000, if the metric does not pass the gate.
    pub fn ask(mut self, questions: usize) -> Self {
        self.settings.ask = Some(questions);
        self
    }

    /// Halves the weight of judgements for every such time that they are older than the newest.
    pub fn half_life(mut self, time: Duration) -> Self {
        self.settings.half_life_days = Some(time.as_secs_f64() / SECONDS_OF_A_DAY);
        self
    }

    /// Bounds the share of one user's judgements in the total weight, above 0 and at most 1.
    pub fn user_share(mut self, share: f64) -> Self {
        self.settings.user_share = Some(share);
        self
    }

    /// Sets the rank of a user's metric as an update of the shared one; 0 for a whole matrix.
    pub fn rank(mut self, rank: usize) -> Self {
        self.settings.rank = Some(rank);
        self
    }

    /// Sets the seed of all random choices.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Begins it in the background of the service.
    ///
    /// # Errors
    /// A problem `invalid-input` for settings that contradict each other.
    pub fn begin(&self) -> Result<Job<RefitDocument>> {
        let path = self.collection.path("refit");
        self.collection.client.begin(&path, &self.settings)
    }

    /// Begins it, and waits for its outcome.
    ///
    /// # Errors
    /// As [`begin`](Self::begin); the problem with which it failed, such as too few judgements.
    pub fn run(&self) -> Result<RefitDocument> {
        self.begin()?.wait()
    }
}

/// An explanation that is to be made.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Explain {
    collection: Collection,
    query: Query,
    item: String,
    settings: Map<String, Value>,
}

impl Explain {
    /// Explains under this metric; by default under the active one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a choice that this client does not know.
    pub fn metric(mut self, metric: MetricChoice) -> Result<Self> {
        self.settings
            .insert("metric".to_owned(), metric_name(metric)?);
        Ok(self)
    }

    /// Explains for a user.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.insert("user".to_owned(), user.into().into());
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown item; those of a search.
    pub fn run(self) -> Result<ExplanationDocument> {
        let mut body = self.settings;
        if let Value::Object(query) = query(&self.query)? {
            body.extend(query);
        }
        body.insert("item".to_owned(), self.item.into());
        let path = self.collection.path("explain");
        self.collection.http().post(&path, &body, Repeat::Read)
    }
}

/// An evaluation that is to be made.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct Evaluate {
    collection: Collection,
    queries: Vec<EvalQuery>,
    settings: Map<String, Value>,
    threshold: Option<f64>,
}

impl Evaluate {
    /// Sets the number of hits over which precision, recall and nDCG are computed; 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.settings.insert("k".to_owned(), k.into());
        self
    }

    /// Measures this metric beside Euclid; by default the active one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a choice that this client does not know.
    pub fn metric(mut self, metric: MetricChoice) -> Result<Self> {
        self.settings
            .insert("metric".to_owned(), metric_name(metric)?);
        Ok(self)
    }

    /// Ranks by this; [`RankBy::Meaning`] by default.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a ranking that this client does not know.
    pub fn ranking(mut self, ranking: RankBy) -> Result<Self> {
        match ranking {
            RankBy::Meaning => {}
            RankBy::Words => {
                self.settings.insert("words_only".to_owned(), true.into());
            }
            RankBy::Hybrid => {
                self.settings.insert("hybrid".to_owned(), true.into());
            }
            _ => return Err(Error::Unsupported("this ranking")),
        }
        Ok(self)
    }

    /// The smallest grade that is relevant, as the queries were made with
    /// ([`EvalQuery::graded`]).
    pub fn relevance_threshold(mut self, threshold: Option<f64>) -> Self {
        self.threshold = threshold;
        self
    }

    /// Makes it. The first row is Euclid's.
    ///
    /// # Errors
    /// A problem `invalid-input` for more than 10,000 queries; those of a search.
    pub fn run(self) -> Result<Evaluation> {
        let mut body = self.settings;
        let queries = self.queries.iter().map(|asked| -> Result<Value> {
            let mut sent = judged(&asked.query)?;
            sent["relevant"] = relevant(asked, self.threshold);
            Ok(sent)
        });
        let queries: Vec<Value> = queries.collect::<Result<_>>()?;
        body.insert("queries".to_owned(), queries.into());
        if let Some(threshold) = self.threshold {
            body.insert("relevance_threshold".to_owned(), threshold.into());
        }
        let path = self.collection.path("evaluate");
        self.collection.http().post(&path, &body, Repeat::Read)
    }
}

/// The relevant items of a query: ids, or grades from which the service makes the same query.
fn relevant(asked: &EvalQuery, threshold: Option<f64>) -> Value {
    if asked.gains.is_empty() {
        return json!(asked.relevant);
    }
    let mut grades = asked.gains.clone();
    for id in &asked.relevant {
        // Relevant without a gain: its grade lies between the threshold and 0.
        grades
            .entry(id.clone())
            .or_insert_with(|| threshold.unwrap_or(0.0).min(0.0));
    }
    json!(grades)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_makes_the_same_graded_query() {
        let grades = [("a", 2.0), ("b", 1.0), ("c", 0.0), ("d", -1.0)];
        for threshold in [None, Some(2.0), Some(0.5), Some(0.0), Some(-0.5), Some(3.0)] {
            let asked = EvalQuery::graded("q", grades, threshold);
            let sent = relevant(&asked, threshold);
            let sent = sent.as_object().expect("grades");
            let sent = sent
                .iter()
                .map(|(id, grade)| (id.clone(), grade.as_f64().expect("a grade")));
            let mut again = EvalQuery::graded("q", sent, threshold);
            again.relevant.sort();
            assert_eq!(again, asked, "{threshold:?}");
        }
        let plain = EvalQuery::new("q", ["a", "b"]);
        assert_eq!(relevant(&plain, None), json!(["a", "b"]));
    }
}
