//! `judge`: stores the judgements of a file, all of them or none.

use std::collections::{BTreeSet, HashMap};

use affinis::{
    Judgement, JudgementId, Source,
    learning::{Forget, Verdict, Weak},
};
use affinis_api::JudgedDocument;
use serde_json::json;

use super::metrics::trial;
use super::{At, forget, refit, user};
use crate::failure::Failure;
use crate::input::{
    Defaults, Feedback, FeedbackFormat, Input, InputError, Place, RatingFormat, ReadFeedback,
};
use crate::output::{self, Out, plain, plural};
use crate::target::{RefitSettings, Refitted, Target};

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

Other formats: `qrels` (TREC: topic iteration item grade), `beir` (topic<TAB>item<TAB>score), `quepid`
(csv: query,docid,rating) and `ubi` (JSON lines of User Behavior Insights: queries and events; each
clicked item becomes a judgement of source click with the list that was shown). --queries names the
texts of topics (topic<TAB>text, or BEIR's queries.jsonl) or the queries of UBI; topics of qrels without
it are ids of items. Grades become 0 to 1 of --scale, and -1 where they are 0 or below.

Examples:
  affinis judge notes judgements.jsonl
  affinis judge notes --by-field lang --number 500
  affinis judge notes clicks.jsonl --source click --refit-after 200
  affinis judge notes qrels.txt --queries topics.tsv --skip-unknown
  affinis judge notes ratings.csv --format quepid --scale 3
  affinis judge notes events.jsonl --format ubi --queries queries.jsonl
  affinis judge notes --withdraw 17
  echo '{\"a\": \"a1\", \"b\": \"a2\", \"similar\": true}' | affinis judge notes - --user ann")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// File of judgements, or - for standard input
    #[arg(required_unless_present_any = ["weak", "withdraw"])]
    file: Option<Input>,
    /// Format of the file: jsonl, qrels, beir, quepid or ubi [default: by its first line, all but ubi]
    #[arg(long, value_name = "FORMAT", value_parser = format, requires = "file")]
    format: Option<FeedbackFormat>,
    /// File of the texts of topics, or of the queries of UBI
    #[arg(long, value_name = "FILE", requires = "file")]
    queries: Option<Input>,
    /// The grade that is entirely relevant [default: the highest in the file, at least 1]
    #[arg(long, value_name = "N", value_parser = scale, requires = "file")]
    scale: Option<f64>,
    /// Leave out judgements of items that the collection does not hold, and list these items
    #[arg(long, requires = "file")]
    skip_unknown: bool,
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

impl Args {
    /// The inputs that it names.
    pub(crate) fn inputs(&self) -> [Option<&Input>; 2] {
        [self.file.as_ref(), self.queries.as_ref()]
    }
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    if !args.withdraw.is_empty() {
        let numbers = args.withdraw.iter().copied().collect();
        return forget::forget(&collection, &Forget::Judgements(numbers), out);
    }
    let running = collection
        .trial()?
        .filter(|trial| trial.verdict == Verdict::Running);
    let mut unknown = Vec::new();
    let stored = match (&args.file, &args.by_field) {
        (Some(file), _) => store_file(args, file, &collection, &mut unknown)?,
        (None, Some(field)) => collection.judge_weakly(&Weak::Field(field.clone()), args.number)?,
        (None, None) => collection.judge_weakly(&Weak::Halves, args.number)?,
    };
    let number = stored.stored as u64;
    let due = match args.refit_after {
        Some(n) => collection.unlearned()? >= n,
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
            json!({"judgements": number, "first": stored.first, "last": stored.last});
        if args.skip_unknown {
            document["unknown"] = json!(unknown);
        }
        if let Some(report) = &report {
            document["refit"] = json!(report.document);
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
        plural(collection.judgement_count()?, "judgement", "judgements")
    ))?;
    if let Some(trial) = &ended {
        out.line(format_args!(
            "the trial is over: {}",
            trial::sentence(trial)
        ))?;
    }
    if let Some(report) = &report {
        refit::print(&report.document, report.forced, out)?;
    }
    Ok(())
}

/// Refits. The judgements are stored already, so an error of the refit is only a warning.
fn learn(collection: &Target) -> Option<Refitted> {
    let working = output::spinner("learning");
    let report = collection.refit(&RefitSettings::default());
    drop(working);
    report
        .inspect_err(|error| output::warn(format_args!("no refit: {error}")))
        .ok()
}

/// Stores the judgements of a file.
fn store_file(
    args: &Args,
    file: &Input,
    collection: &Target,
    unknown: &mut Vec<String>,
) -> Result<JudgedDocument, Failure> {
    if args.queries.as_ref() == Some(file) && *file == Input::Stdin {
        let reason = "FILE and --queries cannot both be standard input";
        return Err(Failure::Usage(reason.into()));
    }
    let feedback = Feedback {
        file,
        format: args.format,
        queries: args.queries.as_ref(),
        scale: args.scale,
        expected: collection.expected(),
        defaults: Defaults {
            user: args.user.clone(),
            source: args.source,
        },
    };
    let name = file.name();
    let ReadFeedback { judgements, notes } = feedback.read()?;
    for note in notes {
        output::note(plain(&note));
    }
    let read = judgements.len();
    let (lines, judgements) = known(judgements, &name, args.skip_unknown, collection, unknown)?;
    if judgements.len() < read || !unknown.is_empty() {
        output::warn(format_args!(
            "left out {} of items that {} does not hold: {}",
            plural((read - judgements.len()) as u64, "judgement", "judgements"),
            plain(&args.name),
            listed(unknown)
        ));
    }
    collection.judge(&judgements).map_err(|error| match error {
        Failure::Store(affinis::Error::InvalidJudgement { index, source })
            if index < lines.len() =>
        {
            Failure::Input(InputError::new(
                &name,
                Place::Line(lines[index]),
                source.to_string(),
            ))
        }
        other => other,
    })
}

/// Most ids that a message lists.
const MAX_LISTED: usize = 20;

/// Ids in a message.
fn listed(ids: &[String]) -> String {
    let mut text: Vec<String> = ids.iter().take(MAX_LISTED).map(|id| plain(id)).collect();
    if ids.len() > MAX_LISTED {
        text.push(format!("and {} more", ids.len() - MAX_LISTED));
    }
    text.join(", ")
}

/// Lines and judgements of items that the collection holds. What was merely shown is left out of a
/// judgement, and not the judgement.
///
/// # Errors
/// Without `skip`, the line of the first judgement of an unknown item, with all unknown items; with
/// it, an input of which nothing is left.
fn known(
    judgements: Vec<(u64, Judgement)>,
    file: &str,
    skip: bool,
    collection: &Target,
    unknown: &mut Vec<String>,
) -> Result<(Vec<u64>, Vec<Judgement>), Failure> {
    let mut there: HashMap<String, bool> = HashMap::new();
    let mut first = None;
    let ids: BTreeSet<&str> = judgements
        .iter()
        .flat_map(|(_, judgement)| judgement.ids())
        .collect();
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    let held = collection.existing(&ids)?;
    for (line, judgement) in &judgements {
        for id in judgement.ids() {
            if !there.contains_key(id) {
                let contains = held.contains(id);
                there.insert(id.to_owned(), contains);
                if !contains {
                    unknown.push(id.to_owned());
                    first.get_or_insert(*line);
                }
            }
        }
    }
    let whole = |place, reason| Failure::Input(InputError::new(file, place, reason));
    if let (false, Some(line)) = (skip, first) {
        let reason = format!(
            "the collection has no item with the id {}; --skip-unknown leaves out what names unknown items",
            match unknown.as_slice() {
                [one] => format!("{:?}", plain(one)),
                many => format!(
                    "{:?}, and {} unknown in all: {}",
                    plain(&many[0]),
                    many.len(),
                    listed(many)
                ),
            }
        );
        return Err(whole(Place::Line(line), reason));
    }
    let is_known = |id: &str| there.get(id).copied().unwrap_or(false);
    let kept: (Vec<u64>, Vec<Judgement>) = judgements
        .into_iter()
        .filter_map(|(line, mut judgement)| {
            judgement.shown.retain(|id| is_known(id));
            let all_known = judgement.ids().all(is_known);
            all_known.then_some((line, judgement))
        })
        .unzip();
    if kept.1.is_empty() {
        let reason = format!(
            "none of its judgements is of items that the collection holds; unknown are {}",
            listed(unknown)
        );
        return Err(whole(Place::File, reason));
    }
    Ok(kept)
}

fn format(name: &str) -> Result<FeedbackFormat, String> {
    Ok(match name {
        "jsonl" => FeedbackFormat::Jsonl,
        "qrels" => FeedbackFormat::Rated(RatingFormat::Qrels),
        "beir" => FeedbackFormat::Rated(RatingFormat::Beir),
        "quepid" => FeedbackFormat::Rated(RatingFormat::Quepid),
        "ubi" => FeedbackFormat::Ubi,
        _ => return Err("the formats are jsonl, qrels, beir, quepid and ubi".into()),
    })
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale > 0.0 => Ok(scale),
        _ => Err("the scale is the highest grade, a number above 0".into()),
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
        _ => Err("the number of judgements is a whole number from 1 to 1000000".into()),
    }
}
