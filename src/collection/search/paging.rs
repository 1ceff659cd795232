//! Pages of a ranking: by offset, and by a cursor that stays valid while the collection changes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{Ranked, Search};
use crate::items::Candidate;
use crate::model::error::{Error, Result};
use crate::model::{Hits, MAX_K, MetricChoice, SearchQuery};

/// The cursor of the first page, see [`Search::cursor`].
pub const FIRST_PAGE: &str = "start";

/// The first byte of a cursor, which says how the rest is read.
const FORMAT: u8 = 1;
/// The last bytes of a cursor: the checksum of those before them.
const CHECKSUM_BYTES: usize = 4;
/// By how much a list is made longer where it holds too few hits.
const GROWTH: usize = 4;

impl<Q> Search<Q> {
    /// Leaves out the first `offset` hits; ranks count them. `k + offset` is at most 10,000. With
    /// [groups](Self::group_by) it leaves out the first groups.
    ///
    /// Each page is a search of its own: items that are added or removed between two pages move the
    /// hits that follow them. A [cursor](Self::cursor) does not have that.
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Asks for pages: `"start"` ([`FIRST_PAGE`](crate::FIRST_PAGE)) for the first one, and then the
    /// [`Hits::cursor`] of each answer for the page that follows it, with the same query and
    /// settings; `k` may differ. Pages end at 10,000 hits.
    ///
    /// A page holds what follows the last hit of the page before it, under the metric of the first
    /// page: no hit comes twice, and none that stays is left out, as far as searches find it (all of
    /// it, with a [recall](Self::recall) of 1). Items that are added between pages are found if they
    /// follow the last hit; items that are removed are not found any more. Where judgements change
    /// what is remembered of the question the order changes, and the cursor is refused.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Leaves out hits whose [distance](crate::Hit::distance) is above `distance`, which is in the
    /// unit of the metric.
    pub fn max_distance(mut self, distance: f32) -> Self {
        self.max_distance = Some(distance);
        self
    }

    /// What a cursor is bound to.
    pub(super) fn digests(
        &self,
        query: &SearchQuery,
        vector: &[f32],
        moved: Option<&[f32]>,
    ) -> Digests {
        Digests {
            collection: digest_of_collection(self.collection.name()),
            query: digest(|add| {
                add(bytemuck::cast_slice(vector));
                query.own().into_iter().for_each(|id| add(id.as_bytes()));
            }),
            settings: digest(|add| {
                let metric = match self.metric {
                    MetricChoice::Active => "active".to_owned(),
                    MetricChoice::BuiltIn => "built-in".to_owned(),
                    MetricChoice::Version(version) => version.to_string(),
                };
                let filter = self
                    .filter
                    .as_ref()
                    .map(|filter| filter.as_json().to_string());
                add(metric.as_bytes());
                add(filter.unwrap_or_default().as_bytes());
                let settings = (&self.user, self.memory, self.hide_rejected, self.ef);
                add(format!("{settings:?}").as_bytes());
                add(format!("{:?}", (self.recall, self.max_distance)).as_bytes());
            }),
            moved: moved.map_or(0, |moved| digest(|add| add(bytemuck::cast_slice(moved)))),
        }
    }
}

/// Checks the number of hits of a page with those before it.
pub(super) fn check(k: usize, offset: usize) -> Result<()> {
    if k.saturating_add(offset) > MAX_K {
        return Err(Error::InvalidQuery(format!(
            "k is {k} and the offset {offset}: together they are at most {MAX_K}; a filter or a smaller distance narrows a search"
        )));
    }
    Ok(())
}

/// The hits after the first `offset`.
pub(super) fn page(ranked: &mut Ranked<'_>, k: usize, offset: usize) -> Result<Hits> {
    let wanted = offset + k;
    let mut n = wanted;
    let candidates = loop {
        let listed = ranked.best(n, None)?;
        // Without a threshold a list is as long as the index can make it.
        if ranked.max_distance.is_none() || listed.is_whole || listed.candidates.len() >= wanted {
            break listed.candidates;
        }
        n = n.saturating_mul(GROWTH);
    };
    let last = candidates.len().min(wanted);
    ranked.hits(&candidates[offset.min(last)..last], offset + 1)
}

