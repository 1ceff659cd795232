//! `export` and `import`: write a collection to a file of JSON lines, and create one from it.
//!
//! The first line is `{"collection": {..}}`: the format's name and version, the settings, and how
//! many lines of each kind follow. Then come, in this order, `{"item": {"id", "text", "vector",
//! "meta"}}`; `{"text": {"text", "vector"}}`, the vectors of texts that are queries of judgements;
//! `{"judgement": {"sequence", ..}}`, otherwise as `judge` reads them; and `{"metric": {"version",
//! .., "bytes"}}`, a version as `metrics show --json` prints it, with the bytes that its plugin
//! encoded, in base64. Numbers are read back bit for bit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use affinis::{
    EncoderInfo, Error, Store, VersionId,
    encode::{self, Encoder},
    learning::History,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{At, Engine, metric_name};
use crate::failure::Failure;
use crate::input::{
    self, Archive, FORMAT, FORMAT_VERSION, Header, Input, InputError, Opened, Place, Places,
};
use crate::output::{self, Out, WholeFile, plain, plural};
use crate::target::Target;

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
    let history = collection.learning().history()?;
    let settings = collection.settings()?;
    let header = Header {
        format: FORMAT.to_owned(),
        format_version: FORMAT_VERSION,
        texts: history.texts.len(),
        judgements: history.judgements.len(),
        metrics: history.versions.len(),
        active: history.active,
        active_users: history.active_users.clone(),
        next_judgement: history.next_judgement,
        next_version: history.next_version,
        settings,
    };
    let items = header.settings.items;
    let mut whole = WholeFile::create(&args.file)?;
    let to_stdout = whole.is_stdout();
    let written = write(&collection, &header, &history, &mut whole)?;
    whole.finish(written)?;
    let file = args.file.display().to_string();
    let summary = format!(
        "{}: exported {}, {} and {} to {}",
        plain(&args.name),
        plural(items, "item", "items"),
        plural(header.judgements as u64, "judgement", "judgements"),
        plural(header.metrics as u64, "metric", "metrics"),
        plain(&file)
    );
    match (to_stdout, out.is_json()) {
        (true, _) => output::note(summary),
        (false, true) => out.json(&json!({
            "collection": args.name, "file": file, "items": items,
            "judgements": header.judgements, "metrics": header.metrics
        }))?,
        (false, false) => out.line(summary)?,
    }
    Ok(())
}

/// Writes all lines. The outer error is of the store, the inner one of the writer.
fn write(
    collection: &Target,
    header: &Header,
    history: &History,
    whole: &mut WholeFile,
) -> Result<io::Result<()>, Failure> {
    let bar = output::bar(header.settings.items, "exporting");
    let mut lines = JsonLines {
        whole,
        result: Ok(()),
    };
    lines.put(&json!({"collection": header}));
    collection.for_each_item(|item| {
        lines.put(&json!({"item": item}));
        bar.inc(1);
        !lines.whole.is_interrupted()
    })?;
    bar.finish_and_clear();
    for (text, vector) in &history.texts {
        lines.put(&json!({"text": {"text": text, "vector": vector}}));
    }
    for judgement in &history.judgements {
        lines.put(&json!({"judgement": judgement}));
    }
    for stored in &history.versions {
        let mut line = json!({"metric": stored.version});
        line["metric"]["bytes"] = BASE64.encode(&stored.metric).into();
        lines.put(&line);
    }
    Ok(lines.result)
}

/// A writer of JSON lines that stops at its first error.
struct JsonLines<'a> {
    whole: &'a mut WholeFile,
    result: io::Result<()>,
}

impl JsonLines<'_> {
    fn put(&mut self, line: &Value) {
        if self.result.is_ok() {
            self.result = writeln!(self.whole.writer(), "{line}");
        }
    }
}

pub(crate) fn import(args: &ImportArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    // Opened first, so that a store that cannot be written is said before the file is read.
    let store = match &at.engine {
        Engine::Directory(_) => Some(at.open_or_create()?),
        Engine::Postgres(_) => None,
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
    } = input::archive(reader, &name)?;
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
    let of_version = |number: VersionId| {
        places.versions.get(
            history
                .versions
                .iter()
                .position(|v| v.version.version == number)?,
        )
    };
    let place = match &error {
        Error::InvalidItem { index, .. } => places.items.get(*index),
        Error::InvalidJudgement { index, .. } => places.judgements.get(*index),
        Error::InvalidVersion { version, .. } => of_version(*version),
        Error::InvalidSetting { .. }
        | Error::EncoderDimension { .. }
        | Error::HistoryNumbers { .. }
        | Error::VectorTooLong { .. }
        | Error::Learn(_)
        | Error::ZeroVector { .. }
        | Error::NotFinite { .. }
        | Error::Dimension { .. } => None,
        _ => return error.into(),
    };
    let reason = match error {
        Error::InvalidItem { source, .. } => source.to_string(),
        Error::InvalidJudgement { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    InputError::new(file, place.copied().unwrap_or(Place::File), reason).into()
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
