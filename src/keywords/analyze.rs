//! Analysis: from a text to the terms that are indexed, and from words of a query to those that are
//! looked up.
//!
//! A text is cut into *words* at white space and at all that is neither a letter nor a digit. A sign
//! that joins letters and digits (`libstdc++-dev`, `/usr/bin`, `v2.0.1`, `don't`) makes one
//! word of them, whose *atoms* are its runs of letters and of digits; a run of letters ends also
//! where a capital follows a small letter. A word is indexed whole, in the parts between its signs,
//! and atom by atom, so that an identifier is found whole and in parts. Atoms have one position
//! each, and a longer term that of its first atom. Text in scripts that write no spaces is indexed in
//! single characters and pairs of neighbours.
//!
//! Terms are in small letters and without the accents of Latin, Greek and Cyrillic; terms of letters
//! only are reduced to their stems. Accents are taken off after that, because most stemmers read
//! them; those of English and Dutch, to which they are foreign, before.

use std::ops::Range;

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::stem::{Stem, fold};
use crate::model::Language;

/// The version of this analysis. An index that was made by another one is made again.
pub(crate) const ANALYSIS: u32 = 1;

/// Greatest length of a term in bytes. Longer atoms are cut, and longer words are indexed in parts
/// only.
const MAX_TERM: usize = 200;
/// The most atoms of a word that is indexed whole.
const MAX_ATOMS: usize = 16;

/// A term of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) text: String,
    /// Position of its first atom in the text.
    pub(super) position: usize,
    pub(super) kind: Kind,
    /// Its place in the text, in bytes.
    pub(super) range: Range<usize>,
}

/// What a term is of its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The word itself, which has no parts.
    Word,
    /// A word that has parts.
    Whole,
    /// A part between two signs that has more than one atom.
    Part,
    /// A part that has no parts, or a character of a pair.
    Atom,
    /// Two neighbouring characters of a script without spaces.
    Pair,
}

/// A word of a text, in bytes of it.
struct Word {
    /// Its letters, digits and joining signs.
    all: Range<usize>,
    /// Whether it consists of characters of a script without spaces.
    unspaced: bool,
}

/// Whether a character belongs to a script that writes no spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0EFF}' // Thai, Lao
        | '\u{1000}'..='\u{109F}' // Myanmar
        | '\u{1780}'..='\u{17FF}' // Khmer
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30FF}' // Hiragana, Katakana
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7AF}' // Hangul
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FF66}'..='\u{FF9D}'
        | '\u{20000}'..='\u{323AF}')
}

/// Whether a character is a mark that belongs to the letter before it.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// Whether a sign between letters or digits joins them to one word.
fn joins(c: char) -> bool {
    matches!(
        c,
        '-' | '_' | '.' | '/' | '+' | '#' | ':' | '@' | '&' | '\'' | '\u{2019}' | '\u{2010}'
    )
}

/// Whether a sign belongs to the word that it ends, as in `C++` and `F#`.
fn ends(c: char) -> bool {
    matches!(c, '+' | '#')
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || is_mark(c)
}

/// The words of a text in their order.
fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let from = at + rest.find(|c: char| c.is_alphanumeric())?;
        let unspaced = text[from..].chars().next().is_some_and(is_unspaced);
        let mut to = from;
        let mut signs = 0;
        let mut after = from;
        for c in text[from..].chars() {
            if is_letter(c) && (is_unspaced(c) == unspaced || is_mark(c)) {
                after += c.len_utf8();
                to = after;
                signs = 0;
            } else if !unspaced && joins(c) && signs < 2 {
                after += c.len_utf8();
                signs += 1;
            } else {
                break;
            }
        }
        // Of the signs that no letter follows, two belong to the word.
        let tail = text[to..].chars().take_while(|c| ends(*c)).count();
        if !unspaced && (1..=2).contains(&tail) {
            to += tail;
        }
        at = to;
        Some(Word {
            all: from..to,
            unspaced,
        })
    })
}

/// The parts of a word between its signs.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    word.split(joins).filter(|part| !part.is_empty())
}

/// The atoms of a part: it is cut between letters and digits, between a small letter and a capital,
/// and where it is too long.
fn atoms(part: &str) -> impl Iterator<Item = &str> {
    let mut rest = part;
    std::iter::from_fn(move || {
        let mut chars = rest.char_indices();
        let (_, mut before) = chars.next()?;
        let cut = chars.find_map(|(at, c)| {
            let turns = before.is_numeric() != c.is_numeric()
                || before.is_lowercase() && c.is_uppercase()
                || at + c.len_utf8() > MAX_TERM;
            let cut = turns && !is_mark(c);
            if !is_mark(c) {
                before = c;
            }
            cut.then_some(at)
        });
        let (atom, next) = rest.split_at(cut.unwrap_or(rest.len()));
        rest = next;
        Some(atom)
    })
}

