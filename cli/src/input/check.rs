//! Gathers the items of an input, checking each: its limits, its vector, and an id that occurs
//! once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use affinis::{AddMode, Chunking, Document, Item};
pub use affinis_api::input::check::Expected;
use affinis_api::input::check::id_twice;
pub(crate) use affinis_api::input::check::{check_id, check_name, check_vector};
use serde_json::Value;

pub(crate) use affinis_api::input::narrow;

use super::layout::{Columns, Layout};
use affinis_api::input::{InputError, Place};

/// The items of an input that can be used, and the errors of those that were left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// Usable items in the order of the input.
    pub items: Vec<Item>,
    /// Line or row of each usable item.
    pub places: Vec<Place>,
    /// Errors of the items left out; empty unless [`Expected::skip_bad`].
    pub bad: Vec<InputError>,
    /// The ids that the input does not give, which are numbers of rows or lines.
    pub numbered: Vec<String>,
}

impl Parsed {
    /// Puts other items in the places of those that were read, as an encoder prepared them, and
    /// checks them by what was unknown when they were read. Items that fail are left out with
    /// `skip_bad`.
    ///
    /// # Errors
    /// [`InputError`] at the first item that fails (without `skip_bad`), and when no item is left.
    pub fn pass<E: Display>(
        self,
        file: &str,
        skip_bad: bool,
        prepared: Vec<Result<Item, E>>,
        check: impl Fn(&Item) -> Result<(), E>,
    ) -> Result<Self, InputError> {
        let mut passed = Self {
            items: Vec::with_capacity(prepared.len()),
            places: Vec::new(),
            bad: self.bad,
            numbered: self.numbered,
        };
        for (item, place) in prepared.into_iter().zip(self.places) {
            let checked = item.and_then(|item| check(&item).map(|()| item));
            match checked.map_err(|error| InputError::new(file, place, error.to_string())) {
                Ok(item) => {
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

    /// Refuses an input without a usable item.
    fn usable(self, file: &str) -> Result<Self, InputError> {
        if !self.items.is_empty() {
            return Ok(self);
        }
        let reason = match self.bad.first() {
            None => "the input is empty: it holds no items".to_owned(),
            Some(first) => format!(
                "none of its {} items can be used; the first is in {}: {}",
                self.bad.len(),
                first.place,
                first.reason
            ),
        };
        Err(InputError::new(file, Place::File, reason))
    }
}

/// An item as it is read, before its limits are checked.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Its id; `None` where the input gives none.
    pub(super) id: Option<String>,
    pub(super) text: Option<String>,
    pub(super) vector: Option<Vec<f32>>,
    pub(super) meta: Value,
}

/// The items gathered so far.
pub(crate) struct Collector<'a> {
    file: &'a str,
    expected: Expected,
    mode: AddMode,
    columns: Option<&'a Columns>,
    chunking: Option<Chunking>,
    expires_in: Option<Duration>,
    id_prefix: &'a str,
    seen: HashMap<String, Place>,
    parsed: Parsed,
}

impl<'a> Collector<'a> {
    /// Of a file whose items are whole and have ids.
    pub(crate) fn new(file: &'a str, expected: Expected) -> Self {
        let parsed = Parsed {
            items: Vec::new(),
            places: Vec::new(),
            bad: Vec::new(),
            numbered: Vec::new(),
        };
        Self {
            file,
            expected,
            mode: AddMode::Upsert,
            columns: None,
            chunking: None,
            expires_in: None,
            id_prefix: "",
            seen: HashMap::new(),
            parsed,
        }
    }

    /// Of a file that is read by a layout.
    pub(super) fn by_layout(file: &'a str, expected: Expected, layout: &'a Layout) -> Self {
        Self {
            mode: layout.mode,
            columns: Some(&layout.columns),
            chunking: layout.chunking,
            expires_in: layout.expires_in,
            id_prefix: &layout.id_prefix,
            ..Self::new(file, expected)
        }
    }

    /// Takes the end of an item out of its metadata; where these have none, it is that of all items.
    fn end_of(&self, meta: &mut Value) -> Result<Option<SystemTime>, String> {
        let own = self.columns.and_then(|columns| columns.expires.as_ref());
        let own = own.and_then(|name| meta.as_object_mut()?.shift_remove(name));
        if own.is_some() && meta.as_object().is_some_and(serde_json::Map::is_empty) {
            *meta = Value::Null;
        }
        match own {
            // A time that the system's clock never comes to is no end.
            None | Some(Value::Null) => Ok(self
                .expires_in
                .and_then(|time| SystemTime::now().checked_add(time))),
            Some(Value::String(end)) => Item::parse_end(&end)
                .map(Some)
                .map_err(|error| error.to_string()),
            Some(other) => Err(format!("its end is {other}, not a time in RFC 3339")),
        }
    }

    /// Takes what was read of an item at a place, or the reason why it could not be read. An item
    /// without an id gets its number.
    pub(super) fn push_read(
        &mut self,
        place: Place,
        number: u64,
        read: Result<Read, String>,
    ) -> Result<(), InputError> {
        let named = read.and_then(|mut read| {
            if read.id.is_none() && self.mode == AddMode::Update {
                let reason = "it gives no id, and an update changes the items that its ids name";
                return Err(reason.to_owned());
            }
            let end = self.end_of(&mut read.meta)?;
            Ok((read, end))
        });
        let mut numbered = None;
        let item = named.map(|(read, expires)| Item {
            id: read.id.unwrap_or_else(|| {
                let id = format!("{}{number}", self.id_prefix);
                numbered.insert(id).clone()
            }),
            text: read.text,
            vector: read.vector,
            meta: read.meta,
            expires,
            document: self.chunking.map(Document::from),
            ..Item::default()
        });
        let before = self.parsed.items.len();
        self.push(place, item)?;
        if self.parsed.items.len() > before {
            self.parsed.numbered.extend(numbered);
        }
        Ok(())
    }

    /// Takes an item, or the reason why its line could not be read as one.
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

    /// Records an error and leaves its item out, or stops with it.
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
        let has_image = self
            .columns
            .is_some_and(|columns| columns.image_of(&item.meta).is_some());
        check_item(&item, self.expected, self.mode, has_image)?;
        match self.seen.entry(item.id.clone()) {
            Entry::Occupied(first) => Err(id_twice(&item.id, *first.get())),
            Entry::Vacant(entry) => {
                entry.insert(place);
                Ok(item)
            }
        }
    }
}

fn check_item(
    item: &Item,
    expected: Expected,
    mode: AddMode,
    has_image: bool,
) -> Result<(), String> {
    // An image, which is not read yet, takes the place of a text; an update needs neither.
    let rules = if has_image { AddMode::Update } else { mode };
    item.check_for(rules).map_err(|error| error.to_string())?;
    match (&item.text, &item.vector) {
        (_, None) if has_image => Ok(()),
        // The text of an update leaves the vector alone where there is no encoder.
        (Some(_), None) if !expected.texts && mode != AddMode::Update => {
            Err("the collection has no encoder, so an item needs a \"vector\"".into())
        }
        (_, Some(vector)) => check_vector(vector, expected),
        _ => Ok(()),
    }
}
