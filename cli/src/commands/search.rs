//! `search`: prints the nearest items, a JSON document or a table for each query.

use std::path::{Path, PathBuf};

use affinis::{Filter, MetricChoice, Query};
use affinis_api::{AnswerDocument, ExecutionDocument, HitDocument};
use anstyle::Style;
use clap::ArgGroup;
use serde_json::{Value, json};

use super::items::describe;
use super::{At, hits, metric_choice, metric_name, text, user};
use crate::failure::Failure;
use crate::input::{self, Input, Opened, Topics};
use crate::output::{
    self, Align, BOLD, DIM, Out, Run, Table, WholeFile, count, digits, millis, plain, plural,
};
use crate::target::{SearchSettings, Target};

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("query").required(true).args(["text", "vectors", "like", "image", "queries"]))]
#[command(
    override_usage = "affinis search [OPTIONS] <NAME> <TEXT | --vectors FILE.npy | --like ID | --image FILE | --queries FILE>"
)]
#[command(after_help = "\
Filters test the metadata of items with $eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not.
An array matches if any of its elements does. $gt $gte $lt $lte compare times of RFC 3339 as times,
such as 2026-03-01T09:30:00+01:00, and other texts by their bytes. A dot in a name is part of a key
or reaches into an object, whichever an item has; an item with both is an error, and
{\"$field\": [[\"a.b\"], TEST]} or {\"$field\": [[\"a\", \"b\"], TEST]} says which is meant.

Examples:
  affinis search notes \"fruit tree care\"
  affinis search notes -- \"-k of a command\"                  what looks like an option stands after --
  affinis search notes --like a1 -k 5
  affinis search notes \"fruit tree care\" --filter '{\"year\": {\"$gte\": 2020}, \"lang\": \"en\"}'
  affinis search notes \"fruit tree care\" --metric euclidean
  affinis search photos --image cat.jpg
  affinis search images --vectors queries.npy --json > answers.jsonl
  affinis search notes --queries topics.tsv -k 1000 --run run.txt    for trec_eval and ir_measures")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// The text to search for; after -- it may begin with a minus sign, also as an option does
    #[arg(value_parser = text, allow_hyphen_values = true)]
    text: Option<String>,
    /// Search for each row of a 2-D npy array, or - for standard input
    #[arg(long, value_name = "FILE.npy")]
    vectors: Option<Input>,
    /// Search for items near this stored item, which is left out of the answer
    #[arg(long, value_name = "ID")]
    like: Option<String>,
    /// Search for items near this image, in a collection with an encoder of images
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Search for each text of a file: topic<TAB>text a line, or BEIR's queries.jsonl
    #[arg(long, value_name = "FILE")]
    queries: Option<Input>,
    /// Write the answers as a TREC run, `topic Q0 item rank score affinis` a line; the topic is that
    /// of --queries, the id of --like, the row of --vectors, or 0
    #[arg(long, value_name = "FILE", conflicts_with = "explain_search")]
    run: Option<PathBuf>,
    /// Number of hits, 1 to 10000
    #[arg(short, default_value = "10", value_parser = hits)]
    k: usize,
    /// Search only items whose metadata match this filter
    #[arg(long, value_name = "JSON", value_parser = Filter::parse)]
    filter: Option<Filter>,
    /// Beam width, at least 1, instead of a target for the recall
    #[arg(long, value_name = "N", value_parser = ef, conflicts_with = "recall")]
    ef: Option<usize>,
    /// Target for the recall, the share of the true nearest items found: above 0, at most 1
    /// [default: 0.95]
    #[arg(long, value_name = "R", value_parser = recall)]
    recall: Option<f64>,
    /// Metric that ranks the items: `active`, `euclidean`, or a version's number
    #[arg(long, value_name = "METRIC", default_value = "active", value_parser = metric_choice)]
    metric: MetricChoice,
    /// Search under this user's metric, if the user has one
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
    /// Answer without what was judged of this question and of questions like it
    #[arg(long)]
    no_memory: bool,
    /// Leave out items that the user called irrelevant for this very query; without --user, those
    /// that were judged without a user
    #[arg(long)]
    hide_rejected: bool,
    /// Print how the search was executed: plan, beam width, distances computed, time
    #[arg(long)]
    explain_search: bool,
}

