//! Filters on metadata, evaluated on [`postings`] or on the metadata of one item.
//!
//! The language is a subset of MongoDB's: `{"year": {"$gte": 2020}, "lang": {"$in": ["en",
//! "de"]}}`.

mod facet;
mod field;
pub(crate) mod groups;
pub(crate) mod postings;
mod times;

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use facet::{Facet, FacetValue};
pub(crate) use field::Field;

use crate::json;
use crate::model::error::{Error, Result};
use crate::model::{MAX_META_DEPTH, depth};
use times::time;

/// A condition on an item's metadata.
///
/// All entries of an object must hold. A plain value means `$eq`; operators are `$eq $ne $gt $gte
/// $lt $lte $in $nin $exists $not`, and `$and $or $not` combine filters. An array matches when any
/// of its elements does. Numbers compare with numbers and strings with strings; values of different
/// kinds are unequal and not ordered. `$ne`, `$nin` and `$not` hold exactly where their opposite
/// does not, so also where the field is missing.
///
/// `$gt`, `$gte`, `$lt` and `$lte` compare two strings as points in time where both are times of RFC
/// 3339 with their offsets (`2026-03-01T09:30:00+01:00`), otherwise as texts, byte by byte. `$eq`
/// and `$in` compare texts.
///
/// A dot in a field's name is part of a key or leads into an object, whichever an item has:
/// `user.name` is the key `user.name` of one item and the key `name` in the object `user` of
/// another. Where one item has both, the filter is refused. `{"$field": [["user.name"], test]}`
/// tests the key as it is written, and `{"$field": [["user", "name"], test]}` the one in the object;
/// so a key that is empty or begins with `$` can be named too.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    node: Node,
    source: Value,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Field { field: Field, test: Test },
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Equal(Value),
    In(Vec<Value>),
    /// The ordering of the value relative to the operand is one of these.
    Order(Operand, &'static [Ordering]),
    Exists,
}

/// What a value is ordered relative to: a number or a string.
#[derive(Debug, Clone, PartialEq)]
struct Operand {
    value: Value,
    /// The point in time, if the value states one.
    time: Option<Timestamp>,
}

impl Filter {
    /// Reads a filter from JSON text, as [`json::parse`] reads it: an object with a key twice would
    /// lose a condition.
    ///
    /// # Errors
    /// [`Error::InvalidFilter`] with the path in the filter.
    pub fn parse(text: &str) -> Result<Self> {
        let value = json::parse(text).map_err(|error| wrong("the whole", error.to_string()))?;
        Self::from_json(&value)
    }

    /// Reads a filter from a JSON value.
    ///
    /// # Errors
    /// [`Error::InvalidFilter`] with the path in the filter.
    pub fn from_json(value: &Value) -> Result<Self> {
        if depth(value, MAX_META_DEPTH + 1) > MAX_META_DEPTH {
            return Err(wrong(
                "the whole",
                format!("it is nested deeper than {MAX_META_DEPTH} levels"),
            ));
        }
        Ok(Self {
            node: parse_object(value, "")?,
            source: value.clone(),
        })
    }

    /// The JSON value that it was read from.
    pub fn as_json(&self) -> &Value {
        &self.source
    }

    /// Whether an item with this metadata passes.
    ///
    /// # Errors
    /// [`Error::AmbiguousField`] where the dots of a field's name have two meanings in the metadata.
    pub fn matches(&self, meta: &Value) -> Result<bool> {
        let mut fields = Vec::new();
        self.node.fields(&mut fields);
        match fields.into_iter().find(|f| f.reach(meta).ambiguous) {
            Some(field) => Err(ambiguous(field, None)),
            None => Ok(self.node.matches(meta)),
        }
    }
}

/// The refusal of a filter that names a field with two meanings in an item.
pub(crate) fn ambiguous(field: &Field, item: Option<String>) -> Error {
    Error::AmbiguousField {
        field: field.to_string(),
        item,
    }
}

