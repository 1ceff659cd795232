//! `add`: adds the items of a file, all of them or none.

use affinis::{Collection, Item, error::ItemError};
use clap::ValueEnum;
use serde_json::json;

use super::{At, expected};
use crate::failure::Failure;
use crate::input::{self, Input, InputError, Opened, Parsed};
use crate::output::{self, Out, count, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Formats:
  jsonl   {\"id\": \"a1\", \"text\": \"...\", \"vector\": [..], \"meta\": {..}} a line;
          the id is optional (default: the line's number from 0), a text or a vector is needed
  tsv     label<TAB>text a line; the label goes to meta.label
  csv     a header; the columns of numbers form the vector, the last column is meta.label
  npy     a 2-D array of f16, f32 or f64, a vector a row; ids are row numbers or the lines of --ids

A line that cannot be used stops the command, and nothing of the file is stored. An item whose id
exists is replaced. A text that is encoded must not be empty, and the encoder must know something
of it: a text in a script that it never saw has no vector.

Examples:
  affinis add notes notes.jsonl
  affinis add images vectors.npy --ids names.txt
  curl -s https://example.org/items | affinis add notes - --format jsonl --skip-bad")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// The file, or - for standard input
    file: Input,
    /// Format of the file [default: by the extension of its name; jsonl for standard input]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// File with the ids of the rows of an npy file, one a line [default: row numbers from 0]
    #[arg(long, value_name = "FILE")]
    ids: Option<Input>,
    /// Store the usable items and list the others, instead of stopping at the first bad line
    #[arg(long)]
    skip_bad: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Tsv,
    Csv,
    Npy,
}

impl Args {
    fn format(&self) -> Result<Format, Failure> {
        let format = match (self.format, &self.file) {
            (Some(format), _) => format,
            (None, Input::Stdin) => Format::Jsonl,
            (None, file) => match file.extension().as_deref() {
                Some("jsonl" | "ndjson" | "json") => Format::Jsonl,
                Some("tsv") => Format::Tsv,
                Some("csv") => Format::Csv,
                Some("npy") => Format::Npy,
                _ => {
                    let message = format!(
                        "the format of {} cannot be told from its name; give it with --format",
                        file.name()
                    );
                    return Err(Failure::Usage(message));
                }
            },
        };
        match &self.ids {
            Some(_) if format != Format::Npy => {
                Err(Failure::Usage("--ids is for npy files only".into()))
            }
            Some(Input::Stdin) if self.file == Input::Stdin => Err(Failure::Usage(
                "FILE and --ids cannot both be standard input".into(),
            )),
            _ => Ok(format),
        }
    }
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let format = args.format()?;
    let collection = at.collection(&args.name)?;
    let file = args.file.name();
    let reading = output::spinner(format!("reading {file}"));
    let mut parsed = parse(args, format, &collection)?;
    drop(reading);
    // Only now is it known what the encoder makes of a text, and the precision of a vector.
    let encoded = encode(std::mem::take(&mut parsed.items), &collection)?;
    let Parsed { items, places, bad } =
        parsed.pass(&file, args.skip_bad, encoded, |item| collection.check(item))?;

    let total = items.len() as u64;
    let working = output::spinner(format!("storing {}", plural(total, "item", "items")));
    let added = collection.add(items).map_err(|error| match error {
        affinis::Error::InvalidItem { index, source, .. } if index < places.len() => {
            Failure::Input(InputError::new(&file, places[index], source.to_string()))
        }
        other => other.into(),
    })?;
    drop(working);

    for error in &bad {
        output::warn(format_args!("left out: {error}"));
    }
    if !added.truncated.is_empty() {
        output::warn(format_args!(
            "{} longer than the encoder's limit, so the vector covers only the beginning: {}",
            plural(added.truncated.len() as u64, "text was", "texts were"),
            first_few(&added.truncated)
        ));
    }
    if out.is_json() {
        let skipped: Vec<_> = bad
            .iter()
            .map(|e| json!({"place": e.place.to_string(), "reason": e.reason}))
            .collect();
        let document = json!({
            "added": added.added, "replaced": added.replaced, "skipped": skipped, "truncated": added.truncated
        });
        return Ok(out.json(&document)?);
    }
    let or_nothing = |verb: &str, n: usize| match n {
        0 => String::new(),
        n => format!(", {verb} {}", count(n as u64)),
    };
    out.line(format_args!(
        "{}: added {}{}{}",
        plain(&args.name),
        plural(added.added as u64, "item", "items"),
        or_nothing("replaced", added.replaced),
        or_nothing("left out", bad.len())
    ))?;
    Ok(())
}

/// Encodes the texts of items without a vector, batch by batch, with a progress bar.
fn encode(
    items: Vec<Item>,
    collection: &Collection,
) -> Result<Vec<Result<Item, ItemError>>, Failure> {
    const BATCH: usize = 256;
    if items.iter().all(|item| item.vector.is_some()) {
        return Ok(items.into_iter().map(Ok).collect());
    }
    let bar = output::bar(items.len() as u64, "encoding");
    let mut encoded = Vec::with_capacity(items.len());
    let mut rest = items.into_iter();
    loop {
        let batch: Vec<Item> = rest.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let length = batch.len() as u64;
        encoded.extend(collection.prepare_each(batch)?);
        bar.inc(length);
    }
    bar.finish_and_clear();
    Ok(encoded)
}

fn parse(args: &Args, format: Format, collection: &Collection) -> Result<Parsed, InputError> {
    let expected = input::Expected {
        skip_bad: args.skip_bad,
        ..expected(collection)
    };
    let Opened { name, reader } = args.file.open()?;
    match format {
        Format::Jsonl => input::items_jsonl(reader, &name, expected),
        Format::Tsv => input::tsv(reader, &name, expected),
        Format::Csv => input::csv(reader, &name, expected),
        Format::Npy => {
            let mut ids = args.ids.as_ref().map(Input::open).transpose()?;
            let ids = ids.as_mut().map(|ids| (&mut ids.reader, ids.name.as_str()));
            input::npy_items(reader, &name, ids, expected)
        }
    }
}

fn first_few(ids: &[String]) -> String {
    const MAX_IDS: usize = 5;
    let text = ids
        .iter()
        .take(MAX_IDS)
        .map(|id| plain(id))
        .collect::<Vec<_>>()
        .join(", ");
    match ids.len().saturating_sub(MAX_IDS) {
        0 => text,
        more => format!("{text} and {} more", count(more as u64)),
    }
}
