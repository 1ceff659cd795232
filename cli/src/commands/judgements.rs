//! `judgements`: lists the judgements of a collection.

mod qrels;

use std::path::PathBuf;

use affinis_api::JudgementDocument;

use super::At;
use super::explain::describe;
use crate::failure::Failure;
use crate::output::{Align, BOLD, DIM, Out, Table, plain};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A judgement teaches as long as its items hold what was judged: the same text, or the same vector
where there is no text. --json prints a line a judgement, as `judge` reads it, with its number as
\"sequence\", with \"teaches\", and with the ids of \"changed\" and \"gone\" items where it does not.

Examples:
  affinis judgements notes
  affinis judgements notes --json
  affinis judgements notes --qrels qrels.txt --queries topics.tsv --scale 3
  affinis judge notes --withdraw 17")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Write what was judged explicitly as TREC qrels, `topic 0 item grade` a line: the answers to
    /// stored items, whose ids are the topics, or with --queries the answers to texts
    #[arg(long, value_name = "FILE")]
    qrels: Option<PathBuf>,
    /// Write the texts that were asked, topic<TAB>text a line, numbered from 1
    #[arg(long, value_name = "FILE", requires = "qrels")]
    queries: Option<PathBuf>,
    /// The grade in the qrels of what is entirely relevant, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), requires = "qrels")]
    scale: u32,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    let judgements = collection.judgements()?;
    if let Some(file) = &args.qrels {
        let teaching = judgements
            .into_iter()
            .filter(|document| document.teaches)
            .map(|document| document.judgement);
        return qrels::write(args, teaching, file, out);
    }
    if out.is_json() {
        for document in &judgements {
            out.json(document)?;
        }
        return Ok(());
    }
    if judgements.is_empty() {
        return Ok(out.line(format_args!(
            "{} has no judgements; `affinis judge` stores some",
            plain(&args.name)
        ))?);
    }
    let mut table = Table::new([
        ("number", Align::Right),
        ("source", Align::Left),
        ("teaches", Align::Left),
        ("", Align::Left),
    ]);
    for document in judgements {
        let teaches = if document.teaches {
            "yes".to_owned()
        } else {
            reason(&document)
        };
        let style = anstyle::Style::new();
        table.styled([
            (document.sequence.to_string(), BOLD),
            (document.judgement.source.to_string(), DIM),
            (teaches, style),
            (describe(&document.judgement), style),
        ]);
    }
    out.line(table)?;
    Ok(())
}

/// Why a judgement teaches nothing.
fn reason(document: &JudgementDocument) -> String {
    let of = |ids: &Option<Vec<String>>, what| {
        let ids = ids.as_ref().filter(|ids| !ids.is_empty())?;
        Some(format!("{} {what}", ids.join(", ")))
    };
    let reasons = [of(&document.changed, "changed"), of(&document.gone, "gone")];
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    format!("no: {}", reasons.join("; "))
}
