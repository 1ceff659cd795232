//! Printing: JSON documents for programs, aligned tables for people.

mod progress;
mod run;
mod style;
mod table;
mod whole;

pub(crate) use progress::{bar, download, spinner};
pub(crate) use run::{Run, field};
pub(crate) use style::{BAD, BOLD, DIM, GOOD, bytes, count, millis, number, plain, plural};
pub(crate) use table::{Align, Table};
pub(crate) use whole::WholeFile;

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use anstream::AutoStream;
use serde::Serialize;

/// Standard output, as JSON or as text for people.
pub(crate) struct Out {
    json: bool,
    stdout: BufWriter<AutoStream<Stdout>>,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        // Colours are removed if standard output is not a terminal or NO_COLOR is set.
        Self {
            json,
            stdout: BufWriter::new(AutoStream::auto(io::stdout())),
        }
    }

    /// Whether the output is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a JSON document on a line of its own.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, document).map_err(io::Error::from)?;
        self.stdout.write_all(b"\n")
    }

    /// Prints a line for people.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.stdout, "{text}")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Prints a line on standard error.
pub(crate) fn note(text: impl Display) {
    anstream::eprintln!("{text}");
}

/// Prints a warning on standard error.
pub(crate) fn warn(text: impl Display) {
    anstream::eprintln!(
        "{0}warning:{0:#} {1}",
        style::WARN,
        style::plain_lines(&text.to_string())
    );
}

/// Prints the error of a command on standard error.
pub(crate) fn error(text: &impl Display) {
    anstream::eprintln!(
        "{BAD}error:{BAD:#} {}",
        style::plain_lines(&text.to_string())
    );
}
