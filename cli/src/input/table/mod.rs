//! Items as tables of delimited text: csv and tsv with a header, and `label<TAB>text` lines.

mod cells;
mod quotes;
mod roles;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Cursor, Read as _};

use csv::StringRecord;
use serde_json::{Map, Value};

use self::cells::{number_of, set_type};
use self::quotes::Quotes;
use self::roles::{Roles, is_named, other_delimiter};
use super::check::{Collector, Expected, Parsed, Read, narrow};
use super::layout::{Columns, Layout, joined};
use affinis_api::input::{BYTE_ORDER_MARK, Lines, MAX_LINE_BYTES};
use affinis_api::input::{InputError, Place};

/// How the fields of a table are told apart.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    delimiter: u8,
    /// Whether a field may stand between quotes.
    quotes: bool,
}

/// Reads items from tab-separated lines. A table with a header has fields that are not quoted; its
/// columns are those of [`csv()`]. There is a header if the layout names columns, or if the first
/// line has more than two fields, or is of two words of which one is `id`, `text` or `vector`.
/// Otherwise a line is `label<TAB>text`, the label goes to `meta.label`, and a line without an id
/// of its own gets its number, from 0.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used (unless `expected` skips them), and for an
/// input without items.
pub fn tsv(
    mut reader: impl BufRead,
    file: &str,
    expected: Expected,
    layout: &Layout,
) -> Result<Parsed, InputError> {
    let head = first_line(&mut reader)
        .map_err(|e| InputError::new(file, Place::File, format!("cannot be read: {e}")))?;
    let line = head
        .strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(&head)
        .trim_ascii();
    let fields: StringRecord = String::from_utf8_lossy(line).split('\t').collect();
    let reader = Cursor::new(head).chain(reader);
    if fields.len() > 2 || layout.columns.is_named() || is_header(&fields) {
        let dialect = Dialect {
            delimiter: b'\t',
            quotes: false,
        };
        return table(reader, file, expected, layout, dialect);
    }
    let mut collector = Collector::by_layout(file, expected, layout);
    for line in Lines::new(reader, file) {
        match line {
            Ok((_, text)) if text.trim().is_empty() => {}
            Ok((number, text)) => {
                collector.push_read(Place::Line(number), number - 1, labelled(&text))?;
            }
            Err(error) => collector.refuse(error)?,
        }
    }
    collector.finish()
}

/// Whether a line with one tab is a header rather than a label and a text: it names a part of an
/// item, and both fields are single words.
fn is_header(fields: &StringRecord) -> bool {
    let is_word = |field: &str| {
        let of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        !field.is_empty() && field.chars().all(of_word)
    };
    is_named(fields, &Columns::default()) && fields.iter().all(is_word)
}

/// Reads up to the end of the first line that is not blank.
fn first_line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let start = head.len();
        let mut bounded = reader.by_ref().take(MAX_LINE_BYTES);
        let read = bounded.read_until(b'\n', &mut head)?;
        if read == 0 || !head[start..].trim_ascii().is_empty() {
            return Ok(head);
        }
    }
}

fn labelled(line: &str) -> Result<Read, String> {
    let (label, text) = line
        .split_once('\t')
        .ok_or("no tab; a line is label<TAB>text")?;
    if text.trim().is_empty() {
        return Err("the text after the tab is empty".into());
    }
    let label = ("label".to_owned(), Value::from(label));
    Ok(Read {
        text: Some(text.to_owned()),
        meta: Value::Object(Map::from_iter([label])),
        ..Read::default()
    })
}

/// Reads items from csv with a header. The columns are those that the layout names, and where it
/// does not, those named `id`, `text` and `vector` (a JSON array); others are metadata under their
/// names, of which those with numbers or booleans only are stored as such, and an empty cell is
/// none. Without text and vector, the columns of numbers are the vector if they are as many as the
/// dimension.
///
/// Without any such column, the columns of numbers form the vector, the last column is
/// `meta.label`, and others go to the metadata as texts. The first record decides which columns
/// hold numbers; a later cell of such a column that is not a number is an error.
///
/// Items without an id get the number of their record, from 0.
///
/// # Errors
/// [`InputError`] at the first record that cannot be used (unless `expected` skips them), for an
/// unusable header, and for an input without items.
pub fn csv(
    reader: impl BufRead,
    file: &str,
    expected: Expected,
    layout: &Layout,
) -> Result<Parsed, InputError> {
    let dialect = Dialect {
        delimiter: layout.delimiter.unwrap_or(b','),
        quotes: true,
    };
    table(reader, file, expected, layout, dialect)
}

fn table(
    reader: impl BufRead,
    file: &str,
    expected: Expected,
    layout: &Layout,
    dialect: Dialect,
) -> Result<Parsed, InputError> {
    let mut collector = Collector::by_layout(file, expected, layout);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .delimiter(dialect.delimiter)
        .quoting(dialect.quotes)
        .from_reader(LineStarts::new(reader, dialect));
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(csv_error(file, reader.get_ref(), &error)),
    };
    if let Some(error) = wrong_quote(&mut reader, file) {
        return Err(error);
    }
    let mut roles: Option<Roles> = None;
    let mut record = StringRecord::new();
    for number in 0_u64.. {
        let read = reader.read_record(&mut record);
        if let Some(error) = wrong_quote(&mut reader, file) {
            collector.refuse(error)?;
            continue;
        }
        match read {
            Ok(false) => break,
            Ok(true) => {
                let roles = match &mut roles {
                    Some(roles) => roles,
                    none => {
                        let found = Roles::of(&header, &record, layout, expected.dim);
                        let wrong = |reason| InputError::new(file, Place::File, reason);
                        none.insert(found.map_err(wrong)?)
                    }
                };
                let item = item_of(&record, roles, expected.dim);
                collector.push_read(reader.get_ref().place(record.position()), number, item)?;
            }
            Err(error) => collector.refuse(csv_error(file, reader.get_ref(), &error))?,
        }
    }
    let mut parsed = collector.finish()?;
    for (_, key) in roles
        .iter()
        .filter(|roles| roles.typed)
        .flat_map(|roles| &roles.meta)
    {
        set_type(&mut parsed.items, key);
    }
    Ok(parsed)
}

