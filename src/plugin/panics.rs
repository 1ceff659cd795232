//! Panics of plugins, turned into errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::LearnError;

/// Calls a method of a plugin; its panic becomes [`LearnError::Panicked`]. (A program that is built
/// with `panic = "abort"` ends all the same.)
pub(crate) fn caught<T>(
    method: &'static str,
    call: impl FnOnce() -> Result<T, LearnError>,
) -> Result<T, LearnError> {
    // The store gives plugins no references to what it changes, so nothing of its own is left
    // half-done.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        Err(LearnError::Panicked {
            method,
            message: message(&*panic),
        })
    })
}

/// The message of a panic.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
