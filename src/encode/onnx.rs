//! [`Onnx`], the encoder of the crate: a model and a tokenizer from a directory or from the binary,
//! run on batches by one of two backends.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, ArrayD, ArrayView1, Axis};

use super::batch::{self, Batch};
use super::engine::{Backend, Engine};
use super::error::EncodeError;
use super::find::MODEL_FILES;
use super::fingerprint;
use super::layout::{Layout, TextForm};
use super::pool::{self, Pooling};
use super::signature::Signature;
use super::tokens::{TextTokenizer, Tokens};
use super::{Encoded, Encoder, Similarity, workers};

/// Options for loading and running a model; made by [`Onnx::options`].
#[derive(Debug, Clone, Default)]
pub struct OnnxOptions {
    output: Option<String>,
    max_length: Option<usize>,
    batch: Option<usize>,
    threads: Option<usize>,
    backend: Option<Backend>,
}

impl OnnxOptions {
    /// Sets the output of the graph that is the embedding: of a text (`b x d`), or of each of its
    /// tokens (`b x s x d`), which are pooled. By default it is the first of `sentence_embedding`,
    /// `text_embeds`, `dense_vecs`, `last_hidden_state` and `token_embeddings` that the graph has in
    /// the shape that belongs to the name; a graph with none of them is refused without a choice.
    pub fn output(mut self, name: impl Into<String>) -> Self {
        self.output = Some(name.into());
        self
    }

    /// Sets the number of tokens at which texts are cut, special tokens included; the model's own
    /// limit by default.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = Some(tokens);
        self
    }

    /// Sets the largest number of texts in one run of the model; 32 by default. It is 1 whatever is
    /// set for a graph that rounds activations to 8 bits by the range of the whole batch: a text has
    /// one vector.
    pub fn batch(mut self, texts: usize) -> Self {
        self.batch = Some(texts);
        self
    }

    /// Sets the number of threads; as many as the machine has by default.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the backend. By default it is ONNX Runtime where the build has the feature
    /// `onnxruntime` and `ORT_DYLIB_PATH` is set, otherwise RTen.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Loads a model directory; see [`Onnx::from_dir`].
    ///
    /// # Errors
    /// Those of [`Onnx::from_dir`]; [`EncodeError::Option`] for options outside their ranges.
    pub fn from_dir(&self, dir: impl AsRef<Path>) -> Result<Onnx, EncodeError> {
        Onnx::new(Layout::read(dir.as_ref(), &MODEL_FILES)?, self)
    }

    /// Loads a directory with a model of images; see [`ImageOnnx`](super::ImageOnnx).
    ///
    /// # Errors
    /// Those of [`ImageOnnx::from_dir`](super::ImageOnnx::from_dir); [`EncodeError::Option`] for
    /// options outside their ranges.
    #[cfg(feature = "images")]
    pub fn images_from_dir(&self, dir: impl AsRef<Path>) -> Result<super::ImageOnnx, EncodeError> {
        super::ImageOnnx::new(dir.as_ref(), self)
    }

    /// The output that is set.
    #[cfg(feature = "images")]
    pub(super) fn chosen_output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// The backend that is set, or the default one.
    pub(super) fn chosen_backend(&self) -> Backend {
        self.backend.unwrap_or_default()
    }

    /// The number of threads that is set, or the default one.
    pub(super) fn thread_count(&self) -> usize {
        self.threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
    }

    /// Loads the model inside the binary; see [`Onnx::embedded`].
    ///
    /// # Errors
    /// Those of [`Onnx::embedded`]; [`EncodeError::Option`] for options outside their ranges.
    #[cfg(feature = "embedded-model")]
    pub fn embedded(&self) -> Result<Onnx, EncodeError> {
        Onnx::new(Layout::embedded()?, self)
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
    /// Name and number of axes of the output, and whether it was chosen.
    output: String,
    rank: Option<usize>,
    chosen: bool,
    max_length: usize,
    /// Number of tokens of an item without a text: special ones, and those of the prompt.
    base: usize,
    pooling: Vec<Pooling>,
    normalise: bool,
    form: TextForm,
    similarity: Option<Similarity>,
    pad: i64,
    /// Number of tokens that the model knows, where its graph shows it.
    tokens: Option<usize>,
    /// Whether a batch may hold texts of different length.
    padding: bool,
    batch: usize,
    threads: usize,
    tokenizer: TextTokenizer,
    engine: Box<dyn Engine>,
}

/// Largest number of token positions in one run. On all-MiniLM with texts of 32 tokens, 512 took a
/// sixth less CPU than 1,024, and 128 or 256 no less than 512: activations stay in cache, and the
/// matrices are large enough for the kernels.
const BATCH_POSITIONS: usize = 512;
/// Largest number of texts in one run, by default.
const BATCH_TEXTS: usize = 32;
/// Smallest number of token positions for which another thread is used.
const MIN_POSITIONS: usize = 64;
/// Largest distance of a text's vector from the one that it has beside a longer text, as a share of
/// its norm. Rounding and weights of 8 bits stay below it; a mean over padding does not.
const PADDED: f32 = 0.05;
/// Number of texts in one job of the tokenizer.
const TOKENIZED_TEXTS: usize = 64;
/// Largest dimension of a collection.
pub(super) const MAX_DIM: usize = 4096;

