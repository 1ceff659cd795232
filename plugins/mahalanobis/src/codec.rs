//! The bytes of a metric. A whole one:
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
//! A change of another metric:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 24 | as above, with version 2 |
//! | 24 | 4 | number `r` of directions, 1 to `d - 1` |
//! | 28 | 4 | CRC-32 of the base's bytes |
//! | 32 | 8 | `c`, the factor on the base |
//! | 40 | `8 r` | by how much more squared lengths grow along each direction, f64 |
//! | then | `4 r d` | the directions `u_k`, f32 |
//! | then | `8 m`, 4 | fingerprints and CRC-32 as above |
//!
//! All little-endian. `R` is kept and not `A`, because a factorisation on another machine could
//! differ in the last bit; everything a metric answers is derived from `R` in a fixed order.

use std::sync::Arc;

use affinis::{LearnError, Metric};
use ndarray::Array2;

use crate::change::Change;
use crate::changed::ChangedMetric;
use crate::metric::{MAX_DIM, MahalanobisMetric};
use crate::packed::Packed;
use crate::seen::{MAX_SEEN, Seen};

const MAGIC: &[u8; 7] = b"affmaha";
const WHOLE: u8 = 1;
const CHANGE: u8 = 2;
const HEADER: usize = 24;
/// Directions, checksum and factor of a change.
const CHANGE_HEADER: usize = 16;
const CHECKSUM: usize = 4;

pub(crate) fn encode(metric: &MahalanobisMetric) -> Vec<u8> {
    let factor = metric.packed();
    let d = factor.dim();
    let mut bytes = header(WHOLE, d, metric.seen(), metric.condition(), whole_size(d));
    for i in 0..d {
        for j in i..d {
            bytes.extend_from_slice(&factor.get(i, j).to_le_bytes());
        }
    }
    sealed(bytes, metric.seen())
}

pub(crate) fn encode_change(metric: &ChangedMetric) -> Vec<u8> {
    let (d, change) = (metric.dim(), metric.change());
    let mut bytes = header(
        CHANGE,
        d,
        metric.seen(),
        metric.condition(),
        change_size(d, metric.rank()),
    );
    bytes.extend_from_slice(&(metric.rank() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&metric.base().encode()).to_le_bytes());
    bytes.extend_from_slice(&change.scale().to_le_bytes());
    change
        .weights()
        .iter()
        .for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
    change
        .directions()
        .iter()
        .for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    sealed(bytes, metric.seen())
}

