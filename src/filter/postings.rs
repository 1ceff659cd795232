//! Postings of metadata fields: for each value of a field, the bitmap of the items that have it, in
//! the order of the values.
//!
//! The postings of a field are built when a filter first names it, and follow every write from then
//! on. An equality is one bitmap, a range is the union of consecutive ones; ranges of times are in
//! the order of time. Tests that postings cannot decide (equality with lists and objects, integers beyond 2^53) are evaluated on the
//! metadata of the items that have the field.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use jiff::Timestamp;
use roaring::{MultiOps, RoaringBitmap};
use serde_json::Value;

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
}

/// A value that has a bitmap of its own. Numbers are ordered as numbers, texts as texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Null,
    Bool(bool),
    Number(Ordered),
    Text(Box<str>),
}

/// A finite number, never -0, in numerical order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ordered(f64);

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

/// The class of a value, which says whether it has a bitmap.
enum Class {
    /// A value with a bitmap.
    Key(Key),
    /// A number too precise for a key.
    Inexact,
    /// A list or an object.
    Compound,
}

impl Class {
    fn of(value: &Value) -> Self {
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
        }
    }

    /// The fields of a filter that have no postings yet.
    pub(crate) fn missing(&self, filter: &Filter) -> HashSet<Field> {
        let mut fields = Vec::new();
        filter.node.fields(&mut fields);
        let missing = fields.into_iter().filter(|f| !self.fields.contains_key(f));
        missing.cloned().collect()
    }

    /// Begins postings of fields, after which [`fill`](Self::fill) must be called with every live
    /// item.
    pub(crate) fn begin(&mut self, fields: &HashSet<Field>) {
        for field in fields {
            self.fields.entry(field.clone()).or_default();
        }
    }

    /// Enters the values of an item for `fields`.
    pub(crate) fn fill(&mut self, slot: u32, meta: &Value, fields: &HashSet<Field>) {
        for field in fields {
            if let Some(postings) = self.fields.get_mut(field) {
                postings.enter(slot, meta, field);
            }
        }
    }

    /// Enters a new item.
    pub(crate) fn add(&mut self, slot: u32, meta: &Value) {
        self.live.insert(slot);
        for (field, postings) in &mut self.fields {
            postings.enter(slot, meta, field);
        }
    }

    /// Removes an item. Its slot stays in the bitmaps, which are always intersected with the live
    /// slots, until there are more removed items than live ones.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.live.remove(slot);
        self.removed += 1;
        if self.removed > self.live.len().max(MAX_UNCLEANED) {
            self.removed = 0;
            let keep = |slots: &mut RoaringBitmap| {
                *slots &= &self.live;
                !slots.is_empty()
            };
            for field in self.fields.values_mut() {
                keep(&mut field.exists);
                keep(&mut field.ambiguous);
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
            Class::Inexact => self.inexact = true,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..4).prop_map(Value::from),
            (-3i64..4).prop_map(|i| Value::from(i as f64 / 2.0)),
            Just(json!(-0.0)),
            prop_oneof![Just(9_007_199_254_740_992_i64), Just(9_007_199_254_740_993)]
                .prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
            prop_oneof![
                Just("2026-03-01"),
                Just("2026-03-01T12:00:00Z"),
                Just("2026-03-01T13:00:00+01:00"),
                Just("2026-03-01T12:30:00+01:00"),
                Just("2026-03-01T12:30:00+99:00"),
            ]
            .prop_map(Value::from),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(
                    prop_oneof![Just("x"), Just("y"), Just("x.y")],
                    inner,
                    0..3
                )
                .prop_map(|map| Value::Object(
                    map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
                )),
            ]
        })
    }

    fn meta() -> impl Strategy<Value = Value> {
        let key = prop_oneof![3 => Just("a"), 3 => Just("b"), 1 => Just("a.x"), 1 => Just("b.x.y")];
        prop::collection::btree_map(key, value(), 0..3).prop_map(|map| {
            Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
        })
    }

    fn condition() -> impl Strategy<Value = Value> {
        let field = prop_oneof![Just("a"), Just("b"), Just("a.x"), Just("b.x.y")];
        let ordered = prop_oneof![Just("$gt"), Just("$gte"), Just("$lt"), Just("$lte")];
        let comparable = scalar().prop_filter("in an order", |v| v.is_number() || v.is_string());
        let test = prop_oneof![
            value().prop_map(|v| json!({"$eq": v})),
            value().prop_map(|v| json!({"$ne": v})),
            (ordered, comparable).prop_map(|(operator, v)| json!({operator: v})),
            prop::collection::vec(scalar(), 0..4).prop_map(|v| json!({"$in": v})),
            any::<bool>().prop_map(|b| json!({"$exists": b})),
        ];
        let keys = prop_oneof![
            Just(vec!["a", "x"]),
            Just(vec!["a.x"]),
            Just(vec!["b", "x.y"])
        ];
        let named = (field, test.clone()).prop_map(|(field, test)| json!({field: test}));
        let listed = (keys, test).prop_map(|(keys, test)| json!({"$field": [keys, test]}));
        prop_oneof![3 => named, 1 => listed].prop_recursive(2, 8, 3, |inner| {
            let list = prop::collection::vec(inner.clone(), 1..3);
            prop_oneof![
                list.clone().prop_map(|l| json!({"$and": l})),
                list.prop_map(|l| json!({"$or": l})),
                inner.prop_map(|f| json!({"$not": f})),
            ]
        })
    }

    proptest! {
        #[test]
        fn postings_find_what_the_filter_passes(
            before in prop::collection::vec(meta(), 0..20),
            after in prop::collection::vec(meta(), 0..8),
            removed in prop::collection::vec(0u32..20, 0..6),
            filters in prop::collection::vec(condition(), 1..4),
        ) {
            let mut all: BTreeMap<u32, Value> = (0..).zip(before).collect();
            let mut postings = Postings::new(all.keys().copied().collect());
            for (round, filter) in filters.iter().enumerate() {
                let filter = Filter::from_json(filter).expect("a valid filter");
                let missing = postings.missing(&filter);
                postings.begin(&missing);
                for (slot, meta) in &all {
                    postings.fill(*slot, meta, &missing);
                }
                if round == 1 {
                    for (slot, meta) in (100..).zip(&after) {
                        postings.add(slot, meta);
                        all.insert(slot, meta.clone());
                    }
                    for slot in &removed {
                        postings.remove(*slot);
                        all.remove(slot);
                    }
                }
                let found = postings.matching(&filter, &|slot| Ok(all[&slot].clone())).expect("matches");
                let passes: Result<Vec<(u32, bool)>> =
                    all.iter().map(|(slot, meta)| Ok((*slot, filter.matches(meta)?))).collect();
                prop_assert_eq!(passes.is_err(), postings.ambiguous(&filter).is_some());
                if let Ok(passes) = passes {
                    let expected: RoaringBitmap =
                        passes.iter().filter(|(_, passes)| *passes).map(|(slot, _)| *slot).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn values_of_removed_items_are_cleaned_up() {
        let filter = Filter::from_json(&json!({"name": "item 9999"})).expect("a valid filter");
        let mut postings = Postings::new(RoaringBitmap::new());
        postings.begin(&postings.missing(&filter));
        for slot in 0..10_000 {
            postings.add(slot, &json!({"name": format!("item {slot}")}));
            if slot >= 10 {
                postings.remove(slot - 10);
            }
        }
        assert!(
            postings.fields[&Field::Name("name".into())].values.len()
                <= 10 + MAX_UNCLEANED as usize + 1
        );
        let found = postings
            .matching(&filter, &|_| Ok(Value::Null))
            .expect("matches");
        assert_eq!(found.iter().collect::<Vec<_>>(), [9999]);
    }
}
