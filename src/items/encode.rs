//! The encoder of a collection.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{EncoderInfo, Items};
use crate::encode::{self, EncodeError, Encoded, Encoder, Wanted};
use crate::model::error::{Error, Result};

/// The encoder of a collection, which is loaded for the first text.
pub(super) struct CollectionEncoder {
    /// Name of the collection.
    collection: String,
    /// The model that the collection was made with; `None` where its vectors are given.
    pub(super) info: Option<EncoderInfo>,
    /// Directories in which its model may lie, if not at its source.
    beside: Vec<PathBuf>,
    loaded: OnceLock<Arc<dyn Encoder>>,
}

/// What an encoder made of a text.
pub(crate) struct EncodedText {
    /// `None` where the encoder could make nothing of the text.
    pub(crate) vector: Option<Vec<f32>>,
    /// Whether the vector is that of the beginning of a text too long for the encoder.
    pub(crate) truncated: bool,
}

impl CollectionEncoder {
    /// An encoder that is loaded from its source, or found in directories of models or beside the
    /// store, unless it is given.
    pub(super) fn new(
        collection: &str,
        info: Option<EncoderInfo>,
        given: Option<Arc<dyn Encoder>>,
        store: &Path,
        models: &[PathBuf],
    ) -> Self {
        // The parent of a relative path may be empty, which is the name of no directory.
        let store = std::path::absolute(store).unwrap_or_else(|_| store.to_path_buf());
        let beside = store.parent().map(Path::to_path_buf);
        let given_places = models.iter().cloned();
        let beside = given_places.chain(beside).chain([store.join("models")]);
        Self {
            collection: collection.to_owned(),
            info,
            beside: beside.collect(),
            loaded: given.map_or_else(OnceLock::new, OnceLock::from),
        }
    }

    /// The encoder that the program gave, otherwise the collection's own, which is loaded from its
    /// source for the first text.
    pub(super) fn get(&self) -> Result<&dyn Encoder> {
        if let Some(encoder) = self.loaded.get() {
            return Ok(&**encoder);
        }
        let refuse = |reason: String| Error::NoEncoder {
            name: self.collection.clone(),
            reason,
        };
        let Some(info) = &self.info else {
            return Err(refuse(
                "it holds given vectors; give a vector instead, or make a collection with an encoder".into(),
            ));
        };
        if info.source.is_none() {
            return Err(refuse(format!(
                "its encoder {} must be given when it is opened",
                info.name
            )));
        }
        let wanted = Wanted::new(&info.name, &info.fingerprint)
            .source(info.source.as_deref())
            .output(info.output.as_deref());
        let encoder = encode::find(&wanted, &self.beside)?;
        check_encoder(&self.collection, Some(info), &*encoder)?;
        Ok(&**self.loaded.get_or_init(|| encoder))
    }

    /// Encodes texts, and checks that the encoder answered for each.
    pub(super) fn encode(&self, texts: &[&str], role: Role) -> Result<Vec<EncodedText>> {
        let encoder = self.get()?;
        let encoded = match role {
            Role::Item => encoder.encode(texts)?,
            Role::Query => encoder.encode_queries(texts)?,
        };
        encoder_gave(encoder, &encoded, texts.len())?;
        let text = |at: usize| EncodedText {
            vector: encoded
                .is_known(at)
                .then(|| encoded.vectors.row(at).to_vec()),
            truncated: encoded.truncated[at],
        };
        Ok((0..texts.len()).map(text).collect())
    }
}

/// Checks that an encoder answered for each of `n` texts or images.
fn encoder_gave(
    encoder: &dyn Encoder,
    encoded: &Encoded,
    n: usize,
) -> std::result::Result<(), EncodeError> {
    let Encoded {
        vectors,
        truncated,
        unknown,
    } = encoded;
    if [vectors.nrows(), truncated.len(), unknown.len()] == [n; 3] {
        return Ok(());
    }
    Err(EncodeError::Rows {
        encoder: encoder.name().to_owned(),
        texts: n,
        rows: vectors.nrows(),
        truncated: truncated.len(),
        unknown: unknown.len(),
    })
}

