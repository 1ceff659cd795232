//! [`Job`]: work in the background of a service.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use affinis_api::{JobDocument, JobState};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::http::{Repeat, encoded};

/// The pause between two questions for the state of a job: it grows from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A job of a service, whose result is a `T`. It goes on when this is dropped.
#[must_use = "a job may fail: `wait` for its result"]
pub struct Job<T> {
    client: Client,
    name: String,
    result: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.name).finish()
    }
}

impl<T> Job<T> {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            client,
            name,
            result: PhantomData,
        }
    }

    /// Name of the job.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> String {
        format!("/v1/jobs/{}", encoded(&self.name))
    }

    /// The job as it is now.
    ///
    /// # Errors
    /// A problem `not-found` where the service has forgotten it.
    pub fn state(&self) -> Result<JobDocument> {
        self.client.http.get(&self.path())
    }

    /// Asks the job to stop. It fails with a problem `cancelled` soon, unless it is done before.
    ///
    /// # Errors
    /// A problem `not-found` where the service has forgotten it.
    pub fn cancel(&self) -> Result<()> {
        let path = format!("{}/cancel", self.path());
        let state: Result<Value> = self.client.http.post(&path, &json!({}), Repeat::Read);
        state.map(drop)
    }
}

impl<T: DeserializeOwned> Job<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// The problem with which the job failed; those of any call.
    pub fn wait(&self) -> Result<T> {
        self.wait_with(|_| {}, || false)
    }

    /// Waits for the result, tells the share that is done (0 to 1, where it is known), and cancels
    /// the job once `stop` says so.
    ///
    /// # Errors
    /// As [`wait`](Self::wait); a problem `cancelled` for a job that was stopped.
    pub fn wait_with(
        &self,
        mut progress: impl FnMut(f32),
        mut stop: impl FnMut() -> bool,
    ) -> Result<T> {
        let mut pause = PAUSES.0;
        let mut stopped = false;
        loop {
            let document = self.state()?;
            if let Some(share) = document.progress {
                progress(share);
            }
            match document.state {
                JobState::Running => {}
                JobState::Done => {
                    let result = document.result.unwrap_or_default();
                    return serde_json::from_value(result)
                        .map_err(|error| self.client.http.strange(200, error.to_string()));
                }
                JobState::Failed => {
                    let unnamed = || {
                        let reason = format!("the job {} failed without a reason", self.name);
                        self.client.http.strange(200, reason)
                    };
                    return Err(document.error.map_or_else(unnamed, Error::Problem));
                }
            }
            if !stopped && stop() {
                self.cancel()?;
                stopped = true;
                pause = PAUSES.0;
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(PAUSES.1);
        }
    }
}
