//! Highlights of hits: the words of the query in their texts, and the sentences nearest to it.

use std::ops::Range;

use super::Items;
use super::encode::Role;
use crate::encode::sentences;
use crate::model::error::Result;
use crate::model::{Highlight, HighlightBy, Versioned};

/// The most sentences of a text that are compared with a query, from its beginning.
const MAX_SENTENCES: usize = 64;
/// Number of sentences that are encoded at once.
const BATCH: usize = 4096;

/// A sentence of one of several texts.
struct Sentence {
    text: usize,
    place: Range<usize>,
}

impl Items {
    /// The highlights of texts for a query, of which the text and the vector, as it is searched, are
    /// given where it has them: in the order of their places, those of words before those of
    /// meaning.
    ///
    /// # Errors
    /// Encoder and storage errors.
    pub(crate) fn highlights(
        &self,
        query: (Option<&str>, Option<&[f32]>),
        metric: &Versioned,
        texts: &[&str],
    ) -> Result<Vec<Vec<Highlight>>> {
        let (text, vector) = query;
        let mut found = vec![Vec::new(); texts.len()];
        if let Some(text) = text
            && let Some(highlighter) = self.highlighter(text)?
        {
            for (found, text) in found.iter_mut().zip(texts) {
                let words = highlighter.find(text).into_iter();
                found.extend(words.map(|place| Highlight::new(place, HighlightBy::Words)));
            }
        }
        if let Some(vector) = vector
            && self.encoder.info.is_some()
        {
            let nearest = self.nearest_sentences(vector, metric, texts)?;
            for (found, place) in found.iter_mut().zip(nearest) {
                found.extend(place.map(|place| Highlight::new(place, HighlightBy::Meaning)));
            }
        }
        for found in &mut found {
            found.sort_by_key(|place| (place.start, place.by, place.end));
        }
        Ok(found)
    }

    /// Of each text with more than one sentence, the place of that which is nearest to a query; of
    /// equally near ones the first. Sentences of which the encoder can make nothing are left out.
    fn nearest_sentences(
        &self,
        query: &[f32],
        metric: &Versioned,
        texts: &[&str],
    ) -> Result<Vec<Option<Range<usize>>>> {
        let mut all = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let places: Vec<Range<usize>> = sentences(text).take(MAX_SENTENCES).collect();
            if places.len() > 1 {
                all.extend(places.into_iter().map(|place| Sentence { text: at, place }));
            }
        }
        let mut nearest: Vec<Option<(f64, Range<usize>)>> = vec![None; texts.len()];
        for batch in all.chunks(BATCH) {
            let parts: Vec<&str> = batch
                .iter()
                .map(|sentence| &texts[sentence.text][sentence.place.clone()])
                .collect();
            let encoded = self.encode_each(&parts, Role::Item)?;
            for (sentence, encoded) in batch.iter().zip(encoded) {
                let Some(vector) = encoded.ok().and_then(|encoded| encoded.vector) else {
                    continue;
                };
                let item = self.rules.prepare(vector);
                let distance = metric.metric.distance(query, &item);
                let nearest = &mut nearest[sentence.text];
                if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
                    *nearest = Some((distance, sentence.place.clone()));
                }
            }
        }
        let places = nearest.into_iter().map(|nearest| Some(nearest?.1));
        Ok(places.collect())
    }
}
