//! The bench `learning`, which measures what learning gains.
//!
//! - `--tables DIR --splits FILE.npz --out RESULT.json`: 5-NN errors on labelled tables, on given
//!   splits.
//! - `--report DIR`: every table and plot of `docs/learning.md` between its markers, from simulated
//!   users over labelled texts.
//!
//! `cargo bench -p affinis-research --bench learning -- ...`, or, without optimising everything,
//! `cargo test -p affinis-research --bench learning -- ...`. The text corpora are read from where
//! the tests find them.

mod feedback;
mod npy;
mod plot;
mod report;
mod rivals;
mod tables;

use std::error::Error;
use std::path::PathBuf;

const USAGE: &str = "\
learning --tables DIR --splits FILE.npz --out RESULT.json [--only NAME,NAME] [--closed-form]
learning --report DIR [--seeds N] [--only SECTION,SECTION]";

/// The arguments of the command line.
#[derive(Debug, Default)]
struct Arguments {
    tables: Option<PathBuf>,
    splits: Option<PathBuf>,
    out: Option<PathBuf>,
    report: Option<PathBuf>,
    only: Vec<String>,
    closed_form: bool,
    seeds: Option<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments(std::env::args().skip(1))?;
    match given {
        Arguments {
            tables: Some(tables),
            splits: Some(splits),
            out: Some(out),
            ..
        } => tables::run(&tables, &splits, &out, &given.only, given.closed_form),
        Arguments {
            report: Some(report),
            ..
        } => report::run(&report, given.seeds, &given.only),
        _ => {
            eprintln!("{USAGE}");
            Ok(())
        }
    }
}

/// A path relative to the root of the repository; cargo runs a bench in its package's directory.
fn from_root(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    while let Some(name) = given.next() {
        let mut value = || {
            given
                .next()
                .ok_or_else(|| format!("{name} needs a value\n{USAGE}"))
        };
        match name.as_str() {
            "--tables" => parsed.tables = Some(from_root(&value()?)),
            "--splits" => parsed.splits = Some(from_root(&value()?)),
            "--out" => parsed.out = Some(from_root(&value()?)),
            "--report" => parsed.report = Some(from_root(&value()?)),
            "--only" => parsed.only = value()?.split(',').map(str::to_owned).collect(),
            "--closed-form" => parsed.closed_form = true,
            "--seeds" => parsed.seeds = Some(value()?.parse()?),
            // What cargo adds.
            "--bench" => {}
            _ => return Err(format!("{name} is not understood\n{USAGE}").into()),
        }
    }
    Ok(parsed)
}
