//! Cells of a table: the numbers of vectors, and the types of metadata.

use affinis::Item;
use serde_json::{Number, Value};

/// The number that a cell of a vector holds.
pub(super) fn number_of(cell: &str) -> Option<f64> {
    cell.trim().parse().ok()
}

/// Makes numbers or booleans of the strings of a key of the metadata, where all of the items that
/// have the key can be one: a column has one type, so that a filter finds what it names.
pub(super) fn set_type(items: &mut [Item], key: &str) {
    let cells = || items.iter().filter_map(|item| item.meta.get(key)?.as_str());
    let typed: fn(&str) -> Option<Value> = if cells().all(|cell| boolean(cell).is_some()) {
        boolean
    } else if cells().all(|cell| number(cell).is_some()) {
        number
    } else {
        return;
    };
    for item in items {
        if let Some(cell) = item.meta.get_mut(key)
            && let Some(value) = cell.as_str().and_then(typed)
        {
            *cell = value;
        }
    }
}

fn boolean(cell: &str) -> Option<Value> {
    match cell.trim() {
        "true" | "True" | "TRUE" => Some(true.into()),
        "false" | "False" | "FALSE" => Some(false.into()),
        _ => None,
    }
}

/// A number as JSON writes it. Digits that begin with a zero or a plus sign are a code, not a
/// number, and an integer beyond 64 bits would be rounded.
fn number(cell: &str) -> Option<Value> {
    let number: Number = serde_json::from_str(cell.trim()).ok()?;
    let is_float = cell.contains(['.', 'e', 'E']);
    (is_float || number.is_i64() || number.is_u64()).then_some(Value::Number(number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_is_of_numbers_or_booleans_if_all_its_cells_are() {
        let typed = |cells: &[&str]| -> Vec<Value> {
            let mut items: Vec<Item> = cells
                .iter()
                .map(|cell| Item::text("a", "x").with_meta(json!({"k": cell})))
                .collect();
            set_type(&mut items, "k");
            items
                .into_iter()
                .map(|mut item| item.meta["k"].take())
                .collect()
        };
        assert_eq!(
            typed(&["1", " -2", "1.5e3"]),
            [json!(1), json!(-2), json!(1500.0)]
        );
        assert_eq!(typed(&["true", "False"]), [json!(true), json!(false)]);
        for kept in [
            &["1", "x"][..],
            &["true", "1"],
            &["01234", "5"],
            &["+49", "5"],
            &["18446744073709551616", "1"],
            &["NaN"],
            &["2020-01-01T00:00:00Z"],
        ] {
            assert_eq!(
                typed(kept),
                kept.iter().map(|k| json!(k)).collect::<Vec<_>>()
            );
        }
    }
}
