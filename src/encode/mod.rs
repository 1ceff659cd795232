//! Encoders, which turn texts and images into vectors.
//!
//! A collection identifies its [`Encoder`] by a fingerprint, and gets one row for each text from
//! it. [`Onnx`] is the encoder of the crate: it reads a model directory as Hugging Face and
//! sentence-transformers export it, splits texts into tokens, runs the model on batches of texts of
//! similar length, and pools the token vectors.
//!
//! | file | subject |
//! |---|---|
//! | `layout.rs`, `config.rs` | the files of a model directory, and their settings |
//! | `tokens.rs` | splitting texts into token ids |
//! | `batch.rs` | batches of texts of similar length |
//! | `images/` | images to pixels, and the tower that turns these into vectors |
//! | `engine.rs` | a graph's file with its weights, and the backend that is chosen for it |
//! | `onnx_file.rs`, `onnx_half.rs` | reading a graph's description from its file; half precision |
//! | `signature.rs` | the inputs and outputs that a graph must have |
//! | `onnx_rten.rs`, `onnx_runtime.rs` | running the graph |
//! | `split.rs` | splitting documents into chunks, and texts into sentences |
//! | `pool.rs` | pooling of token vectors to one vector |
//! | `fingerprint.rs`, `find.rs` | a model's fingerprint; an encoder found again by its fingerprint |
//! | `hub.rs` | download of a model directory |

mod error;
mod find;

#[cfg(feature = "onnx")]
mod batch;
#[cfg(feature = "onnx")]
mod config;
#[cfg(feature = "onnx")]
mod engine;
#[cfg(feature = "onnx")]
mod fingerprint;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "images")]
mod images;
#[cfg(feature = "onnx")]
mod layout;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnx")]
mod onnx_file;
#[cfg(feature = "onnx")]
mod onnx_half;
#[cfg(feature = "onnxruntime")]
mod onnx_library;
#[cfg(feature = "onnx")]
mod onnx_rten;
#[cfg(feature = "onnxruntime")]
mod onnx_runtime;
#[cfg(feature = "onnx")]
mod pool;
#[cfg(feature = "onnx")]
mod signature;
mod split;
#[cfg(feature = "onnx")]
mod tokens;
#[cfg(feature = "onnx")]
mod workers;

use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, ArrayView1};

use find::IMAGE_FILES;

#[cfg(feature = "onnx")]
pub use engine::Backend;
pub use error::EncodeError;
pub use find::{Wanted, find, models};
#[cfg(feature = "hub")]
pub use hub::{PullOptions, Pulled, pull};
#[cfg(feature = "images")]
pub use images::ImageOnnx;
#[cfg(feature = "onnx")]
pub use onnx::{Onnx, OnnxOptions};
#[cfg(feature = "onnx")]
pub use pool::Pooling;
pub(crate) use split::{ChunkSize, sentences, split};

/// An encoder, which turns texts or images or both into vectors of one dimension.
///
/// A collection stores the [`fingerprint`](Encoder::fingerprint) of its encoder, and refuses one
/// with another: vectors of different models cannot be compared.
///
/// # Examples
/// An encoder that counts letters:
/// ```
/// use affinis::{Item, Store, encode::{EncodeError, Encoded, Encoder}};
/// use ndarray::Array2;
///
/// struct Letters;
///
/// impl Encoder for Letters {
///     fn dim(&self) -> usize {
///         26
///     }
///
///     fn name(&self) -> &str {
///         "letters"
///     }
///
///     fn fingerprint(&self) -> &str {
///         "letters, a to z, counted, 1"
///     }
///
///     fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
///         let mut vectors = Array2::zeros((texts.len(), self.dim()));
///         for (row, text) in texts.iter().enumerate() {
///             for letter in text.to_ascii_lowercase().bytes().filter(u8::is_ascii_lowercase) {
///                 vectors[[row, usize::from(letter - b'a')]] += 1.0;
///             }
///         }
///         Ok(Encoded::new(vectors))
///     }
/// }
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// let store = Store::open(dir.path())?;
/// let words = store.collection("words").encoder(Letters).create()?;
/// words.add([Item::text("1", "listen"), Item::text("2", "hear")])?;
/// let hits = words.search("silent").k(1).run()?;
/// assert_eq!((hits[0].id.as_str(), hits[0].distance), ("1", 0.0));
/// # Ok::<(), affinis::Error>(())
/// ```
pub trait Encoder: Send + Sync {
    /// The dimension `d` of the vectors.
    fn dim(&self) -> usize;

    /// Name for people, such as `static-minilm-256-v2`.
    fn name(&self) -> &str;

    /// Fingerprint of model, tokenizer and pooling. Encoders with equal fingerprints give equal
    /// vectors for equal texts, up to rounding.
    fn fingerprint(&self) -> &str;

    /// Source from which [`load`] can load it again: `embedded` or a directory. `None` where only
    /// the program can make it.
    fn source(&self) -> Option<String> {
        None
    }

    /// The output of the model at its source that was chosen, for [`load`]; `None` where it follows
    /// from the model.
    fn output(&self) -> Option<&str> {
        None
    }