impl Onnx {
    /// Loads the model inside the binary, `static-minilm-256-v2`: 256 numbers a text, thousands of
    /// texts a second.
    ///
    /// # Errors
    /// [`EncodeError`] when the chosen backend is not available.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Self, EncodeError> {
        Self::options().embedded()
    }

    /// Loads a model directory as sentence-transformers and Hugging Face export it.
    ///
    /// `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json` are needed. The settings in
    /// `1_Pooling/config.json`, `modules.json`, `sentence_bert_config.json`,
    /// `tokenizer_config.json` and `config.json` are used where the files exist; without them token
    /// vectors are averaged and normalised, and texts cut at 256 tokens. The model runs once on
    /// short texts, so that a directory whose files do not fit together is refused at once and not
    /// at the first item.
    ///
    /// # Errors
    /// [`EncodeError`], with the file that is missing, damaged, too large or not supported;
    /// [`EncodeError::Output`] with the graph's outputs where one must be
    /// [chosen](OnnxOptions::output).
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, EncodeError> {
        Self::options().from_dir(dir)
    }

    /// Options other than the default ones.
    pub fn options() -> OnnxOptions {
        OnnxOptions::default()
    }

    /// Backend that runs the graph.
    pub fn backend(&self) -> Backend {
        self.0.backend
    }

    /// Number of tokens at which texts are cut, special tokens included.
    pub fn max_length(&self) -> usize {
        self.0.max_length
    }

    pub(super) fn new(layout: Layout, options: &OnnxOptions) -> Result<Self, EncodeError> {
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
        let threads = options.thread_count();
        let tokenizer = TextTokenizer::new(&layout, max_length)?;

        let signature = Signature::of(&layout.file, options.output.as_deref())?;
        let pooled = signature.rank == Some(2);
        if let Some(module) = layout.extra_module.as_ref().filter(|_| !pooled) {
            let what = format!(
                "the module {module} follows the pooling but is not part of the graph; export the whole \
                 sentence-transformers model, with an output sentence_embedding"
            );
            return Err(EncodeError::Unsupported {
                path: layout.file.path,
                what,
            });
        }
        let backend = options.chosen_backend();
        let fingerprint = fingerprint::of(&layout, max_length, &signature);
        let engine = layout.file.prepare(&signature, backend, threads)?;

        let mut model = Model {
            fingerprint,
            name: layout.name,
            source: layout.source,
            backend,
            dim: 0,
            output: signature.output,
            rank: signature.rank,
            chosen: signature.chosen,
            max_length,
            base: tokenizer.special(),
            pooling: layout.pooling,
            normalise: layout.normalise,
            form: layout.form,
            similarity: layout.similarity,
            pad: i64::from(layout.pad.or(tokenizer.pad()).unwrap_or(0)),
            tokens: signature.tokens,
            padding: true,
            batch: if signature.quantises_batches {
                1
            } else {
                options.batch.unwrap_or(BATCH_TEXTS)
            },
            threads,
            tokenizer,
            engine,
        };
        model.dim = model.probe(layout.truncate)?;
        model.base = model.count("")?;
        Ok(Self(Arc::new(model)))
    }
}

impl Model {
    /// Runs two texts of different length, to find the dimension, to check that the files fit
    /// together, and to see whether the graph leaves padding out.
    fn probe(&mut self, truncate: Option<usize>) -> Result<usize, EncodeError> {
        // The other one is longer than the lengths to which plans are rounded.
        let texts = [
            "a",
            "a text of so many words that the one beside it is padded",
        ];
        // These texts are not the user's.
        let tokens = self.split(&texts, "").map_err(|error| match error {
            EncodeError::Token {
                model,
                token,
                tokens,
                ..
            } => EncodeError::Run {
                model,
                reason: format!(
                    "the tokenizer gives the token {token}, and the model's table ends at {}; model.onnx and \
                     tokenizer.json do not belong together",
                    tokens.saturating_sub(1)
                ),
            },
            other => other,
        })?;
        let batch = Batch::new(&tokens, &[0, 1], self.pad);
        let output = self.run(&batch)?;
        let fits = self.rank.is_none_or(|rank| rank == output.ndim());
        // One number is the score of a text, and no embedding.
        let dim = pool::dim_of(&output.view(), self.pooling.len());
        let dim = dim.filter(|dim| fits && (2..=MAX_DIM).contains(dim));
        let whole = dim.ok_or_else(|| self.wrong_shape(&output, &batch))?;
        self.dim = truncate.map_or(whole, |kept| kept.clamp(2, whole));
        let rows = self.pooled(&output, &batch, 2)?;
        self.check(&rows, &[0, 1])?;
        let alone = Batch::new(&tokens, &[0], self.pad);
        let alone = self.pooled(&self.run(&alone)?, &alone, 1)?;
        let apart = &alone.row(0) - &rows.row(0);
        let square = |row: &ArrayView1<'_, f32>| row.dot(row);
        self.padding = square(&apart.view()) <= PADDED.powi(2) * square(&alone.row(0));
        Ok(self.dim)
    }

