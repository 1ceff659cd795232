//! Ctrl-C, and the signals to terminate, during work that would leave a temporary file behind: it
//! is asked to stop, and removes the file itself.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static CATCH: Once = Once::new();

/// From now on, the first signal only sets what [`interrupted`] tells, and a second one ends the
/// program at once.
pub(crate) fn catch_interrupts() {
    CATCH.call_once(|| {
        let caught = ctrlc::set_handler(|| {
            // Who asks twice does not wait for work that may hang, such as a write to a disk that is
            // gone. The temporary file stays then.
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                std::process::exit(STATUS.into());
            }
        });
        if let Err(error) = caught {
            super::warn(format_args!(
                "signals cannot be caught ({error}); if this is interrupted, a temporary file stays"
            ));
        }
    });
}

/// Exit status of a program that was interrupted: 128 and the number of the signal, as shells have
/// it.
pub(crate) const STATUS: u8 = 130;

/// Whether the program was asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
