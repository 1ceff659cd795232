//! The index's own thread: it links full heads, extends the head's graph, fills biases and
//! calibrates.
//!
//! It sleeps until something is asked, does one bounded step after another, and ends when the index
//! is dropped. When it has been left alone for a while, or long not, or somebody waits for it, it
//! also puts things in order: a large head is linked (what stays in a quiet head is few enough to
//! be scanned, so that the index gives the same answers after it was opened again), dead items are
//! cut out of a segment that has many, a graph under which the active metric needs a beam of twice
//! the width is linked anew, and at last segments get images.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::link::Watch;
use super::write::{Shared, lock};

/// Items inserted into the head's graph in one step.
const GRAPH_STEP: usize = 256;

/// Items in a head that its graph does not cover and that are too many to insert: they are linked
/// at once.
const BULK: usize = 4096;
/// The graph is linked anew when the active metric needs a beam this many times as wide.
const WIDER: usize = 2;
/// How long nothing may be asked before things are put in order.
const QUIET: Duration = Duration::from_millis(200);

/// How long things may be out of order while writes come that never leave the index alone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The thread and how to talk to it.
#[derive(Debug)]
pub(crate) struct Background {
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
    reason = "each is set and cleared on its own"
)]
struct State {
    wake: bool,
    /// Somebody waits until all is done.
    settling: bool,
    busy: bool,
    ended: bool,
}

/// Says that the thread ended, however it ended, so that nobody waits for it.
struct Ended<'a>(&'a Signal);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).ended = true;
        self.0.changed.notify_all();
    }
}

impl Background {
    /// Starts the thread, if the configuration wants one and the system gives one.
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

    /// Tells the thread that there may be something to do, now or when the index has been left
    /// alone for a while, which begins anew.
    pub(crate) fn wake(&self, shared: &Shared) {
        if self.thread.is_none() {
            return;
        }
        let now = shared.has_work();
        if now || shared.untidy() {
            lock(&self.signal.state).wake |= now;
            self.signal.changed.notify_all();
        }
    }

