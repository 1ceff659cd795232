//! Filters of affinis as conditions of SQL on a column of `jsonb`.
//!
//! A condition holds of every row that passes the filter. Where that cannot be said exactly in SQL
//! it holds of more rows, and the filter decides on the metadata itself.

use affinis::Filter;
use affinis::{Error, Result};
use serde_json::{Map, Value};
use tokio_postgres::types::Type;

use crate::round::Parameters;

/// Most keys of a name with dots of which all readings are tested.
const MAX_KEYS: usize = 6;

/// A condition on the rows of a table.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    template: Vec<Part>,
    /// Whether it holds of no other rows than those that pass.
    pub(crate) is_exact: bool,
}

/// A piece of a condition.
#[derive(Debug, Clone)]
enum Part {
    Sql(String),
    /// A path of `jsonb`, as a parameter.
    Path(String),
}

/// Two conditions: one that holds of all rows that pass, and one that holds of none but them.
struct Bounds {
    upper: Vec<Part>,
    lower: Vec<Part>,
    is_exact: bool,
}

impl Condition {
    /// The condition of a filter on a column.
    pub(crate) fn of(filter: &Filter, column: &str) -> Result<Self> {
        let bounds = of_object(filter.as_json(), column).ok_or_else(|| Error::InvalidFilter {
            at: "the whole".to_owned(),
            reason: "it cannot be read".to_owned(),
        })?;
        Ok(Self {
            template: bounds.upper,
            is_exact: bounds.is_exact,
        })
    }

    /// The condition as SQL.
    pub(crate) fn sql<'a>(&'a self, parameters: &mut Parameters<'a>) -> String {
        let parts = self.template.iter().map(|part| match part {
            Part::Sql(sql) => sql.clone(),
            Part::Path(path) => format!("({}::text::jsonpath)", parameters.add(path, Type::TEXT)),
        });
        parts.collect()
    }
}

fn sql(text: &str) -> Vec<Part> {
    vec![Part::Sql(text.to_owned())]
}

/// Conditions joined by an operator; `empty` where there are none.
fn joined(all: Vec<Vec<Part>>, operator: &str, empty: &str) -> Vec<Part> {
    if all.is_empty() {
        return sql(empty);
    }
    let mut parts = sql("(");
    for (at, one) in all.into_iter().enumerate() {
        if at > 0 {
            parts.extend(sql(operator));
        }
        parts.extend(one);
    }
    parts.extend(sql(")"));
    parts
}

impl Bounds {
    fn combined(all: Vec<Self>, operator: &str, empty: &str) -> Self {
        let is_exact = all.iter().all(|bounds| bounds.is_exact);
        let (upper, lower) = all
            .into_iter()
            .map(|bounds| (bounds.upper, bounds.lower))
            .unzip();
        Self {
            upper: joined(upper, operator, empty),
            lower: joined(lower, operator, empty),
            is_exact,
        }
    }

    fn all(all: Vec<Self>) -> Self {
        Self::combined(all, " AND ", "TRUE")
    }

    fn any(all: Vec<Self>) -> Self {
        Self::combined(all, " OR ", "FALSE")
    }

    fn not(self) -> Self {
        let negated = |parts: Vec<Part>| {
            let mut all = sql("(NOT ");
            all.extend(parts);
            all.extend(sql(")"));
            all
        };
        Self {
            upper: negated(self.lower),
            lower: negated(self.upper),
            is_exact: self.is_exact,
        }
    }

    fn exact(parts: Vec<Part>) -> Self {
        Self {
            upper: parts.clone(),
            lower: parts,
            is_exact: true,
        }
    }

    /// Of a test that SQL cannot decide.
    fn unknown() -> Self {
        Self {
            upper: sql("TRUE"),
            lower: sql("FALSE"),
            is_exact: false,
        }
    }
}

fn of_object(value: &Value, column: &str) -> Option<Bounds> {
    let mut all = Vec::new();
    for (key, value) in value.as_object()? {
        all.push(match key.as_str() {
            "$and" => Bounds::all(of_list(value, column)?),
            "$or" => Bounds::any(of_list(value, column)?),
            "$not" => of_object(value, column)?.not(),
            "$field" => {
                let [keys, test] = value.as_array()?.as_slice() else {
                    return None;
                };
                let keys: Option<Vec<String>> = keys
                    .as_array()?
                    .iter()
                    .map(|key| Some(key.as_str()?.to_owned()))
                    .collect();
                of_field(
                    &Field {
                        readings: vec![keys?],
                        is_exact: true,
                    },
                    test,
                    column,
                )?
            }
            name => of_field(&Field::named(name), value, column)?,
        });
    }
    Some(Bounds::all(all))
}

