//! The bytes of a metric.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 7 | `affmaha` |
//! | 7 | 1 | version of this format, 1 |
//! | 8 | 4 | dimension `d`, 1 to 4,096 |
//! | 12 | 4 | number `m` of fingerprints, at most 65,536 |
//! | 16 | 8 | `cond A` |
//! | 24 | `4 d (d + 1)` | the upper triangle of `R`, row by row; `A = R'R` |
//! | then | `8 m` | fingerprints of the judged queries and pairs that the metric was fitted to, ascending |
//! | then | 4 | CRC-32 of everything before |
//!
//! All little-endian. `R` is kept and not `A`, because a factorisation on another machine could differ in the last
//! bit; everything a metric answers is derived from `R` in a fixed order.

use affinis::LearnError;

use crate::metric::{MAX_DIM, MahalanobisMetric};
use crate::packed::Packed;
use crate::seen::{MAX_SEEN, Seen};

const MAGIC: &[u8; 7] = b"affmaha";
const VERSION: u8 = 1;
const HEADER: usize = 24;
const CHECKSUM: usize = 4;

pub(crate) fn encode(metric: &MahalanobisMetric) -> Vec<u8> {
    let factor = metric.packed();
    let (d, seen) = (factor.dim(), metric.seen().as_slice());
    let mut bytes = Vec::with_capacity(size(d, seen.len()));
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&(d as u32).to_le_bytes());
    bytes.extend_from_slice(&(seen.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&metric.condition().to_le_bytes());
    for i in 0..d {
        for j in i..d {
            bytes.extend_from_slice(&factor.get(i, j).to_le_bytes());
        }
    }
    for fingerprint in seen {
        bytes.extend_from_slice(&fingerprint.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Reads a metric. Nothing is allocated before the length has been found to be what the header says.
pub(crate) fn decode(bytes: &[u8]) -> Result<MahalanobisMetric, LearnError> {
    let parts = split(bytes)?;
    let mut numbers = parts.factor.as_chunks::<8>().0.iter().map(|v| f64::from_le_bytes(*v));
    let (mut sound, mut trace, mut extremes) = (true, 0.0, (f64::MAX, 0.0_f64));
    let factor = Packed::from_fn(parts.dim, |i, j| {
        let v = numbers.next().unwrap_or(f64::NAN);
        sound &= v.is_finite() && (i != j || v > 0.0);
        trace += v * v;
        if i == j {
            extremes = (extremes.0.min(v * v), extremes.1.max(v * v));
        }
        v
    });
    if !sound {
        return damaged("its factor has a number that is not finite, or a diagonal that is not above 0".into());
    }
    let d = parts.dim as f64;
    if (trace - d).abs() > 1e-6 * d {
        return damaged(format!("its trace is {trace}, not the dimension {d}"));
    }
    // The ratio of the squared pivots never exceeds the condition number.
    if !parts.condition.is_finite() || parts.condition < (extremes.1 / extremes.0) * (1.0 - 1e-6) {
        return damaged(format!("its condition number {} does not fit its factor", parts.condition));
    }
    let Some(seen) = read_seen(parts.seen) else {
        return damaged("its fingerprints are out of order".into());
    };
    Ok(MahalanobisMetric::from_packed(factor, parts.condition, seen))
}

/// What a metric of these bytes has seen, without reading its factor; `None` when another plugin wrote them.
pub(crate) fn peek_seen(bytes: &[u8]) -> Option<Seen> {
    split(bytes).ok().and_then(|parts| read_seen(parts.seen))
}

struct Parts<'a> {
    dim: usize,
    condition: f64,
    factor: &'a [u8],
    seen: &'a [u8],
}

fn split(bytes: &[u8]) -> Result<Parts<'_>, LearnError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return damaged(format!("{} bytes are too few for a header of {HEADER}", bytes.len()));
    };
    let [m0, m1, m2, m3, m4, m5, m6, version, d0, d1, d2, d3, s0, s1, s2, s3, condition @ ..] = *header;
    if [m0, m1, m2, m3, m4, m5, m6] != *MAGIC {
        return damaged("they do not start with `affmaha`".into());
    }
    if version != VERSION {
        return damaged(format!("format version {version}; this build reads version {VERSION}: use a newer affinis"));
    }
    let dim = u32::from_le_bytes([d0, d1, d2, d3]) as usize;
    let seen = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    if dim == 0 || dim > MAX_DIM || seen > MAX_SEEN {
        return damaged(format!("dimension {dim} with {seen} fingerprints is out of range"));
    }
    if bytes.len() != size(dim, seen) {
        return damaged(format!("{} bytes, but the header speaks of {}", bytes.len(), size(dim, seen)));
    }
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if crc32fast::hash(body).to_le_bytes() != *checksum {
        return damaged("the checksum does not match".into());
    }
    let (factor, seen) = body[HEADER..].split_at(4 * dim * (dim + 1));
    Ok(Parts { dim, condition: f64::from_le_bytes(condition), factor, seen })
}

fn size(dim: usize, seen: usize) -> usize {
    HEADER + 4 * dim * (dim + 1) + 8 * seen + CHECKSUM
}

fn read_seen(bytes: &[u8]) -> Option<Seen> {
    Seen::from_sorted(bytes.as_chunks::<8>().0.iter().map(|v| u64::from_le_bytes(*v)).collect())
}

fn damaged<T>(why: String) -> Result<T, LearnError> {
    Err(LearnError::Damaged(why))
}
