//! Exact distances of the best candidates, by which hits are reported.

use super::{Candidate, Neighbour, Searcher};
use crate::index::layout::rows::{Block, RowBuffer, RowSource};
use crate::index::snapshot::Location;

/// Distances that are computed before it is decided whether more are needed.
const COMPUTED_AT_ONCE: usize = 8;
/// The error of estimates is taken to be at most this many times the largest one seen.
const ERROR_MARGIN: f32 = 2.0;

/// The `k`-th smallest distance; `k` is from 1 to the number of hits.
fn kth_distance(hits: &mut [Neighbour], k: usize) -> f32 {
    hits.select_nth_unstable_by(k - 1, |a, b| a.distance.total_cmp(&b.distance))
        .1
        .distance
}

impl Searcher<'_> {
    /// Computes the exact distances of the best candidates, at most `wanted` of them or
    /// [`Self::wanted`] if that is more, and sorts by them. It stops when the remaining estimates,
    /// less [`ERROR_MARGIN`] times the largest error so far, are beyond the distance of the last that is listed.
    pub(super) fn report(&self, mut candidates: Vec<Candidate>, wanted: usize) -> Vec<Neighbour> {
        candidates
            .sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate).then(a.slot.cmp(&b.slot)));
        candidates.truncate(wanted.max(self.wanted()));
        let (mut scratch, mut buffer) = (Vec::new(), RowBuffer::new());
        let mut hits: Vec<Neighbour> = Vec::with_capacity(candidates.len());
        let mut largest_error = 0.0_f32;
        let mut rest = candidates.as_slice();
        while let Some(next) = rest.first() {
            if hits.len() >= self.listed
                && next.estimate - ERROR_MARGIN * largest_error
                    > kth_distance(&mut hits, self.listed)
            {
                break;
            }
            let count = if hits.is_empty() {
                self.listed + COMPUTED_AT_ONCE
            } else {
                COMPUTED_AT_ONCE
            };
            let (batch, later) = rest.split_at(rest.len().min(count));
            for candidate in batch {
                self.prefetch(candidate.location);
            }
            for candidate in batch {
                let (row, bias) = self.row_and_bias(candidate.location, &mut buffer);
                let distance = self.query.exact(row, bias, &mut scratch);
                largest_error = largest_error.max((distance - candidate.estimate).abs());
                hits.push(Neighbour {
                    slot: candidate.slot.0,
                    distance,
                });
            }
            rest = later;
        }
        hits.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.slot.cmp(&b.slot)));
        self.truncate_after_ties(&mut hits);
        hits
    }

    /// Drops the hits that are farther than the last that is listed.
    fn truncate_after_ties(&self, hits: &mut Vec<Neighbour>) {
        let kth = self.listed.checked_sub(1).and_then(|last| hits.get(last));
        if let Some(distance) = kth.map(|hit| hit.distance) {
            hits.truncate(hits.partition_point(|hit| hit.distance <= distance));
        }
    }

    fn prefetch(&self, location: Location) {
        match location {
            Location::Sealed(at, local) => self.snapshot.sealed[at].segment.prefetch(local),
            Location::Growing(at, local) => self.snapshot.growing[at].segment.prefetch(local),
        }
    }

    fn row_and_bias<'b>(
        &'b self,
        location: Location,
        buffer: &'b mut RowBuffer,
    ) -> (&'b [Block], f32) {
        match location {
            Location::Sealed(at, local) => (
                self.snapshot.sealed[at].segment.row(local, buffer),
                self.biases.sealed[at].get(local),
            ),
            Location::Growing(at, local) => (
                self.snapshot.growing[at].segment.row(local, buffer),
                self.biases.growing[at].get(local),
            ),
        }
    }
}
