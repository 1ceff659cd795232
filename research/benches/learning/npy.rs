//! Arrays of integers and bytes from npy files and npz archives, as numpy writes them.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::path::Path;

/// Numbers in row-major order with their shape.
#[derive(Debug, Clone)]
pub(crate) struct Npy {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Vec<i64>,
}

impl Npy {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Box<dyn Error>> {
        if !bytes.starts_with(b"\x93NUMPY") {
            return Err("not an npy file".into());
        }
        let (start, length) = match bytes.get(6) {
            Some(1) => (10, usize::from(u16::from_le_bytes(field(bytes, 8)?))),
            _ => (12, u32::from_le_bytes(field(bytes, 8)?) as usize),
        };
        let header =
            String::from_utf8_lossy(bytes.get(start..start + length).ok_or("a cut header")?)
                .into_owned();
        let after = |key: &str| {
            header
                .split_once(key)
                .map(|(_, rest)| rest)
                .ok_or(format!("no {key} in {header}"))
        };
        let kind = after("'descr':")?
            .split('\'')
            .nth(1)
            .ok_or("no type")?
            .to_owned();
        let shape = after("'shape':")?
            .split_once('(')
            .and_then(|(_, r)| r.split_once(')'))
            .ok_or("no shape")?
            .0;
        let shape: Vec<usize> = shape
            .split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let data = &bytes[start + length..];
        let width = kind
            .chars()
            .last()
            .and_then(|c| c.to_digit(10))
            .ok_or("no width")? as usize;
        let signed = kind.contains('i');
        if !matches!(
            kind.trim_start_matches(['<', '|', '=']),
            "i1" | "i2" | "i4" | "i8" | "u1" | "u2" | "u4" | "b1"
        ) {
            return Err(format!("numbers of type {kind}; integers are wanted").into());
        }
        let numbers: Vec<i64> = data
            .chunks_exact(width)
            .map(|b| {
                let mut all = [if signed && b[width - 1] >= 0x80 {
                    0xff
                } else {
                    0
                }; 8];
                all[..width].copy_from_slice(b);
                i64::from_le_bytes(all)
            })
            .collect();
        if numbers.len() != shape.iter().product::<usize>() {
            return Err(format!("{} numbers for the shape {shape:?}", numbers.len()).into());
        }
        let mut npy = Self { shape, numbers };
        if after("'fortran_order':")?.trim_start().starts_with("True") {
            npy = npy.to_row_major();
        }
        Ok(npy)
    }

    /// A two-dimensional array that was written by columns.
    fn to_row_major(&self) -> Self {
        let [rows, columns] = self.shape[..] else {
            return self.clone();
        };
        let numbers = (0..rows * columns)
            .map(|at| self.numbers[at % columns * rows + at / columns])
            .collect();
        Self {
            shape: self.shape.clone(),
            numbers,
        }
    }
}

/// The arrays of an npz archive, by name. Reads the directory at its end; entries are stored or
/// deflated.
pub(crate) fn npz(path: &Path) -> Result<BTreeMap<String, Npy>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let end = bytes
        .windows(4)
        .rposition(|w| w == b"PK\x05\x06")
        .ok_or("not a zip archive")?;
    let entries = u16::from_le_bytes(field(&bytes, end + 10)?);
    let mut at = u32::from_le_bytes(field(&bytes, end + 16)?) as usize;
    let mut arrays = BTreeMap::new();
    for _ in 0..entries {
        let number = |offset: usize| -> Result<usize, Box<dyn Error>> {
            Ok(u32::from_le_bytes(field(&bytes, at + offset)?) as usize)
        };
        let short = |at: usize| -> Result<usize, Box<dyn Error>> {
            Ok(u16::from_le_bytes(field(&bytes, at)?).into())
        };
        let (method, packed) = (short(at + 10)?, number(20)?);
        let (name_length, local) = (short(at + 28)?, number(42)?);
        let name = String::from_utf8_lossy(
            bytes
                .get(at + 46..at + 46 + name_length)
                .ok_or("a cut entry")?,
        )
        .into_owned();
        let start = local + 30 + short(local + 26)? + short(local + 28)?;
        let data = bytes.get(start..start + packed).ok_or("a cut entry")?;
        let mut inflated = Vec::new();
        let data = match method {
            0 => data,
            8 => {
                flate2::read::DeflateDecoder::new(data).read_to_end(&mut inflated)?;
                &inflated
            }
            other => return Err(format!("{name} is packed by method {other}").into()),
        };
        let array = Npy::parse(data).map_err(|e| format!("{name}: {e}"))?;
        arrays.insert(name.trim_end_matches(".npy").to_owned(), array);
        at += 46 + name_length + short(at + 30)? + short(at + 32)?;
    }
    Ok(arrays)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Box<dyn Error>> {
    Ok(bytes.get(at..at + N).ok_or("a cut file")?.try_into()?)
}
