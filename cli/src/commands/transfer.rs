//! `export` and `import`: write a collection to a file of JSON lines, and create one from it.
//! [`affinis_api::archive`] describes the lines.

use std::io;
#[cfg(feature = "client")]
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use affinis::{
    CollectionInfo, EncoderInfo, Error, Store, VersionId,
    encode::{self, Encoder},
    learning::History,
};
use affinis_api::ImportedDocument;
#[cfg(feature = "client")]
use affinis_api::archive::NAME_AT_SERVICE;
use affinis_api::archive::{
    Archive, Places, place_of, read_archive, write_header, write_history, write_item,
};
use serde_json::json;

use super::{At, Engine, metric_name};
use crate::failure::Failure;
use crate::input::{Input, Opened};
use crate::output::{self, Out, WholeFile, plain, plural};
use crate::target::{Local, Target};
#[cfg(feature = "client")]
use crate::target::{Service, wait};

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
The collection must not exist yet. It answers exactly as the exported one. A service (--store http://..)
takes files up to its --import-limit, and has the encoder among its own.

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

impl ImportArgs {
    /// The inputs that it names.
    pub(crate) fn inputs(&self) -> [Option<&Input>; 2] {
        [Some(&self.file), None]
    }
}

/// What a file of a collection holds.
struct Held {
    items: u64,
    judgements: u64,
    metrics: u64,
}

pub(crate) fn export(args: &ExportArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let (whole, written, held) = match at.target(&args.name)? {
        Target::Local(collection) => export_here(args, &collection)?,
        #[cfg(feature = "client")]
        Target::Remote(remote) => export_there(args, remote.collection())?,
    };
    let to_stdout = whole.is_stdout();
    whole.finish(written)?;
    let file = args.file.display().to_string();
    let Held {
        items,
        judgements,
        metrics,
    } = held;
    let summary = format!(
        "{}: exported {}, {} and {} to {}",
        plain(&args.name),
        plural(items, "item", "items"),
        plural(judgements, "judgement", "judgements"),
        plural(metrics, "metric", "metrics"),
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

/// An export whose bytes are written, or could not be, and what it holds.
type Exported = (WholeFile, io::Result<()>, Held);

/// Writes the collection of a store or of a table.
fn export_here(args: &ExportArgs, collection: &Local) -> Result<Exported, Failure> {
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
    let held = Held {
        items: settings.items,
        judgements: history.judgements.len() as u64,
        metrics: history.versions.len() as u64,
    };
    let mut whole = WholeFile::create(&args.file)?;
    let written = write(collection, settings, &history, &mut whole)?;
    Ok((whole, written, held))
}

/// Writes what a service gives of a collection.
#[cfg(feature = "client")]
fn export_there(
    args: &ExportArgs,
    collection: &affinis_client::Collection,
) -> Result<Exported, Failure> {
    let reading = output::spinner("exporting");
    let mut export = collection.export()?;
    let header = export.header();
    let held = Held {
        items: header.settings.items,
        judgements: header.judgements as u64,
        metrics: header.metrics as u64,
    };
    let mut whole = WholeFile::create(&args.file)?;
    let mut piece = vec![0; 1 << 18];
    let written = loop {
        let read = export.read(&mut piece).map_err(|error| {
            let url = collection.client().url();
            Failure::Failed(format!("{url} sent a part of the collection: {error}"))
        })?;
        let written = whole.writer().write_all(&piece[..read]);
        if read == 0 || written.is_err() || whole.is_interrupted() {
            break written;
        }
    };
    drop(reading);
    Ok((whole, written, held))
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
    #[cfg(feature = "client")]
    if let Engine::Service(service) = &at.engine {
        let (imported, active) = import_there(args, service)?;
        return say(args, &imported, active, out);
    }
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
    let counts = ImportedDocument {
        collection: args.name.clone(),
        items: items.len() as u64,
        judgements: history.judgements.len() as u64,
        metrics: history.versions.len() as u64,
    };
    let imported = match (&store, &at.engine) {
        (Some(store), _) => {
            let mut builder = store
                .collection(&args.name)
                .dim(settings.dim)
                .distance(settings.distance)
                .precision(settings.precision);
            if let Some(language) = settings.keywords {
                builder = builder.keywords(language);
            }
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
    say(args, &counts, history.active, out)
}

/// Says what was imported, and which metric is active.
fn say(
    args: &ImportArgs,
    imported: &ImportedDocument,
    active: VersionId,
    out: &mut Out,
) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(imported)?);
    }
    out.line(format_args!(
        "{}: imported {}, {} and {}; {} is active",
        plain(&args.name),
        plural(imported.items, "item", "items"),
        plural(imported.judgements, "judgement", "judgements"),
        plural(imported.metrics, "metric", "metrics"),
        metric_name(active)
    ))?;
    Ok(())
}

/// Sends a file to a service, which makes a collection of it. Gives what it holds, and the metric
/// that is active.
#[cfg(feature = "client")]
fn import_there(
    args: &ImportArgs,
    service: &Service,
) -> Result<(ImportedDocument, VersionId), Failure> {
    if args.encoder.is_some() {
        return Err(Failure::Usage(
            "--encoder is for a store in a directory; a service finds the encoder among its own (`affinis serve --encoder DIR`)"
                .to_owned(),
        ));
    }
    let client = service.client();
    // Before the file is opened, which may be another program's output.
    if client
        .collections()?
        .iter()
        .any(|info| info.name == args.name)
    {
        return Err(Error::CollectionExists(args.name.clone()).into());
    }
    let opened = args.file.open()?;
    let file = opened.name.clone();
    let sending = output::spinner(format!("sending {file}"));
    let (mut bytes, length) = opened.into_bytes()?;
    let job = client.import(&args.name, &mut bytes, length)?;
    drop(sending);
    let _working = output::spinner(format!("storing what {file} holds"));
    let imported = wait(&job, |_| {}).map_err(|failure| of_file(failure, &file))?;
    let active = client.collection(&args.name).describe()?;
    Ok((imported, active.stats.active_metric))
}

/// Names the file in an error of what it holds, which a service does not know by its name.
#[cfg(feature = "client")]
fn of_file(failure: Failure, file: &str) -> Failure {
    match failure {
        Failure::Service(error) if error.is("invalid-input") => {
            let message = error.to_string();
            let rest = message.strip_prefix(NAME_AT_SERVICE);
            Failure::Failed(rest.map_or(message.clone(), |rest| format!("{file}{rest}")))
        }
        other => other,
    }
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
