//! Which judged queries and pairs a metric was fitted to, so that a later gate can judge it on
//! others.
//!
//! A metric scores better on judgements that it was fitted to than on any others. A gate that
//! compared a candidate, scored on judgements held out from it, with such an incumbent would hardly
//! ever let a better candidate pass. So every metric carries fingerprints of what it has seen, and
//! the gate prefers what is new to the incumbent.

/// At most so many fingerprints are kept (512 KiB).
pub(crate) const MAX_SEEN: usize = 1 << 16;

/// A set of fingerprints in ascending order. When it is full it holds the least ones, and whatever
/// lies above the greatest of them counts as seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen(Vec<u64>);

impl Seen {
    pub(crate) fn new(fingerprints: impl IntoIterator<Item = u64>) -> Self {
        let mut all: Vec<u64> = fingerprints.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(MAX_SEEN);
        Self(all)
    }

    /// Takes fingerprints as they were written; `None` when they are too many or out of order.
    pub(crate) fn from_sorted(all: Vec<u64>) -> Option<Self> {
        (all.len() <= MAX_SEEN && all.is_sorted_by(|a, b| a < b)).then_some(Self(all))
    }

    pub(crate) fn contains(&self, fingerprint: u64) -> bool {
        match self.0.last() {
            Some(&greatest) if self.0.len() == MAX_SEEN && fingerprint > greatest => true,
            _ => self.0.binary_search(&fingerprint).is_ok(),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_calls_seen_what_it_cannot_tell() {
        let seen = Seen::new((0..MAX_SEEN as u64 + 10).map(|v| v * 2));
        assert!(seen.contains(4));
        assert!(!seen.contains(5));
        assert!(
            seen.contains(2 * MAX_SEEN as u64 + 2),
            "beyond the last fingerprint kept"
        );
        assert!(!Seen::new([1, 3]).contains(9));
    }
}
