//! Real texts, and questions of the kinds that people ask about them.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::{Random, data_dir, skipped};

/// The second column of a tab-separated file of the large data, also if it is compressed; `None`
/// (with a message) where the file is missing.
///
/// # Panics
/// If the file holds something else.
pub fn texts(name: &str) -> Option<Vec<String>> {
    let path = data_dir().join("text").join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        skipped(&format!(
            "{} is not there; set AFFINIS_DATA to the data directory",
            path.display()
        ));
        return None;
    };
    let mut text = String::new();
    if path.extension() == Some(Path::new("gz").as_os_str()) {
        GzDecoder::new(&*bytes)
            .read_to_string(&mut text)
            .expect("gzip");
    } else {
        text = String::from_utf8(bytes).expect("UTF-8");
    }
    let column = |line: &str| line.split_once('\t').expect("two columns").1.to_owned();
    Some(text.lines().map(column).collect())
}

/// Long texts of many subjects: 14,000 runs of twelve texts, each begun eight after the last.
pub fn composed(texts: &[String]) -> Vec<String> {
    texts
        .windows(12)
        .step_by(8)
        .take(14_000)
        .map(|run| run.join(" "))
        .collect()
}

/// `count` texts, evenly spread over a list.
pub fn spread(texts: &[String], count: usize) -> Vec<String> {
    let count = count.min(texts.len());
    (0..count)
        .map(|i| texts[i * texts.len() / count].clone())
        .collect()
}

/// A collection's texts, and questions of one kind each that are not among them.
#[derive(Debug)]
pub struct Questions {
    /// The texts to store: those given, without the ones that are asked whole.
    pub items: Vec<String>,
    /// The name of each kind and its questions.
    pub kinds: Vec<(&'static str, Vec<String>)>,
}

impl Questions {
    /// `count` questions of each kind: one, two, three and eight words that stand together in one
    /// of the `texts`, whole texts, single words and whole texts of another corpus, words with two
    /// letters exchanged, and single letters and numbers.
    pub fn new(texts: &[String], other: &[String], count: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut kinds = Vec::new();
        for (name, length) in [
            ("one word", 1),
            ("two words", 2),
            ("three words", 3),
            ("eight words", 8),
        ] {
            kinds.push((name, many(count, || phrase(texts, length, &mut random))));
        }
        let whole = many(count, || pick(texts, &mut random).clone());
        let asked: HashSet<&String> = whole.iter().collect();
        let items = texts.iter().filter(|text| !asked.contains(text));
        let items = items.cloned().collect();
        kinds.push(("a whole text", whole));
        let foreign = many(count, || phrase(other, 1, &mut random));
        kinds.push(("a foreign word", foreign));
        let foreign = many(count, || pick(other, &mut random).clone());
        kinds.push(("a foreign text", foreign));
        let wrong = many(count, || {
            let mut letters: Vec<char> = phrase(texts, 1, &mut random).chars().collect();
            let at = random.below(letters.len() - 1);
            letters.swap(at, at + 1);
            letters.into_iter().collect()
        });
        kinds.push(("a typing error", wrong));
        let single = many(count, || match random.below(2) {
            0 => char::from(b'a' + random.below(26) as u8).to_string(),
            _ => random.below(10_000).to_string(),
        });
        kinds.push(("a letter or number", single));
        Self { items, kinds }
    }
}

fn many(count: usize, make: impl FnMut() -> String) -> Vec<String> {
    std::iter::repeat_with(make).take(count).collect()
}

fn pick<'a>(texts: &'a [String], random: &mut Random) -> &'a String {
    &texts[random.below(texts.len())]
}

/// `length` words of three letters or more that follow each other in one of the texts.
fn phrase(texts: &[String], length: usize, random: &mut Random) -> String {
    loop {
        let text = pick(texts, random);
        let words: Vec<&str> = text
            .split(|c: char| !c.is_alphabetic() && c != '\'' && c != '-')
            .filter(|word| word.chars().count() > 2)
            .collect();
        if words.len() >= length {
            let first = random.below(words.len() - length + 1);
            return words[first..first + length].join(" ");
        }
    }
}
