//! Splitting of texts into token ids by the model's own `tokenizer.json`, cut at the model's limit.

use serde::Deserialize;
use tokenizers::{
    PostProcessor, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy,
};

use super::config::Side;
use super::error::EncodeError;
use super::layout::Layout;
use crate::panics;

/// The tokens of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Token ids, special tokens included.
    pub(super) ids: Vec<u32>,
    /// Segment ids, one for each token.
    pub(super) types: Vec<u32>,
    /// Whether the text had more tokens than the limit.
    pub(super) truncated: bool,
    /// Whether there is no token of the text that the model knows.
    pub(super) unknown: bool,
}

/// A tokenizer that cuts texts at a maximum number of tokens and never pads them.
pub(super) struct TextTokenizer {
    tokenizer: Tokenizer,
    pad: Option<u32>,
    /// Number of special tokens that every text gets.
    special: usize,
    /// Ids of tokens that say nothing: the one for what is unknown, and those of blanks only.
    empty: Vec<u32>,
}

/// Characters that tokenizers write for a blank: that of unigram models, and that of
/// byte-level BPE.
const BLANKS: [&str; 2] = ["\u{2581}", "\u{120}"];
/// Largest number of blanks in one token that is looked for; vocabularies have powers of two.
const MAX_BLANKS: usize = 16;

/// What `tokenizer.json` says about unknown text, by token or by id.
#[derive(Deserialize)]
struct Unknown {
    model: UnknownOfModel,
}

#[derive(Deserialize)]
struct UnknownOfModel {
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

impl TextTokenizer {
    /// The tokenizer of a model. Texts are cut at `max_length` tokens, special tokens included.
    pub(super) fn new(layout: &Layout, max_length: usize) -> Result<Self, EncodeError> {
        let wrong = |reason: String| EncodeError::Tokenizer {
            path: layout.tokenizer_path.clone(),
            reason,
        };
        let bytes = layout.tokenizer.as_ref();
        // The file is untrusted, and the crate tokenizers can panic on it.
        let mut tokenizer = guard(|| Tokenizer::from_bytes(bytes)).map_err(wrong)?;
        let pad = tokenizer.get_padding().map(|padding| padding.pad_id);
        tokenizer.with_padding(None);
        let special = tokenizer
            .get_post_processor()
            .map_or(0, |p| p.added_tokens(false));
        if max_length <= special {
            return Err(EncodeError::Option {
                option: "max_length",
                value: max_length,
                allowed: format!(
                    "at least {}: the tokenizer adds {special} special tokens to every text",
                    special + 1
                ),
            });
        }
        let truncation = TruncationParams {
            direction: match layout.cut {
                Side::Left => TruncationDirection::Left,
                Side::Right => TruncationDirection::Right,
            },
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        guard(|| tokenizer.with_truncation(Some(truncation)).map(|_| ())).map_err(wrong)?;
        let Unknown { model } =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        let blanks = BLANKS
            .iter()
            .flat_map(|blank| (1..=MAX_BLANKS).map(|count| blank.repeat(count)));
        let tokens = model.unk_token.into_iter().chain(blanks);
        let empty = tokens.filter_map(|token| tokenizer.token_to_id(&token));
        let empty = model.unk_id.into_iter().chain(empty).collect();
        Ok(Self {
            tokenizer,
            pad,
            special,
            empty,
        })
    }

    /// Id of the padding token, where the file has it.
    pub(super) fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// Number of special tokens that every text gets.
    pub(super) fn special(&self) -> usize {
        self.special
    }

    /// Number of tokens of one text, special tokens included, also beyond the limit: at least their
    /// number where it is. The error is that of the tokenizer.
    pub(super) fn count(&self, text: &str) -> Result<usize, String> {
        let encoding = guard(|| self.tokenizer.encode_fast(text, true))?;
        let beyond = encoding.get_overflowing().iter();
        Ok(encoding.len() + beyond.map(tokenizers::Encoding::len).sum::<usize>())
    }

    /// The tokens of one text. The error is that of the tokenizer.
    pub(super) fn split(&self, text: &str) -> Result<Tokens, String> {
        let encoding = guard(|| self.tokenizer.encode_fast(text, true))?;
        let of_text = encoding
            .get_ids()
            .iter()
            .zip(encoding.get_special_tokens_mask());
        let mut of_text = of_text.filter(|(_, special)| **special == 0);
        Ok(Tokens {
            unknown: of_text.all(|(id, _)| self.empty.contains(id)),
            ids: encoding.get_ids().to_vec(),
            types: encoding.get_type_ids().to_vec(),
            truncated: !encoding.get_overflowing().is_empty(),
        })
    }
}

/// Runs code of another crate on untrusted input. An error or a panic becomes a message.
pub(super) fn guard<T, E: std::fmt::Display>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    panics::catch(work)?.map_err(|e| format!("{e:#}"))
}
