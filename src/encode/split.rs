//! Splitting of documents into chunks that an encoder takes whole.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::{EncodeError, Encoder};

/// The largest size of a chunk.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "onnx"),
    expect(dead_code, reason = "the splitter is left out")
)]
pub(crate) struct ChunkSize {
    /// Number of tokens, at least 1.
    pub(crate) tokens: usize,
    /// Number of tokens that stand in the chunk before too, less than `tokens`.
    pub(crate) overlap: usize,
    /// Number of bytes for each token.
    pub(crate) bytes_per_token: usize,
    /// Number of chunks after which splitting stops.
    pub(crate) chunks: usize,
}

/// The places of the sentences of a text, in bytes, without the white space around them: Unicode
/// Standard Annex 29. A line ends a sentence.
pub(crate) fn sentences(text: &str) -> impl Iterator<Item = Range<usize>> {
    let sentences = text.split_sentence_bound_indices();
    sentences.filter_map(|(at, sentence)| {
        let start = at + sentence.len() - sentence.trim_start().len();
        let end = at + sentence.trim_end().len();
        (start < end).then_some(start..end)
    })
}

/// Splits a text into chunks, which end at the ends of paragraphs, lines, sentences or words, of the
/// largest of these that fit. White space around a chunk is in none; all else is in one at least.
/// Gives their places in the text, in bytes, in order; none for a text of white space only.
///
/// # Errors
/// Those of the encoder's [`token_count`](Encoder::token_count); [`EncodeError::NotCompiled`] in a
/// build without the splitter.
#[cfg(feature = "onnx")]
pub(crate) fn split(
    text: &str,
    encoder: &dyn Encoder,
    size: ChunkSize,
) -> Result<Vec<Range<usize>>, EncodeError> {
    let wrong = |reason: String| EncodeError::Text {
        model: encoder.name().to_owned(),
        index: 0,
        reason,
    };
    let split = crate::panics::catch(|| chunks(text, encoder, size, &wrong));
    split.map_err(|panic| wrong(format!("it cannot be split: {panic}")))?
}

/// Splits a text into chunks.
///
/// # Errors
/// [`EncodeError::NotCompiled`]: this build has no splitter.
#[cfg(not(feature = "onnx"))]
pub(crate) fn split(
    _: &str,
    _: &dyn Encoder,
    _: ChunkSize,
) -> Result<Vec<Range<usize>>, EncodeError> {
    Err(EncodeError::NotCompiled {
        what: "the splitting of documents into chunks".into(),
        feature: "onnx",
    })
}

#[cfg(feature = "onnx")]
use with_splitter::chunks;

#[cfg(feature = "onnx")]
mod with_splitter {
    use std::ops::Range;

    use text_splitter::{ChunkConfig, TextSplitter, TryChunkSizer};

    use super::{ChunkSize, EncodeError, Encoder};

    /// Size of the part of a text that is split at once, in largest chunks: the splitter looks at
    /// all lines of what it is given for every chunk.
    const WINDOW_CHUNKS: usize = 8;

    /// The size of a text in tokens, of which none has more than a number of bytes.
    struct Tokens<'a> {
        encoder: &'a dyn Encoder,
        size: ChunkSize,
    }

    impl TryChunkSizer for Tokens<'_> {
        type Error = EncodeError;

        fn try_size(&self, text: &str) -> Result<usize, EncodeError> {
            let least = text.len().div_ceil(self.size.bytes_per_token);
            if least > self.size.tokens {
                return Ok(least);
            }
            Ok(self.encoder.token_count(text)?.max(least))
        }
    }

    pub(super) fn chunks(
        text: &str,
        encoder: &dyn Encoder,
        size: ChunkSize,
        wrong: &dyn Fn(String) -> EncodeError,
    ) -> Result<Vec<Range<usize>>, EncodeError> {
        let config = ChunkConfig::new(size.tokens)
            .with_sizer(Tokens { encoder, size })
            .with_overlap(size.overlap)
            .map_err(|error| wrong(error.to_string()))?;
        let splitter = TextSplitter::new(config);
        let window = WINDOW_CHUNKS * size.tokens * size.bytes_per_token;
        let mut chunks: Vec<Range<usize>> = Vec::new();
        let mut from = 0;
        while from < text.len() && chunks.len() <= size.chunks {
            let end = text.floor_char_boundary(from.saturating_add(window));
            let is_last = end == text.len();
            let found = splitter.try_chunk_indices(&text[from..end]).map(|chunk| {
                let (at, chunk) = chunk?;
                Ok(from + at..from + at + chunk.len())
            });
            let mut found = found.collect::<Result<Vec<_>, EncodeError>>()?;
            // The end of the window cuts the last chunk short, so the next window begins with it.
            from = match found.last().cloned() {
                Some(last) if !is_last && found.len() > 1 => {
                    found.pop();
                    last.start
                }
                Some(last) if !is_last => last.end,
                _ => end,
            };
            // At the beginning of a window the splitter does not know what the last chunk holds.
            let covered = chunks.last().map_or(0, |chunk| chunk.end);
            found.retain(|chunk| chunk.end > covered);
            chunks.append(&mut found);
        }
        Ok(chunks)
    }
}

