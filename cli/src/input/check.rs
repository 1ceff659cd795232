//! What every item must pass before any is stored: the limits, the dimension, ids that stand once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use affinis::Item;
use serde_json::Value;

use super::error::{InputError, Place, cut};

/// What the collection takes, and what happens to items that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The dimension that vectors must have.
    pub dim: usize,
    /// Whether texts without a vector can be encoded.
    pub texts: bool,
    /// Whether a zero vector can be stored (not where only the direction counts).
    pub zero_vectors: bool,
    /// Leave out what cannot be used instead of refusing the input.
    pub skip_bad: bool,
}

/// An input's usable items, and where the others stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// Usable items in the input's order.
    pub items: Vec<Item>,
    /// Where each of them stands.
    pub places: Vec<Place>,
    /// What was left out; empty unless [`Expected::skip_bad`].
    pub bad: Vec<InputError>,
}

impl Parsed {
    /// Checks every item once more, by what was not known of it when it was read: those that do not
    /// pass are left out, or the first of them is an error.
    ///
    /// # Errors
    /// [`InputError`] at the first item that does not pass (unless they are skipped), and when none
    /// does.
    pub fn pass(
        self,
        file: &str,
        skip_bad: bool,
        check: impl Fn(&Item) -> Result<(), String>,
    ) -> Result<Self, InputError> {
        let mut passed = Self {
            items: Vec::with_capacity(self.items.len()),
            places: Vec::new(),
            bad: self.bad,
        };
        for (item, place) in self.items.into_iter().zip(self.places) {
            match check(&item).map_err(|reason| InputError::new(file, place, reason)) {
                Ok(()) => {
                    passed.items.push(item);
                    passed.places.push(place);
                }
                Err(error) if skip_bad => passed.bad.push(error),
                Err(error) => return Err(error),
            }
        }
        passed.bad.sort_by_key(|error| error.place);
        passed.usable(file)
    }

    /// Refuses an input of which nothing is left.
    fn usable(self, file: &str) -> Result<Self, InputError> {
        if !self.items.is_empty() {
            return Ok(self);
        }
        let reason = match self.bad.first() {
            None => "the input is empty: it holds no items".to_owned(),
            Some(first) => format!(
                "none of its {} items can be used; the first stands in {}: {}",
                self.bad.len(),
                first.place,
                first.reason
            ),
        };
        Err(InputError::new(file, Place::File, reason))
    }
}

/// Gathers items, checking each.
pub(crate) struct Collector<'a> {
    file: &'a str,
    expected: Expected,
    seen: HashMap<String, Place>,
    parsed: Parsed,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(file: &'a str, expected: Expected) -> Self {
        let parsed = Parsed {
            items: Vec::new(),
            places: Vec::new(),
            bad: Vec::new(),
        };
        Self {
            file,
            expected,
            seen: HashMap::new(),
            parsed,
        }
    }

    /// Takes an item, or the reason why its line is none.
    pub(crate) fn push(
        &mut self,
        place: Place,
        item: Result<Item, String>,
    ) -> Result<(), InputError> {
        match item.and_then(|item| self.check(place, item)) {
            Ok(item) => {
                self.parsed.items.push(item);
                self.parsed.places.push(place);
                Ok(())
            }
            Err(reason) => self.refuse(InputError::new(self.file, place, reason)),
        }
    }

    /// Notes what is left out, or stops at it.
    pub(crate) fn refuse(&mut self, error: InputError) -> Result<(), InputError> {
        if !(self.expected.skip_bad && error.skippable()) {
            return Err(error);
        }
        self.parsed.bad.push(error);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Parsed, InputError> {
        self.parsed.usable(self.file)
    }

    fn check(&mut self, place: Place, item: Item) -> Result<Item, String> {
        check_item(&item, self.expected)?;
        match self.seen.entry(item.id.clone()) {
            Entry::Occupied(first) => Err(format!(
                "the id {:?} stands already in {}; an id may stand once in an input",
                cut(&item.id),
                first.get()
            )),
            Entry::Vacant(entry) => {
                entry.insert(place);
                Ok(item)
            }
        }
    }
}

