//! Postings of metadata fields: for each value of a field, the bitmap of the items that have it, in
//! the order of the values.
//!
//! The postings of a field are built when a filter first names it, and follow every write from then
//! on. An equality is one bitmap, a range is the union of consecutive ones; ranges of times are in
//! the order of time. Tests that postings cannot decide (equality with lists and objects, integers beyond 2^53) are evaluated on the
//! metadata of the items that have the field.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use roaring::{MultiOps, RoaringBitmap};
use serde_json::Value;

use super::facet::{Counted, Facet};
use super::groups::Groups;
use super::times::time;
use super::{Field, Filter, Node, Operand, Test};
use crate::model::error::Result;

/// Postings of the fields that filters have named, over the live slots.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    live: RoaringBitmap,
    /// Number of removed items whose slots may still be in the bitmaps.
    removed: u64,
    fields: HashMap<Field, OfField>,
    /// The groups of the fields that searches have grouped by. A search keeps those of its snapshot.
    groups: HashMap<Field, Arc<Groups>>,
}

/// The fields that are to be evaluated.
#[derive(Clone, Copy, Default)]
pub(crate) struct Needs<'a> {
    pub(crate) filter: Option<&'a Filter>,
    /// A field whose values are counted.
    pub(crate) facet: Option<&'a Field>,
    /// A field that items are grouped by.
    pub(crate) groups: Option<&'a Field>,
}

impl<'a> Needs<'a> {
    /// What a filter needs.
    pub(crate) fn of(filter: Option<&'a Filter>) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }
}

/// The fields that lack postings or groups.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    fields: HashSet<Field>,
    groups: Option<Field>,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.groups.is_none()
    }
}

/// The number of removed items up to which bitmaps are not cleaned.
const MAX_UNCLEANED: u64 = 4096;

/// The postings of one field.
#[derive(Debug, Default)]
struct OfField {
    /// Items that have the field.
    exists: RoaringBitmap,
    /// Items in which the field's name has two meanings.
    ambiguous: RoaringBitmap,
    values: BTreeMap<Key, RoaringBitmap>,
    /// The texts among the values that are times.
    times: BTreeMap<Timestamp, RoaringBitmap>,
    /// Whether some number is too precise for a [`Key`].
    inexact: bool,
    /// Items with an object, or a number that is too precise for a [`Key`], among the values.
    uncounted: RoaringBitmap,
}

/// A value that has a bitmap of its own. Numbers are ordered as numbers, texts as texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Null,
    Bool(bool),
    Number(Ordered),
    Text(Box<str>),
}

/// A finite number, never -0, in numerical order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Key {
    /// The value. A number without a fraction is an integer, which it equals.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Number(Ordered(x)) if x.fract() == 0.0 && x.abs() < 2.0_f64.powi(53) => {
                Value::from(*x as i64)
            }
            Self::Number(Ordered(x)) => Value::from(*x),
            Self::Text(text) => Value::from(&**text),
        }
    }
}

/// The class of a value, which says whether it has a bitmap.
pub(super) enum Class {
    /// A value with a bitmap.
    Key(Key),
    /// A number too precise for a key.
    Inexact,
    /// A list or an object.
    Compound,
}

impl Class {
    pub(super) fn of(value: &Value) -> Self {
        const EXACT: i128 = 1 << f64::MANTISSA_DIGITS;
        Self::Key(match value {
            Value::Null => Key::Null,
            Value::Bool(b) => Key::Bool(*b),
            Value::String(text) => Key::Text(text.as_str().into()),
            Value::Number(number) => {
                let exact = number
                    .as_i128()
                    .is_none_or(|i| (-EXACT..=EXACT).contains(&i));
                match number.as_f64() {
                    // Adding zero turns -0 into 0.
                    Some(x) if exact => Key::Number(Ordered(x + 0.0)),
                    _ => return Self::Inexact,
                }
            }
            Value::Array(_) | Value::Object(_) => return Self::Compound,
        })
    }
}

