//! Models with several outputs, or with none that is an embedding.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::home::{Home, failed, lines};

/// Copies a directory of `tests/fixtures/models` into the home.
fn with_model(name: &str) -> Home {
    let home = Home::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/models")
        .join(name);
    fs::create_dir(home.path(name)).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), home.path(name).join(file.file_name())).unwrap();
    }
    home.write(
        "items.jsonl",
        "{\"id\": \"a\", \"text\": \"apple tree\"}\n{\"id\": \"b\", \"text\": \"car engine road\"}\n",
    );
    home
}

fn vector(home: &Home, collection: &str) -> Vec<f64> {
    let item = home.json(["get", collection, "a"]);
    serde_json::from_value(item["vector"].clone()).unwrap()
}

#[test]
fn the_dense_output_is_taken_where_a_model_has_several() {
    let home = with_model("bge_m3");
    let made = home.json(["create", "c", "--encoder", "bge_m3"]);
    assert_eq!(made["dim"], 8);
    assert!(made["encoder"]["output"].is_null());
    home.ok(["add", "c", "items.jsonl"]);
    let found = home.json(["search", "c", "apple tree"]);
    let nearest = &found["hits"][0];
    assert_eq!(
        (&nearest["id"], &nearest["distance"]),
        (&"a".into(), &0.0.into())
    );
    assert!(found["hits"][1]["distance"].as_f64().unwrap() > 0.01);
}

#[test]
fn another_output_can_be_chosen_and_is_kept() {
    let home = with_model("bge_m3");
    fs::create_dir(home.path("bge_m3/1_Pooling")).unwrap();
    let maximum = "{\"pooling_mode_max_tokens\": true}";
    home.write("bge_m3/1_Pooling/config.json", maximum);
    home.ok([
        "create",
        "dense",
        "--encoder",
        "bge_m3",
        "--output",
        "dense_vecs",
    ]);
    let made = home.json([
        "create",
        "c",
        "--encoder",
        "bge_m3",
        "--output",
        "colbert_vecs",
    ]);
    assert_eq!(made["encoder"]["output"], "colbert_vecs");
    // Each command opens the collection anew.
    for name in ["c", "dense"] {
        home.ok(["add", name, "items.jsonl"]);
    }
    assert_ne!(vector(&home, "c"), vector(&home, "dense"));
    assert_eq!(
        home.json(["search", "c", "apple tree"])["hits"][0]["distance"],
        0.0
    );
    home.ok(["export", "c", "c.jsonl"]);
    home.ok(["import", "d", "c.jsonl"]);
    home.ok(["import", "e", "c.jsonl", "--encoder", "bge_m3"]);
    for name in ["d", "e"] {
        assert_eq!(
            home.json(["search", name, "apple tree"])["hits"][0]["distance"],
            0.0
        );
    }
}

#[test]
fn an_output_that_is_no_embedding_is_refused_with_those_there_are() {
    let home = with_model("bge_m3");
    let outputs =
        "dense_vecs [batch, 8], sparse_vecs [batch, seq, 1], colbert_vecs [batch, seq, 8]";
    for name in ["sparse_vecs", "sentence_embedding"] {
        home.fails(
            ["create", "c", "--encoder", "bge_m3", "--output", name],
            1,
            &[name, outputs, "--output NAME"],
        );
    }
    home.fails(
        ["create", "c", "--dim", "8", "--output", "dense_vecs"],
        2,
        &["--output"],
    );
    home.fails(["create", "c", "--output", "dense_vecs"], 2, &["--encoder"]);
}

#[test]
fn a_reranker_is_no_encoder() {
    let home = with_model("reranker");
    let words = &["model.onnx", "logits [batch, 1]"];
    home.fails(["create", "c", "--encoder", "reranker"], 1, words);
    home.fails(
        ["create", "c", "--encoder", "reranker", "--output", "logits"],
        1,
        words,
    );
    home.ok(["create", "c", "--dim", "2"]);
}

