//! `search`: prints the nearest items, a JSON document or a table for each query.

use std::path::{Path, PathBuf};

use affinis::limits::MAX_K;
use affinis::{CombinedQuery, Filter, MetricChoice, Query, SearchQuery};
use affinis_api::{AnswerDocument, ExecutionDocument, FacetDocument, HitDocument};
use anstyle::Style;
use clap::ArgGroup;
use serde_json::{Value, json};

use super::items::describe;
use super::{At, hits, metric_choice, metric_name, rank_by, text, user};
use crate::failure::Failure;
use crate::input::{self, Input, Opened, Topics};
use crate::output::{
    self, Align, BOLD, DIM, Out, Run, Table, WholeFile, count, digits, excerpt, millis, plain,
    plural,
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
  affinis search notes --like a1 a2 --unlike a9               more like these, less like that
  affinis search notes \"fruit tree care\" --unlike a9
  affinis search notes \"fruit tree care\" --cursor start       a page, and the cursor of the next
  affinis search notes \"fruit tree care\" --group-by book --per-group 3
  affinis search notes \"fruit tree care\" --diversity 0.3 --facet lang
  affinis search notes \"fruit tree care\" --filter '{\"year\": {\"$gte\": 2020}, \"lang\": \"en\"}'
  affinis search notes \"fruit tree care\" --metric euclidean
  affinis search packages \"secure sockets +libssl\" --hybrid
  affinis search books \"secure sockets\" --group-by document --highlights
  affinis search photos --image cat.jpg
  affinis search images --vectors queries.npy --json > answers.jsonl
  affinis search notes --queries topics.tsv -k 1000 --run run.txt    for trec_eval and ir_measures")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// The text to search for; after -- it may begin with a minus sign, also as an option does
    #[arg(value_parser = text, allow_hyphen_values = true)]
    text: Option<String>,
    /// Search for each row of a 2-D npy array, or - for standard input
    #[arg(long, value_name = "FILE.npy")]
    vectors: Option<Input>,
    /// Search for items near this stored item, which is left out of the answer; of several, for items
    /// near the mean of their vectors
    #[arg(long, value_name = "ID", num_args = 1..)]
    like: Vec<String>,
    /// Search for items that are less like these stored items than like the text or those of --like
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with_all = ["vectors", "image", "queries"])]
    unlike: Vec<String>,
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
    /// Number of hits, 1 to 10000; with --group-by the number of groups
    #[arg(short, default_value = "10", value_parser = hits)]
    k: usize,
    /// Leave out the first N hits, or groups; with those of -k they are at most 10000
    #[arg(long, value_name = "N", default_value = "0", conflicts_with = "cursor")]
    offset: usize,
    /// Print a page: `start` for the first one, then the cursor that each page ends with
    #[arg(long, value_name = "CURSOR", conflicts_with_all = ["vectors", "queries", "run"])]
    cursor: Option<String>,
    /// Leave out items that are farther than this, in the unit of the metric
    #[arg(long, value_name = "D", value_parser = distance, allow_negative_numbers = true)]
    max_distance: Option<f32>,
    /// Group the hits by the value of this field of metadata; items without it stand alone
    #[arg(long, value_name = "FIELD")]
    group_by: Option<String>,
    /// Number of hits of each group
    #[arg(long, value_name = "N", default_value = "1", value_parser = number, requires = "group_by")]
    per_group: usize,
    /// Choose hits that differ from each other: 0 changes nothing, at 1 only difference counts
    #[arg(long, value_name = "LAMBDA", value_parser = diversity)]
    diversity: Option<f64>,
    /// Count the values of this field of metadata over all items that pass the filter; may be given
    /// several times
    #[arg(long, value_name = "FIELD", conflicts_with = "run")]
    facet: Vec<String>,
    /// Number of values that a facet lists
    #[arg(long, value_name = "N", default_value = "10", value_parser = number, requires = "facet")]
    facet_values: usize,
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
    /// Rank by the words of the query and by its meaning together. Quotes make a phrase, + and -
    /// before a word or phrase require or exclude it
    #[arg(long, conflicts_with_all = ["words_only", "vectors", "image"])]
    hybrid: bool,
    /// Rank by the words of the query only
    #[arg(long, conflicts_with_all = ["vectors", "image"])]
    words_only: bool,
    /// Leave out items that the user called irrelevant for this very query; without --user, those
    /// that were judged without a user
    #[arg(long)]
    hide_rejected: bool,
    /// Mark the words of the query and the sentence nearest to it in the texts of the hits; with
    /// --json, `highlights`: {"start", "end", "by"} of each hit, in bytes
    #[arg(long, conflicts_with = "run")]
    highlights: bool,
    /// Print how the search was executed: plan, beam width, distances computed, time
    #[arg(long)]
    explain_search: bool,
}

