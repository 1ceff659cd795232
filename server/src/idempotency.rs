//! Idempotency keys: a POST that is sent again gets the answer that the first one got.
//!
//! Answers are kept in memory, so a key says nothing after the service has ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::response::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::access::Caller;
use crate::app::App;
use crate::extract::whole;
use crate::problem::{Kind, Problem};
use crate::routes::transfer;

/// The header with the key.
const KEY: &str = "idempotency-key";
/// The header of an answer that was given before.
const REPLAYED: &str = "idempotency-replayed";
/// The longest key, in bytes.
const MAX_KEY: usize = 255;
/// The most answers that are kept.
const MAX_ANSWERS: usize = 4_096;
/// The largest answer that is kept, in bytes; answers to writes are far smaller.
const MAX_ANSWER: u64 = 16 << 10;

/// Whose key it is, and the key.
type Name = (Option<String>, String);

/// Answers by key.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_name: HashMap<Name, Entry>,
    /// The keys of answers, oldest first.
    order: VecDeque<Name>,
}

struct Entry {
    /// Hash of the request.
    request: [u8; 32],
    /// The answer; `None` while it is being made.
    answer: Option<(Parts, Bytes)>,
}

/// What is known of a key.
enum Known {
    New,
    Answer(Box<(Parts, Bytes)>),
}

impl Answers {
    /// Looks a key up, and takes it for a request where it is new.
    fn begin(&self, name: &Name, request: [u8; 32]) -> Result<Known, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.by_name.get(name) {
            Some(entry) if entry.request != request => Err(Problem::new(
                Kind::KeyReused,
                "this idempotency key was used for another request; take a new one for each request",
            )),
            Some(Entry { answer: None, .. }) => Err(Problem::new(
                Kind::Conflict,
                "the first request with this idempotency key is not answered yet; ask again later",
            )),
            Some(Entry {
                answer: Some(answer),
                ..
            }) => Ok(Known::Answer(Box::new(answer.clone()))),
            None => {
                let entry = Entry {
                    request,
                    answer: None,
                };
                kept.by_name.insert(name.clone(), entry);
                Ok(Known::New)
            }
        }
    }

    /// Keeps the answer to a request.
    fn keep(&self, name: Name, answer: (Parts, Bytes)) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = kept.by_name.get_mut(&name) {
            entry.answer = Some(answer);
            kept.order.push_back(name);
        }
        while kept.order.len() > MAX_ANSWERS {
            if let Some(oldest) = kept.order.pop_front() {
                kept.by_name.remove(&oldest);
            }
        }
    }

    /// Frees a key whose request was not answered, so that it can be sent again.
    fn release(&self, name: &Name) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_name.remove(name);
    }
}

/// Frees a key unless its answer was kept.
struct Taken<'a> {
    answers: &'a Answers,
    name: Option<Name>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.answers.release(name);
        }
    }
}

/// Answers a POST with a key once.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get(KEY) else {
        return next.run(request).await;
    };
    // The body of an import is not held in memory. It needs no key: a collection is made once.
    if request.method() != Method::POST || transfer::is_import(&request) {
        return next.run(request).await;
    }
    let key = match key.to_str() {
        // A tab is visible to HTTP.
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) && !key.contains('\t') => key.to_owned(),
        _ => {
            let rule = format!("an idempotency key has 1 to {MAX_KEY} visible characters of ASCII");
            return Problem::invalid(rule).into_response();
        }
    };
    let caller = request.extensions().get::<Caller>();
    let name = (caller.and_then(|caller| caller.name.clone()), key);
    // In a task of its own: an answer that nobody waits for any more is kept all the same.
    let answering = tokio::spawn(async move { answer(&app, name, request, next).await });
    match answering.await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::new(Kind::Internal, "the request was not answered").into_response(),
    }
}

async fn answer(app: &App, name: Name, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = whole(Request::from_parts(parts.clone(), body), &()).await?;
    let address = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
    let hash = Sha256::new()
        .chain_update(address.as_bytes())
        .chain_update(b"\n")
        .chain_update(&body)
        .finalize()
        .into();
    if let Known::Answer(known) = app.answers.begin(&name, hash)? {
        let (mut parts, body) = *known;
        parts
            .headers
            .insert(REPLAYED, HeaderValue::from_static("true"));
        return Ok(Response::from_parts(parts, Body::from(body)));
    }
    let mut taken = Taken {
        answers: &app.answers,
        name: Some(name),
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let length = response.body().size_hint().exact();
    // What failed may succeed when it is sent again, and large answers are those of searches.
    if response.status().is_server_error() || length.is_none_or(|length| length > MAX_ANSWER) {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER as usize)
        .await
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    if let Some(name) = taken.name.take() {
        app.answers.keep(name, (parts.clone(), body.clone()));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_answers_is_bounded_and_the_oldest_go() {
        let answers = Answers::default();
        let name = |at: usize| (None, at.to_string());
        for at in 0..=MAX_ANSWERS {
            let known = answers.begin(&name(at), [0; 32]);
            assert!(matches!(known, Ok(Known::New)));
            let (parts, ()) = Response::new(()).into_parts();
            answers.keep(name(at), (parts, Bytes::new()));
        }
        assert!(matches!(answers.begin(&name(0), [0; 32]), Ok(Known::New)));
        assert!(matches!(
            answers.begin(&name(1), [0; 32]),
            Ok(Known::Answer(_))
        ));
    }
}
