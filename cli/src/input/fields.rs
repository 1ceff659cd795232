//! An item from the fields of a JSON object, as a layout names them.

use affinis::AddMode;
use serde_json::{Map, Value};

use super::check::{Read, narrow};
use super::layout::{Layout, joined};
use affinis_api::input::cut;

/// An item from the fields of an object. Fields without another use are metadata.
pub(super) fn item_of(mut fields: Map<String, Value>, layout: &Layout) -> Result<Read, String> {
    let columns = &layout.columns;
    let chosen: Option<Vec<(String, Value)>> = columns.meta.as_ref().map(|names| {
        let image = columns.image.iter().filter(|name| !names.contains(name));
        let chosen = names
            .iter()
            .chain(image)
            .filter_map(|name| Some((name.clone(), fields.get(name)?.clone())));
        chosen.collect()
    });
    let id = match (
        &columns.id,
        fields.shift_remove(columns.id.as_deref().unwrap_or("id")),
    ) {
        (_, Some(id)) if !id.is_null() => Some(id_of(&id)?),
        (Some(name), _) => {
            return Err(format!("it has no field {name:?}, which is to hold its id"));
        }
        (None, _) => None,
    };
    let text = if columns.text.is_empty() {
        match fields.shift_remove("text") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => return Err(format!("its text is {}, not a string", kind(&other))),
        }
    } else {
        let parts: Vec<String> = columns
            .text
            .iter()
            .filter_map(|name| part(name, fields.shift_remove(name)).transpose())
            .collect::<Result<_, _>>()?;
        joined(parts.iter().map(String::as_str))
    };
    let vector = vector_of(&mut fields, &columns.vector)?;
    let mut meta = fields.shift_remove("meta").unwrap_or_default();
    let is_image = |name: &String| columns.image.as_ref() == Some(name);
    let is_named = |name: &String| is_image(name) || columns.expires.as_ref() == Some(name);
    if let (true, Some(name)) = (layout.strict, fields.keys().find(|name| !is_named(name))) {
        return Err(format!(
            "unknown field {name:?}; an item has the fields id, text, vector and meta, and without --strict others are metadata"
        ));
    }
    if let (AddMode::Insert | AddMode::Upsert, None, None, false) =
        (layout.mode, &text, &vector, fields.is_empty())
        && !fields.keys().any(is_image)
    {
        let names: Vec<String> = fields.keys().map(|name| format!("\"{name}\"")).collect();
        return Err(format!(
            "it has neither a text nor a vector; its other fields would be metadata: {}",
            cut(&names.join(", "))
        ));
    }
    let extra: Vec<(String, Value)> = chosen.unwrap_or_else(|| fields.into_iter().collect());
    if !extra.is_empty() {
        if meta.is_null() {
            meta = Value::Object(Map::new());
        }
        let Some(meta) = meta.as_object_mut() else {
            return Err("its metadata is not a JSON object".to_owned());
        };
        for (name, value) in extra {
            if meta.contains_key(&name) {
                return Err(format!(
                    "the field {name:?} stands in \"meta\" and beside it; keep one of them"
                ));
            }
            meta.insert(name, value);
        }
    }
    Ok(Read {
        id,
        text,
        vector,
        meta,
    })
}

/// An id that is a string or a whole number.
fn id_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(id) => Ok(id.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        other => Err(format!(
            "the id is {}, neither a string nor a whole number of 64 bits",
            kind(other)
        )),
    }
}

/// A part of the text.
fn part(name: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(other) => Err(format!(
            "the field {name:?} of its text is {}, not a string",
            kind(&other)
        )),
    }
}

/// The vector: an array in one field, or a number in each of several.
fn vector_of(
    fields: &mut Map<String, Value>,
    names: &[String],
) -> Result<Option<Vec<f32>>, String> {
    let number = |value: &Value| {
        value
            .as_f64()
            .ok_or_else(|| format!("the vector has {} among its numbers", kind(value)))
    };
    let numbers: Vec<f64> = match names {
        [] | [_] => match fields.shift_remove(names.first().map_or("vector", String::as_str)) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(values)) => values.iter().map(number).collect::<Result<_, _>>()?,
            Some(value @ Value::Number(_)) if !names.is_empty() => vec![number(&value)?],
            Some(other) => return Err(format!("its vector is {}, not an array", kind(&other))),
        },
        names => {
            let values: Vec<Value> = names
                .iter()
                .map(|name| fields.shift_remove(name).unwrap_or_default())
                .collect();
            if values.iter().all(Value::is_null) {
                return Ok(None);
            }
            let named = |(name, value): (&String, &Value)| {
                let kind = kind(value);
                value.as_f64().ok_or_else(|| {
                    format!("the field {name:?} of the vector is {kind}, not a number")
                })
            };
            names
                .iter()
                .zip(&values)
                .map(named)
                .collect::<Result<_, _>>()?
        }
    };
    narrow(&numbers, "the vector").map(Some)
}

/// The kind of a value, in words.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