    /// Waits until nothing is left to do; without a thread, does it.
    pub(crate) fn settle(&self, shared: &Shared) {
        if self.thread.is_none() {
            while shared.step(&|| false) || shared.tidy(&|| false) {}
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

impl Drop for Background {
    fn drop(&mut self) {
        self.signal.stop.store(true, Ordering::Release);
        lock(&self.signal.state).wake = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook; the index's answers do not depend
            // on the thread.
            let _ = thread.join();
        }
    }
}

impl Signal {
    fn run(&self, shared: &Shared) {
        let _ended = Ended(self);
        let stopped = || self.stop.load(Ordering::Acquire);
        // Since when there is something to put in order.
        let mut untidy: Option<Instant> = None;
        loop {
            let mut state = lock(&self.state);
            state.busy = false;
            self.changed.notify_all();
            let mut quiet = false;
            while !state.wake && !quiet {
                if shared.untidy() {
                    let _ = untidy.get_or_insert_with(Instant::now);
                    let (waited, timeout) = self
                        .changed
                        .wait_timeout(state, QUIET)
                        .unwrap_or_else(PoisonError::into_inner);
                    (state, quiet) = (
                        waited,
                        timeout.timed_out() || untidy.is_some_and(|t| t.elapsed() > PATIENCE),
                    );
                } else {
                    untidy = None;
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
            let tidy = quiet || state.settling;
            if tidy {
                untidy = None;
            }
            (state.wake, state.settling, state.busy) = (false, false, true);
            drop(state);
            // Putting things in order calibrates at its end, when nothing changes any more.
            let presses = || !lock(&self.state).settling && shared.calibration_presses();
            while !stopped()
                && (shared.step(&stopped)
                    || if tidy {
                        shared.tidy(&stopped)
                    } else {
                        presses() && shared.calibrate_next(&stopped)
                    })
            {}
            if stopped() {
                return;
            }
        }
    }
}

impl Shared {
    /// Whether a step would find something to do.
    fn has_work(&self) -> bool {
        if !lock(&self.asked).fill.is_empty() || self.calibration_presses() {
            return true;
        }
        let view = self.view.load();
        view.heads.iter().any(|head| {
            head.frozen || head.len >= self.config.graph_from && head.head.covered() < head.len
        })
    }

    /// Whether a head is full, or holds more than should be scanned for good.
    pub(crate) fn has_head_to_link(&self) -> bool {
        self.view
            .load()
            .heads
            .iter()
            .any(|head| head.frozen || head.len >= self.config.link_from)
    }

    /// Whether [`tidy`](Self::tidy) would find something to do.
    fn untidy(&self) -> bool {
        self.has_head_to_link()
            || self.has_segment_to_cut()
            || self.wants_one_segment()
            || self.needs_relink()
            || !lock(&self.asked).calibrate.is_empty()
            || self.wants_images()
    }

    /// Does one piece of the work that can wait; false if there was none.
    fn tidy(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        if self.has_head_to_link() {
            return self.link_large_heads(cancel);
        }
        // Whoever closes the index waits for large heads, but for nothing that only saves time
        // later.
        let cancelled = || cancel() || self.closing.load(Ordering::Acquire);
        let watch = Watch {
            progress: &|_| (),
            cancel: &cancelled,
        };
        if !cancelled() {
            let done = if self.has_segment_to_cut() {
                self.cut(watch).is_ok()
            } else if self.wants_one_segment() {
                self.merge_segments(watch).is_ok()
            } else {
                self.needs_relink() && self.relink(watch).is_ok()
            };
            if done {
                return true;
            }
        }
        if self.calibrate_next(cancel) {
            return true;
        }
        !cancel() && self.make_images()
    }

    /// Whether the active metric needs a beam twice as wide as the metric that the graph was linked
    /// under.
    fn needs_relink(&self) -> bool {
        let view = self.view.load();
        let Some(largest) = view.segments.iter().max_by_key(|part| part.segment.len()) else {
            return false;
        };
        if view.check_images().is_err() {
            return false;
        }
        let (linked, active) = (largest.segment.linked_under, self.active().version);
        let width = |version| {
            self.calibrations
                .get(version, super::TARGET)
                .map(|width| width.ef)
        };
        linked != active
            && width(active)
                .zip(width(linked))
                .is_some_and(|(active, linked)| active >= WIDER * linked)
    }

    /// Links the heads if one is to be linked; false if there was nothing to link.
    fn link_large_heads(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        self.has_head_to_link()
            && self
                .link_heads(
                    true,
                    Watch {
                        progress: &|_| (),
                        cancel,
                    },
                )
                .is_ok()
    }

    /// Does one bounded piece of work, the most urgent first; false if there was none.
    fn step(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        let fill = lock(&self.asked).fill.pop();
        if let Some(metric) = fill {
            self.fill_biases(&metric, cancel);
            return true;
        }
        let view = self.view.load_full();
        if view.heads.iter().any(|head| head.frozen) {
            return self
                .link_heads(
                    false,
                    Watch {
                        progress: &|_| (),
                        cancel,
                    },
                )
                .is_ok();
        }
        if let Some(open) = view.heads.last()
            && open.len >= self.config.graph_from
            && open.head.covered() < open.len
        {
            if open.len - open.head.covered() >= BULK && self.has_head_to_link() {
                return self.link_large_heads(cancel);
            }
            open.head.extend_graph(open.len, GRAPH_STEP);
            return true;
        }
        false
    }

    /// Whether a calibration should not wait until the index is left alone: there are twice as many
    /// items as at the last. (While items come, every merge asks for one.)
    fn calibration_presses(&self) -> bool {
        !lock(&self.asked).calibrate.is_empty()
            && self.view.load().held() >= 2 * self.calibrated.load(Ordering::Acquire).max(1)
    }

    /// Calibrates the metric that was asked for last; false if none was.
    fn calibrate_next(&self, cancel: &(dyn Fn() -> bool + Sync)) -> bool {
        let Some(metric) = lock(&self.asked).calibrate.pop() else {
            return false;
        };
        self.calibrated
            .store(self.view.load().held(), Ordering::Release);
        self.calibrate(&metric, cancel);
        self.tell();
        true
    }

    /// Computes all biases under a metric that are not known.
    pub(crate) fn fill_biases(
        &self,
        metric: &super::Versioned,
        cancel: &(dyn Fn() -> bool + Sync),
    ) {
        const STEP: u32 = 1024;
        let view = self.view.load_full();
        let ranges = |len: usize| {
            (0..len as u32)
                .step_by(STEP as usize)
                .map(move |a| a..(a + STEP).min(len as u32))
        };
        for part in &view.segments {
            let biases = self
                .biases
                .of(metric.version, part.segment.id, part.segment.len());
            for range in ranges(part.segment.len()) {
                if cancel() {
                    return;
                }
                biases.ensure(&range.collect::<Vec<_>>(), &*part.segment, &*metric.metric);
            }
        }
        for part in &view.heads {
            let biases = self
                .biases
                .of(metric.version, part.head.id, part.head.capacity());
            for range in ranges(part.len) {
                if cancel() {
                    return;
                }
                biases.ensure(&range.collect::<Vec<_>>(), &*part.head, &*metric.metric);
            }
        }
    }
}
