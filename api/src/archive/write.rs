//! Writer of an exported collection: the header, then every item, then the history.

use std::io::{self, Write};

use affinis::learning::History;
use affinis::{CollectionInfo, Item};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{FORMAT, FORMAT_VERSION, Header};

/// Writes the first line, which promises as many items as the settings say, and the history.
///
/// # Errors
/// Those of the writer.
pub fn write_header(
    to: &mut (impl Write + ?Sized),
    settings: CollectionInfo,
    history: &History,
) -> io::Result<()> {
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
        guidelines: history.guidelines.clone(),
        activations: history.activations.clone(),
        settings,
    };
    line(to, &json!({"collection": header}))
}

/// Writes the line of an item.
///
/// # Errors
/// Those of the writer.
pub fn write_item(to: &mut (impl Write + ?Sized), item: &Item) -> io::Result<()> {
    line(to, &json!({"item": item}))
}

/// Writes the lines behind the items: texts, judgements and versions of the metric.
///
/// # Errors
/// Those of the writer.
pub fn write_history(to: &mut (impl Write + ?Sized), history: &History) -> io::Result<()> {
    for (text, vector) in &history.texts {
        line(to, &json!({"text": {"text": text, "vector": vector}}))?;
    }
    for judgement in &history.judgements {
        line(to, &json!({"judgement": judgement}))?;
    }
    for stored in &history.versions {
        let mut value = json!({"metric": stored.version});
        value["metric"]["bytes"] = BASE64.encode(&stored.metric).into();
        line(to, &value)?;
    }
    Ok(())
}

fn line(to: &mut (impl Write + ?Sized), value: &Value) -> io::Result<()> {
    writeln!(to, "{value}")
}
