//! The encoding of metrics. A metric on its own:
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
//! A low-rank update of another metric:
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

use affinis::plugin::{LearnError, Metric};
use ndarray::Array2;

use crate::fingerprints::{Fingerprints, MAX_FINGERPRINTS};
use crate::low_rank_update::{LowRankUpdate, Terms};
use crate::metric::{MAX_DIM, MahalanobisMetric};
use crate::packed::Packed;

/// The first bytes of every metric.
const MAGIC: &[u8; 7] = b"affmaha";
/// The format version of a metric on its own.
const WHOLE: u8 = 1;
/// The format version of a low-rank update.
const UPDATE: u8 = 2;
/// Bytes of the header.
const HEADER: usize = 24;
/// Bytes of the number of directions, the base's checksum, and the factor of an update.
const UPDATE_HEADER: usize = 16;
/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// The bytes of a metric on its own.
pub(crate) fn encode(metric: &MahalanobisMetric) -> Vec<u8> {
    let factor = metric.packed();
    let d = factor.dim();
    let mut bytes = header(WHOLE, d, metric.seen(), metric.condition(), whole_size(d));
    for i in 0..d {
        for j in i..d {
            bytes.extend_from_slice(&factor.get(i, j).to_le_bytes());
        }
    }
    finished(bytes, metric.seen())
}

/// The bytes of a low-rank update.
pub(crate) fn encode_update(metric: &LowRankUpdate) -> Vec<u8> {
    let (d, terms) = (metric.dim(), metric.terms());
    let mut bytes = header(
        UPDATE,
        d,
        metric.seen(),
        metric.condition(),
        update_size(d, metric.rank()),
    );
    bytes.extend_from_slice(&(metric.rank() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&metric.base().encode()).to_le_bytes());
    bytes.extend_from_slice(&terms.scale().to_le_bytes());
    terms
        .weights()
        .iter()
        .for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
    terms
        .directions()
        .iter()
        .for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    finished(bytes, metric.seen())
}

