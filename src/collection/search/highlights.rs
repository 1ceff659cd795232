//! Highlights: which places in the texts of hits say why they were found.

use super::{Prepared, Search};
use crate::model::error::{Error, Result};
use crate::model::{Hits, SearchQuery};

/// The most hits of a search that have highlights.
const MAX_HIGHLIGHTED: usize = 1_000;

impl<Q> Search<Q> {
    /// Sets whether each hit tells which [places](crate::Hit::highlights) of its text say why it was
    /// found; they do not by default.
    ///
    /// These are the words and phrases of a query by text, where the collection has
    /// [keywords](crate::CollectionBuilder::keywords), whatever hits are ranked by; and of a text
    /// with more than one sentence the sentence whose vector is nearest to the query under the
    /// metric of the answer, where the collection has an encoder. Only the first 64 sentences of a
    /// text are compared. The texts of the hits are read for it; they are included only if
    /// [asked for](Self::include_text). With highlights a search has at most 1,000 hits.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Language, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(2).keywords(Language::English).create()?;
    /// points.add([Item::vector("a", [0.0, 1.0]).with_text("Trees need care.")])?;
    /// let hits = points.search("tree").words_only().highlights(true).run()?;
    /// let places = hits[0].highlights.as_deref().unwrap_or_default();
    /// assert_eq!((places[0].start, places[0].end), (0, 5));
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn highlights(mut self, highlights: bool) -> Self {
        self.highlights = highlights;
        self
    }

    /// Refuses highlights of more hits than have some.
    pub(super) fn check_highlights(&self) -> Result<()> {
        let per_group = self.group_by.as_ref().map_or(1, |group| group.per_group);
        let hits = self.k.saturating_mul(per_group);
        if self.highlights && hits > MAX_HIGHLIGHTED {
            return Err(Error::InvalidQuery(format!(
                "highlights are made for at most {MAX_HIGHLIGHTED} hits, and {hits} are asked for"
            )));
        }
        Ok(())
    }

    /// Gives hits their highlights; their texts are there, and go where they were not asked for.
    pub(super) fn highlight(
        &self,
        query: &SearchQuery,
        vector: Option<&[f32]>,
        prepared: &Prepared,
        hits: &mut Hits,
    ) -> Result<()> {
        let texts = hits.hits.iter().map(|hit| hit.text.as_deref());
        let texts: Vec<&str> = texts.map(Option::unwrap_or_default).collect();
        let items = self.collection.items_handle();
        let found = items.highlights((query.text(), vector), &prepared.metric, &texts)?;
        for (hit, highlights) in hits.hits.iter_mut().zip(found) {
            hit.highlights = Some(highlights);
            if !self.include_text {
                hit.text = None;
            }
        }
        Ok(())
    }
}
