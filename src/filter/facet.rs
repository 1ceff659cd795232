//! Facets: how many items have each value of a field.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::postings::Key;

/// The values of a field of metadata over some items, with the number of items that have each.
///
/// An item with a list counts once for each different element of it. 1 and 1.0 are one value, `null`
/// is one. Objects, lists in lists and integers beyond 2^53 have no count; [`uncounted`] tells how
/// many items have an object or such an integer.
///
/// [`uncounted`]: Self::uncounted
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Facet {
    /// The values that most items have, the most frequent first, ties in the order `null`, false,
    /// true, numbers, texts.
    pub values: Vec<FacetValue>,
    /// Number of different values, those that are not listed among them.
    pub distinct: u64,
    /// Number of items without the field.
    pub missing: u64,
    /// Number of items with a value that has no count.
    pub uncounted: u64,
}

/// A value of a facet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FacetValue {
    /// The value: `null`, a boolean, a number or a text.
    pub value: Value,
    /// Number of items that have it.
    pub count: u64,
}

/// The counts of all values, in the order of the values.
pub(super) struct Counted<'a> {
    pub(super) values: Vec<(&'a Key, u64)>,
    pub(super) missing: u64,
    pub(super) uncounted: u64,
}

impl Counted<'_> {
    /// The facet with the `limit` most frequent values.
    pub(super) fn facet(mut self, limit: usize) -> Facet {
        let distinct = self.values.len() as u64;
        let most_first =
            |a: &(&Key, u64), b: &(&Key, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
        if limit < self.values.len() {
            self.values.select_nth_unstable_by(limit, most_first);
            self.values.truncate(limit);
        }
        self.values.sort_unstable_by(most_first);
        let values = self.values.into_iter().map(|(key, count)| FacetValue {
            value: key.value(),
            count,
        });
        Facet {
            values: values.collect(),
            distinct,
            missing: self.missing,
            uncounted: self.uncounted,
        }
    }
}
