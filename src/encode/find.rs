//! Finding the encoder of a collection again: by its fingerprint, wherever its directory lies now.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{EMBEDDED, EncodeError, Encoder, load};

/// The ONNX file of a model's directory: the first of these that is there.
pub(super) const MODEL_FILES: [&str; 2] = ["model.onnx", "onnx/model.onnx"];
/// The ONNX file of a tower of images, and that of the tower of texts beside it.
pub(super) const IMAGE_FILES: [&str; 2] = ["vision_model.onnx", "onnx/vision_model.onnx"];
#[cfg(feature = "images")]
pub(super) const TEXT_FILES: [&str; 2] = ["text_model.onnx", "onnx/text_model.onnx"];
/// Most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 1_000;

/// What a collection knows of its encoder.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Wanted<'a> {
    /// Name for people, which is also the name of the directory that is tried first.
    pub name: &'a str,
    /// The [fingerprint](Encoder::fingerprint).
    pub fingerprint: &'a str,
    /// The [source](Encoder::source) that it had.
    pub source: Option<&'a str>,
    /// The [output](Encoder::output) that was chosen.
    pub output: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// The encoder of a name and a fingerprint.
    pub fn new(name: &'a str, fingerprint: &'a str) -> Self {
        Self {
            name,
            fingerprint,
            source: None,
            output: None,
        }
    }

    /// Sets the source that it had.
    pub fn source(mut self, source: Option<&'a str>) -> Self {
        self.source = source;
        self
    }

    /// Sets the output that was chosen.
    pub fn output(mut self, output: Option<&'a str>) -> Self {
        self.output = output;
        self
    }
}

/// Loads an encoder from its source, or from any directory of a model with its fingerprint: in the
/// directories that `AFFINIS_MODELS` lists, parted as in `PATH`, then in `beside`. Each of these is
/// the directory of a model or one that holds such directories.
///
/// Where nothing has the fingerprint, what lies at the source is given all the same, so that the
/// caller can say how it differs.
///
/// # Errors
/// [`EncodeError::NotFound`], with the places; that of [`load`] for a source that is there and cannot
/// be loaded.
pub fn find(wanted: &Wanted<'_>, beside: &[PathBuf]) -> Result<Arc<dyn Encoder>, EncodeError> {
    let at_source = wanted.source.map(|source| load(source, wanted.output));
    if let Some(Ok(encoder)) = &at_source
        && encoder.fingerprint() == wanted.fingerprint
    {
        return Ok(Arc::clone(encoder));
    }
    let places = places(beside);
    for place in &places {
        for directory in models_in(place, Some(wanted.name)) {
            let Some(path) = directory.to_str().filter(|path| *path != EMBEDDED) else {
                continue;
            };
            // A model that cannot be read is not the one that is wanted.
            if fingerprint(&directory, wanted.output).as_deref() == Some(wanted.fingerprint) {
                return load(path, wanted.output);
            }
        }
    }
    match at_source {
        Some(Ok(other)) => Ok(other),
        Some(Err(error)) if !is_missing(&error) => Err(error),
        _ => {
            let source = wanted.source.map(str::to_owned);
            let places = places.iter().map(|place| place.display().to_string());
            Err(EncodeError::NotFound {
                name: wanted.name.to_owned(),
                fingerprint: wanted.fingerprint.to_owned(),
                places: source.into_iter().chain(places).collect(),
            })
        }
    }
}

/// The directories of models in which [`find`] looks: first those in the directories that
/// `AFFINIS_MODELS` lists, then those in `beside`; in each, first itself where it is one, then by
/// name. At most 1,000 entries of a directory are looked at.
pub fn models(beside: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for place in places(beside) {
        for model in models_in(&place, None) {
            if !found.contains(&model) {
                found.push(model);
            }
        }
    }
    found
}

/// The directories that `AFFINIS_MODELS` lists, and then others.
fn places(beside: &[PathBuf]) -> Vec<PathBuf> {
    let listed = std::env::var_os("AFFINIS_MODELS").unwrap_or_default();
    let listed = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
    listed.chain(beside.iter().cloned()).collect()
}

fn is_missing(error: &EncodeError) -> bool {
    match error {
        EncodeError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        EncodeError::Missing { .. } => true,
        _ => false,
    }
}

/// The directories of models at a place, the place itself and the one of this name first.
fn models_in(place: &Path, name: Option<&str>) -> Vec<PathBuf> {
    let files = || MODEL_FILES.iter().chain(&IMAGE_FILES);
    let is_model = |path: &PathBuf| files().any(|file| path.join(file).is_file());
    let entries = std::fs::read_dir(place).into_iter().flatten();
    let mut inside: Vec<PathBuf> = entries
        .take(MAX_ENTRIES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    inside.sort();
    let mut first = vec![place.to_path_buf()];
    first.extend(name.map(|name| place.join(name)));
    inside.retain(|path| !first.contains(path));
    first.into_iter().chain(inside).filter(is_model).collect()
}

/// The fingerprint of the model in a directory, which is read and not prepared.
#[cfg(feature = "onnx")]
fn fingerprint(directory: &Path, output: Option<&str>) -> Option<String> {
    #[cfg(feature = "images")]
    if super::images::is_model_of_images(directory) {
        return super::images::fingerprint_of_directory(directory, output).ok();
    }
    super::fingerprint::of_directory(directory, output).ok()
}

#[cfg(not(feature = "onnx"))]
fn fingerprint(_directory: &Path, _output: Option<&str>) -> Option<String> {
    None
}
