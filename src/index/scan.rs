//! The nearest items of many queries at once, by a scan of their rows.

use crate::index::bias::Biases;
use crate::index::layout::rows::RowSource;
use crate::index::nearest::{Best, Scored};
use crate::index::query::RewrittenQuery;
use crate::slot::Slot;

/// Rows that meet all queries while they are in cache.
const ROWS_AT_ONCE: usize = 128;

/// A scan for several queries.
pub(crate) struct Scan<'a> {
    /// The queries, all under one metric.
    pub(crate) queries: &'a [RewrittenQuery<'a>],
    /// Number of items that are wanted of each.
    pub(crate) wanted: usize,
    /// Returns whether to stop; called often.
    pub(crate) cancel: &'a (dyn Fn() -> bool + Sync),
}

impl Scan<'_> {
    /// The best of the items `locals` for each query by their estimated distances, nearest first,
    /// of equal ones those with the smaller slot; `None` if it was cancelled.
    pub(crate) fn best(
        &self,
        locals: &[u32],
        rows: &impl RowSource,
        biases: &Biases,
        slot: impl Fn(u32) -> Slot,
    ) -> Option<Vec<Vec<Scored>>> {
        let mut best: Vec<Best> = self
            .queries
            .iter()
            .map(|_| Best::new(self.wanted, locals.len()))
            .collect();
        let (mut estimates, mut buffers) = (Vec::with_capacity(ROWS_AT_ONCE), Default::default());
        for locals in locals.chunks(ROWS_AT_ONCE) {
            for (query, best) in self.queries.iter().zip(&mut best) {
                if (self.cancel)() {
                    return None;
                }
                estimates.clear();
                query.estimates(locals, rows, biases, &mut buffers, &mut estimates);
                best.offer(locals, &estimates, &|local| slot(local).0);
            }
        }
        Some(best.into_iter().map(Best::sorted).collect())
    }
}