fn header(version: u8, d: usize, seen: &Seen, condition: f64, body: usize) -> Vec<u8> {
    let seen = seen.as_slice().len();
    let mut bytes = Vec::with_capacity(HEADER + body + 8 * seen + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.push(version);
    bytes.extend_from_slice(&(d as u32).to_le_bytes());
    bytes.extend_from_slice(&(seen as u32).to_le_bytes());
    bytes.extend_from_slice(&condition.to_le_bytes());
    bytes
}

fn sealed(mut bytes: Vec<u8>, seen: &Seen) -> Vec<u8> {
    for fingerprint in seen.as_slice() {
        bytes.extend_from_slice(&fingerprint.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Reads a metric; a change needs its base. Nothing is allocated before the length has been found
/// to be what the header says.
pub(crate) fn decode(
    bytes: &[u8],
    base: Option<&Arc<dyn Metric>>,
) -> Result<Arc<dyn Metric>, LearnError> {
    let parts = split(bytes)?;
    let Some(seen) = read_seen(parts.seen) else {
        return damaged("its fingerprints are out of order".into());
    };
    match parts.rank {
        None => Ok(Arc::new(whole(&parts, seen)?)),
        Some(rank) => match base {
            Some(base) => Ok(Arc::new(change(&parts, rank, base, seen)?)),
            None => damaged("it is a change of another metric, which was not given".into()),
        },
    }
}

fn whole(parts: &Parts<'_>, seen: Seen) -> Result<MahalanobisMetric, LearnError> {
    let mut numbers = parts
        .body
        .as_chunks::<8>()
        .0
        .iter()
        .map(|v| f64::from_le_bytes(*v));
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
        return damaged(
            "its factor has a number that is not finite, or a diagonal that is not above 0".into(),
        );
    }
    check_trace(trace, parts.dim)?;
    // The ratio of the squared pivots never exceeds the condition number.
    if !parts.condition.is_finite() || parts.condition < (extremes.1 / extremes.0) * (1.0 - 1e-6) {
        return damaged(format!(
            "its condition number {} does not fit its factor",
            parts.condition
        ));
    }
    Ok(MahalanobisMetric::from_packed(
        factor,
        parts.condition,
        seen,
    ))
}

fn change(
    parts: &Parts<'_>,
    rank: usize,
    base: &Arc<dyn Metric>,
    seen: Seen,
) -> Result<ChangedMetric, LearnError> {
    let (head, body) = parts.body.split_at(CHANGE_HEADER);
    let [_, _, _, _, c0, c1, c2, c3, scale @ ..] = *head
        .first_chunk::<CHANGE_HEADER>()
        .unwrap_or(&[0; CHANGE_HEADER]);
    if base.dim() != parts.dim
        || crc32fast::hash(&base.encode()) != u32::from_le_bytes([c0, c1, c2, c3])
    {
        return damaged("it is a change of another metric than the base that was given".into());
    }
    let (weights, directions) = body.split_at(8 * rank);
    let weights = weights
        .as_chunks::<8>()
        .0
        .iter()
        .map(|v| f64::from_le_bytes(*v))
        .collect();
    let directions = directions
        .as_chunks::<4>()
        .0
        .iter()
        .map(|v| f32::from_le_bytes(*v))
        .collect();
    let Ok(directions) = Array2::from_shape_vec((rank, parts.dim), directions) else {
        return damaged("its directions are cut short".into());
    };
    let change = Change::new(&**base, directions, weights, f64::from_le_bytes(scale))?;
    check_trace(change.trace(parts.dim as f64), parts.dim)?;
    if !parts.condition.is_finite() || parts.condition < 1.0 {
        return damaged(format!("its condition number is {}", parts.condition));
    }
    Ok(ChangedMetric::new(
        base.clone(),
        change,
        parts.condition,
        seen,
    ))
}

fn check_trace(trace: f64, dim: usize) -> Result<(), LearnError> {
    let d = dim as f64;
    // Written so that a trace that is no number is refused too.
    if (trace - d).abs() <= 1e-6 * d {
        Ok(())
    } else {
        damaged(format!("its trace is {trace}, not the dimension {d}"))
    }
}

/// What a metric of these bytes has seen, without reading its factor; `None` when another plugin
/// wrote them.
pub(crate) fn peek_seen(bytes: &[u8]) -> Option<Seen> {
    split(bytes).ok().and_then(|parts| read_seen(parts.seen))
}

struct Parts<'a> {
    dim: usize,
    condition: f64,
    /// Directions, of a change.
    rank: Option<usize>,
    /// What stands between the header and the fingerprints.
    body: &'a [u8],
    seen: &'a [u8],
}

fn split(bytes: &[u8]) -> Result<Parts<'_>, LearnError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return damaged(format!(
            "{} bytes are too few for a header of {HEADER}",
            bytes.len()
        ));
    };
    let [
        m0,
        m1,
        m2,
        m3,
        m4,
        m5,
        m6,
        version,
        d0,
        d1,
        d2,
        d3,
        s0,
        s1,
        s2,
        s3,
        condition @ ..,
    ] = *header;
    if [m0, m1, m2, m3, m4, m5, m6] != *MAGIC {
        return damaged("they do not start with `affmaha`".into());
    }
    let dim = u32::from_le_bytes([d0, d1, d2, d3]) as usize;
    let seen = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    if dim == 0 || dim > MAX_DIM || seen > MAX_SEEN {
        return damaged(format!(
            "dimension {dim} with {seen} fingerprints is out of range"
        ));
    }
    let (rank, body) = match version {
        WHOLE => (None, whole_size(dim)),
        CHANGE => {
            let rank = bytes[HEADER..]
                .first_chunk::<4>()
                .map_or(0, |r| u32::from_le_bytes(*r) as usize);
            if rank == 0 || rank >= dim {
                return damaged(format!(
                    "a change of {rank} directions of {dim} is out of range"
                ));
            }
            (Some(rank), change_size(dim, rank))
        }
        _ => {
            return damaged(format!(
                "format version {version}; this build reads versions {WHOLE} and {CHANGE}: use a newer affinis"
            ));
        }
    };
    let size = HEADER + body + 8 * seen + CHECKSUM;
    if bytes.len() != size {
        return damaged(format!(
            "{} bytes, but the header speaks of {size}",
            bytes.len()
        ));
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if crc32fast::hash(content).to_le_bytes() != *checksum {
        return damaged("the checksum does not match".into());
    }
    let (body, seen) = content[HEADER..].split_at(body);
    Ok(Parts {
        dim,
        condition: f64::from_le_bytes(condition),
        rank,
        body,
        seen,
    })
}

fn whole_size(dim: usize) -> usize {
    4 * dim * (dim + 1)
}

fn change_size(dim: usize, rank: usize) -> usize {
    CHANGE_HEADER + 8 * rank + 4 * rank * dim
}

fn read_seen(bytes: &[u8]) -> Option<Seen> {
    Seen::from_sorted(
        bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|v| u64::from_le_bytes(*v))
            .collect(),
    )
}

fn damaged<T>(why: String) -> Result<T, LearnError> {
    Err(LearnError::Damaged(why))
}
