//! The pages of a column, of which each is checked before the crate `parquet` allocates for it: by
//! the sizes that its header claims, and by the number of values that it claims to hold.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::delta;
use super::thrift::{Kind, Walk};

/// Largest page, unpacked. Writers make pages of 1 MiB, and larger ones where a row is large.
const MAX_PAGE_BYTES: u64 = 256 << 20;
/// Largest page of texts that share beginnings, which unpack to more than the page.
const MAX_PREFIXED_BYTES: usize = 16 << 20;
/// Most values in a page.
const MAX_PAGE_VALUES: u64 = 8 << 20;
/// Most values in the pages that are read for a few rows of a column.
const MAX_ROWS_VALUES: u64 = 2 * MAX_PAGE_VALUES;
/// Largest pages of all columns at one time.
const MAX_HELD_BYTES: u64 = 1 << 30;
/// An upper bound of the memory of a value of a dictionary, beside its bytes.
const DICTIONARY_ENTRY_BYTES: u64 = 40;

/// The memory that the pages of all columns take.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<AtomicU64>);

/// The number of values that a column gave since its rows were last asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Given(Arc<AtomicU64>);

impl Given {
    /// Begins to count for other rows.
    pub(super) fn restart(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A reader of the pages of one column of a row group.
pub(super) struct Pages {
    inner: SerializedPageReader<File>,
    file: Arc<File>,
    column: ColumnChunkMetaData,
    /// Offset of the header of the next page, and the end of the column.
    offset: u64,
    end: u64,
    /// Offset behind the next page, once its header was checked.
    checked: Option<u64>,
    /// The next page's claim of memory.
    claim: Claim,
    /// Bytes of the dictionary and of the page that are counted as held.
    dictionary: u64,
    page: u64,
    held: Held,
    given: Given,
}

/// What the header of a page claims.
#[derive(Debug, Clone, Copy, Default)]
struct Claim {
    kind: i64,
    unpacked: i64,
    packed: i64,
    values: i64,
    /// Bytes of levels, which are not packed in a page of the second version.
    levels: i64,
    /// Whether a page of the second version is packed.
    is_plain: bool,
}

impl Claim {
    const INDEX: i64 = 1;
    const DICTIONARY: i64 = 2;

    /// Bytes of memory that the page takes.
    fn bytes(&self) -> u64 {
        let page = (self.unpacked.max(0) + self.packed.max(0)) as u64;
        match self.kind {
            Self::DICTIONARY => page + self.values.max(0) as u64 * DICTIONARY_ENTRY_BYTES,
            _ => page,
        }
    }
}

impl Pages {
    /// The pages of a column.
    pub(super) fn open(
        file: Arc<File>,
        column: &ColumnChunkMetaData,
        rows: usize,
        held: Held,
        given: Given,
    ) -> Result<Self> {
        if !matches!(
            column.compression(),
            Compression::UNCOMPRESSED
                | Compression::SNAPPY
                | Compression::GZIP(_)
                | Compression::ZSTD(_)
                | Compression::LZ4
                | Compression::LZ4_RAW
        ) {
            return Err(wrong(&format!(
                "its compression {} is not supported; write it with snappy, zstd, gzip or lz4",
                column.compression()
            )));
        }
        // Other forms of lz4 than the one the format names unpack to any size.
        let properties = ReaderProperties::builder()
            .set_backward_compatible_lz4(false)
            .build();
        let (offset, length) = column.byte_range();
        let end = offset.checked_add(length).filter(|end| *end <= file.len());
        let Some(end) = end else {
            return Err(wrong("its data lie beyond the end of the file"));
        };
        Ok(Self {
            inner: SerializedPageReader::new_with_properties(
                Arc::clone(&file),
                column,
                rows,
                None,
                Arc::new(properties),
            )?,
            file,
            column: column.clone(),
            offset,
            end,
            checked: None,
            claim: Claim::default(),
            dictionary: 0,
            page: 0,
            held,
            given,
        })
    }

    /// Checks the header of the next page, unless that was done. The pages of indices before it are
    /// passed over, as the reader inside does.
    fn check_next(&mut self) -> Result<()> {
        let mut offset = self.offset;
        while self.checked.is_none() && offset < self.end {
            let mut walk = Walk::new(self.file.get_read(offset)?, self.end - offset);
            let claim = header(&mut walk).map_err(|_| wrong("the header of a page is damaged"))?;
            let start = offset + walk.read();
            let sizes = [claim.unpacked, claim.packed].map(u64::try_from);
            let [Ok(unpacked), Ok(packed)] = sizes else {
                return Err(wrong("a page claims a size below zero"));
            };
            if packed > self.end - start {
                return Err(wrong("a page goes on behind the end of its column"));
            }
            if unpacked.max(packed) > MAX_PAGE_BYTES {
                return Err(wrong(&format!(
                    "a page has {unpacked} bytes, and the most is {MAX_PAGE_BYTES}; write smaller pages"
                )));
            }
            offset = start + packed;
            if claim.kind == Claim::INDEX {
                continue;
            }
            self.check_claim(claim, start)?;
            self.claim = claim;
            self.checked = Some(offset);
        }
        Ok(())
    }

    fn check_claim(&self, claim: Claim, start: u64) -> Result<()> {
        let most = match claim.kind {
            // A value of a dictionary takes a byte at least.
            Claim::DICTIONARY => claim.unpacked as u64,
            _ => MAX_PAGE_VALUES,
        };
        if !u64::try_from(claim.values).is_ok_and(|values| values <= most) {
            return Err(wrong(&format!(
                "a page claims to hold {} values, and the most is {most}; write smaller pages or row groups",
                claim.values
            )));
        }
        if matches!(self.column.compression(), Compression::GZIP(_)) && !claim.is_plain {
            // Only a walk over what gzip packed tells how large it is.
            let levels = u64::try_from(claim.levels).unwrap_or(u64::MAX);
            let packed = (claim.packed as u64).checked_sub(levels);
            let unpacked = (claim.unpacked as u64).checked_sub(levels);
            let (Some(packed), Some(unpacked)) = (packed, unpacked) else {
                return Err(wrong("the levels of a page are longer than the page"));
            };
            let packed = self.file.get_read(start + levels)?.take(packed);
            let unpacked_too = MultiGzDecoder::new(packed).take(unpacked + 1);
            let length = io::copy(&mut { unpacked_too }, &mut io::sink())?;
            if unpacked > 0 && length != unpacked {
                return Err(wrong("a page unpacks to another size than it claims"));
            }
        }
        Ok(())
    }

    /// Counts the page that was read, and checks what only its contents tell.
    fn admit(&mut self, page: &Page) -> Result<()> {
        let bytes = self.claim.bytes();
        let before = if page.is_dictionary_page() {
            std::mem::replace(&mut self.dictionary, bytes)
        } else {
            std::mem::replace(&mut self.page, bytes)
        };
        self.held.0.fetch_sub(before, Ordering::Relaxed);
        let held = self.held.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > MAX_HELD_BYTES {
            return Err(wrong(&format!(
                "the pages of its columns need more than {MAX_HELD_BYTES} bytes of memory at once; write smaller pages, or \
                 read fewer columns with --meta-column"
            )));
        }
        if page.is_dictionary_page() {
            return Ok(());
        }
        let values = u64::from(page.num_values());
        let given = self.given.0.fetch_add(values, Ordering::Relaxed) + values;
        if given > MAX_ROWS_VALUES {
            return Err(wrong(&format!(
                "a row has more than {MAX_PAGE_VALUES} values in it"
            )));
        }
        match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => self.check_delta(page, false),
            Encoding::DELTA_BYTE_ARRAY => self.check_delta(page, true),
            Encoding::PLAIN
            | Encoding::PLAIN_DICTIONARY
            | Encoding::RLE_DICTIONARY
            | Encoding::RLE
            | Encoding::DELTA_BINARY_PACKED
            | Encoding::BYTE_STREAM_SPLIT => Ok(()),
            other => Err(wrong(&format!(
                "its encoding {other} is not supported; write it with another"
            ))),
        }
    }

    fn check_delta(&self, page: &Page, prefixes: bool) -> Result<()> {
        let is_text = matches!(
            self.column.column_type(),
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY
        );
        if prefixes && page.buffer().len() > MAX_PREFIXED_BYTES {
            return Err(wrong(&format!(
                "a page of texts that share beginnings has more than {MAX_PREFIXED_BYTES} bytes; write smaller pages"
            )));
        }
        let claimed = self
            .data_of(page)
            .and_then(|data| delta::claimed(data, prefixes));
        match claimed {
            Some(claimed) if is_text && claimed <= u64::from(page.num_values()) => Ok(()),
            _ => Err(wrong("the texts of a page are damaged")),
        }
    }

    /// The bytes of a page behind its levels.
    fn data_of<'a>(&self, page: &'a Page) -> Option<&'a [u8]> {
        let column = self.column.column_descr();
        match page {
            Page::DataPage {
                buf,
                def_level_encoding,
                rep_level_encoding,
                ..
            } => {
                let mut data = &buf[..];
                for (most, encoding) in [
                    (column.max_rep_level(), rep_level_encoding),
                    (column.max_def_level(), def_level_encoding),
                ] {
                    if most > 0 {
                        let (length, rest) = data.split_first_chunk::<4>()?;
                        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                        data = rest.get(length..)?;
                        (*encoding == Encoding::RLE).then_some(())?;
                    }
                }
                Some(data)
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                buf.get(usize::try_from(levels).ok()?..)
            }
            Page::DictionaryPage { .. } => None,
        }
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.check_next()?;
        let page = self.inner.get_next_page()?;
        match (&page, self.checked.take()) {
            (Some(page), Some(next)) => {
                self.offset = next;
                self.admit(page)?;
            }
            (None, None) => {}
            _ => return Err(wrong("its pages are not where their headers say")),
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.check_next()?;
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        Err(wrong("no page is skipped"))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let bytes = self.dictionary + self.page;
        self.held.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Reads the header of a page.
fn header<R: Read>(walk: &mut Walk<R>) -> io::Result<Claim> {
    let mut claim = Claim {
        kind: -1,
        unpacked: -1,
        packed: -1,
        values: -1,
        ..Claim::default()
    };
    walk.fields(|walk, id, kind| {
        let number = match (id, kind) {
            (1, kind) if kind.is_int() => &mut claim.kind,
            (2, kind) if kind.is_int() => &mut claim.unpacked,
            (3, kind) if kind.is_int() => &mut claim.packed,
            // The header of a data page, of a dictionary, of a data page of the second version.
            (5 | 7 | 8, Kind::STRUCT) => {
                let second = id == 8;
                walk.fields(|walk, id, kind| {
                    match (id, second) {
                        (1, _) if kind.is_int() => claim.values = walk.int()?,
                        (5 | 6, true) if kind.is_int() => {
                            let length = walk.int()?;
                            claim.levels = if length < 0 {
                                i64::MAX
                            } else {
                                claim.levels.saturating_add(length)
                            };
                        }
                        (7, true) => {
                            claim.is_plain = kind.as_bool() == Some(false);
                            return Ok(false);
                        }
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        *number = walk.int()?;
        Ok(true)
    })?;
    Ok(claim)
}

fn wrong(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}