    /// Number of tokens of an item with a text, also beyond the limit.
    fn count(&self, text: &str) -> Result<usize, EncodeError> {
        let text = self.form.text(text);
        let prompt = &self.form.item_prompt;
        let counted = if prompt.is_empty() {
            self.tokenizer.count(&text)
        } else {
            self.tokenizer.count(&format!("{prompt}{text}"))
        };
        counted.map_err(|reason| EncodeError::Text {
            model: self.name.clone(),
            index: 0,
            reason,
        })
    }

    /// The tokens of texts after a prompt, computed on all threads.
    fn split(&self, texts: &[&str], prompt: &str) -> Result<Vec<Tokens>, EncodeError> {
        let chunks: Vec<&[&str]> = texts.chunks(TOKENIZED_TEXTS).collect();
        let tokens = workers::map(chunks.len(), self.threads, |chunk| {
            let texts = chunks[chunk].iter().enumerate();
            texts
                .map(|(i, text)| self.split_one(text, prompt, chunk * TOKENIZED_TEXTS + i))
                .collect::<Result<Vec<Tokens>, EncodeError>>()
        })?;
        Ok(tokens.into_iter().flatten().collect())
    }

    /// The tokens of the text at a position, which the model's table has.
    fn split_one(&self, text: &str, prompt: &str, index: usize) -> Result<Tokens, EncodeError> {
        let model = || self.name.clone();
        let split = |text: &str| {
            let found = self.tokenizer.split(text);
            found.map_err(|reason| EncodeError::Text {
                model: model(),
                index,
                reason,
            })
        };
        let text = self.form.text(text);
        let mut found = split(&text)?;
        if !prompt.is_empty() {
            // A prompt makes no text known.
            let unknown = found.unknown;
            found = split(&format!("{prompt}{text}"))?;
            found.unknown = unknown;
        }
        let Some(tokens) = self.tokens else {
            return Ok(found);
        };
        match found.ids.iter().find(|id| **id as usize >= tokens) {
            None => Ok(found),
            Some(&token) => Err(EncodeError::Token {
                model: model(),
                index,
                token,
                tokens,
            }),
        }
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
        if pool::pool(
            &output.view(),
            &batch.mask.view(),
            &self.pooling,
            self.normalise,
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
            format!("d], d from 2 to {MAX_DIM}")
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

    /// Refuses vectors that are not finite; `members` are the positions of their texts.
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

    fn output(&self) -> Option<&str> {
        self.0.chosen.then_some(&self.0.output)
    }

    fn similarity(&self) -> Option<Similarity> {
        self.0.similarity
    }

    fn token_count(&self, text: &str) -> Result<usize, EncodeError> {
        let model = &self.0;
        let whole = model.count(text)?;
        Ok(whole.saturating_sub(model.base))
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.0.max_length.saturating_sub(self.0.base).max(1))
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        self.0.encode(texts, &self.0.form.item_prompt)
    }

    fn encode_queries(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        self.0.encode(texts, &self.0.form.query_prompt)
    }
}

impl Model {
    /// Encodes texts after a prompt.
    fn encode(&self, texts: &[&str], prompt: &str) -> Result<Encoded, EncodeError> {
        let model = self;
        let tokens = model.split(texts, prompt)?;
        let threads = if model.engine.parallel() {
            model.threads
        } else {
            1
        };
        // Few texts are divided among the threads too.
        let positions = tokens
            .iter()
            .map(|t| t.ids.len())
            .sum::<usize>()
            .div_ceil(threads);
        let batches = batch::plan(
            &tokens,
            model.batch,
            positions.clamp(MIN_POSITIONS, BATCH_POSITIONS),
            model.padding,
        );
        let rows_of_batches = workers::map(batches.len(), threads, |i| {
            let members = &batches[i];
            let batch = Batch::new(&tokens, members, model.pad);
            let rows = model.pooled(&model.run(&batch)?, &batch, members.len())?;
            model.check(&rows, members)?;
            Ok(rows)
        })?;
        let mut vectors = Array2::zeros((texts.len(), model.dim));
        for (members, rows) in batches.iter().zip(&rows_of_batches) {
            for (&member, row) in members.iter().zip(rows.axis_iter(Axis(0))) {
                vectors.row_mut(member).assign(&row);
            }
        }
        Ok(Encoded {
            vectors,
            truncated: tokens.iter().map(|t| t.truncated).collect(),
            unknown: tokens.iter().map(|t| t.unknown).collect(),
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
