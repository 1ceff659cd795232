//! Parquet files that are built by hand, byte by byte, so that they can claim what no writer does.
//! A file has one column of optional texts, `text`, and one row group.

/// Thrift's compact protocol, of which each function gives the bytes of a value.
pub(super) mod thrift {
    pub(in super::super) fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    }

    pub(in super::super) fn int(value: i64) -> Vec<u8> {
        varint(((value << 1) ^ (value >> 63)) as u64)
    }

    pub(in super::super) fn text(value: &str) -> Vec<u8> {
        [varint(value.len() as u64), value.as_bytes().to_vec()].concat()
    }

    pub(in super::super) fn list(kind: u8, values: &[Vec<u8>]) -> Vec<u8> {
        [
            vec![0xf0 | kind],
            varint(values.len() as u64),
            values.concat(),
        ]
        .concat()
    }

    /// A struct of fields, each a number, a type and a value.
    pub(in super::super) fn fields(fields: &[(i64, u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (id, kind, value) in fields {
            bytes.push(*kind);
            bytes.extend(int(*id));
            bytes.extend(value);
        }
        bytes.push(0);
        bytes
    }

    pub(in super::super) const I32: u8 = 5;
    pub(in super::super) const I64: u8 = 6;
    pub(in super::super) const BINARY: u8 = 8;
    pub(in super::super) const LIST: u8 = 9;
    pub(in super::super) const STRUCT: u8 = 12;
}

use thrift::{BINARY, I32, I64, LIST, STRUCT, fields, int, list, text, varint};

pub(super) const DATA_PAGE: i64 = 0;
pub(super) const DICTIONARY_PAGE: i64 = 2;
pub(super) const PLAIN: i64 = 0;
pub(super) const PLAIN_DICTIONARY: i64 = 2;
pub(super) const DELTA_LENGTH: i64 = 6;
pub(super) const DELTA_PREFIXED: i64 = 7;
pub(super) const UNCOMPRESSED: i64 = 0;
pub(super) const SNAPPY: i64 = 1;
pub(super) const GZIP: i64 = 2;
pub(super) const ZSTD: i64 = 6;

/// A page: its kind, the size that it claims to unpack to (its own if `None`), the number of values
/// that it claims, their encoding, and its bytes.
pub(super) struct Page {
    pub(super) kind: i64,
    pub(super) unpacked: Option<i64>,
    pub(super) values: i64,
    pub(super) encoding: i64,
    pub(super) bytes: Vec<u8>,
}

impl Page {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let length = self.bytes.len() as i64;
        let values = (1, I32, int(self.values));
        let encoding = (2, I32, int(self.encoding));
        let of_kind = if self.kind == DICTIONARY_PAGE {
            (7, STRUCT, fields(&[values, encoding]))
        } else {
            let levels = [(3, I32, int(3)), (4, I32, int(3))];
            let all = [vec![values, encoding], levels.into()].concat();
            (5, STRUCT, fields(&all))
        };
        let header = fields(&[
            (1, I32, int(self.kind)),
            (2, I32, int(self.unpacked.unwrap_or(length))),
            (3, I32, int(length)),
            of_kind,
        ]);
        [header, self.bytes.clone()].concat()
    }
}

/// The levels of definition of so many texts, all of them there.
pub(super) fn all_there(values: u64) -> Vec<u8> {
    let run = [varint(values << 1), vec![1]].concat();
    [(run.len() as u32).to_le_bytes().to_vec(), run].concat()
}

/// A text as it stands in a page.
pub(super) fn plain(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// The element of a schema that is a group.
pub(super) fn group(name: &str, children: i64) -> Vec<u8> {
    fields(&[
        (3, I32, int(0)),
        (4, BINARY, text(name)),
        (5, I32, int(children)),
    ])
}

/// The element of a schema that is the column `text`.
pub(super) fn leaf() -> Vec<u8> {
    fields(&[
        (1, I32, int(6)),
        (3, I32, int(1)),
        (4, BINARY, text("text")),
        (6, I32, int(0)),
    ])
}

/// A file of pages.
pub(super) fn file(rows: i64, codec: i64, pages: &[Page]) -> Vec<u8> {
    let bytes: Vec<u8> = pages.iter().flat_map(Page::to_bytes).collect();
    let schema = list(STRUCT, &[group("m", 1), leaf()]);
    file_of(&schema, rows, codec, &bytes)
}

/// A file of a schema and the bytes of the pages of its only column.
pub(super) fn file_of(schema: &[u8], rows: i64, codec: i64, pages: &[u8]) -> Vec<u8> {
    let length = int(pages.len() as i64);
    let meta = fields(&[
        (1, I32, int(6)),
        (2, LIST, list(I32, &[int(PLAIN)])),
        (3, LIST, list(BINARY, &[text("text")])),
        (4, I32, int(codec)),
        (5, I64, int(rows)),
        (6, I64, length.clone()),
        (7, I64, length.clone()),
        (9, I64, int(4)),
    ]);
    let column = fields(&[(2, I64, int(4)), (3, STRUCT, meta)]);
    let row_group = fields(&[
        (1, LIST, list(STRUCT, &[column])),
        (2, I64, length),
        (3, I64, int(rows)),
    ]);
    let footer = fields(&[
        (1, I32, int(1)),
        (2, LIST, schema.to_vec()),
        (3, I64, int(rows)),
        (4, LIST, list(STRUCT, &[row_group])),
    ]);
    let length = (footer.len() as u32).to_le_bytes();
    [b"PAR1", pages, &footer, &length, b"PAR1"].concat()
}
