//! Judgements: store, list, withdraw; signals of clicks; forgetting.

use std::collections::{BTreeSet, HashMap};

use affinis::learning::{Forget, StaleJudgement, Verdict};
use affinis::{Error, Judgement, JudgementId, Query, Source, StoredJudgement, Subject};
use affinis_api::target::Target;
use affinis_api::{ForgottenDocument, JudgedDocument, JudgementDocument, JudgementsDocument};
use axum::Extension;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::items::limit;
use crate::access::{Caller, Role};
use crate::app::App;
use crate::extract::{Given, Parameters, Segments};
use crate::problem::{Kind, Problem};
use crate::query::judged;

/// The number of judgements of a page where none is given.
const DEFAULT_LIMIT: usize = 100;
/// The largest number of judgements of a page.
const MAX_LIMIT: usize = 10_000;

/// Judgements to store.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToJudge {
    /// The judgements; all of them are stored, or none. Each has `query`, `query_id` or
    /// `query_vector` with `item` and `relevant` or `grade`; or `a`, `b` and `similar`; and may have
    /// `user`, `source`, `weight`, `at` and `shown`.
    #[schema(value_type = Vec<GivenJudgement>, min_items = 1)]
    judgements: Vec<Judgement>,
}

/// A judgement to store: of an answer (`query`, `query_id` or `query_vector` with `item` and
/// `relevant` or `grade`), or of two items (`a`, `b` and `similar`).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a type of the crate affinis")]
pub(crate) struct GivenJudgement {
    /// The query, a text.
    query: Option<String>,
    /// The query, a stored item's id.
    query_id: Option<String>,
    /// The query, a vector.
    query_vector: Option<Vec<f32>>,
    /// Id of the item that was judged.
    item: Option<String>,
    /// Whether the item is relevant.
    relevant: Option<bool>,
    /// Grade of the item, from -1 (irrelevant) to 1 (relevant), in place of `relevant`.
    #[schema(minimum = -1, maximum = 1)]
    grade: Option<f32>,
    /// Id of one item of two.
    a: Option<String>,
    /// Id of the other.
    b: Option<String>,
    /// Whether the two belong together.
    similar: Option<bool>,
    /// Name of the user who judged, 1 to 512 bytes.
    user: Option<String>,
    /// `explicit`, `click` or `proxy`; `explicit` by default.
    #[schema(pattern = "^(explicit|click|proxy)$")]
    source: Option<String>,
    /// Weight beside other judgements, above 0; 1 by default.
    #[schema(exclusive_minimum = 0)]
    weight: Option<f32>,
    /// Time of the judgement, RFC 3339; now by default.
    at: Option<String>,
    /// Ids that were shown beside the item, in order.
    shown: Option<Vec<String>>,
    /// Taken and not read, so that what the list gives can be stored.
    #[schema(format = "uint64")]
    sequence: Option<u64>,
    /// Taken and not read.
    #[schema(value_type = Option<Object>)]
    content: Option<()>,
}

/// Answers that were shown, and those that were chosen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signals {
    /// The signals.
    signals: Vec<Signal>,
}

/// An answer that was shown, and what was chosen of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signal {
    /// The query, a text.
    query: Option<String>,
    /// The query, a stored item's id.
    query_id: Option<String>,
    /// The query, a vector.
    query_vector: Option<Vec<f32>>,
    /// Ids of the items that were shown, in their order.
    shown: Vec<String>,
    /// Ids of those that were chosen.
    clicked: Vec<String>,
    /// The user.
    user: Option<String>,
}

/// Which judgements are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// List the judgements behind this number.
    #[param(format = "uint64")]
    after: Option<u64>,
    /// Largest number of judgements, 1 to 10,000; 100 by default.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// List those of this user.
    user: Option<String>,
    /// List those of this query, a text.
    query: Option<String>,
    /// List those of this query, a stored item's id.
    query_id: Option<String>,
    /// List those that judge this item.
    item: Option<String>,
}

