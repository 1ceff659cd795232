//! The error of encoders. Its messages name the file at fault and say what to do.

use std::path::PathBuf;

/// The failure to encode texts, or to load a model.
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
        /// Name of the missing file.
        file: &'static str,
    },
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
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
    /// A configuration file is not valid JSON, or not of the expected form.
    #[error("{}: {reason}; export the model again, or remove the file to use the defaults", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The fault in the file.
        reason: String,
    },
    /// The file `tokenizer.json` cannot be used.
    #[error("{}: not a usable tokenizer: {reason}; save it again with tokenizer.save_pretrained", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The fault in the file.
        reason: String,
    },
    /// The model needs something that this crate does not support.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The thing that is not supported, and what is supported instead.
        what: String,
    },
    /// No output of the graph is certain to be an embedding, or the one that was chosen cannot be.
    #[error(
        "{}: {fault}; it has {}; if one of them is the embedding of a text or of its tokens, choose it with `OnnxOptions::output`",
        path.display(),
        outputs.join(", ")
    )]
    Output {
        /// The ONNX file.
        path: PathBuf,
        /// What is wrong with its outputs.
        fault: String,
        /// Its outputs with their shapes, such as `logits [batch, 1]`.
        outputs: Vec<String>,
    },
    /// The ONNX file is damaged, or no backend can prepare it.
    #[error("{}: the model cannot be prepared: {reason}; check that the file is complete, or export it again", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The error of the backend.
        reason: String,
    },
    /// The model ran and failed.
    #[error("{model}: running the model failed: {reason}")]
    Run {
        /// The model's name.
        model: String,
        /// The error of the backend.
        reason: String,
    },
    /// The model's output has another shape than its signature declares.
    #[error(
        "{model}: the output {output} has shape {found:?}, expected {expected}; the model is not one of embeddings"
    )]
    OutputShape {
        /// The model's name.
        model: String,
        /// The output's name.
        output: String,
        /// The shape of the output.
        found: Vec<usize>,
        /// The shape that was expected.
        expected: String,
    },
    /// The model's output for a text has NaN or infinite numbers.
    #[error(
        "{model}: the vector of text {index} is not finite; the model's weights are damaged or overflow"
    )]
    NotFinite {
        /// The model's name.
        model: String,
        /// Position of the text among those given.
        index: usize,
    },
    /// An encoder gave another number of rows than of texts.
    #[error(
        "the encoder {encoder} gave {rows} vectors, {truncated} notes of truncation and {unknown} of what is unknown for {texts} texts"
    )]
    Rows {
        /// Name of the encoder.
        encoder: String,
        /// Number of texts.
        texts: usize,
        /// Number of vectors.
        rows: usize,
        /// Length of [`Encoded::truncated`](super::Encoded::truncated).
        truncated: usize,
        /// Length of [`Encoded::unknown`](super::Encoded::unknown).
        unknown: usize,
    },
    /// A text could not be cut into tokens.
    #[error("{model}: text {index} cannot be cut into tokens: {reason}")]
    Text {
        /// The model's name.
        model: String,
        /// Position of the text among those given.
        index: usize,
        /// The error of the tokenizer.
        reason: String,
    },
    /// A text has a token that the model's table of tokens has not.
    #[error(
        "{model}: text {index} has the token {token}, and the model's table ends at {}; model.onnx and tokenizer.json \
         do not belong together",
        tokens.saturating_sub(1)
    )]
    Token {
        /// The model's name.
        model: String,
        /// Position of the text among those given.
        index: usize,
        /// The token.
        token: u32,
        /// Number of tokens in the table.
        tokens: usize,
    },
    /// An image cannot be encoded.
    #[error("{model}: image {index}: {reason}")]
    Image {
        /// The model's name.
        model: String,
        /// Position of the image among those given.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An encoder was given texts and takes images, or the other way round.
    #[error("the encoder {encoder} takes {what}")]
    Takes {
        /// Name of the encoder.
        encoder: String,
        /// What it takes, and what not.
        what: &'static str,
    },
    /// An encoder is nowhere where it was looked for.
    #[error(
        "the encoder {name} (fingerprint {fingerprint}) is not found; looked in {}; AFFINIS_MODELS lists directories \
         of models, or directories that hold them",
        places.join(", ")
    )]
    NotFound {
        /// Its name.
        name: String,
        /// Its fingerprint.
        fingerprint: String,
        /// The directories.
        places: Vec<String>,
    },
    /// An option has a value that cannot work.
    #[error("{option} is {value}; it must be {allowed}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The value that was given.
        value: usize,
        /// The values that are allowed.
        allowed: String,
    },
    /// The ONNX Runtime library named by `ORT_DYLIB_PATH` cannot be used.
    #[error(
        "ORT_DYLIB_PATH={}: {reason}; name the file libonnxruntime.so (.dylib, .dll) of ONNX Runtime {needed} or newer, \
         or unset the variable to use the built-in backend",
        path.display()
    )]
    Library {
        /// The path in the variable.
        path: PathBuf,
        /// The fault of the library.
        reason: String,
        /// The oldest version that works.
        needed: &'static str,
    },
    /// A model could not be fetched from the hub.
    #[error("{repo}: {reason}")]
    Hub {
        /// Name of the repository.
        repo: String,
        /// The failure, and what to do.
        reason: String,
    },
    /// This build lacks the feature that is needed.
    #[error("{what} is not part of this build; build with --features {feature}")]
    NotCompiled {
        /// The encoder or function that is missing.
        what: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
}

impl EncodeError {
    /// What is wrong with one text or image, without its position, where this is the error of one.
    pub(crate) fn of_one(&self) -> Option<String> {
        if let Self::Image { reason, .. } = self {
            return Some(reason.clone());
        }
        let (Self::Text { index, .. } | Self::Token { index, .. } | Self::NotFinite { index, .. }) =
            self
        else {
            return None;
        };
        let told = self.to_string();
        Some(told.replacen(&format!("text {index}"), "its text", 1))
    }
}
