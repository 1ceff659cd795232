//! Numbered lines of UTF-8 text, of bounded length.

use std::io::{BufRead, Read};

use super::error::{InputError, Place};

/// Largest line, in bytes: a text of 1 MiB with every byte escaped, metadata and a vector fit.
pub const MAX_LINE_BYTES: u64 = 16 << 20;
/// The bytes that may stand before a text of UTF-8, which are no part of it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An iterator over the lines of a reader.
///
/// A line that is too long or not UTF-8 is an error with its number, and reading continues after
/// it; a reader that fails ends the iteration with an error of the file.
#[derive(Debug)]
pub struct Lines<'a, R> {
    reader: R,
    file: &'a str,
    number: u64,
    ended: bool,
}

impl<'a, R: BufRead> Lines<'a, R> {
    /// The lines of `reader`, whose name in messages is `file`.
    pub fn new(reader: R, file: &'a str) -> Self {
        Self {
            reader,
            file,
            number: 0,
            ended: false,
        }
    }

    fn read(&mut self) -> Result<Option<String>, InputError> {
        let mut bytes = Vec::new();
        let mut bounded = self.reader.by_ref().take(MAX_LINE_BYTES + 1);
        let read = bounded
            .read_until(b'\n', &mut bytes)
            .map_err(|e| self.broken(&e))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.len() as u64 > MAX_LINE_BYTES {
            self.skip_line()?;
            return Err(self.wrong(format!("the line is longer than {MAX_LINE_BYTES} bytes")));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            self.wrong(format!(
                "not UTF-8 at byte {}",
                e.utf8_error().valid_up_to() + 1
            ))
        })?;
        Ok(Some(text))
    }

    /// Reads past the end of a line without keeping it.
    fn skip_line(&mut self) -> Result<(), InputError> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) => return Err(self.broken(&e)),
            };
            let (used, end) = match buffer.iter().position(|&b| b == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.reader.consume(used);
            if end {
                return Ok(());
            }
        }
    }

    fn wrong(&self, reason: String) -> InputError {
        InputError::new(self.file, Place::Line(self.number), reason)
    }

    fn broken(&self, error: &std::io::Error) -> InputError {
        InputError::new(
            self.file,
            Place::File,
            format!("cannot be read after line {}: {error}", self.number),
        )
    }
}

impl<R: BufRead> Iterator for Lines<'_, R> {
    /// The line's number, from 1, and its text without the line end.
    type Item = Result<(u64, String), InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.read();
        self.ended = match &line {
            Ok(line) => line.is_none(),
            Err(e) => !e.skippable(),
        };
        line.map(|text| text.map(|t| (self.number, t))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_lose_their_ends_and_the_byte_order_mark() {
        let lines: Vec<_> = Lines::new(&b"\xef\xbb\xbfone\r\n\ntwo"[..], "f")
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            lines,
            [(1, "one".into()), (2, String::new()), (3, "two".into())]
        );
    }

    #[test]
    fn a_line_that_is_no_utf8_is_named_and_the_next_is_read() {
        let lines: Vec<_> = Lines::new(&b"a\xff\nb\n"[..], "f").collect();
        assert_eq!(
            lines[0].as_ref().unwrap_err().to_string(),
            "f, line 1: not UTF-8 at byte 2"
        );
        assert_eq!(lines[1], Ok((2, "b".into())));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_line_too_long_is_named_without_being_kept() {
        let long = std::io::repeat(b'x').take(MAX_LINE_BYTES + 5);
        let input = std::io::BufReader::new(long.chain(&b"\nnext"[..]));
        let lines: Vec<_> = Lines::new(input, "f").collect();
        assert!(
            lines[0]
                .as_ref()
                .unwrap_err()
                .to_string()
                .starts_with("f, line 1: the line is longer")
        );
        assert_eq!(lines[1], Ok((2, "next".into())));
    }
}
