//! All items within a distance, by a scan of exact distances.

use super::{Neighbour, Searcher};
use crate::index::layout::rows::{RowBuffer, RowSource};

/// Items of a scan between two calls of `cancel`.
const SCANNED_AT_ONCE: usize = 1024;

impl Searcher<'_> {
    /// Every eligible item whose exact distance is at most `distance`, in the order of segments;
    /// `None` if it was cancelled.
    pub(crate) fn within(&self, distance: f32) -> Option<Vec<Neighbour>> {
        let mut found = Vec::new();
        for (at, view) in self.snapshot.sealed.iter().enumerate() {
            let (segment, biases) = (&*view.segment, &self.biases.sealed[at]);
            let slot = |local: u32| segment.slots[local as usize].0;
            let rows = segment.rows.view();
            let locals = (0..segment.len() as u32)
                .filter(|&local| self.is_eligible(segment.slots[local as usize]));
            self.scan_within(distance, locals.collect(), &rows, biases, slot, &mut found)?;
        }
        for (at, view) in self.snapshot.growing.iter().enumerate() {
            let (segment, biases) = (&*view.segment, &self.biases.growing[at]);
            let slot = |local: u32| segment.slot(local).0;
            let locals =
                (0..view.len as u32).filter(|&local| self.is_eligible(segment.slot(local)));
            self.scan_within(
                distance,
                locals.collect(),
                segment,
                biases,
                slot,
                &mut found,
            )?;
        }
        Some(found)
    }

    fn scan_within(
        &self,
        distance: f32,
        locals: Vec<u32>,
        rows: &impl RowSource,
        biases: &crate::index::bias::Biases,
        slot: impl Fn(u32) -> u32,
        found: &mut Vec<Neighbour>,
    ) -> Option<()> {
        let (mut scratch, mut buffer) = (Vec::new(), RowBuffer::new());
        for locals in locals.chunks(SCANNED_AT_ONCE) {
            if self.is_cancelled() {
                return None;
            }
            biases.ensure(locals, rows, &*self.query.metric.metric);
            for &local in locals {
                let row = rows.row(local, &mut buffer);
                let exact = self.query.exact(row, biases.get(local), &mut scratch);
                if exact <= distance {
                    found.push(Neighbour {
                        slot: slot(local),
                        distance: exact,
                    });
                }
            }
        }
        Some(())
    }
}
