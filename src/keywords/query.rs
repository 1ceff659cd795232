//! [`KeywordQuery`]: what a query asks of the words of a text.
//!
//! | in a query | in a text |
//! |---|---|
//! | `word` | any of the words makes it a hit, and each raises its score |
//! | `"two words"` | they stand in it, one after the other |
//! | `+word`, `+"two words"` | it holds them |
//! | `-word`, `-"two words"` | it does not |
//!
//! A quote that is never closed is white space. A sign alone, or inside a word, is no operator.

use std::borrow::Cow;

use super::analyze::{Analyzer, Kind, Term};
use crate::model::Language;

/// What a clause asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occur {
    /// It raises the score, and makes a hit where nothing is required.
    Should,
    /// Every hit has it.
    Must,
    /// No hit has it.
    MustNot,
}

/// A clause of a query: one word, or a phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) occur: Occur,
    pub(super) is_phrase: bool,
    pub(super) terms: Vec<Term>,
    /// The clause as it is written.
    written: String,
}

impl Clause {
    /// The terms that stand in a text, one after the other, wherever the clause does: of a word that
    /// ends in a sign, which no atom has, the whole word.
    pub(super) fn sequence(&self) -> Vec<&Term> {
        let whole = self.terms.iter().filter(|term| term.kind == Kind::Whole);
        let whole: Vec<&Term> = whole.collect();
        if let [word] = whole[..]
            && word.text.ends_with(['+', '#'])
            && self.terms.iter().all(|term| term.position == word.position)
        {
            return whole;
        }
        let atoms = self.terms.iter();
        atoms
            .filter(|term| matches!(term.kind, Kind::Word | Kind::Atom))
            .collect()
    }
}

/// A query for words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeywordQuery {
    pub(super) clauses: Vec<Clause>,
}

/// The most clauses of a query; what stands after them is not looked up.
const MAX_CLAUSES: usize = 1024;

impl KeywordQuery {
    /// Reads a query in the language of a collection. Every text is a query.
    pub(crate) fn parse(text: &str, language: Language) -> Self {
        let analyzer = Analyzer::new(language);
        let mut clauses = Vec::new();
        let mut rest = text;
        while clauses.len() < MAX_CLAUSES {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            let (occur, operand) = operator(rest);
            let (is_phrase, operand, next) = operand_of(operand);
            let written = rest[..rest.len() - next.len()].to_owned();
            rest = next;
            let terms = analyzer.terms(operand);
            if terms.is_empty() {
                continue;
            }
            clauses.push(Clause {
                occur,
                is_phrase,
                terms,
                written,
            });
        }
        Self { clauses }
    }

    /// The words of a text that says no operators.
    pub(crate) fn of_text(text: &str, language: Language) -> Self {
        let analyzer = Analyzer::new(language);
        let clauses = text.split_whitespace().map(|word| Clause {
            occur: Occur::Should,
            is_phrase: false,
            terms: analyzer.terms(word),
            written: word.to_owned(),
        });
        let clauses = clauses.filter(|clause| !clause.terms.is_empty());
        Self {
            clauses: clauses.take(MAX_CLAUSES).collect(),
        }
    }

    /// Each word and phrase that a text may be found by, as it is written, with the query for it
    /// alone.
    pub(crate) fn each(&self) -> impl Iterator<Item = (String, Self)> + '_ {
        let clauses = self.clauses.iter();
        let found = clauses.filter(|clause| clause.occur != Occur::MustNot);
        found.map(|clause| {
            let alone = Self {
                clauses: vec![clause.clone()],
            };
            (clause.written.clone(), alone)
        })
    }

    /// Whether there is nothing that a text could be found by.
    pub(crate) fn is_empty(&self) -> bool {
        self.clauses
            .iter()
            .all(|clause| clause.occur == Occur::MustNot)
    }
}

/// The part of a query's text that says what is meant: without operators and quotes, and without
/// what is excluded.
pub(crate) fn meaning(text: &str) -> Cow<'_, str> {
    let (mut operands, mut is_plain) = (Vec::new(), true);
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let (occur, operand) = operator(rest);
        let is_quoted = operand.starts_with('"');
        let (_, operand, next) = operand_of(operand);
        rest = next;
        is_plain &= occur == Occur::Should && !is_quoted;
        if occur != Occur::MustNot && !operand.is_empty() {
            operands.push(operand);
        }
    }
    if is_plain {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(operands.join(" "))
    }
}

