//! Range search: all items within a distance of a query.

use super::{Items, Matching};
use crate::index::SearchParams;
use crate::model::error::Result;
use crate::model::{Hit, Versioned};

use super::graph::from_index;
use super::search::for_index;

/// An item within the distance, by its slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InRange {
    pub(crate) distance: f32,
    pub(crate) slot: u32,
}

impl Items {
    /// The items whose distance is at most `distance`, nearest first, ties by id; `None` if it was
    /// cancelled. The vector has the form that the index takes. The ids `own` are left out.
    pub(crate) fn within(
        &self,
        metric: &Versioned,
        vector: &[f32],
        distance: f32,
        matching: Option<&Matching>,
        own: &[&str],
        cancel: Option<&(dyn Fn() -> bool + Sync)>,
    ) -> Result<Option<Vec<InRange>>> {
        let params = SearchParams {
            allowed: matching.map(|m| &m.slots),
            at: matching.map(|m| &m.snapshot),
            cancel,
            ..SearchParams::default()
        };
        let found = self
            .index
            .within(&for_index(metric), vector, distance, &params)
            .map_err(from_index)?;
        let Some(found) = found else {
            return Ok(None);
        };
        let named = found.iter().filter_map(|found| {
            let id = self.ids.get(found.slot)?;
            (!own.contains(&id)).then_some((found.distance, id, found.slot))
        });
        let mut named: Vec<(f32, &str, u32)> = named.collect();
        // Sorted by distance already.
        named.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let found = named.into_iter();
        let found = found.map(|(distance, _, slot)| InRange { distance, slot });
        Ok(Some(found.collect()))
    }

    /// An item within the distance as a hit.
    pub(crate) fn hit_in_range(
        &self,
        metric: &Versioned,
        found: InRange,
        rank: usize,
        text: bool,
        meta: bool,
    ) -> Result<Hit> {
        let id = self.ids.get(found.slot).unwrap_or_default();
        let learned = !metric.version.is_built_in();
        let score = self.rules.distance.score(found.distance, learned);
        let mut hit = Hit::new(id, found.distance, score, rank);
        self.fill_hit(&mut hit, found.slot, text, meta)?;
        Ok(hit)
    }
}