impl Args {
    /// The inputs that it names.
    pub(crate) fn inputs(&self) -> [Option<&Input>; 2] {
        [self.queries.as_ref(), self.vectors.as_ref()]
    }
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

/// A number of hits of a group, or of values.
fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MAX_K).contains(&number) => Ok(number),
        _ => Err(format!("a whole number from 1 to {MAX_K} is expected")),
    }
}

fn distance(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(distance) if distance.is_finite() => Ok(distance),
        _ => Err("a distance is a finite number".into()),
    }
}

fn diversity(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(diversity) if (0.0..=1.0).contains(&diversity) => Ok(diversity),
        _ => Err("a diversity is a number between 0, which changes nothing, and 1".into()),
    }
}

/// One query, with its name in JSON and its topic in a run.
struct Asked {
    query: SearchQuery,
    name: Value,
    topic: String,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    if args.k.saturating_add(args.offset) > MAX_K {
        return Err(Failure::Usage(format!(
            "-k {} and --offset {}: together they are at most {MAX_K}; a filter narrows a search",
            args.k, args.offset
        )));
    }
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
        query: query.into(),
        name: name.into(),
        topic: topic.to_owned(),
    };
    match (&args.text, &args.like[..], &args.unlike[..]) {
        (None, [], _) => {}
        (Some(text), [], []) => return Ok(vec![one(text.as_str().into(), text, "0")]),
        (None, [id], []) => return Ok(vec![one(Query::like(id), id, id)]),
        (text, like, unlike) => return Ok(vec![combined(text.as_deref(), like, unlike)]),
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

/// A text and stored items in one query.
fn combined(text: Option<&str>, like: &[String], unlike: &[String]) -> Asked {
    let mut name = serde_json::Map::new();
    let mut query = CombinedQuery::new();
    if let Some(text) = text {
        name.insert("query".to_owned(), text.into());
        query = query.positive(text, 1.0);
    }
    for (key, ids) in [("like", like), ("unlike", unlike)] {
        if !ids.is_empty() {
            name.insert(key.to_owned(), ids.to_vec().into());
        }
    }
    query = like.iter().fold(query, CombinedQuery::like);
    query = unlike.iter().fold(query, CombinedQuery::unlike);
    Asked {
        query: query.into(),
        name: name.into(),
        topic: "0".to_owned(),
    }
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
    query: SearchQuery,
    name: Value,
) -> Result<AnswerDocument, Failure> {
    let settings = SearchSettings {
        k: args.k,
        offset: args.offset,
        cursor: args.cursor.clone(),
        max_distance: args.max_distance,
        group_by: args.group_by.clone(),
        per_group: args.per_group,
        diversity: args.diversity,
        facets: args.facet.clone(),
        facet_values: args.facet_values,
        metric: args.metric,
        filter: args.filter.clone(),
        ef: args.ef,
        recall: args.recall,
        user: args.user.clone(),
        memory: !args.no_memory,
        ranking: rank_by(args.hybrid, args.words_only),
        hide_rejected: args.hide_rejected,
        highlights: args.highlights,
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
        Value::String(text) if !args.like.is_empty() => format!("like {}", plain(text)),
        Value::String(text) => format!("\"{}\"", plain(text)),
        Value::Object(_) => title_of(args),
        row => format!("row {row}"),
    };
    out.line(format_args!(
        "{BOLD}{title}{BOLD:#}  {DIM}{}{DIM:#}",
        metric_name(answer.metric)
    ))?;
    if answer.hits.is_empty() {
        let narrows = args.max_distance.is_some() || args.offset > 0 || args.cursor.is_some();
        let why = match (&args.filter, collection.len()?) {
            (_, 0) => "the collection is empty",
            _ if narrows => "there is nothing else within the distance and after the hits before",
            (Some(_), _) => "nothing matches the filter",
            (None, _) => "there is nothing else",
        };
        out.line(format_args!("  {why}"))?;
    } else {
        out.line(table(&answer.hits))?;
        for hit in &answer.hits {
            if let (Some(text), Some(highlights)) = (&hit.text, &hit.highlights) {
                let excerpt = excerpt(text, highlights);
                out.line(format_args!("  {DIM}{}{DIM:#}  {excerpt}", hit.rank))?;
            }
        }
    }
    if let Some(groups) = &answer.groups {
        for group in groups.iter().filter(|group| group.count > 1) {
            let value = plain_value(&group.value);
            let items = plural(group.count, "item", "items");
            out.line(format_args!("  {DIM}{value}: {items}{DIM:#}"))?;
        }
    }
    for field in &args.facet {
        if let Some(facet) = answer.facets.as_ref().and_then(|facets| facets.get(field)) {
            print_facet(field, facet, out)?;
        }
    }
    if let Some(cursor) = &answer.cursor {
        out.line(format_args!("  {DIM}next page: --cursor {cursor}{DIM:#}"))?;
    }
    if let Some(execution) = &answer.execution {
        explain(execution, collection.len()?, out)?;
    }
    Ok(())
}

/// The title of several queries in one.
fn title_of(args: &Args) -> String {
    let mut title = Vec::new();
    if let Some(text) = &args.text {
        title.push(format!("\"{}\"", plain(text)));
    }
    for (name, ids) in [("like", &args.like), ("unlike", &args.unlike)] {
        if !ids.is_empty() {
            title.push(format!("{name} {}", plain(&ids.join(", "))));
        }
    }
    title.join(", ")
}

/// A value of metadata for people: a text without quotes.
fn plain_value(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        value => plain(&value.to_string()),
    }
}

