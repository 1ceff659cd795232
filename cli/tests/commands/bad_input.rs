//! Invalid input: its exit status and message, and that nothing is stored.

use std::fs;

use serde_json::json;

use crate::home::{Home, failed, npy};

/// Asserts that adding a file is refused with a message of these words and changes nothing.
fn refused(home: &Home, name: &str, text: impl AsRef<[u8]>, words: &[&str]) {
    home.write(name, text);
    home.fails(["add", "c", name], 1, &[&[name], words].concat());
    assert_eq!(home.items(), 4);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of inputs")]
fn invalid_items_are_refused_by_line() {
    let home = Home::with_points();
    let good = "{\"id\": \"x\", \"vector\": [1, 2]}\n";
    refused(
        &home,
        "nan.jsonl",
        format!("{good}{{\"vector\": [1, NaN]}}"),
        &["line 2"],
    );
    refused(
        &home,
        "inf.jsonl",
        format!("{good}{{\"vector\": [1, 1e999]}}"),
        &["line 2", "out of range"],
    );
    refused(
        &home,
        "big.jsonl",
        format!("{good}{{\"vector\": [1, 1e39]}}"),
        &["line 2", "32-bit"],
    );
    refused(
        &home,
        "long.jsonl",
        format!("{good}{{\"vector\": [1, 3e38]}}"),
        &["line 2", "overflow"],
    );
    refused(
        &home,
        "dim.jsonl",
        format!("{good}{{\"vector\": [1]}}"),
        &["line 2", "vectors of dimension 2"],
    );
    refused(
        &home,
        "empty-id.jsonl",
        format!("{good}{{\"id\": \"\", \"vector\": [1, 2]}}"),
        &["line 2", "id is empty"],
    );
    let huge = "i".repeat(513);
    refused(
        &home,
        "huge-id.jsonl",
        format!("{good}{{\"id\": \"{huge}\", \"vector\": [1, 2]}}"),
        &["line 2", "513 bytes"],
    );
    refused(
        &home,
        "twice.jsonl",
        format!("{good}{good}"),
        &["line 2", "line 1", "\"x\""],
    );
    refused(
        &home,
        "broken.jsonl",
        format!("{good}\n{{\"vector\": [1, 2]"),
        &["line 3"],
    );
    refused(
        &home,
        "typo.jsonl",
        format!("{good}{{\"vektor\": [1, 2]}}"),
        &["line 2", "\"vektor\""],
    );
    refused(
        &home,
        "text.jsonl",
        format!("{good}{{\"text\": \"no encoder\"}}"),
        &["line 2", "no encoder"],
    );
    refused(
        &home,
        "latin.jsonl",
        b"{\"id\": \"x\", \"vector\": [1, 2]}\n{\"id\": \"\xe9\"}\n",
        &["line 2", "UTF-8"],
    );
    refused(&home, "empty.jsonl", "", &["empty"]);
    refused(
        &home,
        "meta.jsonl",
        format!("{good}{{\"vector\": [1, 2], \"meta\": [1]}}"),
        &["line 2", "object"],
    );
    refused(&home, "bad.tsv", "label text\n", &["line 1", "no tab"]);
    refused(
        &home,
        "bad.csv",
        "u,v,l\n1,2,a\n1,x,a\n",
        &["line 3", "\"x\""],
    );
    refused(
        &home,
        "columns.csv",
        "u,v,l\n1,x,a\n1,2,a\n",
        &["line 2", "vectors of dimension 2", "none in \"v\""],
    );
    refused(
        &home,
        "quote.csv",
        "u,v,l\n1,2,\"a\n3,4,b\n5,6,c\n",
        &["line 2", "never closed"],
    );
    home.fails(["add", "c", "missing.jsonl"], 1, &["missing.jsonl"]);
    home.fails(
        ["add", "c", "affinis.store", "--format", "jsonl"],
        1,
        &["directory"],
    );
    failed(
        &home.run_with(["add", "c", "-"], b"nonsense\n"),
        1,
        &["standard input, line 1"],
    );
}

#[test]
fn a_zero_vector_is_refused_in_a_cosine_collection() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2", "--distance", "cosine"]);
    home.write("zero.jsonl", "{\"vector\": [1, 1]}\n{\"vector\": [0, 0]}\n");
    home.fails(
        ["add", "c", "zero.jsonl"],
        1,
        &["zero.jsonl, line 2", "zero"],
    );
    assert_eq!(home.items(), 0);
}

