//! Rows, put together from the columns of a row group.
//!
//! Each leaf gives values with two levels: how much of its path is there, and which list goes on
//! (Melnik et al., "Dremel: Interactive Analysis of Web-Scale Datasets", 2010, section 4).

use std::fs::File;
use std::sync::Arc;

use affinis::panics;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use serde_json::{Map, Value};

use super::pages::{Given, Held, Pages};
use super::schema::Shape;
use super::values::Meaning;

/// A column of the file that is read.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) shape: Shape,
    /// The meaning of each leaf, in the order of the leaves.
    pub(super) leaves: Vec<(usize, Meaning)>,
    /// Whether its numbers are those of a vector.
    pub(super) of_vector: bool,
}

/// Number of rows that are decoded at a time: a few, as a row may be large.
const ROWS: usize = 16;

/// The rows of one row group.
pub(super) struct Rows<'a> {
    columns: Vec<(&'a Column, Leaves)>,
}

impl<'a> Rows<'a> {
    /// Opens the columns of a row group.
    ///
    /// # Errors
    /// The column that cannot be opened, with the reason.
    pub(super) fn open(
        file: &Arc<File>,
        group: &RowGroupMetaData,
        columns: &'a [Column],
    ) -> Result<Self, String> {
        let held = Held::default();
        let opened = columns.iter().map(|column| {
            let leaves = column.leaves.iter().map(|(at, meaning)| {
                let opened = panics::catch(|| {
                    let chunk = group.column(*at);
                    let given = Given::default();
                    let rows = usize::try_from(group.num_rows()).unwrap_or(0);
                    let pages =
                        Pages::open(Arc::clone(file), chunk, rows, held.clone(), given.clone())
                            .map_err(|error| told(&error))?;
                    let reader = get_column_reader(chunk.column_descr_ptr(), Box::new(pages));
                    Ok((reader, given, chunk.column_descr().max_def_level()))
                });
                let (reader, given, most) = opened
                    .flatten()
                    .map_err(|reason| in_column(column, &reason))?;
                let leaf = leaf(reader, given, most, *meaning, column.of_vector);
                Ok((*at, leaf))
            });
            let leaves = leaves.collect::<Result<_, String>>()?;
            Ok((
                column,
                Leaves {
                    leaves,
                    wrong: None,
                },
            ))
        });
        let columns = opened.collect::<Result<_, String>>()?;
        Ok(Self { columns })
    }

    /// Reads the next row, as the fields of an object: a null is a field that is not there. The
    /// inner error is one of a value, after which the next row can be read.
    ///
    /// # Errors
    /// The column that is damaged, with the reason.
    pub(super) fn next(&mut self) -> Result<Result<Map<String, Value>, String>, String> {
        let mut fields = Map::new();
        let mut wrong = None;
        for (column, leaves) in &mut self.columns {
            let value = panics::catch(|| leaves.row(&column.shape))
                .flatten()
                .map_err(|reason| in_column(column, &reason))?;
            match value {
                Ok(Value::Null) => {}
                Ok(value) => {
                    fields.insert(column.name.clone(), value);
                }
                Err(reason) => {
                    wrong.get_or_insert_with(|| format!("column {:?} holds {reason}", column.name));
                }
            }
        }
        Ok(wrong.map_or(Ok(fields), Err))
    }
}

fn in_column(column: &Column, reason: &str) -> String {
    format!(
        "column {:?} is damaged, or written in a way that is not supported: {reason}",
        column.name
    )
}

/// The reason of an error, without the name of the crate.
pub(super) fn told(error: &ParquetError) -> String {
    match error {
        ParquetError::General(reason) | ParquetError::EOF(reason) => reason.clone(),
        other => other.to_string(),
    }
}

/// The leaves of one column, by their numbers.
struct Leaves {
    leaves: Vec<(usize, Box<dyn Leaf>)>,
    /// The first value of the row that JSON cannot hold.
    wrong: Option<String>,
}