fn wrong(at: &str, reason: impl Into<String>) -> Error {
    Error::InvalidFilter {
        at: if at.is_empty() {
            "the top".into()
        } else {
            at.to_owned()
        },
        reason: reason.into(),
    }
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

fn parse_object(value: &Value, at: &str) -> Result<Node> {
    let Value::Object(map) = value else {
        return Err(wrong(
            at,
            "an object such as {\"field\": value} is expected",
        ));
    };
    let mut all = Vec::with_capacity(map.len());
    for (key, value) in map {
        let here = join(at, key);
        all.push(match key.as_str() {
            "$and" => Node::All(parse_list(value, &here)?),
            "$or" => Node::Any(parse_list(value, &here)?),
            "$not" => Node::Not(Box::new(parse_object(value, &here)?)),
            "$field" => parse_listed(value, &here)?,
            operator if operator.starts_with('$') => {
                return Err(wrong(
                    &here,
                    "this operator cannot stand here; at the top there are $and, $or, $not and $field",
                ));
            }
            "" => return Err(wrong(at, "a field's name is empty")),
            name => parse_field(Field::Name(name.to_owned()), value, &here)?,
        });
    }
    Ok(Node::All(all))
}

fn parse_list(value: &Value, at: &str) -> Result<Vec<Node>> {
    match value {
        Value::Array(filters) if !filters.is_empty() => filters
            .iter()
            .enumerate()
            .map(|(i, f)| parse_object(f, &join(at, &i.to_string())))
            .collect(),
        _ => Err(wrong(at, "a list of one or more filters is expected")),
    }
}

/// A field named by the list of its keys: `[["user", "name"], test]`.
fn parse_listed(value: &Value, at: &str) -> Result<Node> {
    let listed = value.as_array().and_then(|parts| match &parts[..] {
        [Value::Array(keys), test] if !keys.is_empty() => {
            let keys = keys.iter().map(|key| key.as_str().map(str::to_owned));
            Some((keys.collect::<Option<Vec<String>>>()?, test))
        }
        _ => None,
    });
    let (keys, test) = listed.ok_or_else(|| {
        wrong(
            at,
            "a list of keys and a test are expected, such as [[\"user\", \"name\"], {\"$ne\": 1}]",
        )
    })?;
    parse_field(Field::Keys(keys), test, at)
}

fn parse_field(field: Field, value: &Value, at: &str) -> Result<Node> {
    match value {
        Value::Object(map) if map.keys().any(|k| k.starts_with('$')) => {
            parse_operators(&field, map, at)
        }
        value => Ok(Node::Field {
            field,
            test: Test::Equal(value.clone()),
        }),
    }
}

fn parse_operators(of: &Field, map: &Map<String, Value>, at: &str) -> Result<Node> {
    use Ordering::{Equal, Greater, Less};
    let field = |test| Node::Field {
        field: of.clone(),
        test,
    };
    let not = |node| Node::Not(Box::new(node));
    let mut all = Vec::with_capacity(map.len());
    for (operator, value) in map {
        let here = join(at, operator);
        let order = |orderings: &'static [Ordering]| match value {
            Value::Number(_) | Value::String(_) => {
                let operand = Operand {
                    time: value.as_str().and_then(time),
                    value: value.clone(),
                };
                Ok(field(Test::Order(operand, orderings)))
            }
            _ => Err(wrong(&here, "a number or a string is expected")),
        };
        let list = || match value {
            Value::Array(values) => Ok(field(Test::In(values.clone()))),
            _ => Err(wrong(&here, "a list of values is expected")),
        };
        all.push(match operator.as_str() {
            "$eq" => field(Test::Equal(value.clone())),
            "$ne" => not(field(Test::Equal(value.clone()))),
            "$gt" => order(&[Greater])?,
            "$gte" => order(&[Greater, Equal])?,
            "$lt" => order(&[Less])?,
            "$lte" => order(&[Less, Equal])?,
            "$in" => list()?,
            "$nin" => not(list()?),
            "$exists" => match value {
                Value::Bool(true) => field(Test::Exists),
                Value::Bool(false) => not(field(Test::Exists)),
                _ => return Err(wrong(&here, "true or false is expected")),
            },
            "$not" => match value {
                Value::Object(inner) => not(parse_operators(of, inner, &here)?),
                _ => return Err(wrong(&here, "an object of operators such as {\"$gte\": 1} is expected")),
            },
            _ => {
                return Err(wrong(
                    &here,
                    "no such operator; there are $eq $ne $gt $gte $lt $lte $in $nin $exists and $not",
                ));
            }
        });
    }
    Ok(Node::All(all))
}

impl Node {
    fn matches(&self, meta: &Value) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|n| n.matches(meta)),
            Self::Any(nodes) => nodes.iter().any(|n| n.matches(meta)),
            Self::Not(node) => !node.matches(meta),
            Self::Field { field, test } => test.passes(&field.reach(meta).values),
        }
    }

    /// Collects the fields that the node tests.
    fn fields<'a>(&'a self, into: &mut Vec<&'a Field>) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => {
                for node in nodes {
                    node.fields(into);
                }
            }
            Self::Not(node) => node.fields(into),
            Self::Field { field, .. } => into.push(field),
        }
    }
}

