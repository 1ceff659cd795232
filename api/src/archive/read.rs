//! Reader of an exported collection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::BufRead;

use affinis::{
    AddMode, CollectionInfo, ContentHash, Item, JudgedContent, Judgement, JudgementId,
    StoredJudgement, Version,
    learning::{History, StoredVersion},
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{FORMAT, FORMAT_VERSION, Header, v1};
use crate::input::check::id_twice;
use crate::input::{InputError, Lines, Place, json_line, narrow};

/// An exported collection after its lines were read and checked.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The settings.
    pub settings: CollectionInfo,
    /// The items.
    pub items: Vec<Item>,
    /// Judgements and versions of the metric.
    pub history: History,
    /// The places of all of them in the file.
    pub places: Places,
}

/// Places of what an exported collection holds, in the order of each kind.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Of the items.
    pub items: Vec<Place>,
    /// Of the judgements.
    pub judgements: Vec<Place>,
    /// Of the versions of the metric.
    pub versions: Vec<Place>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemLine {
    id: String,
    text: Option<String>,
    vector: Vec<f64>,
    #[serde(default)]
    meta: Value,
    #[serde(default)]
    truncated: bool,
    expires: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextLine {
    text: String,
    vector: Vec<f64>,
}

/// Reads an exported collection.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, and for an incomplete file.
pub fn read_archive(reader: impl BufRead, file: &str) -> Result<Archive, InputError> {
    let mut lines = Lines::new(reader, file);
    let whole = |reason: String| InputError::new(file, Place::File, reason);
    let (number, first) = lines
        .next()
        .ok_or_else(|| whole("the input is empty".into()))??;
    let header =
        read_header(&first).map_err(|reason| InputError::new(file, Place::Line(number), reason))?;
    let settings = &header.settings;
    let mut items = Gathered::default();
    let mut judgements = Vec::new();
    let mut places = Places::default();
    let mut history = History::default();
    history.active = header.active;
    history.active_users.clone_from(&header.active_users);
    history.next_judgement = header.next_judgement;
    history.next_version = header.next_version;
    history.guidelines.clone_from(&header.guidelines);
    history.activations.clone_from(&header.activations);
    for line in lines {
        let (number, text) = line?;
        if text.trim().is_empty() {
            continue;
        }
        let place = Place::Line(number);
        let wrong = |reason| InputError::new(file, place, reason);
        let (kind, value) = tagged(&text).map_err(wrong)?;
        match kind.as_str() {
            "item" => {
                let item = item(value).and_then(|item| items.push(place, item, settings));
                item.map_err(wrong)?;
            }
            "text" => {
                let (text, vector) = text_line(value, settings).map_err(wrong)?;
                history.texts.insert(text, vector);
            }
            "judgement" => {
                let judgement = judgement(value).map_err(wrong)?;
                if header.format_version >= 3 && judgement.2.is_none() {
                    return Err(wrong("a judgement needs its \"content\"".to_owned()));
                }
                judgements.push(judgement);
                places.judgements.push(place);
            }
            "metric" => {
                let version = metric(value, header.format_version).map_err(wrong)?;
                history.versions.push(version);
                places.versions.push(place);
            }
            other => {
                return Err(wrong(format!(
                    "{other:?} is not a kind of line; there are item, text, judgement and metric"
                )));
            }
        }
    }
    let count = items.items.len() as u64;
    check_counts(&header, count, judgements.len(), &history).map_err(whole)?;
    places.items = items.places;
    history.judgements = stored(judgements, &items.items);
    Ok(Archive {
        settings: header.settings,
        items: items.items,
        history,
        places,
    })
}

/// The items gathered so far, each checked, with an id that occurs once.
#[derive(Default)]
struct Gathered {
    items: Vec<Item>,
    places: Vec<Place>,
    seen: HashMap<String, Place>,
}

impl Gathered {
    fn push(&mut self, place: Place, item: Item, settings: &CollectionInfo) -> Result<(), String> {
        item.check_for(AddMode::Upsert)
            .map_err(|error| error.to_string())?;
        check_vector(item.vector.as_deref().unwrap_or_default(), settings)?;
        match self.seen.entry(item.id.clone()) {
            Entry::Occupied(first) => Err(id_twice(&item.id, *first.get())),
            Entry::Vacant(entry) => {
                entry.insert(place);
                self.items.push(item);
                self.places.push(place);
                Ok(())
            }
        }
    }
}

/// Checks that the collection can hold and search a vector.
fn check_vector(vector: &[f32], settings: &CollectionInfo) -> Result<(), String> {
    settings
        .distance
        .check_vector(vector, settings.dim)
        .map_err(|error| error.to_string())
}

/// Compares the numbers of lines that the header promises with those found.
fn check_counts(
    header: &Header,
    items: u64,
    judgements: usize,
    history: &History,
) -> Result<(), String> {
    let counts = [
        ("items", header.settings.items, items),
        ("texts", header.texts as u64, history.texts.len() as u64),
        ("judgements", header.judgements as u64, judgements as u64),
        (
            "metrics",
            header.metrics as u64,
            history.versions.len() as u64,
        ),
    ];
    for (what, promised, found) in counts {
        if promised != found {
            return Err(format!(
                "is incomplete: its first line promises {promised} {what}, and {found} are there"
            ));
        }
    }
    Ok(())
}

/// The first line of an exported collection.
///
/// # Errors
/// What is wrong with it.
pub fn read_header(line: &str) -> Result<Header, String> {
    const NOT_ONE: &str = "not an exported collection; `affinis export` writes one";
    let (kind, value) = tagged(line).map_err(|_| NOT_ONE)?;
    if kind != "collection" || value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(NOT_ONE.to_owned());
    }
    match value.get("format_version").and_then(Value::as_u64) {
        Some(version) if (1..=u64::from(FORMAT_VERSION)).contains(&version) => {}
        Some(version) => {
            return Err(format!(
                "has format version {version}, and this affinis reads up to {FORMAT_VERSION}; use a \
                 newer affinis"
            ));
        }
        None => return Err("has no format version".to_owned()),
    }
    let header: Header = value_of(value)?;
    if !(1..=affinis::limits::MAX_DIM).contains(&header.settings.dim) {
        return Err(format!(
            "has dimension {}; it lies between 1 and {}",
            header.settings.dim,
            affinis::limits::MAX_DIM
        ));
    }
    Ok(header)
}

