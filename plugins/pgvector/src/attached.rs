//! [`Attached`]: what all parts of an attached table share.

use std::sync::Arc;

use affinis::encode::Encoder;
use affinis::engine::VectorRules;
use affinis::{Error, Result};

use crate::bias::Ready;
use crate::relation::Relation;
use crate::server::Postgres;

/// Seed of the probe: all clients have the same.
const PROBE_SEED: u64 = 0x70_726f_6265;

/// An attached table, by the number and name of its collection.
pub(crate) struct Attached {
    pub(crate) postgres: Postgres,
    pub(crate) collection: i32,
    pub(crate) name: String,
    pub(crate) relation: Relation,
    pub(crate) rules: VectorRules,
    pub(crate) encoder: Option<Arc<dyn Encoder>>,
    /// A vector (`d` numbers) whose inner product with an item's tells whether that changed since
    /// its bias was computed.
    pub(crate) probe: Vec<f32>,
    pub(crate) ready: Ready,
}

impl Attached {
    /// The probe of a dimension, of about unit length.
    pub(crate) fn probe_of(dim: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(PROBE_SEED);
        let scale = (dim as f32).sqrt().recip();
        (0..dim).map(|_| (random.f32() - 0.5) * scale).collect()
    }

    /// The vectors of texts of queries, unprepared; `None` for a text that the encoder can make nothing of.
    pub(crate) fn encode(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        let encoder = self.encoder.as_ref().ok_or_else(|| Error::NoEncoder {
            name: self.name.clone(),
            reason: "it was attached without an encoder; give a vector instead".to_owned(),
        })?;
        let encoded = encoder.encode_queries(texts)?;
        if encoded.vectors.dim() != (texts.len(), self.rules.dim) {
            return Err(Error::EncoderDimension {
                encoder: encoder.name().to_owned(),
                encoded: encoded.vectors.ncols(),
                given: self.rules.dim,
            });
        }
        let vectors = encoded.vectors.rows().into_iter().enumerate();
        let known = |at: usize, vector: &[f32]| {
            let is_marked = encoded.unknown.get(at).copied().unwrap_or(false);
            !is_marked && vector.iter().any(|x| *x != 0.0)
        };
        Ok(vectors
            .map(|(at, row)| Some(row.to_vec()).filter(|vector| known(at, vector)))
            .collect())
    }
}
