//! Queries that were asked lately, on which the promise of recall is checked in the background.
//!
//! They stay in memory. Answers change only by a calibration, which is stored.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{QueryForm, QuestionKind, Sampled};

/// One search in so many is kept.
const ONE_IN: usize = 16;
/// Most queries that are kept.
const MAX_KEPT: usize = 64;
/// New queries after which the promise is checked.
const CHECKED_AT_ONCE: usize = 32;

/// The queries of searches with the default settings, some of them.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    searches: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Metric versions and queries, oldest first.
    queries: VecDeque<(u32, Sampled)>,
    /// Number of queries since the last check.
    unchecked: usize,
}

impl Kept {
    /// Whether there are enough queries for a check.
    fn is_due(&self) -> bool {
        self.unchecked >= CHECKED_AT_ONCE
    }
}

impl Asked {
    /// Keeps a query now and then. Returns whether enough came together for a check.
    pub(crate) fn keep(&self, version: u32, form: QueryForm, query: &[f32]) -> bool {
        let number = self.searches.fetch_add(1, Ordering::Relaxed);
        if !number.is_multiple_of(ONE_IN) {
            return false;
        }
        let mut kept = self.lock();
        if kept.queries.len() == MAX_KEPT {
            kept.queries.pop_front();
        }
        let sampled = Sampled {
            kind: QuestionKind::Asked,
            form,
            vector: query.to_vec(),
        };
        kept.queries.push_back((version, sampled));
        kept.unchecked += 1;
        kept.is_due()
    }

    /// Whether there are enough queries for a check.
    pub(crate) fn is_due(&self) -> bool {
        self.lock().is_due()
    }

    /// The queries to check, if a check is due; it is not due again until others were asked.
    pub(crate) fn take_due(&self) -> Option<Vec<(u32, Sampled)>> {
        let mut kept = self.lock();
        if !kept.is_due() {
            return None;
        }
        kept.unchecked = 0;
        Some(kept.queries.iter().cloned().collect())
    }

    /// The kept queries, which are whole whenever the lock is free.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queries under a metric version.
    pub(crate) fn recent(&self, version: u32) -> Vec<Sampled> {
        let kept = self.lock();
        let of_version = kept.queries.iter().filter(|(under, _)| *under == version);
        of_version.map(|(_, sampled)| sampled.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_due_after_enough_queries_and_not_again_at_once() {
        let asked = Asked::default();
        let searches = CHECKED_AT_ONCE * ONE_IN;
        let due: Vec<bool> = (0..searches)
            .map(|_| asked.keep(1, QueryForm::Any, &[0.5]))
            .collect();
        assert!(due[searches - ONE_IN] && !due[..searches - ONE_IN].contains(&true));
        assert_eq!(
            asked.take_due().map(|kept| kept.len()),
            Some(CHECKED_AT_ONCE)
        );
        assert!(asked.take_due().is_none() && !asked.is_due());
        assert_eq!(asked.recent(1).len(), CHECKED_AT_ONCE);
        assert_eq!(asked.recent(2).len(), 0);
    }
}
