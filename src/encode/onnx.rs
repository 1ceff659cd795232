//! The encoder that comes with the crate: a model directory, a tokenizer, a backend, and batches in
//! between.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, ArrayD, Axis};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Framework;

use super::batch::{self, Batch};
use super::error::EncodeError;
use super::layout::Layout;
use super::onnx_tract::Tract;
use super::pool::{self, Pooling};
use super::signature::Signature;
use super::tokens::{Cutter, Tokens, guard};
use super::{Encoded, Encoder, workers};

/// A prepared graph of one of the backends.
pub(super) trait Engine: Send + Sync {
    /// Runs a batch. The error is what the backend said.
    fn run(&self, batch: &Batch) -> Result<ArrayD<f32>, String>;

    /// Whether several threads should run batches at once; otherwise the backend has threads of its
    /// own.
    fn parallel(&self) -> bool;
}

/// What runs the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// tract, in pure Rust; part of every build.
    Tract,
    /// The ONNX Runtime library that `ORT_DYLIB_PATH` names; needs the feature `onnxruntime`.
    OnnxRuntime,
}

/// How a model is loaded and run; made by [`Onnx::options`].
#[derive(Debug, Clone, Default)]
pub struct OnnxOptions {
    max_length: Option<usize>,
    batch: Option<usize>,
    threads: Option<usize>,
    backend: Option<Backend>,
}

impl OnnxOptions {
    /// Cuts texts at this many tokens, special tokens included, instead of at the model's own
    /// limit.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = Some(tokens);
        self
    }

    /// At most this many texts in one run of the model (default 32).
    pub fn batch(mut self, texts: usize) -> Self {
        self.batch = Some(texts);
        self
    }

    /// How many threads work at once (default: as many as the machine has).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What runs the graph. By default ONNX Runtime where the feature `onnxruntime` is built in and
    /// `ORT_DYLIB_PATH` is set, else tract.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Loads a model directory; see [`Onnx::from_dir`].
    ///
    /// # Errors
    /// As [`Onnx::from_dir`], and [`EncodeError::Option`] for values that cannot work.
    pub fn from_dir(&self, dir: impl AsRef<Path>) -> Result<Onnx, EncodeError> {
        Onnx::new(Layout::read(dir.as_ref())?, self)
    }

    /// Loads the model inside the binary; see [`Onnx::embedded`].
    ///
    /// # Errors
    /// As [`Onnx::embedded`], and [`EncodeError::Option`] for values that cannot work.
    #[cfg(feature = "embedded-model")]
    pub fn embedded(&self) -> Result<Onnx, EncodeError> {
        Onnx::new(Layout::embedded(), self)
    }
}

/// An ONNX model with its tokenizer and pooling. Cheap to clone; clones share the model.
#[derive(Clone)]
pub struct Onnx(Arc<Model>);

struct Model {
    name: String,
    source: Option<String>,
    fingerprint: String,
    backend: Backend,
    dim: usize,
    output: String,
    max_length: usize,
    pooling: Pooling,
    normalise: bool,
    pad: i64,
    batch: usize,
    threads: usize,
    cutter: Cutter,
    engine: Box<dyn Engine>,
}

/// Token positions in one run. On all-MiniLM with 32-token texts, 512 took a sixth less CPU than
/// 1,024, and 128 or 256 no less than 512: activations stay in cache, and the matrices are large
/// enough for the kernels.
const BATCH_POSITIONS: usize = 512;
/// Texts in one run.
const BATCH_TEXTS: usize = 32;
/// Fewer positions than this are not worth a thread of their own.
const LEAST_POSITIONS: usize = 64;
/// Texts that one thread cuts into tokens before it looks for more.
const CUT_TEXTS: usize = 64;
/// The widest vectors that a collection takes.
const LARGEST_DIM: usize = 4096;

