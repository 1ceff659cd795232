//! Items as JSON lines: `{"id": "a1", "text": "...", "vector": [..], "meta": {..}}`.

use std::io::BufRead;

use affinis::Item;
use affinis::json::{self, JsonError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::check::{Collector, Expected, Parsed, narrow};
use super::error::{InputError, Place};
use super::lines::Lines;

/// A line as it is parsed, before its numbers and limits are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemLine {
    id: Option<String>,
    text: Option<String>,
    vector: Option<Vec<f64>>,
    #[serde(default)]
    meta: Value,
}

/// Reads items, one JSON object a line. The id of an item that has none is the number of its line,
/// from 0; blank lines are counted and skipped.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used (unless `expected` skips them), and for an
/// input without items.
pub fn items_jsonl(
    reader: impl BufRead,
    file: &str,
    expected: Expected,
) -> Result<Parsed, InputError> {
    let mut collector = Collector::new(file, expected);
    for line in Lines::new(reader, file) {
        match line {
            Ok((_, text)) if text.trim().is_empty() => {}
            Ok((number, text)) => collector.push(Place::Line(number), item(number, &text))?,
            Err(error) => collector.refuse(error)?,
        }
    }
    collector.finish()
}

fn item(number: u64, text: &str) -> Result<Item, String> {
    let line: ItemLine = json_line(text, |key| key == "vector")?;
    let vector = line.vector.map(|v| narrow(&v, "the vector")).transpose()?;
    let id = line.id.unwrap_or_else(|| (number - 1).to_string());
    Ok(Item {
        id,
        text: line.text,
        vector,
        meta: line.meta,
        ..Item::default()
    })
}

