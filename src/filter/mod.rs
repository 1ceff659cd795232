//! Filters on metadata, evaluated on [`postings`] or on the metadata of one item.
//!
//! The language is a subset of MongoDB's: `{"year": {"$gte": 2020}, "lang": {"$in": ["en",
//! "de"]}}`.

pub(crate) mod postings;
mod strict;

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::model::error::{Error, Result};
use crate::model::{MAX_META_DEPTH, depth};

/// A condition on an item's metadata.
///
/// All entries of an object must hold. A plain value means `$eq`; operators are `$eq $ne $gt $gte
/// $lt $lte $in $nin $exists $not`, and `$and $or $not` combine filters. Dots in a field's name
/// reach into objects. An array matches when any of its elements does. Numbers compare with numbers
/// and strings with strings; values of different kinds are unequal and not ordered. `$ne`, `$nin`
/// and `$not` hold exactly where their opposite does not, so also where the field is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Field { path: Vec<String>, test: Test },
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Equal(Value),
    In(Vec<Value>),
    /// The ordering of the value relative to the operand is one of these.
    Order(Value, &'static [Ordering]),
    Exists,
}

impl Filter {
    /// Reads a filter from JSON text.
    ///
    /// # Errors
    /// [`Error::InvalidFilter`] with the path in the filter.
    pub fn parse(text: &str) -> Result<Self> {
        let value = strict::parse(text).map_err(|e| {
            // The text is not JSON, or an object has a key twice.
            let reason = if e.is_data() {
                e.to_string()
            } else {
                format!("it is not JSON: {e}")
            };
            Error::InvalidFilter {
                at: "the whole".into(),
                reason,
            }
        })?;
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
        parse_object(value, "").map(Self)
    }

    /// Whether an item with this metadata passes.
    pub fn matches(&self, meta: &Value) -> bool {
        self.0.matches(meta)
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
            operator if operator.starts_with('$') => {
                return Err(wrong(
                    &here,
                    "this operator cannot stand here; at the top there are $and, $or and $not",
                ));
            }
            "" => return Err(wrong(at, "a field's name is empty")),
            field => parse_field(field.split('.').map(str::to_owned).collect(), value, &here)?,
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

fn parse_field(path: Vec<String>, value: &Value, at: &str) -> Result<Node> {
    match value {
        Value::Object(map) if map.keys().any(|k| k.starts_with('$')) => {
            parse_operators(&path, map, at)
        }
        value => Ok(Node::Field {
            path,
            test: Test::Equal(value.clone()),
        }),
    }
}

fn parse_operators(path: &[String], map: &Map<String, Value>, at: &str) -> Result<Node> {
    use Ordering::{Equal, Greater, Less};
    let field = |test| Node::Field {
        path: path.to_vec(),
        test,
    };
    let not = |node| Node::Not(Box::new(node));
    let mut all = Vec::with_capacity(map.len());
    for (operator, value) in map {
        let here = join(at, operator);
        let order = |orderings: &'static [Ordering]| match value {
            Value::Number(_) | Value::String(_) => Ok(field(Test::Order(value.clone(), orderings))),
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
                Value::Object(inner) => not(parse_operators(path, inner, &here)?),
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
            Self::Field { path, test } => reach(meta, path, test),
        }
    }
}

/// Whether a test holds for a value that a path leads to. Where the path leads through an array, or
/// to one, it is enough that the test holds for one element.
fn reach(value: &Value, path: &[String], test: &Test) -> bool {
    match (path.split_first(), value) {
        (Some((first, rest)), Value::Object(map)) => {
            map.get(first).is_some_and(|v| reach(v, rest, test))
        }
        (Some(_), Value::Array(values)) => values.iter().any(|v| reach(v, path, test)),
        (Some(_), _) => false,
        (None, value) => {
            test.holds(value)
                || matches!(value, Value::Array(values) if values.iter().any(|v| test.holds(v)))
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Equal(operand) => equal(value, operand),
            Self::In(operands) => operands.iter().any(|o| equal(value, o)),
            Self::Order(operand, orderings) => {
                compare(value, operand).is_some_and(|o| orderings.contains(&o))
            }
            Self::Exists => true,
        }
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
        assert_eq!(parsed.matches(&meta), expected, "{filter} on {meta}");
        let negated = Filter::from_json(&json!({"$not": filter})).expect("a valid filter");
        assert_eq!(negated.matches(&meta), !expected, "not {filter} on {meta}");
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
    fn mistakes_are_named_with_their_place() {
        for (filter, place) in [
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