#[test]
fn a_model_that_was_moved_is_named() {
    let home = with_model("bge_m3");
    home.ok(["create", "c", "--encoder", "bge_m3"]);
    home.ok(["add", "c", "items.jsonl"]);
    fs::create_dir(home.path("elsewhere")).unwrap();
    fs::rename(home.path("bge_m3"), home.path("elsewhere/renamed")).unwrap();
    home.fails(["search", "c", "apple tree"], 1, &["bge_m3", "--encoder"]);
    for place in ["elsewhere", "elsewhere/renamed"] {
        let found = home.json(["search", "c", "apple tree", "--encoder", place]);
        assert_eq!(found["hits"][0]["distance"], 0.0);
    }
    home.ok(["--encoder", "elsewhere", "add", "c", "items.jsonl"]);
    // Another model is not taken for it.
    let other = affinis_testkit::models::model("tokens.onnx", &[]);
    let other = other.path().to_str().unwrap();
    home.fails(
        ["search", "c", "apple tree", "--encoder", other],
        1,
        &["bge_m3"],
    );
    // Those that make a collection take it as its encoder.
    let made = home.json(["create", "d", "--encoder", "elsewhere/renamed"]);
    assert_eq!(made["encoder"]["name"], "renamed");
}

#[test]
fn a_collection_gets_another_encoder_and_goes_back() {
    let home = with_model("bge_m3");
    home.ok(["create", "c"]);
    home.ok(["add", "c", "items.jsonl"]);
    let judged = [
        json!({"query": "apple tree", "item": "a", "relevant": true}),
        json!({"query": "apple tree", "item": "b", "relevant": false}),
        json!({"query_vector": vec![0.1; 256], "item": "b", "relevant": true}),
    ];
    home.write("judgements.jsonl", lines(&judged));
    home.ok(["judge", "c", "judgements.jsonl"]);
    home.fails(["reencode", "c"], 2, &["--encoder"]);
    home.fails(["reencode", "c", "--back"], 1, &["c.before"]);
    let done = home.json(["reencode", "c", "--encoder", "bge_m3"]);
    for (field, value) in [
        ("dim", json!(8)),
        ("items", json!(2)),
        ("judgements", json!(2)),
        ("left_out", json!([2])),
        ("committed", json!(false)),
    ] {
        assert_eq!(done[field], value, "{done}");
    }
    let found = home.json(["search", "c", "apple tree", "--metric", "euclidean"]);
    assert_eq!(found["hits"][0]["distance"], 0.0);
    assert_eq!(home.json(["stats", "c.before"])["dim"], 256);
    home.fails(
        ["reencode", "c", "--encoder", "embedded"],
        1,
        &["c.before", "commit"],
    );

    home.ok(["reencode", "c", "--back"]);
    let stats = home.json(["stats", "c"]);
    assert_eq!(
        (&stats["dim"], &stats["judgements"]),
        (&json!(256), &json!(3))
    );
    home.ok(["drop", "c.reencoding", "--yes"]);
    let shown = home.ok(["reencode", "c", "--encoder", "bge_m3", "--commit"]);
    for words in ["2 texts encoded by bge_m3", "2 judgements kept"] {
        assert!(shown.stdout.contains(words), "{shown:?}");
    }
    assert!(
        shown.stderr.contains("1 judgement is left out"),
        "{shown:?}"
    );
    home.fails(["reencode", "c", "--commit"], 1, &["c.before"]);
    assert_eq!(home.json(["verify"])["problems"], json!([]));
}