impl Test {
    /// Whether the test holds for one of the values that a field leads to, or for an element of one
    /// that is an array.
    fn passes(&self, values: &[&Value]) -> bool {
        let of_elements = |value: &Value| {
            let elements = value.as_array().into_iter().flatten();
            elements.into_iter().any(|element| self.holds(element))
        };
        values
            .iter()
            .any(|value| self.holds(value) || of_elements(value))
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Equal(operand) => equal(value, operand),
            Self::In(operands) => operands.iter().any(|o| equal(value, o)),
            Self::Order(operand, orderings) => {
                operand.order(value).is_some_and(|o| orderings.contains(&o))
            }
            Self::Exists => true,
        }
    }
}

impl Operand {
    /// The ordering of a value relative to the operand.
    fn order(&self, value: &Value) -> Option<Ordering> {
        let as_times = || Some(time(value.as_str()?)?.cmp(self.time.as_ref()?));
        as_times().or_else(|| compare(value, &self.value))
    }
}

/// Equality of JSON values in which 1 and 1.0 are the same number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| equal(v, w)))
        }
        _ => a == b,
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        // Integers beyond 2^53 are compared as integers where both are.
        (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(filter: Value, meta: Value, expected: bool) {
        let parsed = Filter::from_json(&filter).expect("a valid filter");
        assert_eq!(
            parsed.matches(&meta).expect("one meaning"),
            expected,
            "{filter} on {meta}"
        );
        let negated = Filter::from_json(&json!({"$not": filter})).expect("a valid filter");
        assert_eq!(
            negated.matches(&meta).expect("one meaning"),
            !expected,
            "not {filter} on {meta}"
        );
    }

    #[test]
    fn every_operator() {
        let meta = json!({"year": 2021, "lang": "en", "tags": ["a", "b"], "a": {"b": {"c": 1.0}}, "list": [{"x": 1}, {"x": 5}]});
        for (filter, expected) in [
            (json!({}), true),
            (json!({"year": 2021}), true),
            (json!({"year": 2021.0}), true),
            (json!({"year": "2021"}), false),
            (json!({"year": {"$ne": 2021}}), false),
            (json!({"nothing": {"$ne": 2021}}), true),
            (json!({"year": {"$gt": 2020, "$lt": 2022}}), true),
            (json!({"year": {"$gt": 2021}}), false),
            (json!({"year": {"$gte": 2021}}), true),
            (json!({"year": {"$lte": 2020.5}}), false),
            (json!({"lang": {"$in": ["de", "en"]}}), true),
            (json!({"lang": {"$nin": ["de", "fr"]}}), true),
            (json!({"lang": {"$in": []}}), false),
            (json!({"lang": {"$gt": "de"}}), true),
            (json!({"lang": {"$gt": 3}}), false),
            (json!({"tags": "b"}), true),
            (json!({"tags": ["a", "b"]}), true),
            (json!({"tags": {"$ne": "b"}}), false),
            (json!({"a.b.c": 1}), true),
            (json!({"a": {"b": {"c": 1}}}), true),
            (json!({"a.b": {"$exists": true}}), true),
            (json!({"a.z": {"$exists": true}}), false),
            (json!({"a.z": {"$exists": false}}), true),
            (json!({"list.x": {"$gt": 4}}), true),
            (json!({"$or": [{"year": 1}, {"lang": "en"}]}), true),
            (json!({"$and": [{"year": 1}, {"lang": "en"}]}), false),
            (json!({"year": {"$not": {"$gte": 2022}}}), true),
        ] {
            check(filter, meta.clone(), expected);
        }
        check(json!({"year": 1}), Value::Null, false);
        check(
            json!({"n": {"$gt": 9_007_199_254_740_992_i64}}),
            json!({"n": 9_007_199_254_740_993_i64}),
            true,
        );
    }

    #[test]
    fn a_key_with_dots_is_tested_like_any_other() {
        let written = json!({"user.name": "ann", "n.v": 3, "user": {"id": 7}});
        let nested = json!({"user": {"name": "ann", "id": 7}, "n": {"v": 3}});
        for meta in [&written, &nested] {
            for (filter, expected) in [
                (json!({"user.name": "ann"}), true),
                (json!({"user.name": {"$ne": "ann"}}), false),
                (json!({"user.name": {"$ne": "bob"}}), true),
                (json!({"user.name": {"$in": ["ann", "bob"]}}), true),
                (json!({"user.name": {"$nin": ["ann", "bob"]}}), false),
                (json!({"user.name": {"$exists": true}}), true),
                (json!({"user.name": {"$exists": false}}), false),
                (json!({"user.name": {"$not": {"$eq": "ann"}}}), false),
                (json!({"n.v": {"$gte": 3, "$lt": 4}}), true),
                (json!({"user.id": 7}), true),
            ] {
                check(filter, meta.clone(), expected);
            }
        }
        for (keys, meta, expected) in [
            (json!(["user.name"]), &written, true),
            (json!(["user.name"]), &nested, false),
            (json!(["user", "name"]), &written, false),
            (json!(["user", "name"]), &nested, true),
        ] {
            check(json!({"$field": [keys, "ann"]}), meta.clone(), expected);
            check(
                json!({"$field": [keys, {"$ne": "ann"}]}),
                meta.clone(),
                !expected,
            );
        }
    }

    #[test]
    fn a_field_with_two_meanings_is_refused() {
        let both = json!({"user.name": "ann", "user": {"name": "bob"}});
        for filter in [
            json!({"user.name": "ann"}),
            json!({"user.name": {"$ne": "ann"}}),
            json!({"$or": [{}, {"user.name": {"$exists": true}}]}),
        ] {
            let filter = Filter::from_json(&filter).expect("a valid filter");
            let refused = filter.matches(&both).expect_err("a refusal").to_string();
            assert!(
                refused.contains("\"user.name\"") && refused.contains("$field"),
                "{refused}"
            );
        }
        check(
            json!({"$field": [["user.name"], "ann"]}),
            both.clone(),
            true,
        );
        check(json!({"$field": [["user", "name"], "bob"]}), both, true);
    }

    #[test]
    fn times_are_ordered_as_times_where_both_are() {
        let at = |at: &str| json!({"at": at});
        let noon = "2026-03-01T12:00:00Z";
        for (operator, operand, meta, expected) in [
            ("$gte", noon, at("2026-03-01T13:00:00+01:00"), true),
            ("$gt", noon, at("2026-03-01T13:00:00+01:00"), false),
            ("$lte", noon, at("2026-03-01T13:00:00+01:00"), true),
            ("$lt", noon, at("2026-03-01T12:30:00+01:00"), true),
            ("$gt", noon, at("2026-03-01T07:00:00.5-05:00"), true),
            // One of them is no time: texts are compared.
            ("$gt", "2026-03-01", at(noon), true),
            ("$lt", noon, at("2026-03-01"), true),
            ("$lt", noon, at("2026-03-01T12:00"), true),
        ] {
            check(json!({"at": {operator: operand}}), meta, expected);
        }
        let zoned = at("2026-03-01T13:00:00+01:00");
        check(json!({"at": noon}), zoned.clone(), false);
        check(
            json!({"at": {"$gte": noon, "$lte": noon}}),
            json!({"at": [1, "x", zoned["at"]]}),
            true,
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (filter, place) in [
            (json!({"$field": "a"}), "$field"),
            (json!({"$field": [[], 1]}), "$field"),
            (json!({"$field": [["a", 1], 1]}), "$field"),
            (
                json!({"$or": [{"$field": [["a"], {"$in": 3}]}]}),
                "$or.0.$field.$in",
            ),
            (json!([]), "the top"),
            (json!({"year": {"$gtt": 1}}), "year.$gtt"),
            (json!({"$eq": 1}), "$eq"),
            (json!({"$or": []}), "$or"),
            (json!({"$or": [{"a": {"$in": 3}}]}), "$or.0.a.$in"),
            (json!({"a": {"$gt": null}}), "a.$gt"),
            (json!({"a": {"$exists": 1}}), "a.$exists"),
            (json!({"a": {"$not": 1}}), "a.$not"),
        ] {
            match Filter::from_json(&filter) {
                Err(Error::InvalidFilter { at, .. }) => assert_eq!(at, place, "{filter}"),
                other => panic!("{filter} gave {other:?}"),
            }
        }
        let mut deep = json!({"a": 1});
        for _ in 0..40 {
            deep = json!({"$not": deep});
        }
        assert!(Filter::from_json(&deep).is_err());
        assert!(Filter::parse("{").is_err());
    }
}
