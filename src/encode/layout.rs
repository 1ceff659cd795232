//! The layout of a model directory, as sentence-transformers and Hugging Face export it.
//!
//! | file | content | default |
//! |---|---|---|
//! | `model.onnx`, else `onnx/model.onnx` | the graph | an error |
//! | `tokenizer.json` | the tokenizer | an error |
//! | `modules.json` | whether vectors are normalised, the folder of the pooling's settings | normalised, `1_Pooling` |
//! | `1_Pooling/config.json` | how token vectors are pooled | mean |
//! | `sentence_bert_config.json`, `tokenizer_config.json` | the maximum length in tokens, lower case | 256, as it is |
//! | `config_sentence_transformers.json` | prompts, the dimension that is kept, the similarity | none, all, none |
//! | what `model.onnx` names | weights outside of it | in the graph |
//! | `config.json` | the number of positions, the padding token | no bound, 0 |
//!
//! Every file is untrusted: its size is checked before it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Similarity;
use super::error::EncodeError;
use super::onnx_file;
use super::pool::Pooling;

/// Largest size of a model: protobuf allows no message above 2 GiB.
const MODEL_LIMIT: u64 = 2 << 30;
/// Largest size of a tokenizer. The largest published vocabularies (250,000 tokens) take 17 MB,
/// with merges 35 MB.
const TOKENIZER_LIMIT: u64 = 256 << 20;
/// Largest size of a configuration file; `config.json` can have thousands of label names.
const CONFIG_LIMIT: u64 = 4 << 20;
/// Maximum length, in tokens, of a model without one.
const DEFAULT_MAX_LENGTH: usize = 256;
/// Largest maximum length, in tokens. `tokenizer_config.json` has `1e30` for no limit, so a larger
/// number counts as none.
const LARGEST_MAX_LENGTH: usize = 32_768;

