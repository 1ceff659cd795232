//! The maintenance thread of an index.
//!
//! It sleeps until there is work, does one bounded piece after another, and ends when the index is
//! dropped. Urgent work is to seal frozen segments, to extend the graph of the growing segment and
//! to compute biases. Deferred work waits until the index has been idle for a while, was never idle
//! for long, or somebody waits for it: large growing segments are sealed (the rest is small enough
//! to be scanned, so that the index gives the same answers after it was opened again), deleted
//! items are cut out of segments with many of them, a graph on which the active metric needs a beam
//! of twice the width is rebuilt, metrics are calibrated, and segments are written to files.

mod merges;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::index::shared::{Shared, lock};
use crate::priority;

/// Time without writes after which the index is idle.
const IDLE_AFTER: Duration = Duration::from_millis(200);

/// Longest time for which writes put off deferred work.
const MAX_DEFERRAL: Duration = Duration::from_secs(10);

/// The maintenance thread and the means to wake it.
#[derive(Debug)]
pub(crate) struct Maintenance {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is set and cleared independently"
)]
struct State {
    /// There may be urgent work.
    wake: bool,
    /// Somebody waits until all work is done.
    settling: bool,
    /// The thread is working.
    busy: bool,
    /// The thread has ended.
    ended: bool,
}

/// Records on drop that the thread ended, even by a panic, so that nobody waits for it.
struct Ended<'a>(&'a Signal);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).ended = true;
        self.0.changed.notify_all();
    }
}

impl Maintenance {
    /// Starts the thread, if the configuration asks for one and the system provides it.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let signal = Arc::<Signal>::default();
        let thread = shared.config.background.then(|| {
            let (shared, signal) = (Arc::clone(shared), Arc::clone(&signal));
            std::thread::Builder::new()
                .name("affinis-index".to_owned())
                .spawn(move || signal.run(&shared))
        });
        Self {
            signal,
            thread: thread.and_then(Result::ok),
        }
    }

    /// Tells the thread that there may be work, urgent or deferred. The time until the index is
    /// idle begins again.
    pub(crate) fn wake(&self, shared: &Shared) {
        if self.thread.is_none() {
            return;
        }
        let is_urgent = shared.has_urgent_work();
        if is_urgent || shared.has_deferred_work() {
            lock(&self.signal.state).wake |= is_urgent;
            self.signal.changed.notify_all();
        }
    }

    /// Waits until no work is left; without a thread, does all work.
    pub(crate) fn settle(&self, shared: &Shared) {
        if self.thread.is_none() {
            while shared.do_urgent(&|| false) || shared.do_deferred(&|| false) {}
            return;
        }
        let mut state = lock(&self.signal.state);
        (state.wake, state.settling) = (true, true);
        self.signal.changed.notify_all();
        while (state.wake || state.busy) && !state.ended {
            state = self
                .signal
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.signal.stop.store(true, Ordering::Release);
        lock(&self.signal.state).wake = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread, on which the index's answers do
            // not depend.
            let _ = thread.join();
        }
    }
}

impl Signal {
    /// The loop of the thread.
    fn run(&self, shared: &Shared) {
        let _ended = Ended(self);
        let stopped = || self.stop.load(Ordering::Acquire);
        // Since when there is deferred work.
        let mut deferred_since: Option<Instant> = None;
        loop {
            let includes_deferred = self.wait(shared, &mut deferred_since);
            // Not before there is work: most indexes that are opened have none.
            priority::lower();
            while !stopped() && self.do_next(shared, includes_deferred, &stopped) {}
            if stopped() {
                return;
            }
        }
    }

    /// Waits until there is work; returns whether deferred work is to be done too.
    fn wait(&self, shared: &Shared, deferred_since: &mut Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        state.busy = false;
        self.changed.notify_all();
        let mut is_idle = false;
        while !state.wake && !is_idle {
            if shared.has_deferred_work() {
                let since = *deferred_since.get_or_insert_with(Instant::now);
                let (waited, timeout) = self
                    .changed
                    .wait_timeout(state, IDLE_AFTER)
                    .unwrap_or_else(PoisonError::into_inner);
                state = waited;
                is_idle = timeout.timed_out() || since.elapsed() > MAX_DEFERRAL;
            } else {
                *deferred_since = None;
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        let includes_deferred = is_idle || state.settling;
        if includes_deferred {
            *deferred_since = None;
        }
        (state.wake, state.settling, state.busy) = (false, false, true);
        includes_deferred
    }

    /// Does one piece of work; false if there is none.
    fn do_next(
        &self,
        shared: &Shared,
        includes_deferred: bool,
        stopped: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        if shared.do_urgent(stopped) {
            return true;
        }
        if includes_deferred {
            return shared.do_deferred(stopped);
        }
        // While somebody waits for all work, calibration comes at its end, when the segments do not
        // change any more.
        let is_settling = lock(&self.state).settling;
        !is_settling && shared.is_calibration_urgent() && shared.calibrate_next(stopped)
    }
}
