//! Numbers of a file as a vector has them.

/// Numbers of a file as 32-bit floats, which is how vectors are stored. `what` names them in the
/// message.
///
/// # Errors
/// The first number that is not finite as such a float, with its position.
pub fn narrow(numbers: &[f64], what: &str) -> Result<Vec<f32>, String> {
    let narrowed: Vec<f32> = numbers.iter().map(|&v| v as f32).collect();
    match narrowed.iter().position(|v| !v.is_finite()) {
        None => Ok(narrowed),
        Some(at) if numbers[at].is_finite() => Err(format!(
            "{what} has {:e} at position {at}, which is too large for a 32-bit float",
            numbers[at]
        )),
        Some(at) => Err(format!(
            "{what} has {} at position {at}; only finite numbers can be stored",
            numbers[at]
        )),
    }
}
