//! Jobs: list, show, follow, cancel.

use std::convert::Infallible;
use std::time::Duration;

use affinis_api::{JobDocument, JobState};
use axum::Json;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::app::App;
use crate::extract::Segments;
use crate::problem::Problem;

/// The time after which a stream without news sends a comment, so that it is not taken for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The jobs of the service.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    /// The jobs, the newest first.
    jobs: Vec<JobDocument>,
}

/// An event of a job.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a line of a stream")]
pub(crate) struct JobEvent {
    /// `progress`, `done` or `failed`.
    event: String,
    /// The job as it is then: a `JobDocument`, as JSON.
    data: String,
}

/// Lists the jobs that run, and the last that ended.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs",
    responses((status = 200, description = "The jobs", body = JobList)))]
pub(crate) async fn list(State(app): State<App>) -> Json<JobList> {
    Json(JobList {
        jobs: app.jobs.list(),
    })
}

/// Shows a job.
#[utoipa::path(get, path = "/v1/jobs/{job}", tag = "jobs",
    params(("job" = String, Path, description = "Name of the job")),
    responses((status = 200, description = "The job", body = JobDocument)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segments(id): Segments<String>,
) -> Result<Json<JobDocument>, Problem> {
    Ok(Json(app.jobs.find(&id)?.document()))
}

/// Cancels a job, which fails soon.
#[utoipa::path(post, path = "/v1/jobs/{job}/cancel", tag = "jobs",
    params(("job" = String, Path, description = "Name of the job")),
    responses((status = 200, description = "The job", body = JobDocument)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Segments(id): Segments<String>,
) -> Result<Json<JobDocument>, Problem> {
    let job = app.jobs.find(&id)?;
    job.cancel();
    Ok(Json(job.document()))
}

/// Follows a job: events `progress` with the job as it is, and `done` or `failed` at the end.
#[utoipa::path(get, path = "/v1/jobs/{job}/events", tag = "jobs",
    params(("job" = String, Path, description = "Name of the job")),
    responses((status = 200, description = "Server-sent events, whose data are jobs",
        body = JobEvent, content_type = "text/event-stream")))]
pub(crate) async fn events(
    State(app): State<App>,
    Segments(id): Segments<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let job = app.jobs.find(&id)?;
    let follower = Follower {
        states: job.subscribe(),
        ending: app.ending.clone(),
        first: true,
        ended: false,
    };
    let events = unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Reads the states of a job until it or the service ends.
struct Follower {
    states: watch::Receiver<JobDocument>,
    ending: watch::Receiver<bool>,
    first: bool,
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        if !std::mem::take(&mut self.first) {
            tokio::select! {
                changed = self.states.changed() => changed.ok()?,
                _ = self.ending.wait_for(|ending| *ending) => return None,
            }
        }
        let document = self.states.borrow_and_update().clone();
        let name = match document.state {
            JobState::Running => "progress",
            JobState::Done => "done",
            JobState::Failed => "failed",
        };
        self.ended = document.state != JobState::Running;
        Event::default().event(name).json_data(&document).ok()
    }
}
