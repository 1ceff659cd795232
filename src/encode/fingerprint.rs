//! The fingerprint of a model: what a collection knows its encoder by.

use std::path::Path;

use super::config::Side;
use super::error::EncodeError;
use super::find::MODEL_FILES;
use super::layout::{Layout, TextForm};
use super::signature::Signature;

/// The fingerprint that the model in a directory has with the default options.
pub(super) fn of_directory(directory: &Path, output: Option<&str>) -> Result<String, EncodeError> {
    let layout = Layout::read(directory, &MODEL_FILES)?;
    let signature = Signature::of(&layout.file, output)?;
    Ok(of(&layout, layout.max_length, &signature))
}

/// The fingerprint of a model, 32 hexadecimal digits: a hash of everything that determines the
/// vector of a text, except the backend.
pub(super) fn of(layout: &Layout, max_length: usize, signature: &Signature) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    let pooling: Vec<&str> = layout.pooling.iter().map(|way| way.name()).collect();
    let pooling = pooling.join("+");
    layout.file.hash(&mut hasher);
    for bytes in [layout.tokenizer.as_ref(), pooling.as_bytes()] {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.update(&[u8::from(layout.normalise)]);
    hasher.update(&(max_length as u64).to_le_bytes());
    // What few models have is hashed where they have it.
    layout.file.hash_external(&mut hasher);
    if layout.form != TextForm::default() {
        hasher.update(format!("{:?}", layout.form).as_bytes());
    }
    if let Some(kept) = layout.truncate {
        hasher.update(format!("truncated to {kept}").as_bytes());
    }
    if layout.cut != Side::default() {
        hasher.update(b"cut at the left");
    }
    // The output that is taken without a choice follows from the files.
    if signature.chosen {
        hasher.update(signature.output.as_bytes());
    }
    format!("{:032x}", hasher.digest128())
}
