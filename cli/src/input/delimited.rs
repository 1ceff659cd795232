//! Items as delimited text: `label<TAB>text` lines, and csv with a header.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};

use affinis::Item;
use serde_json::{Map, Value};

use super::check::{Collector, Expected, Parsed, narrow};
use super::error::{InputError, Place};
use super::lines::Lines;
use super::quotes::Quotes;

/// Reads items from `label<TAB>text` lines: the label goes to `meta.label`, ids are line numbers
/// from 0.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used (unless `expected` skips them), and for an
/// input without items.
pub fn tsv(reader: impl BufRead, file: &str, expected: Expected) -> Result<Parsed, InputError> {
    let mut collector = Collector::new(file, expected);
    for line in Lines::new(reader, file) {
        match line {
            Ok((_, text)) if text.trim().is_empty() => {}
            Ok((number, text)) => collector.push(Place::Line(number), tsv_item(number, &text))?,
            Err(error) => collector.refuse(error)?,
        }
    }
    collector.finish()
}

fn tsv_item(number: u64, line: &str) -> Result<Item, String> {
    let (label, text) = line
        .split_once('\t')
        .ok_or("no tab; a line is label<TAB>text")?;
    if text.trim().is_empty() {
        return Err("the text after the tab is empty".into());
    }
    Ok(Item::text((number - 1).to_string(), text).with_meta(label_only(label)))
}

fn label_only(label: &str) -> Value {
    Value::Object(Map::from_iter([("label".to_owned(), Value::from(label))]))
}

/// Reads items from csv with a header: the columns of numbers form the vector, the last column is
/// `meta.label`, and other columns go to `meta` under their names. Ids are record numbers from 0.
/// The first record decides which columns hold numbers; a later cell of such a column that is not
/// a number is an error.
///
/// # Errors
/// [`InputError`] at the first record that cannot be used (unless `expected` skips them), for an
/// unusable header, and for an input without items.
pub fn csv(reader: impl BufRead, file: &str, expected: Expected) -> Result<Parsed, InputError> {
    let mut collector = Collector::new(file, expected);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(LineStarts::new(reader));
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(csv_error(file, reader.get_ref(), &error)),
    };
    if let Some(error) = wrong_quote(&mut reader, file) {
        return Err(error);
    }
    let mut columns: Option<Vec<Column>> = None;
    let mut record = csv::StringRecord::new();
    for number in 0_u64.. {
        let read = reader.read_record(&mut record);
        if let Some(error) = wrong_quote(&mut reader, file) {
            collector.refuse(error)?;
            continue;
        }
        match read {
            Ok(false) => break,
            Ok(true) => {
                if columns.is_none() {
                    columns = Some(columns_of(&header, &record, file)?);
                }
                let item = csv_item(
                    number,
                    &record,
                    columns.as_deref().unwrap_or_default(),
                    expected.dim,
                );
                collector.push(reader.get_ref().place(record.position()), item)?;
            }
            Err(error) => collector.refuse(csv_error(file, reader.get_ref(), &error))?,
        }
    }
    collector.finish()
}

/// The error of the quotes of the record that was read last.
fn wrong_quote<R: Read>(reader: &mut csv::Reader<LineStarts<R>>, file: &str) -> Option<InputError> {
    let end = reader.position().byte();
    let wrong = reader.get_mut().quotes.wrong_before(end)?;
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
    quotes: Quotes,
}

impl<R> LineStarts<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            offset: 0,
            line: 1,
            in_line: false,
            starts: Vec::new(),
            quotes: Quotes::default(),
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

