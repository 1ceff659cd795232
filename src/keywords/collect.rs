//! The best of what is offered.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A text with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    pub(crate) slot: u32,
    pub(crate) score: f32,
}

impl Eq for Scored {}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The better comes first: the higher score, and of equal ones the lower slot.
impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then(self.slot.cmp(&other.slot))
    }
}

/// The `k` best texts of those that were offered.
pub(super) struct Best {
    k: usize,
    heap: BinaryHeap<Scored>,
}

impl Best {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::new(),
        }
    }

    pub(super) fn offer(&mut self, scored: Scored) {
        if self.heap.len() < self.k {
            self.heap.push(scored);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && scored < *worst
        {
            *worst = scored;
        }
    }

    /// The score that a text must exceed to be among the best. Texts are offered in the order of
    /// their slots, so that one with this very score would come last.
    pub(super) fn threshold(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.k => worst.score,
            _ => f32::MIN,
        }
    }

    pub(super) fn sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec()
    }
}
