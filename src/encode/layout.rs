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
use super::error::EncodeError;
use super::find::MODEL_FILES;
use super::onnx_file;
use super::pool::Pooling;

/// Largest size of a model: protobuf allows no message above 2 GiB.
const MODEL_LIMIT: u64 = 2 << 30;
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
    /// Bytes of the ONNX file.
    pub(super) model: Cow<'static, [u8]>,
    /// What the ONNX file says of the graph.
    pub(super) graph: onnx_file::Model,
    /// Path of the ONNX file, for errors.
    pub(super) model_path: PathBuf,
    /// Bytes of `tokenizer.json`.
    pub(super) tokenizer: Cow<'static, [u8]>,
    /// Path of `tokenizer.json`, for errors.
    pub(super) tokenizer_path: PathBuf,
    /// Weights outside the ONNX file, by the names that it has for them.
    pub(super) external: Vec<(String, Vec<u8>)>,
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
        let model_path = PathBuf::from("embedded/model.onnx");
        Ok(Self {
            graph: described(model, &model_path)?,
            name: "static-minilm-256-v2".into(),
            source: Some(super::EMBEDDED.into()),
            model: Cow::Borrowed(model),
            model_path,
            tokenizer: Cow::Borrowed(include_bytes!(
                "../../models/static-minilm-256-v2/tokenizer.json"
            )),
            tokenizer_path: "embedded/tokenizer.json".into(),
            external: Vec::new(),
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

    /// Reads a model directory.
    pub(super) fn read(dir: &Path) -> Result<Self, EncodeError> {
        let io = |source| EncodeError::Io {
            path: dir.to_path_buf(),
            source,
        };
        let dir = std::path::absolute(dir).map_err(io)?;
        if !dir.is_dir() {
            // The error is "not found" or "not a directory".
            std::fs::read_dir(&dir).map_err(io)?;
        }
        let model_path = MODEL_FILES
            .iter()
            .map(|file| dir.join(file))
            .find(|path| path.exists())
            .ok_or_else(|| EncodeError::Missing {
                dir: dir.clone(),
                file: MODEL_FILES[0],
            })?;
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
        let model = read(&model_path, MODEL_LIMIT)?;
        let graph = described(&model, &model_path)?;
        let external = external(&graph, &model_path)?;

        Ok(Self {
            name: dir.file_name().map_or_else(
                || "model".into(),
                |name| name.to_string_lossy().into_owned(),
            ),
            source: dir.to_str().map(Into::into),
            model: Cow::Owned(model),
            graph,
            external,
            model_path,
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

/// Reads what an ONNX file says of its graph.
fn described(model: &[u8], model_path: &Path) -> Result<onnx_file::Model, EncodeError> {
    onnx_file::Model::read(model).map_err(|reason| EncodeError::Model {
        path: model_path.to_path_buf(),
        reason,
    })
}

/// Reads the files of weights that a graph names, which lie beside it.
fn external(
    graph: &onnx_file::Model,
    model_path: &Path,
) -> Result<Vec<(String, Vec<u8>)>, EncodeError> {
    let wrong = |reason: String| EncodeError::Model {
        path: model_path.to_path_buf(),
        reason,
    };
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut left = MODEL_LIMIT;
    for name in graph.external_files() {
        let inside = Path::new(&name)
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        if !inside || name.is_empty() {
            return Err(wrong(format!(
                "its weights are said to lie in {name:?}, which leads out of the directory"
            )));
        }
        let path = model_path.parent().unwrap_or(Path::new("")).join(&name);
        let bytes = read(&path, left)?;
        left = left.saturating_sub(bytes.len() as u64);
        files.push((name, bytes));
    }
    Ok(files)
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
