//! The precision of stored vectors.

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use crate::model::named;

/// The precision in which the numbers of vectors are stored. Searches and reads use the stored
/// numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// Four bytes, exactly as given.
    #[default]
    F32,
    /// Two bytes: about three decimal digits. Numbers beyond 65,504 do not fit and are refused.
    F16,
    /// One byte and one scale a vector: steps of 1/127 of the vector's largest number.
    I8,
}

// The catalogue, the command line and JSON have the same names.
named!(Precision, "precision", { F32 => "f32", F16 => "f16", I8 => "i8" });

/// Bytes of f16 numbers that are converted together.
const LANE_BYTES: usize = 32;

impl Precision {
    /// Size of the payload of a vector of `dim` numbers, in bytes.
    pub(crate) fn bytes(self, dim: usize) -> usize {
        match self {
            Self::F32 => 4 * dim,
            Self::F16 => 2 * dim,
            Self::I8 => 4 + dim,
        }
    }

    /// Decodes a payload without checks. One of a wrong length, or with numbers that are not
    /// finite, gives arbitrary numbers.
    pub(crate) fn decode_into(self, payload: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => out
                .iter_mut()
                .zip(payload.as_chunks::<4>().0)
                .for_each(|(x, b)| *x = f32::from_le_bytes(*b)),
            Self::F16 => {
                let (blocks, rest) = payload.as_chunks::<LANE_BYTES>();
                let (numbers_of_blocks, numbers_of_rest) =
                    out.as_chunks_mut::<{ LANE_BYTES / 2 }>();
                for (x, b) in numbers_of_blocks.iter_mut().zip(blocks) {
                    // Sixteen at a time, by the processor's own conversion where it has one.
                    let numbers: [f16; LANE_BYTES / 2] =
                        std::array::from_fn(|i| f16::from_le_bytes([b[2 * i], b[2 * i + 1]]));
                    numbers.convert_to_f32_slice(x);
                }
                let rest = rest.as_chunks::<2>().0;
                numbers_of_rest
                    .iter_mut()
                    .zip(rest)
                    .for_each(|(x, b)| *x = f16::from_le_bytes(*b).to_f32());
            }
            Self::I8 => {
                let Some((scale, codes)) = payload.split_first_chunk::<4>() else {
                    return;
                };
                let scale = f32::from_le_bytes(*scale);
                out.iter_mut()
                    .zip(codes)
                    .for_each(|(x, c)| *x = f32::from(c.cast_signed()) * scale);
            }
        }
    }

    /// The payload of a vector.
    pub(crate) fn encode(self, vector: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => vector
                .iter()
                .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                .collect(),
            Self::I8 => {
                let largest = vector.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                let scale = largest / 127.0;
                let step = |x: &f32| {
                    if scale > 0.0 {
                        (x / scale).round().clamp(-127.0, 127.0) as i8
                    } else {
                        0
                    }
                };
                let codes = vector.iter().map(|x| step(x).cast_unsigned());
                scale.to_le_bytes().into_iter().chain(codes).collect()
            }
        }
    }

    /// Reads a payload of `dim` numbers; `None` when its length or a number does not fit.
    pub(crate) fn decode(self, payload: &[u8], dim: usize) -> Option<Vec<f32>> {
        if payload.len() != self.bytes(dim) {
            return None;
        }
        let mut vector = vec![0.0; dim];
        self.decode_into(payload, &mut vector);
        vector.iter().all(|x| x.is_finite()).then_some(vector)
    }

    /// The payload of a vector that was read from one, to the bit; `None` if it was not.
    pub(crate) fn encode_again(self, vector: &[f32]) -> Option<Vec<u8>> {
        let mut payload = self.encode(vector);
        if self == Self::F32 {
            return Some(payload);
        }
        let mut again = vec![0.0; vector.len()];
        let mut fits = |payload: &[u8]| {
            self.decode_into(payload, &mut again);
            again == vector
        };
        if fits(&payload) {
            return Some(payload);
        }
        // The largest number over 127 may be near to the scale only.
        let scale = f32::from_le_bytes(*payload.first_chunk::<4>().filter(|_| self == Self::I8)?);
        for scale in [
            scale.next_up(),
            scale.next_down(),
            scale.next_up().next_up(),
            scale.next_down().next_down(),
        ] {
            payload[..4].copy_from_slice(&scale.to_le_bytes());
            if fits(&payload) {
                return Some(payload);
            }
        }
        None
    }

    /// The vector as it will be read back.
    pub(crate) fn round(self, vector: &[f32]) -> Option<Vec<f32>> {
        if self == Self::F32 {
            return Some(vector.to_vec());
        }
        self.decode(&self.encode(vector), vector.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_displayed() {
        for precision in [Precision::F32, Precision::F16, Precision::I8] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("F32".parse::<Precision>().is_err());
    }

    #[test]
    fn what_was_read_is_written_again_to_the_bit() {
        let mut random = fastrand::Rng::with_seed(3);
        for precision in [Precision::F32, Precision::F16, Precision::I8] {
            for dim in [1, 15, 16, 17, 100] {
                for _ in 0..300 {
                    let spread = 10.0_f32.powi(if precision == Precision::F16 {
                        random.i32(-6..4)
                    } else {
                        random.i32(-44..38)
                    });
                    let vector: Vec<f32> =
                        (0..dim).map(|_| spread * (random.f32() - 0.5)).collect();
                    let once = precision.round(&vector).expect("in range");
                    let payload = precision.encode_again(&once).expect("it was read from one");
                    assert_eq!(payload.len(), precision.bytes(dim));
                    assert_eq!(
                        precision.decode(&payload, dim).expect("sound"),
                        once,
                        "{precision:?}"
                    );
                }
            }
        }
        assert_eq!(Precision::F16.encode_again(&[0.1]), None);
        assert_eq!(Precision::I8.encode_again(&[1.0, 0.1]), None);
    }

    #[test]
    fn rounding_is_what_is_read_back_and_close() {
        let vector = [0.5_f32, -1.25, 3.0e-3, 0.0, 0.777];
        for (precision, error) in [
            (Precision::F32, 0.0),
            (Precision::F16, 1e-3),
            (Precision::I8, 1.25 / 254.0),
        ] {
            let once = precision.round(&vector).expect("in range");
            assert_eq!(
                precision.round(&once).expect("in range"),
                once,
                "{precision:?} is stable"
            );
            for (a, b) in once.iter().zip(vector) {
                assert!((a - b).abs() <= error + 1e-7, "{precision:?}: {a} for {b}");
            }
        }
        assert_eq!(Precision::I8.round(&[0.0, 0.0]).expect("zero"), [0.0, 0.0]);
        assert_eq!(Precision::F16.round(&[1.0e6]), None, "too large for f16");
        assert_eq!(
            Precision::F32.decode(&[0; 7], 2),
            None,
            "a length that does not fit"
        );
    }
}
