//! JSON that people write: metadata and filters.
//!
//! `serde_json` keeps the last of two equal keys of an object, and makes an integer beyond 64 bits
//! a float. Both lose what was written; [`check`] and [`parse`] refuse them. Programs that read
//! metadata from files of people can do the same.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

/// A JSON text that cannot be kept as it was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// A text that is not JSON.
    #[error("it is not JSON: {0}")]
    Syntax(serde_json::Error),
    /// A key that an object has twice.
    #[error("the key {key:?} stands twice in one object")]
    KeyTwice {
        /// The key.
        key: String,
        /// Position of its second occurrence, in bytes from 0.
        at: usize,
    },
    /// An integer that is neither an `i64` nor a `u64`.
    #[error(
        "the integer {number} is beyond 64 bits and would be rounded; write it as a string to keep it, or as a float"
    )]
    IntegerTooLarge {
        /// The integer as it is written.
        number: String,
        /// Its position, in bytes from 0.
        at: usize,
    },
}

/// Reads a JSON value.
///
/// # Errors
/// [`JsonError`] for a text that is not JSON, a key that stands twice in one object, and an integer
/// beyond 64 bits.
///
/// # Examples
/// ```
/// use affinis::json;
///
/// assert_eq!(json::parse(r#"{"year": 2021}"#)?["year"], 2021);
/// assert!(json::parse(r#"{"year": 2021, "year": 2022}"#).is_err());
/// assert!(json::parse("18446744073709551616").is_err());
/// # Ok::<(), json::JsonError>(())
/// ```
pub fn parse(text: &str) -> Result<Value, JsonError> {
    let value = serde_json::from_str(text).map_err(JsonError::Syntax)?;
    check(text, |_| false)?;
    Ok(value)
}

/// Checks a text that is JSON for what would be lost. `rounded` says below which keys of the
/// outermost object numbers are floats in any case, such as those of a vector.
///
/// # Errors
/// [`JsonError::KeyTwice`] and [`JsonError::IntegerTooLarge`].
pub fn check(text: &str, rounded: impl Fn(&str) -> bool) -> Result<(), JsonError> {
    let bytes = text.as_bytes();
    let mut open: Vec<Open> = Vec::new();
    let mut exempt = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' => open.push(Open::Object {
                keys: HashSet::new(),
                at_key: true,
            }),
            b'[' => open.push(Open::Array),
            b'}' | b']' => drop(open.pop()),
            b',' => {
                if let Some(Open::Object { at_key, .. }) = open.last_mut() {
                    *at_key = true;
                }
            }
            b'"' => {
                at = end_of_string(bytes, at);
                let outermost = open.len() == 1;
                let Some(Open::Object { keys, at_key }) = open.last_mut() else {
                    continue;
                };
                if !std::mem::take(at_key) {
                    continue;
                }
                let key = unescaped(&text[start..at])?;
                if outermost {
                    exempt = rounded(&key);
                }
                if !keys.insert(key.clone()) {
                    let key = key.into_owned();
                    return Err(JsonError::KeyTwice { key, at: start });
                }
            }
            b'-' | b'0'..=b'9' => {
                let in_number =
                    |b: &&u8| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                at += bytes[at..].iter().take_while(in_number).count();
                let number = &text[start..at];
                let is_integer = !number.contains(['.', 'e', 'E']);
                let fits = || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
                if is_integer && !exempt && !fits() {
                    let number = number.to_owned();
                    return Err(JsonError::IntegerTooLarge { number, at: start });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// An array or object whose end was not read yet.
enum Open<'a> {
    Array,
    Object {
        keys: HashSet<Cow<'a, str>>,
        /// Whether the next string is a key.
        at_key: bool,
    },
}

/// The position after the closing quote of a string that begins before `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            // The escaped character is no end, whatever it is; it is ASCII in valid JSON.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The key of a string with its quotes.
fn unescaped(quoted: &str) -> Result<Cow<'_, str>, JsonError> {
    if quoted.contains('\\') {
        serde_json::from_str(quoted).map(Cow::Owned)
    } else {
        Ok(Cow::Borrowed(quoted.trim_matches('"')))
    }
    .map_err(JsonError::Syntax)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_kept_is_read_as_serde_json_reads_it() {
        for text in [
            "null",
            "true",
            "-3",
            "18446744073709551615",
            "-9223372036854775808",
            "9007199254740993",
            "-0.0",
            "1.5e3",
            "1e300",
            "100000000000000000000.0",
            r#""a\u00e9 99999999999999999999 {\"a\": 1, \"a\": 2}""#,
            r#"[1, [2, {"a": []}], {}, {"": {"": 1}}]"#,
            r#"{"a": {"a": [null, "a"]}, "c": 1e-7, "\\": 1, "\\\\": 2, "\"": "a", "x": {"a": 1}}"#,
        ] {
            let value = serde_json::from_str::<Value>(text).expect(text);
            assert_eq!(parse(text).expect(text), value, "{text}");
        }
        for text in ["", "{", "[1,]", "1 2", "nul", "1e999", "\"\\", "{\"a"] {
            assert!(matches!(parse(text), Err(JsonError::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_wherever_it_stands() {
        for (text, at) in [
            (r#"{"a": 1, "a": 2}"#, 9),
            (r#"{"a": 1, "\u0061": 2}"#, 9),
            (
                r#"{"$or": [{"x": 1}, {"y": {"a": 1, "b": [{"a": 1}], "a": 1}}]}"#,
                51,
            ),
            (r#"[{"é": {}, "é": []}]"#, 12),
        ] {
            match parse(text) {
                Err(JsonError::KeyTwice { at: found, .. }) => assert_eq!(found, at, "{text}"),
                other => panic!("{text} gave {other:?}"),
            }
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_is_refused_unless_it_is_a_float_anyway() {
        for (text, at) in [
            ("18446744073709551616", 0),
            ("-9223372036854775809", 0),
            (r#"{"a": [1, {"b": 123456789012345678901234567890}]}"#, 16),
        ] {
            match parse(text) {
                Err(JsonError::IntegerTooLarge { at: found, .. }) => {
                    assert_eq!(found, at, "{text}");
                }
                other => panic!("{text} gave {other:?}"),
            }
        }
        let vector = |key: &str| key == "vector";
        assert!(check(r#"{"vector": [99999999999999999999]}"#, vector).is_ok());
        for text in [
            r#"{"vector": [1], "meta": 99999999999999999999}"#,
            r#"{"meta": {"vector": [99999999999999999999]}}"#,
        ] {
            assert!(check(text, vector).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_checked_without_a_panic(text in r#"[\[\]{}",:\\0-9ae. é-]{0,40}"#) {
            let _ = check(&text, str::is_empty);
            let _ = parse(&text);
        }

        /// A value that `serde_json` wrote has each key once and no integer beyond 64 bits.
        #[test]
        fn written_values_pass(text in ".{0,20}", number in any::<i64>(), large in any::<u64>()) {
            let value = serde_json::json!({text.clone(): [number, {text.clone(): large}], "k": text});
            if text != "k" {
                prop_assert_eq!(parse(&value.to_string()).expect("it passes"), value);
            }
        }
    }
}
