//! Panics of plugins, turned into errors.

use super::LearnError;
use crate::panics::catch;

/// Calls a method of a plugin; its panic becomes [`LearnError::Panicked`]. (A program that is built
/// with `panic = "abort"` ends all the same.)
pub(crate) fn caught<T>(
    method: &'static str,
    call: impl FnOnce() -> Result<T, LearnError>,
) -> Result<T, LearnError> {
    // The store gives plugins no references to what it changes, so nothing of its own is left
    // half-done.
    catch(call).unwrap_or_else(|message| Err(LearnError::Panicked { method, message }))
}
