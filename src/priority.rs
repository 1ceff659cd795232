//! The priority of threads whose work nobody waits for: building graphs, refits in the background.
//!
//! Where processors are fewer than threads, the system then runs those first that answer.

/// Lowers the priority of the calling thread, and of threads that it starts, for good. Does nothing
/// where a thread has none of its own (elsewhere than on Linux), where it is as low already, or where
/// the system refuses.
pub fn lower() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        /// A thread of nice value 10 gets about a tenth of the time of one of value 0 beside it.
        const NICE: i32 = 10;
        // Threads inherit their priority: the pool that searches share must not be started by a
        // thread of a low one, which asking for its size does.
        rayon::current_num_threads();
        let lowered = rustix::process::getpriority_process(None).and_then(|nice| {
            if nice < NICE {
                rustix::process::setpriority_process(None, NICE)
            } else {
                Ok(())
            }
        });
        if let Err(error) = lowered {
            tracing::debug!(%error, "the priority of a thread stays as it is");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).expect("it has one")
    }

    #[test]
    fn a_thread_is_lowered_alone() {
        let before = nice();
        let lowered = std::thread::spawn(|| {
            lower();
            let pooled = rayon::broadcast(|_| nice());
            (nice(), pooled)
        });
        let (lowered, pooled) = lowered.join().expect("no panic");
        assert_eq!(lowered, before.max(10));
        assert_eq!(nice(), before);
        assert!(pooled.iter().all(|nice| *nice == before), "{pooled:?}");
    }
}