impl Leaves {
    /// The value of the next row.
    fn row(&mut self, shape: &Shape) -> Result<Result<Value, String>, String> {
        for (_, leaf) in &mut self.leaves {
            leaf.fill()?;
        }
        self.wrong = None;
        let value = self.value(shape)?;
        // A list that goes on was not part of a row.
        if self.leaves.iter().any(|(_, leaf)| leaf.repeated() > 0) {
            return Err("its levels do not fit together".to_owned());
        }
        Ok(self.wrong.take().map_or(Ok(value), Err))
    }

    fn value(&mut self, shape: &Shape) -> Result<Value, String> {
        match shape {
            Shape::Leaf(at) => match self.leaf(*at)?.take()? {
                Ok(value) => Ok(value),
                Err(reason) => {
                    self.wrong.get_or_insert(reason);
                    Ok(Value::Null)
                }
            },
            Shape::Optional { defined, inner } => {
                if self.defined(inner)? >= *defined {
                    self.value(inner)
                } else {
                    self.pass(inner)?;
                    Ok(Value::Null)
                }
            }
            Shape::Group(fields) => {
                let mut object = Map::new();
                for (name, field) in fields {
                    let value = self.value(field)?;
                    self.insert(&mut object, name.clone(), value);
                }
                Ok(Value::Object(object))
            }
            Shape::List {
                defined,
                repeated,
                element,
            } => {
                let mut values = Vec::new();
                if self.defined(element)? < *defined {
                    self.pass(element)?;
                    return Ok(Value::Array(values));
                }
                loop {
                    values.push(self.value(element)?);
                    if self.repeated(element)? < *repeated {
                        return Ok(Value::Array(values));
                    }
                }
            }
            Shape::Map {
                defined,
                repeated,
                key,
                value,
            } => {
                let mut object = Map::new();
                if self.defined(key)? < *defined {
                    self.pass(key)?;
                    self.pass(value)?;
                    return Ok(Value::Object(object));
                }
                loop {
                    let name = match self.value(key)? {
                        Value::String(name) => name,
                        name @ (Value::Number(_) | Value::Bool(_)) => name.to_string(),
                        _ => {
                            self.wrong
                                .get_or_insert_with(|| "a map whose key is not a text".to_owned());
                            String::new()
                        }
                    };
                    let inner = self.value(value)?;
                    self.insert(&mut object, name, inner);
                    if self.repeated(key)? < *repeated {
                        return Ok(Value::Object(object));
                    }
                }
            }
        }
    }

    /// Gives an object a key, which a null leaves out.
    fn insert(&mut self, object: &mut Map<String, Value>, name: String, value: Value) {
        if object.contains_key(&name) {
            self.wrong
                .get_or_insert_with(|| format!("the key {name:?} twice"));
        } else if !value.is_null() {
            object.insert(name, value);
        }
    }

    fn leaf(&mut self, at: usize) -> Result<&mut dyn Leaf, String> {
        let found = self.leaves.iter_mut().find(|(number, _)| *number == at);
        match found {
            Some((_, leaf)) => Ok(&mut **leaf),
            None => Err("its schema has no such part".to_owned()),
        }
    }

    fn first(&mut self, shape: &Shape) -> Result<&mut dyn Leaf, String> {
        let at = shape.first_leaf().ok_or("its schema has an empty part")?;
        self.leaf(at)
    }

    fn defined(&mut self, shape: &Shape) -> Result<i16, String> {
        self.first(shape)?
            .defined()
            .ok_or_else(|| "its levels end early".to_owned())
    }

    fn repeated(&mut self, shape: &Shape) -> Result<i16, String> {
        Ok(self.first(shape)?.repeated())
    }

    /// Passes over the place of a value that is not there, in each of its leaves.
    fn pass(&mut self, shape: &Shape) -> Result<(), String> {
        let mut leaves = Vec::new();
        shape.leaves(&mut leaves);
        for at in leaves {
            self.leaf(at)?.pass()?;
        }
        Ok(())
    }
}

/// A leaf of a column, a level at a time.
trait Leaf {
    /// Reads more rows if none are left.
    fn fill(&mut self) -> Result<(), String>;

    /// The level of definition of the next value of this row.
    fn defined(&self) -> Option<i16>;

    /// The level of repetition of the next value; 0 at the end of a row.
    fn repeated(&self) -> i16;