/// Prints how many items have each value of a field.
fn print_facet(field: &str, facet: &FacetDocument, out: &mut Out) -> Result<(), Failure> {
    let listed = facet.values.len() as u64;
    let more = match facet.distinct - listed {
        0 => String::new(),
        more => format!(", {} more", plural(more, "value", "values")),
    };
    out.line(format_args!(
        "{BOLD}{}{BOLD:#}  {DIM}{} without it{more}{DIM:#}",
        plain(field),
        plural(facet.missing, "item", "items")
    ))?;
    let mut table = Table::new([("", Align::Right), ("", Align::Left)]).indent(2);
    for value in &facet.values {
        let number = (count(value.count), DIM);
        table.styled([number, (plain_value(&value.value), Style::new())]);
    }
    if !facet.values.is_empty() {
        out.line(table)?;
    }
    if facet.uncounted > 0 {
        let items = plural(facet.uncounted, "item has", "items have");
        out.line(format_args!(
            "  {DIM}{items} an object or an integer beyond 2^53 there, which is not counted{DIM:#}"
        ))?;
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

/// Table of hits: rank, score of words where they take part, distance, what memory adds to it where
/// it takes part, the group where hits are grouped, id, and text with metadata.
fn table(hits: &[HitDocument]) -> Table {
    let is_remembered = hits.iter().any(|hit| hit.memory.is_some());
    let memory = is_remembered.then_some(("memory", Align::Right));
    let is_worded = hits.iter().any(|hit| hit.keyword_score.is_some());
    let words = is_worded.then_some(("words", Align::Right));
    let is_grouped = hits.iter().any(|hit| hit.group.is_some());
    let group = is_grouped.then_some(("group", Align::Left));
    let columns = [("", Align::Right)].into_iter().chain(words);
    let columns = columns.chain([("distance", Align::Right)]);
    let columns = columns.chain(memory).chain(group);
    let columns = columns.chain([("id", Align::Left), ("", Align::Left)]);
    let mut table = Table::new(columns).indent(2);
    for hit in hits {
        let rank = (hit.rank.to_string(), DIM);
        let words = hit.keyword_score.map_or_else(|| "-".to_owned(), digits);
        let words = is_worded.then_some((words, DIM));
        let distance = match hit.distance {
            distance if distance.is_nan() => "-".to_owned(),
            distance => digits(distance),
        };
        let distance = (distance, Style::new());
        let id = (hit.id.clone(), BOLD);
        // With highlights, the texts stand below the table.
        let text = hit.text.as_deref().filter(|_| hit.highlights.is_none());
        let description = describe(text, hit.meta.as_ref());
        let description = (description, Style::new());
        // Below 0 it is nearer, as the sum of the two columns says.
        let memory = hit.memory.unwrap_or_default();
        let memory = is_remembered.then(|| (format!("{:+.4}", -memory), DIM));
        let group = hit.group.as_ref().map(plain_value).unwrap_or_default();
        let group = is_grouped.then_some((group, DIM));
        let cells = [rank].into_iter().chain(words).chain([distance]);
        let cells = cells.chain(memory).chain(group);
        table.styled(cells.chain([id, description]));
    }
    table
}