/// Makes terms of texts in one language.
#[derive(Clone)]
pub(super) struct Analyzer {
    language: Language,
}

impl Analyzer {
    pub(super) fn new(language: Language) -> Self {
        Self { language }
    }

    /// The terms of a text, by position; of equal positions the longest first.
    pub(super) fn terms(&self, text: &str) -> Vec<Term> {
        let stemmer = Stem::new(self.language);
        let mut terms = Vec::new();
        let mut position = 0;
        for word in words(text) {
            if word.unspaced {
                pairs(text, &word.all, &mut position, &mut terms);
            } else {
                word_terms(text, &word.all, stemmer.as_ref(), &mut position, &mut terms);
            }
        }
        terms
    }
}

/// The places of the letters of a word, in bytes, where folding makes as many letters of it;
/// otherwise each has the place of the word.
fn places(text: &str, word: &Range<usize>, letters: usize) -> Vec<Range<usize>> {
    let mut places: Vec<Range<usize>> = Vec::with_capacity(letters);
    for (at, c) in text[word.clone()].char_indices() {
        let (start, end) = (word.start + at, word.start + at + c.len_utf8());
        match places.last_mut() {
            Some(letter) if is_mark(c) => letter.end = end,
            _ => places.push(start..end),
        }
    }
    if places.len() == letters {
        places
    } else {
        vec![word.clone(); letters]
    }
}

/// Appends the characters and pairs of a word of a script without spaces.
fn pairs(text: &str, all: &Range<usize>, position: &mut usize, terms: &mut Vec<Term>) {
    let word = &text[all.clone()];
    let folded: Vec<char> = fold(word).chars().collect();
    // A mark stays with its letter.
    let mut letters: Vec<String> = Vec::with_capacity(folded.len());
    for c in folded {
        match letters.last_mut() {
            Some(letter) if is_mark(c) => letter.push(c),
            _ => letters.push(c.to_string()),
        }
    }
    let single = letters.len() == 1;
    let places = places(text, all, letters.len());
    for (i, letter) in letters.iter().enumerate() {
        if let Some(next) = letters.get(i + 1) {
            terms.push(Term {
                text: format!("{letter}{next}"),
                position: *position,
                kind: Kind::Pair,
                range: places[i].start..places[i + 1].end,
            });
        }
        terms.push(Term {
            text: letter.clone(),
            position: *position,
            kind: if single { Kind::Word } else { Kind::Atom },
            range: places[i].clone(),
        });
        *position += 1;
    }
}

/// Appends a word whole, in parts and atom by atom.
fn word_terms(
    text: &str,
    all: &Range<usize>,
    stemmer: Option<&Stem>,
    position: &mut usize,
    terms: &mut Vec<Term>,
) {
    let word = &text[all.clone()];
    // Parts and atoms are slices of the text.
    let place = |first: &str, last: &str| {
        let at = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
        at(first)..at(last) + last.len()
    };
    let stemmed = |text: &str| match stemmer {
        Some(stemmer) if !text.contains(char::is_numeric) => stemmer.stem(text),
        _ => fold(text),
    };
    let parts: Vec<Vec<&str>> = parts(word).map(|part| atoms(part).collect()).collect();
    let count: usize = parts.iter().map(Vec::len).sum();
    let has_signs = parts.len() > 1 || parts.first().is_some_and(|p| p.concat().len() < word.len());
    let fits = count <= MAX_ATOMS && word.len() <= MAX_TERM;
    if has_signs && fits {
        terms.push(Term {
            text: fold(word),
            position: *position,
            kind: Kind::Whole,
            range: all.clone(),
        });
    }
    for part in &parts {
        if let [first, .., last] = part[..]
            && fits
        {
            let kind = if has_signs { Kind::Part } else { Kind::Whole };
            let text = stemmed(&part.concat());
            terms.push(Term {
                text,
                position: *position,
                kind,
                range: place(first, last),
            });
        }
        for atom in part {
            let alone = count == 1 && !has_signs;
            terms.push(Term {
                text: stemmed(atom),
                position: *position,
                kind: if alone { Kind::Word } else { Kind::Atom },
                range: place(atom, atom),
            });
            *position += 1;
        }
    }
}

/// The terms of a text as tantivy takes them.
pub(super) struct Terms {
    terms: std::vec::IntoIter<Term>,
    token: Token,
}

