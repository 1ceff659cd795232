//! Quotes of csv that break RFC 4180. The csv reader accepts them, so one quote too many would make
//! one field of all records up to the next quote.

/// A state machine that follows the quotes of an input as the csv reader does, byte by byte.
#[derive(Debug)]
pub(super) struct Quotes {
    delimiter: u8,
    state: State,
    /// The quote that opened the last quoted field.
    opened: Opened,
    wrong: Vec<Wrong>,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// At the start of a field.
    #[default]
    Start,
    /// In a field without quotes, or after the closing quote where the field should have ended.
    Plain,
    /// Between quotes.
    Quoted,
    /// After a quote within quotes: the closing one, or the first of a doubled one.
    Quote,
    /// In blanks after the closing quote.
    Blank,
}

/// Position of the quote that opened a field.
#[derive(Debug, Clone, Copy, Default)]
struct Opened {
    offset: u64,
    line: u64,
}

/// A quoted field that does not end as it should.
#[derive(Debug)]
pub(super) struct Wrong {
    opened: Opened,
    pub(super) reason: &'static str,
}

impl Wrong {
    /// Line of the opening quote, from 1.
    pub(super) fn line(&self) -> u64 {
        self.opened.line
    }
}

impl Quotes {
    /// Of an input with a byte between its fields.
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::default(),
            opened: Opened::default(),
            wrong: Vec::new(),
        }
    }

    /// Reads the byte at an offset, from 0, on a line, from 1.
    pub(super) fn read(&mut self, byte: u8, offset: u64, line: u64) {
        // A byte order mark is skipped.
        if b"\xef\xbb\xbf".get(offset as usize) == Some(&byte) {
            return;
        }
        self.state = match (self.state, byte) {
            (State::Start, b'"') => {
                self.opened = Opened { offset, line };
                State::Quoted
            }
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote, b'"') => State::Quoted,
            (_, b'\n' | b'\r') => State::Start,
            (_, byte) if byte == self.delimiter => State::Start,
            (State::Start | State::Plain, _) => State::Plain,
            (State::Quote | State::Blank, b' ' | b'\t') => State::Blank,
            (State::Quote | State::Blank, _) => {
                self.refuse(
                    "the quoted field that begins here goes on after its closing quote; a quote within a field is doubled",
                );
                State::Plain
            }
        };
    }

    /// Ends the input.
    pub(super) fn end(&mut self) {
        if matches!(std::mem::take(&mut self.state), State::Quoted) {
            self.refuse("the quote that opens a field here is never closed: all that follows would belong to it");
        }
    }

    /// The first error of the fields that begin before an offset. All errors before it are removed.
    pub(super) fn wrong_before(&mut self, offset: u64) -> Option<Wrong> {
        let count = self
            .wrong
            .partition_point(|wrong| wrong.opened.offset < offset);
        self.wrong.drain(..count).next()
    }

    fn refuse(&mut self, reason: &'static str) {
        self.wrong.push(Wrong {
            opened: self.opened,
            reason,
        });
    }
}