/// Kind and value of a line: the key and the value of its one entry.
fn tagged(line: &str) -> Result<(String, Value), String> {
    let map: Map<String, Value> = json_line(line, |_| false)?;
    let mut entries = map.into_iter();
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry),
        _ => Err("a line has one key, its kind: {\"item\": {..}}".into()),
    }
}

fn value_of<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn item(value: Value) -> Result<Item, String> {
    let line: ItemLine = value_of(value)?;
    let vector = Some(narrow(&line.vector, "the vector")?);
    Ok(Item {
        id: line.id,
        text: line.text,
        vector,
        meta: line.meta,
        truncated: line.truncated,
        expires: line
            .expires
            .as_deref()
            .map(Item::parse_end)
            .transpose()
            .map_err(|e| e.to_string())?,
        document: None,
    })
}

fn text_line(value: Value, settings: &CollectionInfo) -> Result<(String, Vec<f32>), String> {
    let line: TextLine = value_of(value)?;
    let vector = narrow(&line.vector, "the vector")?;
    check_vector(&vector, settings)?;
    Ok((line.text, vector))
}

/// A judgement, with the contents that it speaks of; those of before format version 3 have none.
fn judgement(mut value: Value) -> Result<(JudgementId, Judgement, Option<JudgedContent>), String> {
    let mut take = |field| {
        value
            .as_object_mut()
            .and_then(|fields| fields.remove(field))
    };
    let (sequence, content) = (take("sequence"), take("content"));
    let sequence = sequence
        .as_ref()
        .and_then(Value::as_u64)
        .ok_or("a judgement needs its number, \"sequence\"")?;
    let content = content
        .map(value_of)
        .transpose()
        .map_err(|e| format!("\"content\": {e}"))?;
    let judgement: Judgement = value_of(value)?;
    Ok((JudgementId(sequence), judgement, content))
}

/// Stored judgements. Where the contents that they speak of were not written, they are those of the
/// items.
fn stored(
    judgements: Vec<(JudgementId, Judgement, Option<JudgedContent>)>,
    items: &[Item],
) -> Vec<StoredJudgement> {
    let mut contents: HashMap<&str, ContentHash> = HashMap::new();
    if judgements.iter().any(|(_, _, content)| content.is_none()) {
        contents = items
            .iter()
            .filter_map(|item| Some((item.id.as_str(), item.content()?)))
            .collect();
    }
    let stored = judgements.into_iter().map(|(id, judgement, content)| {
        let of = |id: &str| contents.get(id).copied();
        let content = content.unwrap_or_else(|| judgement.content(of));
        StoredJudgement {
            id,
            judgement,
            content,
        }
    });
    stored.collect()
}

fn metric(mut value: Value, format_version: u32) -> Result<StoredVersion, String> {
    let bytes = value
        .as_object_mut()
        .and_then(|fields| fields.remove("bytes"));
    let bytes = bytes
        .as_ref()
        .and_then(Value::as_str)
        .ok_or("a metric needs \"bytes\"")?;
    let metric = BASE64
        .decode(bytes)
        .map_err(|e| format!("\"bytes\" are not base64: {e}"))?;
    if let (1, Value::Object(fields)) = (format_version, &mut value) {
        v1::upgrade(fields);
    }
    let version: Version = value_of(value)?;
    Ok(StoredVersion::new(version, metric))
}