/// What a text is encoded for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Item,
    Query,
}

impl Items {
    /// Sets the encoder, which was checked, if there is none yet.
    pub(crate) fn offer_encoder(&self, encoder: Option<Arc<dyn Encoder>>) {
        if let Some(encoder) = encoder {
            let _ = self.encoder.loaded.set(encoder);
        }
    }

    /// Encodes texts, and checks that the encoder answered for each.
    pub(crate) fn encode(&self, texts: &[&str], role: Role) -> Result<Vec<EncodedText>> {
        self.encoder.encode(texts, role)
    }

    /// Encodes texts as [`Self::encode`] does. Where the encoder fails on single texts, gives for
    /// each of these what is wrong with it, and encodes the others.
    ///
    /// # Errors
    /// Those that are of no single text.
    pub(crate) fn encode_each(
        &self,
        texts: &[&str],
        role: Role,
    ) -> Result<Vec<std::result::Result<EncodedText, String>>> {
        match self.encode(texts, role) {
            Ok(encoded) => Ok(encoded.into_iter().map(Ok).collect()),
            Err(Error::Encode(error)) if error.of_one().is_some() => {
                let each = texts.iter().map(|text| self.encode_one(text, role));
                each.collect()
            }
            Err(error) => Err(error),
        }
    }

    /// Encodes images. Gives for each its vector, or what is wrong with it.
    ///
    /// # Errors
    /// Those that are of no single image.
    pub(crate) fn encode_images(
        &self,
        images: &[&[u8]],
    ) -> Result<Vec<std::result::Result<Vec<f32>, String>>> {
        let encoder = self.encoder.get()?;
        let encode = |images: &[&[u8]]| {
            let encoded = encoder.encode_images(images)?;
            encoder_gave(encoder, &encoded, images.len())?;
            let rows = (0..images.len()).map(|at| {
                let row = encoded
                    .is_known(at)
                    .then(|| encoded.vectors.row(at).to_vec());
                row.ok_or_else(|| "the encoder could make nothing of the image".to_owned())
            });
            Ok::<Vec<_>, EncodeError>(rows.collect())
        };
        match encode(images) {
            Err(error) if error.of_one().is_some() => images
                .iter()
                .map(|image| match encode(&[*image]) {
                    Ok(mut one) => Ok(one
                        .pop()
                        .unwrap_or_else(|| Err("the encoder gave nothing for it".into()))),
                    Err(error) => error.of_one().map(Err).ok_or(error.into()),
                })
                .collect(),
            encoded => Ok(encoded?),
        }
    }

    fn encode_one(
        &self,
        text: &str,
        role: Role,
    ) -> Result<std::result::Result<EncodedText, String>> {
        match self.encode(&[text], role) {
            Ok(mut encoded) => Ok(encoded
                .pop()
                .ok_or_else(|| "the encoder gave nothing for its text".to_owned())),
            Err(Error::Encode(error)) => match error.of_one() {
                Some(reason) => Ok(Err(reason)),
                None => Err(error.into()),
            },
            Err(error) => Err(error),
        }
    }
}

/// Refuses an encoder other than the collection's.
pub(crate) fn check_encoder(
    name: &str,
    made: Option<&EncoderInfo>,
    given: &dyn Encoder,
) -> Result<()> {
    let label = |name: &str, fingerprint: &str| format!("{name} (fingerprint {fingerprint})");
    match made {
        Some(made) if made.fingerprint == given.fingerprint() => Ok(()),
        Some(made) => Err(Error::EncoderMismatch {
            name: name.to_owned(),
            made: label(&made.name, &made.fingerprint),
            given: label(given.name(), given.fingerprint()),
        }),
        None => Err(Error::EncoderMismatch {
            name: name.to_owned(),
            made: "no encoder (its vectors were given)".to_owned(),
            given: label(given.name(), given.fingerprint()),
        }),
    }
}
