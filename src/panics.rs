//! Panics in code of others (an encoder's model, a plugin, a parser of a file), caught and turned
//! into errors.
//!
//! Where a panic is caught, its message becomes part of an error; the hook of the process would
//! print it all the same, and the hook is the program's own. A program that wants no such output
//! asks [`are_caught`] in its hook:
//!
//! ```
//! let report = std::panic::take_hook();
//! std::panic::set_hook(Box::new(move |panic| {
//!     if !affinis::panics::are_caught() {
//!         report(panic);
//!     }
//! }));
//! assert!(affinis::panics::catch(|| panic!("nobody reads this")).is_err());
//! ```

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// The number of calls of [`catch`] that this thread is in.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// Runs code of others. A panic in it is an error, which is the panic's message.
///
/// What the code had changed when it panicked is left as it was, so it must not hold the only copy
/// of anything. (A program that is built with `panic = "abort"` ends all the same.)
///
/// # Errors
/// The message of the panic.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    CALLS.set(CALLS.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    CALLS.set(CALLS.get() - 1);
    done.map_err(|panic| message(&*panic))
}

/// Says that panics of this thread, from now on, are caught by another thread, which waits for it.
#[cfg(feature = "onnx")]
pub(crate) fn catch_from_now_on() {
    CALLS.set(CALLS.get() + 1);
}

/// Whether a panic of this thread, now, would be caught and become an error.
pub fn are_caught() -> bool {
    CALLS.try_with(Cell::get).is_ok_and(|calls| calls > 0)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_inside_is_caught() {
        assert!(!are_caught());
        assert_eq!(catch(are_caught), Ok(true));
        let inner = catch(|| {
            let failed = catch(|| -> u8 { panic!("the {} one", "inner") });
            (failed, are_caught())
        });
        assert_eq!(inner, Ok((Err("the inner one".to_owned()), true)));
        assert_eq!(
            catch(|| -> u8 { panic!("a literal") }),
            Err("a literal".to_owned())
        );
        assert_eq!(
            catch(|| -> u8 { std::panic::panic_any(7) }),
            Err("without a message".to_owned())
        );
        assert!(!are_caught());
        // Another thread's panic is not caught here.
        let elsewhere = catch(|| std::thread::spawn(are_caught).join());
        assert!(matches!(elsewhere, Ok(Ok(false))));
    }
}