fn ef(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(ef) if ef >= 1 => Ok(ef),
        _ => Err("ef is a whole number of at least 1".into()),
    }
}

fn recall(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(recall) if recall > 0.0 && recall <= 1.0 => Ok(recall),
        _ => Err("a recall target is a number above 0 and at most 1".into()),
    }
}

/// One query, with its name in JSON and its topic in a run.
struct Asked {
    query: Query,
    name: Value,
    topic: String,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    let asked = asked(args, &collection)?;
    if let Some(file) = &args.run {
        return write_run(args, &collection, asked, file, out);
    }
    for (at, asked) in asked.into_iter().enumerate() {
        if !out.is_json() && at > 0 {
            out.line("")?;
        }
        answer(args, &collection, asked, out)?;
    }
    Ok(())
}

/// The queries that the arguments name.
fn asked(args: &Args, collection: &Target) -> Result<Vec<Asked>, Failure> {
    let one = |query: Query, name: &str, topic: &str| Asked {
        query,
        name: name.into(),
        topic: topic.to_owned(),
    };
    if let Some(text) = &args.text {
        return Ok(vec![one(text.as_str().into(), text, "0")]);
    }
    if let Some(id) = &args.like {
        return Ok(vec![one(Query::like(id), id, id)]);
    }
    if let Some(path) = &args.image {
        let name = path.display().to_string();
        let vector = collection.encode_image(&super::add::read_image(path)?)?;
        let vector = vector.map_err(|reason| Failure::Failed(format!("{name}: {reason}")))?;
        return Ok(vec![one(vector.into(), &name, "0")]);
    }
    if let Some(file) = &args.queries {
        let Opened { name, reader, .. } = file.open()?;
        let Topics { order, texts } = input::topics(reader, &name)?;
        let asked = order.iter().map(|topic| {
            let text = &texts[topic];
            one(text.as_str().into(), text, topic)
        });
        return Ok(asked.collect());
    }
    let Some(file) = &args.vectors else {
        return Ok(Vec::new());
    };
    let Opened { name, reader, .. } = file.open()?;
    let vectors = input::npy_queries(reader, &name, collection.expected())?;
    let rows = vectors.outer_iter().enumerate().map(|(row, vector)| Asked {
        query: vector.into(),
        name: row.into(),
        topic: row.to_string(),
    });
    Ok(rows.collect())
}

/// Writes the answers as a run.
fn write_run(
    args: &Args,
    collection: &Target,
    asked: Vec<Asked>,
    file: &Path,
    out: &mut Out,
) -> Result<(), Failure> {
    let queries = asked.len();
    let mut whole = WholeFile::create(file)?;
    let to_stdout = whole.is_stdout();
    let mut run = Run::new(whole.writer());
    let mut written = Ok(());
    for Asked { query, name, topic } in asked {
        let answer = found(args, collection, query, name)?;
        let hits = answer.hits.iter();
        written = run.answer(&topic, hits.map(|hit| (hit.id.as_str(), hit.score)));
        if written.is_err() {
            break;
        }
    }
    whole.finish(written)?;
    let file = file.display().to_string();
    let summary = format!(
        "wrote the answers to {} to {}",
        plural(queries as u64, "query", "queries"),
        plain(&file)
    );
    match (to_stdout, out.is_json()) {
        (true, _) => output::note(summary),
        (false, true) => out.json(&json!({"run": file, "queries": queries}))?,
        (false, false) => out.line(summary)?,
    }
    Ok(())
}