/// Parses a line that holds one JSON object. `rounded` says below which of its keys numbers are
/// floats in any case; elsewhere an integer must fit into 64 bits.
///
/// # Errors
/// The mistake, with its column.
pub(crate) fn json_line<T: DeserializeOwned>(
    text: &str,
    rounded: impl Fn(&str) -> bool,
) -> Result<T, String> {
    if !text.trim_start().starts_with('{') {
        return Err("not a JSON object; a line holds one, {..}".into());
    }
    let value = serde_json::from_str(text).map_err(|e| {
        let message = e.to_string();
        let place = format!(" at line {} column {}", e.line(), e.column());
        match message.strip_suffix(&place) {
            Some(reason) => format!("{reason} (column {})", e.column()),
            None => message,
        }
    })?;
    json::check(text, rounded).map_err(|error| match error {
        JsonError::KeyTwice { at, .. } | JsonError::IntegerTooLarge { at, .. } => {
            format!("{error} (column {})", at + 1)
        }
        other => other.to_string(),
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinis::Distance;
    use serde_json::json;

    const TWO: Expected = Expected {
        dim: 2,
        texts: true,
        distance: Distance::L2,
        skip_bad: false,
    };

    fn parse(text: &str) -> Result<Parsed, String> {
        items_jsonl(text.as_bytes(), "in.jsonl", TWO).map_err(|e| e.to_string())
    }

    fn refused(text: &str, with: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(with), "{error:?} does not say {with:?}");
    }

    #[test]
    fn ids_default_to_line_numbers_from_0_with_blank_lines_counted() {
        let parsed =
            parse("{\"text\": \"x\"}\n\n{\"vector\": [1, 2.5], \"meta\": {\"a\": 1}}\n").unwrap();
        assert_eq!(
            parsed.items,
            [
                Item::text("0", "x"),
                Item::vector("2", vec![1.0, 2.5]).with_meta(json!({"a": 1}))
            ]
        );
        assert_eq!(parsed.places, [Place::Line(1), Place::Line(3)]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_file_and_line() {
        refused("{\"text\": \"x\"}\n{\"text\": \n", "in.jsonl, line 2: ");
        refused("[1]", "in.jsonl, line 1: not a JSON object");
        refused(
            "{\"text\": \"x\", \"vektor\": [1, 2]}",
            "unknown field `vektor`",
        );
        refused(
            "{\"text\": \"x\", \"text\": \"y\"}",
            "duplicate field `text`",
        );
        refused("{\"id\": 7, \"text\": \"x\"}", "expected a string");
        refused("{\"id\": \"\", \"text\": \"x\"}", "the id is empty");
        refused(
            &format!("{{\"id\": \"{}\", \"text\": \"x\"}}", "i".repeat(513)),
            "513 bytes",
        );
        refused("{\"id\": \"a\"}", "neither a text nor a vector");
        refused(
            "{\"vector\": [1]}",
            "has 1 numbers, but the collection holds vectors of dimension 2",
        );
        refused("{\"vector\": [1, NaN]}", "line 1");
        refused("{\"vector\": [1, 1e999]}", "number out of range");
        refused("{\"vector\": [1, 1e39]}", "too large for a 32-bit float");
        refused(
            "{\"text\": \"x\", \"meta\": 3}",
            "its metadata is not a JSON object",
        );
        refused("{\"text\": \"x\"} {}", "trailing characters");
    }

    #[test]
    fn what_json_would_lose_without_a_word_is_refused() {
        refused(
            r#"{"text": "x", "meta": {"a": 1, "b": [{"c": 1, "c": 2}]}}"#,
            "in.jsonl, line 1: the key \"c\" stands twice in one object (column 47)",
        );
        refused(
            r#"{"text": "x", "meta": {"a": 1, "\u0061": 1}}"#,
            "the key \"a\" stands twice",
        );
        refused(
            r#"{"text": "x", "meta": {"n": 18446744073709551616}}"#,
            "the integer 18446744073709551616 is beyond 64 bits and would be rounded",
        );
        // The numbers of a vector are floats in any case.
        refused(
            r#"{"vector": [100000000000000000000, 1]}"#,
            "the vector is too long (1.000e20)",
        );
        let kept =
            r#"{"text": "x", "meta": {"n": 18446744073709551615, "m": -9223372036854775808}}"#;
        let parsed = parse(kept).unwrap();
        assert_eq!(parsed.items[0].meta, json!({"n": u64::MAX, "m": i64::MIN}));
    }

    #[test]
    fn metadata_has_limits() {
        let deep = |n: usize| {
            format!(
                "{{\"text\":\"x\",\"meta\":{}1{}}}",
                "{\"a\":".repeat(n),
                "}".repeat(n)
            )
        };
        assert!(parse(&deep(32)).is_ok());
        refused(&deep(33), "deeper than 32");
        refused(&deep(200), "recursion limit");
        refused(
            &format!(
                "{{\"text\":\"x\",\"meta\":{{\"a\":\"{}\"}}}}",
                "y".repeat(64 << 10)
            ),
            "its metadata takes 65544 bytes",
        );
    }

    #[test]
    fn an_id_twice_names_both_lines() {
        refused(
            "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"b\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}",
            "in.jsonl, line 3: the id \"a\" occurs already in line 1",
        );
        // A line's default id may collide with one that is written out.
        refused(
            "{\"id\":\"1\",\"text\":\"x\"}\n{\"text\":\"x\"}",
            "line 2: the id \"1\" occurs already in line 1",
        );
    }

    #[test]
    fn empty_input_is_refused() {
        refused("", "in.jsonl: the input is empty");
        refused("\n \n", "the input is empty");
    }

    #[test]
    fn bad_lines_can_be_skipped_but_not_all_of_them() {
        let skip = Expected {
            skip_bad: true,
            ..TWO
        };
        let input = b"{\"id\":\"a\",\"text\":\"x\"}\n\xff\nnonsense\n{\"id\":\"a\",\"text\":\"y\"}\n{\"text\":\"z\"}\n";
        let parsed = items_jsonl(&input[..], "f", skip).unwrap();
        assert_eq!(parsed.items, [Item::text("a", "x"), Item::text("4", "z")]);
        assert_eq!(
            parsed.bad.iter().map(|b| b.place).collect::<Vec<_>>(),
            [2, 3, 4].map(Place::Line)
        );
        let none = items_jsonl(&b"nonsense\n"[..], "f", skip)
            .unwrap_err()
            .to_string();
        assert!(
            none.contains("none of its 1 items can be used") && none.contains("line 1"),
            "{none}"
        );
    }
}