/// A model's files and settings.
pub(super) struct Layout {
    /// Name for people.
    pub(super) name: String,
    /// Source from which it can be loaded again.
    pub(super) source: Option<String>,
    /// Bytes of the ONNX file.
    pub(super) model: Cow<'static, [u8]>,
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
    pub(super) fn embedded() -> Self {
        Self {
            name: "static-minilm-256-v2".into(),
            source: Some(super::EMBEDDED.into()),
            model: Cow::Borrowed(include_bytes!(
                "../../models/static-minilm-256-v2/model.onnx"
            )),
            model_path: "embedded/model.onnx".into(),
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
            positions: None,
            pad: None,
            extra_module: None,
        }
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
        let model_path = ["model.onnx", "onnx/model.onnx"]
            .iter()
            .map(|file| dir.join(file))
            .find(|path| path.exists())
            .ok_or_else(|| EncodeError::Missing {
                dir: dir.clone(),
                file: "model.onnx",
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
        let transformers: TransformersConfig =
            self::config(&transformers_path)?.unwrap_or_default();
        let config: ModelConfig = config(&dir.join("config.json"))?.unwrap_or_default();
        let sentence: SentenceConfig =
            self::config(&dir.join("sentence_bert_config.json"))?.unwrap_or_default();
        let tokens: TokenizerConfig =
            self::config(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let positions = config.positions();
        let own_limit = sentence.max_seq_length.or_else(|| tokens.max_length());
        let max_length = own_limit
            .unwrap_or(DEFAULT_MAX_LENGTH)
            .min(positions.unwrap_or(usize::MAX));
        let model = read(&model_path, MODEL_LIMIT)?;
        let external = external(&model, &model_path)?;

        Ok(Self {
            name: dir.file_name().map_or_else(
                || "model".into(),
                |name| name.to_string_lossy().into_owned(),
            ),
            source: dir.to_str().map(Into::into),
            model: Cow::Owned(model),
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
            positions,
            pad: config.pad_token_id,
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

/// Reads the files of weights that a graph names, which lie beside it.
fn external(model: &[u8], model_path: &Path) -> Result<Vec<(String, Vec<u8>)>, EncodeError> {
    let wrong = |reason: String| EncodeError::Model {
        path: model_path.to_path_buf(),
        reason,
    };
    let file = onnx_file::Model::read(model).map_err(wrong)?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut left = MODEL_LIMIT;
    for name in file.external_files() {
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
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, EncodeError> {
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

/// Reads a JSON file; `None` when it does not exist.
fn config<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EncodeError> {
    match read(path, CONFIG_LIMIT) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| EncodeError::Config {
                path: path.to_path_buf(),
                reason: e.to_string(),
            }),
        Err(EncodeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The settings in `modules.json`.
struct Modules {
    /// Folder of the pooling's settings.
    pooling: Option<PathBuf>,
    normalise: bool,
    extra: Option<String>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Modules {
    fn read(dir: &Path) -> Result<Self, EncodeError> {
        let path = dir.join("modules.json");
        let Some(listed) = config::<Vec<Module>>(&path)? else {
            return Ok(Self {
                pooling: Some("1_Pooling".into()),
                normalise: true,
                extra: None,
            });
        };
        let mut modules = Self {
            pooling: None,
            normalise: false,
            extra: None,
        };
        for module in listed {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => {
                    let folder = PathBuf::from(&module.path);
                    // The path must not lead out of the directory.
                    if !folder
                        .components()
                        .all(|component| matches!(component, Component::Normal(_)))
                    {
                        let reason = format!("the path {:?} leaves the directory", module.path);
                        return Err(EncodeError::Config { path, reason });
                    }
                    modules.pooling = Some(folder);
                }
                "Normalize" => modules.normalise = true,
                other => modules.extra = Some(other.to_owned()),
            }
        }
        Ok(modules)
    }
}

/// The file `1_Pooling/config.json`, in the form with one flag for each mode and in the newer form
/// with the name of one mode.
#[derive(Deserialize, Default)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the fields are the file's own"
)]
struct PoolingConfig {
    pooling_mode: Option<Modes>,
    include_prompt: Option<bool>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

/// One mode or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Modes {
    One(String),
    Several(Vec<String>),
}

impl PoolingConfig {
    fn read(path: &Path) -> Result<Vec<Pooling>, EncodeError> {
        match config::<Self>(path)? {
            Some(config) => config.ways(path),
            None => Ok(vec![Pooling::Mean]),
        }
    }

    fn ways(&self, path: &Path) -> Result<Vec<Pooling>, EncodeError> {
        let config = self;
        let unsupported = |what: String| EncodeError::Unsupported {
            path: path.to_path_buf(),
            what,
        };
        if config.include_prompt == Some(false) {
            let what = "pooling without the tokens of the prompt (include_prompt) is not supported";
            return Err(unsupported(what.to_owned()));
        }
        // In the order in which sentence-transformers puts them one after the other.
        let flags = [
            ("cls", config.pooling_mode_cls_token),
            ("max", config.pooling_mode_max_tokens),
            ("mean", config.pooling_mode_mean_tokens),
            (
                "mean_sqrt_len_tokens",
                config.pooling_mode_mean_sqrt_len_tokens,
            ),
            ("weightedmean", config.pooling_mode_weightedmean_tokens),
            ("lasttoken", config.pooling_mode_lasttoken),
        ];
        let set: Vec<&str> = match &config.pooling_mode {
            Some(Modes::One(mode)) => vec![mode],
            Some(Modes::Several(modes)) => modes.iter().map(String::as_str).collect(),
            None => flags
                .iter()
                .filter(|(_, on)| *on)
                .map(|(name, _)| *name)
                .collect(),
        };
        if set.is_empty() {
            return Err(EncodeError::Config {
                path: path.to_path_buf(),
                reason: "no pooling mode is set".into(),
            });
        }
        let way = |mode: &&str| {
            let known = [
                Pooling::Cls,
                Pooling::Max,
                Pooling::Mean,
                Pooling::MeanSqrtLen,
                Pooling::WeightedMean,
                Pooling::LastToken,
            ];
            let named = known.iter().find(|way| way.name() == *mode).copied();
            named.ok_or_else(|| unsupported(format!("pooling {mode} is not supported")))
        };
        set.iter().map(way).collect()
    }
}

/// The file `config_sentence_transformers.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TransformersConfig {
    prompts: BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
    truncate_dim: Option<usize>,
    similarity_fn_name: Option<String>,
}

impl TransformersConfig {
    /// The prompts that sentence-transformers' `encode_query` and `encode_document` choose.
    fn prompts(&self, path: &Path) -> Result<TextForm, EncodeError> {
        let of = |name: &str| self.prompts.get(name).cloned().flatten();
        let default = match &self.default_prompt_name {
            Some(name) => of(name).ok_or_else(|| EncodeError::Config {
                path: path.to_path_buf(),
                reason: format!("its default prompt {name:?} is none of its prompts"),
            })?,
            None => String::new(),
        };
        let item = ["document", "passage", "corpus"].into_iter().find_map(of);
        Ok(TextForm {
            lower_case: false,
            item_prompt: item.unwrap_or_else(|| default.clone()),
            query_prompt: of("query").unwrap_or(default),
        })
    }

    fn similarity(&self, path: &Path) -> Result<Option<Similarity>, EncodeError> {
        match self.similarity_fn_name.as_deref() {
            None => Ok(None),
            Some("cosine") => Ok(Some(Similarity::Cosine)),
            Some("dot" | "dot_score") => Ok(Some(Similarity::Dot)),
            Some("euclidean") => Ok(Some(Similarity::Euclidean)),
            Some(other) => Err(EncodeError::Unsupported {
                path: path.to_path_buf(),
                what: format!(
                    "its vectors are made for the similarity {other}; cosine, dot and euclidean are supported"
                ),
            }),
        }
    }
}

/// The file `sentence_bert_config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

/// The file `tokenizer_config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenizerConfig {
    /// Maximum length in tokens, possibly a number such as 1e30.
    model_max_length: Option<f64>,
}

impl TokenizerConfig {
    fn max_length(&self) -> Option<usize> {
        self.model_max_length
            .filter(|n| (1.0..=LARGEST_MAX_LENGTH as f64).contains(n))
            .map(|n| n as usize)
    }
}

/// The file `config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ModelConfig {
    model_type: Option<String>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// The number of positions for tokens.
    fn positions(&self) -> Option<usize> {
        let rows = self.max_position_embeddings?;
        // These models number positions from the id of the padding token plus one.
        let offset = match self.model_type.as_deref() {
            Some("roberta" | "xlm-roberta" | "camembert" | "mpnet") => {
                self.pad_token_id.unwrap_or(1) as usize + 1
            }
            _ => 0,
        };
        rows.checked_sub(offset).filter(|rows| *rows > 0)
    }
}
