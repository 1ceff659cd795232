//! Exact nearest neighbours of many queries at once, by scanning all segments.

use super::{Gathered, Neighbour, Searcher, SnapshotBiases};
use crate::index::query::RewrittenQuery;
use crate::index::scan::Scan;
use crate::index::snapshot::{Location, Snapshot};
use crate::slot::Slot;

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
            listed: k,
            ef: k,
            schedule: None,
            coded: false,
            allowed: None,
            cancel: Some(cancel),
        })
        .collect();
    let Some(wanted) = searchers.first().map(Searcher::wanted) else {
        return Some(Vec::new());
    };
    let scan = Scan {
        queries,
        wanted,
        cancel,
    };
    let mut gathered: Vec<Gathered> = queries.iter().map(|_| Gathered::default()).collect();
    for (at, view) in snapshot.sealed.iter().enumerate() {
        let segment = &*view.segment;
        let slot = |local: u32| segment.slots[local as usize];
        let locals = live(snapshot, segment.len(), &slot);
        let rows = segment.rows.view();
        let best = scan.best(&locals, &rows, &biases.sealed[at], slot)?;
        for (best, gathered) in best.into_iter().zip(&mut gathered) {
            gathered.add(best, |local| (slot(local), Location::Sealed(at, local)));
        }
    }
    for (at, view) in snapshot.growing.iter().enumerate() {
        let segment = &*view.segment;
        let slot = |local: u32| segment.slot(local);
        let locals = live(snapshot, view.len, &slot);
        let best = scan.best(&locals, segment, &biases.growing[at], slot)?;
        for (best, gathered) in best.into_iter().zip(&mut gathered) {
            gathered.add(best, |local| (slot(local), Location::Growing(at, local)));
        }
    }
    let reported = searchers
        .iter()
        .zip(gathered)
        .map(|(searcher, gathered)| searcher.report(gathered.candidates, wanted));
    Some(reported.collect())
}

/// The live items among the first `len` of a segment.
fn live(snapshot: &Snapshot, len: usize, slot: &impl Fn(u32) -> Slot) -> Vec<u32> {
    (0..len as u32)
        .filter(|&local| !snapshot.dead.contains(slot(local)))
        .collect()
}
