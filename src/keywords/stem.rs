//! What makes different forms of a word one term: small letters, no accents, stems.

use frostem::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;

use crate::model::Language;

/// In small letters, without accents.
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    let letters = text.nfkd().filter(|c| !('\u{300}'..='\u{36F}').contains(c));
    for c in letters.flat_map(char::to_lowercase) {
        match c {
            '\u{300}'..='\u{36F}' => {}
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ħ' => folded.push('h'),
            'ı' => folded.push('i'),
            'þ' => folded.push_str("th"),
            'ς' => folded.push('σ'),
            '\u{2019}' => folded.push('\''),
            '\u{2010}' => folded.push('-'),
            c => folded.push(c),
        }
    }
    folded.nfc().collect()
}

/// The stemmer of a language: Porter, "Snowball: A language for stemming algorithms" (2001).
pub(super) struct Stem {
    stemmer: Stemmer,
    /// Whether accents are taken off before, because the language has none of its own.
    folds_first: bool,
}

impl Stem {
    /// The stemmer; `None` for [`Language::Simple`].
    pub(super) fn new(language: Language) -> Option<Self> {
        let folds_first = matches!(language, Language::English | Language::Dutch);
        let stemmer = Stemmer::new(algorithm(language)?);
        Some(Self {
            stemmer,
            folds_first,
        })
    }

    /// The stem of a word, in small letters and without accents.
    pub(super) fn stem(&self, word: &str) -> String {
        if self.folds_first {
            return self.stemmer.stem(&fold(word)).into_owned();
        }
        fold(
            &self
                .stemmer
                .stem(&word.nfc().collect::<String>().to_lowercase()),
        )
    }
}

fn algorithm(language: Language) -> Option<Algorithm> {
    Some(match language {
        Language::Simple => return None,
        Language::Arabic => Algorithm::Arabic,
        Language::Danish => Algorithm::Danish,
        Language::Dutch => Algorithm::Dutch,
        Language::English => Algorithm::English,
        Language::Finnish => Algorithm::Finnish,
        Language::French => Algorithm::French,
        Language::German => Algorithm::German,
        Language::Greek => Algorithm::Greek,
        Language::Hungarian => Algorithm::Hungarian,
        Language::Italian => Algorithm::Italian,
        Language::Norwegian => Algorithm::Norwegian,
        Language::Portuguese => Algorithm::Portuguese,
        Language::Romanian => Algorithm::Romanian,
        Language::Russian => Algorithm::Russian,
        Language::Spanish => Algorithm::Spanish,
        Language::Swedish => Algorithm::Swedish,
        Language::Tamil => Algorithm::Tamil,
        Language::Turkish => Algorithm::Turkish,
    })
}