#[cfg(all(test, feature = "onnx"))]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::encode::Encoded;

    /// An encoder whose tokens are words, of which it takes 20.
    struct Words;

    impl Encoder for Words {
        fn dim(&self) -> usize {
            2
        }

        fn name(&self) -> &'static str {
            "words"
        }

        fn fingerprint(&self) -> &'static str {
            "words"
        }

        fn token_count(&self, text: &str) -> Result<usize, EncodeError> {
            Ok(text.split_whitespace().count())
        }

        fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
            Ok(Encoded::new(Array2::ones((texts.len(), 2))))
        }
    }

    fn split_into(text: &str, tokens: usize, overlap: usize) -> Vec<Range<usize>> {
        let size = ChunkSize {
            tokens,
            overlap,
            bytes_per_token: 16,
            chunks: usize::MAX,
        };
        split(text, &Words, size).expect("words are counted")
    }

    /// Checks that chunks are in order, that they hold all but white space, and their sizes.
    fn check(text: &str, chunks: &[Range<usize>], tokens: usize) {
        let mut covered = 0;
        let mut start = 0;
        for chunk in chunks {
            let between = text.get(covered..chunk.start).unwrap_or_default();
            assert!(between.trim().is_empty(), "{between:?} is in no chunk");
            assert!(chunk.start >= start && chunk.end > covered, "{chunk:?}");
            let held = &text[chunk.clone()];
            assert_eq!(held, held.trim());
            assert!(held.split_whitespace().count() <= tokens, "{held:?}");
            assert!(held.len() <= tokens * 16, "{} bytes", held.len());
            (start, covered) = (chunk.start, chunk.end);
        }
        assert!(text[covered..].trim().is_empty());
    }

    /// Sentences of 3 to 9 words of mixed scripts, in paragraphs.
    fn article(sentences: usize) -> String {
        let words = [
            "river",
            "Straße",
            "мост",
            "橋を渡る",
            "naïve",
            "x",
            "🐝🐝",
            "beyond",
        ];
        let mut random = fastrand::Rng::with_seed(7);
        let mut text = String::new();
        for sentence in 0..sentences {
            for _ in 0..random.usize(3..10) {
                text.push_str(words[random.usize(..words.len())]);
                text.push(' ');
            }
            text.push_str(if sentence % 5 == 4 {
                "end.\n\n"
            } else {
                "end. "
            });
        }
        text
    }

    #[test]
    fn chunks_hold_a_long_text_and_no_more_than_their_size() {
        let text = article(2000);
        for (tokens, overlap) in [(20, 0), (20, 5), (64, 6), (1, 0), (100, 99)] {
            check(&text, &split_into(&text, tokens, overlap), tokens);
        }
    }

    #[test]
    fn chunks_end_with_sentences_and_overlap_by_them() {
        let text = "One two three. Four five six. Seven eight nine. Ten eleven twelve.";
        let parts = |overlap| -> Vec<&str> {
            let chunks = split_into(text, 6, overlap);
            chunks.into_iter().map(|chunk| &text[chunk]).collect()
        };
        assert_eq!(
            parts(0),
            [
                "One two three. Four five six.",
                "Seven eight nine. Ten eleven twelve."
            ]
        );
        assert_eq!(
            parts(3),
            [
                "One two three. Four five six.",
                "Four five six. Seven eight nine.",
                "Seven eight nine. Ten eleven twelve."
            ]
        );
    }

    #[test]
    fn hostile_texts_are_split_in_bounded_chunks() {
        let megabyte = 1 << 20;
        for text in [
            "x".repeat(megabyte),
            "🐝".repeat(megabyte / 4),
            "\n".repeat(megabyte),
            " ".repeat(megabyte),
            "a\u{301}".repeat(megabyte / 3),
            format!("e{}", "\u{301}".repeat(megabyte / 2)),
            "a\n".repeat(megabyte / 2),
            "\r\n. ".repeat(megabyte / 8),
        ] {
            let chunks = split_into(&text, 256, 25);
            check(&text, &chunks, 256);
        }
        assert!(split_into(" \n ", 20, 2).is_empty());
        assert!(split_into("", 20, 2).is_empty());
    }

    #[test]
    fn splitting_stops_beyond_the_largest_number_of_chunks() {
        let size = ChunkSize {
            tokens: 1,
            overlap: 0,
            bytes_per_token: 16,
            chunks: 10,
        };
        let found = split(&"a ".repeat(100_000), &Words, size).expect("words are counted");
        assert!(found.len() > 10 && found.len() < 200, "{}", found.len());
    }
}
