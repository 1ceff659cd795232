//! Questions made of the texts of items, on which the recall of searches is measured.

use std::sync::{Arc, Mutex, PoisonError};

use super::encode::{CollectionEncoder, Role};
use crate::encode::EncodeError;
use crate::model::error::Error;
use crate::model::{QuestionKind, Sampled, VectorRules};
use crate::storage::Tables;

/// The kinds that are words which follow each other, with their numbers.
const PHRASES: [(QuestionKind, usize); 4] = [
    (QuestionKind::OneWord, 1),
    (QuestionKind::TwoWords, 2),
    (QuestionKind::ThreeWords, 3),
    (QuestionKind::EightWords, 8),
];
/// Fewest characters of a word of a phrase.
const MIN_WORD: usize = 3;

/// Makes questions of the texts of items.
pub(super) struct Questions {
    tables: Arc<Tables>,
    encoder: Arc<CollectionEncoder>,
    rules: VectorRules,
    /// The questions that were made last, and of which slots: metrics are measured one after the
    /// other on the same items.
    last: Mutex<(Vec<u32>, Vec<Sampled>)>,
}

impl Questions {
    pub(super) fn new(
        tables: &Arc<Tables>,
        encoder: &Arc<CollectionEncoder>,
        rules: VectorRules,
    ) -> Self {
        Self {
            tables: Arc::clone(tables),
            encoder: Arc::clone(encoder),
            rules,
            last: Mutex::default(),
        }
    }

    /// A question of each kind for each of the items in `slots` that has a text long enough; none
    /// without an encoder. The same items have the same questions.
    pub(super) fn of(&self, slots: &[u32]) -> Vec<Sampled> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != slots {
            *last = (slots.to_vec(), self.make(slots));
        }
        last.1.clone()
    }

    fn make(&self, slots: &[u32]) -> Vec<Sampled> {
        if self.encoder.info.is_none() {
            return Vec::new();
        }
        let texts = slots
            .iter()
            .filter_map(|slot| Some((*slot, self.tables.item(*slot).ok()??.text?)));
        let texts: Vec<(u32, String)> = texts.collect();
        let mut written: Vec<(QuestionKind, String)> = texts
            .iter()
            .flat_map(|(slot, text)| written(*slot, text))
            .collect();
        written.extend(mixed(&texts).map(|text| (QuestionKind::MixedWords, text)));
        if written.is_empty() {
            return Vec::new();
        }
        let asked: Vec<&str> = written.iter().map(|(_, text)| text.as_str()).collect();
        let encoded = match self.encoder.encode(&asked, Role::Query) {
            Ok(encoded) => encoded,
            // Nobody asks by words where the encoder takes images only.
            Err(Error::Encode(EncodeError::Takes { .. })) => return Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "recall is measured without questions, which could not be encoded");
                return Vec::new();
            }
        };
        // A question that the encoder knows nothing of has no vector.
        written
            .iter()
            .zip(encoded)
            .filter_map(|((kind, text), encoded)| {
                let vector = self.rules.prepare_query(encoded.vector?).ok()?;
                Some(Sampled::of_text(*kind, text, vector))
            })
            .collect()
    }
}

/// A question of a word or two of a text; `None` where it has no word. The same key and text have
/// the same question.
pub fn short_question(key: u32, text: &str) -> Option<String> {
    let words = words(text);
    let length = 1 + key as usize % 2;
    let last = words.len().checked_sub(length)?;
    let first = fastrand::Rng::with_seed(u64::from(key)).usize(..=last);
    Some(words[first..first + length].join(" "))
}

/// A question of each kind that the text of the item in `slot` is long enough for.
fn written(slot: u32, text: &str) -> Vec<(QuestionKind, String)> {
    let mut random = fastrand::Rng::with_seed(u64::from(slot));
    let words = words(text);
    let mut questions = Vec::new();
    for (kind, length) in PHRASES {
        if let Some(last) = words.len().checked_sub(length) {
            let first = random.usize(..=last);
            questions.push((kind, words[first..first + length].join(" ")));
        }
    }
    questions.push(match (random.u8(..4), random.choice(&words)) {
        (0, _) => (QuestionKind::Fragment, random.u32(..10_000).to_string()),
        (2.., Some(word)) => (QuestionKind::Misspelt, misspelt(word, &mut random)),
        _ => {
            let letter = letter(text, random.u8(..16));
            let letter = letter.unwrap_or_else(|| random.alphabetic());
            (QuestionKind::Fragment, letter.to_string())
        }
    });
    questions
}

/// The letter of a text at a position.
fn letter(text: &str, at: u8) -> Option<char> {
    text.chars().filter(|c| c.is_alphabetic()).nth(at.into())
}

/// The words of a text that have a letter and are not very short.
fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '-')
        .filter(|word| word.chars().count() >= MIN_WORD && word.contains(char::is_alphabetic))
        .collect()
}

/// For each item with its slot, words of its text and of the texts after it, one of each; those of
/// every other item are misspelt, as if they were of another language.
fn mixed(texts: &[(u32, String)]) -> impl Iterator<Item = String> {
    const TEXTS: usize = 8;
    let word_of = |(slot, text): &(u32, String)| {
        let mut random = fastrand::Rng::with_seed(u64::from(*slot) + 1);
        random.choice(words(text)).unwrap_or_default().to_owned()
    };
    let chosen: Vec<String> = texts.iter().map(word_of).collect();
    let count = if texts.len() < TEXTS { 0 } else { texts.len() };
    (0..count)
        .map(move |first| {
            let mut random = fastrand::Rng::with_seed(first as u64);
            let word = |at: usize| {
                let word = &*chosen[(first + at) % chosen.len()];
                if first.is_multiple_of(2) {
                    word.to_owned()
                } else {
                    misspelt(word, &mut random)
                }
            };
            (0..TEXTS).map(word).collect::<Vec<_>>().join(" ")
        })
        .filter(|text| !text.trim().is_empty())
}

/// A word with two neighbouring letters exchanged.
fn misspelt(word: &str, random: &mut fastrand::Rng) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() > 1 {
        let at = random.usize(..letters.len() - 1);
        letters.swap(at, at + 1);
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_words_of_the_text_and_always_the_same() {
        let text = "a real-time strategy game of ancient warfare, for one or two players";
        let questions = written(7, text);
        assert_eq!(questions, written(7, text));
        assert_ne!(questions, written(8, text));
        for (kind, length) in PHRASES {
            let (_, question) = questions
                .iter()
                .find(|(of, _)| *of == kind)
                .expect("the text is long enough");
            let words: Vec<&str> = question.split(' ').collect();
            assert_eq!(words.len(), length);
            assert!(words.iter().all(|word| text.contains(word)), "{question}");
        }
    }

    #[test]
    fn any_text_has_a_fragment() {
        for slot in 0..40 {
            for text in ["", "x", "  ", "日本語のテキスト", "😀", "ab"] {
                let questions = written(slot, text);
                let (kind, fragment) = questions.last().expect("a question");
                let of_words = [QuestionKind::Misspelt, QuestionKind::Fragment];
                let kinds = &of_words[usize::from(words(text).is_empty())..];
                assert!(kinds.contains(kind), "{text:?}: {kind}");
                assert!(!fragment.trim().is_empty(), "{text:?}");
            }
        }
    }
}
