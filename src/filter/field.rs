//! The field that a filter names, and the values that it leads to in an item's metadata.

use std::fmt;

use serde_json::Value;

use crate::model::error::{Error, Result};

/// A field of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    /// A name whose dots are part of keys or lead from an object to one of its keys, whichever the
    /// item has.
    Name(String),
    /// Keys from the outermost object inwards, each as it is written.
    Keys(Vec<String>),
}

/// What a field leads to in one item. A path goes through each element of an array.
#[derive(Debug, Default)]
pub(crate) struct Reached<'a> {
    /// The values, those of array elements included.
    pub(crate) values: Vec<&'a Value>,
    /// Whether the dots of the name can be read in two ways that both lead to something.
    pub(crate) ambiguous: bool,
}

impl Field {
    /// Checks the name of a field that items are grouped by or whose values are counted.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for an empty name.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Name(name) if name.is_empty() => Err(Error::InvalidQuery(
                "the name of a field of metadata is empty".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// The values that the field leads to.
    pub(crate) fn reach<'a>(&self, meta: &'a Value) -> Reached<'a> {
        let mut reached = Reached::default();
        match self {
            Self::Name(name) => {
                by_name(meta, name, &mut reached);
            }
            Self::Keys(keys) => by_keys(meta, keys, &mut reached.values),
        }
        reached
    }
}

/// Follows a name through a value. Returns whether it leads to something.
fn by_name<'a>(value: &'a Value, name: &str, reached: &mut Reached<'a>) -> bool {
    match value {
        Value::Object(map) => {
            let mut readings = 0;
            for (key, inner) in map {
                let found = match name.strip_prefix(key.as_str()) {
                    Some("") => {
                        reached.values.push(inner);
                        true
                    }
                    Some(rest) => rest
                        .strip_prefix('.')
                        .is_some_and(|rest| by_name(inner, rest, reached)),
                    None => false,
                };
                readings += u32::from(found);
            }
            reached.ambiguous |= readings > 1;
            readings > 0
        }
        Value::Array(elements) => {
            let before = reached.values.len();
            for element in elements {
                by_name(element, name, reached);
            }
            reached.values.len() > before
        }
        _ => false,
    }
}

fn by_keys<'a>(value: &'a Value, keys: &[String], values: &mut Vec<&'a Value>) {
    match (keys.split_first(), value) {
        (None, value) => values.push(value),
        (Some((first, rest)), Value::Object(map)) => {
            if let Some(inner) = map.get(first) {
                by_keys(inner, rest, values);
            }
        }
        (Some(_), Value::Array(elements)) => {
            for element in elements {
                by_keys(element, keys, values);
            }
        }
        (Some(_), _) => {}
    }
}

/// The field as a filter names it.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Keys(keys) => write!(f, "{keys:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name(name: &str, meta: &Value) -> (Vec<Value>, bool) {
        let reached = Field::Name(name.into()).reach(meta);
        (
            reached.values.into_iter().cloned().collect(),
            reached.ambiguous,
        )
    }

    #[test]
    fn dots_are_read_as_the_item_has_its_keys() {
        for meta in [
            json!({"a.b.c": 1}),
            json!({"a": {"b.c": 1}}),
            json!({"a.b": {"c": 1}}),
            json!({"a": {"b": {"c": 1}}}),
            json!({"a": {"b": {"x": 2}}, "a.b.c": 1}),
        ] {
            assert_eq!(name("a.b.c", &meta), (vec![json!(1)], false), "{meta}");
        }
        let (mut values, ambiguous) = name("a.b", &json!({"a.b": 1, "a": {"b": 2}}));
        values.sort_by_key(Value::as_i64);
        assert_eq!((values, ambiguous), (vec![json!(1), json!(2)], true));
        assert!(name("a.b.c", &json!({"a": {"b.c": 1, "b": {"c": 2}}})).1);
        // Each element of an array is read for itself.
        let list = json!({"l": [{"a.b": 1}, {"a": {"b": 2}}]});
        assert_eq!(name("l.a.b", &list), (vec![json!(1), json!(2)], false));
        // Empty keys are keys.
        assert_eq!(name("a.", &json!({"a": {"": 1}})), (vec![json!(1)], false));
        assert_eq!(name("a..b", &json!({"a.": {"b": 1}})).0, [json!(1)]);
        assert_eq!(name("a.b", &json!("a.b")).0, Vec::<Value>::new());
    }

    #[test]
    fn listed_keys_are_taken_as_they_are_written() {
        let meta = json!({"a.b": 1, "a": {"b": 2}, "$x": 3, "": 4});
        for (keys, value) in [
            (vec!["a.b"], 1),
            (vec!["a", "b"], 2),
            (vec!["$x"], 3),
            (vec![""], 4),
        ] {
            let field = Field::Keys(keys.into_iter().map(str::to_owned).collect());
            let reached = field.reach(&meta);
            assert_eq!(reached.values, [&json!(value)], "{field}");
            assert!(!reached.ambiguous);
        }
    }

    #[test]
    fn a_long_name_costs_one_reading_of_the_metadata() {
        // Every key matches the beginning of the name, at every level.
        let mut meta = json!(1);
        for _ in 0..30 {
            meta = json!({"a": meta, "a.a": 1, "a.a.a": [1, {"a": 2}]});
        }
        let started = std::time::Instant::now();
        Field::Name("a.".repeat(100_000)).reach(&meta);
        assert!(started.elapsed().as_secs() < 5);
    }
}
