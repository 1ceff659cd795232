//! Items as tables of delimited text: csv and tsv with a header, and `label<TAB>text` lines.

mod cells;
mod quotes;
mod roles;

use std::io::{self, BufRead, Cursor, Read as _};

use csv::StringRecord;
use serde_json::{Map, Value};

use self::cells::{number_of, set_type};
use self::quotes::Quotes;
use self::roles::{Roles, is_named, other_delimiter};
use super::check::{Collector, Expected, Parsed, Read, narrow};
use super::error::{InputError, Place};
use super::layout::{Columns, Layout, joined};
use super::lines::{BYTE_ORDER_MARK, Lines, MAX_LINE_BYTES};

/// How the fields of a table are told apart.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    delimiter: u8,
    /// Whether a field may stand between quotes.
    quotes: bool,
}

/// Reads items from tab-separated lines. A table with a header has fields that are not quoted; its
/// columns are those of [`csv`]. There is a header if the layout names columns, or if the first
/// line has more than two fields, or is of two words of which one is `id`, `text` or `vector`. Otherwise a line is
/// `label<TAB>text`, the label goes to `meta.label`, and a line without an id of its own gets its
/// number, from 0.
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

    fn csv_refused(text: &str, with: &str) {
        let error = csv(text.as_bytes(), "in.csv", TWO, &Layout::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(with), "{error:?} does not say {with:?}");
    }

    #[test]
    fn tsv_puts_the_label_into_the_metadata() {
        let parsed = tsv(
            &b"fruit\tan apple\ttree\n\nanimal\ta dog\r\n"[..],
            "f",
            TWO,
            &Layout::default(),
        )
        .unwrap();
        assert_eq!(
            parsed.items[0],
            Item::text("0", "an apple\ttree").with_meta(json!({"label": "fruit"}))
        );
        assert_eq!(
            parsed.items[1],
            Item::text("2", "a dog").with_meta(json!({"label": "animal"}))
        );
        let error = tsv(
            &b"a\tb\nfruit an apple\n"[..],
            "in.tsv",
            TWO,
            &Layout::default(),
        )
        .unwrap_err()
        .to_string();
        assert!(error.starts_with("in.tsv, line 2: no tab"), "{error}");
        assert!(
            tsv(&b"a\t \n"[..], "f", TWO, &Layout::default())
                .unwrap_err()
                .to_string()
                .contains("empty")
        );
    }

    #[test]
    fn csv_columns_of_numbers_form_the_vector() {
        let parsed = csv(
            &b"x,name,y,class\n1,first,-2.5,7\n\n\"3\",\"a, b\",4e1,8\n"[..],
            "f",
            TWO,
            &Layout::default(),
        )
        .unwrap();
        let meta = |name: &str, label: &str| json!({"name": name, "label": label});
        assert_eq!(
            parsed.items[0],
            Item::vector("0", vec![1.0, -2.5]).with_meta(meta("first", "7"))
        );
        assert_eq!(
            parsed.items[1],
            Item::vector("1", vec![3.0, 40.0]).with_meta(meta("a, b", "8"))
        );
        assert_eq!(parsed.places, [Place::Line(2), Place::Line(4)]);
    }

    #[test]
    fn csv_errors_name_line_and_column() {
        csv_refused(
            "x,y,l\n1,2,a\n1,two,a\n",
            "in.csv, line 3: column \"y\" holds \"two\", not a number",
        );
        csv_refused(
            "x,y,l\r\n\r\n1,2,a\r\n\r\n1,two,a\r\n",
            "in.csv, line 5: column \"y\"",
        );
        csv_refused(
            "x,y,l\n1,2,\"a\nb\"\n1,two,a\n",
            "in.csv, line 4: column \"y\"",
        );
        csv_refused(
            "x,y,l\n1,2,a\n1,2\n",
            "in.csv, line 3: 2 fields, but the header has 3",
        );
        csv_refused(
            "x,y,l\n1,NaN,a\n",
            "line 2: the vector has NaN at position 1",
        );
        csv_refused(
            "x,y,l\n1,inf,a\n",
            "line 2: the vector has inf at position 1",
        );
        csv_refused("1,2,3\n1,2,3\n", "the first line is all numbers");
        csv_refused("x,y,z,l\n1,2,3,a\n", "line 2: the vector has 3 numbers");
        csv_refused(
            "x,y,z,l\n1,abc,,a\n1,2,3,a",
            "line 2: the vector has 1 numbers, but the collection holds vectors of dimension 2",
        );
        csv_refused(
            "x,y,z,l\n1,abc,,a\n1,2,3,a",
            "hold numbers, and there is none in \"y\", \"z\"",
        );
        csv_refused("a,b\nx,y\n", "no column but the last holds a number");
        csv_refused(
            "x,y,label,l\n1,2,a,b\n",
            "two columns would be \"meta.label\"",
        );
        csv_refused("x,y,l\n", "the input is empty");
        csv_refused("", "the input is empty");
        let error = csv(&b"x,y,l\n1,2,\xff\n"[..], "in.csv", TWO, &Layout::default())
            .unwrap_err()
            .to_string();
        assert_eq!(error, "in.csv, line 2: not UTF-8 in field 3");
    }

    #[test]
    fn a_quote_too_many_swallows_no_records() {
        const UNCLOSED: &str = "the quote that opens a field here is never closed";
        const BEHIND: &str = "the quoted field that begins here goes on after its closing quote";
        let refused = |text: &str, line: u64, with: &str| {
            csv_refused(text, &format!("in.csv, line {line}: {with}"));
            csv_refused(
                &text.replace('\n', "\r\n"),
                &format!("in.csv, line {line}: {with}"),
            );
            csv_refused(
                &format!("\u{feff}{text}"),
                &format!("in.csv, line {line}: {with}"),
            );
        };
        refused("x,y,l\n1,2,\"a\n3,4,b\n5,6,c\n", 2, UNCLOSED);
        refused("x,y,l\n1,2,a\n\n3,4,\"", 4, UNCLOSED);
        refused("x,y,l\n1,2,\"a\n\"\"\n", 2, UNCLOSED);
        refused("\"x,y,l\n1,2,a\n", 1, UNCLOSED);
        refused("x,y,l\n1,2,\"a\n3,4,b\n5,6,\"c\"\n", 2, BEHIND);
        refused("x,y,l\n1,2,\"a\"\n3,4,\"b\" c\n", 3, BEHIND);
        let good = "\"x\",y,l\n1,2,\"a \"\"b\"\" \n,c\" \n3,4,5\" 6\"\n\"5\",6,\"\"\n";
        let labels = |text: &str| -> Vec<Value> {
            let parsed = csv(text.as_bytes(), "f", TWO, &Layout::default()).unwrap();
            parsed
                .items
                .into_iter()
                .map(|item| item.meta["label"].clone())
                .collect()
        };
        for text in [good.to_owned(), format!("\u{feff}{good}")] {
            assert_eq!(labels(&text), ["a \"b\" \n,c ", "5\" 6\"", ""]);
        }
        // Records before the wrong quote, and after the field is closed, are not lost.
        let skip = Expected {
            skip_bad: true,
            ..TWO
        };
        let text = "x,y,l\n1,2,a\n3,4,\"b\"c\n5,6,d\n7,8,\"e\n9,9,f\n";
        let parsed = csv(
            std::io::BufReader::with_capacity(3, text.as_bytes()),
            "f",
            skip,
            &Layout::default(),
        )
        .unwrap();
        assert_eq!(parsed.places, [2, 4].map(Place::Line));
        assert_eq!(
            parsed.bad.iter().map(|bad| bad.place).collect::<Vec<_>>(),
            [3, 5].map(Place::Line)
        );
    }
}