/// The answer to a query.
fn found(
    args: &Args,
    collection: &Target,
    query: Query,
    name: Value,
) -> Result<AnswerDocument, Failure> {
    let settings = SearchSettings {
        k: args.k,
        metric: args.metric,
        filter: args.filter.clone(),
        ef: args.ef,
        recall: args.recall,
        user: args.user.clone(),
        memory: !args.no_memory,
        hide_rejected: args.hide_rejected,
        ..SearchSettings::default()
    };
    collection.search(query, name, &settings, args.explain_search)
}

fn answer(args: &Args, collection: &Target, asked: Asked, out: &mut Out) -> Result<(), Failure> {
    let answer = found(args, collection, asked.query, asked.name)?;
    if out.is_json() {
        return Ok(out.json(&answer)?);
    }
    let title = match &answer.query {
        Value::String(text) if args.like.is_some() => format!("like {}", plain(text)),
        Value::String(text) => format!("\"{}\"", plain(text)),
        row => format!("row {row}"),
    };
    out.line(format_args!(
        "{BOLD}{title}{BOLD:#}  {DIM}{}{DIM:#}",
        metric_name(answer.metric)
    ))?;
    if answer.hits.is_empty() {
        let why = match (&args.filter, collection.len()?) {
            (_, 0) => "the collection is empty",
            (Some(_), _) => "nothing matches the filter",
            (None, _) => "there is nothing else",
        };
        out.line(format_args!("  {why}"))?;
    } else {
        out.line(table(&answer.hits))?;
    }
    if let Some(execution) = &answer.execution {
        explain(execution, collection.len()?, out)?;
    }
    Ok(())
}

/// Tells how a search among so many items was executed. A service does not tell all of it.
fn explain(execution: &ExecutionDocument, items: u64, out: &mut Out) -> Result<(), Failure> {
    let optional = |text: Option<String>| text.unwrap_or_default();
    let expected = execution
        .expected
        .map(|n| format!("{} expected", count(n as u64)));
    let matching = execution
        .matching
        .map(|n| format!("{} pass the filter", count(n as u64)));
    let mut aside = [expected, matching].into_iter().flatten();
    let aside = aside
        .next()
        .map(|first| aside.fold(first, |all, next| format!("{all}, {next}")));
    let recall = execution
        .expected_recall
        .map(|recall| format!(", recall {:.1} % expected", 100.0 * recall));
    out.line(format_args!(
        "  {DIM}{} of {} distances computed{}, ef {}, {}, {}{}{DIM:#}",
        count(execution.visited as u64),
        count(items),
        optional(aside.map(|aside| format!(" ({aside})"))),
        execution.ef,
        millis(execution.micros as f64 / 1000.0),
        execution.plan,
        optional(recall)
    ))?;
    Ok(())
}

/// Table of hits: rank, distance, what memory adds to it where it takes part, id, and text with
/// metadata.
fn table(hits: &[HitDocument]) -> Table {
    let is_remembered = hits.iter().any(|hit| hit.memory.is_some());
    let memory = is_remembered.then_some(("memory", Align::Right));
    let columns = [("", Align::Right), ("distance", Align::Right)];
    let columns = columns.into_iter().chain(memory);
    let columns = columns.chain([("id", Align::Left), ("", Align::Left)]);
    let mut table = Table::new(columns).indent(2);
    for hit in hits {
        let rank = (hit.rank.to_string(), DIM);
        let distance = (digits(hit.distance), Style::new());
        let id = (hit.id.clone(), BOLD);
        let description = describe(hit.text.as_deref(), hit.meta.as_ref());
        let description = (description, Style::new());
        // Below 0 it is nearer, as the sum of the two columns says.
        let memory = hit.memory.unwrap_or_default();
        let memory = is_remembered.then(|| (format!("{:+.4}", -memory), DIM));
        let cells = [rank, distance].into_iter().chain(memory);
        table.styled(cells.chain([id, description]));
    }
    table
}
