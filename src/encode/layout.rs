//! The layout of a model directory, as sentence-transformers and Hugging Face export it.
//!
//! | file | content | default |
//! |---|---|---|
//! | `model.onnx`, else `onnx/model.onnx` | the graph | an error |
//! | `tokenizer.json` | the tokenizer | an error |
//! | `modules.json` | whether vectors are normalised, the folder of the pooling's settings | normalised, `1_Pooling` |
//! | `1_Pooling/config.json` | how token vectors are pooled | mean |
//! | `sentence_bert_config.json`, `tokenizer_config.json` | the maximum length in tokens, the end that is cut, lower case | 256, right, as it is |
//! | `config_sentence_transformers.json` | prompts, the dimension that is kept, the similarity | none, all, none |
//! | what `model.onnx` names | weights outside of it | in the graph |
//! | `config.json` | the number of positions, the padding token | no bound, 0 |
//!
//! Every file is untrusted: its size is checked before it is read.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::Similarity;
use super::config::{
    ModelConfig, Modules, PoolingConfig, SentenceConfig, Side, TokenizerConfig, TransformersConfig,
    config,
};
use super::engine::GraphFile;
use super::error::EncodeError;
use super::pool::Pooling;

/// Largest size of a tokenizer. The largest published vocabularies (250,000 tokens) take 17 MB,
/// with merges 35 MB.
const TOKENIZER_LIMIT: u64 = 256 << 20;
/// Maximum length, in tokens, of a model without one.
const DEFAULT_MAX_LENGTH: usize = 256;

/// A model's files and settings.
pub(super) struct Layout {
    /// Name for people.
    pub(super) name: String,
    /// Source from which it can be loaded again.
    pub(super) source: Option<String>,
    pub(super) file: GraphFile,
    /// Bytes of `tokenizer.json`.
    pub(super) tokenizer: Cow<'static, [u8]>,
    /// Path of `tokenizer.json`, for errors.
    pub(super) tokenizer_path: PathBuf,
    /// Ways of pooling token vectors, where the graph does not pool them.
    pub(super) pooling: Vec<Pooling>,
    /// Whether vectors are divided by their Euclidean norm.
    pub(super) normalise: bool,
    /// What is done to texts before they are cut into tokens.
    pub(super) form: TextForm,
    /// Number of leading numbers of a vector that are kept, if not all.
    pub(super) truncate: Option<usize>,
    /// The similarity that the vectors are made for.
    pub(super) similarity: Option<Similarity>,
    /// Number of tokens at which texts are cut.
    pub(super) max_length: usize,
    /// The end at which they are cut.
    pub(super) cut: Side,
    /// Number of positions of the model, where `config.json` has it.
    pub(super) positions: Option<usize>,
    /// Id of the padding token, where `config.json` has it.
    pub(super) pad: Option<u32>,
    /// A module after the pooling, such as `Dense`, whose result only a graph with a pooled output
    /// has.
    pub(super) extra_module: Option<String>,
}

impl Layout {
    /// The model inside the binary.
    #[cfg(feature = "embedded-model")]
    pub(super) fn embedded() -> Result<Self, EncodeError> {
        let model = include_bytes!("../../models/static-minilm-256-v2/model.onnx");
        Ok(Self {
            file: GraphFile::embedded("embedded/model.onnx", model)?,
            name: "static-minilm-256-v2".into(),
            source: Some(super::EMBEDDED.into()),
            tokenizer: Cow::Borrowed(include_bytes!(
                "../../models/static-minilm-256-v2/tokenizer.json"
            )),
            tokenizer_path: "embedded/tokenizer.json".into(),
            pooling: vec![Pooling::Mean],
            normalise: true,
            form: TextForm::default(),
            truncate: None,
            similarity: None,
            max_length: DEFAULT_MAX_LENGTH,
            cut: Side::default(),
            positions: None,
            pad: None,
            extra_module: None,
        })
    }