impl Postings {
    /// Postings of no field over live slots.
    pub(crate) fn new(live: RoaringBitmap) -> Self {
        Self {
            live,
            removed: 0,
            fields: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// The slots of the live items.
    pub(crate) fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    /// The fields that are to be evaluated and have no postings or groups yet.
    pub(crate) fn missing(&self, needs: &Needs<'_>) -> Missing {
        let mut fields = Vec::new();
        if let Some(filter) = needs.filter {
            filter.node.fields(&mut fields);
        }
        fields.extend(needs.facet);
        let missing = fields.into_iter().filter(|f| !self.fields.contains_key(f));
        let groups = needs.groups.filter(|f| !self.groups.contains_key(f));
        Missing {
            fields: missing.cloned().collect(),
            groups: groups.cloned(),
        }
    }

    /// Begins postings and groups, after which [`fill`](Self::fill) must be called with every live
    /// item.
    pub(crate) fn begin(&mut self, missing: &Missing) {
        for field in &missing.fields {
            self.fields.entry(field.clone()).or_default();
        }
        if let Some(field) = &missing.groups {
            self.groups.entry(field.clone()).or_default();
        }
    }

    /// Enters the values of an item for the fields that were missing.
    pub(crate) fn fill(&mut self, slot: u32, meta: &Value, missing: &Missing) {
        for field in &missing.fields {
            if let Some(postings) = self.fields.get_mut(field) {
                postings.enter(slot, meta, field);
            }
        }
        if let Some(field) = &missing.groups
            && let Some(groups) = self.groups.get_mut(field)
        {
            Arc::make_mut(groups).enter(slot, meta, field);
        }
    }

    /// Enters a new item.
    pub(crate) fn add(&mut self, slot: u32, meta: &Value) {
        self.live.insert(slot);
        for (field, postings) in &mut self.fields {
            postings.enter(slot, meta, field);
        }
        for (field, groups) in &mut self.groups {
            Arc::make_mut(groups).enter(slot, meta, field);
        }
    }

    /// Removes an item. Its slot stays in the bitmaps, which are always intersected with the live
    /// slots, until there are more removed items than live ones.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.live.remove(slot);
        self.removed += 1;
        for groups in self.groups.values_mut() {
            Arc::make_mut(groups).leave(slot);
        }
        if self.removed > self.live.len().max(MAX_UNCLEANED) {
            self.removed = 0;
            let keep = |slots: &mut RoaringBitmap| {
                *slots &= &self.live;
                !slots.is_empty()
            };
            for field in self.fields.values_mut() {
                keep(&mut field.exists);
                keep(&mut field.ambiguous);
                keep(&mut field.uncounted);
                field.values.retain(|_, slots| keep(slots));
                field.times.retain(|_, slots| keep(slots));
            }
        }
    }

    /// A live item in which a field of the filter has two meanings, and the field.
    pub(crate) fn ambiguous<'a>(&self, filter: &'a Filter) -> Option<(u32, &'a Field)> {
        let mut fields = Vec::new();
        filter.node.fields(&mut fields);
        fields.into_iter().find_map(|field| {
            let live = &self.fields.get(field)?.ambiguous & &self.live;
            Some((live.min()?, field))
        })
    }

    /// One of some slots in which a field has two meanings.
    pub(crate) fn ambiguous_among(&self, field: &Field, slots: &RoaringBitmap) -> Option<u32> {
        (&self.fields.get(field)?.ambiguous & slots).min()
    }

    /// The groups of a field, which must have been begun.
    pub(crate) fn groups(&self, field: &Field) -> Arc<Groups> {
        self.groups.get(field).cloned().unwrap_or_default()
    }

    /// Counts the values of a field, which must have postings, over some of the live slots.
    pub(crate) fn facet(&self, field: &Field, among: &RoaringBitmap, limit: usize) -> Facet {
        let Some(postings) = self.fields.get(field) else {
            return Facet::default();
        };
        // Most facets are over all items, whose bitmaps need not be intersected if none of their
        // slots is dead.
        let is_all = self.removed == 0 && *among == self.live;
        let count = |slots: &RoaringBitmap| {
            if is_all {
                slots.len()
            } else {
                slots.intersection_len(among)
            }
        };
        let counted = postings
            .values
            .iter()
            .map(|(key, slots)| (key, count(slots)));
        Counted {
            values: counted.filter(|(_, count)| *count > 0).collect(),
            missing: among.len() - count(&postings.exists),
            uncounted: count(&postings.uncounted),
        }
        .facet(limit)
    }