impl Onnx {
    /// Loads the model inside the binary, `static-minilm-256`: 256 numbers a text, thousands of
    /// texts a second.
    ///
    /// # Errors
    /// [`EncodeError`] when a chosen backend is not there.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Self, EncodeError> {
        Self::options().embedded()
    }

    /// Loads a model directory as sentence-transformers and Hugging Face export it.
    ///
    /// `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json` must be there.
    /// `1_Pooling/config.json`, `modules.json`, `sentence_bert_config.json`,
    /// `tokenizer_config.json` and `config.json` are heeded where they are; without them token
    /// vectors are averaged and normalised, and texts cut at 256 tokens. The model runs once on a
    /// short text, so a directory whose parts do not fit is refused here and not at the first item.
    ///
    /// # Errors
    /// [`EncodeError`] names the file that is missing, damaged, too large, or asks for what is not
    /// supported.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, EncodeError> {
        Self::options().from_dir(dir)
    }

    /// Loads with other settings than the default.
    pub fn options() -> OnnxOptions {
        OnnxOptions::default()
    }

    /// What runs the graph.
    pub fn backend(&self) -> Backend {
        self.0.backend
    }

    /// Texts are cut at this many tokens, special tokens included.
    pub fn max_length(&self) -> usize {
        self.0.max_length
    }

    fn new(layout: Layout, options: &OnnxOptions) -> Result<Self, EncodeError> {
        let max_length = options.max_length.unwrap_or(layout.max_length);
        if let Some(positions) = layout.positions.filter(|positions| max_length > *positions) {
            let allowed = format!(
                "at most {positions}, the number of positions of {}",
                layout.name
            );
            return Err(EncodeError::Option {
                option: "max_length",
                value: max_length,
                allowed,
            });
        }
        for (option, value) in [("batch", options.batch), ("threads", options.threads)] {
            if value == Some(0) {
                return Err(EncodeError::Option {
                    option,
                    value: 0,
                    allowed: "at least 1".into(),
                });
            }
        }
        let threads = options
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
        let cutter = Cutter::new(&layout.tokenizer, max_length, &layout.tokenizer_path)?;

        let prepare = |reason| EncodeError::Model {
            path: layout.model_path.clone(),
            reason,
        };
        let graph: ModelProto =
            guard(|| tract_onnx::onnx().proto_model_for_read(&mut layout.model.as_ref()))
                .map_err(prepare)?;
        let signature = Signature::of(&graph, &layout.model_path)?;
        if let Some(module) = layout.extra_module.as_ref().filter(|_| !signature.pooled) {
            let what = format!(
                "the module {module} follows the pooling but is not part of the graph; export the whole \
                 sentence-transformers model, with an output sentence_embedding"
            );
            return Err(EncodeError::Unsupported {
                path: layout.model_path.clone(),
                what,
            });
        }
        let backend = options.backend.unwrap_or_else(default_backend);
        let engine: Box<dyn Engine> = match backend {
            Backend::Tract => {
                Box::new(Tract::new(&graph, &signature, layout.positions).map_err(prepare)?)
            }
            #[cfg(feature = "onnxruntime")]
            Backend::OnnxRuntime => {
                drop(graph);
                Box::new(super::onnx_runtime::Runtime::new(
                    &layout, &signature, threads,
                )?)
            }
            #[cfg(not(feature = "onnxruntime"))]
            Backend::OnnxRuntime => {
                return Err(EncodeError::NotCompiled {
                    what: "ONNX Runtime".into(),
                    feature: "onnxruntime",
                });
            }
        };

        let mut model = Model {
            fingerprint: fingerprint(&layout, max_length),
            name: layout.name,
            source: layout.source,
            backend,
            dim: 0,
            output: signature.output,
            max_length,
            pooling: layout.pooling,
            normalise: layout.normalise,
            pad: i64::from(layout.pad.or(cutter.pad()).unwrap_or(0)),
            batch: options.batch.unwrap_or(BATCH_TEXTS),
            threads,
            cutter,
            engine,
        };
        model.dim = model.probe()?;
        Ok(Self(Arc::new(model)))
    }
}

impl Model {
    /// Runs two short texts of different length: the dimension, and the proof that the parts fit.
    fn probe(&mut self) -> Result<usize, EncodeError> {
        let texts = ["a", "a short text"];
        let tokens = self.cut(&texts)?;
        let batch = Batch::new(&tokens, &[0, 1], self.pad);
        let output = self.run(&batch)?;
        let dim = pool::dim_of(&output.view()).filter(|dim| *dim <= LARGEST_DIM);
        self.dim = dim.ok_or_else(|| self.wrong_shape(&output, &batch))?;
        let rows = self.pooled(&output, &batch, 2)?;
        self.check(&rows, &[0, 1])?;
        Ok(self.dim)
    }

    /// Cuts texts into tokens, on all threads.
    fn cut(&self, texts: &[&str]) -> Result<Vec<Tokens>, EncodeError> {
        let chunks: Vec<&[&str]> = texts.chunks(CUT_TEXTS).collect();
        let cut = workers::map(chunks.len(), self.threads, |chunk| {
            let texts = chunks[chunk].iter().enumerate();
            texts
                .map(|(i, text)| {
                    let index = chunk * CUT_TEXTS + i;
                    self.cutter.cut(text).map_err(|reason| EncodeError::Text {
                        model: self.name.clone(),
                        index,
                        reason,
                    })
                })
                .collect::<Result<Vec<Tokens>, EncodeError>>()
        })?;
        Ok(cut.into_iter().flatten().collect())
    }

