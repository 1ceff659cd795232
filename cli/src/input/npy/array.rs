//! A 2-D npy array that is read row by row.

use std::io::{BufRead, ErrorKind};

use half::f16;
use ndarray::Array2;

use super::header::read_header;
use affinis_api::input::{InputError, Place, cut};

/// A 2-D array whose header has been read, and whose rows are read one after another.
pub(super) struct Array<'a, R> {
    reader: R,
    file: &'a str,
    pub(super) rows: u64,
    columns: usize,
    number: Number,
    /// The bytes of one row.
    row: Vec<u8>,
}

/// Type of an array's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    F16,
    F32,
    F64,
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl<'a, R: BufRead> Array<'a, R> {
    /// Reads the header, and refuses arrays that are not rows of floats in C order.
    pub(super) fn open(mut reader: R, file: &'a str) -> Result<Self, InputError> {
        let wrong = |reason: String| InputError::new(file, Place::File, reason);
        let header = read_header(&mut reader).map_err(wrong)?;
        let number = match header.descr.as_str() {
            "<f2" => Number::F16,
            "<f4" => Number::F32,
            "<f8" => Number::F64,
            other if other.starts_with('>') => {
                return Err(wrong(format!(
                    "holds big-endian numbers ({other}); save it with .astype('<f4')"
                )));
            }
            other => {
                return Err(wrong(format!(
                    "holds {:?}, not f16, f32 or f64; save it with .astype('<f4')",
                    cut(other)
                )));
            }
        };
        if header.fortran_order {
            return Err(wrong(
                "is in Fortran order; save numpy.ascontiguousarray(..) of it".into(),
            ));
        }
        let [rows, columns] = header.shape[..] else {
            return Err(wrong(format!(
                "has {} dimensions; a 2-D array, one vector a row, is needed",
                header.shape.len()
            )));
        };
        let columns = usize::try_from(columns)
            .ok()
            .filter(|c| (1..=affinis::limits::MAX_DIM).contains(c))
            .ok_or_else(|| {
                wrong(format!(
                    "has {columns} columns; a vector has 1 to {} numbers",
                    affinis::limits::MAX_DIM
                ))
            })?;
        Ok(Self {
            reader,
            file,
            rows,
            columns,
            number,
            row: vec![0; columns * number.bytes()],
        })
    }

    /// Reads the next row, number `row` from 0.
    pub(super) fn read_row(&mut self, row: u64) -> Result<(), InputError> {
        self.reader.read_exact(&mut self.row).map_err(|e| {
            let reason = match e.kind() {
                ErrorKind::UnexpectedEof => {
                    format!(
                        "is cut short: the header promises {} rows and the data end in row {row}",
                        self.rows
                    )
                }
                _ => format!("cannot be read: {e}"),
            };
            InputError::new(self.file, Place::File, reason)
        })
    }

    /// The numbers of the row that was read last.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        let number = self.number;
        self.row
            .chunks_exact(number.bytes())
            .map(move |bytes| match (number, bytes) {
                (Number::F16, &[a, b]) => f64::from(f16::from_le_bytes([a, b])),
                (Number::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
                (_, bytes) => bytes.try_into().map_or(f64::NAN, f64::from_le_bytes),
            })
    }

    /// Refuses bytes after the last row.
    pub(super) fn check_end(&mut self) -> Result<(), InputError> {
        let wrong = |reason: String| Err(InputError::new(self.file, Place::File, reason));
        match self.reader.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => wrong(format!(
                "goes on after the {} rows that its header promises",
                self.rows
            )),
            Err(e) => wrong(format!("cannot be read: {e}")),
        }
    }

    /// The numbers of all rows as a matrix; refuses an array without rows.
    pub(super) fn finish<T>(mut self, numbers: Vec<T>) -> Result<Array2<T>, InputError> {
        self.check_end()?;
        let wrong = |reason: String| InputError::new(self.file, Place::File, reason);
        if numbers.is_empty() {
            return Err(wrong("the input is empty: it holds no rows".into()));
        }
        Array2::from_shape_vec((numbers.len() / self.columns, self.columns), numbers)
            .map_err(|e| wrong(e.to_string()))
    }
}
