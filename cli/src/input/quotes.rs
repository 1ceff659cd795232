//! Quotes of csv that are not as RFC 4180 has them. The csv reader takes them as they come, so that
//! one quote too many makes a field of all records up to the next one.

/// Follows the quotes of an input as the csv reader does, byte after byte.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    state: State,
    /// The quote that opened the last quoted field.
    opened: Opened,
    wrong: Vec<Wrong>,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Where a field begins.
    #[default]
    Start,
    /// In a field without quotes, or behind what should have been the end of one.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the closing one, or the first of two that stand for one.
    Quote,
    /// In blanks behind the closing quote.
    Blank,
}

/// Where a quote opened a field.
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
    /// The line of the quote that opened it.
    pub(super) fn line(&self) -> u64 {
        self.opened.line
    }
}

impl Quotes {
    /// Takes the byte at an offset and on a line.
    pub(super) fn step(&mut self, byte: u8, offset: u64, line: u64) {
        // A byte order mark is passed over.
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
            (_, b',' | b'\n' | b'\r') => State::Start,
            (State::Start | State::Plain, _) => State::Plain,
            (State::Quote | State::Blank, b' ' | b'\t') => State::Blank,
            (State::Quote | State::Blank, _) => {
                self.refuse(
                    "the quoted field that begins here goes on behind its closing quote; a quote in it is doubled",
                );
                State::Plain
            }
        };
    }

    /// Takes the end of the input.
    pub(super) fn end(&mut self) {
        if matches!(std::mem::take(&mut self.state), State::Quoted) {
            self.refuse("the quote that opens a field here is never closed: all that follows would be part of it");
        }
    }

    /// What was wrong first among all that began before an offset; it is not said again.
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
