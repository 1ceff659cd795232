//! Items as JSON: `{"id": "a1", "text": "...", "vector": [..], "meta": {..}}`, an object a line or
//! the objects of one array.

use std::cell::Cell;
use std::io::{self, BufRead, Cursor, Read as _};
use std::rc::Rc;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub(super) use affinis_api::input::json_line;
use affinis_api::input::{BYTE_ORDER_MARK, InputError, Lines, MAX_LINE_BYTES, Place, parse_error};

use super::check::{Collector, Expected, Parsed, Read};
use super::fields::item_of;
use super::layout::Layout;

/// Reads items, one JSON object a line, or an array of objects. An item without an id gets the
/// number of its line, from 0, where blank lines count; in an array, the number of the object.
///
/// # Errors
/// [`InputError`] at the first object that cannot be used (unless `expected` skips them), and for
/// an input without items.
pub fn items_json(
    mut reader: impl BufRead,
    file: &str,
    expected: Expected,
    layout: &Layout,
) -> Result<Parsed, InputError> {
    let (head, is_array) = head(&mut reader)
        .map_err(|e| InputError::new(file, Place::File, format!("cannot be read: {e}")))?;
    let collector = Collector::by_layout(file, expected, layout);
    let reader = Cursor::new(head).chain(reader);
    if is_array {
        array(reader, file, layout, collector)
    } else {
        lines(reader, file, layout, collector)
    }
}

/// Reads what stands before the first object or array, and says whether an array follows.
fn head(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, bool)> {
    let mut head = Vec::new();
    loop {
        let buffer = reader.fill_buf()?;
        let Some(first) = buffer.first() else {
            return Ok((head, false));
        };
        let marked = BYTE_ORDER_MARK.starts_with(&head)
            && BYTE_ORDER_MARK[head.len()..].starts_with(&[*first]);
        if !first.is_ascii_whitespace() && !marked || head.len() as u64 > MAX_LINE_BYTES {
            return Ok((head, *first == b'['));
        }
        head.push(*first);
        reader.consume(1);
    }
}

fn lines(
    reader: impl BufRead,
    file: &str,
    layout: &Layout,
    mut collector: Collector<'_>,
) -> Result<Parsed, InputError> {
    for line in Lines::new(reader, file) {
        match line {
            Ok((_, text)) if text.trim().is_empty() => {}
            Ok((number, text)) => {
                collector.push_read(Place::Line(number), number - 1, object(&text, layout))?;
            }
            Err(error) => collector.refuse(error)?,
        }
    }
    collector.finish()
}

/// Reads the objects of an array one after another, so that memory holds the text of one.
fn array(
    mut reader: impl BufRead,
    file: &str,
    layout: &Layout,
    collector: Collector<'_>,
) -> Result<Parsed, InputError> {
    let unreadable =
        |e: io::Error| InputError::new(file, Place::File, format!("cannot be read: {e}"));
    if reader
        .fill_buf()
        .map_err(unreadable)?
        .starts_with(BYTE_ORDER_MARK)
    {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    let line = Rc::new(Cell::new(1));
    let mut parser = serde_json::Deserializer::from_reader(CountedLines {
        inner: reader,
        line: Rc::clone(&line),
    });
    let objects = Objects {
        layout,
        collector,
        line,
        stopped: None,
    };
    let wrong = |e: serde_json::Error| {
        let place = match e.line() {
            0 => Place::File,
            line => Place::Line(line as u64),
        };
        InputError::new(file, place, parse_error(&e))
    };
    let read = parser.deserialize_seq(objects).map_err(wrong)?;
    if let Some(error) = read.stopped {
        return Err(error);
    }
    parser.end().map_err(wrong)?;
    read.collector.finish()
}

/// The objects of an array, as they are read.
struct Objects<'a> {
    layout: &'a Layout,
    collector: Collector<'a>,
    /// The line that is being read, from 1.
    line: Rc<Cell<u64>>,
    /// The error that ends the reading.
    stopped: Option<InputError>,
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<Self, A::Error> {
        let mut number = 0;
        while let Some(text) = array.next_element::<Box<RawValue>>()? {
            let text = text.get();
            let breaks = text.matches('\n').count() as u64;
            let place = Place::Line(self.line.get().saturating_sub(breaks).max(1));
            let read = object(text, self.layout);
            if self.stopped.is_none() {
                self.stopped = self.collector.push_read(place, number, read).err();
            }
            number += 1;
        }
        Ok(self)
    }
}

/// A reader that counts lines. The parser reads from it byte by byte.
struct CountedLines<R> {
    inner: R,
    line: Rc<Cell<u64>>,
}

impl<R: BufRead> io::Read for CountedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let breaks = buffer[..read].split(|b| *b == b'\n').count() - 1;
        self.line.set(self.line.get() + breaks as u64);
        Ok(read)
    }
}

