//! Parts and ranking, against a count of every term of every text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tantivy::fieldnorm::FieldNormReader;

use super::analyze::{Analyzer, Kind};
use super::collect::Scored;
use super::*;
use crate::model::Language;

const ENGLISH: Language = Language::English;

/// Texts of words drawn with unequal chances.
fn texts(count: u32) -> Vec<(u32, String)> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut word = || format!("w{}x", (random.f64().powi(3) * 300.0) as u32);
    let mut next = |i: u32| {
        let words: Vec<String> = (0..=i % 40).map(|_| word()).collect();
        (3 * i + 1, words.join(" "))
    };
    (0..count).map(&mut next).collect()
}

fn part(texts: &[(u32, String)]) -> Arc<Part> {
    let texts = texts.iter().map(|(slot, text)| (*slot, text.as_str()));
    Arc::new(Part::build(ENGLISH, texts).unwrap().unwrap())
}

/// The texts in parts of at most `size`.
fn parts(texts: &[(u32, String)], size: usize) -> Vec<Arc<Part>> {
    texts.chunks(size).map(part).collect()
}

fn find(parts: &[Arc<Part>], query: &str, k: usize) -> Vec<Scored> {
    let query = KeywordQuery::parse(query, ENGLISH);
    search(parts, &query, k, &|_| true).unwrap().best
}

fn slots(parts: &[Arc<Part>], query: &str) -> Vec<u32> {
    find(parts, query, 100).iter().map(|s| s.slot).collect()
}

/// The scores of all texts by the formula, from counts.
fn expected(texts: &[(u32, String)], query: &[&str]) -> Vec<Scored> {
    let analyzer = Analyzer::new(ENGLISH);
    let counted: Vec<(u32, BTreeMap<String, f64>, f64)> = texts
        .iter()
        .map(|(slot, text)| {
            let terms = analyzer.terms(text);
            let rounded = FieldNormReader::fieldnorm_to_id(terms.len() as u32);
            let length = f64::from(FieldNormReader::id_to_fieldnorm(rounded));
            let mut counts = BTreeMap::new();
            for term in terms {
                *counts.entry(term.text).or_default() += 1.0;
            }
            (*slot, counts, length)
        })
        .collect();
    let total: f64 = counted
        .iter()
        .map(|(_, counts, _)| counts.values().sum::<f64>())
        .sum();
    let (n, average) = (counted.len() as f64, total / counted.len() as f64);
    let terms: Vec<String> = query
        .iter()
        .flat_map(|word| analyzer.terms(word))
        .map(|term| term.text)
        .collect();
    let mut scored: Vec<Scored> = Vec::new();
    for (slot, counts, length) in &counted {
        let mut score = 0.0;
        for term in &terms {
            let with = counted
                .iter()
                .filter(|(_, counts, _)| counts.contains_key(term))
                .count();
            let idf = (1.0 + (n - with as f64 + 0.5) / (with as f64 + 0.5)).ln();
            let tf = counts.get(term).copied().unwrap_or(0.0);
            score += idf * tf / (tf + 1.2 * (0.25 + 0.75 * length / average));
        }
        if score > 0.0 {
            let score = score as f32;
            scored.push(Scored { slot: *slot, score });
        }
    }
    scored.sort();
    scored
}

#[test]
fn scores_are_those_of_bm25_however_the_texts_are_divided() {
    let texts = texts(500);
    for query in [
        &["w7x"][..],
        &["w3x", "w150x"],
        &["w1x", "w1x", "w90x", "w20x", "w299x"],
    ] {
        let expected = expected(&texts, query);
        assert!(expected.len() > 3);
        for size in [500, 170, 37] {
            let found = find(&parts(&texts, size), &query.join(" "), 20);
            assert_eq!(found.len(), 20.min(expected.len()));
            for (found, expected) in found.iter().zip(&expected) {
                let differ = (found.score - expected.score).abs();
                assert!(differ < 1e-4 * expected.score, "{found:?} {expected:?}");
            }
            assert!(found.is_sorted());
        }
    }
}

#[test]
fn only_what_is_allowed_is_found_and_as_many_as_there_are() {
    let texts = texts(300);
    let parts = parts(&texts, 100);
    let query = KeywordQuery::parse("w2x w5x", ENGLISH);
    let all = search(&parts, &query, 1000, &|_| true).unwrap().best;
    let even = search(&parts, &query, 7, &|slot| slot % 2 == 0)
        .unwrap()
        .best;
    let expected: Vec<Scored> = all
        .iter()
        .copied()
        .filter(|s| s.slot % 2 == 0)
        .take(7)
        .collect();
    assert_eq!(even, expected);
    assert!(
        search(&parts, &query, 0, &|_| true)
            .unwrap()
            .best
            .is_empty()
    );
    assert!(search(&[], &query, 9, &|_| true).unwrap().best.is_empty());
    assert!(
        search(&parts, &query, 9, &|_| false)
            .unwrap()
            .best
            .is_empty()
    );
}

