//! Printing: JSON documents for programs, aligned tables for people.

mod excerpt;
mod interrupt;
mod progress;
mod run;
mod style;
mod table;
mod whole;

pub(crate) use excerpt::excerpt;
pub(crate) use interrupt::{STATUS as INTERRUPT_STATUS, catch_interrupts, interrupted};
#[cfg(feature = "hub")]
pub(crate) use progress::download;
pub(crate) use progress::{bar, spinner};
pub(crate) use run::{Run, field};
pub(crate) use style::{BAD, BOLD, DIM, GOOD, bytes, count, digits, millis, number, plain, plural};
pub(crate) use table::{Align, Table};
pub(crate) use whole::WholeFile;

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use anstream::AutoStream;
use serde::Serialize;

/// Standard output, as JSON or as text for people.
pub(crate) struct Out(Stream);

/// Data is written as it is. What is for people loses its colours if standard output is not a
/// terminal or `NO_COLOR` is set, and with them some control characters.
enum Stream {
    Data(BufWriter<Stdout>),
    People(BufWriter<AutoStream<Stdout>>),
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self(if json {
            Stream::Data(BufWriter::new(io::stdout()))
        } else {
            Stream::People(BufWriter::new(AutoStream::auto(io::stdout())))
        })
    }

    /// Whether the output is JSON.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.0, Stream::Data(_))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.0 {
            Stream::Data(writer) => writer,
            Stream::People(writer) => writer,
        }
    }

    /// Prints a JSON document on a line of its own.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        debug_assert!(self.is_json(), "the other stream takes characters away");
        serde_json::to_writer(self.writer(), document).map_err(io::Error::from)?;
        self.writer().write_all(b"\n")
    }

    /// Prints a line for people.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.writer(), "{text}")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
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