/// An item from the text of a JSON object.
fn object(text: &str, layout: &Layout) -> Result<Read, String> {
    let of_vector = |key: &str| match &layout.columns.vector[..] {
        [] => key == "vector",
        names => names.iter().any(|name| name == key),
    };
    item_of(json_line(text, of_vector)?, layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinis::{Distance, Item};
    use serde_json::json;

    const TWO: Expected = Expected {
        dim: 2,
        texts: true,
        distance: Distance::L2,
        skip_bad: false,
    };

    fn parse(text: &str) -> Result<Parsed, String> {
        items_json(text.as_bytes(), "in.jsonl", TWO, &Layout::default()).map_err(|e| e.to_string())
    }

    fn refused(text: &str, with: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(with), "{error:?} does not say {with:?}");
    }

    #[test]
    fn ids_default_to_line_numbers_from_0_with_blank_lines_counted() {
        let parsed =
            parse("{\"text\": \"x\"}\n\n{\"vector\": [1, 2.5], \"meta\": {\"a\": 1}}\n").unwrap();
        assert_eq!(
            parsed.items,
            [
                Item::text("0", "x"),
                Item::vector("2", vec![1.0, 2.5]).with_meta(json!({"a": 1}))
            ]
        );
        assert_eq!(parsed.places, [Place::Line(1), Place::Line(3)]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_file_and_line() {
        refused("{\"text\": \"x\"}\n{\"text\": \n", "in.jsonl, line 2: ");
        refused(
            "{\"text\": \"x\"}\n[1]",
            "in.jsonl, line 2: not a JSON object",
        );
        refused(
            "{\"id\": 7.5, \"text\": \"x\"}",
            "the id is the number 7.5, neither a string nor a whole number",
        );
        refused("{\"id\": \"a\", \"text\": 7}", "its text is the number 7");
        refused("{\"vector\": [1, \"2\"]}", "a string among its numbers");
        refused(
            "{\"vector\": 1}",
            "its vector is the number 1, not an array",
        );
        refused("{\"id\": \"\", \"text\": \"x\"}", "the id is empty");
        refused(
            &format!("{{\"id\": \"{}\", \"text\": \"x\"}}", "i".repeat(513)),
            "513 bytes",
        );
        refused("{\"id\": \"a\"}", "neither a text nor a vector");
        refused(
            "{\"vector\": [1]}",
            "has 1 numbers, but the collection holds vectors of dimension 2",
        );
        refused("{\"vector\": [1, NaN]}", "line 1");
        refused("{\"vector\": [1, 1e999]}", "number out of range");
        refused("{\"vector\": [1, 1e39]}", "too large for a 32-bit float");
        refused(
            "{\"text\": \"x\", \"meta\": 3}",
            "its metadata is not a JSON object",
        );
        refused("{\"text\": \"x\"} {}", "trailing characters");
    }

    #[test]
    fn what_json_would_lose_without_a_word_is_refused() {
        refused(
            r#"{"text": "x", "meta": {"a": 1, "b": [{"c": 1, "c": 2}]}}"#,
            "in.jsonl, line 1: the key \"c\" stands twice in one object (column 47)",
        );
        refused(
            r#"{"text": "x", "meta": {"a": 1, "\u0061": 1}}"#,
            "the key \"a\" stands twice",
        );
        refused(
            r#"{"text": "x", "meta": {"n": 18446744073709551616}}"#,
            "the integer 18446744073709551616 is beyond 64 bits and would be rounded",
        );
        // The numbers of a vector are floats in any case.
        refused(
            r#"{"vector": [100000000000000000000, 1]}"#,
            "the vector is too long (1.000e20)",
        );
        let kept =
            r#"{"text": "x", "meta": {"n": 18446744073709551615, "m": -9223372036854775808}}"#;
        let parsed = parse(kept).unwrap();
        assert_eq!(parsed.items[0].meta, json!({"n": u64::MAX, "m": i64::MIN}));
    }

    #[test]
    fn metadata_has_limits() {
        let deep = |n: usize| {
            format!(
                "{{\"text\":\"x\",\"meta\":{}1{}}}",
                "{\"a\":".repeat(n),
                "}".repeat(n)
            )
        };
        assert!(parse(&deep(32)).is_ok());
        refused(&deep(33), "deeper than 32");
        refused(&deep(200), "recursion limit");
        refused(
            &format!(
                "{{\"text\":\"x\",\"meta\":{{\"a\":\"{}\"}}}}",
                "y".repeat(64 << 10)
            ),
            "its metadata takes 65544 bytes",
        );
    }

    #[test]
    fn an_id_twice_names_both_lines() {
        refused(
            "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"b\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}",
            "in.jsonl, line 3: the id \"a\" occurs already in line 1",
        );
        // A line's default id may collide with one that is written out.
        refused(
            "{\"id\":\"1\",\"text\":\"x\"}\n{\"text\":\"x\"}",
            "line 2: the id \"1\" occurs already in line 1",
        );
    }

    #[test]
    fn empty_input_is_refused() {
        refused("", "in.jsonl: the input is empty");
        refused("\n \n", "the input is empty");
    }

    #[test]
    fn bad_lines_can_be_skipped_but_not_all_of_them() {
        let skip = Expected {
            skip_bad: true,
            ..TWO
        };
        let input = b"{\"id\":\"a\",\"text\":\"x\"}\n\xff\nnonsense\n{\"id\":\"a\",\"text\":\"y\"}\n{\"text\":\"z\"}\n";
        let parsed = items_json(&input[..], "f", skip, &Layout::default()).unwrap();
        assert_eq!(parsed.items, [Item::text("a", "x"), Item::text("4", "z")]);
        assert_eq!(
            parsed.bad.iter().map(|b| b.place).collect::<Vec<_>>(),
            [2, 3, 4].map(Place::Line)
        );
        let none = items_json(&b"nonsense\n"[..], "f", skip, &Layout::default())
            .unwrap_err()
            .to_string();
        assert!(
            none.contains("none of its 1 items can be used") && none.contains("line 1"),
            "{none}"
        );
    }
}
