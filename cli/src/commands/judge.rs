//! `judge`: stores the judgements of a file, all of them or none.

use affinis::{
    Collection, JudgementId, Source,
    learning::{Forget, RefitReport, Verdict, Weak},
};
use serde_json::json;

use super::metrics::trial;
use super::{At, expected, forget, refit, user};
use crate::failure::Failure;
use crate::input::{self, Defaults, Input, InputError, Opened, Place};
use crate::output::{self, Out, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line is one of
  {\"query\": \"text\", \"item\": \"id\", \"relevant\": true}
  {\"query_id\": \"id\", \"item\": \"id\", \"relevant\": false}
  {\"query_vector\": [..], \"item\": \"id\", \"grade\": 0.5}      from -1 (irrelevant) to 1 (relevant)
  {\"a\": \"id\", \"b\": \"id\", \"similar\": true}
and may have \"user\", \"source\", \"weight\" (above 0, default 1), \"at\" (a time of RFC 3339) and
\"shown\" (the ids that were shown with it, in order). The lower a click was in the list, the more it
weighs, and answers above it that were not clicked count slightly against them. --user and --source
apply to lines without these fields.

Examples:
  affinis judge notes judgements.jsonl
  affinis judge notes --by-field lang --number 500
  affinis judge notes clicks.jsonl --source click --refit-after 200
  affinis judge notes --withdraw 17
  echo '{\"a\": \"a1\", \"b\": \"a2\", \"similar\": true}' | affinis judge notes - --user ann")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// File of judgements, or - for standard input
    #[arg(required_unless_present_any = ["weak", "withdraw"])]
    file: Option<Input>,
    /// Withdraw this judgement, as if it had never been given; `affinis judgements` lists the numbers
    #[arg(long, value_name = "N", conflicts_with_all = ["file", "weak", "user", "source", "refit_after"])]
    withdraw: Vec<JudgementId>,
    /// Make proxy judgements: items are similar if this field of their metadata is equal
    #[arg(long, value_name = "FIELD", group = "weak", conflicts_with_all = ["file", "source", "user"])]
    by_field: Option<String>,
    /// Make proxy judgements: the first half of a text is a query to which its item is relevant
    #[arg(long, group = "weak", conflicts_with_all = ["file", "source", "user", "by_field"])]
    by_halves: bool,
    /// Number of proxy judgements to make, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count, requires = "weak")]
    number: usize,
    /// User who judged
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
    /// Source of the judgements: explicit, click or proxy [default: explicit]
    #[arg(long, value_name = "SOURCE", value_parser = str::parse::<Source>)]
    source: Option<Source>,
    /// Refit if at least N judgements were stored since the last refit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    refit_after: Option<u64>,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.collection(&args.name)?;
    if !args.withdraw.is_empty() {
        let numbers = args.withdraw.iter().copied().collect();
        return forget::forget(&collection, &Forget::Judgements(numbers), out);
    }
    let running = collection
        .trial()?
        .filter(|trial| trial.verdict == Verdict::Running);
    let stored = match (&args.file, &args.by_field) {
        (Some(file), _) => store_file(args, file, &collection)?,
        (None, Some(field)) => {
            collection.judge_weakly(&Weak::Field(field.clone()), args.number, 0)?
        }
        (None, None) => collection.judge_weakly(&Weak::Halves, args.number, 0)?,
    };
    let number = stored.len() as u64;
    let due = match args.refit_after {
        Some(n) => collection.unlearned()? as u64 >= n,
        None => false,
    };
    let report = if due { learn(&collection) } else { None };
    // Clicks may have decided the trial, or a refit may have ended it.
    let ended = match running {
        Some(_) => collection
            .trial()?
            .filter(|trial| trial.verdict != Verdict::Running),
        None => None,
    };
    if out.is_json() {
        let mut document =
            json!({"judgements": number, "first": stored.first(), "last": stored.last()});
        if let Some(report) = &report {
            document["refit"] = refit::document(report);
        }
        if let Some(trial) = &ended {
            document["trial"] = json!(trial);
        }
        return Ok(out.json(&document)?);
    }
    out.line(format_args!(
        "stored {}; {} has {} now",
        plural(number, "judgement", "judgements"),
        plain(&args.name),
        plural(
            collection.judgement_count() as u64,
            "judgement",
            "judgements"
        )
    ))?;
    if let Some(trial) = &ended {
        out.line(format_args!(
            "the trial is over: {}",
            trial::sentence(trial)
        ))?;
    }
    if let Some(report) = &report {
        refit::print(report, false, out)?;
    }
    Ok(())
}

/// Refits. The judgements are stored already, so an error of the refit is only a warning.
fn learn(collection: &Collection) -> Option<RefitReport> {
    let working = output::spinner("learning");
    let report = collection.refit().run();
    drop(working);
    report
        .inspect_err(|error| output::warn(format_args!("no refit: {error}")))
        .ok()
}

/// Stores the judgements of a file.
fn store_file(
    args: &Args,
    file: &Input,
    collection: &Collection,
) -> Result<Vec<JudgementId>, Failure> {
    let defaults = Defaults {
        user: args.user.clone(),
        source: args.source,
    };
    let Opened { name, reader } = file.open()?;
    let (lines, judgements): (Vec<u64>, Vec<_>) =
        input::judgements_jsonl(reader, &name, expected(collection), &defaults)?
            .into_iter()
            .unzip();
    collection
        .judge_all(judgements)
        .map_err(|error| match error {
            affinis::Error::InvalidJudgement { index, source } if index < lines.len() => {
                Failure::Input(InputError::new(
                    &name,
                    Place::Line(lines[index]),
                    source.to_string(),
                ))
            }
            other => other.into(),
        })
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
        _ => Err("the number of judgements is a whole number from 1 to 1000000".into()),
    }
}
