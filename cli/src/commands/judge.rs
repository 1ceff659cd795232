//! `judge`: judgements from a file, all of them or none.

use affinis::Source;
use serde_json::json;

use super::{At, expected};
use crate::failure::Failure;
use crate::input::{self, Defaults, Input, InputError, Opened, Place, source_name};
use crate::output::{Out, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line is one of
  {\"query\": \"text\", \"item\": \"id\", \"relevant\": true}
  {\"query_id\": \"id\", \"item\": \"id\", \"relevant\": false}
  {\"query_vector\": [..], \"item\": \"id\", \"grade\": 0.5}      from -1 (irrelevant) to 1 (relevant)
  {\"a\": \"id\", \"b\": \"id\", \"similar\": true}
and may have \"user\", \"source\", \"weight\" (above 0), \"at\" (a time as RFC 3339 has it) and \"shown\"
(the ids that were shown beside it, in order). --user and --source hold for lines that do not
say it themselves.

Examples:
  affinis judge notes judgements.jsonl
  echo '{\"a\": \"a1\", \"b\": \"a2\", \"similar\": true}' | affinis judge notes - --user ann")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// The file of JSON lines, or - for standard input
    file: Input,
    /// Who judged
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// How the judgements came about: explicit, click or proxy [default: explicit]
    #[arg(long, value_name = "SOURCE", value_parser = source_name)]
    source: Option<Source>,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.collection(&args.name)?;
    let defaults = Defaults { user: args.user.clone(), source: args.source };
    let Opened { name, reader } = args.file.open()?;
    let (lines, judgements): (Vec<u64>, Vec<_>) =
        input::judgements_jsonl(reader, &name, expected(&collection), &defaults)?.into_iter().unzip();
    let stored = collection.judge_all(judgements).map_err(|error| match error {
        affinis::Error::InvalidJudgement { index, reason } if index < lines.len() => {
            Failure::Input(InputError::new(&name, Place::Line(lines[index]), reason))
        }
        other => other.into(),
    })?;
    let number = stored.end - stored.start;
    if out.is_json() {
        let document = json!({"judgements": number, "first": stored.start, "last": stored.end.saturating_sub(1)});
        return Ok(out.json(&document)?);
    }
    out.line(format_args!(
        "stored {}; {} has {} now",
        plural(number, "judgement", "judgements"),
        plain(&args.name),
        plural(collection.judgement_count() as u64, "judgement", "judgements")
    ))?;
    Ok(())
}
