//! An encoder for tests.

use affinis::encode::{EncodeError, Encoded, Encoder};
use ndarray::Array2;

/// An encoder that counts the words of a text by their hash, in `dim` numbers. Texts above 100
/// bytes are said to be truncated.
#[derive(Debug, Clone)]
pub struct WordCounts {
    dim: usize,
    fingerprint: String,
}

impl WordCounts {
    /// An encoder of `dim` dimensions that states this fingerprint.
    pub fn new(dim: usize, fingerprint: &str) -> Self {
        Self {
            dim,
            fingerprint: fingerprint.to_owned(),
        }
    }
}

impl Encoder for WordCounts {
    fn dim(&self) -> usize {
        self.dim
    }

    fn name(&self) -> &'static str {
        "word-counts"
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        let mut vectors = Array2::zeros((texts.len(), self.dim));
        for (mut row, text) in vectors.rows_mut().into_iter().zip(texts) {
            for word in text.split_whitespace() {
                let hash = word.bytes().fold(14_695_981_039_346_656_037_u64, |h, b| {
                    (h ^ u64::from(b)).wrapping_mul(1_099_511_628_211)
                });
                row[(hash % self.dim as u64) as usize] += 1.0;
            }
        }
        Ok(Encoded {
            truncated: texts.iter().map(|t| t.len() > 100).collect(),
            ..Encoded::new(vectors)
        })
    }
}
