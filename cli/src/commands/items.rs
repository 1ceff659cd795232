//! `get`, `list`, `count` and `delete`: print, count and delete items by their ids or by a filter.

use affinis::{Filter, Item};
use affinis_api::ItemDocument;
use anstyle::Style;
use clap::ArgGroup;
use serde_json::{Value, json};

use super::At;
use crate::failure::Failure;
use crate::input::{self, Input, Opened};
use crate::output::{self, Align, BOLD, DIM, Out, Table, number, plain, plural};

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "filter"]))]
#[command(override_usage = "affinis get [OPTIONS] <NAME> <ID... | --filter JSON>")]
#[command(after_help = "\
Examples:
  affinis get notes a1 a2
  affinis get notes a1 --json                       {\"id\", \"text\", \"vector\", \"meta\"}
  affinis get books b1                              a document: its chunks, in order
  affinis get notes --filter '{\"lang\": \"en\"}'       in the order of ids")]
pub(crate) struct GetArgs {
    /// The collection's name
    name: String,
    /// Ids of the items, which are printed in this order; that of a document prints its chunks
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Print the items whose metadata match this filter
    #[arg(long, value_name = "JSON", value_parser = Filter::parse)]
    filter: Option<Filter>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, an item is printed as `get` prints it.

Examples:
  affinis list notes
  affinis list notes --limit 100
  affinis list notes --limit 100 --after a100       the next page: the last id of this one")]
pub(crate) struct ListArgs {
    /// The collection's name
    name: String,
    /// Largest number of items [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// List the items whose ids follow this one, which need not exist
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis count notes
  affinis count notes --filter '{\"year\": {\"$gte\": 2020}}'")]
pub(crate) struct CountArgs {
    /// The collection's name
    name: String,
    /// Count the items whose metadata match this filter
    #[arg(long, value_name = "JSON", value_parser = Filter::parse)]
    filter: Option<Filter>,
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "file", "filter"]))]
#[command(override_usage = "affinis delete [OPTIONS] <NAME> <ID... | --ids FILE | --filter JSON>")]
#[command(after_help = "\
Examples:
  affinis delete notes a1 a2                        deletes neither if one of them is unknown
  affinis delete books b1                           a document: all its chunks
  affinis delete notes --ids gone.txt
  affinis delete notes --filter '{\"lang\": \"de\"}'")]
pub(crate) struct DeleteArgs {
    /// The collection's name
    name: String,
    /// Ids of the items and documents
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Delete the items whose ids are the lines of this file, or of standard input (-)
    #[arg(id = "file", long = "ids", value_name = "FILE")]
    file: Option<Input>,
    /// Delete the items whose metadata match this filter
    #[arg(long, value_name = "JSON", value_parser = Filter::parse)]
    filter: Option<Filter>,
}

impl DeleteArgs {
    /// The inputs that it names.
    pub(crate) fn inputs(&self) -> [Option<&Input>; 2] {
        [self.file.as_ref(), None]
    }
}

pub(crate) fn get(args: &GetArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.items_of(&args.name)?;
    let items: Box<dyn Iterator<Item = Result<Item, Failure>>> = match &args.filter {
        Some(filter) => collection.matching(filter)?,
        None => Box::new(collection.get_many(&args.ids)?.into_iter().map(Ok)),
    };
    let mut printed = 0_u64;
    for item in items {
        let item = item?;
        if out.is_json() {
            out.json(&ItemDocument::from(item))?;
        } else {
            if printed > 0 {
                out.line("")?;
            }
            print(&item, out)?;
        }
        printed += 1;
    }
    if printed == 0 && !out.is_json() {
        out.line("nothing matches the filter")?;
    }
    Ok(())
}