fn of_list(value: &Value, column: &str) -> Option<Vec<Bounds>> {
    value
        .as_array()?
        .iter()
        .map(|filter| of_object(filter, column))
        .collect()
}

/// A field by the lists of keys that may lead to it.
struct Field {
    readings: Vec<Vec<String>>,
    /// Whether one item can have one of them at most. Where it has two, the filter refuses it.
    is_exact: bool,
}

impl Field {
    /// The readings of a name whose dots are part of keys, or lead into objects.
    fn named(name: &str) -> Self {
        let keys: Vec<&str> = name.split('.').collect();
        if keys.len() > MAX_KEYS {
            return Self {
                readings: Vec::new(),
                is_exact: false,
            };
        }
        let gaps = keys.len() - 1;
        let reading = |choice: usize| {
            let mut reading = vec![keys[0].to_owned()];
            for (gap, key) in keys[1..].iter().enumerate() {
                match reading.last_mut() {
                    Some(last) if choice >> gap & 1 == 1 => {
                        last.push('.');
                        last.push_str(key);
                    }
                    _ => reading.push((*key).to_owned()),
                }
            }
            reading
        };
        Self {
            readings: (0..1_usize << gaps).map(reading).collect(),
            is_exact: gaps == 0,
        }
    }
}

fn of_field(field: &Field, value: &Value, column: &str) -> Option<Bounds> {
    match value {
        Value::Object(map) if map.keys().any(|key| key.starts_with('$')) => {
            of_operators(field, map, column)
        }
        value => Some(equal(field, value, column)),
    }
}

fn of_operators(field: &Field, map: &Map<String, Value>, column: &str) -> Option<Bounds> {
    let mut all = Vec::new();
    for (operator, value) in map {
        let list = || -> Option<Bounds> {
            Some(Bounds::any(
                value
                    .as_array()?
                    .iter()
                    .map(|v| equal(field, v, column))
                    .collect(),
            ))
        };
        all.push(match operator.as_str() {
            "$eq" => equal(field, value, column),
            "$ne" => equal(field, value, column).not(),
            "$gt" => ordered(field, ">", value, column),
            "$gte" => ordered(field, ">=", value, column),
            "$lt" => ordered(field, "<", value, column),
            "$lte" => ordered(field, "<=", value, column),
            "$in" => list()?,
            "$nin" => list()?.not(),
            "$exists" => {
                let exists = test(field, "", column);
                if value.as_bool()? {
                    exists
                } else {
                    exists.not()
                }
            }
            "$not" => of_operators(field, value.as_object()?, column)?.not(),
            _ => return None,
        });
    }
    Some(Bounds::all(all))
}

fn equal(field: &Field, value: &Value, column: &str) -> Bounds {
    match value {
        Value::Array(_) | Value::Object(_) => Bounds::unknown(),
        scalar => test(field, &format!("[*] ? (@ == {scalar})"), column),
    }
}

/// An ordering relative to a number, or to a text that is no time: two times are compared as times.
fn ordered(field: &Field, operator: &str, value: &Value, column: &str) -> Bounds {
    let may_be_time = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() >= 20 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[0].is_ascii_digit()
    };
    match value {
        Value::String(text) if may_be_time(text) => Bounds::unknown(),
        scalar => test(field, &format!("[*] ? (@ {operator} {scalar})"), column),
    }
}

/// A test of the values that a field leads to, by a path of `jsonb` in its lax mode, which goes
/// through the elements of arrays as filters do.
fn test(field: &Field, predicate: &str, column: &str) -> Bounds {
    if field.readings.is_empty() {
        return Bounds::unknown();
    }
    let tests = field.readings.iter().map(|keys| {
        let keys = keys
            .iter()
            .map(|key| format!(".{}", Value::from(key.as_str())));
        let path = format!("lax ${}{predicate}", keys.collect::<String>());
        let mut parts = sql(&format!("coalesce({column} OPERATOR(pg_catalog.@?) "));
        parts.push(Part::Path(path));
        parts.extend(sql(", FALSE)"));
        parts
    });
    let mut bounds = Bounds::exact(joined(tests.collect(), " OR ", "FALSE"));
    bounds.is_exact = field.is_exact;
    bounds
}
