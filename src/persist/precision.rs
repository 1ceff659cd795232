//! How a stored vector's numbers are kept.

use half::f16;
use serde::{Deserialize, Serialize};

/// How many bits of each number are kept. What is stored is what is searched and what is read back.
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

impl Precision {
    /// Its name in the command line and in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }

    /// The precision of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::I8].into_iter().find(|p| p.name() == name)
    }

    /// A vector's payload.
    pub(crate) fn encode(self, vector: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => vector.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            Self::I8 => {
                let largest = vector.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                let scale = largest / 127.0;
                let step = |x: &f32| if scale > 0.0 { (x / scale).round().clamp(-127.0, 127.0) as i8 } else { 0 };
                let codes = vector.iter().map(|x| step(x).cast_unsigned());
                scale.to_le_bytes().into_iter().chain(codes).collect()
            }
        }
    }

    /// Reads a payload of `dim` numbers; `None` when its length or a number does not fit.
    pub(crate) fn decode(self, payload: &[u8], dim: usize) -> Option<Vec<f32>> {
        let vector: Vec<f32> = match self {
            Self::F32 => payload.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => payload.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::I8 => {
                let (scale, codes) = payload.split_first_chunk::<4>()?;
                let scale = f32::from_le_bytes(*scale);
                codes.iter().map(|c| f32::from(c.cast_signed()) * scale).collect()
            }
        };
        let bytes = match self {
            Self::F32 => 4 * dim,
            Self::F16 => 2 * dim,
            Self::I8 => 4 + dim,
        };
        (payload.len() == bytes && vector.iter().all(|x| x.is_finite())).then_some(vector)
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
    fn rounding_is_what_is_read_back_and_close() {
        let vector = [0.5_f32, -1.25, 3.0e-3, 0.0, 0.777];
        for (precision, error) in [(Precision::F32, 0.0), (Precision::F16, 1e-3), (Precision::I8, 1.25 / 254.0)] {
            let once = precision.round(&vector).expect("in range");
            assert_eq!(precision.round(&once).expect("in range"), once, "{precision:?} is stable");
            for (a, b) in once.iter().zip(vector) {
                assert!((a - b).abs() <= error + 1e-7, "{precision:?}: {a} for {b}");
            }
        }
        assert_eq!(Precision::I8.round(&[0.0, 0.0]).expect("zero"), [0.0, 0.0]);
        assert_eq!(Precision::F16.round(&[1.0e6]), None, "too large for f16");
        assert_eq!(Precision::F32.decode(&[0; 7], 2), None, "a length that does not fit");
    }
}
