//! The numbers of values that delta-encoded texts claim, which stand inside a page.
//!
//! Format: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>, "Delta encoding".

/// The number of values of a block of `DELTA_BINARY_PACKED`, and the bytes that follow it; `None`
/// where it is not whole.
fn packed(data: &[u8]) -> Option<(u64, &[u8])> {
    let (block, rest) = varint(data)?;
    let (parts, rest) = varint(rest)?;
    let (count, rest) = varint(rest)?;
    let (_, mut rest) = varint(rest)?;
    let per_part = block.checked_div(parts).filter(|values| *values > 0)?;
    let parts = usize::try_from(parts).ok()?;
    // The first value stands in the header.
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let (_, after) = varint(rest)?;
        let (widths, mut after) = after.split_at_checked(parts)?;
        for width in widths {
            // Parts without values have a width and no bytes.
            if left == 0 {
                break;
            }
            let bytes = per_part.checked_mul(u64::from(*width))?.div_ceil(8);
            after = after.get(usize::try_from(bytes).ok()?..)?;
            left = left.saturating_sub(per_part);
        }
        rest = after;
    }
    Some((count, rest))
}

/// The largest number of values that a page of `DELTA_LENGTH_BYTE_ARRAY` or, with `prefixes`,
/// `DELTA_BYTE_ARRAY` claims; `None` where it is not whole.
pub(super) fn claimed(data: &[u8], prefixes: bool) -> Option<u64> {
    let (count, rest) = packed(data)?;
    if !prefixes {
        return Some(count);
    }
    let (suffixes, _) = packed(rest)?;
    Some(count.max(suffixes))
}

fn varint(data: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (shift, (at, byte)) in (0..64).step_by(7).zip(data.iter().enumerate()) {
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, &data[at + 1..]));
        }
    }
    None
}
