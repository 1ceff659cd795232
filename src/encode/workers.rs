//! A parallel map over numbered jobs on a fixed number of threads.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The results of `work` for the jobs `0..jobs`, in order, computed on at most `threads` threads,
/// the calling one included.
///
/// After an error no further job begins. The error of the job with the lowest number is returned.
pub(super) fn map<T: Send, E: Send>(
    jobs: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(jobs));
    let run = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                break;
            }
            let result = work(job);
            if result.is_err() {
                next.store(jobs, Ordering::Relaxed);
            }
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((job, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(jobs) {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(job, _)| *job);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [0, 1, 3, 50] {
            let squares = map(20, threads, |i| Ok::<_, ()>(i * i)).unwrap();
            assert_eq!(squares, (0..20).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_failure_ends_the_work() {
        assert_eq!(
            map(1000, 2, |i| if i == 3 { Err(i) } else { Ok(i) }),
            Err(3)
        );
    }
}
