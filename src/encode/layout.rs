//! Which files make a model, and what they say: the directory layout that sentence-transformers and
//! Hugging Face export.
//!
//! | file | what is read | when it is absent |
//! |---|---|---|
//! | `model.onnx`, else `onnx/model.onnx` | the graph | an error |
//! | `tokenizer.json` | the tokenizer | an error |
//! | `modules.json` | whether vectors are normalised, where the pooling's settings lie | normalised, `1_Pooling` |
//! | `1_Pooling/config.json` | mean, cls or max | mean |
//! | `sentence_bert_config.json`, `tokenizer_config.json` | the maximum length in tokens | 256 |
//! | `config.json` | the number of positions, the padding token | no bound, 0 |
//!
//! Every file is untrusted: its size is checked before it is read.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::EncodeError;
use super::pool::Pooling;

/// protobuf allows no message above 2 GiB.
const MODEL_LIMIT: u64 = 2 << 30;
/// The largest published vocabularies (250,000 tokens) take 17 MB, with merges 35 MB.
const TOKENIZER_LIMIT: u64 = 256 << 20;
/// `config.json` can hold thousands of label names.
const CONFIG_LIMIT: u64 = 4 << 20;
/// The maximum length in tokens of a model that does not say.
const DEFAULT_MAX_LENGTH: usize = 256;
/// `tokenizer_config.json` says `1e30` when there is no limit; above this it means none.
const LARGEST_MAX_LENGTH: usize = 32_768;

/// A model's files and settings.
pub(super) struct Layout {
    /// A short name for people.
    pub(super) name: String,
    /// Where it can be loaded from again.
    pub(super) source: Option<String>,
    /// The ONNX file, and its path for errors.
    pub(super) model: Cow<'static, [u8]>,
    /// See `model`.
    pub(super) model_path: PathBuf,
    /// `tokenizer.json`, and its path for errors.
    pub(super) tokenizer: Cow<'static, [u8]>,
    /// See `tokenizer`.
    pub(super) tokenizer_path: PathBuf,
    /// How token vectors are pooled, when the graph does not do it.
    pub(super) pooling: Pooling,
    /// Whether vectors are divided by their norm.
    pub(super) normalise: bool,
    /// Texts are cut at this many tokens.
    pub(super) max_length: usize,
    /// The longest sequence the model has positions for, when it says.
    pub(super) positions: Option<usize>,
    /// The padding token, when `config.json` says.
    pub(super) pad: Option<u32>,
    /// A module after pooling (such as `Dense`) that only a graph with a pooled output has
    /// computed.
    pub(super) extra_module: Option<String>,
}

impl Layout {
    /// The model inside the binary.
    #[cfg(feature = "embedded-model")]
    pub(super) fn embedded() -> Self {
        Self {
            name: "static-minilm-256".into(),
            source: Some(super::EMBEDDED.into()),
            model: Cow::Borrowed(include_bytes!("../../models/static-minilm-256/model.onnx")),
            model_path: "embedded/model.onnx".into(),
            tokenizer: Cow::Borrowed(include_bytes!(
                "../../models/static-minilm-256/tokenizer.json"
            )),
            tokenizer_path: "embedded/tokenizer.json".into(),
            pooling: Pooling::Mean,
            normalise: true,
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
            // Says "not found" or "not a directory".
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
            None => Pooling::Mean,
        };
        let config: ModelConfig = config(&dir.join("config.json"))?.unwrap_or_default();
        let sentence: SentenceConfig =
            self::config(&dir.join("sentence_bert_config.json"))?.unwrap_or_default();
        let tokens: TokenizerConfig =
            self::config(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let positions = config.positions();
        let said = sentence.max_seq_length.or_else(|| tokens.max_length());
        let max_length = said
            .unwrap_or(DEFAULT_MAX_LENGTH)
            .min(positions.unwrap_or(usize::MAX));

        Ok(Self {
            name: dir.file_name().map_or_else(
                || "model".into(),
                |name| name.to_string_lossy().into_owned(),
            ),
            source: dir.to_str().map(Into::into),
            model: Cow::Owned(read(&model_path, MODEL_LIMIT)?),
            model_path,
            tokenizer: Cow::Owned(read(&tokenizer_path, TOKENIZER_LIMIT)?),
            tokenizer_path,
            pooling,
            normalise: modules.normalise,
            max_length,
            positions,
            pad: config.pad_token_id,
            extra_module: modules.extra,
        })
    }
}

/// Reads a whole file of at most `limit` bytes.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, EncodeError> {
    let io = |source| EncodeError::Io {
        path: path.to_path_buf(),
        source,
    };
    // Asked before opening: to open a pipe is to wait for its other end.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(io(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a regular file",
        )));
    }
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file that grows meanwhile is noticed too.
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