#[test]
fn merging_keeps_what_is_live_and_its_scores() {
    let texts = texts(400);
    let live: BTreeSet<u32> = texts
        .iter()
        .map(|(slot, _)| *slot)
        .filter(|s| s % 4 != 0)
        .collect();
    let merged = Part::merge(&parts(&texts, 90), |slot| live.contains(&slot))
        .unwrap()
        .unwrap();
    assert_eq!(
        merged.slots().unwrap(),
        live.iter().copied().collect::<Vec<_>>()
    );
    assert_eq!(merged.len(), live.len());
    let kept: Vec<(u32, String)> = texts
        .into_iter()
        .filter(|(slot, _)| live.contains(slot))
        .collect();
    let anew = [part(&kept)];
    let merged = [Arc::new(merged)];
    // The mean length is then that of rounded lengths.
    for query in ["w0x", "w4x w9x w200x", "\"w0x w1x\"", "+w3x -w0x"] {
        let (merged, anew) = (find(&merged, query, 1000), find(&anew, query, 1000));
        assert_eq!(merged.len(), anew.len(), "{query}");
        for (merged, anew) in merged.iter().zip(&anew) {
            assert!(
                (merged.score - anew.score).abs() < 0.02 * anew.score,
                "{query}"
            );
        }
    }
    assert!(Part::merge(&merged, |_| false).unwrap().is_none());
    assert!(Part::merge(&[], |_| true).unwrap().is_none());
    assert!(Part::build(ENGLISH, []).unwrap().is_none());
}

fn library() -> Vec<Arc<Part>> {
    let texts = [
        "libssl3: the shared library of a secure sockets layer",
        "gcc is a compiler; g++ compiles C++ code",
        "shared secrets in a library, says CWE-79",
        "an old library that is not shared",
        "",
        "東京都の図書館",
        "compile code written in C",
    ];
    let texts: Vec<(u32, String)> = (0..).zip(texts.map(str::to_owned)).collect();
    parts(&texts, 3)
}

#[test]
fn phrases_and_operators_choose() {
    let parts = library();
    assert_eq!(slots(&parts, "\"shared library\""), [0]);
    assert!(slots(&parts, "\"library shared\"").is_empty());
    let mut any = slots(&parts, "shared secrets");
    any.sort_unstable();
    assert_eq!(any, [0, 2, 3]);
    assert_eq!(slots(&parts, "shared secrets")[0], 2);
    assert_eq!(slots(&parts, "+shared -secrets -old"), [0]);
    assert_eq!(slots(&parts, "+libraries +old"), [3]);
    assert!(slots(&parts, "+nowhere library").is_empty());
    assert!(slots(&parts, "-library").is_empty());
    assert!(slots(&parts, "").is_empty());
}

#[test]
fn what_is_excluded_is_never_found_wherever_it_stands() {
    let texts = texts(400);
    let parts = parts(&texts, 400);
    for (wanted, excluded) in [(1, 40), (1, 4), (30, 2), (7, 0), (100, 3), (3, 290)] {
        let holds = |text: &str, word: usize| {
            let word = format!("w{word}x");
            text.split(' ').any(|found| found == word)
        };
        let of = |is_found: &dyn Fn(&str) -> bool| -> BTreeSet<u32> {
            let texts = texts.iter().filter(|(_, text)| is_found(text));
            texts.map(|(slot, _)| *slot).collect()
        };
        // Every text holds a part of the word, `w`.
        let any = of(&|text| !holds(text, excluded));
        let whole = of(&|text| holds(text, wanted) && !holds(text, excluded));
        assert!(whole.len() < any.len() && any.len() < texts.len());
        for (query, expected) in [
            (format!("w{wanted}x -w{excluded}x"), &any),
            (format!("+w{wanted}x -w{excluded}x"), &whole),
            (format!("\"w{wanted}x\" -\"w{excluded}x\""), &whole),
        ] {
            let found = find(&parts, &query, 1000);
            let found: BTreeSet<u32> = found.iter().map(|scored| scored.slot).collect();
            assert_eq!(&found, expected, "{query}");
        }
    }
}

#[test]
fn operators_restrict_what_may_be_found() {
    let parts = library();
    let restricted = |text: &str| {
        let query = KeywordQuery::parse(text, ENGLISH);
        let Restriction { required, excluded } = restriction(&parts, &query).unwrap();
        let listed = |slots: roaring::RoaringBitmap| slots.iter().collect::<Vec<_>>();
        (required.map(listed), listed(excluded))
    };
    assert_eq!(restricted("a library"), (None, vec![]));
    assert_eq!(
        restricted("+library -old code -code"),
        (Some(vec![0, 2, 3]), vec![1, 3, 6])
    );
    assert_eq!(
        restricted("+shared +\"a library\""),
        (Some(vec![2]), vec![])
    );
    assert_eq!(restricted("+nowhere"), (Some(vec![]), vec![]));
}

