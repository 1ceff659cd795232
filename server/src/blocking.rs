//! Calls that block, away from the threads that serve connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::problem::{Kind, Problem};

/// Runs a call into the store on a thread that may wait. A panic in it is an error of the request.
///
/// When the request is given up (its client is gone, or its time is over), the call goes on.
pub(crate) async fn blocking<T, E>(
    call: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    match tokio::task::spawn_blocking(|| affinis::panics::catch(call)).await {
        Ok(Ok(result)) => result.map_err(Into::into),
        Ok(Err(message)) => Err(Problem::new(Kind::Internal, message)),
        Err(_) => Err(Problem::new(Kind::Unavailable, "the service is ending")),
    }
}

/// Tells a call that the request it is for was given up: it is dropped with the request.
pub(crate) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    /// A guard for the request, and the question for the call.
    pub(crate) fn new() -> (Self, impl Fn() -> bool + Send + Sync + Clone + 'static) {
        let flag = Arc::new(AtomicBool::new(false));
        let guard = Self(Arc::clone(&flag));
        (guard, move || flag.load(Ordering::Relaxed))
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
