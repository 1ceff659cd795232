//! `add`: adds, replaces or updates the items of a file, all of them or none.

mod ids;
mod images;
#[cfg(feature = "client")]
mod remote;

use std::path::Path;
use std::time::Duration;

use affinis::{AddMode, Chunking, Collection, Item, error::ItemError};
use affinis_api::AddedDocument;
use clap::ValueEnum;
use serde_json::json;

use super::At;
use super::refit::days;
use crate::failure::Failure;
use crate::input::{self, Columns, Input, InputError, Layout, Opened, Parsed, Place};
use crate::output::{self, Out, count, plain, plural};
use crate::target::Target;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Formats:
  json    {\"id\": \"a1\", \"text\": \"...\", \"vector\": [..], \"meta\": {..}} a line, or an array of
          such objects; a text or a vector is needed, other fields are metadata
  csv     a header; the columns id, text and vector are known by name or named by options, others are
          metadata. Without any of them, the columns of numbers form the vector and the last column is
          meta.label
  tsv     as csv, without quotes; or, without a header, label<TAB>text a line
  npy     a 2-D array of f16, f32 or f64, a vector a row; --ids names the rows
  parquet a row an item; columns as those of csv, with their types: lists are vectors or arrays, structs
          and maps objects, times RFC 3339, decimals texts; a null is a field that is not there. Needs a
          build with the feature `parquet` (or `full`)
A file that is compressed with gzip or zstd is unpacked. A Parquet file is known by its first bytes.

An item without an id gets the number of its row, from 0. Such a number never replaces an item: if one
of the numbers is there already, nothing is added, and the items need ids (--id-column, --ids) or a
prefix (--id-prefix).

A line that cannot be used stops the command, and nothing of the file is stored. A text that is
encoded must not be empty, and the encoder must know something of it: a text in a script that it
never saw has no vector.

With --chunk each text is a document: it is split at the ends of sentences into chunks that the encoder
takes whole. A chunk is an item with the id DOCUMENT#000001, and so on, and with the document's
metadata, its id as \"document\" and the chunk's number as \"chunk\". `search --group-by document`
finds documents, `get` and `delete` take the id of a document, and adding it again replaces all its
chunks.

A service (--store http://..) stores all items of the file or none too. It is sent files up to its
--import-limit, and one that is cut off from it does not know whether they are stored: giving the file
again is safe with --mode upsert.

Examples:
  affinis add notes notes.jsonl
  affinis add notes notes.csv --id-column key --text-column title,body
  affinis add notes prices.csv --mode update        changes what the columns give, keeps the rest
  affinis add images vectors.npy --ids names.txt
  affinis add photos photos.csv --image-column file    with an encoder of images, such as CLIP
  affinis add docs docs.parquet --id-column doc_id --text-column title,abstract --vector-columns embedding
  affinis add books books.jsonl --chunk             long texts, up to 16 MiB a line
  curl -s https://example.org/items | affinis add notes - --format json --skip-bad")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// The file, or - for standard input
    file: Input,
    /// Format of the file [default: by the extension of its name; json for standard input]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What happens to an id that exists: `upsert` replaces its item, `insert` refuses it, `update`
    /// changes only the text, vector and metadata that are given, and refuses an id that is new
    #[arg(long, value_name = "MODE", default_value = "upsert")]
    mode: Mode,
    /// File with the ids of the rows of an npy file, one a line
    #[arg(long, value_name = "FILE")]
    ids: Option<Input>,
    /// What stands before the numbers of rows that are ids, such as `jan-`
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    id_prefix: String,
    /// Column, or field of JSON, that holds the ids [default: id]
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// Columns that make the text, joined in this order by a space [default: text]
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    text_column: Vec<String>,
    /// Columns that hold a number of the vector each, or one with all of them as an array
    /// [default: vector]
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    vector_columns: Vec<String>,
    /// Columns of the metadata [default: all that have no other use]
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    meta_column: Option<Vec<String>>,
    /// Column of the names of image files, beside FILE or absolute, which a collection with an
    /// encoder of images encodes; the names are metadata too
    #[arg(long, value_name = "COLUMN")]
    image_column: Option<String>,
    /// Column of the times (RFC 3339) at which items end: they are not found after that, and are
    /// removed
    #[arg(long, value_name = "COLUMN", conflicts_with = "meta_column")]
    expires_column: Option<String>,
    /// Days after which items end that say no end of their own
    #[arg(long, value_name = "DAYS", value_parser = days)]
    expires_in: Option<Duration>,
    /// What stands between the fields of csv: one character, or `tab` [default: a comma]
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Split texts into chunks that the encoder takes whole
    #[arg(long)]
    chunk: bool,
    /// Largest number of tokens of a chunk [default: 256, or what the encoder takes if that is less]
    #[arg(long, value_name = "N", requires = "chunk")]
    chunk_tokens: Option<usize>,
    /// Largest number of tokens that a chunk shares with the one before it [default: a tenth of those
    /// of a chunk]
    #[arg(long, value_name = "N", requires = "chunk")]
    chunk_overlap: Option<usize>,
    /// Refuse JSON objects with fields other than id, text, vector and meta
    #[arg(long)]
    strict: bool,
    /// Store the usable items and list the others, instead of stopping at the first bad line
    #[arg(long)]
    skip_bad: bool,
}

impl Args {
    /// The inputs that it names.
    pub(crate) fn inputs(&self) -> [Option<&Input>; 2] {
        [Some(&self.file), self.ids.as_ref()]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    #[value(alias = "jsonl")]
    Json,
    Tsv,
    Csv,
    Npy,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Insert,
    Upsert,
    Update,
}

impl From<Mode> for AddMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Insert => Self::Insert,
            Mode::Upsert => Self::Upsert,
            Mode::Update => Self::Update,
        }
    }
}

