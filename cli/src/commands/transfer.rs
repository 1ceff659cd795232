//! `export` and `import`: write a collection to a file of JSON lines, and create one from it.
//! [`affinis_api::archive`] describes the lines.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use affinis::{
    CollectionInfo, EncoderInfo, Error, Store,
    encode::{self, Encoder},
    learning::History,
};
use affinis_api::archive::{
    Archive, Places, place_of, read_archive, write_header, write_history, write_item,
};
use serde_json::json;

use super::{At, Engine, metric_name};
use crate::failure::Failure;
use crate::input::{Input, Opened};
use crate::output::{self, Out, WholeFile, plain, plural};
use crate::target::Local;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds the settings, the items with their vectors, the judgements, and all versions of the
metric, as text with a JSON object a line, which compresses well.

Examples:
  affinis export notes notes.affinis.jsonl
  affinis export notes - | gzip > notes.affinis.jsonl.gz")]
pub(crate) struct ExportArgs {
    /// The collection's name
    name: String,
    /// The file, or - for standard output
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The collection must not exist yet. It answers exactly as the exported one.

Examples:
  affinis import notes notes.affinis.jsonl
  affinis import notes2 notes.affinis.jsonl.gz      unpacked if it is compressed with gzip or zstd
  affinis import notes notes.affinis.jsonl --encoder models/minilm")]
pub(crate) struct ImportArgs {
    /// The new collection's name
    name: String,
    /// The exported file, or - for standard input
    file: Input,
    /// Directory of the collection's encoder [default: the one on the exporting machine]
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,
}

pub(crate) fn export(args: &ExportArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    let collection = collection.local()?;
    let history = collection.learning().history()?;
    // An archive says how many items follow; the rows of a table are counted one by one.
    let count = match collection {
        Local::Embedded(collection) => collection.len() as u64,
        #[cfg(feature = "postgres")]
        Local::Table(_) => {
            let mut count = 0;
            collection.for_each_item(|_| {
                count += 1;
                true
            })?;
            count
        }
    };
    let settings = collection.settings(count)?;
    let items = settings.items;
    let (judgements, metrics) = (history.judgements.len(), history.versions.len());
    let mut whole = WholeFile::create(&args.file)?;
    let to_stdout = whole.is_stdout();
    let written = write(collection, settings, &history, &mut whole)?;
    whole.finish(written)?;
    let file = args.file.display().to_string();
    let summary = format!(
        "{}: exported {}, {} and {} to {}",
        plain(&args.name),
        plural(items, "item", "items"),
        plural(judgements as u64, "judgement", "judgements"),
        plural(metrics as u64, "metric", "metrics"),
        plain(&file)
    );
    match (to_stdout, out.is_json()) {
        (true, _) => output::note(summary),
        (false, true) => out.json(&json!({
            "collection": args.name, "file": file, "items": items,
            "judgements": judgements, "metrics": metrics
        }))?,
        (false, false) => out.line(summary)?,
    }
    Ok(())
}

/// Writes all lines. The outer error is of the store, the inner one of the writer.
fn write(
    collection: &Local,
    settings: CollectionInfo,
    history: &History,
    whole: &mut WholeFile,
) -> Result<io::Result<()>, Failure> {
    let bar = output::bar(settings.items, "exporting");
    let mut written = write_header(whole.writer(), settings, history);
    collection.for_each_item(|item| {
        if written.is_ok() {
            written = write_item(whole.writer(), &item);
        }
        bar.inc(1);
        written.is_ok() && !whole.is_interrupted()
    })?;
    bar.finish_and_clear();
    Ok(written.and_then(|()| write_history(whole.writer(), history)))
}

pub(crate) fn import(args: &ImportArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    // Opened first, so that a store that cannot be written is said before the file is read.
    let store = match &at.engine {
        Engine::Postgres(_) => None,
        Engine::Directory(_) => Some(at.open_or_create()?),
        #[cfg(feature = "client")]
        Engine::Service(_) => Some(at.open_or_create()?),
    };
    let collections = store.as_ref().map(Store::collections).transpose()?;
    if collections
        .iter()
        .flatten()
        .any(|info| info.name == args.name)
    {
        return Err(Error::CollectionExists(args.name.clone()).into());
    }
    let reading = output::spinner(format!("reading {}", args.file.name()));
    let Opened { name, reader, .. } = args.file.open()?;
    let Archive {
        settings,
        items,
        history,
        places,
    } = read_archive(reader, &name)?;
    drop(reading);

    let working = output::spinner(format!(
        "storing {}",
        plural(items.len() as u64, "item", "items")
    ));
    let encoder = match &settings.encoder {
        Some(info) => Some(encoder(info, args.encoder.as_deref(), &name)?),
        None if args.encoder.is_some() => {
            return Err(Failure::Usage(
                "the exported collection has no encoder; leave --encoder out".into(),
            ));
        }
        None => None,
    };
    let item_count = items.len();
    let judgement_count = history.judgements.len();
    let version_count = history.versions.len();
    let imported = match (&store, &at.engine) {
        (Some(store), _) => {
            let mut builder = store
                .collection(&args.name)
                .dim(settings.dim)
                .distance(settings.distance)
                .precision(settings.precision);
            if let Some(encoder) = encoder {
                builder = builder.encoder_arc(encoder);
            }
            builder.create_with(items, &history).map(drop)
        }
        #[cfg(feature = "postgres")]
        (None, Engine::Postgres(url)) => {
            super::pg::import(&args.name, url, (settings, items, &history), encoder)
        }
        (None, _) => at.path().map(drop).map(Ok)?,
    };
    imported.map_err(|error| refused(error, &name, &places, &history))?;
    drop(working);
    if out.is_json() {
        return Ok(out.json(&json!({
            "collection": args.name, "items": item_count, "judgements": judgement_count, "metrics": version_count
        }))?);
    }
    out.line(format_args!(
        "{}: imported {}, {} and {}; {} is active",
        plain(&args.name),
        plural(item_count as u64, "item", "items"),
        plural(judgement_count as u64, "judgement", "judgements"),
        plural(version_count as u64, "metric", "metrics"),
        metric_name(history.active)
    ))?;
    Ok(())
}

/// Adds to an error caused by the file its name, and the line if it is known.
fn refused(error: Error, file: &str, places: &Places, history: &History) -> Failure {
    match place_of(error, file, places, history) {
        Ok(of_file) => of_file.into(),
        Err(of_store) => of_store.into(),
    }
}

/// Loads the encoder of an exported collection.
fn encoder(
    info: &EncoderInfo,
    dir: Option<&Path>,
    file: &str,
) -> Result<Arc<dyn Encoder>, Failure> {
    let output = info.output.as_deref();
    let encoder = match (dir, info.source.as_deref()) {
        (Some(dir), _) => super::encoder(dir, output)?,
        (None, Some(source)) => encode::load(source, output).map_err(|error| {
            Failure::Failed(format!(
                "{error}\nthe collection's encoder is {:?}; --encoder DIR names where it lies",
                info.name
            ))
        })?,
        (None, None) => {
            return Err(Failure::Failed(format!(
                "{file} was encoded by {:?}, which only the program that made it can load; if it lies in a directory, \
                 name that with --encoder DIR",
                plain(&info.name)
            )));
        }
    };
    if encoder.fingerprint() != info.fingerprint {
        return Err(Failure::Failed(format!(
            "{file} was encoded by {:?} (fingerprint {}), and this is {:?} (fingerprint {}): their vectors cannot be \
             compared; name the right one with --encoder DIR",
            plain(&info.name),
            plain(&info.fingerprint),
            plain(encoder.name()),
            plain(encoder.fingerprint())
        )));
    }
    Ok(encoder)
}