    /// The next value, null where it is not there. The inner error is one of a value that JSON
    /// cannot hold.
    fn take(&mut self) -> Result<Result<Value, String>, String>;

    /// Passes over the place of a value that is not there.
    fn pass(&mut self) -> Result<(), String>;
}

struct Typed<T: DataType, F> {
    reader: ColumnReaderImpl<T>,
    given: Given,
    /// The level of definition at which a value is there.
    most: i16,
    convert: F,
    values: Vec<T::T>,
    defined: Vec<i16>,
    repeated: Vec<i16>,
    levels: usize,
    at_level: usize,
    at_value: usize,
}

impl<T: DataType, F: Fn(&T::T) -> Result<Value, String>> Typed<T, F> {
    fn new(reader: ColumnReaderImpl<T>, given: Given, most: i16, convert: F) -> Box<Self> {
        Box::new(Self {
            reader,
            given,
            most,
            convert,
            values: Vec::new(),
            defined: Vec::new(),
            repeated: Vec::new(),
            levels: 0,
            at_level: 0,
            at_value: 0,
        })
    }
}

impl<T: DataType, F: Fn(&T::T) -> Result<Value, String>> Leaf for Typed<T, F> {
    fn fill(&mut self) -> Result<(), String> {
        if self.at_level < self.levels {
            return Ok(());
        }
        self.values.clear();
        self.defined.clear();
        self.repeated.clear();
        (self.levels, self.at_level, self.at_value) = (0, 0, 0);
        self.given.restart();
        let read = self.reader.read_records(
            ROWS,
            Some(&mut self.defined),
            Some(&mut self.repeated),
            &mut self.values,
        );
        let (_, _, levels) = read.map_err(|error| told(&error))?;
        if levels == 0 {
            return Err("it has fewer rows than its row group claims".to_owned());
        }
        self.levels = levels;
        Ok(())
    }

    fn defined(&self) -> Option<i16> {
        if self.at_level >= self.levels {
            return None;
        }
        // Where a value is always there, no levels are written.
        Some(
            self.defined
                .get(self.at_level)
                .copied()
                .unwrap_or(self.most),
        )
    }

    fn repeated(&self) -> i16 {
        self.repeated.get(self.at_level).copied().unwrap_or(0)
    }

    fn take(&mut self) -> Result<Result<Value, String>, String> {
        if self.defined() != Some(self.most) {
            self.pass()?;
            return Ok(Ok(Value::Null));
        }
        self.at_level += 1;
        let value = self.values.get(self.at_value);
        self.at_value += 1;
        Ok((self.convert)(value.ok_or("its values end early")?))
    }

    fn pass(&mut self) -> Result<(), String> {
        match self.defined() {
            None => Err("its levels end early".to_owned()),
            Some(defined) if defined == self.most => {
                Err("its levels do not fit together".to_owned())
            }
            Some(_) => {
                self.at_level += 1;
                Ok(())
            }
        }
    }
}

fn leaf(
    reader: ColumnReader,
    given: Given,
    most: i16,
    meaning: Meaning,
    of_vector: bool,
) -> Box<dyn Leaf> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => {
            Typed::new(reader, given, most, |value| Ok(Value::Bool(*value)))
        }
        ColumnReader::Int32ColumnReader(reader) => {
            Typed::new(reader, given, most, move |value| meaning.of_i32(*value))
        }
        ColumnReader::Int64ColumnReader(reader) => {
            Typed::new(reader, given, most, move |value| meaning.of_i64(*value))
        }
        ColumnReader::Int96ColumnReader(reader) => {
            Typed::new(reader, given, most, Meaning::of_int96)
        }
        ColumnReader::FloatColumnReader(reader) => Typed::new(reader, given, most, move |value| {
            Meaning::of_f32(*value, of_vector)
        }),
        ColumnReader::DoubleColumnReader(reader) => {
            Typed::new(reader, given, most, |value| Meaning::of_f64(*value))
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            Typed::new(reader, given, most, move |value| {
                meaning.of_bytes(value.data())
            })
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            Typed::new(reader, given, most, move |value| {
                meaning.of_bytes(value.data())
            })
        }
    }
}