#[test]
fn invalid_arrays_are_refused() {
    let home = Home::with_points();
    let whole = npy(&[&[1.0, 2.0], &[3.0, 4.0]]);
    refused(
        &home,
        "short.npy",
        &whole[..whole.len() - 1],
        &["cut short"],
    );
    refused(&home, "header.npy", &whole[..20], &["cut short"]);
    refused(&home, "more.npy", [&whole[..], &[0]].concat(), &["goes on"]);
    refused(
        &home,
        "nan.npy",
        npy(&[&[1.0, 2.0], &[f32::NAN, 4.0]]),
        &["row 1", "NaN"],
    );
    refused(
        &home,
        "wide.npy",
        npy(&[&[1.0, 2.0, 3.0]]),
        &["row 0", "vectors of dimension 2"],
    );
    let mut oversized = b"\x93NUMPY\x02\x00".to_vec();
    oversized.extend(u32::MAX.to_le_bytes());
    refused(&home, "oversized.npy", &oversized, &["4294967295 bytes"]);
    let claim = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 2)}  ";
    refused(&home, "claim.npy", claim, &["9999999999999 rows", "row 0"]);

    home.write("two.npy", &whole);
    home.write("ids.txt", "one\n");
    home.fails(
        ["add", "c", "two.npy", "--ids", "ids.txt"],
        1,
        &["ids.txt", "1 ids", "2 rows"],
    );
    home.write("ids.txt", "one\none\n");
    home.fails(
        ["add", "c", "two.npy", "--ids", "ids.txt"],
        1,
        &["ids.txt, line 2", "line 1"],
    );
    home.fails(
        ["search", "c", "--vectors", "nan.npy"],
        1,
        &["nan.npy, row 1"],
    );
    home.fails(
        ["search", "c", "--vectors", "wide.npy"],
        1,
        &["wide.npy", "vectors of dimension 2"],
    );
}

#[test]
fn an_invalid_query_row_is_refused_before_any_answer() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2", "--distance", "cosine"]);
    home.write("c.jsonl", "{\"vector\": [1, 1]}\n");
    home.ok(["add", "c", "c.jsonl"]);
    for (row, reason) in [([0.0, 0.0], "zero"), ([3e38, 0.0], "overflow")] {
        home.write("q.npy", npy(&[&[1.0, 2.0], &row, &[0.0, 0.0]]));
        for more in [&[][..], &["--json"]] {
            let args = ["search", "c", "--vectors", "q.npy"];
            home.fails(
                args.into_iter().chain(more.iter().copied()),
                1,
                &["q.npy, row 1", reason],
            );
        }
    }
}

