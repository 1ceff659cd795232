//! Fingerprints of the judged queries and pairs that a metric was fitted to, by which a later gate
//! recognises them.
//!
//! A metric scores better on judgements that it was fitted to than on any others. A gate that
//! compared a candidate, scored on judgements held out from it, with such an incumbent would hardly
//! ever let a better candidate pass. So every metric of this plugin carries the fingerprints of its
//! judgements, and the gate prefers judgements that are new to the incumbent.

use ndarray::ArrayView1;

/// Largest number of fingerprints that a metric keeps (512 KiB).
pub(crate) const MAX_FINGERPRINTS: usize = 1 << 16;

/// A set of fingerprints in ascending order. A full set holds the least ones, and counts whatever
/// lies above its greatest as contained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fingerprints(Vec<u64>);

impl Fingerprints {
    pub(crate) fn new(fingerprints: impl IntoIterator<Item = u64>) -> Self {
        let mut all: Vec<u64> = fingerprints.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(MAX_FINGERPRINTS);
        Self(all)
    }

    /// The set of fingerprints as they were written; `None` when they are too many or out of order.
    pub(crate) fn from_sorted(all: Vec<u64>) -> Option<Self> {
        (all.len() <= MAX_FINGERPRINTS && all.is_sorted_by(|a, b| a < b)).then_some(Self(all))
    }

    pub(crate) fn contains(&self, fingerprint: u64) -> bool {
        match self.0.last() {
            Some(&greatest) if self.0.len() == MAX_FINGERPRINTS && fingerprint > greatest => true,
            _ => self.0.binary_search(&fingerprint).is_ok(),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

/// The fingerprint of a vector's numbers, the same for both zeros.
pub(crate) fn of_vector(vector: ArrayView1<'_, f32>) -> u64 {
    vector.iter().fold(vector.len() as u64, |hash, v| {
        splitmix(hash ^ u64::from((v + 0.0).to_bits()))
    })
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): a bijection that scatters its input.
pub(crate) fn splitmix(v: u64) -> u64 {
    let v = v.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let v = (v ^ (v >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let v = (v ^ (v >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ (v >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_contains_whatever_lies_above_its_greatest() {
        let seen = Fingerprints::new((0..MAX_FINGERPRINTS as u64 + 10).map(|v| v * 2));
        assert!(seen.contains(4));
        assert!(!seen.contains(5));
        assert!(
            seen.contains(2 * MAX_FINGERPRINTS as u64 + 2),
            "beyond the last fingerprint kept"
        );
        assert!(!Fingerprints::new([1, 3]).contains(9));
    }
}