/// Parses what stands between two fields.
fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("one character of ASCII that is no quote and no line end, or `tab`".into()),
    }
}

impl Args {
    /// Opens the file, whose first bytes may tell its format.
    fn open(&self) -> Result<(Format, Opened), Failure> {
        // A format that nothing tells is an error of the arguments before one of the file.
        let by_name = match self.format() {
            Err(unknown) if !matches!(&self.file, Input::File(path) if path.is_file()) => {
                return Err(unknown);
            }
            by_name => by_name,
        };
        // Wrong arguments are told before anything is read.
        if let Ok(format) = by_name {
            self.layout(format)?;
        }
        let mut opened = self.file.open()?;
        let format = match (by_name, opened.is_parquet()?) {
            (Ok(format), false) => format,
            (Ok(Format::Parquet), true) => Format::Parquet,
            (Ok(format), true) if self.format.is_some() => {
                let name = format.to_possible_value();
                let name = name.as_ref().map_or("another", |value| value.get_name());
                let reason = format!("is Parquet, not {name}; leave out --format");
                return Err(InputError::new(&opened.name, Place::File, reason).into());
            }
            (_, true) => Format::Parquet,
            (Err(error), false) => return Err(error),
        };
        Ok((format, opened))
    }

    fn format(&self) -> Result<Format, Failure> {
        match (self.format, &self.file) {
            (Some(format), _) => Ok(format),
            (None, Input::Stdin) => Ok(Format::Json),
            (None, file) => match file.extension().as_deref() {
                Some("jsonl" | "ndjson" | "json") => Ok(Format::Json),
                Some("tsv") => Ok(Format::Tsv),
                Some("csv") => Ok(Format::Csv),
                Some("npy") => Ok(Format::Npy),
                Some("parquet" | "parq" | "pq") => Ok(Format::Parquet),
                _ => Err(Failure::Usage(format!(
                    "the format of {} cannot be told from its name; give it with --format",
                    file.name()
                ))),
            },
        }
    }