#[test]
fn skip_bad_stores_valid_items_and_lists_the_others() {
    let home = Home::with_points();
    home.write(
        "mixed.jsonl",
        "{\"id\": \"x\", \"vector\": [1, 2]}\nnonsense\n{\"id\": \"x\", \"vector\": [3, 4]}\n{\"id\": \"y\", \"vector\": [5, 6]}\n",
    );
    let ran = home.ok(["add", "c", "mixed.jsonl", "--skip-bad", "--json"]);
    let added = &ran.json()[0];
    assert_eq!(added["added"], 2);
    let places: Vec<_> = added["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["place"].clone())
        .collect();
    assert_eq!(places, [json!("line 2"), json!("line 3")]);
    assert!(
        ran.stderr.contains("mixed.jsonl, line 2") && ran.stderr.contains("mixed.jsonl, line 3"),
        "{ran:?}"
    );
    assert_eq!(home.json(["get", "c", "x"])["vector"], json!([1.0, 2.0]));
    home.write("bad.jsonl", "nonsense\n");
    home.fails(
        ["add", "c", "bad.jsonl", "--skip-bad"],
        1,
        &["none of its 1 items", "line 1"],
    );
}

/// Some items are found invalid only once they have a vector: from the encoder, or at the precision
/// of the collection.
#[test]
fn skip_bad_skips_items_that_encoder_or_precision_make_invalid() {
    let good = "{\"id\": \"a\", \"vector\": [1, 2, 3]}\n";
    let cases = [
        (
            &["--precision", "f16"][..],
            r#"{"id": "b", "vector": [1e5, 2, 3]}"#,
            "too large for precision f16",
        ),
        (
            &["--precision", "f16", "--distance", "cosine"],
            r#"{"id": "b", "vector": [1e-9, 0, 0]}"#,
            "zero",
        ),
        (
            &["--precision", "i8", "--distance", "cosine"],
            r#"{"id": "b", "vector": [1e-44, 0, 0]}"#,
            "zero",
        ),
    ];
    for (settings, bad, reason) in cases {
        let home = Home::new();
        home.ok(["create", "c", "--dim", "3"]
            .into_iter()
            .chain(settings.iter().copied()));
        home.write("in.jsonl", format!("{good}{bad}\n"));
        home.fails(["add", "c", "in.jsonl"], 1, &["in.jsonl, line 2", reason]);
        assert_eq!(home.items(), 0);
        home.write("in.jsonl", format!("nonsense\n{bad}\nnonsense\n{good}"));
        let added = home.json(["add", "c", "in.jsonl", "--skip-bad"]);
        assert_eq!(added["added"], 1);
        let skipped = added["skipped"].as_array().unwrap();
        let places: Vec<_> = skipped.iter().map(|s| s["place"].clone()).collect();
        assert_eq!(places, [json!("line 1"), json!("line 2"), json!("line 3")]);
        assert!(
            skipped[1]["reason"].as_str().unwrap().contains(reason),
            "{added}"
        );
        home.write("in.jsonl", format!("{bad}\n"));
        home.fails(
            ["add", "c", "in.jsonl", "--skip-bad"],
            1,
            &["none of its 1 items", "line 1", reason],
        );
    }
    let home = Home::new();
    home.ok(["create", "c", "--distance", "cosine"]);
    home.write("in.tsv", "a\tpruning trees\nb\t\u{1f600}\n");
    home.fails(
        ["add", "c", "in.tsv"],
        1,
        &["in.tsv, line 2", "knows nothing of its text"],
    );
    let added = home.json(["add", "c", "in.tsv", "--skip-bad"]);
    assert_eq!(
        (&added["added"], &added["skipped"][0]["place"]),
        (&json!(1), &json!("line 2"))
    );
}

#[test]
fn an_empty_text_is_refused_wherever_it_would_be_encoded() {
    let home = Home::new();
    home.ok(["create", "c"]);
    for text in ["", " \t"] {
        home.write("e.jsonl", json!({"id": "e", "text": text}).to_string());
        home.fails(
            ["add", "c", "e.jsonl"],
            1,
            &["e.jsonl, line 1", "the text is empty"],
        );
        home.fails(["search", "c", text], 2, &["the text is empty"]);
        home.fails(
            ["explain", "c", text, "--item", "a"],
            2,
            &["the text is empty"],
        );
        home.fails(
            ["metrics", "c", "trial", "search", text],
            2,
            &["the text is empty"],
        );
    }
    for text in ["", " \n"] {
        let judgement = json!({"query": text, "item": "a", "relevant": true});
        home.write("j.jsonl", judgement.to_string());
        home.fails(
            ["judge", "c", "j.jsonl"],
            1,
            &["j.jsonl, line 1", "the text is empty"],
        );
        let query = json!({"query": text, "relevant": ["a"]});
        home.write("q.jsonl", query.to_string());
        home.fails(
            ["evaluate", "c", "q.jsonl"],
            1,
            &["q.jsonl, line 1", "the text is empty"],
        );
    }
    // A text beside a vector is not encoded, so it may be empty.
    let home = Home::with_points();
    home.write(
        "e.jsonl",
        "{\"id\": \"e\", \"text\": \"\", \"vector\": [1, 2]}\n",
    );
    home.ok(["add", "c", "e.jsonl"]);
}

#[test]
fn unusable_models_are_refused() {
    let home = Home::new();
    fs::create_dir(home.path("model")).unwrap();
    home.write("model/model.onnx", "not a graph");
    home.fails(
        ["create", "c", "--encoder", "model"],
        1,
        &["tokenizer.json"],
    );
    home.fails(["create", "c", "--encoder", "nowhere"], 1, &["nowhere"]);
    assert!(!home.path("affinis.store").exists());
}

#[test]
fn json_that_would_lose_something_is_refused_with_its_line() {
    let home = Home::with_points();
    let good = "{\"id\": \"x\", \"vector\": [1, 2]}\n";
    for (meta, word) in [
        (r#"{"a": 1, "a": 2}"#, "the key \"a\" stands twice"),
        (
            r#"{"l": [{"b": {"a": 1, "a": 1}}]}"#,
            "the key \"a\" stands twice",
        ),
        (
            r#"{"n": 18446744073709551616}"#,
            "18446744073709551616 is beyond 64 bits",
        ),
        (
            r#"{"n": [-9223372036854775809]}"#,
            "-9223372036854775809 is beyond 64 bits",
        ),
    ] {
        let line = format!("{good}{{\"vector\": [1, 2], \"meta\": {meta}}}");
        refused(&home, "lossy.jsonl", line, &["line 2", word]);
        home.fails(["search", "c", "--like", "a", "--filter", meta], 2, &[word]);
    }
    home.write(
        "judgements.jsonl",
        "{\"a\": \"a\", \"b\": \"b\", \"similar\": true}\n{\"a\": \"a\", \"b\": \"b\", \"similar\": true, \"a\": \"c\"}",
    );
    home.fails(
        ["judge", "c", "judgements.jsonl"],
        1,
        &["line 2", "duplicate field `a`"],
    );
    home.write(
        "queries.jsonl",
        "{\"query_id\": \"a\", \"relevant\": [\"b\"], \"relevant\": [\"c\"]}",
    );
    home.fails(
        ["evaluate", "c", "queries.jsonl"],
        1,
        &["line 1", "duplicate field `relevant`"],
    );
    // An exported file that was edited.
    let exported = home.ok(["export", "c", "-"]).stdout;
    let edited = exported.replacen("\"year\":2019", "\"year\":2019,\"year\":2018", 1);
    assert_ne!(exported, edited);
    home.write("edited.jsonl", edited);
    home.fails(
        ["import", "d", "edited.jsonl"],
        1,
        &["line 2", "the key \"year\" stands twice"],
    );
}
