//! What holds of the parsers for every input: they end with a value or with an error that names the
//! file, and what is written as it should be is read back.

use std::collections::BTreeMap;
use std::io::BufReader;

use affinis::Item;
use affinis_cli::input::{self, Defaults, Expected, Place};
use ndarray::Array2;
use proptest::prelude::*;
use serde_json::json;

const ANY: Expected = Expected {
    dim: 3,
    texts: true,
    zero_vectors: true,
    skip_bad: false,
};

/// Gives an input to every parser, in pieces, and checks what is said of it.
fn parse_all(bytes: &[u8], skip_bad: bool) -> Result<(), TestCaseError> {
    let reader = || BufReader::with_capacity(7, bytes);
    let expected = Expected { skip_bad, ..ANY };
    let no_ids = || None::<(&[u8], &str)>;
    let texts = BTreeMap::from([("1".to_owned(), "one".to_owned())]);
    let errors = [
        input::items_jsonl(reader(), "the-file", expected).err(),
        input::tsv(reader(), "the-file", expected).err(),
        input::csv(reader(), "the-file", expected).err(),
        input::npy_items(reader(), "the-file", no_ids(), expected).err(),
        input::npy_items(&b""[..], "other", Some((reader(), "the-file")), expected).err(),
        input::npy_f32(reader(), "the-file").err(),
        input::npy_f64(reader(), "the-file").err(),
        input::npy_queries(reader(), "the-file", expected).err(),
        input::judgements_jsonl(reader(), "the-file", expected, &Defaults::default()).err(),
        input::evaluation(reader(), "the-file", expected, None).err(),
        input::evaluation(reader(), "the-file", expected, Some(&texts)).err(),
        input::queries_tsv(reader(), "the-file").err(),
        input::archive(reader(), "the-file").err(),
    ];
    let lines = bytes.split(|b| *b == b'\n').count() as u64;
    for error in errors.into_iter().flatten() {
        prop_assert!(error.file == "the-file" || error.file == "other", "{error}");
        prop_assert!(!error.reason.is_empty());
        if let Place::Line(line) = error.place {
            prop_assert!(
                (1..=lines).contains(&line),
                "{error} in a file of {lines} lines"
            );
        }
    }
    Ok(())
}

/// Pieces of what the parsers read, so that inputs get past the first byte.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 28] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\n",
        "\t",
        "\r\n",
        " ",
        "1",
        "-0.5",
        "1e999",
        "NaN",
        "null",
        "true",
        "\"id\"",
        "\"vector\"",
        "\"item\"",
        "\"relevant\"",
        "\"query_id\"",
        "[1, 2, 3]",
        "\"a\"",
        "{\"id\": \"a\", \"vector\": [1, 2, 3]}",
        "1 0 a 1",
        "x,y,z,label\n1,2,3,a",
        "\u{93}NUMPY\u{1}\u{0}v\u{0}{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|chosen| {
        chosen
            .concat()
            .chars()
            .filter_map(|c| u8::try_from(c as u32).ok())
            .collect()
    })
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), skip: bool) {
        parse_all(&bytes, skip)?;
    }

    #[test]
    fn any_pieces_end_in_a_value_or_an_error(bytes in pieces(), skip: bool) {
        parse_all(&bytes, skip)?;
    }

    #[test]
    fn items_written_as_json_are_read_back_bit_for_bit(
        items in prop::collection::vec(
            ("[a-z\u{e9}\"\\\\]{1,8}", any::<Option<String>>(), prop::array::uniform3(-1e15_f32..1e15)),
            1..20,
        )
    ) {
        let items: Vec<Item> = items
            .into_iter()
            .enumerate()
            .map(|(at, (id, text, vector))| Item {
                id: format!("{id}{at}"), text, vector: Some(vector.to_vec()), meta: json!({"at": at}), truncated: false
            })
            .collect();
        let text: String = items
            .iter()
            .map(|i| json!({"id": i.id, "text": i.text, "vector": i.vector, "meta": i.meta}).to_string() + "\n")
            .collect();
        let read = input::items_jsonl(text.as_bytes(), "f", ANY).unwrap();
        prop_assert_eq!(read.items, items);
    }

    #[test]
    fn matrices_written_as_npy_are_read_back_bit_for_bit(
        rows in 1..6_usize, columns in 1..6_usize, seed in prop::collection::vec(-1e300..1e300_f64, 36)
    ) {
        let matrix = Array2::from_shape_fn((rows, columns), |(i, j)| seed[i * 6 + j]);
        let mut bytes = Vec::new();
        input::write_npy_f64(&mut bytes, &matrix.view()).unwrap();
        prop_assert_eq!(input::npy_f64(&bytes[..], "f").unwrap(), matrix);
        for end in 0..bytes.len() {
            prop_assert!(input::npy_f64(&bytes[..end], "f").is_err());
        }
    }
}