/// The header of a metric whose body has `body` bytes.
fn header(version: u8, d: usize, seen: &Fingerprints, condition: f64, body: usize) -> Vec<u8> {
    let seen = seen.as_slice().len();
    let mut bytes = Vec::with_capacity(HEADER + body + 8 * seen + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.push(version);
    bytes.extend_from_slice(&(d as u32).to_le_bytes());
    bytes.extend_from_slice(&(seen as u32).to_le_bytes());
    bytes.extend_from_slice(&condition.to_le_bytes());
    bytes
}

/// The header and body with the fingerprints and the checksum appended.
fn finished(mut bytes: Vec<u8>, seen: &Fingerprints) -> Vec<u8> {
    for fingerprint in seen.as_slice() {
        bytes.extend_from_slice(&fingerprint.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Reads a metric; an update needs its base. Nothing is allocated before the length has been
/// checked against the header.
pub(crate) fn decode(
    bytes: &[u8],
    base: Option<&Arc<dyn Metric>>,
) -> Result<Arc<dyn Metric>, LearnError> {
    let sections = split(bytes)?;
    let Some(seen) = read_fingerprints(sections.seen) else {
        return damaged("its fingerprints are out of order".into());
    };
    match sections.rank {
        None => Ok(Arc::new(whole(&sections, seen)?)),
        Some(rank) => match base {
            Some(base) => Ok(Arc::new(update(&sections, rank, base, seen)?)),
            None => damaged("it is an update of another metric, which was not given".into()),
        },
    }
}

/// The metric on its own that sections hold.
fn whole(sections: &Sections<'_>, seen: Fingerprints) -> Result<MahalanobisMetric, LearnError> {
    let mut numbers = sections
        .body
        .as_chunks::<8>()
        .0
        .iter()
        .map(|v| f64::from_le_bytes(*v));
    let (mut sound, mut trace, mut extremes) = (true, 0.0, (f64::MAX, 0.0_f64));
    let factor = Packed::from_fn(sections.dim, |i, j| {
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
    check_trace(trace, sections.dim)?;
    // The ratio of the squared pivots never exceeds the condition number.
    if !sections.condition.is_finite()
        || sections.condition < (extremes.1 / extremes.0) * (1.0 - 1e-6)
    {
        return damaged(format!(
            "its condition number {} does not fit its factor",
            sections.condition
        ));
    }
    Ok(MahalanobisMetric::from_packed(
        factor,
        sections.condition,
        seen,
    ))
}

/// The update of a base that sections hold.
fn update(
    sections: &Sections<'_>,
    rank: usize,
    base: &Arc<dyn Metric>,
    seen: Fingerprints,
) -> Result<LowRankUpdate, LearnError> {
    let (head, body) = sections.body.split_at(UPDATE_HEADER);
    let [_, _, _, _, c0, c1, c2, c3, scale @ ..] = *head
        .first_chunk::<UPDATE_HEADER>()
        .unwrap_or(&[0; UPDATE_HEADER]);
    if base.dim() != sections.dim
        || crc32fast::hash(&base.encode()) != u32::from_le_bytes([c0, c1, c2, c3])
    {
        return damaged("it is an update of another metric than the base that was given".into());
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
    let Ok(directions) = Array2::from_shape_vec((rank, sections.dim), directions) else {
        return damaged("its directions are cut short".into());
    };
    let terms = Terms::new(&**base, directions, weights, f64::from_le_bytes(scale))?;
    check_trace(terms.trace(sections.dim as f64), sections.dim)?;
    if !sections.condition.is_finite() || sections.condition < 1.0 {
        return damaged(format!("its condition number is {}", sections.condition));
    }
    Ok(LowRankUpdate::new(
        base.clone(),
        terms,
        sections.condition,
        seen,
    ))
}

/// Refuses a matrix whose trace is not its dimension.
fn check_trace(trace: f64, dim: usize) -> Result<(), LearnError> {
    let d = dim as f64;
    // Written so that a trace that is no number is refused too.
    if (trace - d).abs() <= 1e-6 * d {
        Ok(())
    } else {
        damaged(format!("its trace is {trace}, not the dimension {d}"))
    }
}

/// The fingerprints in a metric's bytes, without its factor; `None` when another plugin wrote them.
pub(crate) fn peek_fingerprints(bytes: &[u8]) -> Option<Fingerprints> {
    split(bytes)
        .ok()
        .and_then(|sections| read_fingerprints(sections.seen))
}

/// The sections of a metric's bytes.
struct Sections<'a> {
    dim: usize,
    condition: f64,
    /// The number of directions of an update; `None` for a metric on its own.
    rank: Option<usize>,
    /// The bytes between the header and the fingerprints.
    body: &'a [u8],
    seen: &'a [u8],
}

/// The sections of bytes whose length and checksum are right.
fn split(bytes: &[u8]) -> Result<Sections<'_>, LearnError> {
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
    if dim == 0 || dim > MAX_DIM || seen > MAX_FINGERPRINTS {
        return damaged(format!(
            "dimension {dim} with {seen} fingerprints is out of range"
        ));
    }
    let (rank, body) = match version {
        WHOLE => (None, whole_size(dim)),
        UPDATE => {
            let rank = bytes[HEADER..]
                .first_chunk::<4>()
                .map_or(0, |r| u32::from_le_bytes(*r) as usize);
            if rank == 0 || rank >= dim {
                return damaged(format!(
                    "an update of rank {rank} in {dim} dimensions is out of range"
                ));
            }
            (Some(rank), update_size(dim, rank))
        }
        _ => {
            return damaged(format!(
                "format version {version}; this build reads versions {WHOLE} and {UPDATE}: use a newer affinis"
            ));
        }
    };
    let size = HEADER + body + 8 * seen + CHECKSUM;
    if bytes.len() != size {
        return damaged(format!(
            "{} bytes, but by its header it has {size}",
            bytes.len()
        ));
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if crc32fast::hash(content).to_le_bytes() != *checksum {
        return damaged("the checksum does not match".into());
    }
    let (body, seen) = content[HEADER..].split_at(body);
    Ok(Sections {
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

fn update_size(dim: usize, rank: usize) -> usize {
    UPDATE_HEADER + 8 * rank + 4 * rank * dim
}

fn read_fingerprints(bytes: &[u8]) -> Option<Fingerprints> {
    Fingerprints::from_sorted(
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
