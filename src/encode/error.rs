//! Why texts could not be encoded, or a model not loaded: each variant says which file is at fault
//! and what to do.

use std::path::PathBuf;

/// Why texts could not be encoded, or a model not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A file that every model directory has is not there.
    #[error(
        "{}: no {file} here; a model directory holds model.onnx (or onnx/model.onnx) and tokenizer.json, as \
         sentence-transformers and Hugging Face export them",
        dir.display()
    )]
    Missing {
        /// The directory that was read.
        dir: PathBuf,
        /// The file that it lacks.
        file: &'static str,
    },
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than any model needs; it was not read.
    #[error("{}: {bytes} bytes, more than the {limit} that are read; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size that is read.
        limit: u64,
    },
    /// A configuration file is not the JSON it should be.
    #[error("{}: {reason}; export the model again, or remove the file to use the defaults", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// `tokenizer.json` cannot be used.
    #[error("{}: not a usable tokenizer: {reason}; save it again with tokenizer.save_pretrained", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// The model asks for something this crate does not do.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported, and what is.
        what: String,
    },
    /// The ONNX file is damaged, or no backend can prepare it.
    #[error("{}: the model cannot be prepared: {reason}; check that the file is complete, or export it again", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What the backend said.
        reason: String,
    },
    /// The model ran and failed.
    #[error(
        "{model}: running the model failed: {reason}; model.onnx and tokenizer.json may not belong together"
    )]
    Run {
        /// The model's name.
        model: String,
        /// What the backend said.
        reason: String,
    },
    /// The model gave an array of another shape than its signature promises.
    #[error(
        "{model}: the output {output} has shape {found:?}, expected {expected}; the model does not embed texts"
    )]
    OutputShape {
        /// The model's name.
        model: String,
        /// The output's name.
        output: String,
        /// The shape it had.
        found: Vec<usize>,
        /// The shape that was expected.
        expected: String,
    },
    /// The model gave NaN or infinite numbers for a text.
    #[error(
        "{model}: the vector of text {index} is not finite; the model's weights are damaged or overflow"
    )]
    NotFinite {
        /// The model's name.
        model: String,
        /// Position of the text among those given.
        index: usize,
    },
    /// A text could not be cut into tokens.
    #[error("{model}: text {index} cannot be cut into tokens: {reason}")]
    Text {
        /// The model's name.
        model: String,
        /// Position of the text among those given.
        index: usize,
        /// What the tokenizer said.
        reason: String,
    },
    /// An option has a value that cannot work.
    #[error("{option} is {value}; it must be {allowed}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What it was set to.
        value: usize,
        /// What it can be.
        allowed: String,
    },
    /// The ONNX Runtime library named by `ORT_DYLIB_PATH` cannot be used.
    #[error(
        "ORT_DYLIB_PATH={}: {reason}; name the file libonnxruntime.so (.dylib, .dll) of ONNX Runtime {needed} or newer, \
         or unset the variable to use the built-in backend",
        path.display()
    )]
    Library {
        /// What the variable names.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The oldest version that works.
        needed: &'static str,
    },
    /// A model could not be fetched from the hub.
    #[error("{repo}: {reason}")]
    Hub {
        /// The repository asked for.
        repo: String,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// This build lacks the feature that would do it.
    #[error("{what} is not part of this build; build with --features {feature}")]
    NotCompiled {
        /// What was asked for.
        what: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
}