    /// The live slots that pass `filter`, all of whose fields must have postings, and none of which
    /// may be [ambiguous](Self::ambiguous). `read` returns the metadata of a slot.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn matching(
        &self,
        filter: &Filter,
        read: &dyn Fn(u32) -> Result<Value>,
    ) -> Result<RoaringBitmap> {
        self.node(&filter.node, read)
    }

    fn node(&self, node: &Node, read: &dyn Fn(u32) -> Result<Value>) -> Result<RoaringBitmap> {
        Ok(match node {
            Node::All(nodes) => {
                let mut all = self.live.clone();
                for node in nodes {
                    if all.is_empty() {
                        break;
                    }
                    all &= self.node(node, read)?;
                }
                all
            }
            Node::Any(nodes) => {
                let each = nodes
                    .iter()
                    .map(|node| self.node(node, read))
                    .collect::<Result<Vec<_>>>()?;
                each.union()
            }
            Node::Not(node) => &self.live - self.node(node, read)?,
            Node::Field { field, test } => {
                let Some(postings) = self.fields.get(field) else {
                    return Ok(RoaringBitmap::new());
                };
                if let Some(found) = postings.holding(test) {
                    return Ok(found & &self.live);
                }
                let mut found = RoaringBitmap::new();
                for slot in &postings.exists & &self.live {
                    if test.passes(&field.reach(&read(slot)?).values) {
                        found.insert(slot);
                    }
                }
                found
            }
        })
    }
}

impl OfField {
    /// Enters the values that the field leads to in an item.
    fn enter(&mut self, slot: u32, meta: &Value, field: &Field) {
        let reached = field.reach(meta);
        if reached.ambiguous {
            self.ambiguous.insert(slot);
        }
        for value in reached.values {
            self.exists.insert(slot);
            self.value(slot, value);
            for element in value.as_array().into_iter().flatten() {
                self.value(slot, element);
            }
        }
    }

    /// Enters one value.
    fn value(&mut self, slot: u32, value: &Value) {
        match Class::of(value) {
            Class::Key(key) => {
                if let Key::Text(text) = &key
                    && let Some(time) = time(text)
                {
                    self.times.entry(time).or_default().insert(slot);
                }
                self.values.entry(key).or_default().insert(slot);
            }
            Class::Inexact => {
                self.inexact = true;
                self.uncounted.insert(slot);
            }
            // The elements of a list count as values, those of a list in a list do not.
            Class::Compound if value.is_object() => {
                self.uncounted.insert(slot);
            }
            Class::Compound => {}
        }
    }

    /// The slots for which a test holds; `None` where postings cannot decide it.
    fn holding(&self, test: &Test) -> Option<RoaringBitmap> {
        use std::cmp::Ordering::{Equal, Greater};
        match test {
            Test::Exists => Some(self.exists.clone()),
            Test::Equal(value) => Some(
                self.values
                    .get(&self.key(value)?)
                    .cloned()
                    .unwrap_or_default(),
            ),
            Test::In(values) => {
                let keys = values
                    .iter()
                    .map(|value| self.key(value))
                    .collect::<Option<Vec<Key>>>()?;
                Some(keys.iter().filter_map(|key| self.values.get(key)).union())
            }
            Test::Order(operand, orderings) => self.ordered(
                operand,
                orderings.contains(&Equal),
                orderings.contains(&Greater),
            ),
        }
    }

    /// The slots with a value on one side of the operand.
    fn ordered(&self, operand: &Operand, included: bool, above: bool) -> Option<RoaringBitmap> {
        let key = self.key(&operand.value)?;
        // The first and last values of the kind of the key.
        let (first, last) = match key {
            Key::Number(_) => (
                Key::Number(Ordered(f64::NEG_INFINITY)),
                Bound::Excluded(Key::Text("".into())),
            ),
            Key::Text(_) => (Key::Text("".into()), Bound::Unbounded),
            Key::Null | Key::Bool(_) => return None,
        };
        let range = match (above, edge(key, included)) {
            (true, edge) => (edge, last),
            (false, edge) => (Bound::Included(first), edge),
        };
        let values = self.values.range(range);
        let Some(operand) = operand.time else {
            return Some(values.map(|(_, slots)| slots).union());
        };
        // Times are ordered by time, and what is no time is ordered as text.
        let others =
            values.filter(|(key, _)| !matches!(key, Key::Text(text) if time(text).is_some()));
        let range = match (above, edge(operand, included)) {
            (true, edge) => (edge, Bound::Unbounded),
            (false, edge) => (Bound::Unbounded, edge),
        };
        let mut found: Vec<&RoaringBitmap> = others.map(|(_, slots)| slots).collect();
        found.extend(self.times.range(range).map(|(_, slots)| slots));
        Some(found.union())
    }

    /// The key of a value in a test; `None` where the test must be evaluated on the metadata.
    fn key(&self, value: &Value) -> Option<Key> {
        match Class::of(value) {
            Class::Key(Key::Number(_)) if self.inexact => None,
            Class::Key(key) => Some(key),
            Class::Inexact | Class::Compound => None,
        }
    }
}

/// The end of a range at a value.
fn edge<T>(value: T, included: bool) -> Bound<T> {
    if included {
        Bound::Included(value)
    } else {
        Bound::Excluded(value)
    }
}