#[test]
fn an_encoding_that_is_killed_goes_on_and_nothing_is_half_done() {
    let home = with_model("bge_m3");
    home.ok(["create", "c", "--encoder", "bge_m3"]);
    let text = |i: usize| format!("apple tree{}", " car engine road".repeat(i % 7));
    let items = (0..4_000).map(|i| json!({"id": format!("{i:04}"), "text": text(i)}));
    home.write("items.jsonl", lines(&items.collect::<Vec<_>>()));
    home.ok(["add", "c", "items.jsonl"]);
    let judged = json!({"query": "apple tree", "item": "0001", "relevant": true});
    home.write("judgements.jsonl", lines(&[judged]));
    home.ok(["judge", "c", "judgements.jsonl"]);
    let ends = || {
        let stats = home.json(["stats", "c"]);
        assert_eq!(
            (&stats["items"], &stats["judgements"]),
            (&json!(4000), &json!(1))
        );
        assert_eq!(home.json(["verify"])["problems"], json!([]));
        stats["dim"].as_u64().unwrap()
    };
    for millis in [50, 300, 900] {
        let mut child = home
            .command(["reencode", "c", "--encoder", "embedded"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(millis));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
        if ends() == 256 {
            home.ok(["reencode", "c", "--back"]);
            home.ok(["drop", "c.reencoding", "--yes"]);
        }
        assert_eq!(ends(), 8);
    }
    let done = home.json(["reencode", "c", "--encoder", "embedded"]);
    assert_eq!(
        (&done["items"], &done["judgements"]),
        (&json!(4000), &json!(1))
    );
    assert_eq!(ends(), 256);
    let found = home.json(["search", "c", "apple tree", "-k", "1", "--no-memory"]);
    assert!(
        found["hits"][0]["distance"].as_f64().unwrap() < 1e-3,
        "{found}"
    );
}

#[test]
fn the_rate_of_a_model_is_measured_and_the_backends_compared() {
    let home = with_model("bge_m3");
    home.write("texts.txt", "apple tree\n\ncar engine road\n");
    let found = home.json(["model", "bench", "bge_m3", "--texts", "texts.txt"]);
    assert_eq!((&found["dim"], &found["texts"]), (&json!(8), &json!(2)));
    let backends = found["backends"].as_array().unwrap();
    assert_eq!(backends[0]["backend"], "rten");
    for backend in backends {
        assert!(backend["texts_per_second"].as_f64().unwrap() > 0.0);
    }
    match found["least_cosine"].as_f64() {
        Some(cosine) => {
            assert!(cosine > 0.999 && backends.len() == 2, "{found}");
        }
        None => assert_eq!(backends.len(), 1),
    }
    let shown = home.ok(["model", "bench", "embedded", "--threads", "1"]);
    for words in ["256 numbers", "500 texts"] {
        assert!(shown.stdout.contains(words), "{shown:?}");
    }
    home.write("none.txt", "\n");
    home.fails(
        ["model", "bench", "bge_m3", "--texts", "none.txt"],
        2,
        &["no text"],
    );
    home.fails(
        ["model", "bench", "bge_m3", "--texts", "lost.txt"],
        1,
        &["lost.txt"],
    );
    home.fails(["model", "bench", "lost"], 1, &["lost"]);
}

#[test]
fn a_text_that_the_model_fails_on_is_named_by_its_line() {
    let home = Home::new();
    for (model, bad, words) in [
        ("short_table.onnx", "apple pear", "its text has the token"),
        (
            "plum_nan.onnx",
            "green plum",
            "the vector of its text is not finite",
        ),
    ] {
        let dir = affinis_testkit::models::model(model, &[]);
        home.ok(["create", "c", "--encoder", dir.path().to_str().unwrap()]);
        // Among many texts, and behind a line whose item is not encoded.
        let mut items = vec![json!({"id": "given", "vector": vec![0.5; 4]})];
        items.extend((0..300).map(|i| json!({"id": format!("i{i}"), "text": "red"})));
        items[290] = json!({"id": "bad", "text": bad});
        home.write("items.jsonl", lines(&items));
        let ran = home.run(["add", "c", "items.jsonl"]);
        failed(&ran, 1, &["items.jsonl, line 291: ", words]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        let added = home.json(["add", "c", "items.jsonl", "--skip-bad"]);
        assert_eq!(
            (&added["added"], &added["skipped"][0]["place"]),
            (&json!(300), &json!("line 291"))
        );

        home.write(
            "judgements.jsonl",
            lines(&[
                json!({"query": "red", "item": "i0", "relevant": true}),
                json!({"query": bad, "item": "i0", "relevant": true}),
            ]),
        );
        let ran = home.run(["judge", "c", "judgements.jsonl"]);
        failed(&ran, 1, &["judgements.jsonl, line 2: "]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        let ran = home.run(["search", "c", bad]);
        failed(&ran, 1, &[]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        home.ok(["drop", "c", "--yes"]);
    }
}
