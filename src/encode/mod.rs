//! From text to vectors.
//!
//! [`Encoder`] is the seam: a collection knows its encoder by a fingerprint and asks it for one row
//! a text. [`Onnx`] is the encoder that comes with the crate. It reads a model directory as Hugging
//! Face and sentence-transformers export it, cuts texts into tokens, runs the model on batches of
//! texts of similar length, and pools the token vectors.
//!
//! | question | file |
//! |---|---|
//! | which files make a model, and what they say | `layout.rs` |
//! | how a text becomes token ids | `tokens.rs` |
//! | which texts share a batch | `batch.rs` |
//! | what a graph must take and give | `signature.rs` |
//! | how the graph runs | `onnx_tract.rs`, `onnx_runtime.rs` |
//! | how token vectors become one vector | `pool.rs` |

mod error;

#[cfg(feature = "onnx")]
mod batch;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "onnx")]
mod layout;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnxruntime")]
mod onnx_library;
#[cfg(feature = "onnxruntime")]
mod onnx_runtime;
#[cfg(feature = "onnx")]
mod onnx_tract;
#[cfg(feature = "onnx")]
mod pool;
#[cfg(feature = "onnx")]
mod signature;
#[cfg(feature = "onnx")]
mod tokens;
#[cfg(feature = "onnx")]
mod workers;

use std::sync::Arc;

use ndarray::Array2;

pub use error::EncodeError;
#[cfg(feature = "hub")]
pub use hub::{PullOptions, Pulled, pull};
#[cfg(feature = "onnx")]
pub use onnx::Backend;
#[cfg(feature = "onnx")]
pub use onnx::{Onnx, OnnxOptions};
#[cfg(feature = "onnx")]
pub use pool::Pooling;

/// Turns texts into vectors of one dimension.
///
/// A collection remembers its encoder's [`fingerprint`](Encoder::fingerprint): items encoded by one
/// model are never silently searched with another.
///
/// # Examples
/// An encoder that counts letters:
/// ```
/// use affinis::{EncodeError, Encoded, Encoder, Item, Store};
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
///         let truncated = vec![false; texts.len()];
///         Ok(Encoded { vectors, truncated })
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

    /// A short name for people, such as `static-minilm-256`.
    fn name(&self) -> &str;

    /// Identifies model, tokenizer and pooling: equal fingerprints give equal vectors for equal
    /// texts, up to rounding.
    fn fingerprint(&self) -> &str;

    /// Where it can be loaded from again with [`load`]: `embedded`, or a directory. `None` when
    /// only the program knows.
    fn source(&self) -> Option<String> {
        None
    }

    /// Encodes texts, one row each, in their order. A text's row does not depend on the texts
    /// beside it beyond rounding.
    ///
    /// # Errors
    /// [`EncodeError`] when the model cannot run or gives what is not finite numbers.
    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError>;
}

/// Encoded texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// One row a text (`n x d`).
    pub vectors: Array2<f32>,
    /// Which texts were longer than the model takes and were cut at its limit (`n`).
    pub truncated: Vec<bool>,
}

/// Loads an encoder by its [`source`](Encoder::source): `embedded` is the model inside the binary,
/// anything else the path of a model directory.
///
/// # Errors
/// [`EncodeError::NotCompiled`] when this build has no such encoder; otherwise as `Onnx::from_dir`.
pub fn load(source: &str) -> Result<Arc<dyn Encoder>, EncodeError> {
    if source == EMBEDDED {
        #[cfg(feature = "embedded-model")]
        return Ok(Arc::new(Onnx::embedded()?));
        #[cfg(not(feature = "embedded-model"))]
        return Err(EncodeError::NotCompiled {
            what: "the embedded model".into(),
            feature: "embedded-model",
        });
    }
    #[cfg(feature = "onnx")]
    return Ok(Arc::new(Onnx::from_dir(source)?));
    #[cfg(not(feature = "onnx"))]
    Err(EncodeError::NotCompiled {
        what: format!("an encoder for the model directory {source}"),
        feature: "onnx",
    })
}

/// The source that names the model inside the binary.
const EMBEDDED: &str = "embedded";
