//! Unpacking of what is compressed with gzip or zstd, by its first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read as _};

use flate2::bufread::MultiGzDecoder;

use super::zstd;

/// Size of the buffer of unpacked bytes.
const BUFFER_BYTES: usize = 1 << 16;

/// Unpacks bytes that begin as gzip or zstd do, and says whether they were packed; other bytes are
/// read as they are. A text, an npy or a Parquet file begins with none of these numbers.
///
/// # Errors
/// When the first bytes cannot be read.
pub fn unpacked(mut packed: Box<dyn BufRead>) -> io::Result<(Box<dyn BufRead>, bool)> {
    const GZIP: &[u8] = b"\x1f\x8b";
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
    let mut head = Vec::with_capacity(ZSTD.len());
    packed
        .by_ref()
        .take(ZSTD.len() as u64)
        .read_to_end(&mut head)?;
    let (is_gzip, is_zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
    let whole = Cursor::new(head).chain(packed);
    let reader: Box<dyn BufRead> = if is_gzip {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            MultiGzDecoder::new(whole),
        ))
    } else if is_zstd {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            zstd::Decoder::new(whole),
        ))
    } else {
        Box::new(whole)
    };
    Ok((reader, is_gzip || is_zstd))
}
