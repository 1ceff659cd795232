//! Items whose codes are far from them.
//!
//! The ranges of four-bit codes do not cover rare large numbers, which would cost all others their
//! precision. Of an item with such numbers, the code is too small exactly where it is much like a
//! query that has large numbers there too, and its distance is overestimated by many times the
//! error of others: the nearest item of such a query would be lost. Searches compute the distances
//! of these few items from their vectors.

use crate::index::layout::column::Column;

/// An item is an outlier if its codes are off by more than this many times the squared error of
/// rounding.
const MIN_ERROR: f64 = 2.0;
/// At most one item in so many is an outlier, for their distances take longer.
const MAX_SHARE: usize = 16;

/// A set of items of one segment: bit `i % 32` of word `i / 32` is that of item `i`.
#[derive(Debug, Clone)]
pub(crate) struct Outliers {
    words: Column<u32>,
    is_empty: bool,
}

impl Outliers {
    /// Bits in a word.
    const BITS: usize = u32::BITS as usize;

    /// Those of items with these squared errors, where rounding alone is expected to make
    /// `rounding`.
    pub(super) fn of(errors: &[f64], rounding: f64) -> Self {
        let mut least = MIN_ERROR * rounding;
        let most = errors.len() / MAX_SHARE;
        let mut large: Vec<f64> = errors.iter().copied().filter(|e| *e > least).collect();
        if large.len() > most {
            let (_, last, _) = large.select_nth_unstable_by(most, |a, b| b.total_cmp(a));
            least = *last;
        }
        let mut words = vec![0; Self::words_for(errors.len())];
        for (item, _) in errors.iter().enumerate().filter(|(_, e)| **e > least) {
            words[item / Self::BITS] |= 1 << (item % Self::BITS);
        }
        Self::stored(Column::Held(words))
    }

    /// A set that was stored, in [`Self::words_for`] words.
    pub(crate) fn stored(words: Column<u32>) -> Self {
        let is_empty = words.iter().all(|word| *word == 0);
        Self { words, is_empty }
    }

    /// The number of words for a segment of `len` items.
    pub(crate) fn words_for(len: usize) -> usize {
        len.div_ceil(Self::BITS)
    }

    /// The words.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// The set for a loop; `None` if it is empty.
    pub(crate) fn lookup(&self) -> Option<Lookup<'_>> {
        (!self.is_empty).then(|| Lookup(&self.words))
    }

    /// Bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        self.words.bytes()
    }
}

/// A set of items that is not empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup<'a>(&'a [u32]);

impl Lookup<'_> {
    /// Whether an item is in the set.
    #[inline]
    pub(crate) fn contains(self, item: u32) -> bool {
        let (word, bit) = (
            item as usize / Outliers::BITS,
            item as usize % Outliers::BITS,
        );
        self.0[word] >> bit & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(outliers: &Outliers, len: u32) -> Vec<u32> {
        let all = outliers.lookup();
        (0..len)
            .filter(|item| all.is_some_and(|all| all.contains(*item)))
            .collect()
    }

    #[test]
    fn items_with_large_errors_are_outliers_and_of_too_many_the_worst() {
        let mut errors = vec![1.0; 100];
        (errors[0], errors[31], errors[32], errors[99]) = (2.5, 3.0, 1.9, 40.0);
        assert_eq!(members(&Outliers::of(&errors, 1.0), 100), [0, 31, 99]);
        assert!(Outliers::of(&errors, 30.0).lookup().is_none());
        let growing: Vec<f64> = (0..160).map(f64::from).collect();
        let worst: Vec<u32> = (150..160).collect();
        assert_eq!(members(&Outliers::of(&growing, 1.0), 160), worst);
        assert!(Outliers::of(&[], 1.0).lookup().is_none());
        // Equal errors that are too many are none of them outliers.
        assert!(Outliers::of(&[5.0; 64], 1.0).lookup().is_none());
    }
}