/// Whose judgements, or those of which item, are removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToForget {
    /// A user.
    user: Option<String>,
    /// Id of an item.
    item: Option<String>,
}

/// Makes a judgement its caller's own, where callers have names.
pub(super) fn own(mut judgement: Judgement, caller: &Caller) -> Result<Judgement, Problem> {
    let Some(name) = &caller.name else {
        return Ok(judgement);
    };
    match &judgement.user {
        Some(user) if user != name => Err(Problem::new(
            Kind::Forbidden,
            format!("this token judges as {name:?}, and the judgement names {user:?}"),
        )),
        _ => {
            judgement.user = Some(name.clone());
            Ok(judgement)
        }
    }
}

/// Stores judgements of items that the collection holds.
pub(super) fn store(target: &Target, judgements: &[Judgement]) -> Result<JudgedDocument, Problem> {
    let named: BTreeSet<&str> = judgements.iter().flat_map(Judgement::ids).collect();
    let unknown = unknown(target, &named)?;
    if !unknown.is_empty() {
        return Err(Error::UnknownId {
            collection: target.name().to_owned(),
            ids: unknown,
        }
        .into());
    }
    let learning = target.learning();
    let running = learning
        .trial()?
        .is_some_and(|trial| trial.verdict == Verdict::Running);
    let stored = learning.judge(judgements)?;
    Ok(JudgedDocument {
        stored: stored.len(),
        first: stored.first().copied(),
        last: stored.last().copied(),
        trial: if running { learning.trial()? } else { None },
    })
}

/// Those of some ids that no item and no document has.
fn unknown(target: &Target, ids: &BTreeSet<&str>) -> Result<Vec<String>, Problem> {
    let ids = ids.iter().map(|id| (*id).to_owned());
    let Ok(collection) = target.embedded("its rows are read below") else {
        let ids: Vec<String> = ids.collect();
        let found = target.items(&ids)?;
        let unknown = ids.into_iter().filter(|id| !found.contains_key(id));
        return Ok(unknown.collect());
    };
    let mut unknown = Vec::new();
    for id in ids {
        if !collection.contains(&id)? && !collection.contains_document(&id)? {
            unknown.push(id);
        }
    }
    Ok(unknown)
}

/// Stores judgements, all or none.
#[utoipa::path(post, path = "/v1/collections/{c}/judgements", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ToJudge,
    responses((status = 200, description = "They are on disk", body = JudgedDocument)))]
pub(crate) async fn judge(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    Given(given): Given<ToJudge>,
) -> Result<Json<JudgedDocument>, Problem> {
    let judgements = given.judgements.into_iter().map(|j| own(j, &caller));
    let judgements: Vec<Judgement> = judgements.collect::<Result<_, _>>()?;
    if judgements.is_empty() {
        return Err(Problem::invalid("there are no judgements to store"));
    }
    let judged = app.on(name, move |target| store(target, &judgements));
    Ok(Json(judged.await?))
}

/// Stores what was chosen of answers, as judgements of source click. The answers of a trial count
/// for it.
#[utoipa::path(post, path = "/v1/collections/{c}/signals", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Signals,
    responses((status = 200, description = "They are on disk", body = JudgedDocument)))]
pub(crate) async fn signals(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    Given(given): Given<Signals>,
) -> Result<Json<JudgedDocument>, Problem> {
    let mut judgements = Vec::new();
    for signal in given.signals {
        let query = judged(signal.query, signal.query_id, signal.query_vector)?;
        for clicked in &signal.clicked {
            if !signal.shown.contains(clicked) {
                return Err(Problem::invalid(format!(
                    "{clicked:?} was clicked and is not among those shown"
                )));
            }
            let mut click = Judgement::relevant(query.clone(), clicked)
                .source(Source::Click)
                .shown(&signal.shown);
            click.user.clone_from(&signal.user);
            judgements.push(own(click, &caller)?);
        }
    }
    let judged = app.on(name, move |target| store(target, &judgements));
    Ok(Json(judged.await?))
}

