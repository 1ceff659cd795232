//! Items as Parquet.
//!
//! Rows are read one after another from the columns that are used. Nothing that the file claims is
//! believed before it is checked: the footer (`footer`), the sizes of pages and the numbers of
//! values in them (`pages`), and how much all rows come to. The crate `parquet`, which decodes the
//! pages, can panic on what it reads; that is caught, and is an error.

mod columns;
mod delta;
mod footer;
mod pages;
mod records;
mod schema;
mod thrift;
mod values;

use std::fs::File;
use std::sync::Arc;

use affinis::panics;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use serde_json::{Map, Value};

use self::records::{Column, Rows, told};
use super::check::{Collector, Expected, Parsed};
use super::fields::item_of;
use super::layout::Layout;
use affinis_api::input::{InputError, Place};

/// Most bytes that the values of a file come to, for each byte of the file: a dictionary packs
/// equal values, and a file that packs more than this holds no items that differ.
const MAX_EXPANSION: u64 = 200;
/// Bytes that the values of any file may come to.
const MIN_EXPANDED_BYTES: u64 = 256 << 20;

/// Reads items from a Parquet file, a row each. The columns are those that the layout names, and
/// where it does not, those named `id`, `text` and `vector`; others are metadata under their names,
/// with their types. Columns are read as the fields of JSON objects are: a null is a field that is
/// not there, structs and maps are objects, dates and times texts as RFC 3339 has them (a time that
/// is not said to be UTC is taken as such), and decimals texts.
///
/// Items without an id get the number of their row, from 0.
///
/// # Errors
/// [`InputError`] at the first row that cannot be used (unless `expected` skips them), for a file
/// that is damaged or not Parquet, and for one without items.
pub fn parquet(
    file: File,
    name: &str,
    expected: Expected,
    layout: &Layout,
) -> Result<Parsed, InputError> {
    let wrong = |reason: String| InputError::new(name, Place::File, reason);
    footer::check(&file).map_err(wrong)?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let metadata = footer_of(&file).map_err(wrong)?;
    let schema = metadata.file_metadata().schema_descr();
    let (columns, layout) = panics::catch(|| columns::choose(schema, layout, expected.dim))
        .flatten()
        .map_err(wrong)?;
    let file = Arc::new(file);
    let mut collector = Collector::by_layout(name, expected, &layout);
    let mut left = (size.saturating_mul(MAX_EXPANSION)).max(MIN_EXPANDED_BYTES);
    let mut number = 0_u64;
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows())
            .map_err(|_| wrong("is damaged: a row group has fewer than no rows".to_owned()))?;
        if rows == 0 {
            continue;
        }
        let damaged = |number, reason| InputError::new(name, Place::Row(number), reason);
        let mut group = Rows::open(&file, group, &columns).map_err(|e| damaged(number, e))?;
        for _ in 0..rows {
            let read = group.next().map_err(|e| damaged(number, e))?;
            let bytes = read.as_ref().map_or(ROW_BYTES, bytes_of);
            left = left.checked_sub(bytes).ok_or_else(|| {
                damaged(
                    number,
                    format!("the rows come to more than {MAX_EXPANSION} times the size of the file; they are not items"),
                )
            })?;
            let item = read.and_then(|fields| item_of(fields, &layout));
            collector.push_read(Place::Row(number), number, item)?;
            number += 1;
        }
    }
    collector.finish()
}

fn footer_of(file: &File) -> Result<ParquetMetaData, String> {
    let read = panics::catch(|| {
        ParquetMetaDataReader::new()
            .parse_and_finish(file)
            .map_err(|error| told(&error))
    });
    read.flatten()
        .map_err(|reason| format!("its footer is damaged: {reason}"))
}

/// Bytes that a row takes beside its values.
const ROW_BYTES: u64 = 128;

/// About the bytes that the values of a row take.
fn bytes_of(fields: &Map<String, Value>) -> u64 {
    fn of(value: &Value) -> u64 {
        match value {
            Value::String(text) => 16 + text.len() as u64,
            Value::Array(values) => 16 + values.iter().map(of).sum::<u64>(),
            Value::Object(fields) => bytes_of(fields),
            _ => 8,
        }
    }
    ROW_BYTES
        + fields
            .iter()
            .map(|(name, value)| name.len() as u64 + of(value))
            .sum::<u64>()
}

impl Column {
    /// Whether it is a number, and no list of numbers.
    fn is_number(&self) -> bool {
        let is_flat = match &self.shape {
            schema::Shape::Leaf(_) => true,
            schema::Shape::Optional { inner, .. } => matches!(**inner, schema::Shape::Leaf(_)),
            _ => false,
        };
        is_flat && self.leaves.iter().all(|(_, meaning)| meaning.is_number())
    }
}