/// The page that follows a cursor, or the first one, with the cursor of the next.
pub(super) fn next_page(
    ranked: &mut Ranked<'_>,
    k: usize,
    cursor: Option<&Cursor>,
    digests: Digests,
) -> Result<Hits> {
    let shown = cursor.map_or(0, |cursor| cursor.shown as usize);
    if let Some(cursor) = cursor {
        cursor.check(&digests)?;
        if shown.saturating_add(k) > MAX_K {
            return Err(Error::InvalidQuery(format!(
                "the cursor stands after {shown} hits, and k is {k}: pages end at {MAX_K} hits"
            )));
        }
    }
    // One more tells whether there is a next page.
    let mut n = shown + k + 1;
    let mut page = loop {
        let listed = ranked.best(n, None)?;
        let mut page = listed.candidates;
        page.retain(|candidate| cursor.is_none_or(|cursor| cursor.is_before(candidate)));
        if page.len() > k || listed.is_whole {
            break page;
        }
        n = n.saturating_mul(GROWTH);
    };
    let has_more = page.len() > k;
    page.truncate(k);
    let mut hits = ranked.hits(&page, shown + 1)?;
    let shown = shown + page.len();
    hits.cursor = match page.last() {
        Some(last) if has_more && shown < MAX_K => Some(
            Cursor {
                digests,
                metric: hits.metric.0,
                shown: shown as u32,
                key: last.key.to_bits(),
                id: last.id.to_owned(),
            }
            .encode(),
        ),
        _ => None,
    };
    Ok(hits)
}

/// Where a page ended.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    digests: Digests,
    /// Version of the metric that ranks all pages.
    pub(super) metric: u32,
    /// Number of hits of the pages so far.
    shown: u32,
    /// The bits of the last hit's key, see [`Candidate::key`].
    key: u32,
    /// The last hit's id.
    id: String,
}

/// What a cursor is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Digests {
    /// The collection's name.
    pub(super) collection: u64,
    /// The vector of the query, and the items that are left out for being in it.
    pub(super) query: u64,
    /// Filter, metric, user and whatever else decides which hits there are.
    pub(super) settings: u64,
    /// What judgements made of the query; 0 where they made nothing.
    pub(super) moved: u64,
}

/// The digest of byte strings, which are passed to the argument of `fill` one by one.
pub(super) fn digest(fill: impl FnOnce(&mut dyn FnMut(&[u8]))) -> u64 {
    let mut hash = Xxh3::new();
    fill(&mut |bytes| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    });
    hash.digest()
}

/// The digest of a collection, by its name.
pub(super) fn digest_of_collection(name: &str) -> u64 {
    digest(|add| add(name.as_bytes()))
}

impl Cursor {
    /// The cursor as a text that can stand in an address.
    fn encode(&self) -> String {
        let mut bytes = vec![FORMAT];
        // Numbers and a text can always be encoded.
        bytes.extend(postcard::to_stdvec(self).unwrap_or_default());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor, which may come from anybody.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for a text that [`Self::encode`] did not give.
    pub(super) fn decode(text: &str) -> Result<Self> {
        let damaged = || {
            wrong(
                "it is damaged, or was never given by a search; pages begin with the cursor \"start\"",
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (rest, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or_else(damaged)?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        match rest.split_first() {
            Some((&FORMAT, fields)) => match postcard::take_from_bytes(fields) {
                Ok((cursor, [])) => Ok(cursor),
                _ => Err(damaged()),
            },
            _ => Err(wrong(
                "another version of affinis gave it; begin with the cursor \"start\" again",
            )),
        }
    }

    /// Checks that it was given by the collection of a name.
    pub(super) fn check_collection(&self, name: &str) -> Result<()> {
        if self.digests.collection == digest_of_collection(name) {
            return Ok(());
        }
        Err(wrong("it is of another collection"))
    }

    /// Checks that it was given by the same search of the collection.
    fn check(&self, digests: &Digests) -> Result<()> {
        let of = &self.digests;
        Err(wrong(if of.query != digests.query {
            "it is of another query, or the item that the query is like has changed"
        } else if of.settings != digests.settings {
            "it is of a search with other settings; only k may differ between pages"
        } else if of.moved != digests.moved {
            "what judgements say of the question has changed since, and with it the order of the hits; begin with the cursor \"start\" again, or search without memory"
        } else {
            return Ok(());
        }))
    }

    /// Whether a candidate follows the last hit.
    fn is_before(&self, candidate: &Candidate<'_>) -> bool {
        let order = f32::from_bits(self.key).total_cmp(&candidate.key);
        order
            .then_with(|| self.id.as_str().cmp(candidate.id))
            .is_lt()
    }
}

fn wrong(reason: &str) -> Error {
    Error::InvalidQuery(format!("the cursor cannot be used: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_with_any_bit_changed_is_refused() {
        let cursor = Cursor {
            digests: Digests {
                collection: 1,
                query: u64::MAX,
                settings: 3,
                moved: 0,
            },
            metric: 2,
            shown: 10,
            key: 0.5_f32.to_bits(),
            id: "äpfel".to_owned(),
        };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text).expect("reads"), cursor);
        let bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64");
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            Cursor::decode(&URL_SAFE_NO_PAD.encode(changed)).expect_err("damaged");
        }
        for cut in 0..text.len() {
            Cursor::decode(&text[..cut]).expect_err("cut");
        }
        for text in ["", "start", "AA", "no base64!", "AAAAAAAAAAAAAAAA"] {
            let error = Cursor::decode(text).expect_err("no cursor").to_string();
            assert!(error.contains("cursor"), "{error}");
        }
    }
}
