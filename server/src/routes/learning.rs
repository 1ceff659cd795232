//! Refits, and the questions that they ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use affinis::{Collection, Judgement, Query, Subject};
use affinis_api::{QuestionDocument, RefitDocument};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::judgements::{Judged, own, store};
use super::to_value;
use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::extract::{Given, GivenOrDefault, Segments};
use crate::jobs::{Begun, JobKind};
use crate::problem::{Kind, Problem};

/// Settings of a refit, all of them optional.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefitRequest {
    /// Learn a metric for this user.
    user: Option<String>,
    /// The learner; by default the plugin chooses.
    learner: Option<String>,
    /// Learn and test, and store nothing.
    #[serde(default)]
    dry_run: bool,
    /// Promote whatever the gate says.
    #[serde(default)]
    force: bool,
    /// Ask this many questions, 2 to 1,000, if the metric does not pass the gate.
    #[schema(minimum = 2, maximum = 1_000)]
    ask: Option<usize>,
    /// Halve the weight of judgements for every so many days that they are older than the newest.
    half_life_days: Option<f64>,
    /// Largest share of one user's judgements in the total weight, above 0 and at most 1.
    user_share: Option<f64>,
    /// Rank of a user's metric as an update of the shared one; 0 for a whole matrix.
    rank: Option<usize>,
    /// Seed of all random choices.
    seed: Option<u64>,
}

/// The questions of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Questions {
    /// Those that the last refit with `ask` asked and that nobody answered yet.
    questions: Vec<OpenQuestion>,
}

/// A question, with the texts of its items.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenQuestion {
    /// The question.
    #[serde(flatten)]
    question: QuestionDocument,
    /// Text of the query; null where the item has none.
    query_text: Option<String>,
    /// Text of the item; null where it has none.
    item_text: Option<String>,
}

/// Answers to questions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replies {
    /// The answers, judgements with the `query_id` and the `item` of questions, and `relevant` or
    /// `grade`.
    #[schema(value_type = Vec<Object>)]
    answers: Vec<Judgement>,
}

/// The questions that are open, by collection. They are kept in memory: another refit asks again.
#[derive(Default)]
pub(crate) struct OpenQuestions(Mutex<HashMap<String, Vec<QuestionDocument>>>);

impl OpenQuestions {
    fn ask(&self, collection: &str, questions: Vec<QuestionDocument>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(collection.to_owned(), questions);
    }

    fn of(&self, collection: &str) -> Vec<QuestionDocument> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(collection).cloned().unwrap_or_default()
    }

    fn answered(&self, collection: &str, answers: &[Judgement]) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(questions) = open.get_mut(collection) {
            questions.retain(|question| !answers.iter().any(|answer| answers_it(answer, question)));
        }
    }

    /// Forgets the questions of a collection that was dropped.
    pub(crate) fn forget(&self, collection: &str) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(collection);
    }
}

/// Whether a judgement answers a question.
fn answers_it(answer: &Judgement, question: &QuestionDocument) -> bool {
    match &answer.subject {
        Subject::Graded {
            query: Query::Item(id),
            item,
            ..
        } => {
            *id == question.query_id
                && *item == question.item
                && (question.user.is_none() || question.user == answer.user)
        }
        _ => false,
    }
}

impl RefitRequest {
    fn refit(&self, collection: &Collection) -> Result<affinis::learning::Refit, Problem> {
        let mut refit = collection.refit().dry_run(self.dry_run).force(self.force);
        if self.dry_run && self.force {
            return Err(Problem::invalid(
                "a refit has `dry_run` or `force`, not both",
            ));
        }
        if let Some(learner) = &self.learner {
            refit = refit.learner(learner);
        }
        if let Some(user) = &self.user {
            refit = refit.user(user);
        }
        if let Some(questions) = self.ask {
            refit = refit.ask(questions);
        }
        if let Some(days) = self.half_life_days {
            let half_life = Duration::try_from_secs_f64(days * 86_400.0)
                .map_err(|_| Problem::invalid("half_life_days is a number of days above 0"))?;
            refit = refit.half_life(half_life);
        }
        if let Some(share) = self.user_share {
            refit = refit.user_share(share);
        }
        if let Some(rank) = self.rank {
            refit = refit.rank(rank);
        }
        if let Some(seed) = self.seed {
            refit = refit.seed(seed);
        }
        Ok(refit)
    }
}

/// Learns a metric from the judgements in the background, and promotes it if it passes the gate.
#[utoipa::path(post, path = "/v1/collections/{c}/refit", tag = "learning",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = RefitRequest,
    responses((status = 202, description = "A job, whose result is a RefitDocument", body = Begun)))]
pub(crate) async fn refit(
    State(app): State<App>,
    Segments(name): Segments<String>,
    GivenOrDefault(request): GivenOrDefault<RefitRequest>,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    // What cannot be begun is an error of this request, not of its job.
    let (opened, of) = (app.clone(), name.clone());
    let (collection, refit) = blocking(move || -> Result<_, Problem> {
        let collection = opened.collection(&of)?;
        let refit = request.refit(&collection)?;
        Ok((collection, (refit, request)))
    })
    .await?;
    let (refit, request) = refit;
    let begun = app.begin(JobKind::Refit, Some(name), move |app, job| {
        let stopping = std::sync::Arc::clone(job);
        let report = refit.cancel(move || stopping.is_cancelled()).run()?;
        let document = RefitDocument::new(&report, request.dry_run);
        if request.ask.is_some() {
            let questions = document.ask.clone().unwrap_or_default();
            app.questions.ask(collection.name(), questions);
        }
        if !request.dry_run {
            app.figures.refitted(report.promoted);
        }
        to_value(&document)
    })?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Lists the questions of the last refit with `ask` that nobody answered yet.
#[utoipa::path(get, path = "/v1/collections/{c}/ask", tag = "learning",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The questions", body = Questions)))]
pub(crate) async fn questions(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Json<Questions>, Problem> {
    let open = app.questions.of(&name);
    let questions = app.on(name, move |collection| {
        let mut questions = Vec::with_capacity(open.len());
        for question in open {
            let text = |id: &str| {
                collection
                    .get(id)
                    .map(|item| item.and_then(|item| item.text))
            };
            questions.push(OpenQuestion {
                query_text: text(&question.query_id)?,
                item_text: text(&question.item)?,
                question,
            });
        }
        Ok(Questions { questions })
    });
    Ok(Json(questions.await?))
}

/// Takes answers to questions, as judgements.
#[utoipa::path(post, path = "/v1/collections/{c}/ask", tag = "learning",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Replies,
    responses((status = 200, description = "They are on disk", body = Judged)))]
pub(crate) async fn answer(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    Given(given): Given<Replies>,
) -> Result<Json<Judged>, Problem> {
    let answers = given.answers.into_iter().map(|answer| own(answer, &caller));
    let answers: Vec<Judgement> = answers.collect::<Result<_, _>>()?;
    if answers.is_empty() {
        return Err(Problem::invalid("there are no answers to store"));
    }
    let open = app.questions.of(&name);
    let of_none = answers
        .iter()
        .position(|answer| !open.iter().any(|question| answers_it(answer, question)));
    if let Some(at) = of_none {
        return Err(Problem::new(
            Kind::Conflict,
            format!("answer number {at} is to no question that is open; a refit with `ask` asks"),
        ));
    }
    let (state, of) = (app.clone(), name.clone());
    let judged = app.on(name, move |collection| {
        let judged = store(collection, &answers)?;
        state.questions.answered(&of, &answers);
        Ok(judged)
    });
    Ok(Json(judged.await?))
}
