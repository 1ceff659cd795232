//! The header of an npy file: format version, and the Python dictionary with the type and the shape.

use std::io::{self, ErrorKind, Read};

use super::MAGIC;
use affinis_api::input::cut;

/// Largest header, in bytes: `NumPy`'s own limit for files that are not trusted.
const MAX_HEADER_BYTES: usize = 10_000;

/// The entries of the header's dictionary.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Header {
    pub(super) descr: String,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<u64>,
}

/// Reads the header up to the first byte of the data.
pub(super) fn read_header(reader: &mut impl Read) -> Result<Header, String> {
    let short = |e: io::Error| match e.kind() {
        ErrorKind::UnexpectedEof => "is cut short inside the npy header".to_owned(),
        _ => format!("cannot be read: {e}"),
    };
    let mut magic = [0; 8];
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(8)
        .read_to_end(&mut start)
        .map_err(short)?;
    if start.is_empty() {
        return Err("the input is empty".into());
    }
    if start.len() < 8 || !start.starts_with(MAGIC) {
        return Err("is not an npy file: it does not begin with \\x93NUMPY".into());
    }
    magic.copy_from_slice(&start);
    let length = match magic[6] {
        1 => {
            let mut bytes = [0; 2];
            reader.read_exact(&mut bytes).map_err(short)?;
            usize::from(u16::from_le_bytes(bytes))
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).map_err(short)?;
            u32::from_le_bytes(bytes) as usize
        }
        version => return Err(format!("has npy format {version}; 1 to 3 are known")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!(
            "claims an npy header of {length} bytes; the most is {MAX_HEADER_BYTES}"
        ));
    }
    let mut header = vec![0; length];
    reader.read_exact(&mut header).map_err(short)?;
    let text = std::str::from_utf8(&header).map_err(|_| "has an npy header that is not text")?;
    parse_header(text).ok_or_else(|| {
        format!(
            "has an npy header that is not understood: {:?}",
            cut(text.trim_end())
        )
    })
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, the keys in any order.
fn parse_header(text: &str) -> Option<Header> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        let after = match key {
            "descr" if descr.is_none() => {
                // A structured type is a list; it is kept as text, so that the message can show it.
                let (value, after) = quoted(rest).or_else(|| rest.split_once(']'))?;
                descr = Some(value.to_owned());
                after
            }
            "fortran_order" if order.is_none() => {
                order = Some(rest.starts_with("True"));
                rest.strip_prefix("True")
                    .or_else(|| rest.strip_prefix("False"))?
            }
            "shape" if shape.is_none() => {
                let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
                let inside = inside.trim();
                let numbers = inside.strip_suffix(',').unwrap_or(inside);
                let parsed: Option<Vec<u64>> = match numbers {
                    "" => Some(Vec::new()),
                    _ => numbers
                        .split(',')
                        .map(|n| n.trim().trim_end_matches('L').parse().ok())
                        .collect(),
                };
                shape = Some(parsed?);
                after
            }
            _ => return None,
        };
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(Header {
        descr: descr?,
        fortran_order: order?,
        shape: shape?,
    })
}

/// A Python string at the start of a text, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}