    fn run(&self, batch: &Batch) -> Result<ArrayD<f32>, EncodeError> {
        self.engine.run(batch).map_err(|reason| EncodeError::Run {
            model: self.name.clone(),
            reason,
        })
    }

    /// The vectors of a batch of `texts` texts (`texts x d`).
    fn pooled(
        &self,
        output: &ArrayD<f32>,
        batch: &Batch,
        texts: usize,
    ) -> Result<Array2<f32>, EncodeError> {
        let mut rows = Array2::zeros((texts, self.dim));
        let (pooling, normalise) = (self.pooling, self.normalise);
        if pool::pool(
            &output.view(),
            &batch.mask.view(),
            pooling,
            normalise,
            rows.rows_mut().into_iter(),
        ) {
            Ok(rows)
        } else {
            Err(self.wrong_shape(output, batch))
        }
    }

    fn wrong_shape(&self, output: &ArrayD<f32>, batch: &Batch) -> EncodeError {
        let (b, s) = batch.ids.dim();
        let d = if self.dim == 0 {
            format!("d], d up to {LARGEST_DIM}")
        } else {
            format!("{}]", self.dim)
        };
        EncodeError::OutputShape {
            model: self.name.clone(),
            output: self.output.clone(),
            found: output.shape().to_vec(),
            expected: format!("[{b}, {s}, {d} or [{b}, {d}"),
        }
    }

    /// Refuses vectors that are not finite; `members` are the texts' positions.
    fn check(&self, rows: &Array2<f32>, members: &[usize]) -> Result<(), EncodeError> {
        let bad = rows
            .rows()
            .into_iter()
            .position(|row| !row.iter().all(|x| x.is_finite()));
        match bad.and_then(|row| members.get(row)) {
            Some(&index) => Err(EncodeError::NotFinite {
                model: self.name.clone(),
                index,
            }),
            None => Ok(()),
        }
    }
}

impl Encoder for Onnx {
    fn dim(&self) -> usize {
        self.0.dim
    }

    fn name(&self) -> &str {
        &self.0.name
    }

    fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    fn source(&self) -> Option<String> {
        self.0.source.clone()
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        let model = &*self.0;
        let tokens = model.cut(texts)?;
        let threads = if model.engine.parallel() {
            model.threads
        } else {
            1
        };
        // A few texts are parted among the threads too.
        let positions = tokens
            .iter()
            .map(|t| t.ids.len())
            .sum::<usize>()
            .div_ceil(threads);
        let batches = batch::plan(
            &tokens,
            model.batch,
            positions.clamp(LEAST_POSITIONS, BATCH_POSITIONS),
        );
        let parts = workers::map(batches.len(), threads, |i| {
            let members = &batches[i];
            let batch = Batch::new(&tokens, members, model.pad);
            let rows = model.pooled(&model.run(&batch)?, &batch, members.len())?;
            model.check(&rows, members)?;
            Ok(rows)
        })?;
        let mut vectors = Array2::zeros((texts.len(), model.dim));
        for (members, rows) in batches.iter().zip(&parts) {
            for (&member, row) in members.iter().zip(rows.axis_iter(Axis(0))) {
                vectors.row_mut(member).assign(&row);
            }
        }
        Ok(Encoded {
            vectors,
            truncated: tokens.iter().map(|t| t.truncated).collect(),
        })
    }
}

impl fmt::Debug for Onnx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onnx")
            .field("name", &self.0.name)
            .field("dim", &self.0.dim)
            .field("max_length", &self.0.max_length)
            .field("pooling", &self.0.pooling)
            .field("normalise", &self.0.normalise)
            .field("backend", &self.0.backend)
            .field("fingerprint", &self.0.fingerprint)
            .finish_non_exhaustive()
    }
}

/// ONNX Runtime where this build has it and the variable names it, else tract.
fn default_backend() -> Backend {
    let named = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
    if cfg!(feature = "onnxruntime") && named {
        Backend::OnnxRuntime
    } else {
        Backend::Tract
    }
}

/// 128 bits over all that decides a text's vector, as 32 hexadecimal digits; the backend is not
/// part of it.
fn fingerprint(layout: &Layout, max_length: usize) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    // Lengths first: no two different models give the same stream of bytes.
    for bytes in [
        layout.model.as_ref(),
        layout.tokenizer.as_ref(),
        layout.pooling.name().as_bytes(),
    ] {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.update(&[u8::from(layout.normalise)]);
    hasher.update(&(max_length as u64).to_le_bytes());
    format!("{:032x}", hasher.digest128())
}