/// Lists judgements in the order of their numbers.
#[utoipa::path(get, path = "/v1/collections/{c}/judgements", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection"), Page),
    responses((status = 200, description = "A page", body = JudgementsDocument)))]
pub(crate) async fn list(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<JudgementsDocument>, Problem> {
    let limit = limit(page.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let listed = app.on(name, move |target| {
        let learning = target.learning();
        let stale = learning.stale_judgements()?;
        let stale: HashMap<JudgementId, StaleJudgement> = stale
            .into_iter()
            .map(|stale| (stale.judgement, stale))
            .collect();
        let all = learning.judgements()?.into_iter();
        let mut found: Vec<StoredJudgement> = all
            .filter(|stored| page.lists(stored))
            .take(limit + 1)
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|stored| stored.id);
        let documents = found.into_iter().map(|stored| {
            let stale = stale.get(&stored.id);
            JudgementDocument::new(stored, stale)
        });
        Ok(JudgementsDocument {
            judgements: documents.collect(),
            next,
        })
    });
    Ok(Json(listed.await?))
}

impl Page {
    fn lists(&self, stored: &StoredJudgement) -> bool {
        let judgement = &stored.judgement;
        let is_of = |user: &String| judgement.user.as_ref() == Some(user);
        let asks = |text: &String| matches!(&judgement.subject, Subject::Graded { query: Query::Text(query), .. } if query == text);
        let asks_like = |id: &String| matches!(&judgement.subject, Subject::Graded { query: Query::Item(query), .. } if query == id);
        let judges = |id: &String| match &judgement.subject {
            Subject::Graded { item, .. } => item == id,
            Subject::Pair { a, b, .. } => a == id || b == id,
            _ => false,
        };
        self.after.is_none_or(|after| stored.id.0 > after)
            && self.user.as_ref().is_none_or(is_of)
            && self.query.as_ref().is_none_or(asks)
            && self.query_id.as_ref().is_none_or(asks_like)
            && self.item.as_ref().is_none_or(judges)
    }
}

/// Withdraws a judgement, as if it had never been given. Below the role write it must be one's own.
#[utoipa::path(delete, path = "/v1/collections/{c}/judgements/{n}", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection"),
        ("n" = u64, Path, description = "Number of the judgement")),
    responses((status = 200, description = "What followed", body = ForgottenDocument)))]
pub(crate) async fn withdraw(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Segments((name, number)): Segments<(String, u64)>,
) -> Result<Json<ForgottenDocument>, Problem> {
    let number = JudgementId(number);
    let forgotten = app.on(name, move |target| {
        let learning = target.learning();
        if !caller.may(Role::Write) {
            let all = learning.judgements()?;
            let of_another = all
                .iter()
                .any(|stored| stored.id == number && stored.judgement.user != caller.name);
            if of_another {
                return Err(Problem::new(
                    Kind::Forbidden,
                    "this token may withdraw its own judgements only",
                ));
            }
        }
        let what = Forget::Judgements(BTreeSet::from([number]));
        Ok(ForgottenDocument::from(&learning.forget(&what)?))
    });
    Ok(Json(forgotten.await?))
}

/// Removes the judgements of a user, or those of an item, and learns anew without them.
#[utoipa::path(post, path = "/v1/collections/{c}/forget", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ToForget,
    responses((status = 200, description = "What followed", body = ForgottenDocument)))]
pub(crate) async fn forget(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(given): Given<ToForget>,
) -> Result<Json<ForgottenDocument>, Problem> {
    let what = match (given.user, given.item) {
        (Some(user), None) => Forget::User(user),
        (None, Some(item)) => Forget::Item(item),
        _ => {
            return Err(Problem::invalid(
                "what is forgotten is that of a `user` or of an `item`, one of them",
            ));
        }
    };
    let forgotten = app.on(name, move |target| {
        Ok(ForgottenDocument::from(&target.learning().forget(&what)?))
    });
    Ok(Json(forgotten.await?))
}