impl TokenStream for Terms {
    fn advance(&mut self) -> bool {
        let Some(term) = self.terms.next() else {
            return false;
        };
        self.token.text = term.text;
        self.token.position = term.position;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

impl Tokenizer for Analyzer {
    type TokenStream<'a> = Terms;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Terms {
        Terms {
            terms: self.terms(text).into_iter(),
            token: Token::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(language: Language, text: &str) -> Vec<(String, usize)> {
        let terms = Analyzer::new(language).terms(text).into_iter();
        terms.map(|term| (term.text, term.position)).collect()
    }

    #[track_caller]
    fn check(language: Language, text: &str, expected: &[(&str, usize)]) {
        let expected: Vec<(String, usize)> = expected
            .iter()
            .map(|(text, position)| ((*text).to_owned(), *position))
            .collect();
        assert_eq!(terms(language, text), expected, "{text:?}");
    }

    #[test]
    fn words_are_folded_and_stemmed() {
        check(
            Language::English,
            "Encrypted  caf\u{e9}s, na\u{ef}ve ÉCOLES!",
            &[("encrypt", 0), ("cafe", 1), ("naiv", 2), ("ecol", 3)],
        );
        check(
            Language::English,
            "encryption cafes NAIVE ecoles",
            &[("encrypt", 0), ("cafe", 1), ("naiv", 2), ("ecol", 3)],
        );
        check(
            Language::Simple,
            "Straße Ærø Łódź cafe\u{301}s Ёлки",
            &[
                ("strasse", 0),
                ("aero", 1),
                ("lodz", 2),
                ("cafes", 3),
                ("елки", 4),
            ],
        );
        check(Language::German, "Häuser", &[("haus", 0)]);
        check(Language::Simple, "... -- \u{1F600} \u{0}", &[]);
        check(Language::Simple, "", &[]);
    }

    #[test]
    fn identifiers_are_terms_whole_and_in_parts() {
        check(
            Language::English,
            "CWE-79 libssl3.",
            &[
                ("cwe-79", 0),
                ("cwe", 0),
                ("79", 1),
                ("libssl3", 2),
                ("libssl", 2),
                ("3", 3),
            ],
        );
        check(
            Language::English,
            "g++ is C#, not c",
            &[
                ("g++", 0),
                ("g", 0),
                ("is", 1),
                ("c#", 2),
                ("c", 2),
                ("not", 3),
                ("c", 4),
            ],
        );
        check(
            Language::Simple,
            "v2.0.1",
            &[
                ("v2.0.1", 0),
                ("v2", 0),
                ("v", 0),
                ("2", 1),
                ("0", 2),
                ("1", 3),
            ],
        );
        check(
            Language::Simple,
            "/usr/bin/env std::vec getElementById",
            &[
                ("usr/bin/env", 0),
                ("usr", 0),
                ("bin", 1),
                ("env", 2),
                ("std::vec", 3),
                ("std", 3),
                ("vec", 4),
                ("getelementbyid", 5),
                ("get", 5),
                ("element", 6),
                ("by", 7),
                ("id", 8),
            ],
        );
        check(
            Language::English,
            "the dog's",
            &[("the", 0), ("dog's", 1), ("dog", 1), ("s", 2)],
        );
        check(Language::Simple, "a+++ b", &[("a", 0), ("b", 1)]);
        check(Language::Simple, "one...two", &[("one", 0), ("two", 1)]);
    }

    #[test]
    fn scripts_without_spaces_are_terms_by_pairs() {
        check(
            Language::Simple,
            "東京都 x 字",
            &[
                ("東京", 0),
                ("東", 0),
                ("京都", 1),
                ("京", 1),
                ("都", 2),
                ("x", 3),
                ("字", 4),
            ],
        );
        check(
            Language::Simple,
            "abc日本",
            &[("abc", 0), ("日本", 1), ("日", 1), ("本", 2)],
        );
        check(
            Language::Simple,
            "한국",
            &[("한국", 0), ("한", 0), ("국", 1)],
        );
    }

    #[test]
    fn hostile_texts_end_in_short_terms() {
        let mixed = "aé日1_".repeat(3000);
        for text in [
            "a".repeat(1 << 20),
            "a-".repeat(1 << 19),
            "\u{301}".repeat(10_000),
            mixed,
        ] {
            for term in Analyzer::new(Language::English).terms(&text) {
                assert!(!term.text.is_empty() && term.text.len() <= 3 * MAX_TERM);
            }
        }
        assert_eq!(terms(Language::Simple, &"a".repeat(500)).len(), 3);
    }
}
