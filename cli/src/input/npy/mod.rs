//! Reader and writer of npy files, the array format of `NumPy`: 2-D arrays of f16, f32 or f64 in C
//! order, little-endian, of format versions 1 to 3.
//!
//! The header is not trusted: its length is bounded, and rows are read one after another, so memory
//! grows with the data in the file and not with the shape that the header claims. Format: NEP 1,
//! `numpy.lib.format`.

mod array;
mod header;

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use ndarray::{Array2, ArrayView2};

use self::array::Array;
use super::check::{Collector, Expected, Parsed, Read, check_id, check_vector};
use super::layout::Layout;
use affinis_api::input::Lines;
use affinis_api::input::{InputError, Place, cut};

/// First bytes of every npy file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Reads a 2-D array as f32.
///
/// # Errors
/// [`InputError`] for another kind of array, for data that end early or continue after the last
/// row, and at a number that is not finite.
pub fn npy_f32(reader: impl BufRead, file: &str) -> Result<Array2<f32>, InputError> {
    let mut reader = Array::open(reader, file)?;
    let mut numbers: Vec<f32> = Vec::new();
    for row in 0..reader.rows {
        reader.read_row(row)?;
        for (column, value) in reader.numbers().enumerate() {
            let narrow = value as f32;
            if !narrow.is_finite() {
                return Err(not_finite(file, row, column, value));
            }
            numbers.push(narrow);
        }
    }
    reader.finish(numbers)
}

/// Reads query vectors, one a row.
///
/// # Errors
/// As [`npy_f32`], and at a row that the collection cannot search for.
pub fn npy_queries(
    reader: impl BufRead,
    file: &str,
    expected: Expected,
) -> Result<Array2<f32>, InputError> {
    let vectors = npy_f32(reader, file)?;
    if vectors.ncols() != expected.dim {
        let reason = format!(
            "has {} columns, but the collection holds vectors of dimension {}",
            vectors.ncols(),
            expected.dim
        );
        return Err(InputError::new(file, Place::File, reason));
    }
    for (row, vector) in (0..).zip(vectors.outer_iter()) {
        check_vector(&vector.to_vec(), expected)
            .map_err(|reason| InputError::new(file, Place::Row(row), reason))?;
    }
    Ok(vectors)
}

/// Reads a 2-D array as f64.
///
/// # Errors
/// As [`npy_f32`].
pub fn npy_f64(reader: impl BufRead, file: &str) -> Result<Array2<f64>, InputError> {
    let mut reader = Array::open(reader, file)?;
    let mut numbers: Vec<f64> = Vec::new();
    for row in 0..reader.rows {
        reader.read_row(row)?;
        for (column, value) in reader.numbers().enumerate() {
            if !value.is_finite() {
                return Err(not_finite(file, row, column, value));
            }
            numbers.push(value);
        }
    }
    reader.finish(numbers)
}

/// Reads items, one a row. Their ids are the lines of `ids`, or else the row numbers from 0.
///
/// # Errors
/// [`InputError`] at the first row that cannot be used (unless `expected` skips them), and when the
/// number of ids is not the number of rows.
pub fn npy_items<I: BufRead>(
    reader: impl BufRead,
    file: &str,
    ids: Option<(I, &str)>,
    expected: Expected,
    layout: &Layout,
) -> Result<Parsed, InputError> {
    let ids = ids
        .map(|(reader, name)| read_ids(reader, name).map(|ids| (ids, name)))
        .transpose()?;
    let mut array = Array::open(reader, file)?;
    if let Some((ids, name)) = &ids
        && ids.len() as u64 != array.rows
    {
        let reason = format!(
            "{} ids for the {} rows of {file}; one a row is needed",
            ids.len(),
            array.rows
        );
        return Err(InputError::new(name, Place::File, reason));
    }
    let mut collector = Collector::by_layout(file, expected, layout);
    for row in 0..array.rows {
        array.read_row(row)?;
        let id = ids
            .as_ref()
            .and_then(|(ids, _)| ids.get(row as usize).cloned());
        let overflow = array
            .numbers()
            .enumerate()
            .find(|(_, v)| !(*v as f32).is_finite());
        let item = match overflow {
            Some((column, value)) => Err(not_finite(file, row, column, value).reason),
            None => Ok(Read {
                id,
                vector: Some(array.numbers().map(|v| v as f32).collect()),
                ..Read::default()
            }),
        };
        collector.push_read(Place::Row(row), row, item)?;
    }
    array.check_end()?;
    collector.finish()
}

