//! Kinds of questions, by which recall is measured.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of question on which the recall of searches is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuestionKind {
    /// A vector as near to an item as its nearest neighbour, among other items.
    NearItems,
    /// A vector as near to an item as its nearest neighbour, on the way to an item far off. It is
    /// harder than what is asked, so that only its mean recall is planned for.
    BetweenItems,
    /// One word of an item's text.
    OneWord,
    /// Two words that follow each other in an item's text.
    TwoWords,
    /// Three words that follow each other in an item's text.
    ThreeWords,
    /// Eight words that follow each other in an item's text.
    EightWords,
    /// Eight words, each of another item's text, in every other question misspelt.
    MixedWords,
    /// A word with two letters exchanged.
    Misspelt,
    /// A letter or a number.
    Fragment,
    /// A query that was asked in this process.
    Asked,
}

impl QuestionKind {
    /// The name of the kind, as in the command line's output.
    pub fn name(self) -> &'static str {
        match self {
            Self::NearItems => "near items",
            Self::BetweenItems => "between items",
            Self::OneWord => "one word",
            Self::TwoWords => "two words",
            Self::ThreeWords => "three words",
            Self::EightWords => "eight words",
            Self::MixedWords => "words of several texts",
            Self::Misspelt => "a typing error",
            Self::Fragment => "a letter or a number",
            Self::Asked => "asked lately",
        }
    }
}

impl fmt::Display for QuestionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is known of a query before it is searched for: how long its text is. Short questions lie
/// elsewhere than long ones, so the searches of each form are planned by questions like it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) enum QueryForm {
    /// A vector, or a text of more than [`MAX_WORDS`] words. Its searches are planned by all
    /// questions.
    #[default]
    Any,
    /// A single letter, or what has no letter, such as a number.
    Fragment,
    /// One word.
    OneWord,
    /// Two words.
    TwoWords,
    /// Three to five words.
    FewWords,
    /// Six to [`MAX_WORDS`] words.
    ManyWords,
}

/// Most words of a text whose length says something of where it lies.
const MAX_WORDS: usize = 16;

impl QueryForm {
    /// All forms.
    pub(crate) const ALL: [Self; 6] = [
        Self::Any,
        Self::Fragment,
        Self::OneWord,
        Self::TwoWords,
        Self::FewWords,
        Self::ManyWords,
    ];

    /// The form of a text.
    pub(crate) fn of_text(text: &str) -> Self {
        match text.split_whitespace().take(MAX_WORDS + 1).count() {
            0 | 1 if is_fragment(text) => Self::Fragment,
            0 | 1 => Self::OneWord,
            2 => Self::TwoWords,
            3..=5 => Self::FewWords,
            6..=MAX_WORDS => Self::ManyWords,
            _ => Self::Any,
        }
    }
}

/// Whether a text of one word is a letter or a number rather than a word.
fn is_fragment(text: &str) -> bool {
    let text = text.trim();
    text.is_ascii() && (text.len() <= 1 || !text.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

/// A question on which recall is measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampled {
    /// The kind.
    pub(crate) kind: QuestionKind,
    /// The form that the question has as a query.
    pub(crate) form: QueryForm,
    /// The question, in the form that the index takes.
    pub(crate) vector: Vec<f32>,
}

impl Sampled {
    /// A question that is a text, whose vector is `vector`.
    pub(crate) fn of_text(kind: QuestionKind, text: &str, vector: Vec<f32>) -> Self {
        Self {
            kind,
            form: QueryForm::of_text(text),
            vector,
        }
    }

    /// A question that is a vector.
    pub(crate) fn of_vector(kind: QuestionKind, vector: Vec<f32>) -> Self {
        Self {
            kind,
            form: QueryForm::Any,
            vector,
        }
    }
}

/// The recall of searches for one kind of question, measured on a collection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KindRecall {
    /// The kind.
    pub kind: QuestionKind,
    /// Number of questions measured.
    pub questions: u32,
    /// Mean share of the ten nearest items that is found, 0 to 1.
    pub recall: f32,
    /// Share of questions whose nearest item is found, 0 to 1.
    pub recall_at_1: f32,
    /// Share of questions of whose ten nearest items fewer than five are found, 0 to 1.
    pub below_half: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_text_is_how_many_words_it_has() {
        for (text, form) in [
            ("", QueryForm::Fragment),
            ("x", QueryForm::Fragment),
            (" 4711 ", QueryForm::Fragment),
            ("3.14", QueryForm::Fragment),
            ("x11", QueryForm::OneWord),
            ("gimp", QueryForm::OneWord),
            ("\u{732b}", QueryForm::OneWord),
            ("fruit tree", QueryForm::TwoWords),
            ("fruit tree care", QueryForm::FewWords),
            ("a b c d e f", QueryForm::ManyWords),
        ] {
            assert_eq!(QueryForm::of_text(text), form, "{text:?}");
        }
        assert_eq!(QueryForm::of_text(&"a ".repeat(17)), QueryForm::Any);
    }
}
