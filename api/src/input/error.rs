//! The error of an unusable input: its file, the place in it, and the reason.

use std::fmt;

/// Place of an error in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of text, from 1.
    Line(u64),
    /// A row of an array, from 0, as rows are numbered in ids.
    Row(u64),
}

/// An input that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The file's name, as the user gave it.
    pub file: String,
    /// Place in the file.
    pub place: Place,
    /// What is wrong there.
    pub reason: String,
}

impl InputError {
    /// An error at a place.
    pub fn new(file: &str, place: Place, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            place,
            reason: reason.into(),
        }
    }

    /// Whether the rest of the input can be read when this part is left out.
    pub fn skippable(&self) -> bool {
        self.place != Place::File
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::File => write!(f, "{}: {}", self.file, self.reason),
            place => write!(f, "{}, {place}: {}", self.file, self.reason),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the file"),
            Self::Line(n) => write!(f, "line {n}"),
            Self::Row(n) => write!(f, "row {n}"),
        }
    }
}

impl std::error::Error for InputError {}

/// A text cut to 60 characters, for a message.
pub fn cut(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().nth(MAX_CHARS).is_none() {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain("...".chars()).collect()
}

/// Names in a message: the first few of them.
pub fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    let shown = &names[..names.len().min(SHOWN)];
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