    /// How items are read from the file.
    fn layout(&self, format: Format) -> Result<Layout, Failure> {
        let columns = Columns {
            id: self.id_column.clone(),
            text: self.text_column.clone(),
            vector: self.vector_columns.clone(),
            meta: self.meta_column.clone(),
            image: self.image_column.clone(),
            expires: self.expires_column.clone(),
        };
        let refused = [
            (
                self.ids.is_some() && format != Format::Npy,
                "--ids is for npy files only; --id-column names a column of ids",
            ),
            (
                columns.is_named() && format == Format::Npy,
                "an npy file has no named columns; --ids names its rows",
            ),
            (
                self.delimiter.is_some() && format != Format::Csv,
                "--delimiter is for csv only",
            ),
            (
                self.chunk && format == Format::Npy,
                "an npy file has no texts that --chunk could split",
            ),
            (
                self.chunk && self.image_column.is_some(),
                "--chunk splits texts, and --image-column names images; add them one after the other",
            ),
            (
                self.strict && format != Format::Json,
                "--strict is for JSON only",
            ),
            (
                self.ids == Some(Input::Stdin) && self.file == Input::Stdin,
                "FILE and --ids cannot both be standard input",
            ),
        ];
        if let Some((_, reason)) = refused.iter().find(|(is_refused, _)| *is_refused) {
            return Err(Failure::Usage((*reason).to_owned()));
        }
        Ok(Layout {
            mode: self.mode.into(),
            columns,
            id_prefix: self.id_prefix.clone(),
            strict: self.strict,
            chunking: self.chunk.then_some(Chunking {
                tokens: self.chunk_tokens,
                overlap: self.chunk_overlap,
            }),
            expires_in: self.expires_in,
            delimiter: self.delimiter,
        })
    }
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    // Locks the store before the input is looked at, which may be another program's output.
    let target = at.items_of(&args.name)?;
    let (format, opened) = args.open()?;
    let layout = args.layout(format)?;
    let mode = layout.mode;
    let file = args.file.name();
    let reading = output::spinner(format!("reading {file}"));
    let parsed = parse(args, opened, format, &layout, &target)?;
    drop(reading);
    ids::refuse_numbers_in_use(&file, &parsed.numbered, &target)?;
    if parsed.numbered.is_empty() && !args.id_prefix.is_empty() {
        output::warn("every item has an id of its own, so --id-prefix has no effect");
    }
    let parsed = ids::check(parsed, &file, args.skip_bad, mode, &target)?;
    let Stored { added, bad } = match &target {
        Target::Local(local) => {
            let collection = local.embedded("items are added with SQL")?;
            store(args, parsed, &file, &layout, collection)?
        }
        #[cfg(feature = "client")]
        Target::Remote(remote) => {
            let columns = &layout.columns;
            let names_image =
                |item: &Item| item.vector.is_none() && columns.image_of(&item.meta).is_some();
            if parsed.items.iter().any(names_image) {
                return Err(remote.refuse("it is sent no images; vectors of them can be added"));
            }
            remote::store(parsed, &file, args.skip_bad, mode, remote)?
        }
    };

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
        let mut document = json!({
            "added": added.added, "replaced": added.replaced, "updated": added.updated, "skipped": skipped,
            "truncated": added.truncated
        });
        if args.chunk {
            document["chunks"] = added.chunks.into();
        }
        return Ok(out.json(&document)?);
    }
    let or_nothing = |verb: &str, n: usize| match n {
        0 => String::new(),
        n => format!(", {verb} {}", count(n as u64)),
    };
    let (one, many) = if args.chunk {
        ("document", "documents")
    } else {
        ("item", "items")
    };
    let done = match mode {
        AddMode::Update => format!("updated {}", plural(added.updated as u64, one, many)),
        _ => format!("added {}", plural(added.added as u64, one, many)),
    };
    let in_chunks = match added.chunks {
        0 => String::new(),
        chunks => format!(", in {}", plural(chunks as u64, "chunk", "chunks")),
    };
    out.line(format_args!(
        "{}: {done}{}{in_chunks}{}",
        plain(&args.name),
        or_nothing("replaced", added.replaced),
        or_nothing("left out", bad.len())
    ))?;
    Ok(())
}

