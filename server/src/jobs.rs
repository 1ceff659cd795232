//! Jobs: work that takes long, in the background, with its state, events and cancellation.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use affinis_api::{BegunDocument, JobDocument, JobState};
use serde_json::Value;
use tokio::sync::watch;

use crate::app::App;
use crate::problem::{Kind, Problem};

/// The most jobs that run at a time.
const MAX_RUNNING: usize = 16;
/// The number of ended jobs whose results are kept.
const MAX_ENDED: usize = 256;

/// The kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum JobKind {
    /// Learning a metric.
    Refit,
    /// Building one graph of all items.
    Optimize,
    /// Checking everything that is stored.
    Verify,
    /// Writing a backup.
    Backup,
    /// Encoding the texts of a collection anew.
    Reencode,
    /// Making a collection of an exported one.
    Import,
    /// Adding the items of a file.
    Add,
}

impl JobKind {
    /// The name of the kind, as in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refit => "refit",
            Self::Optimize => "optimize",
            Self::Verify => "verify",
            Self::Backup => "backup",
            Self::Reencode => "reencode",
            Self::Import => "import",
            Self::Add => "add",
        }
    }
}

/// A job, shared by the thread that does it and the requests that ask for it.
pub(crate) struct Job {
    id: String,
    cancelled: AtomicBool,
    state: watch::Sender<JobDocument>,
}

impl Job {
    /// The job as it is now.
    pub(crate) fn document(&self) -> JobDocument {
        self.state.borrow().clone()
    }

    /// Its states from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<JobDocument> {
        self.state.subscribe()
    }

    /// Asks it to stop, which it does soon.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Tells the share that is done, 0 to 1, in steps of a hundredth.
    pub(crate) fn progress(&self, share: f32) {
        let share = (share.clamp(0.0, 1.0) * 100.0).floor() / 100.0;
        self.state.send_if_modified(|document| {
            let changed = document.progress != Some(share);
            document.progress = Some(share);
            changed
        });
    }

    fn end(&self, outcome: Result<Value, Problem>) {
        self.state.send_modify(|document| match outcome {
            Ok(result) => {
                document.state = JobState::Done;
                document.progress = Some(1.0);
                document.result = Some(result);
            }
            Err(problem) => {
                document.state = JobState::Failed;
                document.error = Some(problem.document());
            }
        });
    }

    fn is_running(&self) -> bool {
        self.state.borrow().state == JobState::Running
    }
}

/// The jobs of a service, oldest first.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<VecDeque<Arc<Job>>>);

impl Jobs {
    /// The job of a name.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Job>, Problem> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let job = jobs.iter().find(|job| job.id == id);
        job.map(Arc::clone).ok_or_else(|| {
            Problem::new(
                Kind::NotFound,
                format!("there is no job {id:?}; the last {MAX_ENDED} that ended are kept"),
            )
        })
    }

    /// All jobs, the newest first.
    pub(crate) fn list(&self) -> Vec<JobDocument> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().rev().map(|job| job.document()).collect()
    }

    /// The number of jobs that run.
    pub(crate) fn running(&self) -> usize {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().filter(|job| job.is_running()).count()
    }

    /// Asks all jobs to stop.
    pub(crate) fn cancel_all(&self) {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().for_each(|job| job.cancel());
    }

    fn enter(&self, kind: JobKind, collection: Option<String>) -> Result<Arc<Job>, Problem> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            let reason = format!("the system gives no random numbers: {error}");
            Problem::new(Kind::Unavailable, reason)
        })?;
        let id = format!("{:032x}", u128::from_be_bytes(bytes));
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = jobs.iter().filter(|job| job.is_running()).count();
        if running >= MAX_RUNNING {
            return Err(Problem::new(
                Kind::Overloaded,
                format!("{running} jobs are running; wait until one ends, or cancel one"),
            ));
        }
        if jobs.len() >= MAX_RUNNING + MAX_ENDED
            && let Some(oldest) = jobs.iter().position(|job| !job.is_running())
        {
            jobs.remove(oldest);
        }
        let document = JobDocument {
            job: id.clone(),
            kind: kind.name().into(),
            collection,
            state: JobState::Running,
            progress: None,
            result: None,
            error: None,
        };
        let job = Arc::new(Job {
            id,
            cancelled: AtomicBool::new(false),
            state: watch::Sender::new(document),
        });
        jobs.push_back(Arc::clone(&job));
        Ok(job)
    }
}

/// Does the work of a job on a thread of low priority, so that searches come first, and waits for it.
/// (The threads of the runtime are used again, and no thread can raise its own priority.) A panic in
/// it is an error of the job.
fn beneath_searches(
    work: impl FnOnce() -> Result<Value, Problem> + Send,
) -> Result<Value, Problem> {
    let failed = |message: String| Problem::new(Kind::Internal, message);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("affinis-job".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            affinis::priority::lower();
            affinis::panics::catch(work)
        });
        let thread = thread.map_err(|error| failed(format!("no thread for the job: {error}")))?;
        match thread.join() {
            Ok(done) => done.unwrap_or_else(|message| Err(failed(message))),
            Err(_) => Err(failed("the job's thread ended".to_owned())),
        }
    })
}

impl App {
    /// Begins a job on a thread of its own. Its result is what `work` gives.
    pub(crate) fn begin(
        &self,
        kind: JobKind,
        collection: Option<String>,
        work: impl FnOnce(&Self, &Arc<Job>) -> Result<Value, Problem> + Send + 'static,
    ) -> Result<BegunDocument, Problem> {
        if *self.ending.borrow() {
            return Err(Problem::new(Kind::Unavailable, "the service is ending"));
        }
        let job = self.jobs.enter(kind, collection)?;
        let begun = BegunDocument {
            job: job.id.clone(),
        };
        let app = self.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = beneath_searches(|| work(&app, &job));
            app.figures.job_ended(kind, outcome.is_ok());
            tracing::info!(
                job = job.id,
                kind = kind.name(),
                ok = outcome.is_ok(),
                "job ended"
            );
            job.end(outcome);
        });
        Ok(begun)
    }
}