fn check_item(item: &Item, expected: Expected) -> Result<(), String> {
    check_id(&item.id)?;
    if let Some(text) = &item.text
        && text.len() > affinis::MAX_TEXT_BYTES
    {
        return Err(format!(
            "the text has {} bytes; the most is {}",
            text.len(),
            affinis::MAX_TEXT_BYTES
        ));
    }
    match (&item.text, &item.vector) {
        (None, None) => return Err("an item needs a \"text\" or a \"vector\"".into()),
        (Some(_), None) if !expected.texts => {
            return Err("the collection has no encoder, so an item needs a \"vector\"".into());
        }
        (Some(text), None) if text.trim().is_empty() => return Err("\"text\" is empty".into()),
        (_, Some(vector)) => check_vector(vector, "the vector", expected)?,
        _ => {}
    }
    check_meta(&item.meta)
}

/// Checks an id (or a user's name, which follows the same rule).
pub(crate) fn check_id(id: &str) -> Result<(), String> {
    match id.len() {
        0 => Err("the id is empty".into()),
        n if n > affinis::MAX_ID_BYTES => Err(format!(
            "the id {:?} has {n} bytes; the most is {}",
            cut(id),
            affinis::MAX_ID_BYTES
        )),
        _ => Ok(()),
    }
}

/// Checks a vector's dimension and numbers.
pub(crate) fn check_vector(vector: &[f32], what: &str, expected: Expected) -> Result<(), String> {
    if vector.len() != expected.dim {
        return Err(format!(
            "{what} has {} numbers, but the collection's dimension is {}",
            vector.len(),
            expected.dim
        ));
    }
    if let Some((at, value)) = vector.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        return Err(format!(
            "{what} has {value} at position {at}; only finite numbers can be stored"
        ));
    }
    // The store's own bound: distances are sums of squares, which must stay finite in f32.
    let length = vector
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt();
    if length * length > f64::from(f32::MAX) / 1e4 {
        return Err(format!(
            "{what} is too long ({length:.3e}): its distances would overflow"
        ));
    }
    if !expected.zero_vectors && vector.iter().all(|&v| v == 0.0) {
        return Err(format!(
            "{what} is zero, which has no direction; a cosine collection cannot use it"
        ));
    }
    Ok(())
}

fn check_meta(meta: &Value) -> Result<(), String> {
    if !(meta.is_object() || meta.is_null()) {
        return Err("\"meta\" must be an object, {\"name\": value, ..}".into());
    }
    let bytes = serde_json::to_vec(meta)
        .map_err(|e| format!("\"meta\" cannot be written: {e}"))?
        .len();
    if bytes > affinis::MAX_META_BYTES {
        return Err(format!(
            "\"meta\" has {bytes} bytes of JSON; the most is {}",
            affinis::MAX_META_BYTES
        ));
    }
    if depth(meta) > affinis::MAX_META_DEPTH {
        return Err(format!(
            "\"meta\" is nested deeper than {} levels",
            affinis::MAX_META_DEPTH
        ));
    }
    Ok(())
}

/// Levels of nested arrays and objects. The recursion is bounded by the JSON parser's own limit of
/// 128.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Numbers as they stand in a file, narrowed to what is stored.
pub(crate) fn narrow(numbers: &[f64], what: &str) -> Result<Vec<f32>, String> {
    let narrowed: Vec<f32> = numbers.iter().map(|&v| v as f32).collect();
    match narrowed.iter().position(|v| !v.is_finite()) {
        None => Ok(narrowed),
        Some(at) if numbers[at].is_finite() => Err(format!(
            "{what} has {:e} at position {at}, which is too large for a 32-bit float",
            numbers[at]
        )),
        Some(at) => Err(format!(
            "{what} has {} at position {at}; only finite numbers can be stored",
            numbers[at]
        )),
    }
}