/// The error of the quotes of the record that was read last.
fn wrong_quote<R: io::Read>(
    reader: &mut csv::Reader<LineStarts<R>>,
    file: &str,
) -> Option<InputError> {
    let end = reader.position().byte();
    let wrong = reader.get_mut().quotes.as_mut()?.wrong_before(end)?;
    Some(InputError::new(
        file,
        Place::Line(wrong.line()),
        wrong.reason,
    ))
}

/// A reader that records where lines that are not blank begin, and where quotes are wrong. The csv
/// reader's own position of a record is the one before the blank lines that it skips.
struct LineStarts<R> {
    inner: R,
    offset: u64,
    line: u64,
    in_line: bool,
    /// Offset and number of each line that is not blank.
    starts: Vec<(u64, u64)>,
    /// `None` where quotes have no meaning.
    quotes: Option<Quotes>,
}

impl<R> LineStarts<R> {
    fn new(inner: R, dialect: Dialect) -> Self {
        Self {
            inner,
            offset: 0,
            line: 1,
            in_line: false,
            starts: Vec::new(),
            quotes: dialect.quotes.then(|| Quotes::new(dialect.delimiter)),
        }
    }

    /// Line of the record that the csv reader reports at `position`.
    fn place(&self, position: Option<&csv::Position>) -> Place {
        let Some(position) = position else {
            return Place::File;
        };
        let at = self
            .starts
            .partition_point(|&(offset, _)| offset < position.byte());
        Place::Line(
            self.starts
                .get(at)
                .map_or(position.line(), |&(_, line)| line),
        )
    }
}

impl<R: io::Read> io::Read for LineStarts<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let (0, false, Some(quotes)) = (read, buffer.is_empty(), &mut self.quotes) {
            quotes.end();
        }
        for byte in &buffer[..read] {
            if let Some(quotes) = &mut self.quotes {
                quotes.read(*byte, self.offset, self.line);
            }
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.in_line = false;
                }
                b'\r' => {}
                _ if self.in_line => {}
                _ => {
                    self.in_line = true;
                    self.starts.push((self.offset, self.line));
                }
            }
            self.offset += 1;
        }
        Ok(read)
    }
}

fn item_of(record: &StringRecord, roles: &Roles, dim: usize) -> Result<Read, String> {
    if record.len() != roles.names.len() {
        return Err(format!(
            "{} fields, but the header has {}{}",
            record.len(),
            roles.names.len(),
            other_delimiter(record)
        ));
    }
    let filled = |at: usize| Some(&record[at]).filter(|cell| !cell.trim().is_empty());
    let meta = roles.meta.iter().filter_map(|(at, key)| {
        // A label is kept as it is, be it empty.
        let cell = if roles.typed {
            filled(*at)?
        } else {
            &record[*at]
        };
        Some((key.clone(), Value::from(cell)))
    });
    let meta: Map<String, Value> = meta.collect();
    Ok(Read {
        id: roles.id.map(|at| record[at].to_owned()),
        text: joined(roles.text.iter().map(|at| &record[*at])),
        vector: vector_of(record, roles, dim)?,
        meta: if meta.is_empty() {
            Value::Null
        } else {
            Value::Object(meta)
        },
    })
}

fn vector_of(record: &StringRecord, roles: &Roles, dim: usize) -> Result<Option<Vec<f32>>, String> {
    let numbers: Vec<f64> = if let Some(at) = roles.array {
        let (name, cell) = (&roles.names[at], record[at].trim());
        if cell.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(cell)
            .map_err(|e| format!("column {name:?} holds no JSON array of numbers: {e}"))?
    } else {
        // A text may stand where there is no vector.
        let cells = || roles.numbers.iter().map(|at| &record[*at]);
        if !roles.guessed && cells().all(|cell| cell.trim().is_empty()) {
            return Ok(None);
        }
        let number = |at: &usize| {
            let (name, cell) = (&roles.names[*at], &record[*at]);
            number_of(cell).ok_or_else(|| format!("column {name:?} holds {cell:?}, not a number"))
        };
        roles.numbers.iter().map(number).collect::<Result<_, _>>()?
    };
    let vector = narrow(&numbers, "the vector")?;
    let unused: Vec<String> = roles
        .meta
        .iter()
        .filter(|(at, _)| *at + 1 < roles.names.len())
        .map(|(at, _)| format!("{:?}", roles.names[*at]))
        .collect();
    if roles.guessed && vector.len() != dim && !unused.is_empty() {
        return Err(format!(
            "the vector has {} numbers, but the collection holds vectors of dimension {dim}; the first record decides which columns \
             hold numbers, and there is none in {}",
            vector.len(),
            unused.join(", ")
        ));
    }
    Ok(Some(vector))
}

fn csv_error<R>(file: &str, lines: &LineStarts<R>, error: &csv::Error) -> InputError {
    let (place, reason) = match error.kind() {
        csv::ErrorKind::Utf8 { pos, err } => (
            lines.place(pos.as_ref()),
            format!("not UTF-8 in field {}", err.field() + 1),
        ),
        csv::ErrorKind::Io(e) => (Place::File, format!("cannot be read: {e}")),
        _ => (Place::File, error.to_string()),
    };
    InputError::new(file, place, reason)
}
