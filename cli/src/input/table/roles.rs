//! The use of each column of a table.

use std::collections::HashSet;

use affinis::AddMode;
use csv::StringRecord;

use super::cells::number_of;
use crate::input::layout::{Columns, Layout};
use affinis_api::input::error::listed;

/// The use of the columns of a table, as positions in a record.
#[derive(Debug, Default)]
pub(super) struct Roles {
    /// The names of all columns.
    pub(super) names: Vec<String>,
    pub(super) id: Option<usize>,
    /// The columns that make the text, in their order.
    pub(super) text: Vec<usize>,
    /// The columns of which each holds a number of the vector.
    pub(super) numbers: Vec<usize>,
    /// The column that holds the whole vector, as a JSON array.
    pub(super) array: Option<usize>,
    /// The columns of the metadata, with their keys.
    pub(super) meta: Vec<(usize, String)>,
    /// Whether numbers and booleans in the metadata are stored as such.
    pub(super) typed: bool,
    /// Whether the first record decided which columns hold the vector.
    pub(super) guessed: bool,
}

impl Roles {
    /// The roles in a table whose header, layout or first record say them.
    ///
    /// # Errors
    /// A column that is named and not there, or two of one name, or columns that give no item.
    pub(super) fn of(
        header: &StringRecord,
        first: &StringRecord,
        layout: &Layout,
        dim: usize,
    ) -> Result<Self, String> {
        if header.iter().all(|name| number_of(name).is_some()) {
            return Err(
                "the first line is all numbers; a header with the columns' names is needed".into(),
            );
        }
        if is_named(header, &layout.columns) {
            Self::named(header, first, layout, dim)
        } else {
            Self::numeric(header, first)
        }
    }

    /// The roles in a table without names that have a meaning: the columns of numbers are the
    /// vector, the last one is a label.
    fn numeric(header: &StringRecord, first: &StringRecord) -> Result<Self, String> {
        let last = header.len() - 1;
        let is_number = |at: &usize| first.get(*at).and_then(number_of).is_some();
        let (numbers, others): (Vec<usize>, Vec<usize>) = (0..last).partition(is_number);
        if numbers.is_empty() {
            return Err(format!(
                "no column but the last holds a number in the first record, and none is named id, text or vector; {}{}",
                CHOOSE,
                other_delimiter(header)
            ));
        }
        let label = (last, "label".to_owned());
        let meta = others.iter().map(|at| (*at, header[*at].to_owned()));
        let roles = Self {
            names: header.iter().map(str::to_owned).collect(),
            numbers,
            meta: meta.chain([label]).collect(),
            guessed: true,
            ..Self::default()
        };
        roles.with_distinct_keys()
    }

    fn named(
        header: &StringRecord,
        first: &StringRecord,
        layout: &Layout,
        dim: usize,
    ) -> Result<Self, String> {
        let Columns {
            id,
            text,
            vector,
            meta,
            image,
            expires,
        } = &layout.columns;
        let find = |name: &String| position(header, name);
        let known = |name: &str| {
            let is_there = header.iter().any(|column| column == name);
            is_there.then(|| position(header, name)).transpose()
        };
        let mut roles = Self {
            names: header.iter().map(str::to_owned).collect(),
            typed: true,
            ..Self::default()
        };
        roles.id = match id {
            Some(name) => Some(find(name)?),
            None => known("id")?,
        };
        roles.text = if text.is_empty() {
            known("text")?.into_iter().collect()
        } else {
            text.iter().map(find).collect::<Result<_, _>>()?
        };
        let of_vector: Vec<usize> = if vector.is_empty() {
            known("vector")?.into_iter().collect()
        } else {
            vector.iter().map(find).collect::<Result<_, _>>()?
        };
        let is_array = |at: usize| first.get(at).is_some_and(|cell| number_of(cell).is_none());
        match of_vector[..] {
            [at] if is_array(at) => roles.array = Some(at),
            _ => roles.numbers = of_vector,
        }
        if let Some(names) = meta {
            let keyed = |name: &String| Ok((find(name)?, name.clone()));
            let image = image.iter().filter(|name| !names.contains(name));
            roles.meta = names
                .iter()
                .chain(image)
                .map(keyed)
                .collect::<Result<_, String>>()?;
        }
        if let Some(name) = expires {
            find(name)?;
        }
        match image {
            Some(name) => drop(find(name)?),
            None => roles.find_vector(first, layout.mode, dim)?,
        }
        if meta.is_none() {
            let others = (0..header.len()).filter(|at| !roles.is_used(*at));
            roles.meta = others.map(|at| (at, header[at].to_owned())).collect();
        }
        roles.with_distinct_keys()
    }