#[test]
fn identifiers_are_found_whole_and_in_parts() {
    let parts = library();
    for query in [
        "libssl3",
        "libssl",
        "LIBSSL3",
        "+libssl",
        "+libssl3",
        "\"libssl3\"",
    ] {
        assert_eq!(slots(&parts, query).first(), Some(&0), "{query}");
    }
    for query in ["CWE-79", "cwe", "79", "+cwe-79", "\"says CWE\""] {
        assert_eq!(slots(&parts, query).first(), Some(&2), "{query}");
    }
    assert_eq!(slots(&parts, "g++")[0], 1);
    assert_eq!(slots(&parts, "+C++"), [1]);
    let mut c = slots(&parts, "c");
    c.sort_unstable();
    assert_eq!(c, [1, 6]);
}

#[test]
fn an_unknown_word_stands_for_those_that_differ_in_one_letter() {
    let parts = library();
    for query in ["libsssl3", "libsls3", "libss3"] {
        assert_eq!(slots(&parts, query).first(), Some(&0), "{query}");
    }
    assert_eq!(slots(&parts, "secrats"), [2]);
    // A known word stands for itself, and what is required is what was written.
    assert_eq!(slots(&parts, "code").len(), 2);
    assert!(slots(&parts, "+secrats").is_empty());
    assert!(slots(&parts, "zz").is_empty());
}

#[test]
fn scripts_without_spaces_are_found_by_any_run_of_characters() {
    let parts = library();
    for query in ["東京", "京都", "図書館", "館", "\"都の図\"", "+東京都"] {
        assert_eq!(slots(&parts, query), [5], "{query}");
    }
    assert!(slots(&parts, "\"京図\"").is_empty());
    let terms = Analyzer::new(ENGLISH).terms("東京");
    assert_eq!(terms[0].kind, Kind::Pair);
}

fn sections(part: &Part) -> Vec<Vec<u8>> {
    let sections = part.sections();
    sections
        .iter()
        .map(|bytes| bytes.as_ref().to_vec())
        .collect()
}

/// A file in memory.
struct Held(Vec<Vec<u8>>);

impl Sections for Held {
    fn section(&self, section: usize) -> &[u8] {
        self.0.get(section).map_or(&[], Vec::as_slice)
    }
}

#[test]
fn a_part_is_the_same_from_its_file() {
    let texts = texts(200);
    let built = part(&texts);
    let file: Arc<dyn Sections> = Arc::new(Held(sections(&built)));
    let opened = Arc::new(Part::open(&file).unwrap());
    assert_eq!((opened.range(), opened.len()), ((1, 598), 200));
    assert_eq!(opened.bytes(), built.bytes());
    let (built, opened) = ([built], [opened]);
    for query in ["w0x w3x", "\"w1x w0x\"", "w12y"] {
        assert_eq!(find(&built, query, 50), find(&opened, query, 50), "{query}");
    }
    let both = Part::merge(
        &[Arc::clone(&opened[0]), part(&[(900, "w0x".into())])],
        |_| true,
    );
    assert_eq!(both.unwrap().unwrap().range(), (1, 900));
}

#[test]
fn damaged_files_are_errors() {
    let sections = sections(&part(&texts(50)));
    let refused = |sections: Vec<Vec<u8>>| {
        let file: Arc<dyn Sections> = Arc::new(Held(sections));
        let opened = Part::open(&file);
        // What opens all the same may give wrong hits, which the checksums of the file prevent, but
        // no panic.
        if let Ok(part) = &opened {
            let query = KeywordQuery::parse("w0x \"w1x w0x\" w1y", ENGLISH);
            let part = std::slice::from_ref(part);
            let parts: Vec<Arc<Part>> = part
                .iter()
                .map(|_| Arc::new(Part::open(&file).unwrap()))
                .collect();
            drop(search(&parts, &query, 10, &|_| true));
        }
        opened.is_err()
    };
    assert!(!refused(sections.clone()));
    assert!(refused(Vec::new()));
    for section in 0..sections.len() {
        let mut without = sections.clone();
        without[section].clear();
        refused(without);
        let mut short = sections.clone();
        let half = short[section].len() / 2;
        short[section].truncate(half);
        refused(short);
        for at in (0..sections[section].len()).step_by(7) {
            let mut flipped = sections.clone();
            flipped[section][at] ^= 0x55;
            refused(flipped);
        }
    }
}