/// Reads a JSON file; `None` when there is none.
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

/// What `modules.json` says.
struct Modules {
    /// The folder with the pooling's settings.
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
                    // The file may not point out of the directory.
                    if !folder
                        .components()
                        .all(|part| matches!(part, Component::Normal(_)))
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

/// `1_Pooling/config.json`, in the form with one flag a mode and in the newer one with a single
/// name.
#[derive(Deserialize, Default)]
#[serde(default)]
#[expect(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "the fields are the file's own"
)]
struct PoolingConfig {
    pooling_mode: Option<String>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

impl PoolingConfig {
    fn read(path: &Path) -> Result<Pooling, EncodeError> {
        let Some(config) = config::<Self>(path)? else {
            return Ok(Pooling::Mean);
        };
        let flags = [
            ("cls", config.pooling_mode_cls_token),
            ("mean", config.pooling_mode_mean_tokens),
            ("max", config.pooling_mode_max_tokens),
            (
                "mean_sqrt_len_tokens",
                config.pooling_mode_mean_sqrt_len_tokens,
            ),
            ("weightedmean", config.pooling_mode_weightedmean_tokens),
            ("lasttoken", config.pooling_mode_lasttoken),
        ];
        let set: Vec<&str> = match &config.pooling_mode {
            Some(mode) => vec![mode],
            None => flags
                .iter()
                .filter(|(_, on)| *on)
                .map(|(name, _)| *name)
                .collect(),
        };
        match set[..] {
            ["mean"] => Ok(Pooling::Mean),
            ["cls"] => Ok(Pooling::Cls),
            ["max"] => Ok(Pooling::Max),
            [] => Err(EncodeError::Config {
                path: path.to_path_buf(),
                reason: "no pooling mode is set".into(),
            }),
            _ => Err(EncodeError::Unsupported {
                path: path.to_path_buf(),
                what: format!(
                    "pooling {} is not supported; one of mean, cls and max is",
                    set.join(" with ")
                ),
            }),
        }
    }
}

/// `sentence_bert_config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

/// `tokenizer_config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenizerConfig {
    /// A number, possibly one such as 1e30.
    model_max_length: Option<f64>,
}

impl TokenizerConfig {
    fn max_length(&self) -> Option<usize> {
        self.model_max_length
            .filter(|n| (1.0..=LARGEST_MAX_LENGTH as f64).contains(n))
            .map(|n| n as usize)
    }
}

/// `config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ModelConfig {
    model_type: Option<String>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// The longest sequence there are positions for.
    fn positions(&self) -> Option<usize> {
        let rows = self.max_position_embeddings?;
        // These count positions from the padding token's id plus one.
        let offset = match self.model_type.as_deref() {
            Some("roberta" | "xlm-roberta" | "camembert" | "mpnet") => {
                self.pad_token_id.unwrap_or(1) as usize + 1
            }
            _ => 0,
        };
        rows.checked_sub(offset).filter(|rows| *rows > 0)
    }
}