impl<R: Read> Read for LineStarts<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.quotes.end();
        }
        for byte in &buffer[..read] {
            self.quotes.read(*byte, self.offset, self.line);
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

/// Use of a column.
enum Column {
    Number(String),
    Meta(String),
    Label,
}

fn columns_of(
    header: &csv::StringRecord,
    first: &csv::StringRecord,
    file: &str,
) -> Result<Vec<Column>, InputError> {
    let wrong = |reason: String| InputError::new(file, Place::File, reason);
    if header.len() < 2 {
        return Err(wrong(
            "the header has one column; csv needs columns of numbers and, last, a label".into(),
        ));
    }
    if header.iter().all(|name| number_of(name).is_some()) {
        return Err(wrong(
            "the first line is all numbers; csv needs a header with the columns' names".into(),
        ));
    }
    let columns: Vec<Column> = header
        .iter()
        .enumerate()
        .map(|(at, name)| match first.get(at).and_then(number_of) {
            _ if at + 1 == header.len() => Column::Label,
            Some(_) => Column::Number(name.to_owned()),
            None => Column::Meta(name.to_owned()),
        })
        .collect();
    if !columns.iter().any(|c| matches!(c, Column::Number(_))) {
        return Err(wrong(
            "no column but the last holds a number in the first record".into(),
        ));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = columns
        .iter()
        .filter_map(Column::meta_name)
        .find(|name| !seen.insert(*name))
    {
        return Err(wrong(format!(
            "two columns would be \"meta.{twice}\"; rename one in the header"
        )));
    }
    Ok(columns)
}

impl Column {
    fn meta_name(&self) -> Option<&str> {
        match self {
            Self::Number(_) => None,
            Self::Meta(name) => Some(name),
            Self::Label => Some("label"),
        }
    }
}

fn csv_item(
    number: u64,
    record: &csv::StringRecord,
    columns: &[Column],
    dim: usize,
) -> Result<Item, String> {
    if record.len() != columns.len() {
        return Err(format!(
            "{} fields, but the header has {}",
            record.len(),
            columns.len()
        ));
    }
    let mut vector = Vec::new();
    let mut meta = Map::new();
    for (column, cell) in columns.iter().zip(record) {
        match column {
            Column::Number(name) => {
                vector.push(
                    number_of(cell)
                        .ok_or_else(|| format!("column {name:?} holds {cell:?}, not a number"))?,
                );
            }
            Column::Meta(_) | Column::Label => {
                meta.insert(
                    column.meta_name().unwrap_or_default().to_owned(),
                    Value::from(cell),
                );
            }
        }
    }
    let vector = narrow(&vector, "the vector")?;
    let meta_columns: Vec<String> = columns
        .iter()
        .filter_map(|column| match column {
            Column::Meta(name) => Some(format!("{name:?}")),
            Column::Number(_) | Column::Label => None,
        })
        .collect();
    if vector.len() != dim && !meta_columns.is_empty() {
        return Err(format!(
            "the vector has {} numbers, but the collection holds vectors of dimension {dim}; the first record decides which columns \
             hold numbers, and there is none in {}",
            vector.len(),
            meta_columns.join(", ")
        ));
    }
    Ok(Item::vector(number.to_string(), vector).with_meta(Value::Object(meta)))
}

fn number_of(cell: &str) -> Option<f64> {
    cell.trim().parse().ok()
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
    use affinis::Distance;
    use serde_json::json;

    const TWO: Expected = Expected {
        dim: 2,
        texts: true,
        distance: Distance::L2,
        skip_bad: false,
    };

    fn csv_refused(text: &str, with: &str) {
        let error = csv(text.as_bytes(), "in.csv", TWO).unwrap_err().to_string();
        assert!(error.contains(with), "{error:?} does not say {with:?}");
    }

    #[test]
    fn tsv_puts_the_label_into_the_metadata() {
        let parsed = tsv(&b"fruit\tan apple\ttree\n\nanimal\ta dog\r\n"[..], "f", TWO).unwrap();
        assert_eq!(
            parsed.items[0],
            Item::text("0", "an apple\ttree").with_meta(json!({"label": "fruit"}))
        );
        assert_eq!(
            parsed.items[1],
            Item::text("2", "a dog").with_meta(json!({"label": "animal"}))
        );
        let error = tsv(&b"a\tb\nfruit an apple\n"[..], "in.tsv", TWO)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("in.tsv, line 2: no tab"), "{error}");
        assert!(
            tsv(&b"a\t \n"[..], "f", TWO)
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
        let error = csv(&b"x,y,l\n1,2,\xff\n"[..], "in.csv", TWO)
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
            let parsed = csv(text.as_bytes(), "f", TWO).unwrap();
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
        )
        .unwrap();
        assert_eq!(parsed.places, [2, 4].map(Place::Line));
        assert_eq!(
            parsed.bad.iter().map(|bad| bad.place).collect::<Vec<_>>(),
            [3, 5].map(Place::Line)
        );
    }
}
