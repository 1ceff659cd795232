//! The tables and plots of `docs/learning.md`, written between its markers and beside it.

mod hostile;
mod lives;
mod sections;
mod shrunken;
mod speed;

use std::error::Error;
use std::path::Path;

use affinis_testkit::data_dir;
use affinis_testkit::simulation::{Corpus, corpus, corpus_in};

use crate::tables;

const CORPORA: [(&str, &str); 2] = [("debian-6000", "Debian"), ("wordnet-6000", "WordNet")];
/// Corpora made by `research/benches/learning/corpora.py`, which no constant was chosen on.
const ELSEWHERE: [(&str, &str); 2] = [("banking", "Banking"), ("news", "News")];

/// Labelled tables as corpora: vectors of few numbers, whose neighbourhoods often agree with the
/// label already.
const TABLES: [&str; 6] = [
    "letter",
    "optdigits",
    "penbased",
    "satellite",
    "segment",
    "texture",
];

/// A function that makes a section's text from corpora and a number of seeds, and writes its plots
/// to a directory.
type Make = fn(&[Corpus], u64, &Path) -> Result<String, Box<dyn Error>>;

/// A section of the report.
struct Section {
    /// The name in the page's markers.
    name: &'static str,
    /// Number of seeds unless the command line gives another: more where the gate's decisions vary
    /// most.
    seeds: u64,
    make: Make,
}

const SECTIONS: [Section; 11] = [
    Section {
        name: "budgets",
        seeds: 20,
        make: sections::budgets,
    },
    Section {
        name: "shrunken",
        seeds: 20,
        make: shrunken::shrunken,
    },
    Section {
        name: "elsewhere",
        seeds: 5,
        make: sections::elsewhere,
    },
    Section {
        name: "others",
        seeds: 5,
        make: sections::others,
    },
    Section {
        name: "learners",
        seeds: 5,
        make: sections::learners,
    },
    Section {
        name: "noise",
        seeds: 5,
        make: sections::noise,
    },
    Section {
        name: "hostile",
        seeds: 5,
        make: hostile::hostile,
    },
    Section {
        name: "pairs",
        seeds: 5,
        make: sections::pairs,
    },
    Section {
        name: "rounds",
        seeds: 20,
        make: sections::rounds,
    },
    Section {
        name: "lives",
        seeds: 25,
        make: lives::lives,
    },
    Section {
        name: "speed",
        seeds: 1,
        make: speed::speed,
    },
];

/// Makes the sections (those of `only`, or all), and puts them into `directory/learning.md`.
pub(crate) fn run(
    directory: &Path,
    seeds: Option<u64>,
    only: &[String],
) -> Result<(), Box<dyn Error>> {
    if let Some(unknown) = only
        .iter()
        .find(|o| SECTIONS.iter().all(|section| section.name != *o))
    {
        return Err(format!(
            "no section is called {unknown}; there are {:?}",
            SECTIONS.map(|section| section.name)
        )
        .into());
    }
    let corpora: Vec<Corpus> = CORPORA
        .into_iter()
        .filter_map(|(name, _)| corpus(name))
        .collect();
    if corpora.is_empty() {
        return Err("no corpus is there to measure on".into());
    }
    let page = directory.join("learning.md");
    let wanted =
        |section: &Section| only.is_empty() || only.iter().any(|name| name == section.name);
    for Section {
        name,
        seeds: usual,
        make,
    } in SECTIONS.into_iter().filter(wanted)
    {
        let made = make(&corpora, seeds.unwrap_or(usual), directory)?;
        eprintln!("{made}");
        let text =
            std::fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
        std::fs::write(&page, replaced(&text, name, &made)?)?;
    }
    Ok(())
}

/// The page with the text between a section's markers replaced.
fn replaced(page: &str, section: &str, by: &str) -> Result<String, String> {
    let (from, to) = (
        format!("<!-- {section} -->\n"),
        format!("<!-- end of {section} -->"),
    );
    let missing = || format!("the page has no {from:?} with {to:?} after it");
    let (head, rest) = page.split_once(&from).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(&to).ok_or_else(missing)?;
    Ok(format!("{head}{from}{by}{to}{tail}"))
}

/// The title of a corpus in tables.
fn title(corpus: &Corpus) -> &'static str {
    CORPORA
        .into_iter()
        .chain(ELSEWHERE)
        .find(|(name, _)| *name == corpus.name)
        .map_or(corpus.name, |(_, title)| title)
}

/// Gains of several seeds, in P@10 x 1000.
#[derive(Debug, Clone, Default)]
struct Gains(Vec<f64>);

impl Gains {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// The corpora of [`ELSEWHERE`] that have been made.
fn elsewhere() -> Result<Vec<Corpus>, String> {
    let root = crate::from_root("target/corpora");
    let made: Vec<Corpus> = ELSEWHERE
        .into_iter()
        .filter_map(|(name, _)| corpus_in(&root, name))
        .collect();
    if made.is_empty() {
        Err("run research/benches/learning/corpora.py first".into())
    } else {
        Ok(made)
    }
}

/// The labelled tables as corpora.
fn labelled() -> Result<Vec<Corpus>, Box<dyn Error>> {
    let directory = data_dir().join("numeric");
    TABLES
        .into_iter()
        .map(|name| tables::corpus(&directory, name))
        .collect()
}

/// A Markdown table with a head.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let body: String = rows.iter().map(|r| line(r)).collect();
    format!("{}{rule}{body}", line(head))
}
