//! Graphs prepared by one of the backends.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayD};

use super::error::EncodeError;
use super::layout;
use super::onnx_file;
use super::onnx_half;
use super::onnx_rten::Rten;
use super::signature::{Feed, Signature};

/// Largest size of a model: protobuf allows no message above 2 GiB.
const MODEL_LIMIT: u64 = 2 << 30;

/// The library that runs the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// RTen, in pure Rust; part of every build.
    Rten,
    /// The ONNX Runtime library that `ORT_DYLIB_PATH` names; needs the feature `onnxruntime`.
    OnnxRuntime,
}

impl Default for Backend {
    /// ONNX Runtime where this build has it and `ORT_DYLIB_PATH` is set, otherwise RTen.
    fn default() -> Self {
        let named = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
        if cfg!(feature = "onnxruntime") && named {
            Self::OnnxRuntime
        } else {
            Self::Rten
        }
    }
}

/// A prepared graph.
pub(super) trait Engine: Send + Sync {
    /// Runs a batch. The error is that of the backend.
    fn run(&self, batch: &dyn Feeds) -> Result<ArrayD<f32>, String>;

    /// Whether several threads may run batches at once. A backend with threads of its own returns
    /// false.
    fn parallel(&self) -> bool;
}

/// The numbers of a batch, for each input of a graph.
pub(super) trait Feeds {
    fn of(&self, feed: Feed) -> Numbers<'_>;
}

/// What an input of a graph takes.
pub(super) enum Numbers<'a> {
    /// Whole numbers, one for each token (`b x s`).
    Tokens(Cow<'a, Array2<i64>>),
    /// Pixels of images in three colours (`b x 3 x h x w`, or `b x h x w x 3`).
    #[cfg(feature = "images")]
    Pixels(ndarray::ArrayView4<'a, f32>),
}

/// An ONNX file with its weights.
pub(super) struct GraphFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Cow<'static, [u8]>,
    /// What the file says of the graph.
    pub(super) model: onnx_file::Model,
    /// Weights outside the file, by the names that it has for them.
    pub(super) external: Vec<(String, Vec<u8>)>,
}

impl GraphFile {
    /// A file of the binary, whose weights all lie in it.
    #[cfg(feature = "embedded-model")]
    pub(super) fn embedded(path: &str, bytes: &'static [u8]) -> Result<Self, EncodeError> {
        let path = PathBuf::from(path);
        Ok(Self {
            model: described(bytes, &path)?,
            path,
            bytes: Cow::Borrowed(bytes),
            external: Vec::new(),
        })
    }

    /// Reads a file, and the files of weights that it names, which lie beside it.
    pub(super) fn read(path: PathBuf) -> Result<Self, EncodeError> {
        let bytes = layout::read(&path, MODEL_LIMIT)?;
        let model = described(&bytes, &path)?;
        Ok(Self {
            external: external(&model, &path)?,
            model,
            bytes: Cow::Owned(bytes),
            path,
        })
    }

    /// Writes all that determines what the graph computes to a hash.
    pub(super) fn hash(&self, hasher: &mut xxhash_rust::xxh3::Xxh3Default) {
        // Each file is preceded by its length, so that different models give different streams.
        hasher.update(&(self.bytes.len() as u64).to_le_bytes());
        hasher.update(&self.bytes);
    }

    /// Writes the weights outside the file to a hash.
    pub(super) fn hash_external(&self, hasher: &mut xxhash_rust::xxh3::Xxh3Default) {
        for (name, bytes) in &self.external {
            hasher.update(name.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
    }

    /// Prepares the graph to run on a backend, which may use `threads` threads.
    pub(super) fn prepare(
        mut self,
        signature: &Signature,
        backend: Backend,
        threads: usize,
    ) -> Result<Box<dyn Engine>, EncodeError> {
        let path = self.path.clone();
        let wrong = |reason| EncodeError::Model {
            path: path.clone(),
            reason,
        };
        if self.model.has_halves() {
            self.bytes = Cow::Owned(onnx_half::widen(&self.bytes).map_err(wrong)?);
        }
        match backend {
            Backend::Rten => Ok(Box::new(
                Rten::new(self.bytes, &self.external, signature).map_err(wrong)?,
            )),
            #[cfg(feature = "onnxruntime")]
            Backend::OnnxRuntime => Ok(Box::new(super::onnx_runtime::Runtime::new(
                &self, signature, threads,
            )?)),
            #[cfg(not(feature = "onnxruntime"))]
            Backend::OnnxRuntime => {
                let _ = threads;
                Err(EncodeError::NotCompiled {
                    what: "ONNX Runtime".into(),
                    feature: "onnxruntime",
                })
            }
        }
    }
}

/// Reads what an ONNX file says of its graph.
fn described(bytes: &[u8], path: &Path) -> Result<onnx_file::Model, EncodeError> {
    onnx_file::Model::read(bytes).map_err(|reason| EncodeError::Model {
        path: path.to_path_buf(),
        reason,
    })
}

/// Reads the files of weights that a graph names, which lie beside it.
fn external(model: &onnx_file::Model, path: &Path) -> Result<Vec<(String, Vec<u8>)>, EncodeError> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut left = MODEL_LIMIT;
    for name in model.external_files() {
        if !layout::is_inside(Path::new(&name)) {
            return Err(EncodeError::Model {
                path: path.to_path_buf(),
                reason: format!(
                    "its weights are said to lie in {name:?}, which leads out of the directory"
                ),
            });
        }
        let bytes = layout::read(&path.with_file_name(&name), left)?;
        left = left.saturating_sub(bytes.len() as u64);
        files.push((name, bytes));
    }
    Ok(files)
}