    /// Reads a directory of a model of texts, whose ONNX file is the first of `files` that is there.
    pub(super) fn read(dir: &Path, files: &[&'static str]) -> Result<Self, EncodeError> {
        let dir = directory(dir)?;
        let model_path = first_of(&dir, files)?;
        let tokenizer_path = dir.join("tokenizer.json");
        if !tokenizer_path.exists() {
            return Err(EncodeError::Missing {
                dir,
                file: "tokenizer.json",
            });
        }

        let modules = Modules::read(&dir)?;
        let pooling = match &modules.pooling {
            Some(folder) => PoolingConfig::read(&dir.join(folder).join("config.json"))?,
            None => vec![Pooling::Mean],
        };
        let transformers_path = dir.join("config_sentence_transformers.json");
        let transformers: TransformersConfig = config(&transformers_path)?.unwrap_or_default();
        let of_model: ModelConfig = config(&dir.join("config.json"))?.unwrap_or_default();
        let sentence: SentenceConfig =
            config(&dir.join("sentence_bert_config.json"))?.unwrap_or_default();
        let tokens: TokenizerConfig =
            config(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let positions = of_model.positions();
        let own_limit = sentence.max_seq_length.or_else(|| tokens.max_length());
        let max_length = own_limit
            .unwrap_or(DEFAULT_MAX_LENGTH)
            .min(positions.unwrap_or(usize::MAX));

        Ok(Self {
            name: name_of(&dir),
            source: dir.to_str().map(Into::into),
            file: GraphFile::read(model_path)?,
            tokenizer: Cow::Owned(read(&tokenizer_path, TOKENIZER_LIMIT)?),
            tokenizer_path,
            pooling,
            normalise: modules.normalise,
            form: TextForm {
                lower_case: sentence.do_lower_case,
                ..transformers.prompts(&transformers_path)?
            },
            truncate: transformers.truncate_dim,
            similarity: transformers.similarity(&transformers_path)?,
            max_length,
            cut: tokens.truncation_side,
            positions,
            pad: of_model.pad_token_id,
            extra_module: modules.extra,
        })
    }
}

/// What is done to texts before they are cut into tokens.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct TextForm {
    pub(super) lower_case: bool,
    /// What stands before the text of an item.
    pub(super) item_prompt: String,
    /// What stands before the text of a query.
    pub(super) query_prompt: String,
}

impl TextForm {
    /// A text as it is cut into tokens.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.lower_case {
            Cow::Owned(text.to_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    }
}

/// The absolute path of a directory that exists.
pub(super) fn directory(dir: &Path) -> Result<PathBuf, EncodeError> {
    let io = |source| EncodeError::Io {
        path: dir.to_path_buf(),
        source,
    };
    let dir = std::path::absolute(dir).map_err(io)?;
    if !dir.is_dir() {
        // The error is "not found" or "not a directory".
        std::fs::read_dir(&dir).map_err(io)?;
    }
    Ok(dir)
}

/// The path of the first of these files that a directory has.
pub(super) fn first_of(dir: &Path, files: &[&'static str]) -> Result<PathBuf, EncodeError> {
    let paths = files.iter().map(|file| dir.join(file));
    let found = paths.into_iter().find(|path| path.exists());
    found.ok_or_else(|| EncodeError::Missing {
        dir: dir.to_path_buf(),
        file: files.first().copied().unwrap_or("model.onnx"),
    })
}

/// A model's name for people: that of its directory.
pub(super) fn name_of(dir: &Path) -> String {
    let name = dir.file_name().map(std::ffi::OsStr::to_string_lossy);
    name.map_or_else(|| "model".into(), std::borrow::Cow::into_owned)
}

/// Whether a path that a file names stays inside of the directory that it is joined to.
pub(super) fn is_inside(path: &Path) -> bool {
    let is_normal = |component| matches!(component, Component::Normal(_));
    path.components().next().is_some() && path.components().all(is_normal)
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, EncodeError> {
    let io = |source| EncodeError::Io {
        path: path.to_path_buf(),
        source,
    };
    // Checked before opening, because opening a pipe waits for its other end.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(io(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a regular file",
        )));
    }
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file that grows meanwhile is refused too.
    if metadata.len() <= limit {
        file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    }
    let found = metadata.len().max(bytes.len() as u64);
    if found > limit {
        return Err(EncodeError::TooLarge {
            path: path.to_path_buf(),
            bytes: found,
            limit,
        });
    }
    Ok(bytes)
}
