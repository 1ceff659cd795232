//! The settings of a model, in the JSON files of its directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Similarity;
use super::error::EncodeError;
use super::layout::{self, TextForm};
use super::pool::Pooling;

/// Largest size of a configuration file; `config.json` can have thousands of label names.
const CONFIG_LIMIT: u64 = 4 << 20;
/// Largest maximum length, in tokens. `tokenizer_config.json` has `1e30` for no limit, so a larger
/// number counts as none.
const LARGEST_MAX_LENGTH: usize = 32_768;

/// Reads a JSON file; `None` when it does not exist.
pub(super) fn config<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EncodeError> {
    match layout::read(path, CONFIG_LIMIT) {
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
pub(super) struct Modules {
    /// Folder of the pooling's settings.
    pub(super) pooling: Option<PathBuf>,
    pub(super) normalise: bool,
    /// A module after the pooling, such as `Dense`.
    pub(super) extra: Option<String>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Modules {
    pub(super) fn read(dir: &Path) -> Result<Self, EncodeError> {
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
                    if !(module.path.is_empty() || layout::is_inside(&folder)) {
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
pub(super) struct PoolingConfig {
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
    pub(super) fn read(path: &Path) -> Result<Vec<Pooling>, EncodeError> {
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
pub(super) struct TransformersConfig {
    prompts: BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
    pub(super) truncate_dim: Option<usize>,
    similarity_fn_name: Option<String>,
}

impl TransformersConfig {
    /// The prompts that sentence-transformers' `encode_query` and `encode_document` choose.
    pub(super) fn prompts(&self, path: &Path) -> Result<TextForm, EncodeError> {
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

    pub(super) fn similarity(&self, path: &Path) -> Result<Option<Similarity>, EncodeError> {
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
pub(super) struct SentenceConfig {
    pub(super) max_seq_length: Option<usize>,
    pub(super) do_lower_case: bool,
}

/// The file `tokenizer_config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TokenizerConfig {
    /// Maximum length in tokens, possibly a number such as 1e30.
    model_max_length: Option<f64>,
    /// The end of a long text that is cut off.
    pub(super) truncation_side: Side,
}

/// An end of a text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    Left,
    #[default]
    Right,
}

impl TokenizerConfig {
    pub(super) fn max_length(&self) -> Option<usize> {
        self.model_max_length
            .filter(|n| (1.0..=LARGEST_MAX_LENGTH as f64).contains(n))
            .map(|n| n as usize)
    }
}

/// The file `config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ModelConfig {
    model_type: Option<String>,
    max_position_embeddings: Option<usize>,
    pub(super) pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// The number of positions for tokens.
    pub(super) fn positions(&self) -> Option<usize> {
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
