//! Refits, and the questions that they ask.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use affinis::learning::Question;
use affinis::{Judgement, Source, Subject};
use affinis_api::target::Target;
use affinis_api::{
    BegunDocument, JudgedDocument, OpenQuestionDocument, QuestionDocument, RefitDocument,
};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::judgements::{GivenJudgement, own, store};
use super::to_value;
use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::extract::{Given, GivenOrDefault, Segments};
use crate::jobs::JobKind;
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
    #[schema(format = "uint64")]
    seed: Option<u64>,
}

/// The questions of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Questions {
    /// Those that the last refit with `ask` asked and that nobody answered yet.
    questions: Vec<OpenQuestionDocument>,
}

/// Answers to questions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replies {
    /// The answers, judgements with the `query_id` and the `item` of questions, and `relevant` or
    /// `grade`.
    #[schema(value_type = Vec<GivenJudgement>, min_items = 1)]
    answers: Vec<Judgement>,
}

/// The questions of the last refit with `ask`, by collection. They are kept in memory: another
/// refit asks again.
#[derive(Default)]
pub(crate) struct AskedQuestions(Mutex<HashMap<String, Vec<Question>>>);

impl AskedQuestions {
    fn ask(&self, collection: &str, questions: Vec<Question>) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(collection.to_owned(), questions);
    }

    /// The questions that no judgement answers.
    fn open(&self, target: &Target) -> Result<Vec<Question>, Problem> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let questions = asked.get(target.name()).cloned().unwrap_or_default();
        drop(asked);
        Ok(target.learning().unanswered(&questions)?)
    }

    /// Forgets the questions of a collection that was dropped, or has other vectors now.
    pub(crate) fn forget(&self, collection: &str) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(collection);
    }
}

/// Whether a judgement answers a question.
fn answers_it(answer: &Judgement, question: &Question) -> bool {
    match &answer.subject {
        Subject::Graded { query, item, .. } => {
            *query == question.query
                && *item == question.item
                && answer.source == Source::Explicit
                && (question.user.is_none() || question.user == answer.user)
        }
        _ => false,
    }
}

impl RefitRequest {
    fn refit(&self, target: &Target) -> Result<affinis::learning::Refit, Problem> {
        let mut refit = target
            .learning()
            .refit()
            .dry_run(self.dry_run)
            .force(self.force);
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
    request_body = Option<RefitRequest>,
    responses((status = 202, description = "A job, whose result is a RefitDocument", body = BegunDocument)))]
pub(crate) async fn refit(
    State(app): State<App>,
    Segments(name): Segments<String>,
    GivenOrDefault(request): GivenOrDefault<RefitRequest>,
) -> Result<(StatusCode, Json<BegunDocument>), Problem> {
    // What cannot be begun is an error of this request, not of its job.
    let (opened, of) = (app.clone(), name.clone());
    let (target, refit, request) = blocking(move || -> Result<_, Problem> {
        let target = opened.collection(&of)?;
        let refit = request.refit(&target)?;
        Ok((target, refit, request))
    })
    .await?;
    let begun = app.begin(JobKind::Refit, Some(name), move |app, job| {
        let stopping = std::sync::Arc::clone(job);
        let report = refit.cancel(move || stopping.is_cancelled()).run()?;
        let document = RefitDocument::new(&report, request.dry_run);
        if request.ask.is_some() {
            app.questions.ask(target.name(), report.questions.clone());
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
    let state = app.clone();
    let questions = app.on(name, move |target| {
        let open = state.questions.open(target)?;
        let open = open.iter().filter_map(QuestionDocument::new);
        let open: Vec<QuestionDocument> = open.collect();
        let ids = open.iter().flat_map(|q| [&q.query_id, &q.item]);
        let ids: BTreeSet<String> = ids.cloned().collect();
        let items = target.items(&ids.into_iter().collect::<Vec<_>>())?;
        let text = |id: &str| items.get(id).and_then(|item| item.text.clone());
        let questions = open.into_iter().map(|question| OpenQuestionDocument {
            query_text: text(&question.query_id),
            item_text: text(&question.item),
            question,
        });
        Ok(Questions {
            questions: questions.collect(),
        })
    });
    Ok(Json(questions.await?))
}

/// Takes answers to questions, as judgements.
#[utoipa::path(post, path = "/v1/collections/{c}/ask", tag = "learning",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Replies,
    responses((status = 200, description = "They are on disk", body = JudgedDocument)))]
pub(crate) async fn answer(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    Given(given): Given<Replies>,
) -> Result<Json<JudgedDocument>, Problem> {
    let answers = given.answers.into_iter().map(|answer| own(answer, &caller));
    let answers: Vec<Judgement> = answers.collect::<Result<_, _>>()?;
    if answers.is_empty() {
        return Err(Problem::invalid("there are no answers to store"));
    }
    let state = app.clone();
    let judged = app.on(name, move |target| {
        let open = state.questions.open(target)?;
        let of_none = answers
            .iter()
            .position(|answer| !open.iter().any(|question| answers_it(answer, question)));
        match of_none {
            None => store(target, &answers),
            Some(at) => Err(Problem::new(
                Kind::Conflict,
                format!(
                    "answer number {at} is to no question that is open; a refit with `ask` asks"
                ),
            )),
        }
    });
    Ok(Json(judged.await?))
}