    /// The similarity that the vectors are made for, where the encoder says one: a collection that
    /// is made without a distance takes that of it.
    fn similarity(&self) -> Option<Similarity> {
        None
    }

    /// Encodes `n` texts of items to `n` rows in their order. The row of a text does not depend on the other
    /// texts, up to rounding. Says which texts it could make nothing of.
    ///
    /// # Errors
    /// [`EncodeError`] when the model cannot run, or its numbers are not finite.
    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError>;

    /// Encodes `n` texts that are searched for. The same as [`encode`](Self::encode), but for
    /// encoders that tell questions from what answers them.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    fn encode_queries(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        self.encode(texts)
    }

    /// Number of tokens of a text, for splitting documents into chunks; of less than a text never
    /// more, or hardly so. By default a quarter of the characters, rounded up: about what tokenizers
    /// of languages with spaces make.
    ///
    /// # Errors
    /// [`EncodeError`] for a text that cannot be cut into tokens.
    fn token_count(&self, text: &str) -> Result<usize, EncodeError> {
        Ok(text.chars().count().div_ceil(4))
    }

    /// The largest [number of tokens](Self::token_count) of a text that is not cut; `None`, which is
    /// the default, where no text is.
    fn max_tokens(&self) -> Option<usize> {
        None
    }

    /// Encodes `n` images, each the bytes of a file, to `n` rows in their order. An encoder of texts
    /// and images gives them vectors of one space.
    ///
    /// # Errors
    /// [`EncodeError::Takes`] for an encoder that takes no images, which is the default;
    /// [`EncodeError::Image`] for a file that is no image, or too large a one.
    fn encode_images(&self, images: &[&[u8]]) -> Result<Encoded, EncodeError> {
        let _ = images;
        Err(EncodeError::Takes {
            encoder: self.name().to_owned(),
            what: "texts, and no images",
        })
    }
}

/// The similarity that vectors are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Similarity {
    /// The cosine.
    Cosine,
    /// The dot product.
    Dot,
    /// The Euclidean distance.
    Euclidean,
}

/// The vectors of `n` texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Vectors, one row for each text (`n x d`).
    pub vectors: Array2<f32>,
    /// For each text, whether it was longer than the model takes and was cut at its limit (`n`).
    pub truncated: Vec<bool>,
    /// For each text, whether the encoder could make nothing of it (`n`): its row stands for no
    /// meaning, and a collection neither stores nor searches it. A row of zeros counts as such even
    /// if it is not marked.
    pub unknown: Vec<bool>,
}

impl Encoded {
    /// The vectors of texts of which none was cut. Rows of zeros are those of texts that the encoder
    /// could make nothing of.
    pub fn new(vectors: Array2<f32>) -> Self {
        Self {
            truncated: vec![false; vectors.nrows()],
            unknown: vectors.outer_iter().map(|row| is_zero(&row)).collect(),
            vectors,
        }
    }

    /// Whether the text at a position has a vector.
    pub(crate) fn is_known(&self, text: usize) -> bool {
        !self.unknown[text] && !is_zero(&self.vectors.row(text))
    }
}

fn is_zero(row: &ArrayView1<'_, f32>) -> bool {
    row.iter().all(|x| *x == 0.0)
}

/// Loads an encoder from its [`source`](Encoder::source): `embedded` for the model inside the
/// binary, otherwise the path of a directory with a model of texts, or of images. `output` is the [output](Encoder::output) that
/// was chosen.
///
/// # Errors
/// [`EncodeError::NotCompiled`] when this build has no such encoder; those of `Onnx::from_dir`.
pub fn load(source: &str, output: Option<&str>) -> Result<Arc<dyn Encoder>, EncodeError> {
    #[cfg(feature = "onnx")]
    let options = match output {
        Some(output) => Onnx::options().output(output),
        None => Onnx::options(),
    };
    #[cfg(not(feature = "onnx"))]
    let _ = output;
    if source == EMBEDDED {
        #[cfg(feature = "embedded-model")]
        return Ok(Arc::new(options.embedded()?));
        #[cfg(not(feature = "embedded-model"))]
        return Err(EncodeError::NotCompiled {
            what: "the embedded model".into(),
            feature: "embedded-model",
        });
    }
    let is_of_images = IMAGE_FILES
        .iter()
        .any(|file| Path::new(source).join(file).is_file());
    #[cfg(feature = "images")]
    if is_of_images || images::is_model_of_images(Path::new(source)) {
        return Ok(Arc::new(options.images_from_dir(source)?));
    }
    if is_of_images {
        return Err(EncodeError::NotCompiled {
            what: format!("an encoder of images, as the directory {source} holds one,"),
            feature: "images",
        });
    }
    #[cfg(feature = "onnx")]
    return Ok(Arc::new(options.from_dir(source)?));
    #[cfg(not(feature = "onnx"))]
    Err(EncodeError::NotCompiled {
        what: format!("an encoder for the model directory {source}"),
        feature: "onnx",
    })
}

/// The [source](Encoder::source) of the model inside the binary.
pub const EMBEDDED: &str = "embedded";
