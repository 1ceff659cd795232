//! Exact nearest neighbours of many queries at once, by scanning all segments.

use super::{Gathered, Neighbour, Searcher, SnapshotBiases};
use crate::index::bias::Biases;
use crate::index::layout::rows::RowSource;
use crate::index::nearest::{Best, Scored};
use crate::index::query::RewrittenQuery;
use crate::index::snapshot::{Location, Snapshot};
use crate::slot::Slot;

/// Rows that meet all queries while they are in cache.
const ROWS_AT_ONCE: usize = 128;

/// The exact `k` nearest items of each query; `None` if it was cancelled.
pub(crate) fn nearest_exactly(
    snapshot: &Snapshot,
    biases: &SnapshotBiases,
    queries: &[RewrittenQuery<'_>],
    k: usize,
    cancel: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<Vec<Neighbour>>> {
    let searchers: Vec<Searcher<'_>> = queries
        .iter()
        .map(|query| Searcher {
            snapshot,
            query,
            biases,
            k,
            ef: k,
            schedule: None,
            coded: false,
            allowed: None,
            cancel: Some(cancel),
        })
        .collect();
    let mut gathered: Vec<Gathered> = queries.iter().map(|_| Gathered::default()).collect();
    for (at, view) in snapshot.sealed.iter().enumerate() {
        let segment = &*view.segment;
        let slot = |local: u32| segment.slots[local as usize];
        let locals = live(snapshot, segment.len(), &slot);
        let rows = segment.rows.view();
        let best = best_of_all(&searchers, &locals, &rows, &biases.sealed[at], slot)?;
        for (best, gathered) in best.into_iter().zip(&mut gathered) {
            gathered.add(best, |local| (slot(local), Location::Sealed(at, local)));
        }
    }
    for (at, view) in snapshot.growing.iter().enumerate() {
        let segment = &*view.segment;
        let slot = |local: u32| segment.slot(local);
        let locals = live(snapshot, view.len, &slot);
        let best = best_of_all(&searchers, &locals, segment, &biases.growing[at], slot)?;
        for (best, gathered) in best.into_iter().zip(&mut gathered) {
            gathered.add(best, |local| (slot(local), Location::Growing(at, local)));
        }
    }
    let reported = searchers
        .iter()
        .zip(gathered)
        .map(|(searcher, gathered)| searcher.report(gathered.candidates));
    Some(reported.collect())
}

/// The live items among the first `len` of a segment.
fn live(snapshot: &Snapshot, len: usize, slot: &impl Fn(u32) -> Slot) -> Vec<u32> {
    (0..len as u32)
        .filter(|&local| !snapshot.dead.contains(slot(local)))
        .collect()
}

/// The best of the items `locals` for each search; `None` if one was cancelled.
fn best_of_all(
    searchers: &[Searcher<'_>],
    locals: &[u32],
    rows: &impl RowSource,
    biases: &Biases,
    slot: impl Fn(u32) -> Slot,
) -> Option<Vec<Vec<Scored>>> {
    let mut best: Vec<Best> = searchers
        .iter()
        .map(|searcher| Best::new(searcher.wanted(), locals.len()))
        .collect();
    let (mut estimates, mut buffers) = (Vec::with_capacity(ROWS_AT_ONCE), Default::default());
    for locals in locals.chunks(ROWS_AT_ONCE) {
        for (searcher, best) in searchers.iter().zip(&mut best) {
            if searcher.is_cancelled() {
                return None;
            }
            estimates.clear();
            searcher
                .query
                .estimates(locals, rows, biases, &mut buffers, &mut estimates);
            best.offer(locals, &estimates, &|local| slot(local).0);
        }
    }
    Some(best.into_iter().map(Best::sorted).collect())
}