    /// Where neither text nor vector is named, takes the columns of numbers for the vector, if they
    /// are as many as the collection's dimension. The ids are no numbers of a vector.
    fn find_vector(
        &mut self,
        first: &StringRecord,
        mode: AddMode,
        dim: usize,
    ) -> Result<(), String> {
        if !self.text.is_empty()
            || !self.numbers.is_empty()
            || self.array.is_some()
            || mode == AddMode::Update
        {
            return Ok(());
        }
        let is_number = |at: &usize| first.get(*at).and_then(number_of).is_some();
        let numbers: Vec<usize> = (0..self.names.len())
            .filter(|at| !self.is_used(*at) && is_number(at))
            .collect();
        if numbers.len() == dim {
            self.numbers = numbers;
            self.guessed = true;
            return Ok(());
        }
        let found = match numbers[..] {
            [] => String::new(),
            _ => format!(
                " (the columns of numbers, {}, are {} and the collection's dimension is {dim})",
                listed(numbers.iter().map(|at| self.names[*at].as_str())),
                numbers.len()
            ),
        };
        Err(format!(
            "no column gives a text or a vector{found}; {CHOOSE}; the columns are {}",
            listed(self.names.iter().map(String::as_str))
        ))
    }

    fn is_used(&self, at: usize) -> bool {
        self.id == Some(at)
            || self.array == Some(at)
            || self.text.contains(&at)
            || self.numbers.contains(&at)
            || self.meta.iter().any(|(used, _)| *used == at)
    }

    fn with_distinct_keys(self) -> Result<Self, String> {
        let mut seen = HashSet::new();
        match self.meta.iter().find(|(_, key)| !seen.insert(key)) {
            None => Ok(self),
            Some((_, twice)) => Err(format!(
                "two columns would be \"meta.{twice}\"; rename one in the header"
            )),
        }
    }
}

const CHOOSE: &str = "name the columns with --text-column or --vector-columns";

/// Whether the options or the header name columns that have a meaning.
pub(super) fn is_named(header: &StringRecord, columns: &Columns) -> bool {
    columns.is_named()
        || header
            .iter()
            .any(|name| matches!(name, "id" | "text" | "vector"))
}

/// The position of a column.
fn position(header: &StringRecord, name: &str) -> Result<usize, String> {
    let mut found = (0..header.len()).filter(|at| &header[*at] == name);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(format!(
            "two columns are named {name:?}; rename one in the header"
        )),
        (None, _) => Err(format!(
            "there is no column {name:?}; the columns are {}{}",
            listed(header.iter()),
            other_delimiter(header)
        )),
    }
}

/// The hint that the fields of a header of one column have another byte between them.
pub(super) fn other_delimiter(header: &StringRecord) -> String {
    let separator = |name: &str| [';', '\t', '|'].into_iter().find(|c| name.contains(*c));
    match (header.len(), header.get(0).and_then(separator)) {
        (1, Some('\t')) => "; if tabs stand between the fields, say --delimiter tab".to_owned(),
        (1, Some(other)) => {
            format!("; if {other:?} stands between the fields, say --delimiter '{other}'")
        }
        _ => String::new(),
    }
}