/// What was stored of an input.
struct Stored {
    added: AddedDocument,
    /// Errors of items that were left out.
    bad: Vec<InputError>,
}

/// Encodes and stores items, all or none.
fn store(
    args: &Args,
    parsed: Parsed,
    file: &str,
    layout: &Layout,
    collection: &Collection,
) -> Result<Stored, Failure> {
    let mode = layout.mode;
    let mut parsed = images::encode(parsed, &args.file, args.skip_bad, layout, collection)?;
    // Only now is it known what the encoder makes of a text, and the precision of a vector.
    let encoded = encode(std::mem::take(&mut parsed.items), mode, collection)?;
    let Parsed {
        items, places, bad, ..
    } = parsed.pass(file, args.skip_bad, encoded, |item| {
        collection.check_as(mode, item)
    })?;

    let total = items.len() as u64;
    let _working = output::spinner(format!("storing {}", plural(total, "item", "items")));
    let added = collection
        .add_as(mode, items)
        .map_err(|error| match error {
            affinis::Error::InvalidItem { index, source, .. } if index < places.len() => {
                Failure::Input(InputError::new(file, places[index], source.to_string()))
            }
            other => other.into(),
        })?;
    Ok(Stored {
        added: added.into(),
        bad,
    })
}

/// The bytes of the file of an image.
pub(crate) fn read_image(path: &Path) -> Result<Vec<u8>, Failure> {
    images::read(path).map_err(|reason| Failure::Failed(format!("{}: {reason}", path.display())))
}

/// Encodes the texts of items without a vector, batch by batch, with a progress bar.
fn encode(
    items: Vec<Item>,
    mode: AddMode,
    collection: &Collection,
) -> Result<Vec<Result<Item, ItemError>>, Failure> {
    const BATCH: usize = 256;
    if items
        .iter()
        .all(|item| item.vector.is_some() || item.text.is_none())
    {
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
        encoded.extend(collection.prepare_each(mode, batch)?);
        bar.inc(length);
    }
    bar.finish_and_clear();
    Ok(encoded)
}

fn parse(
    args: &Args,
    opened: Opened,
    format: Format,
    layout: &Layout,
    collection: &Target,
) -> Result<Parsed, InputError> {
    let expected = input::Expected {
        skip_bad: args.skip_bad,
        ..collection.expected()
    };
    let name = opened.name.clone();
    Ok(match format {
        Format::Json => input::items_json(opened.reader, &name, expected, layout)?,
        Format::Tsv => input::tsv(opened.reader, &name, expected, layout)?,
        Format::Csv => input::csv(opened.reader, &name, expected, layout)?,
        Format::Npy => {
            let mut ids = args.ids.as_ref().map(Input::open).transpose()?;
            let ids = ids.as_mut().map(|ids| (&mut ids.reader, ids.name.as_str()));
            input::npy_items(opened.reader, &name, ids, expected, layout)?
        }
        Format::Parquet => parquet(opened, expected, layout)?,
    })
}

#[cfg(feature = "parquet")]
fn parquet(
    opened: Opened,
    expected: input::Expected,
    layout: &Layout,
) -> Result<Parsed, InputError> {
    let name = opened.name.clone();
    input::parquet(opened.into_file()?, &name, expected, layout)
}

#[cfg(not(feature = "parquet"))]
fn parquet(opened: Opened, _: input::Expected, _: &Layout) -> Result<Parsed, InputError> {
    let reason = "is Parquet, which this build does not read; a build with `--features parquet` does (cargo build --release -p \
                  affinis-cli --features parquet), or write it as JSON, csv or npy";
    Err(InputError::new(&opened.name, Place::File, reason))
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