pub(crate) fn list(args: &ListArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    /// Number of items in a table, whose columns are as wide as its rows need.
    const ROWS: usize = 500;
    let collection = at.items_of(&args.name)?;
    let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut items = collection
        .list(args.after.as_deref(), args.limit, out.is_json())?
        .take(limit)
        .peekable();
    if out.is_json() {
        for item in items {
            out.json(&ItemDocument::from(item?))?;
        }
        return Ok(());
    }
    if items.peek().is_none() {
        let why = match &args.after {
            Some(id) if collection.len()? > 0 => format!("no id follows {}", plain(id)),
            _ => "the collection is empty".to_owned(),
        };
        out.line(why)?;
    }
    let mut last = None;
    while items.peek().is_some() {
        let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
        for item in items.by_ref().take(ROWS) {
            let item = item?;
            let description = describe(item.text.as_deref(), Some(&item.meta));
            table.styled([(item.id.clone(), BOLD), (description, Style::new())]);
            last = Some(item.id);
        }
        out.line(table)?;
    }
    if let Some(last) = last
        && args.limit.is_some()
        && collection
            .list(Some(&last), Some(1), false)?
            .next()
            .is_some()
    {
        output::note(format_args!(
            "{DIM}there are more: --after '{}'{DIM:#}",
            plain(&last)
        ));
    }
    Ok(())
}

/// A text and metadata on one line.
pub(super) fn describe(text: Option<&str>, meta: Option<&Value>) -> String {
    let meta = meta.filter(|meta| !meta.is_null()).map(Value::to_string);
    match (text, meta) {
        (Some(text), Some(meta)) => format!("{text}  {meta}"),
        (Some(text), None) => text.to_owned(),
        (None, meta) => meta.unwrap_or_default(),
    }
}

pub(crate) fn count(args: &CountArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.items_of(&args.name)?;
    let items = collection.count(args.filter.as_ref())?;
    if out.is_json() {
        return Ok(out.json(&json!({"count": items}))?);
    }
    out.line(output::count(items))?;
    Ok(())
}

fn print(item: &Item, out: &mut Out) -> Result<(), Failure> {
    /// Largest number of numbers of a vector that are printed.
    const MAX_NUMBERS: usize = 6;
    out.line(format_args!("{BOLD}{}{BOLD:#}", plain(&item.id)))?;
    if let Some(text) = &item.text {
        let cut = if item.truncated {
            "  (longer than the encoder's limit: the vector covers only the beginning)"
        } else {
            ""
        };
        out.line(format_args!(
            "  {DIM}text{DIM:#}    {}{DIM}{cut}{DIM:#}",
            plain(text)
        ))?;
    }
    if let Some(end) = item.expires_text() {
        out.line(format_args!("  {DIM}ends{DIM:#}    {end}"))?;
    }
    if !item.meta.is_null() {
        out.line(format_args!(
            "  {DIM}meta{DIM:#}    {}",
            plain(&item.meta.to_string())
        ))?;
    }
    if let Some(vector) = &item.vector {
        let first: Vec<_> = vector
            .iter()
            .take(MAX_NUMBERS)
            .map(|&v| number(f64::from(v)))
            .collect();
        let more = if vector.len() > MAX_NUMBERS {
            ", .."
        } else {
            ""
        };
        out.line(format_args!(
            "  {DIM}vector{DIM:#}  [{}{more}] of {} numbers",
            first.join(", "),
            vector.len()
        ))?;
    }
    Ok(())
}

pub(crate) fn delete(args: &DeleteArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let deleted = match (&args.file, &args.filter) {
        (_, Some(filter)) => at.items_of(&args.name)?.delete_matching(filter)?,
        (Some(file), None) => {
            let Opened { name, reader, .. } = file.open()?;
            let ids = input::read_ids(reader, &name)?;
            at.items_of(&args.name)?.delete(&ids)?
        }
        (None, None) => at.items_of(&args.name)?.delete(&args.ids)?,
    };
    if out.is_json() {
        return Ok(out.json(&json!({"deleted": deleted}))?);
    }
    out.line(format_args!(
        "deleted {} from {}",
        plural(deleted as u64, "item", "items"),
        plain(&args.name)
    ))?;
    Ok(())
}
