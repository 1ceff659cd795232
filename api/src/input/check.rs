//! What a collection accepts, and the checks of single values by it.

use affinis::Distance;

use super::error::{Place, cut};

/// What the collection accepts, and what happens to items that it does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Number of dimensions of a vector.
    pub dim: usize,
    /// Whether texts without a vector can be encoded.
    pub texts: bool,
    /// The collection's built-in distance; a cosine collection holds no zero vector.
    pub distance: Distance,
    /// Whether unusable items are left out instead of making the whole input fail.
    pub skip_bad: bool,
}

/// Checks the id of an item.
///
/// # Errors
/// What is wrong with it.
pub fn check_id(id: &str) -> Result<(), String> {
    check_name("the id", id)
}

/// Checks an id or a user's name, which follow the same rule; `what` names it in the message.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err(format!("{what} is empty")),
        n if n > affinis::limits::MAX_ID_BYTES => Err(format!(
            "{what} {:?} has {n} bytes; the most is {}",
            cut(name),
            affinis::limits::MAX_ID_BYTES
        )),
        _ => Ok(()),
    }
}

/// What is wrong with an id that occurred before in an input.
pub fn id_twice(id: &str, first: Place) -> String {
    format!(
        "the id {:?} occurs already in {first}; an id may occur once in an input",
        cut(id)
    )
}

/// Checks that the collection can hold and search a vector.
///
/// # Errors
/// Why it cannot.
pub fn check_vector(vector: &[f32], expected: Expected) -> Result<(), String> {
    expected
        .distance
        .check_vector(vector, expected.dim)
        .map_err(|error| error.to_string())
}
