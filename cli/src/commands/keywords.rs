//! `keywords`: turns keyword search over the texts of a collection on or off.

use affinis::Language;
use serde_json::json;

use super::At;
use crate::failure::Failure;
use crate::output::{Out, plain};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keyword search finds names, part numbers and rare words that an encoder makes little of:
`affinis search NAME TEXT --hybrid` ranks by words and meaning together, --words-only by words. With
a language, a word is found in all its inflected forms: ar, da, de, el, en, es, fi, fr, hu, it, nl,
no, pt, ro, ru, sv, ta, tr. With `simple` it is found as it is written, but for case and accents.

The index is built at once, and follows every write from then on.

Examples:
  affinis keywords notes en
  affinis keywords notes off")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// `simple`, the two letters of a language, or `off`
    #[arg(value_parser = language)]
    language: Setting,
}

/// A language, or none.
#[derive(Debug, Clone, Copy)]
struct Setting(Option<Language>);

fn language(name: &str) -> Result<Setting, String> {
    match name {
        "off" => Ok(Setting(None)),
        name => match name.parse() {
            Ok(language) => Ok(Setting(Some(language))),
            Err(error) => Err(format!("{error}; `off` turns keyword search off")),
        },
    }
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let Setting(language) = args.language;
    at.target(&args.name)?.set_keywords(language)?;
    if out.is_json() {
        return Ok(out.json(&json!({"collection": args.name, "keywords": language}))?);
    }
    let name = plain(&args.name);
    match language {
        Some(language) => out.line(format_args!("{name} is searched by words too: {language}"))?,
        None => out.line(format_args!("{name} is searched by meaning only"))?,
    }
    Ok(())
}