/// The ids of a file, one a line. An id that occurs twice is refused, naming both lines.
///
/// # Errors
/// [`InputError`] at the first line that is no id, or one that occurred before.
pub fn read_ids(reader: impl BufRead, file: &str) -> Result<Vec<String>, InputError> {
    let mut ids = Vec::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    for line in Lines::new(reader, file) {
        let (number, id) = line?;
        let wrong = |reason| InputError::new(file, Place::Line(number), reason);
        check_id(&id).map_err(wrong)?;
        if let Some(first) = seen.insert(id.clone(), number) {
            return Err(wrong(format!(
                "the id {:?} occurs already in line {first}; an id may occur once",
                cut(&id)
            )));
        }
        ids.push(id);
    }
    Ok(ids)
}

fn not_finite(file: &str, row: u64, column: usize, value: f64) -> InputError {
    let reason = if value.is_finite() {
        format!("{value:e} in column {column} is too large for a 32-bit float")
    } else {
        format!("{value} in column {column}; only finite numbers can be used")
    };
    InputError::new(file, Place::Row(row), reason)
}

/// Writes a matrix as npy: f64 in C order, little-endian, format 1.0, the data aligned to 64 bytes.
///
/// # Errors
/// Those of the writer.
pub fn write_npy_f64(mut writer: impl Write, matrix: &ArrayView2<'_, f64>) -> io::Result<()> {
    let (rows, columns) = matrix.dim();
    let mut header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(
        ' ',
        unpadded.next_multiple_of(64) - unpadded,
    ));
    header.push('\n');
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    writer.write_all(&(header.len() as u16).to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    for value in matrix {
        writer.write_all(&value.to_le_bytes())?;
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinis::{Distance, Item};
    use half::f16;
    use ndarray::array;

    const TWO: Expected = Expected {
        dim: 2,
        texts: false,
        distance: Distance::L2,
        skip_bad: false,
    };

    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[version, 0][..]].concat();
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    fn refused(bytes: &[u8], with: &str) {
        let error = npy_f32(bytes, "in.npy").unwrap_err().to_string();
        assert!(
            error.starts_with("in.npy") && error.contains(with),
            "{error:?} does not say {with:?}"
        );
    }

    #[test]
    fn three_number_types_and_three_versions_are_read() {
        let wanted = array![[1.0, -2.5], [0.5, 4.0]];
        let numbers = [1.0, -2.5, 0.5, 4.0_f64];
        let f16s: Vec<u8> = numbers
            .iter()
            .flat_map(|&v| f16::from_f64(v).to_le_bytes())
            .collect();
        let f32s: Vec<u8> = numbers
            .iter()
            .flat_map(|&v| (v as f32).to_le_bytes())
            .collect();
        let f64s: Vec<u8> = numbers.iter().flat_map(|&v| v.to_le_bytes()).collect();
        for (descr, data) in [("<f2", f16s), ("<f4", f32s), ("<f8", f64s)] {
            for version in 1..=3 {
                assert_eq!(
                    npy_f64(&npy(version, &header(descr, "(2, 2)"), &data)[..], "f").unwrap(),
                    wanted
                );
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back_bit_for_bit_and_aligned() {
        let matrix = array![[0.1, 1e-300], [f64::MAX, -0.0], [std::f64::consts::PI, 3.0]];
        let mut bytes = Vec::new();
        write_npy_f64(&mut bytes, &matrix.view()).unwrap();
        assert_eq!((bytes.len() - 6 * 8) % 64, 0);
        let read = npy_f64(&bytes[..], "f").unwrap();
        assert!(
            read.iter()
                .zip(&matrix)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }

    #[test]
    fn every_truncation_is_refused_and_so_is_what_follows_the_data() {
        let mut bytes = Vec::new();
        write_npy_f64(&mut bytes, &array![[1.0, 2.0], [3.0, 4.0]].view()).unwrap();
        for end in 0..bytes.len() {
            assert!(npy_f32(&bytes[..end], "f").is_err(), "cut at {end}");
        }
        refused(
            &bytes[..bytes.len() - 1],
            "is cut short: the header promises 2 rows and the data end in row 1",
        );
        bytes.push(0);
        refused(&bytes, "goes on after the 2 rows");
    }

    #[test]
    fn claims_of_the_header_allocate_nothing() {
        refused(
            &npy(1, &header("<f4", "(18446744073709551615, 4096)"), &[0; 64]),
            "cut short",
        );
        refused(
            &npy(1, &header("<f4", "(1, 4097)"), &[]),
            "has 4097 columns",
        );
        refused(
            &npy(1, &header("<f4", "(1, 99999999999999999999999)"), &[]),
            "not understood",
        );
        let mut huge = [MAGIC, &[2, 0][..]].concat();
        huge.extend(u32::MAX.to_le_bytes());
        refused(&huge, "claims an npy header of 4294967295 bytes");
    }

    #[test]
    fn other_arrays_are_refused_with_what_to_do() {
        refused(&npy(1, &header("|u1", "(1, 2)"), &[1, 2]), "holds \"|u1\"");
        refused(&npy(1, &header(">f4", "(1, 1)"), &[0; 4]), "big-endian");
        refused(&npy(1, &header("<f4", "(2,)"), &[0; 8]), "has 1 dimensions");
        refused(&npy(1, &header("<f4", "(0, 2)"), &[]), "the input is empty");
        refused(
            &npy(
                1,
                "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1)}",
                &[0; 4],
            ),
            "Fortran",
        );
        refused(
            &npy(
                1,
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
                &[0; 4],
            ),
            "not f16, f32 or f64",
        );
        refused(
            &npy(1, "{'descr': '<f4', 'shape': (1, 1)}", &[0; 4]),
            "not understood",
        );
        refused(&npy(9, "", &[]), "npy format 9");
        refused(b"PK\x03\x04zip archive", "is not an npy file");
        refused(b"", "the input is empty");
    }

    #[test]
    fn numbers_that_are_not_finite_are_named_by_row_and_column() {
        let data: Vec<u8> = [1.0, 2.0, 3.0, f32::NAN]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        refused(
            &npy(1, &header("<f4", "(2, 2)"), &data),
            "row 1: NaN in column 1",
        );
        refused(
            &npy(1, &header("<f8", "(1, 1)"), &1e300_f64.to_le_bytes()),
            "row 0: 1e300 in column 0 is too large",
        );
    }

    #[test]
    fn rows_become_items_named_by_number_or_by_the_ids_file() {
        let mut bytes = Vec::new();
        write_npy_f64(&mut bytes, &array![[1.0, 2.0], [3.0, 4.0]].view()).unwrap();
        let items = |ids: Option<&str>| {
            npy_items(
                &bytes[..],
                "x.npy",
                ids.map(|i| (i.as_bytes(), "ids.txt")),
                TWO,
                &Layout::default(),
            )
        };
        assert_eq!(
            items(None).unwrap().items[1],
            Item::vector("1", vec![3.0, 4.0])
        );
        assert_eq!(items(Some("a\nb\n")).unwrap().items[1].id, "b");
        let message = |ids| items(Some(ids)).unwrap_err().to_string();
        assert_eq!(
            message("a\na\n"),
            "ids.txt, line 2: the id \"a\" occurs already in line 1; an id may occur once"
        );
        assert!(message("a\n").contains("ids.txt: 1 ids for the 2 rows"));
        assert!(message("a\n\n").contains("ids.txt, line 2: the id is empty"));
    }
}