/// The operator at the beginning of a text, and what follows it.
fn operator(text: &str) -> (Occur, &str) {
    let is_operand = |rest: &str| {
        rest.starts_with(|c: char| c == '"' || !c.is_whitespace() && c != '+' && c != '-')
    };
    let operators = [('+', Occur::Must), ('-', Occur::MustNot)];
    let found = operators.into_iter().find_map(|(sign, occur)| {
        let rest = text.strip_prefix(sign)?;
        is_operand(rest).then_some((occur, rest))
    });
    found.unwrap_or((Occur::Should, text))
}

/// The phrase or word at the beginning of a text, whether it is a phrase, and what follows it.
fn operand_of(text: &str) -> (bool, &str, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        return match quoted.split_once('"') {
            Some((phrase, rest)) => (true, phrase, rest),
            None => (false, "", quoted),
        };
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '"');
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (false, word, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<(Occur, bool, Vec<String>)> {
        let query = KeywordQuery::parse(text, Language::English);
        let clauses = query.clauses.into_iter();
        clauses
            .map(|clause| {
                let sequence = clause.sequence().into_iter();
                let texts = sequence.map(|term| term.text.clone()).collect();
                (clause.occur, clause.is_phrase, texts)
            })
            .collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(Occur, bool, &[&str])]) {
        let expected: Vec<(Occur, bool, Vec<String>)> = expected
            .iter()
            .map(|(occur, is_phrase, terms)| {
                let terms = terms.iter().map(|term| (*term).to_owned()).collect();
                (*occur, *is_phrase, terms)
            })
            .collect();
        assert_eq!(parse(text), expected, "{text:?}");
    }

    use Occur::{Must, MustNot, Should};

    #[test]
    fn words_phrases_and_operators_are_read() {
        check(
            r#"shared +libraries -"old format" "in C""#,
            &[
                (Should, false, &["share"]),
                (Must, false, &["librari"]),
                (MustNot, true, &["old", "format"]),
                (Should, true, &["in", "c"]),
            ],
        );
        check(
            r#"+"a b"c"#,
            &[(Must, true, &["a", "b"]), (Should, false, &["c"])],
        );
        check(
            "g++ C# libssl3 -O2",
            &[
                (Should, false, &["g++"]),
                (Should, false, &["c#"]),
                (Should, false, &["libssl", "3"]),
                (MustNot, false, &["o", "2"]),
            ],
        );
    }

    #[test]
    fn a_text_has_words_and_no_operators() {
        let query = KeywordQuery::of_text(r#"+use -O2 "in C""#, Language::Simple);
        assert!(
            query
                .clauses
                .iter()
                .all(|clause| clause.occur == Should && !clause.is_phrase)
        );
        let written: Vec<String> = query.each().map(|(written, _)| written).collect();
        assert_eq!(written, ["+use", "-O2", "\"in", "C\""]);
        let query = KeywordQuery::parse(r#" +use -O2  "in C"x "#, Language::Simple);
        let written: Vec<String> = query.each().map(|(written, _)| written).collect();
        assert_eq!(written, ["+use", "\"in C\"", "x"]);
    }

    #[test]
    fn what_is_excluded_is_not_meant() {
        for plain in ["secure sockets", " C++ - x ", "\u{1F600}", ""] {
            assert_eq!(meaning(plain), plain);
        }
        assert_eq!(
            meaning(r#"+tls "secure sockets" -ssl3 -"old one" x"#),
            "tls secure sockets x"
        );
        assert_eq!(meaning("-only -these"), "");
        assert_eq!(meaning(r#"un"closed quote"#), "un closed quote");
    }

    #[test]
    fn what_is_no_operator_is_read_over() {
        check(
            "a - b + c",
            &[
                (Should, false, &["a"]),
                (Should, false, &["b"]),
                (Should, false, &["c"]),
            ],
        );
        check(
            r#"un"closed quote"#,
            &[
                (Should, false, &["un"]),
                (Should, false, &["close"]),
                (Should, false, &["quot"]),
            ],
        );
        check(
            "--help ++x",
            &[(Should, false, &["help"]), (Should, false, &["x"])],
        );
        for nothing in ["", "   ", "... !?", "\"", "\"\"", "+ - \"-\"", "\u{1F600}"] {
            check(nothing, &[]);
            assert!(KeywordQuery::parse(nothing, Language::Simple).is_empty());
        }
        assert!(KeywordQuery::parse("-only -these", Language::Simple).is_empty());
        let long = "word ".repeat(10_000);
        assert_eq!(parse(&long).len(), MAX_CLAUSES);
    }
}
