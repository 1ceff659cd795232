//! [`Highlighter`]: the places in a text that the words of a query match.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::analyze::{Analyzer, Term};
use super::part::{Part, Result, guarded};
use super::query::{KeywordQuery, Occur};
use super::search::{longer, looked_up, spellings};
use crate::model::Language;

/// Finds the words and phrases of a query in texts.
pub(crate) struct Highlighter {
    analyzer: Analyzer,
    /// Terms that are marked wherever they stand.
    words: HashSet<String>,
    /// Terms that are marked where they stand one after the other.
    phrases: Vec<Phrase>,
}

/// Terms with their positions, counted from that of the first one.
type Phrase = Vec<(usize, String)>;

impl Highlighter {
    /// The words and phrases of a query, with the known words that its unknown ones stand for in an
    /// index.
    pub(crate) fn new(
        parts: &[Arc<Part>],
        query: &KeywordQuery,
        language: Language,
    ) -> Result<Self> {
        let mut words = HashSet::new();
        let mut phrases = Vec::new();
        for clause in &query.clauses {
            let is_word = clause.occur == Occur::Should && !clause.is_phrase;
            let text = |term: &Term| term.text.clone();
            match clause.occur {
                Occur::MustNot => continue,
                _ if is_word => words.extend(looked_up(clause).map(text)),
                Occur::Must if !clause.is_phrase => words.extend(longer(clause).map(text)),
                Occur::Must | Occur::Should => {}
            }
            let sequence = clause.sequence();
            if let Some(first) = sequence.first().filter(|_| !is_word) {
                let terms = sequence.iter();
                let terms = terms.map(|term| (term.position - first.position, term.text.clone()));
                phrases.push(terms.collect());
            }
        }
        let known = guarded(|| spellings(parts, &words))?;
        words.extend(known);
        Ok(Self {
            analyzer: Analyzer::new(language),
            words,
            phrases,
        })
    }

    /// The places in a text, in bytes, in order; none of them overlaps or touches another.
    pub(crate) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let terms = self.analyzer.terms(text);
        let words = terms.iter().filter(|term| self.words.contains(&term.text));
        let mut found: Vec<Range<usize>> = words.map(|term| term.range.clone()).collect();
        if !self.phrases.is_empty() {
            let by_position: HashMap<(usize, &str), &Range<usize>> = terms
                .iter()
                .map(|term| ((term.position, term.text.as_str()), &term.range))
                .collect();
            for phrase in &self.phrases {
                let Some((_, first)) = phrase.first() else {
                    continue;
                };
                for term in terms.iter().filter(|term| term.text == *first) {
                    let places = phrase
                        .iter()
                        .map(|(at, text)| by_position.get(&(term.position + at, text.as_str())));
                    if let Some(places) = places.collect::<Option<Vec<_>>>()
                        && let Some(last) = places.last()
                    {
                        found.push(term.range.start..last.end);
                    }
                }
            }
        }
        merged(found)
    }
}

/// Ranges in order, those that overlap or touch as one.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks what a query finds in a text, with an index of other texts.
    fn marked(language: Language, indexed: &[&str], query: &str, text: &str) -> String {
        let texts = indexed.iter().chain([&text]).zip(0..);
        let texts = texts.map(|(text, slot)| (slot, *text));
        let part = Part::build(language, texts).expect("built");
        let parts: Vec<Arc<Part>> = part.into_iter().map(Arc::new).collect();
        let query = KeywordQuery::parse(query, language);
        let highlighter = Highlighter::new(&parts, &query, language).expect("made");
        let mut marked = text.to_owned();
        for range in highlighter.find(text).into_iter().rev() {
            marked.insert(range.end, ']');
            marked.insert(range.start, '[');
        }
        marked
    }

    #[track_caller]
    fn check(query: &str, expected: &str) {
        let text = expected.replace(['[', ']'], "");
        assert_eq!(
            marked(Language::English, &[], query, &text),
            expected,
            "{query:?}"
        );
    }

    #[test]
    fn stems_and_folded_letters_are_marked_in_the_text_as_it_is() {
        check(
            "encryption",
            "Data is [Encrypted] here, and [encrypts] more",
        );
        check("cafes", "Two [caf\u{e9}s], one [cafe\u{301}] and a [CAFE]!");
        check("ecole straße", "[École] \u{1F600} [STRASSE]");
        check("none of these", "nothing else");
        check("", "nothing");
    }

    #[test]
    fn identifiers_are_marked_whole_and_in_parts() {
        check("CWE-79", "See [CWE-79], and [CWE] 80 [79].");
        check("libssl3", "[libssl3] and [libssl]1.1, [3]x");
        check("g++", "[g++] is not [g]");
        check("element", "get[Element]ById");
    }

    #[test]
    fn phrases_are_marked_where_their_words_stand_together() {
        check(
            r#""apple trees""#,
            "[Apple tree] care: prune the tree of an apple; [apple-trees]",
        );
        check(
            r#"+"apple trees" care"#,
            "[Apple trees] and their [care], an apple",
        );
        check("+libssl3", "[libssl3] but not libssl 4 or 3");
        check("apple -tree", "[apple] tree");
    }

    #[test]
    fn scripts_without_spaces_are_marked_by_pairs() {
        check("東京都", "これは[東京都]です。[東京]と京阪");
        check("橋", "[橋]を渡る");
        check("ガス", "[カ\u{3099}ス]と[ガス]");
    }

    #[test]
    fn misspelt_words_are_marked_as_what_they_stand_for() {
        check("encription", "[Encryption] works");
        let found = marked(
            Language::English,
            &["encription"],
            "encription",
            "Encryption works",
        );
        assert_eq!(
            found, "Encryption works",
            "a word that is known is not respelled"
        );
    }

    #[test]
    fn places_are_of_whole_characters_in_any_text() {
        let mut random = fastrand::Rng::with_seed(3);
        let pieces = [
            "a", "é", "ﬁx", "日本", "ｶﾞ", "-", "79", " ", "\u{301}", "ß", "İ", "𠀀", "g++",
        ];
        for _ in 0..2000 {
            let text: String = (0..random.usize(1..12))
                .map(|_| pieces[random.usize(..pieces.len())])
                .collect();
            for term in Analyzer::new(Language::English).terms(&text) {
                let place = text.get(term.range.clone());
                assert!(
                    place.is_some_and(|place| !place.is_empty()),
                    "{term:?} of {text:?}"
                );
            }
        }
    }
}
